//! The server does not like the cookie.

use tfo_core::cookie::FastOpenKey;
use tfo_core::diagnosis::{Blame, Cause, Outcome};
use tfo_core::lab::{self, isolated};

use crate::support::{Net, SERVERS, nft, nft_flush, on};

fn keys() -> [FastOpenKey; 2] {
    [[1; 16], [2; 16]].map(FastOpenKey::new)
}

#[test]
fn a_replaced_key_is_a_mismatch_once() {
    isolated(|| {
        let net = Net::new();
        let [one, other] = keys();
        for ip in SERVERS {
            let mirror = net.mirror(on(ip).keys(one.clone(), None));
            net.fetch_cookie(&mirror);
            net.probe(&mirror).fast_open();
            mirror.set_keys(&other, None).expect("on a live listener");
            let judged = net.probe(&mirror);
            judged.joined(Outcome::Fallback, Some(Cause::KeyMismatch), Some(Blame::Peer));
            judged.client(
                Outcome::Fallback,
                Some(Cause::CookieRejected),
                &[Cause::AddressTranslated, Cause::KeyMismatch],
            );
            // From the second on, another listener may have raised the counter.
            let cause = if ip.is_ipv4() { Cause::CookieRejected } else { Cause::DataNotAcked };
            judged.server(Outcome::Fallback, Some(cause));
            let server = judged.server.as_ref().expect("a mirror answered");
            assert!(server.candidates.contains(&Cause::KeyMismatch), "{judged:#?}");
            net.probe(&mirror).fast_open();
        }
    });
}

#[test]
fn a_key_that_stays_as_backup_keeps_it_working() {
    isolated(|| {
        let net = Net::new();
        let [one, other] = keys();
        for ip in SERVERS {
            let mirror = net.mirror(on(ip).keys(one.clone(), None));
            net.fetch_cookie(&mirror);
            mirror.set_keys(&other, Some(&one)).expect("on a live listener");
            let judged = net.probe(&mirror);
            judged.fast_open();
            judged.says(&["backup key"]);
            let again = net.probe(&mirror);
            again.fast_open();
            assert!(!again.joined.finding.contains("backup"), "it is renewed: {again:#?}");
        }
    });
}

/// Overwrites two bytes of the cookie in each SYN with one, which Linux sends as its last option:
/// behind MSS, SACK, timestamps and window scale.
const CORRUPT: &str = "o tcp flags & (syn | ack) == syn tcp option fastopen length 10 \
                       @th,336,16 set 0xbad0";

#[test]
fn a_cookie_that_arrives_changed_is_the_paths_doing() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = Net::new();
        for ip in SERVERS {
            let mirror = net.mirror(on(ip));
            net.fetch_cookie(&mirror);
            nft(&net.client, &[CORRUPT]);
            for _ in 0..2 {
                let judged = net.probe(&mirror);
                judged.joined(Outcome::Fallback, Some(Cause::CookieCorrupted), Some(Blame::Path));
                // Its answer repeats the right cookie, so that nothing seems to have been refused.
                judged.client(
                    Outcome::Fallback,
                    Some(Cause::DataNotAcked),
                    &[Cause::CookieCorrupted, Cause::ServerDisabled],
                );
            }
            nft_flush(&net.client);
            net.probe(&mirror).fast_open();
        }
    });
}
