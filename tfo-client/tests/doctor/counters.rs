//! Findings from the counters.

use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tfo_core::cookie::FastOpenKey;
use tfo_core::host::Counters;
use tfo_core::lab::{Host, Network, PathSettings, isolated};
use tfo_core::socket::{Connector, FastOpenListener, FastOpenStream, Method, option};

use crate::harness::{
    connect, finding, fix, has, hosts, listen, look, server_address, set, set_bits,
};

fn key(byte: u8) -> FastOpenKey {
    FastOpenKey::new([byte; FastOpenKey::LENGTH])
}

fn use_keys(listener: &FastOpenListener, primary: u8, backup: Option<u8>) {
    option::set_fastopen_key(listener, &key(primary), backup.map(key).as_ref()).unwrap();
}

#[test]
fn hit_rate_of_a_working_pair_is_1() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        assert_eq!(look(&client)["hit_rates"], json!({"outgoing": null, "incoming": null}));
        for _ in 0..3 {
            let _connected = connect(&client, server_address());
            let _accepted = listener.accept().unwrap();
        }
        let (here, there) = (look(&client), look(&server));
        assert_eq!(
            here["counters"]["TCPFastOpenActive"], 2,
            "the first connection fetched the cookie"
        );
        assert_eq!(here["hit_rates"], json!({"outgoing": 1.0, "incoming": null}));
        assert_eq!(there["counters"]["TCPFastOpenCookieReqd"], 1);
        assert_eq!(there["hit_rates"], json!({"outgoing": null, "incoming": 1.0}));
        assert!(!has(&there, "cookies-never-used"), "the cookies are used: {there}");
    });
}

#[test]
fn unused_cookies_are_reported_with_the_reason() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let request = || drop((connect(&client, server_address()), listener.accept().unwrap()));
        let reason = || {
            let found = look(&server);
            finding(&found, "cookies-never-used")["text"].as_str().unwrap().to_owned()
        };
        set_bits(&server, 1);
        request();
        assert!(reason().ends_with("the server's bit is off"), "{}", reason());
        set_bits(&server, 3);
        option::set_fastopen(&listener, 0).unwrap();
        request();
        assert!(reason().ends_with("no listener has a fast open queue"), "{}", reason());
        option::set_fastopen(&listener, 16).unwrap();
        request();
        assert!(reason().contains("fine if each client came only once"), "{}", reason());
    });
}

#[test]
fn replaced_key_is_invalid_cookies_and_rotated_key_is_backup() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let visit = || drop((connect(&client, server_address()), listener.accept().unwrap()));
        use_keys(&listener, 1, None);
        visit();
        use_keys(&listener, 2, Some(1));
        visit();
        let found = look(&server);
        assert_eq!(finding(&found, "backup-key-used")["level"], "ok");
        assert!(!has(&found, "invalid-cookies"), "a rotation keeps old cookies valid: {found}");
        use_keys(&listener, 3, None);
        visit();
        let found = look(&server);
        let note = finding(&found, "invalid-cookies");
        assert_eq!(note["level"], "note");
        let text = note["text"].as_str().unwrap();
        assert!(
            text.starts_with("1 SYN came with an invalid cookie, 1 with a valid one"),
            "{text}"
        );
        assert_eq!(found["hit_rates"]["incoming"], 0.5);
    });
}

#[test]
fn full_queue_is_reported() {
    isolated(|| {
        let round_trip = Duration::from_millis(200);
        let network = Network::new(PathSettings::new().round_trip(round_trip)).unwrap();
        let listener = listen(network.server());
        drop((connect(network.client(), server_address()), listener.accept().unwrap()));
        option::set_fastopen(&listener, 1).unwrap();
        // Both SYNs arrive before either handshake completes.
        network.client().run(|| {
            let start = Arc::new(Barrier::new(2));
            let one = || {
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    start.wait();
                    Connector::default().method(Method::SendTo).connect(server_address(), b"hello")
                })
            };
            let _both = [one(), one()].map(|thread| thread.join().unwrap().unwrap());
        });
        let found = look(network.server());
        let note = finding(&found, "queue-full");
        let text = note["text"].as_str().unwrap();
        assert!(
            text.starts_with("a fast open queue was full 1 time: that of [::]:2222 ("),
            "{text}"
        );
        assert!(text.ends_with(&format!("pid {}), length 1", std::process::id())), "{text}");
        assert_eq!(note["level"], "note");
    });
}

#[test]
fn full_accept_queue_names_its_listener() {
    isolated(|| {
        for v6 in [false, true] {
            let (client, server) = hosts();
            let ip = Network::server_address(v6);
            let (full, idle) = (SocketAddr::new(ip, 8080), SocketAddr::new(ip, 8081));
            let listen = |address| FastOpenListener::builder(address).backlog(1).listen().unwrap();
            let listeners = server.run(move || [full, idle].map(listen));
            assert!(!has(&look(&server), "accept-queue-full"));
            // Two have room; the handshake of the third does not end.
            let waiting: Vec<_> =
                (0..3).map(|_| client.run(move || connect_without_waiting(full))).collect();
            until_full(&server);
            let found = look(&server);
            let note = finding(&found, "accept-queue-full");
            let text = note["text"].as_str().unwrap();
            assert!(text.contains(&format!("{full} (")), "{text}");
            assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
            assert!(!found.to_string().contains(&format!("queue of {idle}")), "{found}");
            assert!(fix(note).contains("'sport = :8080'"), "{note}");
            let note = finding(&found, "accept-queue-overflowed");
            assert!(note["text"].as_str().unwrap().contains(&format!("{full} (")), "{note}");
            drop((waiting, listeners));
        }
    });
}

/// Begins to connect.
fn connect_without_waiting(address: SocketAddr) -> FastOpenStream {
    let connector = Connector::default().method(Method::Off);
    connector.connect_nonblocking(address, b"hello").unwrap()
}

/// Waits until an accept queue has dropped something.
fn until_full(host: &Host) {
    let overflows = || host.run(|| Counters::read().unwrap().accept_overflows);
    let start = Instant::now();
    while overflows() == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing was dropped");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sent_syncookies_are_reported() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        set(&server, "ipv4/tcp_syncookies", "2");
        drop((connect(&client, server_address()), listener.accept().unwrap()));
        assert!(!has(&look(&server), "syncookies-sent"), "with 2 they are sent always");
        set(&server, "ipv4/tcp_syncookies", "1");
        let found = look(&server);
        let note = finding(&found, "syncookies-sent");
        let text = note["text"].as_str().unwrap();
        assert!(text.starts_with("1 SYN was answered with a SYN cookie"), "{text}");
        assert!(fix(note).contains("SYN flooding"), "{note}");
    });
}
