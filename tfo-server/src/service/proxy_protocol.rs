//! The PROXY protocol: a header before a connection's first bytes, in which a proxy names the addresses of the
//! connection that it forwards. Parses and builds headers, without I/O.
//!
//! # References
//! [The PROXY protocol, versions 1 and 2](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt)

use std::io::Write;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};

use crate::config::values::ProxyOut;

const V1_PREFIX: &[u8] = b"PROXY ";
/// Maximum length of a version 1 line, including its end.
const V1_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the signature, version and command, family and transport, and length field.
const V2_FIXED: usize = 16;
/// Maximum accepted length of a version 2 header. Addresses need at most 216 bytes; the rest is for extensions. A
/// declared length of 64 KiB is an attack.
const V2_MAX: usize = V2_FIXED + 2048;

/// Maximum length of a header: more bytes are never needed to parse one.
pub(crate) const MAX_HEADER: usize = V2_MAX;

/// The addresses of a forwarded connection: the client's, and the one that the client connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProxiedAddresses {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// The result of parsing the bytes received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParseProgress<'a> {
    /// A valid beginning of a header.
    Partial,
    /// A header of the given length; the bytes behind it are the client's. Without addresses the connection is the
    /// proxy's own or the proxy does not know them, and the connection's own addresses apply.
    Header(Option<ProxiedAddresses>, Extensions<'a>, usize),
    /// Not a header, with the reason.
    Malformed(&'static str),
}

/// The extensions of a version 2 header, each a type, a length of two bytes and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extensions<'a>(pub(crate) &'a [u8]);

/// Type of the CRC32C of the whole header, which is computed with zeros in place of this value.
const CHECKSUM: u8 = 0x03;
/// Type of padding.
const NOOP: u8 = 0x04;
static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

impl<'a> Extensions<'a> {
    /// Returns the type and value of the first extension, and the remaining extensions. `None`: there is none, or it
    /// exceeds the header.
    fn split_first(self) -> Option<(u8, &'a [u8], Self)> {
        let (&[kind, high, low], rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        Some((kind, value, Self(rest)))
    }

    /// Returns whether the last extension ends where the header ends.
    fn are_whole(self) -> bool {
        let mut left = self;
        while let Some((_, _, rest)) = left.split_first() {
            left = rest;
        }
        left.0.is_empty()
    }

    /// Returns whether the checksum of `header`, of which these are the extensions, is absent or correct.
    fn is_checksum_valid(self, header: &[u8]) -> bool {
        let (mut left, mut seen) = (self, false);
        while let Some((kind, value, rest)) = left.split_first() {
            left = rest;
            if kind == CHECKSUM {
                let at = header.len() - left.0.len() - value.len();
                if mem::replace(&mut seen, true) || value != checksum(header, at).to_be_bytes() {
                    return false;
                }
            }
        }
        true
    }
}

/// Computes the checksum of `header`, whose checksum value is at `at`.
fn checksum(header: &[u8], at: usize) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(header.get(..at).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(header.get(at + 4..).unwrap_or_default());
    digest.finalize()
}

/// Parses a header at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> ParseProgress<'_> {
    let starts = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    let parsed = if starts(V2_SIGNATURE) {
        parse_v2(bytes)
    } else if starts(V1_PREFIX) {
        parse_v1(bytes)
    } else {
        Err("missing")
    };
    match parsed {
        Ok(Some((origin, extensions, len))) => ParseProgress::Header(origin, extensions, len),
        Ok(None) => ParseProgress::Partial,
        Err(why) => ParseProgress::Malformed(why),
    }
}

type Parsed<'a> = Result<Option<(Option<ProxiedAddresses>, Extensions<'a>, usize)>, &'static str>;

fn parse_v1(bytes: &[u8]) -> Parsed<'_> {
    let within = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < V1_MAX { Ok(None) } else { Err("the line does not end") };
    };
    let line = within.get(..end).unwrap_or_default();
    let text = str::from_utf8(line).map_err(|_| "the line is not text")?;
    let addresses = match text.split(' ').nth(1) {
        Some("UNKNOWN") => None,
        _ => Some(v1_addresses(text).ok_or("the line is malformed")?),
    };
    Ok(Some((addresses, Extensions::default(), end + 2)))
}

/// Accepts only single spaces, and canonical numbers and addresses.
fn v1_addresses(line: &str) -> Option<ProxiedAddresses> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    let mut ip = || {
        let word = words.next()?;
        Some(match family {
            "TCP4" => IpAddr::V4(word.parse().ok()?),
            "TCP6" => IpAddr::V6(word.parse().ok()?),
            _ => return None,
        })
    };
    let (source, destination) = (ip()?, ip()?);
    let mut port = || {
        let digits = words.next()?;
        let canonical = digits.bytes().all(|digit| digit.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'));
        digits.parse::<u16>().ok().filter(|_| canonical)
    };
    let (source_port, destination_port) = (port()?, port()?);
    words.next().is_none().then_some(ProxiedAddresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn parse_v2(bytes: &[u8]) -> Parsed<'_> {
    // Refuse as early as possible, without waiting for the rest.
    let command = match bytes.get(V2_SIGNATURE.len()) {
        None => return Ok(None),
        Some(0x20) => V2Command::Local,
        Some(0x21) => V2Command::Proxy,
        Some(_) => return Err("unknown version or command"),
    };
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else { return Ok(None) };
    let family = fixed[13];
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let len = V2_FIXED + rest;
    if len > V2_MAX {
        return Err("longer than 2048 bytes");
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    let parts = header.get(V2_FIXED..).zip(v2_addresses_len(family));
    let parts = parts.and_then(|(rest, addresses)| rest.split_at_checked(addresses));
    match (command, parts) {
        (_, Some((_, extensions))) if !Extensions(extensions).is_checksum_valid(header) => {
            Err("wrong checksum")
        }
        // Everything behind the command is ignored.
        (V2Command::Local, _) => Ok(Some((None, Extensions::default(), len))),
        (V2Command::Proxy, None) => Err("truncated addresses or unknown family"),
        (V2Command::Proxy, Some((addresses, extensions))) => {
            let extensions = Extensions(extensions);
            if !extensions.are_whole() {
                return Err("an extension exceeds the header");
            }
            let truncated = "truncated addresses";
            let addresses = match family {
                0x11 => Some(v2_ipv4(addresses).ok_or(truncated)?),
                0x21 => Some(v2_ipv6(addresses).ok_or(truncated)?),
                // No address family, or another transport: treated as the proxy's own connection.
                _ => None,
            };
            Ok(Some((addresses, extensions, len)))
        }
    }
}

/// Returns the length of the addresses of this family and transport. `None`: the family is unknown, and the connection
/// must be closed.
fn v2_addresses_len(family: u8) -> Option<usize> {
    match family {
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum V2Command {
    Local,
    Proxy,
}

fn v2_ipv4(bytes: &[u8]) -> Option<ProxiedAddresses> {
    let (source, bytes) = bytes.split_first_chunk::<4>()?;
    let (destination, bytes) = bytes.split_first_chunk::<4>()?;
    v2_client(Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), bytes)
}

fn v2_ipv6(bytes: &[u8]) -> Option<ProxiedAddresses> {
    let (source, bytes) = bytes.split_first_chunk::<16>()?;
    let (destination, bytes) = bytes.split_first_chunk::<16>()?;
    v2_client(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), bytes)
}

fn v2_client(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Option<ProxiedAddresses> {
    let (source_port, bytes) = bytes.split_first_chunk::<2>()?;
    let destination_port = bytes.first_chunk::<2>()?;
    Some(ProxiedAddresses {
        source: SocketAddr::new(source, u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(*destination_port)),
    })
}

/// Appends a header for an upstream. Version 2 includes the extensions of the client's header.
pub(crate) fn build(
    version: ProxyOut,
    addresses: ProxiedAddresses,
    extensions: Extensions<'_>,
    out: &mut Vec<u8>,
) {
    let addresses = in_one_family(addresses);
    match version {
        ProxyOut::Off => {}
        ProxyOut::V1 => {
            let ProxiedAddresses { source, destination } = addresses;
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            let (from_port, to_port) = (source.port(), destination.port());
            // Writing to a vector can't fail.
            let _ = write!(out, "PROXY {family} {from} {to} {from_port} {to_port}\r\n");
        }
        ProxyOut::V2 => build_v2(addresses, extensions, out),
    }
}

/// Appends a version 2 header. Both addresses must be of one family.
fn build_v2(addresses: ProxiedAddresses, extensions: Extensions<'_>, out: &mut Vec<u8>) {
    let ProxiedAddresses { source, destination } = addresses;
    let start = out.len();
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    out.extend_from_slice(V2_SIGNATURE);
    out.extend_from_slice(&[0x21, family, 0, 0]);
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    for port in [source.port(), destination.port()] {
        out.extend_from_slice(&port.to_be_bytes());
    }
    let checksum_at = append(extensions, out);
    let Some(header) = out.get_mut(start..) else { return };
    // The extensions came from a header of at most `V2_MAX` bytes.
    let len = u16::try_from(header.len() - V2_FIXED).unwrap_or(u16::MAX);
    put(header, V2_FIXED - 2, &len.to_be_bytes());
    if let Some(at) = checksum_at {
        let sum = checksum(header, at - start);
        put(header, at - start, &sum.to_be_bytes());
    }
}

/// Appends the extensions without padding. Returns the position of the checksum value.
fn append(extensions: Extensions<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let (mut left, mut checksum_at) = (extensions, None);
    while let Some((kind, value, rest)) = left.split_first() {
        let len = left.0.len() - rest.0.len();
        if kind != NOOP {
            out.extend_from_slice(left.0.get(..len).unwrap_or_default());
        }
        if kind == CHECKSUM {
            checksum_at = Some(out.len() - value.len());
        }
        left = rest;
    }
    checksum_at
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (target, byte) in bytes.iter_mut().skip(at).zip(value) {
        *target = *byte;
    }
}

/// Converts the addresses to one family. IPv4-mapped addresses become IPv4; if the families differ, both become IPv6.
fn in_one_family(addresses: ProxiedAddresses) -> ProxiedAddresses {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let (source, destination) = (plain(addresses.source), plain(addresses.destination));
    if source.is_ipv4() == destination.is_ipv4() {
        ProxiedAddresses { source, destination }
    } else {
        ProxiedAddresses { source: mapped(source), destination: mapped(destination) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Extensions<'_> = Extensions(&[]);

    fn addresses(source: &str, destination: &str) -> ProxiedAddresses {
        ProxiedAddresses {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &len, rest].concat()
    }

    #[test]
    fn version_1_lines_of_the_specification_are_parsed() {
        let client = |source, destination| Some(addresses(source, destination));
        for (line, origin) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
                client("192.0.2.1:56324", "198.51.100.7:443"),
            ),
            (
                "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
                client("[2001:db8::1]:1", "[2001:db8::2]:65535"),
            ),
            (
                "PROXY TCP4 255.255.255.255 0.0.0.0 0 0\r\n",
                client("255.255.255.255:0", "0.0.0.0:0"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            let bytes = [line.as_bytes(), b"GET /"].concat();
            let header = ParseProgress::Header(origin, NONE, line.len());
            assert_eq!(parse(&bytes), header, "{line}");
            for cut in 0..line.len() {
                assert_eq!(parse(&bytes[..cut]), ParseProgress::Partial, "{cut} bytes of {line}");
            }
        }
    }

    #[test]
    fn version_2_headers_of_all_kinds_are_parsed() {
        let client = |source, destination| Some(addresses(source, destination));
        let ipv4 = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];
        let with_extension = [&ipv4[..], &[4, 0, 3, 1, 2, 3]].concat();
        let mut ipv6 = [0; 36];
        ipv6[15] = 1;
        ipv6[31] = 2;
        ipv6[35] = 80;
        for (bytes, origin) in [
            (v2(0x21, 0x11, &ipv4), client("192.0.2.1:56324", "198.51.100.7:443")),
            (v2(0x21, 0x11, &with_extension), client("192.0.2.1:56324", "198.51.100.7:443")),
            (v2(0x21, 0x21, &ipv6), client("[::1]:0", "[::2]:80")),
            (v2(0x20, 0x11, &ipv4), None),
            (v2(0x20, 0, &[]), None),
            (v2(0x20, 0x11, &[1, 2, 3]), None),
            (v2(0x20, 0x77, &[4, 0xff]), None),
            (v2(0x21, 0, &[]), None),
            (v2(0x21, 0, &[1, 0, 2, b'h', b'2']), None),
            (v2(0x21, 0x12, &ipv4), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let len = bytes.len();
            let followed = [&bytes[..], b"data"].concat();
            let ParseProgress::Header(parsed, _, read) = parse(&followed) else {
                panic!("{bytes:?}")
            };
            assert_eq!((parsed, read), (origin, len), "{bytes:?}");
            for cut in 0..len {
                assert_eq!(
                    parse(&bytes[..cut]),
                    ParseProgress::Partial,
                    "{cut} bytes of {bytes:?}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_no_header_are_refused_at_once() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        let refused: [&[u8]; 18] = [
            b"GET / HTTP/1.1\r\n",
            b"PROXX",
            b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 \xff 192.0.2.2 1 2\r\n",
            b"PROXY \r\n",
            &long,
            b"\r\n\r\n\0\r\nQUIT\n\x31",
            b"\r\n\r\n\0\r\nQUIT\n\x22",
        ];
        for bytes in refused {
            let shown = bytes.escape_ascii();
            assert!(matches!(parse(bytes), ParseProgress::Malformed(_)), "{shown}");
        }
        assert!(matches!(parse(&v2(0x21, 0x11, &[0; 11])), ParseProgress::Malformed(_)));
        assert!(matches!(parse(&v2(0x21, 0x21, &[0; 35])), ParseProgress::Malformed(_)));
        let huge = [V2_SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert!(
            matches!(parse(&huge), ParseProgress::Malformed(_)),
            "before its bytes have arrived"
        );
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

    /// Returns one extension.
    fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind], &len[..], value].concat()
    }

    /// Returns a header with these extensions and its checksum, off by `wrong`.
    fn summed(command: u8, family: u8, rest: &[u8], wrong: u32) -> Vec<u8> {
        let mut header = v2(command, family, &[rest, &extension(CHECKSUM, &[0; 4])].concat());
        let sum = CRC32C.checksum(&header) ^ wrong;
        let at = header.len() - 4;
        put(&mut header, at, &sum.to_be_bytes());
        header
    }

    #[test]
    fn checksum_is_the_crc32c_of_rfc_3720() {
        // Vectors of appendix B.4.
        assert_eq!(CRC32C.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(CRC32C.checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(CRC32C.checksum(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn header_with_a_wrong_checksum_is_refused() {
        let alpn = [&IPV4[..], &extension(1, b"h2")].concat();
        for (command, family, rest) in
            [(0x21, 0x11, &alpn[..]), (0x21, 0x11, &IPV4), (0x20, 0, &[]), (0x21, 0, &[])]
        {
            let right = summed(command, family, rest, 0);
            assert!(matches!(parse(&right), ParseProgress::Header(..)), "{right:?}");
            for bit in 0..32 {
                let wrong = summed(command, family, rest, 1 << bit);
                assert_eq!(parse(&wrong), ParseProgress::Malformed("wrong checksum"));
            }
        }
        let right = summed(0x21, 0x11, &alpn, 0);
        // All bits except the type of the checksum: without it there would be no checksum.
        for at in (0..right.len() * 8).filter(|at| at / 8 != right.len() - 7) {
            let mut changed = right.clone();
            changed[at / 8] ^= 1 << (at % 8);
            // A changed length may also make the header incomplete; none is accepted.
            assert!(!matches!(parse(&changed), ParseProgress::Header(..)), "bit {at}");
        }
        let twice = summed(0x21, 0x11, &[&IPV4[..], &extension(CHECKSUM, &[0; 4])].concat(), 0);
        assert!(matches!(parse(&twice), ParseProgress::Malformed(_)));
        for len in [0, 3, 5] {
            let value = vec![0; len];
            let bytes = v2(0x21, 0x11, &[&IPV4[..], &extension(CHECKSUM, &value)].concat());
            assert!(
                matches!(parse(&bytes), ParseProgress::Malformed(_)),
                "{len} bytes of a checksum"
            );
        }
    }

    #[test]
    fn extension_beyond_the_header_is_refused() {
        for bad in [&[1][..], &[1, 0], &[1, 0, 1], &[1, 0, 3, b'h', b'2'], &[1, 0xff, 0xff, 0]] {
            for good in [&[][..], &extension(1, b"h2")] {
                let bytes = v2(0x21, 0x11, &[&IPV4[..], good, bad].concat());
                assert_eq!(
                    parse(&bytes),
                    ParseProgress::Malformed("an extension exceeds the header")
                );
            }
        }
        for family in [0x01, 0x10, 0x13, 0x41, 0xff] {
            assert!(matches!(parse(&v2(0x21, family, &[0; 216])), ParseProgress::Malformed(_)));
        }
    }

    #[test]
    fn extensions_are_forwarded_with_a_new_checksum() {
        let kept = [extension(1, b"h2"), extension(0xee, &[7; 300])].concat();
        let padded = [&IPV4[..], &extension(NOOP, &[0; 9]), &kept, &extension(NOOP, &[])].concat();
        let addresses = addresses("192.0.2.1:1", "192.0.2.2:2");
        for (header, has_checksum) in
            [(v2(0x21, 0x11, &padded), false), (summed(0x21, 0x11, &padded, 0), true)]
        {
            let ParseProgress::Header(_, extensions, _) = parse(&header) else {
                panic!("{header:?}")
            };
            let mut out = b"before".to_vec();
            build(ProxyOut::V2, addresses, extensions, &mut out);
            let out = &out[6..];
            let ParseProgress::Header(_, again, len) = parse(out) else { panic!("{out:?}") };
            assert_eq!(len, out.len());
            let (handed_on, sum) = again.0.split_at(kept.len());
            assert_eq!(handed_on, kept);
            assert_eq!(sum.len(), if has_checksum { 7 } else { 0 });
            let mut line = Vec::new();
            build(ProxyOut::V1, addresses, extensions, &mut line);
            assert_eq!(
                line, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
                "version 1 has no extensions"
            );
        }
    }

    #[test]
    fn both_addresses_are_sent_in_one_family() {
        let mut out = Vec::new();
        let mapped = "[::ffff:192.0.2.1]:5";
        build(ProxyOut::V1, addresses(mapped, "[::ffff:192.0.2.2]:6"), NONE, &mut out);
        assert_eq!(out, b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n");
        out.clear();
        build(ProxyOut::V1, addresses(mapped, "[2001:db8::2]:6"), NONE, &mut out);
        assert_eq!(out, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5 6\r\n");
    }

    fn address() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (a.into(), b.into())),
            any::<([u16; 8], [u16; 8])>().prop_map(|(a, b)| (a.into(), b.into())),
        ]
    }

    proptest! {
        #[test]
        fn built_header_is_parsed_back(
            (from, to) in address(),
            ports: (u16, u16),
            data: Vec<u8>,
            kinds in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..5),
        ) {
            let other = |kind: u8| if kind == CHECKSUM || kind == NOOP { 0xe0 } else { kind };
            let each = kinds.iter().map(|(kind, value)| extension(other(*kind), value));
            let extensions = each.collect::<Vec<_>>().concat();
            let (source, destination) = (SocketAddr::new(from, ports.0), SocketAddr::new(to, ports.1));
            let addresses = ProxiedAddresses { source, destination };
            for version in [ProxyOut::V1, ProxyOut::V2] {
                let mut bytes = Vec::new();
                build(version, addresses, Extensions(&extensions), &mut bytes);
                let len = bytes.len();
                prop_assert!(version != ProxyOut::V1 || len <= V1_MAX);
                bytes.extend_from_slice(&data);
                let expected = Extensions(if version == ProxyOut::V2 { &extensions } else { &[] });
                let header = ParseProgress::Header(Some(in_one_family(addresses)), expected, len);
                prop_assert_eq!(parse(&bytes), header);
            }
        }

        #[test]
        fn parsing_any_bytes_stays_within_bounds(
            kind in 0..4_u8,
            noise in prop::collection::vec(any::<u8>(), 0..3000),
        ) {
            let prefix: &[u8] = match kind {
                0 => b"",
                1 => V1_PREFIX,
                2 => V2_SIGNATURE,
                _ => b"\r\n\r\n\0\r\nQUIT\n\x21\x11",
            };
            let bytes = [prefix, &noise].concat();
            match parse(&bytes) {
                ParseProgress::Partial => prop_assert!(bytes.len() < MAX_HEADER),
                ParseProgress::Header(_, _, len) => prop_assert!(len <= bytes.len().min(MAX_HEADER)),
                ParseProgress::Malformed(_) => {}
            }
        }
    }
}
