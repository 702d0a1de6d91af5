//! Parses a frame as far as a ladder shows it.

use std::net::{IpAddr, SocketAddr};

use crate::wire::{FastOpenKind, IpHeader, PROTOCOL_TCP, TcpFlags, TcpHeader};

const ETHERNET_LENGTH: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q and 802.1ad tags have four bytes; the last two are the next type.
const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88a8];
const VLAN_LENGTH: usize = 4;
/// More tags than any network stacks.
const MAX_VLANS: usize = 4;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;
/// The length of the header before the packet that an ICMP error quotes.
const ICMP_HEADER_LENGTH: usize = 8;
const UDP_HEADER_LENGTH: usize = 8;

/// The content of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Tcp(Segment),
    Other(Other),
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) endpoints: Endpoints,
    pub(super) flags: TcpFlags,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) payload: usize,
    pub(super) fast_open: Option<FastOpenFact>,
}

/// A fast open option, without its cookie's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FastOpenFact {
    pub(super) kind: FastOpenKind,
    pub(super) cookie: usize,
}

/// A frame that is not a TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) words: String,
    /// Whether it is an ICMP error, which ends or delays connections.
    pub(super) error: bool,
    /// The endpoints of the TCP segment that an ICMP error quotes.
    pub(super) quoted: Option<Endpoints>,
}

/// The two ends of a connection, as a segment names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Endpoints {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

impl Endpoints {
    /// Returns the same value for both directions.
    pub(super) fn canonical(self) -> Self {
        if self.source <= self.destination { self } else { self.reverse() }
    }

    const fn reverse(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

impl Segment {
    /// Returns how many sequence numbers the segment takes: its data, and one each for SYN and FIN.
    pub(super) fn span(&self) -> u32 {
        let payload = u32::try_from(self.payload).unwrap_or(u32::MAX);
        let controls = u32::from(self.flags.syn()) + u32::from(self.flags.fin());
        payload.saturating_add(controls)
    }

    pub(super) const fn opens(&self) -> bool {
        self.flags.syn() && !self.flags.ack()
    }
}

impl Frame {
    /// Parses a frame that begins with its Ethernet header. Accepts any bytes.
    pub(super) fn parse(frame: &[u8]) -> Self {
        let Some((ethertype, packet)) = ethernet(frame) else {
            return Self::other(format!("frame of {} B", frame.len()));
        };
        match ethertype {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => match IpHeader::parse(packet) {
                Ok(header) => Self::of_ip(&header),
                Err(_) => Self::other(format!("malformed IP packet, {} B", packet.len())),
            },
            ETHERTYPE_ARP => Self::other(arp(packet)),
            other => Self::other(format!("Ethernet type 0x{other:04x}, {} B", packet.len())),
        }
    }

    fn of_ip(ip: &IpHeader<'_>) -> Self {
        let length = ip.total_length().saturating_sub(ip.header_length());
        if ip.fragment_offset() != 0 {
            return Self::other(format!("fragment at {}, {length} B", ip.fragment_offset()));
        }
        match ip.protocol() {
            PROTOCOL_TCP => match TcpHeader::parse(ip.payload()) {
                Ok(tcp) => Self::Tcp(segment(ip, &tcp, length)),
                Err(_) => Self::other(format!("malformed TCP segment, {length} B")),
            },
            PROTOCOL_UDP => {
                Self::other(format!("UDP, {} B", length.saturating_sub(UDP_HEADER_LENGTH)))
            }
            PROTOCOL_ICMP => Self::of_icmp(icmp_words, ip.payload()),
            PROTOCOL_ICMPV6 => Self::of_icmp(icmpv6_words, ip.payload()),
            other => Self::other(format!("IP protocol {other}, {length} B")),
        }
    }

    fn of_icmp(words: fn(u8, u8) -> (String, bool), message: &[u8]) -> Self {
        let [kind, code, ..] = *message else {
            return Self::other("malformed ICMP message".to_owned());
        };
        let (words, error) = words(kind, code);
        let quoted = message.get(ICMP_HEADER_LENGTH..).filter(|_| error).and_then(quoted);
        Self::Other(Other { words, error, quoted })
    }

    const fn other(words: String) -> Self {
        Self::Other(Other { words, error: false, quoted: None })
    }
}

/// Returns the type, and the payload after the header and its VLAN tags.
fn ethernet(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut end = ETHERNET_LENGTH;
    for _ in 0..=MAX_VLANS {
        let field = frame.get(end - 2..end)?;
        let ethertype = u16::from_be_bytes(field.try_into().ok()?);
        if !ETHERTYPES_VLAN.contains(&ethertype) {
            return Some((ethertype, frame.get(end..)?));
        }
        end += VLAN_LENGTH;
    }
    None
}

fn segment(ip: &IpHeader<'_>, tcp: &TcpHeader<'_>, length: usize) -> Segment {
    Segment {
        endpoints: endpoints(
            ip.source(),
            ip.destination(),
            tcp.source_port(),
            tcp.destination_port(),
        ),
        flags: tcp.flags(),
        sequence: tcp.sequence(),
        acknowledgment: tcp.acknowledgment(),
        payload: length.saturating_sub(tcp.header_length()),
        fast_open: tcp.options().fast_open().map(|option| FastOpenFact {
            kind: option.kind,
            cookie: option.cookie.as_bytes().len(),
        }),
    }
}

fn endpoints(source: IpAddr, destination: IpAddr, from: u16, to: u16) -> Endpoints {
    Endpoints {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    }
}

/// Returns the endpoints of the TCP segment that an ICMP error quotes. The quote contains at least the ports.
fn quoted(bytes: &[u8]) -> Option<Endpoints> {
    let ip = IpHeader::parse(bytes).ok()?;
    if ip.protocol() != PROTOCOL_TCP || ip.fragment_offset() != 0 {
        return None;
    }
    let [a, b, c, d, ..] = *ip.payload() else { return None };
    let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(endpoints(ip.source(), ip.destination(), from, to))
}

fn arp(packet: &[u8]) -> String {
    match packet.get(6..8) {
        Some([0, 1]) => "ARP request".to_owned(),
        Some([0, 2]) => "ARP reply".to_owned(),
        _ => "ARP".to_owned(),
    }
}

/// Returns the message's meaning, and whether it is an error.
///
/// # References
/// - [IANA, ICMP Parameters](https://www.iana.org/assignments/icmp-parameters)
fn icmp_words(kind: u8, code: u8) -> (String, bool) {
    let words = match (kind, code) {
        (0, _) => return ("ICMP echo reply".to_owned(), false),
        (8, _) => return ("ICMP echo request".to_owned(), false),
        (3, 0) => "ICMP network unreachable",
        (3, 1) => "ICMP host unreachable",
        (3, 2) => "ICMP protocol unreachable",
        (3, 3) => "ICMP port unreachable",
        (3, 4) => "ICMP fragmentation needed",
        (3, 9 | 10 | 13) => "ICMP prohibited",
        (3, _) => "ICMP unreachable",
        (5, _) => "ICMP redirect",
        (11, _) => "ICMP time exceeded",
        (12, _) => "ICMP parameter problem",
        _ => return (format!("ICMP type {kind}"), false),
    };
    (words.to_owned(), true)
}

/// Returns the message's meaning, and whether it is an error.
///
/// # References
/// - [IANA, ICMPv6 Parameters](https://www.iana.org/assignments/icmpv6-parameters)
fn icmpv6_words(kind: u8, code: u8) -> (String, bool) {
    let words = match (kind, code) {
        (1, 0) => "ICMPv6 no route",
        (1, 1 | 5) => "ICMPv6 prohibited",
        (1, 3) => "ICMPv6 address unreachable",
        (1, 4) => "ICMPv6 port unreachable",
        (1, _) => "ICMPv6 unreachable",
        (2, _) => "ICMPv6 packet too big",
        (3, _) => "ICMPv6 time exceeded",
        (4, _) => "ICMPv6 parameter problem",
        (128, _) => "ICMPv6 echo request",
        (129, _) => "ICMPv6 echo reply",
        (130..=132 | 143, _) => "multicast listener message",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "neighbour solicitation",
        (136, _) => "neighbour advertisement",
        _ => return (format!("ICMPv6 type {kind}"), false),
    };
    (words.to_owned(), kind < 128)
}
