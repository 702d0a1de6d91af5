//! The network that the flags describe, with its servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::cli::error_chain;
use tfo_core::host::sysctl;
use tfo_core::lab::{self, Hop, HopRule, Host, Middlebox, Network, PathSettings};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use crate::output::Failure;

/// The settings of the network that a command runs in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetworkSettings {
    pub(crate) rtt: Duration,
    pub(crate) jitter: Duration,
    /// The share of packets that are dropped, from 0 to 1.
    pub(crate) loss: f64,
    pub(crate) boxes: Vec<Middlebox>,
    pub(crate) hops: Vec<Hop>,
    /// The rules that the hops were made from.
    pub(crate) rules: Vec<HopRule>,
    /// The number of servers that share the address.
    pub(crate) servers: usize,
    pub(crate) v6: bool,
    pub(crate) server_command: Option<String>,
}

/// A network and its servers, which are stopped when it is dropped.
pub(crate) struct ServedNetwork {
    pub(crate) network: Network,
    pub(crate) address: SocketAddr,
    _servers: Vec<Child>,
}

/// The maximum time until a `--server-command` listens.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

impl NetworkSettings {
    /// The round trip time without `--rtt`.
    pub(crate) const DEFAULT_RTT: Duration = Duration::from_millis(40);

    /// Returns whether the path delays and drops no packets by chance, so that a single connection is meaningful.
    pub(crate) fn is_steady(&self) -> bool {
        self.jitter.is_zero() && self.loss <= 0.0
    }

    /// Returns the command that creates this network again, with more flags, in backticks.
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
        if !self.hops.is_empty() {
            line += &format!(" --hops {}", self.hops.len());
        }
        for rule in &self.rules {
            line += &format!(" --hop {rule}");
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

    /// Returns the flags of the boxes, routers and servers that are special on this path.
    pub(crate) fn obstacles(&self) -> Vec<String> {
        let boxes = self.boxes.iter().map(|middlebox| format!("`--box {}`", middlebox.name()));
        let rules = self.rules.iter().map(|rule| format!("`--hop {rule}`"));
        let servers = (self.servers > 1).then(|| format!("`--servers {}`", self.servers));
        let command = self.server_command.as_ref().map(|_| "`--server-command`".to_owned());
        boxes.chain(rules).chain(servers).chain(command).collect()
    }

    /// Returns the sentence with the command for the same path without some of its obstacles; `None` if it has none.
    pub(crate) fn without_obstacles(&self, command: &str) -> Option<String> {
        let mut calm = self.clone();
        let how = if !self.boxes.is_empty() {
            calm.boxes.clear();
            if self.boxes.len() == 1 { "without the box" } else { "without the boxes" }
        } else if !self.rules.is_empty() {
            calm.rules.clear();
            "with ordinary routers"
        } else if self.servers > 1 {
            calm.servers = 1;
            "with one server, and so with one key"
        } else if calm.server_command.take().is_some() {
            "with the mirror, which has fast open"
        } else {
            return None;
        };
        Some(format!("See the same path {how}: {}.", calm.command(command, "")))
    }

    /// Creates the network, and starts its servers on this port. Must be called before the process starts a thread.
    pub(crate) fn start(&self, port: u16) -> Result<ServedNetwork, Failure> {
        lab::allow_hosts().map_err(|e| no_lab(&e))?;
        let path = PathSettings::new()
            .round_trip(self.rtt)
            .jitter(self.jitter)
            .loss(self.loss)
            .boxes(&self.boxes)
            .hops(self.hops.clone());
        let network = Network::with_servers(path, self.servers).map_err(|e| no_lab(&e))?;
        let address = SocketAddr::new(Network::server_address(self.v6), port);
        network.relay(port).map_err(|e| no_lab(&e))?;
        let servers = serve(&network, address, self).map_err(Failure::Unusable)?;
        Ok(ServedNetwork { network, address, _servers: servers })
    }
}

/// Formats a time as a flag takes it.
fn in_flag(time: Duration) -> String {
    if time.subsec_micros().is_multiple_of(1000) {
        format!("{}ms", time.as_millis())
    } else {
        format!("{}us", time.as_micros())
    }
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns the error if the lab can't be created: what forbids it, and how to allow it.
fn no_lab(error: &tfo_core::Error) -> Failure {
    if sysctl::tcp_fastopen().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Failure::Unusable(
            "the lab sets net.ipv4.tcp_fastopen on its hosts, and this kernel or container has no such setting: \
             run it on another host, or outside of this container"
                .to_owned(),
        );
    }
    if error.kind() == io::ErrorKind::TimedOut {
        return Failure::Unusable(format!(
            "the lab was not ready in time ({}): this machine is too busy; try again",
            error_chain(error)
        ));
    }
    Failure::Unusable(format!(
        "the lab needs network namespaces, which this process may not create ({}): {}",
        error_chain(error),
        lab::explain_denied()
    ))
}

/// Starts the lab's servers: the mirror, or `--server-command`.
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

/// Starts the mirror. Its keys are those of its host, which the kernel generates at random.
fn mirror(host: &Host, port: u16) -> Result<(), String> {
    let listening = host.run(move || {
        // The IPv6 socket accepts IPv4 too: a new namespace has `bindv6only` 0.
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
    // Standard output is reserved for this program's own data.
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::from(io::stderr()));
    let mut child = host.spawn_tree(command).map_err(|e| format!("can't run sh: {e}"))?;
    let deadline = Instant::now() + SERVER_TIMEOUT;
    while !listens(host) {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the server command exited before it listened: {status}"));
        }
        if Instant::now() > deadline {
            return Err(format!("the server command did not listen within {SERVER_TIMEOUT:?}"));
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
            hops: Vec::new(),
            rules: Vec::new(),
            servers: 1,
            v6: false,
            server_command: None,
        };
        assert_eq!(default.command("lab", "-n 3"), "`tfo-client lab -n 3`");
        let rules = vec!["2:silent".parse().unwrap()];
        let all = NetworkSettings {
            rtt: Duration::from_micros(1500),
            jitter: Duration::from_secs(1),
            loss: 0.07,
            boxes: vec![Middlebox::StripSynData, Middlebox::CorruptCookie],
            hops: lab::hops(3, &rules).unwrap(),
            rules,
            servers: 4,
            v6: true,
            server_command: Some("echo 'x'".to_owned()),
        };
        let flags =
            "-6 --rtt 1500us --jitter 1000ms --loss 7% --box strip-syn-data --box corrupt-cookie";
        let server = r"--hops 3 --hop 2:silent --servers 4 --server-command 'echo '\''x'\'''";
        assert_eq!(all.command("lab", ""), format!("`tfo-client lab {flags} {server}`"));
    }
}
