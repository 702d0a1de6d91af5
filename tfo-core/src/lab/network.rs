//! A client's host, a path, and one or several servers' hosts: the lab as a whole.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::address::{SERVER_V4, SERVER_V6};
use super::path::{ForwardingPath, PathSettings};
use super::route::End;
use super::{Host, Middlebox, interface, link, relay};
use crate::capture::{Direction, PacketPath};
use crate::error::{Error, Result};
use crate::sys::packet::PacketSocket;

/// Two hosts with a path between them, on the addresses of the documentation networks (RFC 5737,
/// RFC 3849).
///
/// With several servers all have the same addresses, and each new connection goes to the next one:
/// what a load balancer does.
#[derive(Debug)]
pub struct Network {
    // The path ends before the hosts whose interfaces it uses.
    path: ForwardingPath,
    client: Host,
    servers: Vec<Host>,
    /// Where a hop terminates TCP: the host that plays the server, and the one that plays the client.
    proxy: Option<[Host; 2]>,
    middle: Host,
}

impl Network {
    /// Makes the hosts, and starts the path.
    ///
    /// # Errors
    /// This process may not make network namespaces, or the kernel lacks veth or packet sockets.
    pub fn new(settings: PathSettings) -> Result<Self> {
        Self::with_servers(settings, 1)
    }

    /// [`new`](Self::new) with so many servers' hosts behind one address; at least one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_servers(settings: PathSettings, servers: usize) -> Result<Self> {
        let middle = Host::new("middle")?;
        middle.run(interface::silence_ipv6)?;
        let client = Host::new("client")?;
        let servers: Result<Vec<Host>> =
            (1..=servers.max(1)).map(|number| Host::new(&format!("server-{number}"))).collect();
        let servers = servers?;

        let mut port = link::FIRST_PORT;
        let mut interfaces = Vec::new();
        let mut attach = |host: &Host, at: &'static link::End, end: End| {
            link::attach(&middle, port, host, at)?;
            interfaces.push((port, end));
            port += 1;
            Ok::<(), Error>(())
        };
        attach(&client, &link::CLIENT, End::Client)?;
        for server in &servers {
            attach(server, &link::SERVER, End::Server)?;
        }
        let proxy = if settings.hops.iter().any(|hop| hop.terminates) {
            let hosts = [Host::new("proxy-front")?, Host::new("proxy-back")?];
            attach(&hosts[0], &link::SERVER, End::ProxyServer)?;
            attach(&hosts[1], &link::CLIENT, End::ProxyClient)?;
            Some(hosts)
        } else {
            None
        };
        let path = middle.run(move || ForwardingPath::start(settings, &interfaces))?;
        Ok(Self { path, client, servers, proxy, middle })
    }

    /// Lets the hop that terminates TCP hand on the connections to this port. Does nothing on a path without one.
    ///
    /// # Errors
    /// It can't listen there.
    pub fn relay(&self, port: u16) -> Result<()> {
        self.proxy.as_ref().map_or(Ok(()), |[front, back]| relay::start(front, back, port))
    }

    /// The client's host.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.client
    }

    /// The first server's host.
    ///
    /// # Panics
    /// Never: there is at least one.
    #[must_use]
    pub fn server(&self) -> &Host {
        &self.servers[0]
    }

    /// All servers' hosts.
    #[must_use]
    pub fn servers(&self) -> &[Host] {
        &self.servers
    }

    /// The server's address of a family.
    #[must_use]
    pub fn server_address(v6: bool) -> IpAddr {
        if v6 { SERVER_V6.into() } else { SERVER_V4.into() }
    }

    /// Replaces the boxes of the path while it runs. The new ones know nothing of the connections before:
    /// those that a box translated or swallowed go on without it.
    pub fn set_boxes(&self, boxes: &[Middlebox]) {
        self.path.set_boxes(boxes);
    }

    /// Each packet that has crossed so far, in the order in which they were sent.
    #[must_use]
    pub fn packets(&self) -> Vec<PacketPath> {
        self.path.packets()
    }

    /// Hands a packet that has crossed to the first server to it once more: what a network does that
    /// repeats packets late. A SYN with data, repeated after its connection has ended, is a new request.
    ///
    /// # Errors
    /// The packet did not arrive at a server, or there is no packet socket.
    pub fn repeat(&self, packet: &PacketPath) -> Result<()> {
        let to_server = packet.direction == Direction::ToServer;
        let Some(arrived) = packet.arrived.as_ref().filter(|_| to_server) else {
            return Err(Error::malformed("packet to repeat", "it did not arrive at a server"));
        };
        let frame = arrived.frame.clone();
        self.middle.run(move || {
            let port = link::FIRST_PORT + 1;
            let failed = |e| Error::system("sending on interface", port, e);
            PacketSocket::open(port, 1, false).map_err(failed)?.send(&frame).map_err(failed)
        })
    }

    /// Waits until nothing is on its way and nothing new has come for `quiet`; at most ten times that
    /// long.
    pub fn settle(&self, quiet: Duration) {
        let mut last = usize::MAX;
        for _ in 0..10 {
            let (count, open) = self.path.count();
            if count == last && open == 0 {
                break;
            }
            last = count;
            thread::sleep(quiet);
        }
    }

    /// How many packets were forwarded and not recorded: the record ends at 64 MiB.
    #[must_use]
    pub fn unrecorded(&self) -> u64 {
        self.path.unrecorded()
    }

    /// How many packets were lost because this machine was too slow for the path, not by its
    /// settings. Above 0 the record is not the whole truth.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.path.missed()
    }

    /// The longest time that a packet was late because this machine was busy: it left as much after the moment
    /// that the path's delay made it due. Above the shortest retransmission timeout (200 ms) a host may have sent
    /// again what was not lost.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        self.path.lateness()
    }
}
