//! On one host, the kernel's cookies equal the computed ones.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use tfo_core::cookie::forensics::{self, Origin};
use tfo_core::cookie::{FastOpenCookie, FastOpenKey, KeyRing};
use tfo_core::host::{cookie_cache, sysctl};
use tfo_core::lab::{Host, isolated};
use tfo_core::socket::{Arrival, FastOpenListener, SynRecord};

use super::support::{connect, counters, serve};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Connects two addresses of the host. Returns what arrived, and the cookie that the client holds afterwards.
fn exchange(
    host: &Host,
    listener: FastOpenListener,
    from: IpAddr,
    to: IpAddr,
) -> (FastOpenListener, Arrival, FastOpenCookie) {
    let server = SocketAddr::new(to, listener.local_addr().port());
    let serving = thread::spawn(move || (serve(&listener).arrival, listener));
    host.run(move || connect(from, server));
    let (arrival, listener) = serving.join().unwrap();
    let cached = host.run(move || cookie_cache::get(Some(from), to)).unwrap();
    (listener, arrival, cached.and_then(|entry| entry.cookie).expect("a cookie was granted"))
}

fn listener(host: &Host, key: &FastOpenKey, backup: Option<&FastOpenKey>) -> FastOpenListener {
    let (key, backup) = (key.clone(), backup.cloned());
    // Accepts IPv4 too: the namespace's `bindv6only` is 0.
    host.run(move || {
        FastOpenListener::builder(SocketAddr::new(ip("::"), 0)).keys(key, backup).listen().unwrap()
    })
}

/// Returns the cookie of the SYN as it arrived.
fn arrived(arrival: &Arrival) -> FastOpenCookie {
    let SynRecord::Saved(syn) = &arrival.syn else { panic!("no SYN: {arrival:?}") };
    syn.fast_open.expect("the option").cookie
}

#[test]
fn the_kernels_cookies_equal_ours_for_ipv4_and_ipv6() {
    isolated(|| {
        let host = Host::new("one").unwrap();
        let counting: Vec<u8> = (0..16).collect();
        let keys = [[7; 16], counting.try_into().unwrap(), [0xff; 16], [0; 16]];
        for (number, bytes) in (1..).zip(keys) {
            let key = FastOpenKey::new(bytes);
            let mut listener = listener(&host, &key, None);
            // Fresh addresses for each key, for which no cookie is cached.
            let v4 = IpAddr::from([127, 0, number, 1]);
            let pairs = [(v4, IpAddr::from([127, 1, number, 2])), (v4, v4)];
            for (from, to) in pairs {
                let (again, _, cookie) = exchange(&host, listener, from, to);
                assert_eq!(cookie, key.cookie(from, to), "{from} to {to}");
                listener = again;
            }
        }
        let key = FastOpenKey::new([0x42; 16]);
        let v6 = ip("::1");
        let (listener, _, cookie) = exchange(&host, listener(&host, &key, None), v6, v6);
        assert_eq!(cookie, key.cookie(v6, v6));
        let (_, arrival, _) = exchange(&host, listener, v6, v6);
        assert_eq!(arrived(&arrival), key.cookie(v6, v6), "the same comes back in the SYN");
        assert!(arrival.tcp.syn_data, "and is accepted");
    });
}

#[test]
fn listener_without_keys_uses_those_of_the_namespace() {
    isolated(|| {
        let host = Host::new("one").unwrap();
        assert_eq!(host.run(sysctl::tcp_fastopen_key).unwrap(), None, "none yet");
        let listener = host.run(|| FastOpenListener::bind(SocketAddr::new(ip("::"), 0))).unwrap();
        let (key, backup) = host.run(sysctl::tcp_fastopen_key).unwrap().expect("by chance");
        assert_eq!(backup, None);
        let (from, to) = (ip("127.0.0.1"), ip("127.0.0.2"));
        let (_, _, cookie) = exchange(&host, listener, from, to);
        assert_eq!(cookie, key.cookie(from, to));
    });
}

#[test]
fn origin_of_a_kernel_cookie_is_identified() {
    isolated(|| {
        let host = Host::new("one").unwrap();
        let key = |number| FastOpenKey::new([number; 16]);
        let (from, to) = (ip("127.0.0.1"), ip("127.0.0.2"));
        let (mut live, ..) = exchange(&host, listener(&host, &key(1), None), from, to);
        for (ring, expected, counted) in [
            (KeyRing::new(key(1), None), Origin::Primary, [1, 0, 0]),
            (KeyRing::new(key(2), Some(key(1))), Origin::Backup, [1, 1, 0]),
            (KeyRing::new(key(3), None).with_previous([key(2)]), Origin::Previous(1), [0, 0, 1]),
            (KeyRing::new(key(4), None), Origin::Unknown, [0, 0, 1]),
        ] {
            live.set_keys(ring.primary(), ring.backup()).unwrap();
            let before = counters(&host);
            let (again, arrival, _) = exchange(&host, live, from, to);
            let change = counters(&host).since(&before);
            live = again;
            let found = forensics::origin(&arrived(&arrival), from, to, &ring, []);
            assert_eq!(found, expected);
            let change = [change.passive, change.passive_alt_key, change.passive_fail];
            assert_eq!(change, counted, "{expected:?}: valid, of the backup, invalid");
            assert_eq!(found.is_accepted(), arrival.tcp.syn_data, "{expected:?}");
        }
    });
}
