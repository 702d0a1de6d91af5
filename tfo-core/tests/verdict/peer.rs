//! The server's host does not do its part.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use tfo_core::cookie::FastOpenKey;
use tfo_core::diagnosis::{Blame, Cause, Outcome};
use tfo_core::lab::{self, isolated};
use tfo_core::probe::ServerObserver;
use tfo_core::socket::Attempt;
use tfo_core::socket::FastOpenStream;

use crate::probing::{Judged, Mirror};
use crate::support::{Net, SERVERS, nft, nft_flush, on, set};

/// The server withheld the cookie, for this reason: which the client alone can't know.
#[track_caller]
fn withheld(judged: &Judged, cause: Cause) {
    judged.joined(Outcome::Fallback, Some(cause), Some(Blame::Peer));
    judged.client(
        Outcome::Fallback,
        Some(Cause::NoCookieReturned),
        &[cause, Cause::OptionStripped, Cause::SynAckOptionStripped],
    );
    judged.server(Outcome::Fallback, Some(cause));
}

/// The server did not take the data, for this reason: which the client alone can't know.
#[track_caller]
fn not_taken(judged: &Judged, cause: Cause) {
    assert!(matches!(judged.evidence.attempt, Attempt::InSyn(_)), "{judged:#?}");
    judged.joined(Outcome::Fallback, Some(cause), Some(Blame::Peer));
    judged.client(
        Outcome::Fallback,
        Some(Cause::DataNotAcked),
        &[cause, Cause::OptionStripped, Cause::SynDataStripped],
    );
    judged.server(Outcome::Fallback, Some(cause));
}

/// The server keeps nothing of a SYN that it answers with a SYN cookie, no `TSval` either: nothing excludes a proxy in
/// between.
#[track_caller]
fn syncookies(judged: &Judged, broad: Cause) {
    let joined = &judged.joined;
    assert_eq!((joined.outcome, joined.cause), (Outcome::Fallback, Some(broad)), "{judged:#?}");
    assert_eq!(joined.candidates, [Cause::Proxied, Cause::ServerSyncookies], "{judged:#?}");
    assert!(joined.candidates_complete, "{judged:#?}");
    judged.server(Outcome::Fallback, Some(Cause::ServerSyncookies));
}

#[test]
fn the_servers_bit_is_off() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            net.set_server_bits(1);
            let mirror = net.mirror(on(ip));
            // The second asks by the experimental option.
            for _ in 0..3 {
                let judged = net.probe(&mirror);
                withheld(&judged, Cause::ServerDisabled);
                judged.says(&["sysctl -w net.ipv4.tcp_fastopen=3"]);
            }
            // The next step works.
            net.set_server_bits(3);
            net.fetch_cookie(&mirror);
            net.probe(&mirror).fast_open();
            net.set_server_bits(1);
            not_taken(&net.probe(&mirror), Cause::ServerDisabled);
        }
    });
}

#[test]
fn the_listener_has_no_queue() {
    isolated(|| {
        let net = Net::new();
        let mirror = net.mirror(on(SERVERS[0]).queue(0));
        withheld(&net.probe(&mirror), Cause::ServerDisabled);
        let neighbour = net.mirror(on(SERVERS[0]));
        net.fetch_cookie(&neighbour);
        // Cookies know no port: the neighbour's is sent to the one that takes none.
        not_taken(&net.probe(&mirror), Cause::ServerDisabled);
        net.probe(&neighbour).fast_open();
    });
}

/// Occupies the only place of a queue: a connection from another address whose handshake never
/// ends, because what follows its SYN is dropped.
fn occupy(net: &Net, mirror: &Mirror) -> FastOpenStream {
    let other = std::net::Ipv4Addr::new(192, 0, 2, 3);
    net.client.add_address(other.into()).expect("a free address");
    let server = mirror.local_addr();
    let connect = move || {
        let connector = FastOpenStream::connector().bind((other, 0).into());
        let request = tfo_core::probe::mirror::request("other", 40);
        let mut stream = connector.connect(server, &request).expect("it listens");
        // The mirror has read the counters when it answers: what follows is not this connection's.
        // All of it is read, as an unread rest would turn the end into a reset, after which the
        // place stays taken for a minute.
        let mut answer = vec![0];
        while answer.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        stream
    };
    drop(net.client.run(connect));
    nft(&net.client, &["o ip saddr 192.0.2.3 tcp flags & syn == 0 drop"]);
    let stream = net.client.run(connect);
    assert!(stream.info().unwrap().syn_data, "it came in by fast open");
    stream
}

#[test]
fn the_servers_queue_is_full() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        let mirror = net.mirror(on(SERVERS[0]).queue(1));
        net.fetch_cookie(&mirror);
        net.probe(&mirror).fast_open();
        let occupant = occupy(&net, &mirror);
        for _ in 0..2 {
            let judged = net.probe(&mirror);
            not_taken(&judged, Cause::QueueFull);
            judged.says(&["TCPFastOpenListenOverflow", "fastopen-queue"]);
        }
        // The occupant's handshake ends with the first packet that gets through.
        nft_flush(&net.client);
        drop(occupant);
        crate::support::until("a free place", || {
            net.probe(&mirror).joined.outcome == Outcome::FastOpen
        });
    });
}

#[test]
fn the_servers_queue_is_full_for_who_asks_for_a_cookie() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        let mirror = net.mirror(on(SERVERS[0]).queue(1));
        let _occupant = occupy(&net, &mirror);
        withheld(&net.probe(&mirror), Cause::QueueFull);
    });
}

#[test]
fn the_server_answers_with_syn_cookies() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            set(&net.server, "ipv4/tcp_syncookies", "2");
            let mirror = net.mirror(on(ip));
            syncookies(&net.probe(&mirror), Cause::NoCookieReturned);
            set(&net.server, "ipv4/tcp_syncookies", "1");
            // The request before came to nothing: this one may go by the experimental option.
            net.fetch_cookie(&mirror);
            set(&net.server, "ipv4/tcp_syncookies", "2");
            syncookies(&net.probe(&mirror), Cause::DataNotAcked);
        }
    });
}

#[test]
fn a_server_without_cookies_never_grants_one() {
    isolated(|| {
        let net = Net::new();
        net.set_server_bits(0x203);
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            for _ in 0..2 {
                withheld(&net.probe(&mirror), Cause::ServerWithoutCookies);
            }
        }
        // An option of the listener has the same effect.
        net.set_server_bits(3);
        let mirror = net.mirror(on(SERVERS[0]).no_cookie(true));
        withheld(&net.probe(&mirror), Cause::ServerWithoutCookies);
    });
}

#[test]
fn a_client_without_cookies_needs_a_server_without_cookies() {
    isolated(|| {
        let net = Net::new();
        net.set_client_bits(5);
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            let judged = net.probe(&mirror);
            let cause = Some(Cause::ClientWithoutCookies);
            judged.joined(Outcome::Fallback, cause, Some(Blame::ThisHost));
            judged.says(&["has bit 0x4", "sysctl -w net.ipv4.tcp_fastopen=3"]);
            net.set_server_bits(0x203);
            let judged = net.probe(&mirror);
            judged.fast_open();
            judged.says(&["without a cookie", "forged"]);
            net.set_server_bits(3);
        }
    });
}

#[test]
fn a_server_that_is_slow_to_accept_changes_nothing() {
    isolated(|| {
        let net = Net::new();
        let listener = Arc::new(net.listen(on(SERVERS[0])));
        let later = Arc::clone(&listener);
        net.server.run(move || {
            std::thread::spawn(move || {
                // Slower than any handshake of this path.
                std::thread::sleep(Duration::from_millis(100));
                tfo_core::probe::serve_mirror(&later)
            });
        });
        net.fetch_cookie(&listener);
        net.probe(&listener).fast_open();
    });
}

#[test]
fn a_connection_that_waits_may_have_raised_a_counter() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = Arc::new(net.listen(on(ip)));
            let address = listener.local_addr();
            let own = Arc::clone(&listener);
            let observer = Arc::new(net.server.run(move || ServerObserver::new(&own)));
            let connect =
                || net.client.run(move || FastOpenStream::connect(address, b"first").unwrap());
            let count = || {
                let (listener, observer) = (Arc::clone(&listener), Arc::clone(&observer));
                net.server.run(move || {
                    let accepted = listener.accept().unwrap();
                    observer.accepted();
                    observer.evidence_with_counters(&accepted.arrival).counters.unwrap()
                })
            };
            // The second one's data was counted before the first one was accepted.
            let _both = [connect(), connect()];
            let counted = count();
            assert!(!counted.change.is_zero(), "{counted:?}");
            assert_eq!((counted.connections, counted.alone), (1, Some(false)), "{counted:?}");
            count();
            let _only = connect();
            assert_eq!(count().alone, None, "the connection itself shows all that changed");
            listener.set_keys(&FastOpenKey::new([7; 16]), None).unwrap();
            let _only = connect();
            assert_eq!(count().alone, Some(true), "nobody waits");
        }
    });
}
