//! The program on a host of its own, and its clients.

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

/// For tests in which it matters who is served first.
pub(crate) const ONE_WORKER: &str = "[engine]\nworkers = 1\n";
pub(crate) const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2222);
/// Far more than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host with a folder for its configuration.
pub(crate) struct Lab {
    pub(crate) host: Host,
    folder: TempDir,
}

impl Lab {
    /// Both halves of fast open are allowed.
    pub(crate) fn new() -> Self {
        Self { host: Host::new("server").unwrap(), folder: TempDir::new().unwrap() }
    }

    pub(crate) fn with_tcp_fastopen(bits: u32) -> Self {
        let lab = Self::new();
        lab.host.set_tcp_fastopen(FastOpenFlags::new(bits)).unwrap();
        lab
    }

    /// A file in the folder of the configuration.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration file with this content.
    pub(crate) fn config(&self, content: &str) -> PathBuf {
        let path = self.path("server.toml");
        fs::write(&path, content).unwrap();
        path
    }

    /// The program with this configuration, and nothing inherited that settings could come from.
    pub(crate) fn command(&self, config: &str, arguments: &[&str]) -> Command {
        let mut command = clean(Command::new(PROGRAM.path));
        command.arg("--config").arg(self.config(config)).args(arguments);
        command
    }

    /// The program, started.
    pub(crate) fn start(&self, config: &str, arguments: &[&str]) -> Program {
        Program::start(&self.host, self.command(config, arguments)).unwrap()
    }

    /// The program, started and listening.
    pub(crate) fn serve(&self, config: &str, arguments: &[&str]) -> Program {
        let program = self.start(config, arguments);
        let _ = program.err().expect(&["listening on"]);
        program
    }

    /// A regular connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = self.host.run(|| TcpStream::connect(SERVER)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection with fast open allowed.
    pub(crate) fn fast_open(&self, first: &[u8]) -> FastOpenStream {
        let first = first.to_vec();
        let connector = Connector::default().timeout(PATIENCE);
        let stream = self.host.run(move || connector.connect(SERVER, &first)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// Sends, closes this half, and reads to the end.
pub(crate) fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    answer(stream)
}

/// All that comes until the peer closes.
pub(crate) fn answer(stream: &mut impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// Bytes that differ from their neighbours and their pages, so that none can be lost or swapped.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i ^ (i >> 8) ^ (i >> 16)) & 0xff).unwrap()).collect()
}
