//! The network as the flags describe it, with its servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::cli::error_chain;
use tfo_core::lab::{self, Hop, HopRule, Host, Middlebox, Network, PathSettings};
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
    pub(crate) hops: Vec<Hop>,
    /// What the hops were made from.
    pub(crate) rules: Vec<HopRule>,
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
    /// Makes the network, and starts its servers on this port. Must be called before the process has a
    /// thread.
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

/// There is no lab: what forbids it, and how to allow it.
fn no_lab(found: &tfo_core::Error) -> Failure {
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
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr()));
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
