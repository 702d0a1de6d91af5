//! Runs the program in a network namespace, with clients.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::host::FastOpenFlags;
use tfo_core::lab::{Host, Program};
use tfo_core::socket::{Connector, FastOpenStream};

use super::PROGRAM;
use super::program::clean;

/// For tests that depend on the order in which clients are served.
pub(crate) const ONE_WORKER: &str = "[engine]\nworkers = 1\n";
pub(crate) const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2222);
/// Much longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network namespace, with a folder for the configuration.
pub(crate) struct Lab {
    pub(crate) host: Host,
    folder: TempDir,
}

impl Lab {
    /// Creates a lab whose host allows fast open for clients and servers.
    pub(crate) fn new() -> Self {
        Self { host: Host::new("server").unwrap(), folder: TempDir::new().unwrap() }
    }

    pub(crate) fn with_tcp_fastopen(bits: u32) -> Self {
        let lab = Self::new();
        lab.host.set_tcp_fastopen(FastOpenFlags::new(bits)).unwrap();
        lab
    }

    /// Returns the path of a file in the configuration's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration file. A server that reads it meanwhile gets the previous or the new content.
    pub(crate) fn config(&self, content: &str) -> PathBuf {
        let (path, new) = (self.path("server.toml"), self.path("server.toml.new"));
        fs::write(&new, content).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// Returns the program with this configuration and without inherited settings.
    pub(crate) fn command(&self, config: &str, arguments: &[&str]) -> Command {
        let mut command = clean(Command::new(PROGRAM.path));
        command.arg("--config").arg(self.config(config)).args(arguments);
        command
    }

    /// Starts the program.
    pub(crate) fn start(&self, config: &str, arguments: &[&str]) -> Program {
        Program::start(&self.host, self.command(config, arguments)).unwrap()
    }

    /// Starts the program, and waits until it listens.
    pub(crate) fn serve(&self, config: &str, arguments: &[&str]) -> Program {
        let program = self.start(config, arguments);
        let _ = program.err().expect(&["listening on"]);
        program
    }

    /// Opens a regular connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = self.host.run(|| TcpStream::connect(SERVER)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Opens a connection with fast open.
    pub(crate) fn fast_open(&self, first: &[u8]) -> FastOpenStream {
        let first = first.to_vec();
        let connector = Connector::default().timeout(PATIENCE);
        let stream = self.host.run(move || connector.connect(SERVER, &first)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// Sends the request and a FIN, and reads the answer to its end.
pub(crate) fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    answer(stream)
}

/// Reads until the peer closes.
pub(crate) fn answer(stream: &mut impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// Returns bytes in which no part can be lost or swapped unnoticed.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i ^ (i >> 8) ^ (i >> 16)) & 0xff).unwrap()).collect()
}
