//! Keys that change while the listener is in use.

use tfo_core::cookie::FastOpenKey;
use tfo_core::host::cookie_cache;
use tfo_core::lab::{Host, isolated};
use tfo_core::socket::Attempt;
use tfo_core::socket::ClientFail;
use tfo_core::socket::{Connector, FastOpenListener};

use crate::exchange::arrived_cookie;
use crate::support::{Net, SERVERS, on};

fn keys() -> [FastOpenKey; 3] {
    [[1; 16], [2; 16], [3; 16]].map(FastOpenKey::new)
}

#[test]
fn a_replaced_key_costs_each_client_one_miss() {
    isolated(|| {
        let net = Net::new();
        let [one, other, _] = keys();
        for ip in SERVERS {
            let listener = net.listen(on(ip).keys(one.clone(), None));
            net.fetch_cookie(&listener);
            let old = net.cookie(&listener);
            listener.set_keys(&other, None).expect("on a live listener");

            let before = net.counters();
            let (client, server) = net.exchange(&listener, &Connector::default(), b"hello");
            assert_eq!(client.attempt(), Some(Attempt::InSyn(5)), "its cookie looks good to it");
            let info = client.info().unwrap();
            assert_eq!((info.syn_data, info.client_fail), (false, ClientFail::DataNotAcked));
            assert_eq!(arrived_cookie(&server.arrival), old, "the one of the old key");
            assert!(!server.arrival.tcp.syn_data, "it was refused");
            let (active, passive) = before.change();
            assert_eq!((active.active_fail, passive.passive_fail, passive.passive), (1, 1, 0));
            let new = net.cookie(&listener);
            assert!(new.is_some() && new != old, "a new one came along");

            let before = net.counters();
            let (client, server) = net.exchange(&listener, &Connector::default(), b"hello");
            assert!(client.info().unwrap().syn_data, "one miss, and it works again");
            assert_eq!(arrived_cookie(&server.arrival), new);
            assert_eq!(before.change().1.passive, 1);
        }
    });
}

#[test]
fn key_that_stays_as_backup_causes_no_miss() {
    isolated(|| {
        let net = Net::new();
        let [one, other, third] = keys();
        for ip in SERVERS {
            let listener = net.listen(on(ip).keys(one.clone(), None));
            net.fetch_cookie(&listener);
            let old = net.cookie(&listener);
            listener.set_keys(&other, Some(&one)).expect("on a live listener");
            for (alt_key, renewed) in [(1, true), (0, false)] {
                let (before, cookie) = (net.counters(), net.cookie(&listener));
                let (client, server) = net.exchange(&listener, &Connector::default(), b"hello");
                assert!(client.info().unwrap().syn_data, "nothing is lost");
                assert_eq!(arrived_cookie(&server.arrival), cookie);
                let (_, passive) = before.change();
                assert_eq!((passive.passive, passive.passive_alt_key), (1, alt_key));
                assert_eq!(net.cookie(&listener) != cookie, renewed, "renewed along the way");
            }
            assert_ne!(net.cookie(&listener), old);
            // The order of a fleet: the next key is known to all servers before one uses it.
            for (primary, backup) in [(&other, &third), (&third, &other)] {
                listener.set_keys(primary, Some(backup)).expect("on a live listener");
                let (client, _) = net.exchange(&listener, &Connector::default(), b"hello");
                assert!(client.info().unwrap().syn_data, "nothing is lost");
            }
        }
    });
}

#[test]
fn cookies_come_from_the_key_that_the_listener_was_given() {
    isolated(|| {
        // Computed independently: SipHash-2-4 of both addresses.
        let host = Host::new("one").expect("namespaces can be made here");
        let key = FastOpenKey::from_hex("000102030405060708090a0b0c0d0e0f").unwrap();
        let cookie = host.run(move || {
            let loopback = std::net::Ipv4Addr::LOCALHOST.into();
            let listener = on(loopback).keys(key, None).listen().expect("loopback is up");
            let connector = Connector::default();
            connector.connect(listener.local_addr(), b"ask").expect("it listens");
            cookie_cache::get(Some(loopback), loopback).expect("readable").and_then(|e| e.cookie)
        });
        assert_eq!(cookie.map(|cookie| cookie.to_string()).as_deref(), Some("7470bf8286743f86"));
    });
}

#[test]
fn listeners_with_different_keys_refuse_each_others_cookies() {
    isolated(|| {
        let net = Net::new();
        let [one, other, _] = keys();
        let listeners = [one, other].map(|key| net.listen(on(SERVERS[0]).keys(key, None)));
        net.fetch_cookie(&listeners[0]);
        let hit = |listener: &FastOpenListener| {
            let (client, _) = net.exchange(listener, &Connector::default(), b"hello");
            client.info().unwrap().syn_data
        };
        let hits: Vec<bool> = [1, 1, 0, 0, 1, 0].map(|n: usize| hit(&listeners[n])).to_vec();
        assert_eq!(hits, [false, true, false, true, false, false], "cookies know no port");
    });
}
