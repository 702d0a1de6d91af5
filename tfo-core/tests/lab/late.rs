//! ICMP errors that come late, while the next SYN of the same 5-tuple waits for its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tfo_core::lab::{CLIENT_V4, CLIENT_V6, Network, PathSettings, hops, isolated};
use tfo_core::path::{Prober, Reply, Shot, SocketProber, SynKind};

use crate::support::{PORT, families, network};

const HOPS: u8 = 5;
const KINDS: [SynKind; 3] = [SynKind::Plain, SynKind::Request, SynKind::Data];
/// Longer than any hop takes.
const LONG: Duration = Duration::from_secs(1);
/// Shorter than any hop takes: 20 ms each.
const SHORT: Duration = Duration::from_millis(5);

/// Who answered, and how long the quote is: each hop has its own address, and each kind of SYN its own length.
fn shoot(prober: &mut SocketProber, kind: SynKind, ttl: u8, wait: Duration) -> Option<String> {
    let samples = prober.shoot(Shot::new(kind, ttl, 64, wait)).unwrap();
    match &samples[0].reply {
        Reply::Icmp(icmp) => Some(format!("{} quotes {}", icmp.from?, icmp.quote.len())),
        _ => None,
    }
}

/// The kernel's count of ICMP errors about sequence numbers that no socket has sent.
fn out_of_window() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "OutOfWindowIcmps").unwrap().1.parse().unwrap()
}

#[test]
fn late_quotes_never_count_for_another_syn() {
    isolated(|| {
        let round_trip = Duration::from_millis(20 * (u64::from(HOPS) + 1));
        let path = hops(HOPS.into(), &[]).unwrap();
        let net = network(PathSettings::new().round_trip(round_trip).hops(path));
        for v6 in families() {
            let target = SocketAddr::new(Network::server_address(*v6), PORT);
            let local = if *v6 { CLIENT_V6.into() } else { CLIENT_V4.into() };
            let late = net.client().run(move || check(target, local));
            assert!(late >= 10, "quotes came late: {late}");
        }
    });
}

/// Returns how many quotes the kernel dropped because they came too late.
fn check(target: SocketAddr, local: std::net::IpAddr) -> u64 {
    let mut prober = SocketProber::new(target, local, None, None).unwrap();
    let mut alone = BTreeMap::new();
    for ttl in 1..=HOPS {
        for kind in KINDS {
            alone.insert((kind, ttl), shoot(&mut prober, kind, ttl, LONG).expect("an answer"));
        }
    }
    let before = out_of_window();
    for (turn, ((kind, ttl), expected)) in alone.iter().enumerate() {
        // Those of other hops and kinds, whose answers come while this one waits.
        for step in 1..=2 {
            let other = (u8::try_from(turn).unwrap() * 3 + ttl + step) % HOPS + 1;
            let kind = KINDS[(turn + usize::from(step)) % KINDS.len()];
            let soon = shoot(&mut prober, kind, other, SHORT);
            assert!(soon.is_none() || soon.as_ref() == alone.get(&(kind, other)), "{soon:?}");
        }
        let found = shoot(&mut prober, *kind, *ttl, LONG);
        assert_eq!(found.as_ref(), Some(expected), "{kind} to hop {ttl}");
    }
    out_of_window() - before
}
