//! Is this host ready to serve with fast open? What is missing, and the exact fix.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::sysctl::{self, FastOpenBits};
use super::{Capability, Listener, listeners};
use crate::error::Result;

/// A wish for a listener, as a configuration says it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Wish {
    /// The address to listen on.
    pub address: SocketAddr,
    /// The fast open queue's length.
    pub queue: u32,
    /// The backlog.
    pub backlog: u32,
}

impl Wish {
    /// A wish for a listener on `address`.
    #[must_use]
    pub fn new(address: SocketAddr, queue: u32, backlog: u32) -> Self {
        Self { address, queue, backlog }
    }
}

/// What this host (this network namespace, this process) says that matters to a listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerFacts {
    /// `net.ipv4.tcp_fastopen`.
    pub tcp_fastopen: FastOpenBits,
    /// `net.core.somaxconn`.
    pub somaxconn: u32,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: u32,
    /// The first port that needs no privilege, and whether this process has that privilege
    /// (`CAP_NET_BIND_SERVICE`).
    pub unprivileged_port_start: u32,
    /// Whether this process may bind the ports below.
    pub may_bind_low_ports: bool,
    /// Whether the wished address is this host's. `None`: it can't be told.
    pub address_is_local: Option<bool>,
    /// Who listens on the wished address and port already.
    pub occupant: Option<Listener>,
}

impl ServerFacts {
    /// Reads the facts. Changes nothing: whether the address is this host's is asked by binding a
    /// UDP socket for a moment, to a port that the kernel chooses.
    ///
    /// # Errors
    /// A setting under `/proc/sys/net` can't be read.
    pub fn read(wish: Wish) -> Result<Self> {
        let address = wish.address;
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
            occupant: listeners()?.into_iter().find(|listener| {
                let ip = listener.address.ip();
                listener.address.port() == address.port()
                    && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified())
            }),
        })
    }

    /// What these facts mean for the wish: problems first.
    #[must_use]
    pub fn findings(&self, wish: Wish) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.address_is_local == Some(false) {
            findings.push(Finding::AddressNotLocal(wish.address));
        }
        if u32::from(wish.address.port()) < self.unprivileged_port_start && !self.may_bind_low_ports
        {
            let start = self.unprivileged_port_start;
            findings.push(Finding::PortNeedsPrivilege { port: wish.address.port(), start });
        }
        if !self.tcp_fastopen.server() {
            findings.push(Finding::ServerBitOff(self.tcp_fastopen));
        }
        if wish.queue == 0 {
            findings.push(Finding::QueueIsZero);
        }
        if self.syncookies >= 2 {
            findings.push(Finding::SyncookiesAlways(self.syncookies));
        }
        if self.tcp_fastopen.server_no_cookie() {
            findings.push(Finding::NoCookies(self.tcp_fastopen));
        }
        let somaxconn = self.somaxconn;
        if wish.queue > somaxconn {
            findings.push(Finding::QueueCut { wished: wish.queue, somaxconn });
        }
        if wish.backlog > somaxconn {
            findings.push(Finding::BacklogCut { wished: wish.backlog, somaxconn });
        }
        if let Some(occupant) = &self.occupant {
            let queue = occupant.fast_open_queue;
            findings.push(Finding::AddressTaken { address: occupant.address, queue });
        }
        findings
    }
}

/// Something that keeps a listener from fast open, or that its operator should know.
///
/// `Display` says what was found, and the fix with its exact command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Finding {
    /// The server's bit of `net.ipv4.tcp_fastopen` is off.
    ServerBitOff(FastOpenBits),
    /// The configuration asks for a queue of length 0.
    QueueIsZero,
    /// `net.ipv4.tcp_syncookies` is 2: always SYN cookies, never fast open.
    SyncookiesAlways(u32),
    /// The host takes data without cookies, and grants none.
    NoCookies(FastOpenBits),
    /// The address is not this host's.
    AddressNotLocal(SocketAddr),
    /// The port needs `CAP_NET_BIND_SERVICE`.
    #[non_exhaustive]
    PortNeedsPrivilege {
        /// The wished port.
        port: u16,
        /// The first port that needs no privilege.
        start: u32,
    },
    /// The fast open queue is longer than the kernel allows.
    #[non_exhaustive]
    QueueCut {
        /// The configured length.
        wished: u32,
        /// What the kernel cuts it to.
        somaxconn: u32,
    },
    /// The backlog is longer than the kernel allows.
    #[non_exhaustive]
    BacklogCut {
        /// The configured length.
        wished: u32,
        /// What the kernel cuts it to.
        somaxconn: u32,
    },
    /// Something listens there already.
    #[non_exhaustive]
    AddressTaken {
        /// Where it listens.
        address: SocketAddr,
        /// Its fast open queue's length; 0: none.
        queue: u32,
    },
}

impl Finding {
    /// Whether fast open, or the listener as a whole, can't work with it.
    #[must_use]
    pub fn is_problem(self) -> bool {
        !matches!(self, Self::QueueCut { .. } | Self::BacklogCut { .. } | Self::AddressTaken { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerBitOff(bits) => write!(
                f,
                "net.ipv4.tcp_fastopen is {bits}: the server's bit (0x2) is off, and clients get regular \
                 connections. Turn it on: sudo sysctl -w net.ipv4.tcp_fastopen={}",
                bits.with_server().bits()
            ),
            Self::QueueIsZero => f.write_str(
                "listen.fastopen-queue is 0, which turns fast open off. Set it to 256, for instance",
            ),
            Self::SyncookiesAlways(value) => write!(
                f,
                "net.ipv4.tcp_syncookies is {value}: the kernel always answers with SYN cookies, which \
                 have no room for fast open. Use them only under load: sudo sysctl -w \
                 net.ipv4.tcp_syncookies=1"
            ),
            Self::NoCookies(bits) => write!(
                f,
                "net.ipv4.tcp_fastopen is {bits}: bit 0x200 takes data from any SYN, forged ones too, and \
                 never grants a cookie, so ordinary clients get no fast open. Turn it off: sudo sysctl -w \
                 net.ipv4.tcp_fastopen={}",
                bits.bits() & !0x200
            ),
            Self::AddressNotLocal(address) => write!(
                f,
                "{} is not an address of this host. `ip address` lists them; 0.0.0.0 or :: means all",
                address.ip()
            ),
            Self::PortNeedsPrivilege { port, start } => write!(
                f,
                "port {port} is below {start} and needs CAP_NET_BIND_SERVICE. Grant it: sudo setcap \
                 cap_net_bind_service=+ep \"$(command -v tfo-server)\", or choose a port from {start}"
            ),
            Self::QueueCut { wished, somaxconn } => write!(
                f,
                "the kernel cuts listen.fastopen-queue from {wished} to {somaxconn}. Raise its limit: sudo \
                 sysctl -w net.core.somaxconn={wished}"
            ),
            Self::BacklogCut { wished, somaxconn } => write!(
                f,
                "the kernel cuts listen.backlog from {wished} to {somaxconn}. Raise its limit: sudo sysctl \
                 -w net.core.somaxconn={wished}"
            ),
            Self::AddressTaken { address, queue } => write!(
                f,
                "something listens on {address} already (fast open queue {queue}): right if it is this \
                 server, else see who: ss -ltnp 'sport = :{}'",
                address.port()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> ServerFacts {
        ServerFacts {
            tcp_fastopen: FastOpenBits::new(3),
            somaxconn: 4096,
            syncookies: 1,
            unprivileged_port_start: 1024,
            may_bind_low_ports: false,
            address_is_local: Some(true),
            occupant: None,
        }
    }

    fn wish() -> Wish {
        Wish::new(([127, 0, 0, 1], 2222).into(), 256, 1024)
    }

    #[test]
    fn a_ready_host_has_no_findings() {
        assert_eq!(ready().findings(wish()), []);
    }

    #[test]
    fn each_lack_is_a_finding_with_its_fix() {
        let bits = FastOpenBits::new(1);
        let cases: [(ServerFacts, Wish, &str); 7] = [
            (ServerFacts { tcp_fastopen: bits, ..ready() }, wish(), "net.ipv4.tcp_fastopen=3"),
            (ServerFacts { syncookies: 2, ..ready() }, wish(), "net.ipv4.tcp_syncookies=1"),
            (ServerFacts { address_is_local: Some(false), ..ready() }, wish(), "ip address"),
            (ready(), Wish { queue: 0, ..wish() }, "listen.fastopen-queue"),
            (ready(), Wish { queue: 5000, ..wish() }, "net.core.somaxconn=5000"),
            (ready(), Wish { backlog: 5000, ..wish() }, "net.core.somaxconn=5000"),
            (ready(), Wish { address: ([127, 0, 0, 1], 80).into(), ..wish() }, "setcap"),
        ];
        for (facts, wish, fix) in cases {
            let findings = facts.findings(wish);
            assert_eq!(findings.len(), 1, "{fix}: {findings:?}");
            assert!(findings[0].to_string().contains(fix), "{}", findings[0]);
        }
    }
}
