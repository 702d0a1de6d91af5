//! The cookies that a client's host has cached.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use tfo_core::host::cookie_cache;
use tfo_core::lab::{self, isolated};
use tfo_core::socket::{Connector, FastOpenListener, SynRecord};

use crate::support::{Net, SERVERS, on};

const CLIENTS: [IpAddr; 2] = [IpAddr::V4(lab::CLIENT_V4), IpAddr::V6(lab::CLIENT_V6)];

/// Connects, and returns the cookie that arrived in the SYN; empty for a request.
fn cookie_in_syn(net: &Net, listener: &FastOpenListener, from: IpAddr) -> String {
    let server = listener.local_addr();
    let connector = Connector::default().bind((from, 0).into());
    let client = net.client.run(move || connector.connect(server, b"hello")).expect("it listens");
    let arrival = listener.accept().expect("a connection waits").arrival;
    drop(client);
    let SynRecord::Saved(syn) = arrival.syn else { panic!("{arrival:?}") };
    let cookie = syn.fast_open.expect("fast open was asked for").cookie;
    cookie.to_string()
}

#[test]
fn the_cache_shows_the_cookie_that_the_syn_then_carries() {
    isolated(|| {
        let net = Net::new();
        for (ip, client) in SERVERS.into_iter().zip(CLIENTS) {
            let get = move || cookie_cache::get(Some(client), ip).expect("anybody may read");
            assert_eq!(net.client.run(get).and_then(|entry| entry.cookie), None, "a new host");
            let listener = net.listen(on(ip));
            assert_eq!(cookie_in_syn(&net, &listener, client), "", "a request");
            let entry = net.client.run(get).expect("they have met");
            assert_eq!((entry.source, entry.destination), (Some(client), ip));
            let cookie = entry.cookie.expect("it was granted");
            assert_eq!(cookie.as_bytes().len(), 8, "as Linux makes them");
            assert_eq!(
                entry.mss,
                Some(if ip.is_ipv4() { 1460 } else { 1440 }),
                "at an MTU of 1500"
            );
            assert_eq!((entry.syn_drops, entry.syn_drop_age), (0, None));
            assert_eq!(cookie_in_syn(&net, &listener, client), cookie.to_string());
            let without_source = net.client.run(move || cookie_cache::get(None, ip)).unwrap();
            assert_eq!(without_source.expect("the only one").cookie, Some(cookie));
        }
        assert_eq!(
            net.server
                .run(cookie_cache::list)
                .unwrap()
                .iter()
                .filter(|entry| { entry.cookie.is_some() })
                .count(),
            0,
            "the server's host has asked for none"
        );
    });
}

#[test]
fn the_list_has_each_pair_of_addresses() {
    isolated(|| {
        let net = Net::new();
        let other = Ipv4Addr::new(192, 0, 2, 3);
        net.client.add_address(other.into()).expect("a free address");
        let pairs =
            [(CLIENTS[0], SERVERS[0]), (other.into(), SERVERS[0]), (CLIENTS[1], SERVERS[1])];
        for (client, server) in pairs {
            assert_eq!(cookie_in_syn(&net, &net.listen(on(server)), client), "", "a request");
        }
        let entries = net.client.run(cookie_cache::list).expect("anybody may list");
        for (client, server) in pairs {
            let entry = entries
                .iter()
                .find(|entry| entry.source == Some(client) && entry.destination == server)
                .unwrap_or_else(|| panic!("{client} to {server} is missing: {entries:?}"));
            let one = net.client.run(move || cookie_cache::get(Some(client), server)).unwrap();
            assert_eq!(one.map(|one| one.cookie), Some(entry.cookie), "both ways to read agree");
            assert!(entry.cookie.is_some(), "{entries:?}");
        }
    });
}

/// Returns whether this process is in the machine's initial user namespace.
fn in_first_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("readable");
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[test]
fn forgetting_a_cookie_needs_root_of_the_initial_namespace() {
    isolated(|| {
        let net = Net::new();
        for (ip, client) in SERVERS.into_iter().zip(CLIENTS) {
            let listener = net.listen(on(ip));
            assert_eq!(cookie_in_syn(&net, &listener, client), "", "a request");
            let delete = move || cookie_cache::delete(Some(client), ip);
            if in_first_user_namespace() {
                assert!(net.client.run(delete).expect("root may"), "there was one");
                assert!(!net.client.run(delete).expect("root may"), "there is none any more");
                assert_eq!(cookie_in_syn(&net, &listener, client), "", "it has to ask again");
                assert!(net.client.run(move || cookie_cache::delete(None, ip)).expect("root may"));
                assert_eq!(cookie_in_syn(&net, &listener, client), "", "it has to ask again");
            } else {
                let error = net.client.run(delete).expect_err("it takes root of the machine");
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            }
            assert_ne!(cookie_in_syn(&net, &listener, client), "", "one is cached");
        }
    });
}
