//! Middleboxes on the path to an upstream: their failures must not repeat for every client.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use tfo_core::capture::{Direction, describe};
use tfo_core::lab::{Middlebox, Network, PathSettings, Program, SERVER_V4, isolated};
use tfo_core::socket::{FastOpenListener, FastOpenStream, Method};

use crate::support::{Lab, answer, json, until};

/// The server on one host, and its upstream behind a path. Clients connect over loopback.
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
                // No health check is due during the test.
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

    /// Connects this many clients at once. Returns how many received no answer.
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

    /// Repeats the request until it is in a SYN to the upstream. Returns the number of packets so far. The first
    /// client's bytes follow its handshake, and may arrive too late to request a cookie with them.
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

    /// Returns the data length of each SYN that was sent to the upstream since the last call.
    fn syns(&self, known: &mut usize) -> Vec<usize> {
        self.network.settle(Duration::from_millis(20));
        let packets = self.network.packets();
        let new = packets.iter().skip(std::mem::replace(known, packets.len()));
        new.filter(|packet| packet.direction == Direction::ToServer)
            .filter_map(|packet| Some(&packet.sent.as_ref()?.frame))
            // SYN without ACK, in the TCP flags behind the Ethernet and IPv4 headers.
            .filter(|frame| frame.get(14 + 20 + 13).is_some_and(|flags| flags & 0x12 == 0x02))
            .map(|frame| describe(frame).syn_data())
            .collect()
    }
}

#[test]
fn lossy_path_for_syn_data_delays_only_one_client() {
    isolated(|| {
        let stage = Stage::new();
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::DropSynData]);
        assert_eq!(stage.ask(), b"answer");
        assert_eq!(stage.syns(&mut known), [8, 0], "the retransmitted SYN has no data");
        let _ = stage.server.err().expect(&["192.0.2.2:8001", "sending no data in SYNs"]);
        for _ in 0..5 {
            assert_eq!(stage.ask(), b"answer");
            assert_eq!(stage.syns(&mut known), [0]);
        }
        assert_eq!(stage.server.err().count("sending no data in SYNs"), 1);
    });
}

#[test]
fn path_that_resets_syn_data_loses_only_one_client() {
    isolated(|| {
        let stage = Stage::new();
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"", "the server may have acted on the data");
        assert_eq!(stage.syns(&mut known), [8], "the data is not sent again");
        let _ = stage.server.out().expect(&["data had left"]);
        for _ in 0..5 {
            assert_eq!(stage.ask(), b"answer");
            assert_eq!(stage.syns(&mut known), [0]);
        }
        assert_eq!(stage.server.err().count("is down"), 0, "the upstream is reachable");
    });
}

/// A pause that is short enough for a test.
const SHORT_PAUSE: &str = "syn-data-pause = \"1s\"";

#[test]
fn pause_ends_with_one_trial_connection() {
    isolated(|| {
        let path = PathSettings::new().round_trip(Duration::from_millis(100));
        let stage = Stage::with(path, SHORT_PAUSE);
        let mut known = stage.fetch_cookie();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"", "the first request after the path has changed");
        let pauses = || stage.server.err().count("sending no data in SYNs for");
        let mut unanswered = 1;
        until("three pauses", || {
            // Requests that arrive during the round trip of a trial.
            unanswered += stage.ask_at_once(20);
            until("one pause per lost client", || pauses() >= unanswered);
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
fn trial_with_stripped_data_does_not_end_the_pause() {
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
        assert!(
            others > trials,
            "a connection alone acknowledges no data: {trials} trials, {others} others"
        );
        assert_eq!(stage.server.err().count("accepts data in SYNs again"), 0);
    });
}

#[test]
fn trial_with_only_a_proxy_header_loses_no_client() {
    isolated(|| {
        let more = format!("{SHORT_PAUSE}\nproxy-protocol = \"v1\"");
        let stage = Stage::with(PathSettings::new(), &more);
        let header = "PROXY TCP4 127.0.0.1 127.0.0.1 40000 2222\r\n".len();
        let mut known = 0;
        until("a request is in the SYN", || {
            assert_eq!(stage.ask(), b"answer");
            stage.syns(&mut known).contains(&(header + 8))
        });
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        assert_eq!(stage.ask(), b"", "the first request after the path has changed");
        assert_eq!(stage.syns(&mut known), [header + 8]);
        for pause in ["2s", "4s"] {
            until("a trial", || {
                assert_eq!(
                    stage.ask(),
                    b"answer",
                    "the header is sent again in a regular connection"
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
fn last_bytes_and_fin_share_a_segment() {
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
            // The handshake is complete: before that, no bytes are held back for the FIN.
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
fn client_that_closes_before_the_syn_ack_is_served() {
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
