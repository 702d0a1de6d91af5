//! A frame that boxes may change: its TCP segment, with correct checksums afterwards.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::uapi::TCPOPT_FASTOPEN_MAGIC;
use crate::wire::checksum::Checksum;
use crate::wire::{
    FastOpenKind, FastOpenOption, IpHeader, PROTOCOL_TCP, TcpFlags, TcpHeader, TcpOption,
    TcpOptions,
};

/// The length of an Ethernet header: two addresses and a type.
pub(super) const ETHERNET: usize = 14;
pub(super) const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// The TCP option that means nothing. It has no length, like the end of the list (0).
const NOP: u8 = 1;
const KIND_MSS: u8 = 2;
/// The bytes of options that a header has at most.
const MAX_OPTIONS: usize = 40;

/// A frame that contains a TCP segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    bytes: Vec<u8>,
    v6: bool,
    /// The offset of the TCP header.
    tcp: usize,
    /// The offset where the options end and the data begins.
    data: usize,
    source: SocketAddr,
    destination: SocketAddr,
    flags: TcpFlags,
    sequence: u32,
}

/// A connection, named from the client's side of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

impl Segment {
    /// Parses a frame. `None`: it contains no complete TCP segment that boxes can change.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let packet = bytes.get(ETHERNET..)?;
        let ip = IpHeader::parse(packet).ok()?;
        let kind = if ip.source().is_ipv6() { TYPE_IPV6 } else { TYPE_IPV4 };
        let is_its_kind = bytes.get(ETHERNET - 2..ETHERNET)? == kind;
        if !is_its_kind || ip.protocol() != PROTOCOL_TCP || is_fragment(&ip, packet) {
            return None;
        }
        let tcp = TcpHeader::parse(ip.payload()).ok()?;
        let start = ETHERNET + ip.header_length();
        // The frame may have padding after the packet.
        let end = ETHERNET.checked_add(ip.total_length()).filter(|end| *end <= bytes.len())?;
        Some(Self {
            bytes: bytes.get(..end)?.to_vec(),
            v6: ip.source().is_ipv6(),
            tcp: start,
            data: start + tcp.header_length(),
            source: SocketAddr::new(ip.source(), tcp.source_port()),
            destination: SocketAddr::new(ip.destination(), tcp.destination_port()),
            flags: tcp.flags(),
            sequence: tcp.sequence(),
        })
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn source(&self) -> SocketAddr {
        self.source
    }

    pub(super) fn destination(&self) -> SocketAddr {
        self.destination
    }

    pub(super) fn is_syn(&self) -> bool {
        self.flags.syn() && !self.flags.ack()
    }

    pub(super) fn is_syn_ack(&self) -> bool {
        self.flags.syn() && self.flags.ack()
    }

    pub(super) fn data_len(&self) -> usize {
        self.bytes.len().saturating_sub(self.data)
    }

    fn options(&self) -> Range<usize> {
        self.tcp + 20..self.data
    }

    /// Returns the fast open option of either kind.
    pub(super) fn fast_open(&self) -> Option<FastOpenOption> {
        TcpOptions::new(self.bytes.get(self.options())?).fast_open()
    }

    /// Returns the offset of the first option for which `wanted` returns a value, and that value.
    fn find_option<T>(
        &self,
        wanted: impl Fn(&TcpOption<'_>) -> Option<T>,
    ) -> Option<(Range<usize>, T)> {
        let mut at = self.options().start;
        for option in TcpOptions::new(self.bytes.get(self.options())?).map_while(Result::ok) {
            let len = if option.kind() <= NOP { 1 } else { 2 + option.body().len() };
            if let Some(found) = wanted(&option) {
                return Some((at..at + len, found));
            }
            at += len;
        }
        None
    }

    /// Overwrites each fast open option of this kind with NOPs, as `nft reset tcp option` does, including one whose
    /// cookie has an impossible length.
    pub(super) fn overwrite_option(&mut self, kind: FastOpenKind) -> bool {
        let magic: &[u8] = match kind {
            FastOpenKind::Standard => &[],
            FastOpenKind::Experimental => &TCPOPT_FASTOPEN_MAGIC,
        };
        let wanted = |option: &TcpOption<'_>| {
            (option.kind() == kind.number() && option.body().starts_with(magic)).then_some(())
        };
        let mut found = false;
        while let Some((place, ())) = self.find_option(wanted) {
            self.bytes[place].fill(NOP);
            found = true;
        }
        if found {
            self.finish();
        }
        found
    }

    /// Overwrites every option of this kind with NOPs. Returns whether there was one.
    pub(super) fn overwrite_kind(&mut self, kind: u8) -> bool {
        let mut found = false;
        while let Some((place, ())) = self.find_option(|it| (it.kind() == kind).then_some(())) {
            self.bytes[place].fill(NOP);
            found = true;
        }
        if found {
            self.finish();
        }
        found
    }

    /// Removes the first fast open option, whatever its kind, and shortens the header to whole words. Returns
    /// whether there was one.
    pub(super) fn remove_fast_open(&mut self) -> bool {
        let wanted = |option: &TcpOption<'_>| option.fast_open().map(drop);
        let Some((place, ())) = self.find_option(wanted) else { return false };
        let (start, data) = (self.options().start, self.data);
        let mut options = self.bytes[start..data].to_vec();
        options.drain(place.start - start..place.end - start);
        // Removes the padding behind the option as well.
        while options.last() == Some(&NOP) {
            options.pop();
        }
        options.resize(options.len().next_multiple_of(4), NOP);
        self.replace_options(&options);
        true
    }

    /// Replaces option 34 by the experimental option 254, if the header has room for its magic number. Returns
    /// whether it did.
    pub(super) fn renumber_fast_open(&mut self) -> bool {
        let wanted = |option: &TcpOption<'_>| {
            option.fast_open().filter(|it| it.kind == FastOpenKind::Standard)
        };
        let Some((place, option)) = self.find_option(wanted) else { return false };
        let (start, data) = (self.options().start, self.data);
        let cookie = option.cookie.as_bytes();
        let length = u8::try_from(4 + cookie.len()).unwrap_or(0);
        let other =
            [&[FastOpenKind::Experimental.number(), length], &TCPOPT_FASTOPEN_MAGIC[..], cookie];
        let mut options = self.bytes[start..data].to_vec();
        options.splice(place.start - start..place.end - start, other.concat());
        while options.last() == Some(&NOP) {
            options.pop();
        }
        options.resize(options.len().next_multiple_of(4), NOP);
        if options.len() > MAX_OPTIONS {
            return false;
        }
        self.replace_options(&options);
        true
    }

    /// Lowers the maximum segment size to `most`. Returns the previous value if it was larger.
    pub(super) fn clamp_mss(&mut self, most: u16) -> Option<u16> {
        let value = |option: &TcpOption<'_>| match (option.kind(), option.body()) {
            (KIND_MSS, &[high, low]) => Some(u16::from_be_bytes([high, low])),
            _ => None,
        };
        let (place, before) = self.find_option(value).filter(|(_, mss)| *mss > most)?;
        self.bytes[place.end - 2..place.end].copy_from_slice(&most.to_be_bytes());
        self.finish();
        Some(before)
    }

    /// Replaces the header's options. The length of the new ones must be a multiple of 4.
    fn replace_options(&mut self, options: &[u8]) {
        let start = self.options().start;
        self.bytes.splice(start..self.data, options.iter().copied());
        self.data = start + options.len();
        let words = u8::try_from((20 + options.len()) / 4).unwrap_or(15);
        self.bytes[self.tcp + 12] = words << 4 | (self.bytes[self.tcp + 12] & 0x0f);
        self.set_length();
        self.finish();
    }

    /// Removes the segment's data.
    pub(super) fn remove_data(&mut self) {
        self.bytes.truncate(self.data);
        self.set_length();
        self.finish();
    }

    /// Writes the packet's length into its IP header.
    fn set_length(&mut self) {
        let len = self.bytes.len() - ETHERNET;
        if self.v6 {
            self.set_be16(ETHERNET + 4, len - 40);
        } else {
            self.set_be16(ETHERNET + 2, len);
        }
    }

    /// Inverts the first byte of the cookie.
    pub(super) fn corrupt_cookie(&mut self) -> bool {
        let cookie_len = |option: &TcpOption<'_>| {
            option.fast_open().map(|it| it.cookie.as_bytes().len()).filter(|len| *len > 0)
        };
        let Some((place, len)) = self.find_option(cookie_len) else { return false };
        self.bytes[place.end - len] ^= 0xff;
        self.finish();
        true
    }

    pub(super) fn set_source(&mut self, ip: IpAddr) {
        self.set_ip(if self.v6 { 8 } else { 12 }, ip);
        self.source.set_ip(ip);
        self.finish();
    }

    pub(super) fn set_destination(&mut self, ip: IpAddr) {
        self.set_ip(if self.v6 { 24 } else { 16 }, ip);
        self.destination.set_ip(ip);
        self.finish();
    }

    /// Returns the reset with which a closed port would answer this segment (RFC 9293, section 3.10.7.1).
    pub(super) fn reset(&self) -> Self {
        let mut answer = self.clone();
        let (destination, source) = (&self.bytes[..6], &self.bytes[6..12]);
        answer.bytes[..6].copy_from_slice(source);
        answer.bytes[6..12].copy_from_slice(destination);
        // The reset has no options and no data.
        answer.data = self.tcp + 20;
        answer.remove_data();
        answer.set_source(self.destination.ip());
        answer.set_destination(self.source.ip());
        answer.source.set_port(self.destination.port());
        answer.destination.set_port(self.source.port());
        let ports = [self.destination.port(), self.source.port()];
        for (at, port) in [self.tcp, self.tcp + 2].into_iter().zip(ports) {
            answer.set_be16(at, port.into());
        }
        let length = u32::try_from(self.data_len()).unwrap_or(0)
            + u32::from(self.flags.syn())
            + u32::from(self.flags.fin());
        let acknowledgment = self.sequence.wrapping_add(length);
        answer.bytes[self.tcp + 4..self.tcp + 8].fill(0);
        answer.bytes[self.tcp + 8..self.tcp + 12].copy_from_slice(&acknowledgment.to_be_bytes());
        // A new packet starts with a new TTL.
        answer.bytes[ETHERNET + if self.v6 { 7 } else { 8 }] = 64;
        // Writes a header of five words; RST and ACK; no window.
        answer.bytes[self.tcp + 12..self.tcp + 16].copy_from_slice(&[5 << 4, 0x14, 0, 0]);
        answer.finish();
        answer
    }

    fn set_ip(&mut self, at: usize, ip: IpAddr) {
        let at = ETHERNET + at;
        match ip {
            IpAddr::V4(v4) => self.bytes[at..at + 4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => self.bytes[at..at + 16].copy_from_slice(&v6.octets()),
        }
    }

    fn set_be16(&mut self, at: usize, value: usize) {
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        self.bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Updates the checksums.
    fn finish(&mut self) {
        if !self.v6 {
            let header = ETHERNET..self.tcp;
            self.bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
            let sum = Checksum::default().add(&self.bytes[header]).finish();
            self.bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum);
        }
        let addresses =
            if self.v6 { ETHERNET + 8..ETHERNET + 40 } else { ETHERNET + 12..ETHERNET + 20 };
        self.bytes[self.tcp + 16..self.tcp + 18].fill(0);
        let segment = &self.bytes[self.tcp..];
        let sum = Checksum::default()
            .add(&self.bytes[addresses])
            .add_u32(PROTOCOL_TCP.into())
            .add_u32(u32::try_from(segment.len()).unwrap_or(0))
            .add(segment)
            .finish();
        self.bytes[self.tcp + 16..self.tcp + 18].copy_from_slice(&sum);
    }
}

/// Returns whether a packet is a fragment, whose checksum covers more than the bytes at hand.
fn is_fragment(ip: &IpHeader<'_>, packet: &[u8]) -> bool {
    const IPV6_FRAGMENT: u8 = 44;
    const IPV4_MORE_FRAGMENTS: u8 = 0x20;
    let more = packet.get(6).is_some_and(|&field| {
        if ip.source().is_ipv6() {
            field == IPV6_FRAGMENT
        } else {
            field & IPV4_MORE_FRAGMENTS != 0
        }
    });
    more || ip.fragment_offset() != 0
}

/// Segments for testing boxes, and a check of what the boxes did.
#[cfg(test)]
pub(super) mod sample {
    use etherparse::TcpSlice;

    use super::*;

    pub(crate) const COOKIE: [u8; 8] = [0x49, 0xe6, 0xbf, 0xa1, 0x7d, 0x02, 0x3b, 0x07];
    /// MSS, SACK permitted, timestamps, NOP, window scale: the options that Linux puts before the fast open option.
    pub(crate) const BEFORE: [u8; 20] =
        [2, 4, 5, 0xb4, 4, 2, 8, 10, 0xf3, 0x52, 0xb4, 0x3d, 0, 0, 0, 0, 1, 3, 3, 10];
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const SYN_ACK: u8 = 0x12;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const SEQUENCE: u32 = 0xffff_fff0;

    /// Returns the option as in a header, padded with NOPs to whole words.
    pub(crate) fn option(kind: FastOpenKind, cookie: &[u8]) -> Vec<u8> {
        let magic: &[u8] =
            if kind == FastOpenKind::Experimental { &TCPOPT_FASTOPEN_MAGIC } else { &[] };
        let len = u8::try_from(2 + magic.len() + cookie.len()).unwrap();
        let mut bytes = [&[kind.number(), len], magic, cookie].concat();
        bytes.resize(bytes.len().next_multiple_of(4), NOP);
        bytes
    }

    /// Returns a frame from port 40000 to 2222, with correct lengths and checksums.
    pub(crate) fn frame(v6: bool, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x9c, 0x40, 0x08, 0xae];
        segment.extend(SEQUENCE.to_be_bytes());
        segment.extend(7_u32.to_be_bytes());
        let words = u8::try_from((20 + options.len()) / 4).unwrap();
        segment.extend([words << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(data);
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        let len = u16::try_from(segment.len()).unwrap();
        if v6 {
            bytes.extend(TYPE_IPV6);
            bytes.extend([0x60, 0x02, 0x34, 0x56]);
            bytes.extend(len.to_be_bytes());
            bytes.extend([PROTOCOL_TCP, 64]);
            bytes.extend(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
            bytes.extend(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets());
        } else {
            bytes.extend(TYPE_IPV4);
            bytes.extend([0x45, 0]);
            bytes.extend((len + 20).to_be_bytes());
            bytes.extend([0x6b, 0xc5, 0x40, 0, 64, PROTOCOL_TCP, 0, 0]);
            bytes.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        }
        bytes.extend(segment);
        let mut segment = Segment::parse(&bytes).expect("a whole segment");
        segment.finish();
        assert_sound(&segment);
        segment.into_bytes()
    }

    pub(crate) fn segment(v6: bool, flags: u8, options: &[u8], data: &[u8]) -> Segment {
        Segment::parse(&frame(v6, flags, options, data)).expect("a whole segment")
    }

    /// Returns a SYN of Linux with this option after the usual ones.
    pub(crate) fn syn(v6: bool, option: &[u8], data: &[u8]) -> Segment {
        segment(v6, SYN, &[&BEFORE, option].concat(), data)
    }

    /// Asserts that lengths and checksums are correct, and that the segment's fields agree with its bytes. Computes
    /// the sums from the bytes, not with the code under test.
    #[track_caller]
    pub(crate) fn assert_sound(segment: &Segment) {
        let packet = &segment.bytes[ETHERNET..];
        let ip = IpHeader::parse(packet).expect("an IP header");
        assert_eq!(ip.total_length(), packet.len(), "the IP header tells its packet's length");
        let tcp = TcpSlice::from_slice(ip.payload()).expect("a TCP header");
        let addresses = if segment.v6 { &packet[8..40] } else { &packet[12..20] };
        let len = u32::try_from(ip.payload().len()).unwrap();
        assert_eq!(
            sum(&[addresses, &6_u32.to_be_bytes(), &len.to_be_bytes(), ip.payload()]),
            0xffff
        );
        if !segment.v6 {
            assert_eq!(sum(&[&packet[..ip.header_length()]]), 0xffff, "the IPv4 header's checksum");
        }
        assert_eq!(SocketAddr::new(ip.source(), tcp.source_port()), segment.source());
        assert_eq!(
            SocketAddr::new(ip.destination(), tcp.destination_port()),
            segment.destination()
        );
        assert_eq!(tcp.payload().len(), segment.data_len());
    }

    fn sum(parts: &[&[u8]]) -> u64 {
        let words = parts.iter().flat_map(|part| part.chunks(2));
        let mut sum: u64 = words
            .map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u64::from(low)))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    /// Returns the TCP header, parsed by another library.
    pub(crate) fn header(segment: &Segment) -> TcpSlice<'_> {
        let ip = IpHeader::parse(&segment.bytes[ETHERNET..]).expect("an IP header");
        TcpSlice::from_slice(ip.payload()).expect("a TCP header")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::FastOpenKind::{Experimental, Standard};
    use super::sample::*;
    use super::*;
    use crate::cookie::FastOpenCookie;

    const KINDS: [FastOpenKind; 2] = [Standard, Experimental];

    fn fast_open(kind: FastOpenKind, cookie: &[u8]) -> FastOpenOption {
        FastOpenOption { kind, cookie: FastOpenCookie::new(cookie).unwrap() }
    }

    /// SYNs of both families and both kinds, with request and cookie, with and without data.
    fn syns() -> impl Iterator<Item = (bool, FastOpenKind, &'static [u8], &'static [u8])> {
        let cookies: [&[u8]; 3] = [&[], &COOKIE, &[1, 2, 3, 4]];
        let messages: [&[u8]; 3] = [&[], b"odd", b"even"];
        [false, true].into_iter().flat_map(move |v6| {
            KINDS.into_iter().flat_map(move |kind| {
                cookies.into_iter().flat_map(move |cookie| {
                    messages.into_iter().map(move |data| (v6, kind, cookie, data))
                })
            })
        })
    }

    #[test]
    fn a_syn_is_read_as_it_is() {
        for (v6, kind, cookie, data) in syns() {
            let segment = syn(v6, &option(kind, cookie), data);
            assert!(segment.is_syn() && !segment.is_syn_ack());
            assert_eq!(segment.fast_open(), Some(fast_open(kind, cookie)));
            assert_eq!(segment.data_len(), data.len());
            assert_eq!((segment.source().port(), segment.destination().port()), (40_000, 2222));
            assert_eq!(segment.source().is_ipv6(), v6);
        }
    }

    #[test]
    fn an_option_becomes_nops_and_the_rest_stays() {
        for (v6, kind, cookie, data) in syns() {
            let option = option(kind, cookie);
            let mut segment = syn(v6, &option, data);
            let other = KINDS.into_iter().find(|other| *other != kind).unwrap();
            assert!(!segment.overwrite_option(other), "{kind:?} is not {other:?}");
            assert!(segment.fast_open().is_some(), "and stays");
            assert!(segment.overwrite_option(kind));
            assert_sound(&segment);
            assert_eq!(segment.fast_open(), None);
            let nops = vec![NOP; option.len()];
            assert_eq!(header(&segment).options(), [&BEFORE, &nops[..]].concat());
            assert_eq!(header(&segment).payload(), data);
            assert!(!segment.overwrite_option(kind), "there is nothing left to overwrite");
        }
    }

    #[test]
    fn only_real_options_of_the_kind_are_overwritten() {
        let mut twice = syn(false, &[34, 2, 34, 6, 34, 2, 34, 2], b"x");
        assert!(twice.overwrite_option(Standard));
        assert_eq!(header(&twice).options()[20..], [NOP; 8]);
        // No cookie has this length.
        let mut odd = syn(false, &[34, 5, 1, 2, 3, 1, 1, 1], b"x");
        assert!(!odd.corrupt_cookie(), "it holds no cookie");
        assert!(odd.overwrite_option(Standard));
        // Another experiment, and a body that looks like the option.
        let mut other = syn(false, &[254, 4, 0x12, 0x34, 200, 4, 34, 2], b"x");
        assert!(!other.overwrite_option(Standard) && !other.overwrite_option(Experimental));
        assert_sound(&other);
        // After the end of the list there are no options.
        let mut hidden = syn(false, &[0, 34, 2, 0], b"x");
        assert!(!hidden.overwrite_option(Standard));
        // A malformed option ends the list too.
        for broken in [[34, 1, 1, 1], [34, 0, 1, 1], [1, 1, 1, 34], [34, 200, 1, 1]] {
            let mut broken = syn(true, &broken, b"x");
            assert!(!broken.overwrite_option(Standard) && !broken.corrupt_cookie());
            assert_eq!(broken.fast_open(), None);
        }
    }

    #[test]
    fn removed_option_shortens_the_header() {
        for (v6, kind, cookie, data) in syns() {
            let mut segment = syn(v6, &option(kind, cookie), data);
            assert!(segment.remove_fast_open());
            assert_sound(&segment);
            assert_eq!(segment.fast_open(), None);
            assert_eq!(header(&segment).options(), BEFORE);
            assert_eq!(header(&segment).payload(), data);
            assert!(!segment.remove_fast_open(), "no option is left");
        }
    }

    #[test]
    fn renumbered_option_keeps_its_cookie() {
        for (v6, kind, cookie, data) in syns() {
            let mut segment = syn(v6, &option(kind, cookie), data);
            assert_eq!(segment.renumber_fast_open(), kind == Standard);
            assert_sound(&segment);
            assert_eq!(segment.fast_open(), Some(fast_open(Experimental, cookie)));
            assert_eq!(header(&segment).payload(), data);
        }
        let full = [&[254, 20, 0, 0][..], &[0; 16]].concat();
        let mut full = syn(false, &full, b"x");
        assert!(!full.renumber_fast_open(), "the segment has no option 34");
    }

    #[test]
    fn mss_is_lowered_and_never_raised() {
        for v6 in [false, true] {
            let mut segment = syn(v6, &[], b"x");
            assert_eq!(segment.clamp_mss(1200), Some(1460));
            assert_sound(&segment);
            assert_eq!(segment.clamp_mss(1300), None);
            assert_eq!(header(&segment).options()[..4], [2, 4, 0x04, 0xb0]);
            assert!(segment.overwrite_kind(3) && !segment.overwrite_kind(3));
            assert_sound(&segment);
            assert_eq!(header(&segment).options()[16..], [NOP; 4]);
        }
    }

    #[test]
    fn removing_data_keeps_the_option() {
        for (v6, kind, cookie, data) in syns() {
            let mut segment = syn(v6, &option(kind, cookie), data);
            segment.remove_data();
            assert_sound(&segment);
            assert_eq!(segment.data_len(), 0);
            assert_eq!(segment.fast_open(), Some(fast_open(kind, cookie)));
        }
    }

    #[test]
    fn a_cookie_is_changed_and_keeps_its_length() {
        for (v6, kind, cookie, data) in syns() {
            let mut segment = syn(v6, &option(kind, cookie), data);
            assert_eq!(segment.corrupt_cookie(), !cookie.is_empty(), "a request holds none");
            assert_sound(&segment);
            let found = segment.fast_open().expect("the option is still one");
            let mut expected = cookie.to_vec();
            expected.iter_mut().take(1).for_each(|first| *first ^= 0xff);
            assert_eq!(found, fast_open(kind, &expected));
            assert_eq!(header(&segment).payload(), data);
        }
    }

    #[test]
    fn corrupt_cookie_changes_the_option_that_the_kernel_uses() {
        // The kernel does not accept the first option.
        let mut segment = syn(false, &[34, 5, 9, 9, 9, 34, 6, 1, 2, 3, 4, 1], b"x");
        assert!(segment.corrupt_cookie());
        assert_eq!(segment.fast_open().unwrap().cookie.as_bytes(), [0xfe, 2, 3, 4]);
        assert_sound(&segment);
    }

    #[test]
    fn addresses_are_translated() {
        for (v6, kind, cookie, data) in syns() {
            let mut segment = syn(v6, &option(kind, cookie), data);
            let (a, b): (IpAddr, IpAddr) = if v6 {
                (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, 8).into())
            } else {
                (Ipv4Addr::new(198, 51, 100, 7).into(), Ipv4Addr::new(255, 254, 253, 252).into())
            };
            segment.set_source(a);
            segment.set_destination(b);
            assert_sound(&segment);
            assert_eq!((segment.source().ip(), segment.destination().ip()), (a, b));
            assert_eq!(header(&segment).payload(), data);
        }
    }

    #[test]
    fn a_reset_is_what_a_closed_port_sends() {
        for (v6, kind, cookie, data) in syns() {
            let segment = syn(v6, &option(kind, cookie), data);
            let answer = segment.reset();
            assert_sound(&answer);
            assert_eq!(
                (answer.source(), answer.destination()),
                (segment.destination(), segment.source())
            );
            let tcp = header(&answer);
            let flags = [
                tcp.fin(),
                tcp.syn(),
                tcp.rst(),
                tcp.psh(),
                tcp.ack(),
                tcp.urg(),
                tcp.ece(),
                tcp.cwr(),
            ];
            let expected = [false, false, true, false, true, false, false, false];
            assert_eq!(flags, expected, "RST and ACK, nothing else");
            let len = u32::try_from(data.len()).unwrap();
            // RFC 9293: the sequence number is 0, and the SYN counts as one byte.
            assert_eq!(tcp.sequence_number(), 0);
            assert_eq!(tcp.acknowledgment_number(), SEQUENCE.wrapping_add(1 + len));
            assert_eq!(
                (tcp.header_slice().len(), tcp.payload().len(), tcp.window_size()),
                (20, 0, 0)
            );
            let (to, from) = (&answer.bytes[..6], &answer.bytes[6..12]);
            assert_eq!((to, from), (&segment.bytes[6..12], &segment.bytes[..6]));
        }
    }

    #[test]
    fn padding_of_the_frame_is_not_data() {
        let mut bytes = frame(false, ACK, &[], &[]);
        bytes.resize(60, 0);
        let segment = Segment::parse(&bytes).expect("an acknowledgment in a frame of 60 bytes");
        assert_eq!(segment.data_len(), 0);
        assert_sound(&segment);
    }

    #[test]
    fn frames_that_boxes_cannot_parse_are_unchanged() {
        for v6 in [false, true] {
            let good = frame(v6, SYN, &[], b"data");
            let ip = ETHERNET;
            let damaged = |at: usize, value: u8| {
                let mut bytes = good.clone();
                bytes[at] = value;
                Segment::parse(&bytes)
            };
            assert!(damaged(12, 0x81).is_none(), "another protocol above Ethernet");
            assert!(damaged(ip, 0x55).is_none(), "another version of IP");
            assert!(damaged(if v6 { ip + 6 } else { ip + 9 }, 17).is_none(), "UDP");
            if v6 {
                let mut first = good.clone();
                first[ip + 6] = 44;
                first.splice(ip + 40..ip + 40, [PROTOCOL_TCP, 0, 0, 1, 0, 0, 0, 9]);
                first[ip + 5] += 8;
                assert!(Segment::parse(&first).is_none(), "the first of some fragments");
            } else {
                assert!(damaged(ip + 6, 0x20).is_none(), "the first of some fragments");
                assert!(damaged(ip + 7, 1).is_none(), "a later fragment");
            }
            for keep in 0..good.len() {
                assert!(Segment::parse(&good[..keep]).is_none(), "{keep} of {} bytes", good.len());
            }
        }
    }

    /// Applies everything that boxes do to segments.
    fn use_all(segment: &Segment) {
        let _ = segment.fast_open();
        assert_sound(&segment.reset());
        for kind in KINDS {
            let mut changed = segment.clone();
            if changed.overwrite_option(kind) {
                assert_sound(&changed);
                assert!(changed.fast_open().is_none_or(|option| option.kind != kind));
            }
        }
        let mut changed = segment.clone();
        if changed.corrupt_cookie() {
            assert_sound(&changed);
        }
        let source = segment.source().ip();
        changed.set_destination(source);
        changed.set_source(source);
        changed.remove_data();
        assert_sound(&changed);
        assert_eq!(changed.data_len(), 0);
    }

    proptest! {
        #[test]
        fn hostile_frames_are_handled(
            v6: bool,
            options in proptest::collection::vec(prop_oneof![
                Just(34_u8), Just(254), Just(0xf9), Just(0x89), 0_u8..12, any::<u8>(),
            ], 0..40),
            data in proptest::collection::vec(any::<u8>(), 0..40),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            keep: prop::sample::Index,
            cut: bool,
        ) {
            let mut options = options;
            options.resize(options.len() / 4 * 4, 0);
            let mut bytes = frame(v6, SYN, &options, &data);
            for (at, value) in damage {
                *at.get_mut(&mut bytes) = value;
            }
            if cut {
                bytes.truncate(keep.index(bytes.len()));
            }
            if let Some(segment) = Segment::parse(&bytes) {
                use_all(&segment);
            }
        }

        #[test]
        fn any_bytes_are_handled(mut bytes in proptest::collection::vec(any::<u8>(), 0..160), v6: bool) {
            if let Some(kind) = bytes.get_mut(12..15) {
                let (kind_of_frame, version) = if v6 { (TYPE_IPV6, 0x60) } else { (TYPE_IPV4, 0x45) };
                kind[..2].copy_from_slice(&kind_of_frame);
                kind[2] = version;
            }
            if let Some(protocol) = bytes.get_mut(if v6 { 20 } else { 23 }) {
                *protocol = PROTOCOL_TCP;
            }
            if let Some(segment) = Segment::parse(&bytes) {
                use_all(&segment);
            }
        }
    }
}
