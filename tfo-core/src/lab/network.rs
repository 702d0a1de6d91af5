//! The lab as a whole: a client's host, a path, and one or several servers' hosts.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::address::{SERVER_V4, SERVER_V6};
use super::path::{ForwardingPath, PathSettings, server_address};
use super::route::End;
use super::{Host, Middlebox, interface, link, relay};
use crate::capture::{Direction, PacketPath};
use crate::error::{Error, Result};
use crate::sys::packet::PacketSocket;

/// Two hosts with a path between them, with addresses of the documentation networks (RFC 5737, RFC 3849).
///
/// With several servers, all have the same addresses, and each new connection goes to the next one, as with a load
/// balancer.
///
/// ```no_run
/// use std::time::Duration;
/// use tfo_core::capture::{Ladder, TextStyle};
/// use tfo_core::lab::{self, Middlebox, Network, PathSettings};
/// use tfo_core::socket::{FastOpenListener, FastOpenStream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// lab::allow_hosts()?; // before the first thread starts
/// let path = PathSettings::new().round_trip(Duration::from_millis(40));
/// let network = Network::new(path.boxes(&[Middlebox::DropSynData]))?;
/// let server = (lab::SERVER_V4, 2222);
/// let listener = network.server().run(move || FastOpenListener::bind(server))?;
/// for _ in 0..2 {
///     network.client().run(move || FastOpenStream::connect(server, b"hello"))?;
///     listener.accept()?;
/// }
/// let ladder = Ladder::new("client", "server").packets(&network.packets());
/// println!("{}", ladder.to_text(TextStyle::default()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Network {
    // Dropped before the hosts whose interfaces the path uses.
    path: ForwardingPath,
    client: Host,
    servers: Vec<Host>,
    /// Where a hop terminates TCP: the host that plays the server, and the one that plays the client.
    proxy: Option<[Host; 2]>,
    middle: Host,
}

impl Network {
    /// Creates the hosts, and starts the path.
    ///
    /// # Errors
    /// This process may not create network namespaces, or the kernel lacks veth or packet sockets.
    pub fn new(settings: PathSettings) -> Result<Self> {
        Self::with_servers(settings, 1)
    }

    /// Like [`new`](Self::new), with this many servers behind one address; at least one.
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
        for (number, server) in servers.iter().enumerate() {
            attach(server, &link::SERVER, End::Server)?;
            if settings.translate_servers {
                server.add_address(server_address(number, true))?;
                if interface::has_ipv6() {
                    server.add_address(server_address(number, false))?;
                }
            }
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

    /// Returns the client's host.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.client
    }

    /// Returns the host of the first server.
    ///
    /// # Panics
    /// Never: there is at least one.
    #[must_use]
    pub fn server(&self) -> &Host {
        &self.servers[0]
    }

    /// Returns the hosts of all servers.
    #[must_use]
    pub fn servers(&self) -> &[Host] {
        &self.servers
    }

    /// Returns the address of the server in this family.
    #[must_use]
    pub fn server_address(v6: bool) -> IpAddr {
        if v6 { SERVER_V6.into() } else { SERVER_V4.into() }
    }

    /// Replaces the boxes of the path while it runs. The new boxes have no state: connections that a previous box
    /// translated or swallowed continue without it.
    pub fn set_boxes(&self, boxes: &[Middlebox]) {
        self.path.set_boxes(boxes);
    }

    /// Returns the packets that have crossed so far, in the order in which they were sent.
    #[must_use]
    pub fn packets(&self) -> Vec<PacketPath> {
        self.path.packets()
    }

    /// Delivers a packet that has crossed to the first server again, as a network that duplicates packets late
    /// does. A SYN with data, repeated after its connection has ended, is a new request.
    ///
    /// # Errors
    /// The packet did not arrive at a server, or a packet socket could not be opened.
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

    /// Waits until no packet is on its way and none has come for `quiet`; at most ten times that long.
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

    /// Returns how many packets were forwarded but not recorded: the record is limited to 64 MiB.
    #[must_use]
    pub fn unrecorded(&self) -> u64 {
        self.path.unrecorded()
    }

    /// Returns how many packets were lost because this machine was too slow for the path, not because of its
    /// settings. If this is above 0, the record is incomplete.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.path.missed()
    }

    /// Returns the most that a packet was sent late because this machine was busy, after the time that the path's
    /// delay set. Above the shortest retransmission timeout (200 ms) a host may have retransmitted what was not
    /// lost.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        self.path.lateness()
    }
}
