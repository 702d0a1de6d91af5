use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    process::Command,
};

use serde_json::Value;
use tfo_core::{
    host::FastOpenFlags,
    lab::{self, Finished, Host, Network, Program},
    socket::{Connector, FastOpenListener, FastOpenStream, Method},
};

pub(crate) const PORT: u16 = 2222;

/// Returns the command with the shipped configuration, which all users may read, and without inherited variables that
/// set values.
pub(crate) fn doctor(arguments: &[&str]) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")), arguments)
}

/// Like [`doctor`], run by an unprivileged user. Returns `None` if the test runs as an ordinary user, which can't
/// change to another one, and skips the test if `setpriv` is missing.
pub(crate) fn doctor_of_nobody(arguments: &[&str]) -> Option<Command> {
    let users = fs::read_to_string("/proc/self/uid_map").unwrap();
    if users.split_ascii_whitespace().nth(2) == Some("1") {
        return None;
    }
    if !lab::require("setpriv") {
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_tfo-client"));
    Some(clean(command, arguments))
}

fn clean(mut command: Command, arguments: &[&str]) -> Command {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/client.toml");
    command.args(["doctor", "-q", "--config", config]).args(arguments);
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

pub(crate) fn run(host: &Host, command: Command) -> Finished {
    Program::start(host, command).unwrap().finish()
}

/// Returns the document about a host, and the exit status.
pub(crate) fn examine(host: &Host, arguments: &[&str]) -> (Value, Option<i32>) {
    let ended = run(host, doctor(&[arguments, &["-o", "json"]].concat()));
    assert_eq!(ended.err, "", "{}", ended.out);
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    crate::schema::assert_valid(&document);
    (document["doctor"].clone(), ended.code)
}

/// Returns the document about a host.
pub(crate) fn look(host: &Host) -> Value {
    examine(host, &[]).0
}

/// Returns the finding with this code.
pub(crate) fn finding<'a>(found: &'a Value, code: &str) -> &'a Value {
    let list = found["findings"].as_array().unwrap();
    list.iter().find(|finding| finding["code"] == code).unwrap_or_else(|| {
        let codes: Vec<_> = list.iter().map(|finding| &finding["code"]).collect();
        panic!("{code} is not among {codes:?}")
    })
}

pub(crate) fn has(found: &Value, code: &str) -> bool {
    found["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == code)
}

/// Returns all steps of a fix, one per line.
pub(crate) fn fix(finding: &Value) -> String {
    let steps = finding["fix"].as_array().unwrap();
    steps.iter().map(|step| step.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Writes a setting under `/proc/sys/net`.
pub(crate) fn set(host: &Host, setting: &'static str, value: &'static str) {
    let write = move || fs::write(format!("/proc/sys/net/{setting}"), value);
    host.run(write).unwrap_or_else(|e| panic!("{setting}: {e}"));
}

pub(crate) fn set_bits(host: &Host, bits: u32) {
    host.set_tcp_fastopen(FastOpenFlags::new(bits)).unwrap();
}

pub(crate) fn server_address() -> SocketAddr {
    SocketAddr::new(Network::server_address(false), PORT)
}

/// Starts a listener with fast open on all addresses.
pub(crate) fn listen(host: &Host) -> FastOpenListener {
    let any = SocketAddr::new(IpAddr::from([0_u16; 8]), PORT);
    host.run(move || FastOpenListener::bind(any)).unwrap()
}

/// Connects from this host with a few first bytes. The connection stays open.
pub(crate) fn connect(host: &Host, address: SocketAddr) -> FastOpenStream {
    let connector = Connector::default().method(Method::SendTo);
    host.run(move || connector.connect(address, b"hello")).unwrap()
}

/// Creates two connected hosts.
pub(crate) fn hosts() -> (Host, Host) {
    let (client, server) = (Host::new("client").unwrap(), Host::new("server").unwrap());
    lab::join(&client, &server).unwrap();
    (client, server)
}

/// Runs the first command in backticks of a fix.
pub(crate) fn apply(host: &Host, fix: &str) {
    let command = fix.split('`').nth(1).unwrap().replace("sudo ", "");
    let mut shell = Command::new("sh");
    let path = env::var("PATH").unwrap() + ":/usr/sbin:/sbin";
    shell.args(["-c", &command]).env("PATH", path);
    let ended = run(host, shell);
    assert_eq!(ended.code, Some(0), "{command}: {} {}", ended.out, ended.err);
}
