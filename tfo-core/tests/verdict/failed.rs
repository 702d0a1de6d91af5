//! No connection, or no answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tfo_core::diagnosis::{Blame, Cause, Ending, Outcome, RegularCheck};
use tfo_core::lab::{self, isolated};
use tfo_core::socket::Attempt;
use tfo_core::socket::{Method, option};

use crate::probing::{Mirror, SIZE, closed_port, probe};
use crate::support::{Net, SERVERS, nft, nft_flush, on, set};

const SHORT: Duration = Duration::from_millis(300);

/// A mirror for which the client has a cookie.
fn known_mirror(net: &Net, ip: IpAddr) -> Mirror {
    let mirror = net.mirror(on(ip));
    net.fetch_cookie(&mirror);
    mirror
}

#[test]
fn nobody_listens() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            for method in [Method::Auto, Method::Connect, Method::Off] {
                let judged = net.probe_with(SIZE, probe(closed_port(ip)).method(method));
                judged.client(Outcome::Failed, Some(Cause::Refused), &[]);
                assert_eq!(judged.client.blame, Some(Blame::Peer));
            }
            known_mirror(&net, ip);
            for method in [Method::Auto, Method::Connect] {
                let judged = net.probe_with(SIZE, probe(closed_port(ip)).method(method));
                assert_eq!(judged.evidence.attempt, Attempt::InSyn(SIZE), "{judged:#?}");
                let check = judged.evidence.regular_check;
                assert!(matches!(check, Some(RegularCheck::Failed(_))), "{judged:#?}");
                judged.client(Outcome::Failed, Some(Cause::Refused), &[]);
            }
        }
    });
}

/// Of SYNs that have data.
const WITH_DATA: &str = "i tcp flags & (syn | ack) == syn meta length > 120";

#[test]
fn data_in_the_syn_is_answered_by_a_reset_or_an_icmp_error() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        set(&net.server, "ipv4/icmp_ratelimit", "0");
        // On a path without any delay an ICMPv6 error comes while the call that sent the SYN still
        // holds the socket: Linux then passes over it, and sends the SYN again.
        for (ip, answers) in SERVERS.into_iter().zip([
            &["tcp reset", "icmp type admin-prohibited", "icmp type host-unreachable"][..],
            &["tcp reset"],
        ]) {
            let mirror = known_mirror(&net, ip);
            for answer in answers {
                nft(&net.server, &[&format!("{WITH_DATA} reject with {answer}")]);
                net.new_series();
                let judged = net.probe(&mirror);
                assert_eq!(judged.evidence.attempt, Attempt::InSyn(SIZE), "{judged:#?}");
                let check = judged.evidence.regular_check;
                assert_eq!(check, Some(RegularCheck::Connected), "{answer}: {judged:#?}");
                // One of each is too little.
                judged.client(Outcome::Failed, None, &[Cause::ResetOnSynData]);
                let judged = net.repeated(SIZE, &probe(mirror.local_addr()));
                judged.client(Outcome::Failed, Some(Cause::ResetOnSynData), &[]);
                assert_eq!(judged.client.blame, Some(Blame::Path), "{answer}: {judged:#?}");
                nft_flush(&net.server);
            }
            net.probe(&mirror).fast_open();
        }
    });
}

#[test]
fn the_whole_port_is_prohibited() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = known_mirror(&net, ip);
            nft(&net.server, &["i meta l4proto tcp reject with icmpx type admin-prohibited"]);
            let judged = net.probe(&mirror);
            judged.client(Outcome::Failed, Some(Cause::Unreachable), &[]);
            nft_flush(&net.server);
            nft(&net.server, &["i meta l4proto tcp reject with tcp reset"]);
            let judged = net.probe(&mirror);
            judged.client(Outcome::Failed, Some(Cause::Refused), &[]);
            nft_flush(&net.server);
        }
    });
}

#[test]
fn there_is_no_route() {
    isolated(|| {
        let net = Net::new();
        for ip in ["203.0.113.1", "2001:db8:1::1"].map(|ip| ip.parse().expect("an address")) {
            for method in [Method::Auto, Method::Connect, Method::Off] {
                let judged = net.probe_with(SIZE, probe(SocketAddr::new(ip, 1)).method(method));
                judged.client(Outcome::Failed, Some(Cause::Unreachable), &[]);
                judged.says(&[&format!("ip route get {ip}")]);
            }
        }
    });
}

#[test]
fn nobody_has_the_address() {
    isolated(|| {
        let net = Net::new();
        let nobody = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 77).into(), 2222);
        let judged = net.probe_with(SIZE, probe(nobody).connect_timeout(SHORT));
        judged.client(Outcome::Failed, Some(Cause::TimedOut), &[]);
    });
}

#[test]
fn the_server_answers_no_syn() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = known_mirror(&net, ip);
            nft(&net.server, &["i meta l4proto tcp drop"]);
            let judged = net.probe_with(SIZE, probe(mirror.local_addr()).connect_timeout(SHORT));
            assert_eq!(judged.evidence.regular_check, Some(RegularCheck::TimedOut), "{judged:#?}");
            judged.client(Outcome::Failed, Some(Cause::TimedOut), &[]);
            nft_flush(&net.server);
        }
    });
}

#[test]
fn the_flow_is_dead_after_a_syn_with_data() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = known_mirror(&net, ip);
            // Remembers each flow that began with such a SYN, and lets nothing of it through.
            nft(
                &net.server,
                &[
                    "add set inet t dead { type inet_service; flags dynamic; timeout 1m; }",
                    &format!("{WITH_DATA} add @dead {{ tcp sport }}"),
                    "i tcp sport @dead drop",
                ],
            );
            let short = probe(mirror.local_addr()).connect_timeout(SHORT);
            net.new_series();
            let judged = net.probe_with(SIZE, short.clone());
            assert_eq!(judged.evidence.regular_check, Some(RegularCheck::Connected), "{judged:#?}");
            judged.client(Outcome::Failed, None, &[Cause::TimedOut, Cause::DeadAfterSynData]);
            let judged = net.repeated(SIZE, &short);
            judged.client(Outcome::Failed, Some(Cause::DeadAfterSynData), &[]);
            assert_eq!(judged.client.blame, Some(Blame::Path));
            nft_flush(&net.server);
        }
    });
}

#[test]
fn the_syn_ack_that_takes_the_data_is_lost() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = known_mirror(&net, ip);
            nft(
                &net.server,
                &[
                    "add set inet t dead { type inet_service; flags dynamic; timeout 1m; }",
                    &format!("{WITH_DATA} add @dead {{ tcp sport }}"),
                    "o tcp dport @dead drop",
                ],
            );
            let before = net.counters();
            let short = probe(mirror.local_addr()).connect_timeout(SHORT);
            let judged = net.repeated(SIZE, &short);
            assert_eq!(before.change().1.passive, 3, "the server got the data: {judged:#?}");
            judged.client(Outcome::Failed, Some(Cause::DeadAfterSynData), &[]);
            judged.says(&["may have got the data", "may run twice"]);
            nft_flush(&net.server);
        }
    });
}

#[test]
fn the_server_is_silent() {
    isolated(|| {
        let net = Net::new();
        let server = net.serve(on(SERVERS[0]), std::mem::forget);
        for fast_open in [false, true] {
            let judged = net.probe_with(SIZE, probe(server).reply_timeout(SHORT));
            assert_eq!(judged.evidence.result, Ending::NoAnswer);
            judged.client(Outcome::Failed, Some(Cause::TimedOut), &[]);
            judged.says(&["--no-reply"]);
            assert_eq!(
                judged.client.finding.contains("SYN-ACK acknowledged"),
                fast_open,
                "{judged:#?}"
            );
        }
        // The next step works: with no answer to wait for, the connection itself is judged.
        let judged = net.probe_with(SIZE, tfo_core::probe::Probe::new(server));
        assert_eq!(judged.evidence.result, Ending::Connected);
        judged.client(Outcome::FastOpen, None, &[]);
    });
}

#[test]
fn the_server_resets_what_it_accepted() {
    isolated(|| {
        let net = Net::new();
        let server = net.serve(on(SERVERS[0]), |mut stream| {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            option::set_linger(&stream, Some(Duration::ZERO)).expect("a socket");
        });
        for _ in 0..2 {
            let judged = net.probe_with(SIZE, probe(server));
            assert!(matches!(judged.evidence.result, Ending::Broken(_)), "{judged:#?}");
            judged.client(Outcome::Failed, None, &[]);
            judged.says(&["ECONNRESET"]);
        }
    });
}
