//! ICMP errors of routers, made and translated. No I/O.

use std::net::{IpAddr, SocketAddr};

use super::frame::{ETHERNET, TYPE_IPV4, TYPE_IPV6};
use crate::wire::IpHeader;
use crate::wire::checksum::Checksum;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMP_V6: u8 = 58;
/// The longest ICMP error of IPv4 as Linux makes it (RFC 1812), and of IPv6 (RFC 4443).
const LONGEST: [usize; 2] = [576, 1280];

/// Why a router sends an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IcmpError {
    /// The TTL or hop limit ended in transit.
    TimeExceeded,
    /// Communication is administratively prohibited.
    Prohibited,
    /// The packet does not fit this MTU, and may not be fragmented.
    TooBig(u16),
}

impl IcmpError {
    /// Type, code and the second word.
    fn header(self, v6: bool) -> (u8, u8, u32) {
        match (self, v6) {
            (Self::TimeExceeded, false) => (11, 0, 0),
            (Self::TimeExceeded, true) => (3, 0, 0),
            (Self::Prohibited, false) => (3, 13, 0),
            (Self::Prohibited, true) => (1, 1, 0),
            (Self::TooBig(mtu), false) => (3, 4, mtu.into()),
            (Self::TooBig(mtu), true) => (2, 0, mtu.into()),
        }
    }
}

/// Makes the frame with which `router` answers `frame`. `None`: that one gets no ICMP error, because it is not a
/// packet, or an ICMP error itself, or a later fragment.
///
/// `quote` limits what is quoted from the header above IP on.
pub(super) fn answer(
    frame: &[u8],
    router: IpAddr,
    error: IcmpError,
    quote: Option<usize>,
) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET..)?;
    let ip = IpHeader::parse(packet).ok()?;
    let v6 = ip.source().is_ipv6();
    let is_icmp = ip.protocol() == if v6 { PROTOCOL_ICMP_V6 } else { PROTOCOL_ICMP };
    let asks = ip.payload().first().is_some_and(|kind| if v6 { *kind >= 128 } else { *kind == 8 });
    if ip.fragment_offset() != 0 || (is_icmp && !asks) {
        return None;
    }
    let header = if v6 { 40 } else { 20 };
    let room = LONGEST[usize::from(v6)] - header - 8;
    let whole = packet.len().min(ip.total_length());
    let quoted = quote.map_or(whole, |bytes| whole.min(ip.header_length() + bytes)).min(room);

    let (kind, code, word) = error.header(v6);
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(packet.get(..quoted)?);
    let mut answer = [frame.get(6..12)?, frame.get(..6)?].concat();
    answer.extend(if v6 { TYPE_IPV6 } else { TYPE_IPV4 });
    let length = u16::try_from(message.len()).ok()?;
    match (router, ip.source()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            answer.extend([0x45, 0xc0]);
            answer.extend((length + 20).to_be_bytes());
            answer.extend([0, 0, 0, 0, 64, PROTOCOL_ICMP, 0, 0]);
            answer.extend(from.octets());
            answer.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            answer.extend([0x60, 0, 0, 0]);
            answer.extend(length.to_be_bytes());
            answer.extend([PROTOCOL_ICMP_V6, 64]);
            answer.extend(from.octets());
            answer.extend(to.octets());
        }
        _ => return None,
    }
    answer.extend(message);
    finish(&mut answer, v6);
    Some(answer)
}

/// An ICMP error about a TCP segment: the addresses that it quotes.
pub(super) fn quoted(frame: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (_, inner, _) = parts(frame)?;
    let ip = IpHeader::parse(frame.get(inner..)?).ok()?;
    let ports = frame.get(inner + ip.header_length()..)?.first_chunk::<4>()?;
    let [source, destination] =
        [[ports[0], ports[1]], [ports[2], ports[3]]].map(u16::from_be_bytes);
    (ip.protocol() == crate::wire::PROTOCOL_TCP).then_some(())?;
    Some((SocketAddr::new(ip.source(), source), SocketAddr::new(ip.destination(), destination)))
}

/// Puts the client's own address where an ICMP error has the translated one: as destination, and as source of the
/// quoted packet. The quoted TCP checksum stays as it is.
pub(super) fn translate_back(frame: &mut [u8], client: IpAddr) {
    let Some((outer, inner, v6)) = parts(frame) else { return };
    let (source, destination, length) = if v6 { (8, 24, 16) } else { (12, 16, 4) };
    let address = match client {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    if address.len() != length {
        return;
    }
    for at in [outer + destination, inner + source] {
        if let Some(place) = frame.get_mut(at..at + length) {
            place.copy_from_slice(&address);
        }
    }
    if !v6 {
        let words = frame.get(inner).map_or(0, |first| usize::from(first & 0x0f) * 4);
        fill_checksum(frame, inner..inner + words, inner + 10, Checksum::default());
    }
    finish(frame, v6);
}

/// Where the outer packet of an ICMP error begins, and where the quoted one does; whether IPv6.
fn parts(frame: &[u8]) -> Option<(usize, usize, bool)> {
    let ip = IpHeader::parse(frame.get(ETHERNET..)?).ok()?;
    let v6 = ip.source().is_ipv6();
    let kind = *ip.payload().first()?;
    let is_error = match (v6, ip.protocol()) {
        (false, PROTOCOL_ICMP) => matches!(kind, 3 | 11 | 12),
        (true, PROTOCOL_ICMP_V6) => (1..128).contains(&kind),
        _ => false,
    };
    is_error.then(|| (ETHERNET, ETHERNET + ip.header_length() + 8, v6))
}

/// Makes the checksums of an ICMP error right.
fn finish(frame: &mut [u8], v6: bool) {
    let header = ETHERNET + if v6 { 40 } else { 20 };
    let end = frame.len();
    if v6 {
        let length = u32::try_from(end.saturating_sub(header)).unwrap_or(0);
        let addresses = frame.get(ETHERNET + 8..ETHERNET + 40).unwrap_or_default();
        let pseudo =
            Checksum::default().add(addresses).add_u32(length).add_u32(PROTOCOL_ICMP_V6.into());
        fill_checksum(frame, header..end, header + 2, pseudo);
    } else {
        fill_checksum(frame, ETHERNET..header, ETHERNET + 10, Checksum::default());
        fill_checksum(frame, header..end, header + 2, Checksum::default());
    }
}

fn fill_checksum(frame: &mut [u8], of: std::ops::Range<usize>, at: usize, start: Checksum) {
    if let Some(place) = frame.get_mut(at..at + 2) {
        place.fill(0);
    }
    let sum = start.add(frame.get(of).unwrap_or_default()).finish();
    if let Some(place) = frame.get_mut(at..at + 2) {
        place.copy_from_slice(&sum);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::sample::{BEFORE, SYN, frame};
    use super::super::hop::router_address;
    use super::*;

    fn checked(bytes: &[u8]) -> bool {
        let v6 = bytes[ETHERNET] >> 4 == 6;
        let mut again = bytes.to_vec();
        finish(&mut again, v6);
        again == bytes
    }

    #[test]
    fn an_error_quotes_what_it_answers() {
        for v6 in [false, true] {
            let syn = frame(v6, SYN, &BEFORE, b"data");
            let router = router_address(3, 0, v6);
            let error = answer(&syn, router, IcmpError::TimeExceeded, None).expect("a SYN");
            assert!(checked(&error));
            let ip = IpHeader::parse(&error[ETHERNET..]).expect("a packet");
            let sent = IpHeader::parse(&syn[ETHERNET..]).expect("a packet");
            assert_eq!((ip.source(), ip.destination()), (router, sent.source()));
            assert!(error.ends_with(&syn[ETHERNET..]), "all of it is quoted");
            let (source, destination) = quoted(&error).expect("a TCP segment");
            assert_eq!(source, SocketAddr::new(sent.source(), 40_000));
            assert_eq!(destination, SocketAddr::new(sent.destination(), 2222));
            let short = answer(&syn, router, IcmpError::TimeExceeded, Some(8)).expect("a SYN");
            assert_eq!(error.len() - short.len(), syn.len() - ETHERNET - sent.header_length() - 8);
            assert_eq!(
                answer(&error, router, IcmpError::TimeExceeded, None),
                None,
                "no error for one"
            );
        }
    }

    #[test]
    fn a_long_packet_is_quoted_as_far_as_allowed() {
        let syn = frame(false, SYN, &BEFORE, &[0; 1400]);
        let error = answer(&syn, router_address(1, 0, false), IcmpError::TooBig(1280), None);
        assert_eq!(error.expect("a SYN").len(), ETHERNET + 576);
    }

    #[test]
    fn an_error_is_translated_back() {
        for v6 in [false, true] {
            let syn = frame(v6, SYN, &BEFORE, b"data");
            let mut error =
                answer(&syn, router_address(3, 1, v6), IcmpError::Prohibited, None).expect("a SYN");
            let client = router_address(9, 2, v6);
            translate_back(&mut error, client);
            assert!(checked(&error));
            assert_eq!(
                IpHeader::parse(&error[ETHERNET..]).expect("a packet").destination(),
                client
            );
            assert_eq!(quoted(&error).expect("a segment").0, SocketAddr::new(client, 40_000));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_within_bounds(mut bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            if let Some(first) = bytes.get_mut(ETHERNET) {
                *first = if *first & 1 == 0 { 0x45 } else { 0x60 };
            }
            let _ = answer(&bytes, router_address(1, 0, false), IcmpError::TimeExceeded, Some(8));
            let _ = quoted(&bytes);
            translate_back(&mut bytes, router_address(1, 0, false));
            translate_back(&mut bytes, router_address(1, 0, true));
        }
    }
}
