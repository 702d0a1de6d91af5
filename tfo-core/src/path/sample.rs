//! What came back for one SYN.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::SynKind;

/// A SYN to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shot {
    /// What it carries.
    pub kind: SynKind,
    /// Its TTL or hop limit: the number of the hop at which it ends.
    pub ttl: u8,
    /// The bytes of its data, if its kind has any.
    pub data: usize,
    /// The longest time to wait for what comes back.
    pub wait: Duration,
}

impl Shot {
    /// A SYN.
    #[must_use]
    pub const fn new(kind: SynKind, ttl: u8, data: usize, wait: Duration) -> Self {
        Self { kind, ttl, data, wait }
    }
}

/// The reply to a SYN.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// An ICMP error.
    Icmp(IcmpReply),
    /// A SYN-ACK.
    SynAck,
    /// A reset.
    Reset,
    /// Nothing, in the time given.
    Silence,
    /// The host itself refused to send it, with this errno.
    NotSent(i32),
}

/// An ICMP error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IcmpReply {
    /// Who sent it.
    pub from: Option<IpAddr>,
    /// What it says.
    pub error: IcmpError,
    /// The TTL that it arrived with.
    pub ttl: Option<u8>,
    /// The SYN as it arrived there, from the TCP header on, as far as it is quoted.
    pub quote: Vec<u8>,
}

impl IcmpReply {
    /// An ICMP error without a TTL.
    #[must_use]
    pub const fn new(from: Option<IpAddr>, error: IcmpError, quote: Vec<u8>) -> Self {
        Self { from, error, ttl: None, quote }
    }
}

/// The kind of an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IcmpError {
    /// The TTL ended in transit: the SYN came as far as this hop.
    TimeExceeded,
    /// A filter does not let it pass.
    Prohibited,
    /// It does not fit a link with this MTU; 0 where the router does not say.
    TooBig(u32),
    /// There is no way to the target, or nobody takes it there.
    Unreachable,
    /// Something else: type and code.
    Other(u8, u8),
}

impl IcmpError {
    /// Reads type and code.
    #[must_use]
    pub const fn new(v6: bool, kind: u8, code: u8, info: u32) -> Self {
        match (v6, kind, code) {
            (false, 11, _) | (true, 3, _) => Self::TimeExceeded,
            (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => Self::Prohibited,
            (false, 3, 4) | (true, 2, _) => Self::TooBig(info),
            (false, 3, _) | (true, 1, _) => Self::Unreachable,
            _ => Self::Other(kind, code),
        }
    }
}

/// A SYN, and what came back for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// What was sent. A kernel's retransmission of it is a sample of its own, of the kind [`Plain`](SynKind::Plain).
    pub shot: Shot,
    /// What came back.
    pub reply: Reply,
    /// How long that took.
    pub after: Duration,
    /// The local port that it was sent from.
    pub port: u16,
    /// The maximum segment size that it announced, where that is known.
    pub mss: Option<u16>,
    /// The kernel had sent the SYN again, without option and data, and this is what came back for that: the control
    /// with the same socket.
    pub retransmitted: bool,
}

impl fmt::Display for Sample {
    /// One line of a log: "hop 3: data, 64 bytes from port 40000: silence after 80ms".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shot { kind, ttl, data, .. } = self.shot;
        let again = if self.retransmitted { "retransmission, " } else { "" };
        write!(f, "hop {ttl}: {again}{kind}, {data} bytes from port {}: ", self.port)?;
        match &self.reply {
            Reply::Icmp(IcmpReply { from: Some(from), error, quote, .. }) => {
                write!(f, "{error:?} from {from}, {} bytes quoted", quote.len())?;
            }
            Reply::Icmp(icmp) => write!(f, "{:?}", icmp.error)?,
            Reply::SynAck => f.write_str("SYN-ACK")?,
            Reply::Reset => f.write_str("reset")?,
            Reply::Silence => f.write_str("silence")?,
            Reply::NotSent(errno) => write!(f, "not sent, errno {errno}")?,
        }
        write!(f, " after {:.1?}", self.after)
    }
}

impl Sample {
    /// A sample of a first SYN.
    #[must_use]
    pub const fn new(shot: Shot, reply: Reply, after: Duration, port: u16) -> Self {
        Self { shot, reply, after, port, mss: None, retransmitted: false }
    }

    /// A sample of the kernel's retransmission of `shot`: a regular SYN.
    #[must_use]
    pub const fn of_retransmission(shot: Shot, reply: Reply, after: Duration, port: u16) -> Self {
        let shot = Shot { kind: SynKind::Plain, data: 0, ..shot };
        Self { shot, reply, after, port, mss: None, retransmitted: true }
    }

    /// The ICMP error, if there was one.
    #[must_use]
    pub const fn icmp(&self) -> Option<&IcmpReply> {
        match &self.reply {
            Reply::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// Whether the SYN came as far as the hop at which its TTL ended.
    #[must_use]
    pub fn arrived(&self) -> bool {
        self.icmp().is_some_and(|icmp| icmp.error == IcmpError::TimeExceeded)
    }

    /// Whether the target, or somebody in its name, answered by TCP.
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        matches!(self.reply, Reply::SynAck | Reply::Reset)
    }
}
