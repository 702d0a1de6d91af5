//! This host does not try.

use std::time::Duration;

use tfo_core::diagnosis::{Blame, Cause, Ending, Outcome};
use tfo_core::lab::{self, isolated};
use tfo_core::socket::Attempt;
use tfo_core::socket::Method;

use crate::probing::{SIZE, probe};
use crate::support::{Net, SERVERS, nft, nft_flush, on, set};

#[test]
fn the_clients_bit_is_off() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            net.set_client_bits(2);
            let mirror = net.mirror(on(ip));
            for method in [Method::Auto, Method::SendTo, Method::Connect] {
                let judged = net.probe_with(SIZE, probe(mirror.local_addr()).method(method));
                let cause = Some(Cause::ClientDisabled);
                judged.joined(Outcome::NotAttempted, cause, Some(Blame::ThisHost));
                judged.client(Outcome::NotAttempted, cause, &[]);
                judged.server(Outcome::NotAttempted, None);
                judged.says(&["sysctl -w net.ipv4.tcp_fastopen=3"]);
            }
            // The next step works.
            net.set_client_bits(3);
            net.fetch_cookie(&mirror);
            net.probe(&mirror).fast_open();
        }
    });
}

#[test]
fn fast_open_is_off_on_purpose() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            net.fetch_cookie(&mirror);
            let off = probe(mirror.local_addr()).method(Method::Off);
            let judged = net.probe_with(SIZE, off);
            let cause = Some(Cause::DisabledByConfig);
            judged.joined(Outcome::NotAttempted, cause, Some(Blame::ThisHost));
            judged.client(Outcome::NotAttempted, cause, &[]);
            judged.server(Outcome::NotAttempted, None);
            net.probe(&mirror).fast_open();
        }
    });
}

#[test]
fn fast_open_is_paused_after_a_blackhole() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        let mirror = net.mirror(on(SERVERS[0]));
        net.fetch_cookie(&mirror);
        set(&net.client, "ipv4/tcp_fastopen_blackhole_timeout_sec", "3600");
        nft(&net.server, &["i meta l4proto tcp drop"]);
        // The third timeout in a row begins the pause, after about 3 s.
        let patient = Duration::from_millis(3600);
        let dead = net.probe_with(SIZE, probe(mirror.local_addr()).connect_timeout(patient));
        assert_eq!(dead.evidence.result, Ending::NoHandshake, "{dead:#?}");
        nft_flush(&net.server);
        for _ in 0..2 {
            let judged = net.probe(&mirror);
            assert_eq!(judged.evidence.attempt, Attempt::AfterHandshake, "{judged:#?}");
            let cause = Some(Cause::PausedByBlackhole);
            judged.joined(Outcome::NotAttempted, cause, Some(Blame::ThisHost));
            judged.client(Outcome::NotAttempted, cause, &[]);
            judged.says(&["sysctl -w net.ipv4.tcp_fastopen_blackhole_timeout_sec=0"]);
        }
        // The next step works.
        set(&net.client, "ipv4/tcp_fastopen_blackhole_timeout_sec", "0");
        net.probe(&mirror).fast_open();
    });
}
