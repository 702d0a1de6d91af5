//! Probes that say more than their first bytes.

use std::io::{Read, Write};
use std::time::Duration;

use tfo_core::diagnosis::{Ending, Evidence, Outcome, judge};
use tfo_core::lab::isolated;
use tfo_core::probe::{Dialogue, Next, Probe};
use tfo_core::socket::{FastOpenListener, FastOpenStream};

use crate::support::{Net, SERVERS};

/// Answers `more` with `rest`, and records its calls.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    times: Vec<Duration>,
    closed: Option<Duration>,
}

impl Dialogue for Heard {
    fn received(&mut self, bytes: &[u8], at: Duration) -> Next {
        self.bytes.extend_from_slice(bytes);
        self.times.push(at);
        match self.bytes.as_slice() {
            b"more" => Next::Send(b"rest".to_vec()),
            b"morelast" => Next::SendLast(b"bye!".to_vec()),
            _ => Next::Read,
        }
    }

    fn closed(&mut self, at: Duration) {
        self.closed = Some(at);
    }
}

fn expect(stream: &mut FastOpenStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

#[test]
fn a_dialogue_goes_on_after_the_first_bytes_and_the_verdict_is_of_them() {
    isolated(|| {
        let net = Net::new();
        let server =
            net.serve(FastOpenListener::builder((SERVERS[0], 2222).into()), |mut stream| {
                expect(&mut stream, b"first");
                stream.write_all(b"more").unwrap();
                expect(&mut stream, b"rest");
                stream.write_all(b"last").unwrap();
                expect(&mut stream, b"bye!");
            });
        let probe = Probe::new(server).reply_timeout(Duration::from_secs(10));
        for outcome in [Outcome::CookieGranted, Outcome::FastOpen] {
            let probe = probe.clone();
            let (seen, heard) = net.client.run(move || {
                let mut heard = Heard::default();
                (probe.converse(b"first", &mut heard), heard)
            });
            assert_eq!(heard.bytes, b"morelast");
            assert_eq!(seen.evidence.result, Ending::Answered);
            assert_eq!(heard.closed, None, "the dialogue ended before the peer closed");
            let timing = seen.timing;
            assert_eq!(timing.first_byte, heard.times.first().copied());
            assert!(timing.connect <= timing.first_byte && timing.first_byte <= timing.ended);
            assert!(timing.handshake_rtt.is_some(), "{timing:?}");
            assert_eq!(judge(&Evidence::new(Some(seen.evidence), None)).outcome, outcome);
        }
    });
}

#[test]
fn a_peer_that_closes_is_told_to_the_dialogue() {
    isolated(|| {
        let net = Net::new();
        let server =
            net.serve(FastOpenListener::builder((SERVERS[0], 2222).into()), |mut stream| {
                expect(&mut stream, b"first");
                stream.write_all(b"all").unwrap();
            });
        let probe = Probe::new(server).reply_timeout(Duration::from_secs(10));
        let (seen, heard) = net.client.run(move || {
            let mut heard = Heard::default();
            (probe.converse(b"first", &mut heard), heard)
        });
        assert_eq!(heard.bytes, b"all");
        assert!(heard.closed.is_some() && heard.closed <= seen.timing.ended, "{:?}", seen.timing);
    });
}
