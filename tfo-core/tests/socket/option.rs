//! Each socket option is set and read back.

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tfo_core::cookie::FastOpenKey;
use tfo_core::lab::isolated;
use tfo_core::socket::{Method, option};

use crate::exchange::by;
use crate::support::{Net, SERVERS, on};

/// Returns a socket that neither listens nor is connected: a listener that was shut down.
fn idle_socket() -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is up");
    let socket = TcpStream::from(OwnedFd::from(listener));
    socket.shutdown(Shutdown::Both).expect("a listener may be shut down");
    socket
}

#[test]
fn each_option_is_read_back_as_it_was_set() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        for queue in [17, 0] {
            option::set_fastopen(&listener, queue).unwrap();
            assert_eq!(option::fastopen(&listener).unwrap(), queue, "also on a live listener");
        }
        for on in [true, false] {
            assert!(option::set_fastopen_no_cookie(&listener, on).unwrap(), "since Linux 4.15");
            assert_eq!(option::fastopen_no_cookie(&listener).unwrap(), on);
            option::set_nodelay(&listener, on).unwrap();
            assert_eq!(option::nodelay(&listener).unwrap(), on);
        }
        for (asked, rounded) in [(2000, 3), (3000, 3), (1, 1), (0, 0)] {
            option::set_defer_accept(&listener, Duration::from_millis(asked)).unwrap();
            let read = option::defer_accept(&listener).unwrap();
            assert_eq!(
                read,
                Duration::from_secs(rounded),
                "{asked} ms, in SYN-ACK retransmissions"
            );
        }
        for (asked, rounded) in [(1_500_000, 1500), (1, 1), (0, 0)] {
            option::set_user_timeout(&listener, Duration::from_micros(asked)).unwrap();
            let read = option::user_timeout(&listener).unwrap();
            assert_eq!(read, Duration::from_millis(rounded), "{asked} µs, never rounded to none");
        }
        for time in [Some(5), Some(0), None].map(|time| time.map(Duration::from_secs)) {
            option::set_linger(&listener, time).unwrap();
            assert_eq!(option::linger(&listener).unwrap(), time);
        }
    });
}

#[test]
fn fastopen_connect_is_read_back_as_it_was_set() {
    isolated(|| {
        let net = Net::new();
        net.client.run(|| {
            let socket = idle_socket();
            for on in [true, false] {
                assert!(option::set_fastopen_connect(&socket, on).unwrap(), "the host allows it");
                assert_eq!(option::fastopen_connect(&socket).unwrap(), on);
            }
        });
    });
}

#[test]
fn fastopen_connect_is_unavailable_with_the_clients_bit_off() {
    isolated(|| {
        let net = Net::new();
        net.set_client_bits(2);
        net.client.run(|| {
            let socket = idle_socket();
            assert!(!option::set_fastopen_connect(&socket, true).unwrap(), "a value, no error");
            assert!(!option::fastopen_connect(&socket).unwrap(), "it was not set");
        });
    });
}

#[test]
fn a_listener_has_the_keys_that_it_was_given() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let keys = || option::fastopen_key(&listener).unwrap();
        assert_eq!(keys(), [], "it uses those of its namespace");
        let [one, other] = [[0xa5; 16], [0x5a; 16]].map(FastOpenKey::new);
        option::set_fastopen_key(&listener, &one, None).unwrap();
        assert_eq!(keys(), std::slice::from_ref(&one), "16 bytes: the primary alone");
        option::set_fastopen_key(&listener, &other, Some(&one)).unwrap();
        assert_eq!(keys(), [other.clone(), one], "32 bytes: primary and backup, in this order");
        option::set_fastopen_key(&listener, &other, None).unwrap();
        let keys = keys();
        assert_eq!(keys, [other], "a primary alone drops the backup");
        let shown = format!("{keys:?}").to_lowercase();
        assert!(!shown.contains("5a") && !shown.contains("90"), "a key shows nowhere: {shown}");
    });
}

#[test]
fn an_option_that_is_refused_is_named() {
    isolated(|| {
        let net = Net::new();
        let udp = net.client.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let key = FastOpenKey::new([7; 16]);
        let refused = [
            ("TCP_FASTOPEN", option::set_fastopen(&udp, 1)),
            ("TCP_FASTOPEN_KEY", option::set_fastopen_key(&udp, &key, None)),
            ("TCP_SAVE_SYN", option::set_save_syn(&udp, true)),
            ("TCP_SAVED_SYN", option::saved_syn(&udp).map(drop)),
            ("TCP_INFO", option::tcp_info(&udp).map(drop)),
            ("TCP_USER_TIMEOUT", option::set_user_timeout(&udp, Duration::ZERO)),
        ];
        for (name, result) in refused {
            let error = result.expect_err("UDP has no such option").to_string();
            assert!(error.contains(&format!(" {name} failed: ")), "{error}");
        }
        let connected = option::set_fastopen_connect(net.listen(on(SERVERS[0])), true);
        connected.expect_err("a listener can't connect: that is no lack of support");
    });
}

#[test]
fn saved_syn_is_returned_once() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]).save_syn(false));
        option::set_save_syn(&listener, true).unwrap();
        let server = listener.local_addr();
        let client = net.connect(&by(Method::SendTo), server, b"hello").expect("it listens");
        let accepted = listener.accept().expect("a connection waits");
        let syn = option::saved_syn(&accepted.stream).unwrap().expect("it was to be saved");
        assert_eq!(syn.source(), client.local_addr().unwrap(), "the client's SYN");
        assert_eq!(option::saved_syn(&accepted.stream).unwrap(), None, "the kernel has freed it");
        option::set_save_syn(&listener, false).unwrap();
        let _client = net.connect(&by(Method::SendTo), server, b"hello").expect("it listens");
        let accepted = listener.accept().expect("a connection waits");
        assert_eq!(option::saved_syn(&accepted.stream).unwrap(), None, "it was not to be saved");
    });
}
