//! The PROXY protocol: headers from proxies, and headers for upstreams.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use tfo_core::lab::isolated;
use tfo_core::socket::FastOpenStream;

use crate::support::{Lab, SERVER, answer, ask, json};
use crate::upstream::{Upstream, read};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.9 1234 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\x00\x02\x07\xc6\x33\x64\x09\x04\xd2\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn forward(upstream: &str, out: &str) -> String {
    format!(
        "[forward]\nupstreams = [{upstream:?}]\nproxy-protocol = {out:?}\nhealth-interval = \"0s\"\n"
    )
}

#[test]
fn header_and_first_bytes_reach_an_upstream_in_one_syn() {
    isolated(|| {
        for (server, ip, family) in
            [(SERVER, "127.0.0.1", "TCP4"), ("[::1]:2222".parse().unwrap(), "::1", "TCP6")]
        {
            for version in ["v1", "v2"] {
                let lab = Lab::new();
                let to = SocketAddr::new(ip.parse().unwrap(), 8001).to_string();
                let upstream = Upstream::on(&lab.host, &to);
                let listen = format!("[listen]\naddress = {ip:?}\nservice = \"forward\"\n");
                let _server = lab.serve(&(listen + &forward(&to, version)), &[]);
                for n in 0..3 {
                    let mut client =
                        lab.host.run(move || FastOpenStream::connect(server, b"question")).unwrap();
                    let port = client.local_addr().unwrap().port();
                    let mut accepted = upstream.accept();
                    let header = if version == "v1" {
                        format!("PROXY {family} {ip} {ip} {port} 2222\r\n").into_bytes()
                    } else {
                        v2(server.ip(), port)
                    };
                    let received = read(&mut accepted.stream, header.len());
                    assert_eq!(
                        received.escape_ascii().to_string(),
                        header.escape_ascii().to_string()
                    );
                    assert_eq!(read(&mut accepted.stream, 8), b"question");
                    if n > 0 {
                        let syn = accepted.arrival.syn.saved().expect("saved");
                        let in_syn = usize::from(syn.payload_bytes);
                        assert_eq!(in_syn, header.len() + 8, "all of it in the SYN");
                        assert!(accepted.arrival.tcp.syn_data);
                    }
                    accepted.stream.write_all(b"answer").unwrap();
                    drop(accepted);
                    assert_eq!(answer(&mut client), b"answer");
                }
            }
        }
    });
}

/// Returns a header of version 2, from and to this address.
fn v2(ip: std::net::IpAddr, port: u16) -> Vec<u8> {
    let (family, ip) = match ip {
        std::net::IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        std::net::IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let rest = [&ip[..], &ip, &port.to_be_bytes(), &2222_u16.to_be_bytes()].concat();
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &len, &rest].concat()
}

#[test]
fn every_service_serves_the_bytes_behind_the_header() {
    isolated(|| {
        for (service, request, answered) in [
            ("echo", &b"hello"[..], &b"hello"[..]),
            ("discard", b"hello", b""),
            ("respond", b"hello", b"fixed"),
            ("forward", b"hello", b"one:hello"),
            ("mirror", b"tfo-probe/1 token\n", b"token"),
        ] {
            let lab = Lab::new();
            let _upstream = Upstream::on(&lab.host, "127.0.0.1:8001").answer("one");
            let config = format!(
                "[listen]\nservice = {service:?}\nproxy-protocol = \"required\"\n\
                 [respond]\nbody = \"fixed\"\n{}",
                forward("127.0.0.1:8001", "off")
            );
            let server = lab.serve(&config, &["-o", "json"]);
            for (n, header) in [V1, V2, V2_LOCAL, b"PROXY UNKNOWN\r\n"].into_iter().enumerate() {
                let answer = ask(&mut lab.connect(), &[header, request].concat());
                let text = String::from_utf8_lossy(&answer);
                assert!(
                    answer == answered || (service == "mirror" && text.contains("token")),
                    "{service}: {text}"
                );
                let line = json(&server.out().first(n + 1)[n]);
                assert_eq!(line["bytes_in"], request.len(), "the client's bytes: {line}");
                let expected = (n < 2).then_some("192.0.2.7:1234");
                assert_eq!(line["client"].as_str(), expected, "{line}");
            }
        }
    });
}

#[test]
fn header_may_arrive_in_pieces_and_in_a_syn() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[listen]\nservice = \"echo\"\nproxy-protocol = \"required\"\n";
        let server = lab.serve(config, &["-o", "json"]);
        for (n, header) in [V1, V2].into_iter().enumerate() {
            let mut client = lab.connect();
            client.set_nodelay(true).unwrap();
            for byte in [header, b"x"].concat() {
                client.write_all(&[byte]).unwrap();
            }
            let mut back = [0];
            client.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"x");
            drop(client);
            // Workers log independently: the lines are in order because each client waits for the one before.
            let _ = server.out().first(n + 1);
        }
        for n in 0..2 {
            let mut client = lab.fast_open(&[V1, b"in the SYN"].concat());
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"in the SYN");
            let line = json(&server.out().first(n + 3)[n + 2]);
            let verdict = if n == 0 { "cookie-granted" } else { "fast-open" };
            assert_eq!(line["verdict"], verdict, "{line}");
        }
    });
}

#[test]
fn proxied_addresses_are_passed_to_the_upstream() {
    isolated(|| {
        for (header, out) in [(V1, "v2"), (V2, "v1"), (V2, "v2"), (V1, "v1")] {
            let lab = Lab::new();
            let upstream = Upstream::on(&lab.host, "127.0.0.1:8001");
            let config = format!(
                "[listen]\nservice = \"forward\"\nproxy-protocol = \"required\"\n{}",
                forward("127.0.0.1:8001", out)
            );
            let _server = lab.serve(&config, &[]);
            let mut client = lab.connect();
            client.write_all(&[header, b"question"].concat()).unwrap();
            let mut there = upstream.accept().stream;
            let expected = if out == "v1" { V1 } else { V2 };
            assert_eq!(read(&mut there, expected.len()), expected);
            assert_eq!(read(&mut there, 8), b"question");
            client.write_all(b", and more").unwrap();
            assert_eq!(read(&mut there, 10), b", and more");
        }
    });
}

/// Returns a version 2 header of the same addresses, with these extensions.
fn extended(extensions: &[u8]) -> Vec<u8> {
    let mut header = [V2, extensions].concat();
    let len = u16::try_from(header.len() - 16).unwrap();
    header[14..16].copy_from_slice(&len.to_be_bytes());
    header
}

/// Returns the same header with its checksum (CRC32C) at the end, off by `wrong`.
fn summed(extensions: &[u8], wrong: u32) -> Vec<u8> {
    let mut header = extended(&[extensions, b"\x03\0\x04\0\0\0\0"].concat());
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&header) ^ wrong;
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum.to_be_bytes());
    header
}

const ALPN: &[u8] = b"\x01\0\x02h2";
const PADDING: &[u8] = b"\x04\0\x03\0\0\0";

#[test]
fn extensions_of_the_client_reach_the_upstream() {
    isolated(|| {
        let name = b"\x02\0\x0bexample.org";
        let both = [ALPN, PADDING, name].concat();
        let handed_on = [ALPN, name].concat();
        let large = [b"\xee\x07\xd0".as_slice(), &[b'x'; 2000]].concat();
        for (header, out, expected) in [
            (extended(&both), "v2", extended(&handed_on)),
            (summed(&both, 0), "v2", summed(&handed_on, 0)),
            (extended(&large), "v2", extended(&large)),
            (extended(PADDING), "v2", V2.to_vec()),
            (summed(&both, 0), "v1", V1.to_vec()),
        ] {
            let lab = Lab::new();
            let upstream = Upstream::on(&lab.host, "127.0.0.1:8001");
            let config = format!(
                "[listen]\nservice = \"forward\"\nproxy-protocol = \"required\"\n{}",
                forward("127.0.0.1:8001", out)
            );
            let _server = lab.serve(&config, &[]);
            for split in [header.len(), 20] {
                let mut client = lab.connect();
                client.set_nodelay(true).unwrap();
                client.write_all(&header[..split]).unwrap();
                client.write_all(&[&header[split..], b"question"].concat()).unwrap();
                let mut there = upstream.accept().stream;
                assert_eq!(read(&mut there, expected.len()), expected, "{out}");
                assert_eq!(read(&mut there, 8), b"question");
            }
        }
    });
}

#[test]
fn header_with_a_wrong_checksum_or_extension_is_refused() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, "127.0.0.1:8001").answer("one");
        let config = format!(
            "[listen]\nservice = \"forward\"\nproxy-protocol = \"required\"\n{}",
            forward("127.0.0.1:8001", "off")
        );
        let server = lab.serve(&config, &["-o", "json"]);
        for (n, (header, why)) in [
            (summed(ALPN, 1), "PROXY header: wrong checksum"),
            (extended(b"\x03\0\x04\0\0\0\0"), "PROXY header: wrong checksum"),
            (extended(b"\x03\0\x02\0\0"), "PROXY header: wrong checksum"),
            (extended(b"\x01\0\x03h2"), "PROXY header: an extension exceeds the header"),
            (extended(b"\x01"), "PROXY header: an extension exceeds the header"),
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = lab.connect();
            client.write_all(&[&header[..], b"question"].concat()).unwrap();
            // If unread bytes are left, the kernel resets the connection.
            let end = client.read(&mut [0]);
            assert!(!matches!(end, Ok(1..)), "{end:?}");
            let line = json(&server.out().first(n + 1)[n]);
            assert_eq!(line["cut_short"], why, "{line}");
        }
        assert_eq!(upstream.count(), 0);
        let answer = ask(&mut lab.connect(), &[&summed(ALPN, 0)[..], b"hello"].concat());
        assert_eq!(answer, b"one:hello");
    });
}

#[test]
fn connection_without_a_header_reaches_no_upstream() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, "127.0.0.1:8001").answer("one");
        let config = format!(
            "[listen]\nservice = \"forward\"\nproxy-protocol = \"required\"\n\
             [limits]\nheader-timeout = \"300ms\"\n{}",
            forward("127.0.0.1:8001", "off")
        );
        let server = lab.serve(&config, &["-o", "json"]);
        let bad: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 192.0.2.7\r\nquestion",
            b"PROXY TCP4 192.0.2.7 198.51.100.9 1234 99999\r\nquestion",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        ];
        for (n, bytes) in bad.iter().enumerate() {
            let mut client = lab.connect();
            client.write_all(bytes).unwrap();
            assert_eq!(answer(&mut client), b"", "closed: {}", bytes.escape_ascii());
            let line = json(&server.out().first(n + 1)[n]);
            assert!(line["cut_short"].as_str().unwrap().contains("PROXY header"), "{line}");
        }
        // The header timeout applies to half a header, even if bytes keep arriving.
        let mut client: TcpStream = lab.connect();
        client.write_all(&V1[..10]).unwrap();
        let mut writer = client.try_clone().unwrap();
        let slow = thread::spawn(move || {
            for byte in &V1[10..] {
                thread::sleep(Duration::from_millis(50));
                if writer.write_all(&[*byte]).is_err() {
                    break;
                }
            }
        });
        // The server may close between two bytes, and answer the next one with a reset.
        let end = client.read(&mut [0]);
        assert!(!matches!(end, Ok(1..)), "{end:?}");
        slow.join().unwrap();
        let line = json(&server.out().first(6)[5]);
        assert_eq!(line["cut_short"], "header-timeout", "{line}");
        // A port check, which sends nothing, is not an error.
        drop(lab.connect());
        let line = json(&server.out().first(7)[6]);
        assert!(line["cut_short"].is_null(), "{line}");
        assert_eq!(upstream.count(), 0);
    });
}

#[test]
fn connections_per_source_counts_the_proxied_client() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[listen]\nservice = \"echo\"\nproxy-protocol = \"required\"\n\
            [limits]\nconnections-per-source = 1\n";
        let server = lab.serve(config, &["-o", "json"]);
        let connect = |source: &str| {
            let mut client = lab.connect();
            let header = format!("PROXY TCP4 {source} 198.51.100.9 1234 443\r\nx");
            client.write_all(header.as_bytes()).unwrap();
            client
        };
        let is_served = |client: &mut TcpStream| client.read(&mut [0]).is_ok_and(|len| len == 1);
        // All connections come from one proxy, with one address.
        let mut one = connect("192.0.2.7");
        let mut other = connect("192.0.2.8");
        assert!(is_served(&mut one) && is_served(&mut other));
        assert!(!is_served(&mut connect("192.0.2.7")), "a second connection of the same client");
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["cut_short"], "connections-per-source", "{line}");
        assert_eq!(line["client"], "192.0.2.7:1234", "{line}");
        // A connection without a named client counts for the proxy.
        let mut local = lab.connect();
        local.write_all(&[V2_LOCAL, b"x"].concat()).unwrap();
        assert!(is_served(&mut local));
        drop(one);
        let _ = server.out().first(2);
        assert!(is_served(&mut connect("192.0.2.7")), "the client may connect again");
    });
}
