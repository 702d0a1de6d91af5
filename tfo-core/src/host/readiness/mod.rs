//! Is this host ready for fast open, as a client and as a server? What is missing, and the exact fix.
//!
//! [`ServerFacts`] is about one listener that is to be made; [`HostFacts`] about the host as a whole.
//! Reading is one thing, judging another: `findings` looks at nothing but the facts.

mod finding;
mod host;
#[cfg(test)]
mod tests;
mod words;

pub use finding::{Finding, Level, Part, Role};
pub use host::{HitRates, HostFacts};

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::features::{Feature, Support};
use super::sysctl::{self, FastOpenFlags};
use super::{Capability, Listener, listeners};
use crate::error::Result;

/// What this host (this network namespace, this process) says that matters to a listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerFacts {
    /// `net.ipv4.tcp_fastopen`.
    pub tcp_fastopen: FastOpenFlags,
    /// `net.core.somaxconn`.
    pub somaxconn: u32,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: u32,
    /// The first port that needs no privilege, and whether this process has that privilege
    /// (`CAP_NET_BIND_SERVICE`).
    pub unprivileged_port_start: u32,
    /// Whether this process may bind the ports below.
    pub may_bind_low_ports: bool,
    /// Whether the address is this host's. `None`: it can't be told.
    pub address_is_local: Option<bool>,
    /// Who listens on the address and port already.
    pub occupant: Option<Listener>,
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
        let occupant = listeners()?.into_iter().find(|listener| {
            let ip = listener.address.ip();
            listener.address.port() == address.port()
                && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified())
        });
        Ok(Self { occupant, ..Self::of_own(address)? })
    }

    /// [`read`](Self::read) for the address that this process listens on already, without a look at all
    /// sockets of the host: with tens of thousands that takes seconds.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_own(address: SocketAddr) -> Result<Self> {
        let probe = UdpSocket::bind(SocketAddr::new(address.ip(), 0));
        Ok(Self {
            tcp_fastopen: sysctl::tcp_fastopen()?,
            somaxconn: sysctl::somaxconn()?,
            syncookies: sysctl::syncookies()?,
            unprivileged_port_start: sysctl::unprivileged_port_start()?,
            may_bind_low_ports: Capability::NetBindService.is_effective(),
            address_is_local: match probe {
                Ok(_) => Some(true),
                Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => Some(false),
                Err(_) => None,
            },
            occupant: None,
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
        if !self.tcp_fastopen.server() {
            findings.push(Finding::ServerBitOff(self.tcp_fastopen));
        }
        if queue == 0 {
            findings.push(Finding::QueueIsZero);
        }
        if self.syncookies >= 2 {
            findings.push(Finding::SyncookiesAlways(self.syncookies));
        }
        if self.tcp_fastopen.server_no_cookie() {
            findings.push(Finding::NoCookies(self.tcp_fastopen));
        }
        let somaxconn = self.somaxconn;
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
        if self.min_ttl != Support::Yes {
            findings
                .push(Finding::FeatureMissing { feature: Feature::MinTtl, support: self.min_ttl });
        }
        findings
    }
}
