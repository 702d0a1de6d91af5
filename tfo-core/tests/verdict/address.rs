//! The client's address is translated on the way.

use std::net::Ipv4Addr;

use tfo_core::diagnosis::{Blame, Cause, Outcome};
use tfo_core::lab::{self, isolated};

use crate::support::{Net, SERVERS, nft, nft_flush, on};

/// What the client's packets to the server say where they come from.
fn translate(net: &Net, to: Ipv4Addr) {
    let chain = "add chain inet t n { type nat hook postrouting priority 100; }";
    let rule = format!("add rule inet t n ip daddr 192.0.2.2 snat ip to {to}");
    nft(&net.client, &[chain, &rule]);
}

fn net() -> (Net, [Ipv4Addr; 2]) {
    let net = Net::new();
    let others = [3, 4].map(|last| Ipv4Addr::new(192, 0, 2, last));
    for other in others {
        net.client.add_address(other.into()).expect("a free address");
    }
    (net, others)
}

#[test]
fn an_address_that_is_translated_to_another_each_time_spoils_the_cookie() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let (net, others) = net();
        let mirror = net.mirror(on(SERVERS[0]));
        net.fetch_cookie(&mirror);
        net.probe(&mirror).fast_open();
        for other in [others[0], others[1], others[0]] {
            translate(&net, other);
            let judged = net.probe(&mirror);
            judged.joined(Outcome::Fallback, Some(Cause::AddressTranslated), Some(Blame::Path));
            judged.says(&["192.0.2.1", &other.to_string()]);
            judged.client(
                Outcome::Fallback,
                Some(Cause::CookieRejected),
                &[Cause::AddressTranslated, Cause::KeyMismatch],
            );
            nft_flush(&net.client);
        }
    });
}

#[test]
fn an_address_that_is_always_translated_to_the_same_one_does_no_harm() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let (net, [other, _]) = net();
        let mirror = net.mirror(on(SERVERS[0]));
        translate(&net, other);
        net.fetch_cookie(&mirror);
        let judged = net.probe(&mirror);
        judged.fast_open();
        judged.says(&["192.0.2.1 is translated to 192.0.2.3", "no harm"]);
    });
}
