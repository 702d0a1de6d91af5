//! Connections that fail, or end early.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use tfo_core::lab::{self, isolated};
use tfo_core::socket::Attempt;
use tfo_core::socket::TcpState;
use tfo_core::socket::{Connector, FastOpenListener, FastOpenStream, Method, option};

use crate::exchange::{METHODS, by};
use crate::support::{Net, SERVERS, nft, nft_flush, on};

/// A listener that answers no SYN because its accept queue is full. The client has a cookie for it.
pub(crate) fn deaf_listener(net: &Net, ip: IpAddr) -> (FastOpenListener, FastOpenStream) {
    let listener = net.listen(on(ip).backlog(0));
    net.fetch_cookie(&listener);
    let server = listener.local_addr();
    let filler = net.connect(&Connector::default(), server, b"fills it").expect("room for one");
    (listener, filler)
}

#[test]
fn a_closed_port_is_refused_with_and_without_a_cookie() {
    isolated(|| {
        for method in METHODS {
            let net = Net::new();
            for ip in SERVERS {
                let listener = net.listen(on(ip));
                let server = listener.local_addr();
                drop(listener);
                let expected = [(method, Attempt::AfterHandshake), (Method::Off, Attempt::Regular)];
                for (method, attempt) in expected {
                    let error = net.connect(&by(method), server, b"anybody?").unwrap_err();
                    assert_eq!(error.error.kind(), io::ErrorKind::ConnectionRefused, "{error:?}");
                    assert_eq!(error.attempt, Some(attempt), "{error:?}");
                    assert!(!error.established, "{error:?}");
                }
                let listener = net.listen(FastOpenListener::builder(server));
                net.fetch_cookie(&listener);
                drop(listener);
                let error = net.connect(&by(method), server, b"anybody?").unwrap_err();
                assert_eq!(error.error.kind(), io::ErrorKind::ConnectionRefused, "{error:?}");
                assert_eq!(error.attempt, Some(Attempt::InSyn(8)), "{error:?}");
                assert!(!error.established, "the SYN was answered by a reset: {error:?}");
                let named = format!("connect {server} failed: Connection refused");
                assert!(error.to_string().starts_with(&named), "{error}");
            }
        }
    });
}

#[test]
fn without_a_route_nothing_is_sent() {
    isolated(|| {
        let net = Net::new();
        let elsewhere = [
            IpAddr::from(Ipv4Addr::new(203, 0, 113, 1)),
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into(),
        ];
        for ip in elsewhere {
            for method in [Method::SendTo, Method::Connect, Method::Auto, Method::Off] {
                let server = SocketAddr::new(ip, 2222);
                let error = net.connect(&by(method), server, b"hello").unwrap_err();
                assert_eq!(error.error.kind(), io::ErrorKind::NetworkUnreachable, "{error:?}");
                assert_eq!((error.attempt, error.local), (None, None), "{method:?}");
            }
        }
    });
}

#[test]
fn foreign_local_address_has_its_own_error() {
    isolated(|| {
        let net = Net::new();
        let elsewhere = SocketAddr::new(Ipv4Addr::new(203, 0, 113, 1).into(), 0);
        let connector = Connector::default().bind(elsewhere);
        let error = net.connect(&connector, SocketAddr::new(SERVERS[0], 1), b"x").unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().starts_with(&format!("bind {elsewhere} failed: ")), "{error}");
    });
}

#[test]
fn deadline_ends_the_wait_for_a_silent_server() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let (listener, _filler) = deaf_listener(&net, ip);
            let server = listener.local_addr();
            for (method, attempt) in [
                (Method::SendTo, Attempt::InSyn(6)),
                (Method::Connect, Attempt::InSyn(6)),
                (Method::Off, Attempt::Regular),
            ] {
                let connector = by(method).timeout(Duration::from_millis(100));
                let error = net.connect(&connector, server, b"hello?").unwrap_err();
                assert_eq!(error.error.kind(), io::ErrorKind::TimedOut, "{error:?}");
                assert_eq!((error.attempt, error.established), (Some(attempt), false));
                let state = error.info.expect("a socket was made").state;
                assert_eq!(state, TcpState::SynSent, "{method:?} {ip}");
                assert!(error.local.is_some(), "its SYN left from somewhere");
            }
        }
    });
}

#[test]
fn the_deadline_counts_the_whole_message() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        // More than the buffers of both ends ever hold.
        let message: &'static [u8] = vec![b'x'; 32 * 1024 * 1024].leak();
        for (method, in_syn) in [
            (Method::SendTo, None),
            (Method::SendTo, Some(1420)),
            (Method::Connect, Some(1420)),
            (Method::Off, None),
        ] {
            let connector = by(method).timeout(Duration::from_millis(300));
            let error = net.connect(&connector, listener.local_addr(), message).unwrap_err();
            assert_eq!(error.error.kind(), io::ErrorKind::TimedOut, "nobody reads it: {error:?}");
            assert!(error.established, "the handshake is not what failed: {error:?}");
            let info = error.info.expect("a socket was made");
            assert_eq!((info.state, info.syn_data), (TcpState::Established, in_syn.is_some()));
            if let Some(bytes) = in_syn {
                assert_eq!(error.attempt, Some(Attempt::InSyn(bytes)));
            }
        }
    });
}

#[test]
fn reset_while_sending_is_reported_as_a_reset() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let message: &'static [u8] = vec![b'x'; 32 * 1024 * 1024].leak();
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                let accepted = listener.accept().expect("a connection comes");
                // Unread data turns the FIN into a reset.
                option::set_linger(&accepted.stream, Some(Duration::ZERO)).unwrap();
            });
            net.connect(&Connector::default(), listener.local_addr(), message).unwrap_err()
        });
        let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.error.kind()), "{error:?}");
        assert!(error.established, "{error:?}");
        assert_eq!(error.attempt, Some(Attempt::InSyn(1420)));
    });
}

#[test]
fn reset_after_the_handshake_is_not_a_refusal() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            net.fetch_cookie(&listener);
            // Everything after the SYN is answered by a reset, before `connect` can check.
            nft(&net.server, &["i tcp flags & syn == 0 reject with tcp reset"]);
            for (method, in_syn) in [(METHODS[0], true), (METHODS[1], true), (Method::Off, false)] {
                let error = net.connect(&by(method), listener.local_addr(), b"hello").unwrap_err();
                assert_eq!(error.error.kind(), io::ErrorKind::ConnectionReset, "{error:?}");
                assert!(error.established, "the SYN-ACK had come: {error:?}");
                assert_eq!(error.info.expect("a socket was made").syn_data, in_syn);
            }
            nft_flush(&net.server);
        }
    });
}

#[test]
fn a_server_that_is_gone_breaks_the_stream_as_any_other() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let (mut client, server) = net.exchange(&listener, &Connector::default(), b"hello");
        drop(server);
        assert_eq!(client.read(&mut [0; 8]).expect("an orderly end"), 0);
        let (mut client, server) = net.exchange(&listener, &Connector::default(), b"hello");
        option::set_linger(&server.stream, Some(Duration::ZERO)).unwrap();
        drop(server);
        let error = client.read(&mut [0; 8]).expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = client.write(b"more").expect_err("it is closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}
