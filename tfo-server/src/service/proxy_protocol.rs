//! The PROXY protocol: a header before a connection's first bytes, in which a proxy tells whose
//! connection it hands on. Parsed and built; no I/O.
//!
//! # References
//! [The PROXY protocol, versions 1 and 2](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt)

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::values::ProxyOut;

const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1, with its end.
const V1_MOST: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of what follows.
const V2_FIXED: usize = 16;
/// The most that is taken of version 2. Addresses need 36 bytes; the rest is for extensions, and a
/// length of 64 KiB is an attack.
const V2_MOST: usize = V2_FIXED + 2048;

/// The longest header that is read: no more need be held to see one whole.
pub(crate) const MOST: usize = V2_MOST;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The client's address, and the one that it connected to.
    Client { source: SocketAddr, destination: SocketAddr },
    /// The proxy's own, or it does not know: the connection's addresses are the true ones.
    Unknown,
}

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The beginning of a header.
    More,
    /// A header of so many bytes; what follows is the client's.
    Header(Origin, usize),
    /// No header, and why.
    Malformed(&'static str),
}

/// Looks for a header at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Progress {
    let starts = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    let parsed = if starts(V2_SIGNATURE) {
        parse_v2(bytes)
    } else if starts(V1_PREFIX) {
        parse_v1(bytes)
    } else {
        Err("it begins with something else")
    };
    match parsed {
        Ok(Some((origin, len))) => Progress::Header(origin, len),
        Ok(None) => Progress::More,
        Err(why) => Progress::Malformed(why),
    }
}

type Parsed = Result<Option<(Origin, usize)>, &'static str>;

fn parse_v1(bytes: &[u8]) -> Parsed {
    let within = bytes.get(..V1_MOST).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < V1_MOST { Ok(None) } else { Err("its line does not end") };
    };
    let line = within.get(..end).unwrap_or_default();
    let text = str::from_utf8(line).map_err(|_| "its line is no text")?;
    v1_origin(text).map(|origin| Some((origin, end + 2))).ok_or("its line is malformed")
}

/// One space between the words, no other form of a number or address than the usual one.
fn v1_origin(line: &str) -> Option<Origin> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Unknown);
    }
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
    words.next().is_none().then_some(Origin::Client {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    // Said as soon as it can be: a liar gets no time to send the rest.
    let command = match bytes.get(V2_SIGNATURE.len()) {
        None => return Ok(None),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err("its version or command is unknown"),
    };
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else { return Ok(None) };
    let family = fixed[13];
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let len = V2_FIXED + rest;
    if len > V2_MOST {
        return Err("it is longer than 2048 bytes");
    }
    let Some(addresses) = bytes.get(V2_FIXED..len) else { return Ok(None) };
    let origin = match (command, family) {
        (Command::Proxy, 0x11) => v2_ipv4(addresses).ok_or("its IPv4 addresses are cut short")?,
        (Command::Proxy, 0x21) => v2_ipv6(addresses).ok_or("its IPv6 addresses are cut short")?,
        // Of another transport or family, or none: to be taken for the proxy's own.
        _ => Origin::Unknown,
    };
    Ok(Some((origin, len)))
}

#[derive(Clone, Copy)]
enum Command {
    Local,
    Proxy,
}

fn v2_ipv4(bytes: &[u8]) -> Option<Origin> {
    let (source, bytes) = bytes.split_first_chunk::<4>()?;
    let (destination, bytes) = bytes.split_first_chunk::<4>()?;
    v2_client(Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), bytes)
}

fn v2_ipv6(bytes: &[u8]) -> Option<Origin> {
    let (source, bytes) = bytes.split_first_chunk::<16>()?;
    let (destination, bytes) = bytes.split_first_chunk::<16>()?;
    v2_client(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), bytes)
}

fn v2_client(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Option<Origin> {
    let (source_port, bytes) = bytes.split_first_chunk::<2>()?;
    let destination_port = bytes.first_chunk::<2>()?;
    Some(Origin::Client {
        source: SocketAddr::new(source, u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(*destination_port)),
    })
}

/// Appends the header for an upstream.
pub(crate) fn build(
    version: ProxyOut,
    source: SocketAddr,
    destination: SocketAddr,
    out: &mut Vec<u8>,
) {
    let (source, destination) = same_family(source, destination);
    match version {
        ProxyOut::Off => {}
        ProxyOut::V1 => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            let (from_port, to_port) = (source.port(), destination.port());
            // Writing to a vector can't fail.
            let _ = write!(out, "PROXY {family} {from} {to} {from_port} {to_port}\r\n");
        }
        ProxyOut::V2 => {
            let (family, len) = if source.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
            out.extend_from_slice(V2_SIGNATURE);
            out.extend_from_slice(&[0x21, family, 0, len]);
            for ip in [source.ip(), destination.ip()] {
                match ip {
                    IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
                }
            }
            for port in [source.port(), destination.port()] {
                out.extend_from_slice(&port.to_be_bytes());
            }
        }
    }
}

/// A header has one family: an IPv4 client of an IPv6 listener is one of IPv4, and where one end
/// remains of each, both are told as IPv6.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(source: &str, destination: &str) -> Origin {
        Origin::Client {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &len, rest].concat()
    }

    #[test]
    fn the_lines_of_version_1_are_read_as_the_specification_has_them() {
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
            ("PROXY UNKNOWN\r\n", Origin::Unknown),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Origin::Unknown),
        ] {
            let bytes = [line.as_bytes(), b"GET /"].concat();
            assert_eq!(parse(&bytes), Progress::Header(origin, line.len()), "{line}");
            for cut in 0..line.len() {
                assert_eq!(parse(&bytes[..cut]), Progress::More, "{cut} bytes of {line}");
            }
        }
    }

    #[test]
    fn the_bytes_of_version_2_are_read_with_extensions_and_of_unknown_kinds() {
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
            (v2(0x20, 0x11, &ipv4), Origin::Unknown),
            (v2(0x20, 0, &[]), Origin::Unknown),
            (v2(0x21, 0x12, &ipv4), Origin::Unknown),
            (v2(0x21, 0x31, &[0; 216]), Origin::Unknown),
        ] {
            let len = bytes.len();
            let followed = [&bytes[..], b"data"].concat();
            assert_eq!(parse(&followed), Progress::Header(origin, len), "{bytes:?}");
            for cut in 0..len {
                assert_eq!(parse(&bytes[..cut]), Progress::More, "{cut} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
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
            assert!(matches!(parse(bytes), Progress::Malformed(_)), "{shown}");
        }
        assert!(matches!(parse(&v2(0x21, 0x11, &[0; 11])), Progress::Malformed(_)));
        assert!(matches!(parse(&v2(0x21, 0x21, &[0; 35])), Progress::Malformed(_)));
        let huge = [V2_SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert!(matches!(parse(&huge), Progress::Malformed(_)), "before its bytes have come");
    }

    #[test]
    fn both_ends_are_told_in_one_family() {
        let mut out = Vec::new();
        let mapped = "[::ffff:192.0.2.1]:5".parse().unwrap();
        build(ProxyOut::V1, mapped, "[::ffff:192.0.2.2]:6".parse().unwrap(), &mut out);
        assert_eq!(out, b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n");
        out.clear();
        build(ProxyOut::V1, mapped, "[2001:db8::2]:6".parse().unwrap(), &mut out);
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
        fn what_is_built_is_read_back((from, to) in address(), ports: (u16, u16), data: Vec<u8>) {
            let (source, destination) = (SocketAddr::new(from, ports.0), SocketAddr::new(to, ports.1));
            let (told_source, told_destination) = same_family(source, destination);
            for version in [ProxyOut::V1, ProxyOut::V2] {
                let mut bytes = Vec::new();
                build(version, source, destination, &mut bytes);
                let len = bytes.len();
                prop_assert!(version != ProxyOut::V1 || len <= V1_MOST);
                bytes.extend_from_slice(&data);
                let origin = Origin::Client { source: told_source, destination: told_destination };
                prop_assert_eq!(parse(&bytes), Progress::Header(origin, len));
            }
        }

        #[test]
        fn any_bytes_are_judged_within_bounds(
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
                Progress::More => prop_assert!(bytes.len() < MOST),
                Progress::Header(_, len) => prop_assert!(len <= bytes.len().min(MOST)),
                Progress::Malformed(_) => {}
            }
        }
    }
}
