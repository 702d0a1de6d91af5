//! Boxes on the way to an upstream: what they break once, they do not break for every client.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use tfo_core::capture::{Direction, describe};
use tfo_core::lab::{Middlebox, Network, PathSettings, Program, SERVER_V4, isolated};
use tfo_core::socket::{FastOpenListener, FastOpenStream, Method};

use crate::support::{Lab, answer, json, until};

/// The server on one host, its upstream behind a path; clients come over loopback.
struct Stage {
    network: Network,
    server: Program,
    _lab: Lab,
}

impl Stage {
    fn new() -> Self {
        Self::over(PathSettings::new())
    }

    fn over(path: PathSettings) -> Self {
        Self::with(path, "")
    }

    fn with(path: PathSettings, more: &str) -> Self {
        let network = Network::new(path).unwrap();
        let upstream = SocketAddr::new(SERVER_V4.into(), 8001);
        let listener = network.server().run(move || FastOpenListener::bind(upstream)).unwrap();
        thread::spawn(move || {
            while let Ok(mut accepted) = listener.accept() {
                let mut request = [0; 64];
                // A check of its health brings none.
                if let Ok(1..) = accepted.stream.read(&mut request) {
                    let _ = accepted.stream.write_all(b"answer");
                }
            }
        });
        let lab = Lab::new();
        let config = format!(
            "[listen]\nservice = \"forward\"\n\
             [forward]\nupstreams = [\"{upstream}\"]\nhealth-interval = \"0s\"\n{more}\n"
        );
        let command = lab.command(&config, &["-o", "json"]);
        let server = Program::start(network.client(), command).unwrap();
        let _ = server.err().expect(&["listening on"]);
        Self { network, server, _lab: lab }
    }

    fn ask(&self) -> Vec<u8> {
        let server = crate::support::SERVER;
        let connect = move || FastOpenStream::connect(server, b"question");
        let mut client = self.network.client().run(connect).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        answer(&mut client)
    }

    /// Asks with many connections at once. Returns how many had no answer.
    fn ask_at_once(&self, count: usize) -> usize {
        let server = crate::support::SERVER;
        let connect = move || FastOpenStream::connect(server, b"question").unwrap();
        let clients: Vec<_> =
            self.network.client().run(move || (0..count).map(|_| connect()).collect());
        let unanswered = |mut client: FastOpenStream| {
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            answer(&mut client) != b"answer"
        };
        clients.into_iter().map(unanswered).filter(|&unanswered| unanswered).count()
    }

    /// Asks until the request rides the SYN to the upstream; what has crossed by then. The first client's
    /// bytes follow its handshake, and may come too late to ask for a cookie with them.
    fn fetch_cookie(&self) -> usize {
        let mut known = 0;
        for _ in 0..10 {
            assert_eq!(self.ask(), b"answer");
            if self.syns(&mut known) == [8] {
                return known;
            }
        }
        panic!("no SYN has carried a request");
    }

    /// How much data each SYN has carried that left for the upstream since the last call.
    fn syns(&self, known: &mut usize) -> Vec<usize> {
        self.network.settle(Duration::from_millis(20));
        let packets = self.network.packets();
        let new = packets.iter().skip(std::mem::replace(known, packets.len()));
        new.filter(|packet| packet.direction == Direction::ToServer)
            .filter_map(|packet| Some(&packet.sent.as_ref()?.frame))
            // SYN without ACK, in the flags behind the headers of Ethernet and IPv4.
            .filter(|frame| frame.get(14 + 20 + 13).is_some_and(|flags| flags & 0x12 == 0x02))
            .map(|frame| describe(frame).syn_data())
            .collect()
    }
}

#[test]
fn a_path_that_loses_syns_with_data_costs_one_client_a_second_and_not_each() {
    isolated(|| {
        let stage = Stage::new();
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::DropSynData]);
        assert_eq!(stage.ask(), b"answer");
        assert_eq!(stage.syns(&mut known), [8, 0], "the kernel's second try has no data");
        let _ = stage.server.err().expect(&["192.0.2.2:8001", "sending no data in SYNs"]);
        for _ in 0..5 {
            assert_eq!(stage.ask(), b"answer");
            assert_eq!(stage.syns(&mut known), [0]);
        }
        assert_eq!(stage.server.err().count("sending no data in SYNs"), 1);
    });
}

#[test]
fn a_path_that_resets_syns_with_data_costs_one_client_and_not_each() {
    isolated(|| {
        let stage = Stage::new();
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"", "who knows whether the server has acted on it");
        assert_eq!(stage.syns(&mut known), [8], "and so it is not sent again");
        let _ = stage.server.out().expect(&["data had left"]);
        for _ in 0..5 {
            assert_eq!(stage.ask(), b"answer");
            assert_eq!(stage.syns(&mut known), [0]);
        }
        assert_eq!(stage.server.err().count("is down"), 0, "it is there");
    });
}

/// A pause that a test can wait for.
const SHORT_PAUSE: &str = "syn-data-pause = \"1s\"";

#[test]
fn after_a_pause_one_connection_tries_syn_data_and_not_all() {
    isolated(|| {
        let path = PathSettings::new().round_trip(Duration::from_millis(100));
        let stage = Stage::with(path, SHORT_PAUSE);
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"", "the first after the path has changed");
        let pauses = || stage.server.err().count("sending no data in SYNs for");
        let mut unanswered = 1;
        until("three pauses", || {
            // They arrive within the round trip of a trial.
            unanswered += stage.ask_at_once(20);
            until("a pause for each client that is lost", || pauses() >= unanswered);
            unanswered >= 3
        });
        for pause in ["1s", "2s", "4s"] {
            let line = format!("sending no data in SYNs for {pause}");
            let _ = stage.server.err().expect(&["192.0.2.2:8001", &line]);
        }
        assert_eq!(pauses(), unanswered);
        let carried = stage.syns(&mut known).into_iter().filter(|&len| len > 0).count();
        assert_eq!(carried, unanswered);
        assert_eq!(stage.server.err().count("is down"), 0);
    });
}

#[test]
fn acknowledged_trial_ends_the_pause() {
    isolated(|| {
        let stage = Stage::with(PathSettings::new(), SHORT_PAUSE);
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"");
        assert_eq!(stage.syns(&mut known), [8]);
        stage.network.set_boxes(&[]);
        let mut carried = Vec::new();
        until("the pause is over", || {
            assert_eq!(stage.ask(), b"answer");
            carried.extend(stage.syns(&mut known));
            carried.last() == Some(&8)
        });
        assert!(carried.iter().rev().skip(1).all(|&len| len == 0), "{carried:?}");
        let _ = stage.server.err().expect(&["192.0.2.2:8001 accepts data in SYNs again"]);
        for _ in 0..5 {
            assert_eq!(stage.ask(), b"answer");
            assert_eq!(stage.syns(&mut known), [8]);
        }
    });
}

#[test]
fn trial_whose_data_is_stripped_does_not_end_the_pause() {
    isolated(|| {
        let stage = Stage::with(PathSettings::new(), SHORT_PAUSE);
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"");
        assert_eq!(stage.syns(&mut known), [8]);
        stage.network.set_boxes(&[Middlebox::StripSynData]);
        let (mut trials, mut others) = (0, 0);
        until("a second trial", || {
            assert_eq!(stage.ask(), b"answer");
            let carried = stage.syns(&mut known).contains(&8);
            trials += usize::from(carried);
            others += usize::from(!carried);
            trials == 2
        });
        assert!(others > trials, "connected is not acknowledged: {trials} trials, {others} others");
        assert_eq!(stage.server.err().count("accepts data in SYNs again"), 0);
    });
}

#[test]
fn trial_of_a_proxy_header_alone_loses_no_client() {
    isolated(|| {
        let more = format!("{SHORT_PAUSE}\nproxy-protocol = \"v1\"");
        let stage = Stage::with(PathSettings::new(), &more);
        let header = "PROXY TCP4 127.0.0.1 127.0.0.1 40000 2222\r\n".len();
        let mut known = 0;
        until("a request rides the SYN", || {
            assert_eq!(stage.ask(), b"answer");
            stage.syns(&mut known).contains(&(header + 8))
        });
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"", "the first after the path has changed");
        assert_eq!(stage.syns(&mut known), [header + 8]);
        for pause in ["2s", "4s"] {
            until("a trial", || {
                assert_eq!(
                    stage.ask(),
                    b"answer",
                    "the header is sent again, in a regular connection"
                );
                let syns = stage.syns(&mut known);
                assert!(syns == [0] || syns == [header, 0], "{syns:?}");
                syns.len() == 2
            });
            let line = format!("sending no data in SYNs for {pause}");
            let _ = stage.server.err().expect(&["192.0.2.2:8001", &line]);
        }
    });
}

#[test]
fn the_last_bytes_and_the_end_leave_in_one_segment() {
    isolated(|| {
        let network = Network::new(PathSettings::new()).unwrap();
        let upstream: SocketAddr = "127.0.0.1:8001".parse().unwrap();
        let listener = network.server().run(move || FastOpenListener::bind(upstream)).unwrap();
        thread::spawn(move || {
            while let Ok(mut accepted) = listener.accept() {
                let _ = accepted.stream.read(&mut [0; 64]);
                let _ = accepted.stream.write_more(b"answer");
            }
        });
        let lab = Lab::new();
        let config = format!(
            "[listen]\naddress = \"{SERVER_V4}\"\nservice = \"forward\"\n\
             [forward]\nupstreams = [\"{upstream}\"]\nhealth-interval = \"0s\"\n"
        );
        let command = lab.command(&config, &[]);
        let server = Program::start(network.server(), command).unwrap();
        let _ = server.err().expect(&["listening on"]);
        let to = SocketAddr::new(SERVER_V4.into(), 2222);
        for _ in 0..5 {
            // A handshake that has ended: in an unfinished one nothing waits for the FIN.
            let connector = FastOpenStream::connector().method(Method::Off);
            let connect = move || connector.connect(to, b"question");
            let mut client = network.client().run(connect).unwrap();
            assert_eq!(answer(&mut client), b"answer");
        }
        network.settle(Duration::from_millis(20));
        let packets = network.packets();
        let to_client = packets.iter().filter(|packet| packet.direction == Direction::ToClient);
        let frames = to_client.filter_map(|packet| Some(&packet.sent.as_ref()?.frame));
        let (mut data, mut with_fin) = (0, 0);
        for frame in frames.filter(|frame| frame.windows(6).any(|bytes| bytes == b"answer")) {
            data += 1;
            with_fin += usize::from(frame[14 + 20 + 13] & 1);
        }
        assert_eq!((data, with_fin), (5, 5));
    });
}

#[test]
fn a_client_that_ends_before_the_upstream_has_answered_its_syn_is_served() {
    isolated(|| {
        let stage = Stage::over(PathSettings::new().round_trip(Duration::from_millis(60)));
        for first in [&b"question"[..], b"in the SYN", b"in the SYN", b""] {
            let server = crate::support::SERVER;
            let connect = move || FastOpenStream::connect(server, first);
            let mut client = stage.network.client().run(connect).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            // Long before the path's round trip is over.
            client.shutdown(Shutdown::Write).unwrap();
            let expected: &[u8] = if first.is_empty() { b"" } else { b"answer" };
            assert_eq!(answer(&mut client), expected, "{}", first.escape_ascii());
        }
        for line in stage.server.out().first(4) {
            assert!(json(&line)["cut_short"].is_null(), "{line}");
        }
    });
}
