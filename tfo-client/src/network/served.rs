//! The network as the flags describe it, with its servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::cli::error_chain;
use tfo_core::host::sysctl;
use tfo_core::lab::{self, Host, Middlebox, Network, PathSettings};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use crate::output::Failure;

/// The network that a command runs in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetworkSettings {
    pub(crate) rtt: Duration,
    pub(crate) jitter: Duration,
    /// From 0 to 1.
    pub(crate) loss: f64,
    pub(crate) boxes: Vec<Middlebox>,
    /// How many share the server's address.
    pub(crate) servers: usize,
    pub(crate) v6: bool,
    pub(crate) server_command: Option<String>,
}

/// The network with its servers, which end with it.
pub(crate) struct ServedNetwork {
    pub(crate) network: Network,
    pub(crate) address: SocketAddr,
    _servers: Vec<Child>,
}

/// How long a `--server-command` may take until it listens.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

impl NetworkSettings {
    /// The round trip time where no flag gives one.
    pub(crate) const DEFAULT_RTT: Duration = Duration::from_millis(40);

    /// Whether nothing makes a connection slow by chance: then one that is measured once tells something.
    pub(crate) fn is_steady(&self) -> bool {
        self.jitter.is_zero() && self.loss <= 0.0
    }

    /// Returns the command that makes this network again, with more flags, in backticks.
    pub(crate) fn command(&self, command: &str, more: &str) -> String {
        let mut line = format!("tfo-client {command}");
        if self.v6 {
            line += " -6";
        }
        if self.rtt != Self::DEFAULT_RTT {
            line += &format!(" --rtt {}", in_flag(self.rtt));
        }
        if !self.jitter.is_zero() {
            line += &format!(" --jitter {}", in_flag(self.jitter));
        }
        if self.loss > 0.0 {
            line += &format!(" --loss {}%", (self.loss * 1e5).round() / 1e3);
        }
        for middlebox in &self.boxes {
            line += &format!(" --box {}", middlebox.name());
        }
        if self.servers > 1 {
            line += &format!(" --servers {}", self.servers);
        }
        if let Some(command) = &self.server_command {
            line += &format!(" --server-command {}", quoted(command));
        }
        if !more.is_empty() {
            line += &format!(" {more}");
        }
        format!("`{line}`")
    }

    /// Makes the network, and starts its servers on this port. Must be called before the process has a
    /// thread.
    pub(crate) fn start(&self, port: u16) -> Result<ServedNetwork, Failure> {
        lab::allow_hosts().map_err(|e| no_lab(&e))?;
        let path = PathSettings::new()
            .round_trip(self.rtt)
            .jitter(self.jitter)
            .loss(self.loss)
            .boxes(&self.boxes);
        let network = Network::with_servers(path, self.servers).map_err(|e| no_lab(&e))?;
        let address = SocketAddr::new(Network::server_address(self.v6), port);
        let servers = serve(&network, address, self).map_err(Failure::Unusable)?;
        Ok(ServedNetwork { network, address, _servers: servers })
    }
}

/// A time, as flags take it.
fn in_flag(time: Duration) -> String {
    if time.subsec_micros().is_multiple_of(1000) {
        format!("{}ms", time.as_millis())
    } else {
        format!("{}us", time.as_micros())
    }
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// There is no lab: what forbids it, and how to allow it.
fn no_lab(found: &tfo_core::Error) -> Failure {
    if sysctl::tcp_fastopen().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Failure::Unusable(
            "the lab sets net.ipv4.tcp_fastopen on its hosts, and this kernel, or what hides its settings, has \
             no such setting: run it on another host, or outside of this container"
                .to_owned(),
        );
    }
    Failure::Unusable(format!(
        "the lab needs network namespaces, and this process may not make them ({}): {}",
        error_chain(found),
        lab::explain_denied()
    ))
}

/// Starts the lab's servers: our mirror, or what `--server-command` says.
fn serve(
    network: &Network,
    address: SocketAddr,
    settings: &NetworkSettings,
) -> Result<Vec<Child>, String> {
    let mut commands = Vec::new();
    for host in network.servers() {
        match &settings.server_command {
            None => mirror(host, address.port())?,
            Some(line) => commands.push(server_command(host, line)?),
        }
    }
    Ok(commands)
}

/// The mirror. Its keys are those of its host, which the kernel makes by chance.
fn mirror(host: &Host, port: u16) -> Result<(), String> {
    let listening = host.run(move || {
        // IPv4 too: a namespace's `bindv6only` is 0.
        let any = if lab::has_ipv6() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        let listener = FastOpenListener::bind(SocketAddr::new(any, port))?;
        thread::spawn(move || serve_mirror(&listener));
        Ok::<(), tfo_core::Error>(())
    });
    listening.map_err(|e| format!("the lab's server can't listen: {e}"))
}

fn server_command(host: &Host, line: &str) -> Result<Child, String> {
    let mut command = Command::new("sh");
    // Its output is no data of ours.
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::from(io::stderr()));
    let mut child = host.spawn_tree(command).map_err(|e| format!("can't run sh: {e}"))?;
    let deadline = Instant::now() + SERVER_TIMEOUT;
    while !listens(host) {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the server command ended before it listened: {status}"));
        }
        if Instant::now() > deadline {
            return Err(format!("the server command does not listen after {SERVER_TIMEOUT:?}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

fn listens(host: &Host) -> bool {
    host.run(|| tfo_core::host::listeners().is_ok_and(|listeners| !listeners.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_makes_the_same_network_again() {
        let default = NetworkSettings {
            rtt: NetworkSettings::DEFAULT_RTT,
            jitter: Duration::ZERO,
            loss: 0.0,
            boxes: Vec::new(),
            servers: 1,
            v6: false,
            server_command: None,
        };
        assert_eq!(default.command("lab", "-n 3"), "`tfo-client lab -n 3`");
        let all = NetworkSettings {
            rtt: Duration::from_micros(1500),
            jitter: Duration::from_secs(1),
            loss: 0.07,
            boxes: vec![Middlebox::StripSynData, Middlebox::CorruptCookie],
            servers: 4,
            v6: true,
            server_command: Some("echo 'x'".to_owned()),
        };
        let flags =
            "-6 --rtt 1500us --jitter 1000ms --loss 7% --box strip-syn-data --box corrupt-cookie";
        let server = r"--servers 4 --server-command 'echo '\''x'\'''";
        assert_eq!(all.command("lab", ""), format!("`tfo-client lab {flags} {server}`"));
    }
}
