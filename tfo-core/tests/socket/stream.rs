//! The contract of the client's stream, and the evidence that it is kept.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use tfo_core::lab::{self, isolated};
use tfo_core::socket::Attempt;
use tfo_core::socket::ClientFail;
use tfo_core::socket::{Connector, Method};

use crate::exchange::{METHODS, arrived_cookie, by, syn};
use crate::support::{Net, SERVERS, nft, on, set};

#[test]
fn first_connection_asks_and_later_ones_carry_syn_data() {
    isolated(|| {
        for method in [Method::SendTo, Method::Connect, Method::Auto] {
            let net = Net::new();
            for ip in SERVERS {
                let listener = net.listen(on(ip));
                let before = net.counters();
                let (client, server) = net.exchange(&listener, &by(method), b"first");
                assert_eq!(client.attempt(), Some(Attempt::AfterHandshake), "no cookie is cached");
                let info = client.info().unwrap();
                assert!(!info.syn_data, "{method:?} {ip}: {info:?}");
                assert_eq!(info.client_fail, ClientFail::CookieUnavailable);
                assert_eq!(arrived_cookie(&server.arrival).as_deref(), Some(""), "a request");
                assert_eq!(
                    usize::from(syn(&server.arrival).payload_bytes),
                    0,
                    "nothing rides a request"
                );
                let (active, passive) = before.change();
                assert_eq!((active.active, passive.passive, passive.cookie_reqd), (0, 0, 1));

                let cookie = net.cookie(&listener).expect("it was granted");
                for message in [&b"second"[..], b"the third"] {
                    let before = net.counters();
                    let (client, server) = net.exchange(&listener, &by(method), message);
                    assert_eq!(client.attempt(), Some(Attempt::InSyn(message.len())));
                    let info = client.info().unwrap();
                    assert!(info.syn_data, "{method:?} {ip}: {info:?}");
                    assert!(server.arrival.tcp.syn_data, "{:?}", server.arrival);
                    assert_eq!(server.stream.attempt(), None, "nothing was attempted there");
                    assert_eq!(usize::from(syn(&server.arrival).payload_bytes), message.len());
                    assert_eq!(server.arrival.peer, client.local_addr().unwrap());
                    assert_eq!(syn(&server.arrival).destination, Some(listener.local_addr()));
                    assert_eq!(arrived_cookie(&server.arrival), Some(cookie.clone()));
                    let (active, passive) = before.change();
                    assert_eq!((active.active, active.active_fail), (1, 0), "{method:?} {ip}");
                    assert_eq!((passive.passive, passive.passive_fail), (1, 0), "{method:?} {ip}");
                }
            }
        }
    });
}

/// Lets only SYNs out: a client that gets an answer has sent its request in one.
const ONLY_SYNS: &str = "o tcp flags & syn == 0 counter drop";

#[test]
fn fast_open_gets_its_answer_if_only_syns_pass() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        for method in METHODS {
            let net = Net::new();
            let listeners = SERVERS.map(|ip| net.listen(on(ip)));
            for listener in &listeners {
                net.fetch_cookie(listener);
            }
            nft(&net.client, &[ONLY_SYNS]);
            for listener in &listeners {
                let (mut client, mut server) = net.exchange(listener, &by(method), b"question");
                server.stream.write_all(b"answer").expect("it may write before the handshake ends");
                let mut answer = [0; 6];
                client.read_exact(&mut answer).expect("one round trip is all that it needs");
                assert_eq!(&answer, b"answer", "{method:?}");
            }
        }
    });
}

#[test]
fn regular_connection_gets_no_answer_if_only_syns_pass() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip).nonblocking(true));
            nft(&net.client, &[ONLY_SYNS]);
            let regular = by(Method::Off);
            let mut client = net.connect(&regular, listener.local_addr(), b"question").unwrap();
            client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let error = client.read(&mut [0; 6]).expect_err("its question can't leave");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            let error = listener.accept().expect_err("its handshake can't end");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{ip}");
        }
    });
}

/// Bytes in which a gap, a repetition and a swap show.
fn pattern(len: usize) -> &'static [u8] {
    let bytes: Vec<u8> = (0..len).map(|n| u8::try_from((n ^ (n >> 8)) % 251).unwrap()).collect();
    bytes.leak()
}

#[test]
fn a_message_that_the_syn_does_not_hold_arrives_whole() {
    isolated(|| {
        for method in METHODS {
            let net = Net::new();
            // With an MTU of 1500.
            for (ip, room) in SERVERS.into_iter().zip([1420, 1400]) {
                let listener = net.listen(on(ip));
                let server = listener.local_addr();
                let attempts = [
                    (1024 * 1024, Attempt::AfterHandshake),
                    (room, Attempt::InSyn(room)),
                    (room + 1, Attempt::InSyn(room)),
                    (5000, Attempt::InSyn(room)),
                    (1024 * 1024, Attempt::InSyn(room)),
                ];
                for (len, attempt) in attempts {
                    let message = pattern(len);
                    let (client, (arrival, received)) = thread::scope(|scope| {
                        let reader = scope.spawn(|| {
                            let mut accepted = listener.accept().expect("a connection comes");
                            let mut all = Vec::new();
                            accepted.stream.read_to_end(&mut all).expect("it comes whole");
                            (accepted.arrival, all)
                        });
                        let client = net.connect(&by(method), server, message).expect("it listens");
                        client.shutdown(Shutdown::Write).expect("connected");
                        (client, reader.join().expect("a reader"))
                    });
                    let case = format!("{method:?} {ip} {len}");
                    assert_eq!(client.attempt(), Some(attempt), "{case}");
                    assert!(received == message, "{case}: {} bytes came", received.len());
                    let in_syn = if let Attempt::InSyn(bytes) = attempt { bytes } else { 0 };
                    assert_eq!(usize::from(syn(&arrival).payload_bytes), in_syn, "{case}");
                    assert_eq!(client.info().unwrap().syn_data, in_syn > 0, "{case}");
                }
            }
        }
    });
}

#[test]
fn with_the_clients_bit_off_a_regular_connection_takes_the_data() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            net.set_client_bits(3);
            net.fetch_cookie(&listener);
            net.set_client_bits(2);
            for method in [Method::SendTo, Method::Connect, Method::Auto] {
                let before = net.counters();
                let (client, server) = net.exchange(&listener, &by(method), b"as ever");
                assert_eq!(client.attempt(), Some(Attempt::ClientDisabled), "{method:?} {ip}");
                assert_eq!(syn(&server.arrival).fast_open, None, "a cookie is cached, not used");
                assert_eq!(usize::from(syn(&server.arrival).payload_bytes), 0, "{method:?} {ip}");
                let (active, passive) = before.change();
                assert!(active.is_zero() && passive.is_zero(), "{active:?} {passive:?}");
            }
        }
    });
}

#[test]
fn regular_connection_is_made_if_asked_or_message_is_empty() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            net.fetch_cookie(&listener);
            for (method, first) in [
                (Method::Off, &b"something"[..]),
                (Method::SendTo, b""),
                (Method::Connect, b""),
                (Method::Auto, b""),
            ] {
                let (mut client, mut server) = net.exchange(&listener, &by(method), first);
                assert_eq!(client.attempt(), Some(Attempt::Regular), "{method:?} {ip}");
                assert_eq!(syn(&server.arrival).fast_open, None, "the SYN asks for nothing");
                client.write_all(b"later").expect("connected");
                server.stream.read_exact(&mut [0; 5]).expect("it works as any other");
            }
        }
    });
}

#[test]
fn a_server_may_speak_first() {
    isolated(|| {
        for method in METHODS {
            let net = Net::new();
            let listener = net.listen(on(SERVERS[0]));
            for in_syn in [false, true, true] {
                let server = listener.local_addr();
                let mut client = net.connect(&by(method), server, b"HELO\n").expect("it listens");
                let mut accepted = listener.accept().expect("a connection waits");
                accepted.stream.write_all(b"220 ready\n").expect("connected");
                let mut banner = [0; 10];
                client.read_exact(&mut banner).expect("the server spoke");
                assert_eq!(&banner, b"220 ready\n");
                let mut request = [0; 5];
                accepted.stream.read_exact(&mut request).expect("the client had spoken as well");
                assert_eq!(&request, b"HELO\n");
                assert_eq!(client.info().unwrap().syn_data, in_syn, "{method:?}");
            }
        }
    });
}

#[test]
fn a_silent_server_ends_a_read_by_its_timeout() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let (mut client, _server) = net.exchange(&listener, &Connector::default(), b"hello?");
        assert!(client.info().unwrap().syn_data, "its kernel took the data");
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let error = client.read(&mut [0; 8]).expect_err("nothing is answered");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        client.set_read_timeout(None).unwrap();
        client.set_nonblocking(true).unwrap();
        let error = client.read(&mut [0; 8]).expect_err("nothing is answered");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn data_is_sent_without_a_cookie_if_both_ends_allow_it() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip).no_cookie(true));
            for method in METHODS {
                let connector = by(method).no_cookie(true);
                let (client, server) = net.exchange(&listener, &connector, b"trust me");
                assert_eq!(client.attempt(), Some(Attempt::InSyn(8)), "{method:?} {ip}");
                assert!(client.info().unwrap().syn_data, "{method:?} {ip}");
                assert_eq!(syn(&server.arrival).fast_open, None, "no option, yet");
                assert_eq!(usize::from(syn(&server.arrival).payload_bytes), 8, "data");
            }
            assert_eq!(net.cookie(&listener), None, "none was asked for");
        }
    });
}

#[test]
fn cookies_belong_to_the_address_that_is_connected_from() {
    isolated(|| {
        let net = Net::new();
        let other = Ipv4Addr::new(192, 0, 2, 3);
        net.client.add_address(other.into()).expect("a free address");
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let from_other = Connector::default().bind(SocketAddr::new(other.into(), 0));
        for in_syn in [false, true] {
            let (client, server) = net.exchange(&listener, &from_other, b"from there");
            assert_eq!(client.info().unwrap().syn_data, in_syn, "it had to ask for its own");
            assert_eq!(server.arrival.peer.ip(), IpAddr::from(other));
            assert_eq!(client.peer_addr().unwrap(), listener.local_addr());
        }
    });
}

#[test]
fn a_connected_stream_is_a_std_stream_that_waits() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let (client, mut server) = net.exchange(&listener, &Connector::default(), b"hello");
        let mut client = TcpStream::from(client);
        let writer = thread::spawn(move || {
            server.stream.write_all(b"answer").expect("connected");
        });
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .expect("a read waits, although connecting did not block");
        assert_eq!(answer, "answer");
        writer.join().expect("a writer");
    });
}

#[test]
fn rest_of_the_message_is_sent_as_a_small_window_opens() {
    isolated(|| {
        let net = Net::new();
        set(&net.server, "ipv4/tcp_rmem", "4096 4096 4096");
        set(&net.client, "ipv4/tcp_wmem", "4096 4096 4096");
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let message = pattern(200_000);
        let received = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut accepted = listener.accept().expect("a connection comes");
                let mut all = vec![0; message.len()];
                accepted.stream.read_exact(&mut all).expect("it comes whole");
                all
            });
            let server = listener.local_addr();
            let client = net.connect(&Connector::default(), server, message).expect("it listens");
            assert!(client.info().unwrap().syn_data, "the SYN's part was accepted");
            reader.join().expect("a reader")
        });
        assert!(received == message, "it arrives as it was sent, however small the steps");
    });
}
