//! The path alone: delay, loss, rate, and that it loses nothing by itself.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::capture::{Delivery, Direction, PacketPath};
use tfo_core::diagnosis::CachedCookie;
use tfo_core::lab::{CLIENT_V4, Middlebox, Network, PathSettings, isolated};
use tfo_core::socket::{Connector, FastOpenListener, FastOpenStream, Method};

use crate::packets;
use crate::support::{PORT, families, network, network_with_servers, probe};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Returns how long each packet that arrived was on its way.
fn delays(packets: &[PacketPath]) -> Vec<(Direction, Duration)> {
    packets
        .iter()
        .filter_map(|packet| {
            let (sent, arrived) = (packet.sent.as_ref()?, packet.arrived.as_ref()?);
            // A negative value would be an early arrival.
            Some((packet.direction, arrived.at.checked_sub(sent.at).unwrap_or_default()))
        })
        .collect()
}

fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn no_packet_arrives_before_its_delay_is_over() {
    isolated(|| {
        let net = network(PathSettings::new().delays(MS(20), MS(7)));
        for &v6 in families() {
            probe(&net, v6, Method::SendTo);
            probe(&net, v6, Method::SendTo);
        }
        let delays = delays(&net.packets());
        assert!(delays.len() > 20, "four connections crossed: {delays:?}");
        let mut late = Vec::new();
        for (direction, took) in delays {
            let delay = if direction == Direction::ToServer { MS(20) } else { MS(7) };
            assert!(took >= delay, "{direction:?} took {took:?}");
            late.push(took.saturating_sub(delay));
        }
        // Exact on an idle machine; a busy one may not wake the path in time.
        assert!(median(&mut late) < MS(5), "half of the packets are late: {late:?}");
        assert_eq!(net.missed(), 0, "the record is the whole truth");
    });
}

/// TCP's own measurement counts, not a stopwatch around a program.
#[test]
fn tcp_measures_the_configured_round_trip() {
    isolated(|| {
        let net = network(PathSettings::new().round_trip(MS(40)));
        let mut rtts = Vec::new();
        for (v6, method) in [(false, Method::SendTo), (true, Method::SendTo), (false, Method::Off)]
        {
            for _ in 0..5 {
                rtts.extend(probe(&net, v6, method).timing.rtt);
            }
        }
        assert!(rtts.len() >= 12, "retransmissions spoiled the measurement: {rtts:?}");
        let median = median(&mut rtts);
        println!("\nMEASURED: median of tcpi_rtt: {median:?} of {} connections", rtts.len());
        assert!(median >= MS(40), "{rtts:?}");
        // 41 ms on an idle machine.
        assert!(median < MS(50), "{rtts:?}");
    });
}

/// Counted in packets, because a busy machine has no exact clock: which crossed first, the server's answer or the
/// client's acknowledgment of the handshake?
#[test]
fn a_fast_open_request_is_answered_one_crossing_earlier() {
    isolated(|| {
        for &v6 in families() {
            let net = network(PathSettings::new().round_trip(MS(40)));
            assert_eq!(trips_to_answer(&net, v6, Method::Off), 4, "SYN, SYN-ACK, request, answer");
            assert_eq!(trips_to_answer(&net, v6, Method::SendTo), 4, "a cookie is asked for");
            assert_eq!(trips_to_answer(&net, v6, Method::SendTo), 2, "SYN with request, answer");
            assert_eq!(trips_to_answer(&net, v6, Method::Connect), 2, "SYN with request, answer");
        }
    });
}

/// Returns how often the path is crossed, in alternating directions, until the answer arrives. Each packet can only
/// have been caused by those that had arrived when it was sent.
fn trips_to_answer(net: &Network, v6: bool, method: Method) -> usize {
    let before = net.packets().len();
    probe(net, v6, method);
    let packets = net.packets().split_off(before);
    let mut trips: Vec<(Direction, Duration, usize)> = Vec::new();
    for packet in &packets {
        let (Some(sent), Some(arrived)) = (&packet.sent, &packet.arrived) else { continue };
        let cause = trips
            .iter()
            .filter(|(way, at, _)| *way != packet.direction && *at <= sent.at)
            .map(|(_, _, trips)| *trips)
            .max();
        let count = cause.unwrap_or(0) + 1;
        let has_data =
            packets::tcp(&arrived.frame).is_some_and(|seen| !seen.tcp.payload().is_empty());
        if packet.direction == Direction::ToClient && has_data {
            return count;
        }
        trips.push((packet.direction, arrived.at, count));
    }
    panic!("no answer crossed: {packets:?}");
}

#[test]
fn the_same_seed_loses_the_same_packets() {
    isolated(|| {
        let lost = |seed| {
            let net = Network::new(PathSettings::new().loss(0.3).seed(seed)).unwrap();
            let lost = syns(&net, 200);
            assert_eq!(lost.len(), 200);
            lost
        };
        let first = lost(7);
        let share = first.iter().filter(|lost| **lost).count();
        assert!((30..90).contains(&share), "{share} of 200 were lost at 30 %");
        assert_eq!(first, lost(7), "the same seed");
        assert_ne!(first, lost(8), "another seed");
    });
}

/// Sends SYNs to a closed port, one after the other, and returns which were lost on the way there.
fn syns(net: &Network, count: usize) -> Vec<bool> {
    net.client().run(move || {
        for _ in 0..count {
            let server = SocketAddr::new(Network::server_address(false), 9);
            // Dropped at once: a lost SYN is not retransmitted.
            let _ = Connector::default()
                .method(Method::Off)
                .timeout(Duration::ZERO)
                .connect(server, b"x");
        }
    });
    let fates = || -> Vec<Delivery> {
        let is_syn = |it: &PacketPath| {
            let sent = it.sent.as_ref().and_then(|sighting| packets::tcp(&sighting.frame));
            it.direction == Direction::ToServer && sent.is_some_and(|seen| seen.tcp.syn())
        };
        net.packets().iter().filter(|it| is_syn(it)).map(|it| it.delivery).collect()
    };
    let end = Instant::now() + Duration::from_secs(10);
    while fates().len() < count || fates().contains(&Delivery::Unknown) {
        assert!(Instant::now() < end, "the path is behind: {:?}", fates());
        thread::sleep(MS(10));
    }
    fates().into_iter().map(|delivery| delivery == Delivery::Dropped).collect()
}

#[test]
fn jitter_delays_and_keeps_the_order() {
    isolated(|| {
        let net = Network::new(PathSettings::new().round_trip(MS(4)).jitter(MS(10))).unwrap();
        transfer(&net, 300_000);
        let packets = net.packets();
        let took = delays(&packets);
        assert!(took.iter().any(|(_, took)| *took > MS(5)), "some waited longer than others");
        for direction in [Direction::ToServer, Direction::ToClient] {
            let one_way = || packets.iter().filter(|it| it.direction == direction);
            let arrived: Vec<_> =
                one_way().filter_map(|it| Some(it.arrived.as_ref()?.at)).collect();
            assert!(arrived.is_sorted(), "{direction:?}: a packet overtook another");
        }
    });
}

#[test]
fn a_rate_is_kept() {
    isolated(|| {
        const BITS_PER_SECOND: u64 = 40_000_000;
        let net =
            Network::new(PathSettings::new().round_trip(MS(4)).rate(BITS_PER_SECOND)).unwrap();
        let start = Instant::now();
        transfer(&net, 2_000_000);
        let took = start.elapsed();
        assert!(took >= MS(2 * 400), "2 MB take 400 ms each way, not {took:?} in all");
        let packets = net.packets();
        for direction in [Direction::ToServer, Direction::ToClient] {
            let one_way = packets.iter().filter(|it| it.direction == direction);
            let arrived: Vec<_> = one_way.filter_map(|it| it.arrived.as_ref()).collect();
            let (first, last) = (arrived.first().unwrap().at, arrived.last().unwrap().at);
            let bits: u128 = arrived.iter().map(|sighting| sighting.frame.len() as u128 * 8).sum();
            let needed = bits * 1_000_000 / u128::from(BITS_PER_SECOND);
            let took = last.saturating_sub(first).as_micros();
            assert!(took * 105 / 100 >= needed, "{direction:?}: {bits} bits in {took} µs");
        }
        let is_full =
            |it: &PacketPath| it.modifications.iter().any(|modification| modification.by == "rate");
        assert!(!packets.iter().any(is_full), "less than 1000 packets ever waited");
    });
}

/// The queue limits the packets that wait for the line, not those that are on their way behind it.
#[test]
fn delay_behind_the_line_does_not_fill_its_queue() {
    isolated(|| {
        let fast = PathSettings::new().round_trip(MS(300)).rate(1_000_000_000);
        let net = Network::new(fast).unwrap();
        transfer(&net, 20_000_000);
        let lost = net.packets().iter().filter(|it| it.delivery == Delivery::Dropped).count();
        assert_eq!(lost, 0, "nothing waited for a line of 1 Gbit/s");
    });
}

/// Sends this many bytes there and then others back, and checks that they arrive unchanged.
fn transfer(net: &Network, bytes: usize) {
    let server = net.server().run(move || {
        let address = SocketAddr::new([0, 0, 0, 0].into(), PORT);
        let listener = FastOpenListener::bind(address).unwrap();
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().stream;
            take(&mut stream, bytes, 1);
            give(&mut stream, bytes, 2);
            // Waits until the client has all of it.
            let _ = stream.read(&mut [0]);
        })
    });
    net.client().run(move || {
        let address = SocketAddr::new(Network::server_address(false), PORT);
        let mut stream =
            FastOpenStream::connector().method(Method::Off).connect(address, b"").unwrap();
        give(&mut stream, bytes, 1);
        take(&mut stream, bytes, 2);
    });
    server.join().unwrap();
}

/// The pattern that is sent repeatedly. Its length is neither a power of two nor a multiple of a segment, so that a
/// lost, doubled or swapped segment shows.
fn pattern(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..1_000_003).map(|_| next()).collect()
}

fn give(stream: &mut impl Write, bytes: usize, seed: u64) {
    let pattern = pattern(seed);
    let mut left = bytes;
    while left > 0 {
        let len = left.min(pattern.len());
        stream.write_all(&pattern[..len]).unwrap();
        left -= len;
    }
}

/// Compares each byte with the byte that was sent.
fn take(stream: &mut impl Read, bytes: usize, seed: u64) {
    let pattern = pattern(seed);
    let mut buffer = vec![0; 64 * 1024];
    let mut taken = 0;
    while taken < bytes {
        let at = taken % pattern.len();
        let room = buffer.len().min(pattern.len() - at).min(bytes - taken);
        let len = stream.read(&mut buffer[..room]).unwrap();
        assert!(len > 0, "the stream ends after {taken} of {bytes} bytes");
        assert!(buffer[..len] == pattern[at..at + len], "bytes {taken} to {} differ", taken + len);
        taken += len;
    }
}

#[test]
fn a_hundred_megabytes_pass_intact_in_both_directions() {
    isolated(|| {
        let net = Network::new(PathSettings::new()).unwrap();
        let start = Instant::now();
        transfer(&net, 100_000_000);
        let took = start.elapsed();
        println!("\nMEASURED: 100 MB there and 100 MB back: {took:.1?}, {} missed", net.missed());
        assert!(net.unrecorded() > 0, "the record has an end");
    });
}

#[test]
fn servers_share_the_load_and_each_has_its_own_key() {
    isolated(|| {
        let net = network_with_servers(PathSettings::new(), 4);
        let mut cookies = HashSet::new();
        let mut hits = 0;
        for _ in 0..12 {
            let seen = probe(&net, false, Method::SendTo);
            hits += u32::from(seen.evidence.tcp.is_some_and(|tcp| tcp.syn_data));
            if let Some(CachedCookie::Hex(cookie)) = seen.evidence.cookie_after {
                cookies.insert(cookie);
            }
        }
        assert_eq!(cookies.len(), 4, "each server makes its own cookie for the same client");
        assert_eq!(
            hits, 0,
            "the next server is always another one than that which made the cookie"
        );
        // A cookie of each key hits every fourth time by chance.
        let mut lucky = 0;
        let cached = probe(&net, false, Method::SendTo).evidence.cookie_after;
        for _ in 0..4 {
            let seen = probe(&net, false, Method::SendTo);
            lucky += u32::from(seen.evidence.cookie_after == cached);
        }
        assert_eq!(lucky, 1, "one of four connections meets the server of a given cookie");
    });
}

#[test]
fn translated_client_is_seen_at_other_addresses_and_answered() {
    isolated(|| {
        let net = network(PathSettings::new().boxes(&[Middlebox::TranslateSource]));
        for &v6 in families() {
            for _ in 0..3 {
                let seen = probe(&net, v6, Method::SendTo);
                assert!(seen.evidence.local.is_some() && !seen.answer.is_empty(), "{seen:?}");
            }
        }
        let arrived: HashSet<_> = net
            .packets()
            .iter()
            .filter(|it| it.direction == Direction::ToServer)
            .filter_map(|it| Some(packets::tcp(&it.arrived.as_ref()?.frame)?.source))
            .collect();
        assert_eq!(arrived.len(), 6, "an address for each connection: {arrived:?}");
        assert!(!arrived.contains(&CLIENT_V4.into()));
    });
}
