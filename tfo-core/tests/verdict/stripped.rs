//! A box on the way takes something off.

use tfo_core::diagnosis::{Blame, Cause, Outcome};
use tfo_core::lab::{self, isolated};
use tfo_core::socket::Attempt;
use tfo_core::socket::FastOpenKind;
use tfo_core::socket::SynRecord;

use crate::probing::{Judged, SIZE, probe};
use crate::support::{Net, SERVERS, nft, nft_flush, on};

const STRIP_34: &str = "o reset tcp option fastopen";
const STRIP_254: &str = "o reset tcp option 254";

/// The fast open option as it arrived, and the NOPs at the options' end.
fn arrived(judged: &Judged) -> (Option<FastOpenKind>, usize) {
    match judged.mirrored.as_ref().map(|server| &server.syn) {
        Some(SynRecord::Saved(syn)) => {
            (syn.fast_open.as_ref().map(|option| option.kind), syn.trailing_nops.into())
        }
        _ => panic!("{judged:#?}"),
    }
}

#[test]
fn the_option_is_stripped_from_the_syn() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            nft(&net.client, &[STRIP_34, STRIP_254]);
            for _ in 0..3 {
                let judged = net.probe(&mirror);
                judged.joined(Outcome::Fallback, Some(Cause::OptionStripped), Some(Blame::Path));
                judged.client(
                    Outcome::Fallback,
                    Some(Cause::NoCookieReturned),
                    &[Cause::OptionStripped, Cause::ServerDisabled, Cause::SynAckOptionStripped],
                );
                let (option, nops) = arrived(&judged);
                assert!(option.is_none() && nops >= 4, "NOPs are in its place: {judged:#?}");
                // Another option may have been overwritten.
                judged.server(Outcome::NotAttempted, None);
                let server = judged.server.as_ref().expect("a mirror answered");
                assert_eq!(server.candidates, [Cause::OptionStripped], "{judged:#?}");
            }
            nft_flush(&net.client);
            net.fetch_cookie(&mirror);
            nft(&net.client, &[STRIP_34, STRIP_254]);
            for _ in 0..2 {
                let judged = net.probe(&mirror);
                assert!(matches!(judged.evidence.attempt, Attempt::InSyn(_)));
                judged.joined(Outcome::Fallback, Some(Cause::OptionStripped), Some(Blame::Path));
                judged.client(
                    Outcome::Fallback,
                    Some(Cause::DataNotAcked),
                    &[Cause::OptionStripped, Cause::SynDataStripped, Cause::QueueFull],
                );
                judged.server(Outcome::Fallback, Some(Cause::OptionStripped));
            }
            nft_flush(&net.client);
            net.probe(&mirror).fast_open();
        }
    });
}

#[test]
fn a_box_that_knows_only_the_standard_option_is_bypassed() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        nft(&net.client, &[STRIP_34]);
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            let judged = net.probe(&mirror);
            judged.joined(Outcome::Fallback, Some(Cause::OptionStripped), Some(Blame::Path));
            let second = net.probe(&mirror);
            second.cookie_granted();
            assert_eq!(arrived(&second).0, Some(FastOpenKind::Experimental));
            let third = net.probe(&mirror);
            third.fast_open();
            assert_eq!(arrived(&third).0, Some(FastOpenKind::Experimental), "and stays with it");
        }
    });
}

#[test]
fn the_option_is_stripped_from_the_syn_ack() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            nft(&net.server, &[STRIP_34, STRIP_254]);
            for _ in 0..3 {
                let judged = net.probe(&mirror);
                let cause = Some(Cause::SynAckOptionStripped);
                judged.joined(Outcome::Fallback, cause, Some(Blame::Path));
                judged.client(
                    Outcome::Fallback,
                    Some(Cause::NoCookieReturned),
                    &[Cause::OptionStripped, Cause::ServerDisabled, Cause::SynAckOptionStripped],
                );
                // It granted one, as far as it knows.
                judged.server(Outcome::CookieGranted, None);
            }
            nft_flush(&net.server);
            net.fetch_cookie(&mirror);
            nft(&net.server, &[STRIP_34, STRIP_254]);
            // A client with a cookie does not notice: an accepting SYN-ACK has no option.
            net.probe(&mirror).fast_open();
            nft_flush(&net.server);
        }
    });
}

/// Drops a SYN that has data.
const DROP_DATA: &str = "i tcp flags & (syn | ack) == syn meta length > 120 drop";

#[test]
fn a_syn_with_data_that_is_dropped_costs_a_retransmission() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            net.fetch_cookie(&mirror);
            nft(&net.server, &[DROP_DATA]);
            let judged = net.probe(&mirror);
            judged.client(
                Outcome::Fallback,
                Some(Cause::SynRetransmitted),
                &[Cause::RegularFailsToo, Cause::AcceptQueueFull],
            );
            let judged = net.repeated(SIZE, &probe(mirror.local_addr()));
            judged.joined(Outcome::Fallback, Some(Cause::SynRetransmitted), Some(Blame::Path));
            judged.says(&["the server saw only a SYN without data"]);
            // What arrived in the end is a regular SYN, so this side can't know.
            judged.server(Outcome::NotAttempted, None);
            nft_flush(&net.server);
            net.probe(&mirror).fast_open();
        }
    });
}

#[test]
fn a_cookie_request_that_is_dropped_costs_a_retransmission() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        let mirror = net.mirror(on(SERVERS[0]));
        nft(&net.server, &["i tcp option fastopen exists drop"]);
        let judged = net.probe(&mirror);
        judged.client(Outcome::Fallback, Some(Cause::SynRetransmitted), &[Cause::RegularFailsToo]);
        assert_eq!(judged.joined.blame, Some(Blame::Unknown), "once may be loss: {judged:#?}");
    });
}
