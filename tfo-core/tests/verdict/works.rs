//! Fast open works.

use tfo_core::diagnosis::{Outcome, summarize};
use tfo_core::lab::isolated;
use tfo_core::socket::Attempt;
use tfo_core::socket::Method;
use tfo_core::socket::SynRecord;

use crate::probing::{SIZE, answer, probe};
use crate::support::{Net, SERVERS, on};

#[test]
fn the_first_connection_fetches_a_cookie_and_the_later_ones_use_it() {
    isolated(|| {
        for method in [Method::Auto, Method::SendTo, Method::Connect] {
            let net = Net::new();
            for ip in SERVERS {
                let mirror = net.mirror(on(ip));
                let probe = probe(mirror.local_addr()).method(method);
                let first = net.probe_with(SIZE, probe.clone());
                first.cookie_granted();
                let mut verdicts = vec![first.joined];
                for _ in 0..3 {
                    let judged = net.probe_with(SIZE, probe.clone());
                    judged.fast_open();
                    assert_eq!(judged.evidence.attempt, Attempt::InSyn(SIZE), "{method:?} {ip}");
                    let server = judged.mirrored.as_ref().expect("a mirror answered");
                    let SynRecord::Saved(syn) = &server.syn else { panic!("{server:?}") };
                    assert_eq!(usize::from(syn.payload_bytes), SIZE);
                    assert_eq!(server.counters.as_ref().expect("room for all").change.passive, 1);
                    assert_eq!(Some(server.source), judged.evidence.local);
                    assert_eq!(server.destination, mirror.local_addr());
                    verdicts.push(judged.joined);
                }
                let summary = summarize(&verdicts);
                assert_eq!((summary.total, summary.fast_open), (4, 3));
                assert_eq!(summary.verdict.outcome, Outcome::FastOpen);
                assert!(summary.verdict.finding.contains("3 of 4"), "{summary:?}");
            }
        }
    });
}

#[test]
fn a_message_over_the_syns_room_is_fast_open_in_part() {
    isolated(|| {
        let net = Net::new();
        for (ip, room) in SERVERS.into_iter().zip([1420, 1400]) {
            let mirror = net.mirror(on(ip));
            net.fetch_cookie(&mirror);
            let partly = net.probe_with(5000, probe(mirror.local_addr()));
            partly.fast_open();
            assert_eq!(partly.evidence.attempt, Attempt::InSyn(room), "at an MTU of 1500");
            partly.says(&[&format!("{room} of 5000 bytes"), "second round trip"]);
            let whole = net.probe_with(room, probe(mirror.local_addr()));
            whole.fast_open();
            whole.says(&[&format!("all {room} bytes"), "little to save"]);
        }
    });
}

#[test]
fn a_server_of_another_kind_leaves_the_clients_half() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let server = net.serve(on(ip), answer);
            for outcome in [Outcome::CookieGranted, Outcome::FastOpen, Outcome::FastOpen] {
                let judged = net.probe_with(SIZE, probe(server));
                assert_eq!(judged.mirrored, None, "it is no mirror");
                judged.client(outcome, None, &[]);
            }
        }
    });
}

#[test]
fn a_server_that_speaks_first_is_no_hindrance() {
    isolated(|| {
        let net = Net::new();
        let server = net.serve(on(SERVERS[0]), |mut stream| {
            let _ = std::io::Write::write_all(&mut stream, b"220 ready\n");
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        });
        for outcome in [Outcome::CookieGranted, Outcome::FastOpen, Outcome::FastOpen] {
            net.probe_with(SIZE, probe(server)).client(outcome, None, &[]);
        }
    });
}

#[test]
fn a_server_that_only_closes_is_no_hindrance() {
    isolated(|| {
        let net = Net::new();
        let server = net.serve(on(SERVERS[0]), |mut stream| {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        });
        for outcome in [Outcome::CookieGranted, Outcome::FastOpen] {
            let judged = net.probe_with(SIZE, probe(server));
            judged.client(outcome, None, &[]);
        }
    });
}
