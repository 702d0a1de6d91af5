//! Is this host ready for fast open, as a client and as a server? What is missing, and the exact fix.
//!
//! [`ServerFacts`] is about one listener that is to be made; [`HostFacts`] about the host as a whole.
//! Reading is one thing, judging another: `findings` looks at nothing but the facts.

mod finding;
mod host;
mod load;
mod named_listener;
#[cfg(test)]
mod tests;
mod words;

pub use finding::{Finding, Level, Part, Role};
pub use host::{HitRates, HostFacts};
pub use load::ListenerLoad;
pub use named_listener::NamedListener;

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::features::{Feature, Support};
use super::sysctl::{self, FastOpenFlags};
use super::{
    AcceptQueue, Capability, Counters, Listener, Owners, accept_queues, listeners,
    unfinished_handshakes,
};
use crate::error::Result;

/// The facts of this host (this network namespace, this process) that matter to a listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerFacts {
    /// `net.ipv4.tcp_fastopen`. `None`: this kernel has no such setting.
    pub tcp_fastopen: Option<FastOpenFlags>,
    /// `net.core.somaxconn`. `None`: this kernel has no such setting.
    pub somaxconn: Option<u32>,
    /// `net.ipv4.tcp_syncookies`. `None`: this kernel has no such setting.
    pub syncookies: Option<u32>,
    /// The first port that needs no privilege, and whether this process has that privilege
    /// (`CAP_NET_BIND_SERVICE`).
    pub unprivileged_port_start: u32,
    /// Whether this process may bind the ports below.
    pub may_bind_low_ports: bool,
    /// Whether the address is local. `None`: unknown.
    pub address_is_local: Option<bool>,
    /// Who listens on the address and port already.
    pub occupant: Option<Listener>,
    /// The load of the listeners on that address and port. `None`: it was not read.
    pub load: Option<ListenerLoad>,
    /// Whether the kernel knows the listener's option ([`Feature::Listener`]).
    pub listener: Support,
    /// Whether a listener can stop without losing connections ([`Feature::MinTtl`]).
    pub min_ttl: Support,
}

impl ServerFacts {
    /// Reads the facts. Changes nothing: whether the address is this host's is asked by binding a
    /// UDP socket for a moment, to a port that the kernel chooses.
    ///
    /// # Errors
    /// A setting under `/proc/sys/net` can't be read.
    pub fn read(address: SocketAddr) -> Result<Self> {
        let is_there = |other: SocketAddr| {
            let ip = other.ip();
            other.port() == address.port()
                && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified())
        };
        let there: Vec<_> =
            listeners()?.into_iter().filter(|listener| is_there(listener.address)).collect();
        // A load that cannot be read does not prevent listening.
        let load = load_of(&there).ok();
        let probe = UdpSocket::bind(SocketAddr::new(address.ip(), 0));
        Ok(Self {
            may_bind_low_ports: Capability::NetBindService.is_effective(),
            address_is_local: match probe {
                Ok(_) => Some(true),
                Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => Some(false),
                Err(_) => None,
            },
            occupant: there.into_iter().next(),
            load,
            ..Self::of_own()?
        })
    }

    /// [`read`](Self::read) for an address that this process listens on already, without a look at all
    /// sockets of the host: with tens of thousands that takes seconds.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_own() -> Result<Self> {
        Ok(Self {
            tcp_fastopen: if_there(sysctl::tcp_fastopen())?,
            somaxconn: if_there(sysctl::somaxconn())?,
            syncookies: if_there(sysctl::syncookies())?,
            unprivileged_port_start: if_there(sysctl::unprivileged_port_start())?
                .unwrap_or(USUAL_PORT_START),
            // It is bound, and the right to bind it may have been dropped since.
            may_bind_low_ports: true,
            address_is_local: Some(true),
            occupant: None,
            load: None,
            listener: Feature::Listener.probe(),
            min_ttl: Feature::MinTtl.probe(),
        })
    }

    /// Returns what these facts mean for a listener with this address, fast open queue and backlog: problems first.
    #[must_use]
    pub fn findings(&self, address: SocketAddr, queue: u32, backlog: u32) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.address_is_local == Some(false) {
            findings.push(Finding::AddressNotLocal(address));
        }
        if u32::from(address.port()) < self.unprivileged_port_start && !self.may_bind_low_ports {
            let start = self.unprivileged_port_start;
            findings.push(Finding::PortNeedsPrivilege { port: address.port(), start });
        }
        match self.tcp_fastopen {
            None => findings.push(Finding::ServerSettingMissing(self.listener)),
            Some(bits) if !bits.server() => findings.push(Finding::ServerBitOff(bits)),
            Some(_) => {}
        }
        if queue == 0 {
            findings.push(Finding::QueueIsZero);
        }
        if let Some(value @ 2..) = self.syncookies {
            findings.push(Finding::SyncookiesAlways(value));
        }
        if let Some(bits) = self.tcp_fastopen.filter(|bits| bits.server_no_cookie()) {
            findings.push(Finding::NoCookies(bits));
        }
        let somaxconn = self.somaxconn.unwrap_or(u32::MAX);
        if queue > somaxconn {
            findings.push(Finding::QueueCut { wished: queue, somaxconn });
        }
        if backlog > somaxconn {
            findings.push(Finding::BacklogCut { wished: backlog, somaxconn });
        }
        if let Some(occupant) = &self.occupant {
            let queue = occupant.fast_open_queue;
            findings.push(Finding::AddressTaken { address: occupant.address, queue });
        }
        if let Some(load) = &self.load {
            load.judge(self.syncookies, false, &mut findings);
        }
        if self.min_ttl != Support::Yes {
            findings
                .push(Finding::FeatureMissing { feature: Feature::MinTtl, support: self.min_ttl });
        }
        findings
    }
}

/// The kernel's default.
const USUAL_PORT_START: u32 = 1024;

/// Returns `None` if this kernel has no such setting.
fn if_there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Returns the load of these listeners.
fn load_of(listeners: &[Listener]) -> Result<ListenerLoad> {
    let (queues, counters) = (accept_queues()?, Counters::read()?);
    // Reading all processes takes a while, and only names the listeners that a finding is about.
    let is_quiet = counters.accept_overflows == 0 && !queues.iter().any(AcceptQueue::is_full);
    let owners = if is_quiet { Owners::default() } else { Owners::read() };
    Ok(ListenerLoad::new(listeners, queues, unfinished_handshakes()?, counters, &owners))
}
