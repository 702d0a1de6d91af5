//! The contract of the listener.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tfo_core::host::sysctl;
use tfo_core::lab::isolated;
use tfo_core::socket::Attempt;
use tfo_core::socket::ClientFail;
use tfo_core::socket::{Connector, FastOpenListener, Method, SynRecord};

use crate::exchange::{METHODS, by, syn};
use crate::support::{Net, SERVERS, on, set, until};

/// Returns whether clients can get fast open from this listener.
fn ready(net: &Net, listener: &Arc<FastOpenListener>) -> bool {
    let bits = net.server.run(sysctl::tcp_fastopen).expect("readable");
    bits.server() && listener.effective_queue().expect("readable") > 0
}

#[test]
fn effective_lengths_are_capped_at_somaxconn() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            set(&net.server, "core/somaxconn", "300");
            let listener = net.listen(on(ip));
            assert_eq!(listener.effective_queue().unwrap(), 256, "the default");
            assert_eq!(listener.effective_backlog().unwrap(), 300, "the default is 1024");
            set(&net.server, "core/somaxconn", "7");
            assert_eq!(net.server.run(sysctl::somaxconn).unwrap(), 7);
            let listener = net.listen(on(ip).queue(50).backlog(100));
            assert_eq!(listener.effective_queue().unwrap(), 7, "silently capped");
            assert_eq!(listener.effective_backlog().unwrap(), 7, "silently capped");
            let listener = net.listen(on(ip).queue(u32::MAX).backlog(u32::MAX));
            assert_eq!(listener.effective_queue().unwrap(), 7, "no number is too large");
            assert_eq!(listener.effective_backlog().unwrap(), 7, "no number is too large");
            let listener = net.listen(on(ip).queue(3).backlog(2));
            assert_eq!(listener.effective_queue().unwrap(), 3, "room enough");
            assert_eq!(listener.effective_backlog().unwrap(), 2, "room enough");
        }
    });
}

#[test]
fn listener_works_with_the_servers_bit_off_and_is_not_ready() {
    isolated(|| {
        let net = Net::new();
        net.set_server_bits(1);
        for ip in SERVERS {
            let listener = Arc::new(net.listen(on(ip)));
            assert!(!ready(&net, &listener), "the server's bit is off");
            assert_eq!(listener.effective_queue().unwrap(), 256, "the option itself succeeded");
            for _ in 0..2 {
                let (client, server) = net.exchange(&listener, &Connector::default(), b"hello");
                assert_eq!(client.attempt(), Some(Attempt::AfterHandshake));
                assert!(!server.arrival.tcp.syn_data, "a regular connection");
                let request = syn(&server.arrival).fast_open.expect("the client asked");
                assert!(request.is_request());
            }
            assert_eq!(net.cookie(&listener), None, "no cookie is granted");
        }
        net.set_server_bits(2);
        let listener = Arc::new(net.listen(on(SERVERS[0])));
        assert!(ready(&net, &listener), "the bit is on");
    });
}

#[test]
fn a_queue_of_zero_turns_fast_open_off() {
    isolated(|| {
        let net = Net::new();
        let listener = Arc::new(net.listen(on(SERVERS[0]).queue(0)));
        assert!(!ready(&net, &listener), "the queue has no place");
        assert_eq!(listener.effective_queue().unwrap(), 0);
        let _ends = net.exchange(&listener, &Connector::default(), b"hello");
        assert_eq!(net.cookie(&listener), None, "no cookie is granted");
        let other = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&other);
        let (client, server) = net.exchange(&listener, &Connector::default(), b"hello");
        assert_eq!(client.attempt(), Some(Attempt::InSyn(5)), "the cookie is the host's");
        assert_eq!(client.info().unwrap().client_fail, ClientFail::DataNotAcked);
        assert_eq!(
            usize::from(syn(&server.arrival).payload_bytes),
            5,
            "it came, and was not taken"
        );
    });
}

#[test]
fn two_listeners_share_a_port_and_its_cookies() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let builder = on(ip).reuse_port(true).nonblocking(true);
            let one = net.listen(builder);
            let same = FastOpenListener::builder(one.local_addr()).nonblocking(true);
            let other = net.listen(same.reuse_port(true));
            let mut clients = Vec::new();
            for n in 0..16 {
                let connector = Connector::default();
                let client = net.connect(&connector, one.local_addr(), b"hello").expect("listens");
                assert_eq!(client.info().unwrap().syn_data, n > 0, "whichever it came to");
                clients.push(client);
            }
            let accepted =
                |listener: &FastOpenListener| std::iter::from_fn(|| listener.accept().ok()).count();
            let mut sum = 0;
            until("all of them arrive at one or the other", || {
                sum += accepted(&one) + accepted(&other);
                sum == clients.len()
            });
        }
    });
}

#[test]
fn unavailable_address_has_its_error_kind() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            let taken = FastOpenListener::builder(listener.local_addr());
            for builder in [taken.clone(), taken.reuse_port(true)] {
                let error = net.server.run(move || builder.listen()).expect_err("it is taken");
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
                let named = format!("bind {} failed: ", listener.local_addr());
                assert!(error.to_string().starts_with(&named), "{error}");
            }
            let error = net.client.run(move || on(ip).listen()).expect_err("it is the server's");
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
            let named = format!("bind {} failed: ", SocketAddr::new(ip, 0));
            assert!(error.to_string().starts_with(&named), "{error}");
        }
    });
}

#[test]
fn a_port_is_free_again_right_after_its_listener_has_gone() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let address = listener.local_addr();
        let (_client, server) = net.exchange(&listener, &Connector::default(), b"hello");
        // The server closes first: its end stays in TIME_WAIT.
        drop((listener, server));
        let again = net.listen(FastOpenListener::builder(address));
        assert_eq!(again.local_addr(), address);
    });
}

#[test]
fn syn_is_saved_by_default() {
    isolated(|| {
        let net = Net::new();
        for (save, ip) in [(false, SERVERS[0]), (true, SERVERS[0]), (true, SERVERS[1])] {
            let listener = net.listen(on(ip).save_syn(save));
            let connector = Connector::default();
            let _client =
                net.connect(&connector, listener.local_addr(), b"hello").expect("it is up");
            let arrival = listener.accept().expect("a connection waits").arrival;
            match arrival.syn {
                SynRecord::Saved(_) => assert!(save),
                SynRecord::NotSaved => assert!(!save),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_syn_cookie_leaves_no_syn_to_save() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            net.fetch_cookie(&listener);
            set(&net.server, "ipv4/tcp_syncookies", "2");
            let (client, server) = net.exchange(&listener, &Connector::default(), b"hello");
            assert!(matches!(server.arrival.syn, SynRecord::SynCookie), "{:?}", server.arrival.syn);
            assert_eq!(client.info().unwrap().client_fail, ClientFail::DataNotAcked);
            set(&net.server, "ipv4/tcp_syncookies", "1");
        }
    });
}

#[test]
fn nonblocking_accept_returns_at_once() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]).nonblocking(true));
        let error = listener.accept().expect_err("nobody has come");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(!FastOpenListener::is_transient_accept_error(&error), "trying again would spin");
        let server = listener.local_addr();
        let _client = net.connect(&Connector::default(), server, b"").expect("it listens");
        let mut accepted = None;
        until("a connection", || {
            accepted = listener.accept().ok();
            accepted.is_some()
        });
        let mut stream = accepted.expect("just there").stream;
        let error = io::Read::read(&mut stream, &mut [0; 1]).expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the stream does not wait either");
    });
}

#[test]
fn a_deferred_connection_is_handed_over_with_its_data() {
    isolated(|| {
        let net = Net::new();
        let ten = Duration::from_secs(10);
        let listener = net.listen(on(SERVERS[0]).nonblocking(true).defer_accept(ten));
        let server = listener.local_addr();
        let mut client = net.connect(&by(Method::Off), server, b"").expect("the handshake ended");
        assert!(listener.accept().is_err(), "without data it is not handed over");
        client.write_all(b"data").expect("connected");
        until("the connection with its data", || listener.accept().is_ok());
        // With data in the SYN there is nothing to wait for.
        for _ in 0..2 {
            let _client = net.connect(&by(Method::SendTo), server, b"hello").expect("it listens");
            until("the connection with its data", || listener.accept().is_ok());
        }
    });
}

#[test]
fn unspecified_address_serves_both_families() {
    isolated(|| {
        let net = Net::new();
        let all = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
        let listener = net.listen(FastOpenListener::builder(all));
        for ip in SERVERS {
            for (method, in_syn) in [(METHODS[0], false), (METHODS[0], true), (METHODS[1], true)] {
                let server = SocketAddr::new(ip, listener.local_addr().port());
                let client = net.connect(&by(method), server, b"hello").expect("it listens");
                let accepted = listener.accept().expect("a connection waits");
                assert_eq!(accepted.arrival.tcp.syn_data, in_syn, "{ip}");
                assert_eq!(
                    syn(&accepted.arrival).destination.expect("it was saved").ip(),
                    ip,
                    "as in the SYN"
                );
                let peer = accepted.arrival.peer.ip().to_canonical();
                assert_eq!(peer, client.local_addr().unwrap().ip(), "IPv4 may come mapped");
            }
        }
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listener.local_addr().port());
        let on_its_own_host = net.server.run(move || by(METHODS[0]).connect(loopback, b"hello"));
        on_its_own_host.expect("it listens there too");
    });
}
