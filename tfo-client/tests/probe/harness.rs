use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::{
    host::FastOpenFlags,
    lab::{self, Finished, Host, Program},
};

/// Two connected hosts, and a folder for their configurations.
pub(crate) struct Lab {
    pub(crate) client: Host,
    pub(crate) server: Host,
    folder: TempDir,
}

impl Lab {
    /// Creates the hosts. Both halves of fast open are enabled on both of them.
    pub(crate) fn new() -> Self {
        let (client, server) = (Host::new("client").unwrap(), Host::new("server").unwrap());
        lab::join(&client, &server).unwrap();
        Self { client, server, folder: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Returns the client's command with this configuration.
    pub(crate) fn command(&self, config: &str, arguments: &[&str]) -> Command {
        let mut command = clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
        command.arg("--config").arg(self.file("client.toml", config)).args(arguments);
        command
    }

    /// Runs the client on its host. Connects to the other host unless the arguments name another server.
    pub(crate) fn probe(&self, arguments: &[&str]) -> Finished {
        let config = format!("[server]\naddress = \"{}\"\n", lab::SERVER_V4);
        self.run(self.command(&config, arguments))
    }

    /// Like [`probe`](Self::probe), and parses the document.
    pub(crate) fn document(&self, arguments: &[&str]) -> (Value, Finished) {
        let ended = self.probe(&[arguments, &["-o", "json"]].concat());
        (json(&ended.out), ended)
    }

    pub(crate) fn run(&self, command: Command) -> Finished {
        Program::start(&self.client, command).unwrap().finish()
    }

    /// Starts the server with this configuration on its host, and waits until it listens. Skips the test and returns
    /// `None` if its binary is not built.
    pub(crate) fn serve(&self, config: &str, arguments: &[&str]) -> Option<Program> {
        let mut command = clean(Command::new(server_binary()?));
        command.arg("--config").arg(self.file("server.toml", config)).args(arguments);
        let program = Program::start(&self.server, command).unwrap();
        let _ = program.err().expect(&["listening on"]);
        Some(program)
    }

    /// Starts the server on all addresses of its host.
    pub(crate) fn serve_all(&self, arguments: &[&str]) -> Option<Program> {
        self.serve("[listen]\naddress = \"::\"\n", arguments)
    }

    /// Starts a listener on the server's host that never sends.
    pub(crate) fn silent_server(&self) -> TcpListener {
        self.server.run(|| TcpListener::bind((lab::SERVER_V4, 2222))).unwrap()
    }

    pub(crate) fn set_client_bits(&self, bits: u32) {
        self.client.set_tcp_fastopen(FastOpenFlags::new(bits)).unwrap();
    }

    pub(crate) fn set_server_bits(&self, bits: u32) {
        self.server.set_tcp_fastopen(FastOpenFlags::new(bits)).unwrap();
    }

    /// Writes a setting under `/proc/sys` on the server's host.
    pub(crate) fn set_on_server(&self, setting: &'static str, value: &'static str) {
        let write = move || fs::write(format!("/proc/sys/{setting}"), value);
        self.server.run(write).unwrap_or_else(|e| panic!("{setting}: {e}"));
    }
}

/// Returns the path of the server's binary. Cargo builds all programs of the workspace into one folder, and the tests
/// into a subfolder.
pub(crate) fn server_binary() -> Option<PathBuf> {
    let test = env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("tfo-server");
    if path.is_file() {
        return Some(path);
    }
    lab::skip(&format!("{} is not built: cargo test --workspace builds it", path.display()));
    None
}

/// Removes the environment variables that set values.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TFO_") {
            command.env_remove(name);
        }
    }
    for name in ["RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Returns a field of each connection.
pub(crate) fn each<'a>(document: &'a Value, field: &str) -> Vec<&'a Value> {
    document["connections"].as_array().unwrap().iter().map(|line| &line[field]).collect()
}

/// Waits for a connection.
pub(crate) fn accept(listener: &TcpListener) -> (std::net::TcpStream, SocketAddr) {
    listener.accept().unwrap()
}
