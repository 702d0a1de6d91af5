//! A frame that boxes may change: its TCP segment, and the checksums afterwards.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::wire::checksum::Checksum;
use crate::wire::{FastOpenKind, FastOpenOption, IpHeader, PROTOCOL_TCP, TcpFlags, TcpHeader};

/// The bytes of an Ethernet header: two addresses and a type.
const ETHERNET: usize = 14;
/// The TCP option that means nothing.
const NOP: u8 = 1;

/// A frame with a TCP segment in it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    bytes: Vec<u8>,
    v6: bool,
    /// Where the TCP header begins.
    tcp: usize,
    /// Where its options end and the data begins.
    data: usize,
    source: SocketAddr,
    destination: SocketAddr,
    flags: TcpFlags,
    sequence: u32,
}

/// A connection, as the client's side of a path sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

impl Segment {
    /// `None`: the frame holds no whole TCP segment of a form that boxes know.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let ip = IpHeader::parse(bytes.get(ETHERNET..)?).ok()?;
        if ip.protocol() != PROTOCOL_TCP || ip.fragment_offset() != 0 {
            return None;
        }
        let tcp = TcpHeader::parse(ip.payload()).ok()?;
        let start = ETHERNET + ip.header_length();
        // Behind the packet there may be padding of the frame.
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

    /// The fast open option, whatever its kind.
    pub(super) fn fast_open(&self) -> Option<FastOpenOption<'_>> {
        let tcp = TcpHeader::parse(self.bytes.get(self.tcp..)?).ok()?;
        // Found in the header, to be borrowed from `self`.
        let kind = tcp.options().fast_open()?.kind;
        let place = self.option_place(kind)?;
        let skip = if kind == FastOpenKind::Standard { 2 } else { 4 };
        Some(FastOpenOption { kind, cookie: self.bytes.get(place.start + skip..place.end)? })
    }

    /// Where the fast open option of this kind stands.
    fn option_place(&self, kind: FastOpenKind) -> Option<Range<usize>> {
        let Range { start: mut at, end } = self.options();
        while at < end {
            let len = match *self.bytes.get(at)? {
                0 => return None,
                NOP => 1,
                _ => usize::from(*self.bytes.get(at + 1)?),
            };
            let place = at..at + len;
            if len == 0 || place.end > end {
                return None;
            }
            let bytes = self.bytes.get(place.clone())?;
            let found = match kind {
                FastOpenKind::Standard => bytes.first() == Some(&34),
                FastOpenKind::Experimental => {
                    bytes.first() == Some(&254) && bytes.get(2..4) == Some(&[0xf9, 0x89])
                }
            };
            if found {
                return Some(place);
            }
            at += len;
        }
        None
    }

    /// Writes NOPs over the fast open option of this kind, as `nft reset tcp option` does.
    pub(super) fn overwrite_option(&mut self, kind: FastOpenKind) -> bool {
        let Some(place) = self.option_place(kind) else { return false };
        self.bytes[place].fill(NOP);
        self.finish();
        true
    }

    /// Cuts the segment's data off.
    pub(super) fn remove_data(&mut self) {
        self.bytes.truncate(self.data);
        let len = self.bytes.len() - ETHERNET;
        if self.v6 {
            self.set_be16(ETHERNET + 4, len - 40);
        } else {
            self.set_be16(ETHERNET + 2, len);
        }
        self.finish();
    }

    /// Changes each bit of the cookie's first byte.
    pub(super) fn corrupt_cookie(&mut self) -> bool {
        let Some(option) = self.fast_open().filter(|option| !option.cookie.is_empty()) else {
            return false;
        };
        let Some(place) = self.option_place(option.kind) else { return false };
        let skip = if option.kind == FastOpenKind::Standard { 2 } else { 4 };
        self.bytes[place.start + skip] ^= 0xff;
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

    /// The reset that answers this segment, as a closed port would send it (RFC 9293, section 3.10.7.1).
    pub(super) fn reset(&self) -> Self {
        let mut answer = self.clone();
        let (destination, source) = (&self.bytes[..6], &self.bytes[6..12]);
        answer.bytes[..6].copy_from_slice(source);
        answer.bytes[6..12].copy_from_slice(destination);
        // No options, no data.
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
        let syn_and_data =
            u32::try_from(self.data_len()).unwrap_or(0) + u32::from(self.flags.syn());
        let acknowledgment = self.sequence.wrapping_add(syn_and_data);
        answer.bytes[self.tcp + 4..self.tcp + 8].fill(0);
        answer.bytes[self.tcp + 8..self.tcp + 12].copy_from_slice(&acknowledgment.to_be_bytes());
        // A header of five words; RST and ACK; no window.
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

    /// Makes the checksums right again.
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

    /// Whether the checksums fit; for tests.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let mut again = self.clone();
        again.finish();
        again.bytes == self.bytes
    }
}
