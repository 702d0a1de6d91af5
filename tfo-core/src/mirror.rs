//! The mirror: what a server tells a client of the SYN that arrived. The wire format of both
//! programs, in this one place.
//!
//! The client sends one line, `tfo-probe/1 <token>\n`, padded with dots behind the token to the
//! wanted size. The server answers with one line of JSON: the token, the bytes that came, and its
//! half of the [evidence](ServerEvidence). It shows nothing of other clients, and never a key.
//!
//! A web client is answered too, so that `curl --tcp-fastopen http://server:2222/` shows what arrived of
//! *its* SYN: to `GET …` the same JSON comes as an HTTP/1.0 response, with the token `http`.
//!
//! So that nobody can use it to flood others, an answer has at most [`MULTIPLE`] times the bytes of
//! its request, and at most [`MAX_ANSWER`]; what does not fit is left out, the least telling part
//! first.

use serde::{Deserialize, Serialize};

use crate::diagnosis::{SavedSynEvidence, ServerEvidence};
use crate::error::{Error, Result};

/// How a request begins.
pub const REQUEST: &str = "tfo-probe/1 ";
/// The bytes that each answer of a mirror begins with.
pub const ANSWER: &[u8] = b"{\"tfo_mirror\":1,";
/// The most bytes of an answer for each byte of the request.
pub const MULTIPLE: usize = 32;
/// The most bytes of an answer.
pub const MAX_ANSWER: usize = 2048;
/// The longest request that is read.
pub const MAX_REQUEST: usize = 1024 * 1024;
/// How a web client's request begins, and how it ends.
const HTTP_GET: &[u8] = b"GET ";
const HTTP_END: &[u8] = b"\r\n\r\n";
/// The head of the answer to a web client.
const HTTP_OK: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n";
/// The fewest and the most characters of a token.
pub const TOKEN: std::ops::RangeInclusive<usize> = 1..=32;

/// A request's line: `size` bytes, or as many as it needs if that is more.
#[must_use]
pub fn request(token: &str, size: usize) -> Vec<u8> {
    let mut line = format!("{REQUEST}{token}").into_bytes();
    if line.len() + 1 < size {
        line.push(b' ');
        line.resize(size - 1, b'.');
    }
    line.push(b'\n');
    line
}

/// The fewest bytes that a request with this token needs.
#[must_use]
pub const fn request_len(token: &str) -> usize {
    REQUEST.len() + token.len() + 1
}

/// Reads a request as its bytes come, and keeps no more of it than its token.
#[derive(Debug, Default)]
pub struct RequestReader {
    head: Vec<u8>,
    /// The last bytes, in which the end of a web client's request may be cut in two.
    tail: Vec<u8>,
    received: usize,
}

/// How far a [`RequestReader`] has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The line has not ended yet.
    More,
    /// The line has ended.
    Request {
        /// The request's token.
        token: String,
        /// The request's bytes, its line feed included.
        received: usize,
    },
    /// A web client's request has ended: its headers, without a body.
    Http {
        /// The request's bytes.
        received: usize,
    },
    /// This is no request; the text says why, and what is allowed.
    Refused(&'static str),
}

impl RequestReader {
    const HEAD: usize = REQUEST.len() + *TOKEN.end() + 1;

    /// Takes the next bytes.
    pub fn read(&mut self, bytes: &[u8]) -> Progress {
        if self.is_http(bytes) {
            return self.read_http(bytes);
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let room = Self::HEAD.saturating_sub(self.head.len()).min(line.len());
        self.head.extend_from_slice(&line[..room]);
        self.received = self.received.saturating_add(line.len());

        let seen = self.head.len().min(REQUEST.len());
        if self.head[..seen] != REQUEST.as_bytes()[..seen] {
            return Progress::Refused("expected `tfo-probe/1 <token>` and a line feed");
        }
        if self.received >= MAX_REQUEST {
            return Progress::Refused("the line is longer than 1 MiB");
        }
        if end.is_none() {
            return Progress::More;
        }
        match self.token() {
            Some(token) => Progress::Request { token, received: self.received + 1 },
            None => Progress::Refused("expected a token of 1 to 32 letters, digits or `-`"),
        }
    }

    /// Whether the request begins as a web client's does.
    fn is_http(&self, bytes: &[u8]) -> bool {
        let mut start = self.head.iter().chain(bytes).take(HTTP_GET.len());
        !self.head.is_empty() && self.head.starts_with(HTTP_GET)
            || self.head.len() < HTTP_GET.len() && start.by_ref().eq(HTTP_GET)
    }

    fn read_http(&mut self, bytes: &[u8]) -> Progress {
        let room = Self::HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.received = self.received.saturating_add(bytes.len());
        self.tail.extend_from_slice(bytes);
        let ended = self.tail.windows(HTTP_END.len()).any(|window| window == HTTP_END);
        self.tail.drain(..self.tail.len().saturating_sub(HTTP_END.len() - 1));
        if ended {
            Progress::Http { received: self.received }
        } else if self.received >= MAX_REQUEST {
            Progress::Refused("the request is longer than 1 MiB")
        } else {
            Progress::More
        }
    }

    fn token(&self) -> Option<String> {
        let text = std::str::from_utf8(self.head.get(REQUEST.len()..)?).ok()?;
        let token = text.split(' ').next()?.trim_end_matches('\r');
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (TOKEN.contains(&token.len()) && token.chars().all(allowed)).then(|| token.to_owned())
    }
}

/// A mirror's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The version of this format: 1. Stands first, so that an answer is known by its beginning.
    tfo_mirror: u32,
    /// The request's token.
    pub token: String,
    /// The request's bytes, its line feed included.
    pub received: usize,
    /// The server's half of the evidence.
    #[serde(flatten)]
    pub evidence: ServerEvidence,
}

impl Answer {
    /// An answer to the request with this token and length.
    #[must_use]
    pub fn new(token: String, received: usize, evidence: ServerEvidence) -> Self {
        Self { tfo_mirror: 1, token, received, evidence }
    }

    /// The answer to a web client's request of this length.
    #[must_use]
    pub fn http(received: usize, evidence: ServerEvidence) -> Self {
        Self::new("http".to_owned(), received, evidence)
    }

    /// The line as an HTTP/1.0 response, which ends when the connection is closed.
    ///
    /// # Errors
    /// As [`to_line`](Self::to_line).
    pub fn to_http(&self) -> Result<Vec<u8>> {
        Ok([HTTP_OK, &self.to_line()?].concat())
    }

    /// The answer's line, with as much of the evidence as its limit allows.
    ///
    /// # Errors
    /// Not even the smallest form could be written.
    pub fn to_line(&self) -> Result<Vec<u8>> {
        let limit = (self.received.saturating_mul(MULTIPLE)).min(MAX_ANSWER);
        let mut answer = self.clone();
        let mut line = answer.encode()?;
        if line.len() > limit {
            answer.evidence.counters = None;
            line = answer.encode()?;
        }
        if line.len() > limit {
            answer.evidence.host = None;
            line = answer.encode()?;
        }
        if line.len() > limit {
            answer.evidence.syn = SavedSynEvidence::NotSaved;
            line = answer.encode()?;
        }
        Ok(line)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)
            .map_err(|e| Error::malformed("a mirror's answer", e.to_string()))?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads an answer's line.
    ///
    /// # Errors
    /// It is too long, or not an answer of this format.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let malformed = |reason: String| Error::malformed("the mirror's answer", reason);
        if line.len() > MAX_ANSWER {
            return Err(malformed(format!("more than {MAX_ANSWER} bytes")));
        }
        let answer: Self = serde_json::from_slice(line).map_err(|e| malformed(e.to_string()))?;
        if answer.tfo_mirror == 1 {
            Ok(answer)
        } else {
            Err(malformed(format!("version {}, expected 1", answer.tfo_mirror)))
        }
    }

    /// Whether these first bytes of an answer are all that there is to wait for: a whole answer of a
    /// mirror, or anything that is none.
    #[must_use]
    pub fn is_complete(bytes: &[u8]) -> bool {
        let seen = bytes.len().min(ANSWER.len());
        bytes[..seen] != ANSWER[..seen] || bytes.contains(&b'\n') || bytes.len() > MAX_ANSWER
    }
}

/// The line with which a mirror refuses what is no request.
#[must_use]
pub fn refusal(why: &str) -> Vec<u8> {
    format!("error: {why}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence() -> ServerEvidence {
        let json = r#"{"source":"[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "destination":"[2001:db8:ffff:ffff:ffff:ffff:ffff:fffe]:65535",
            "syn":{"saved":{"ttl":255,"options":[2,4,8,1,3,34,1,1],
                "fast_open":{"kind":"experimental","cookie":"00112233445566778899aabbccddeeff"},
                "payload_bytes":1400,"trailing_nops":2}},
            "tcp":{"state":"syn-recv","syn_data":true,"tfo_child":true,"rtt_us":4294967295},
            "host":{"tcp_fastopen":1539,"queue":65535,"syncookies":2},
            "counters":{"connections":4294967295,"active":18446744073709551615}}"#;
        serde_json::from_str(json).unwrap()
    }

    fn read(pieces: &[&[u8]]) -> Progress {
        let mut reader = RequestReader::default();
        pieces.iter().map(|piece| reader.read(piece)).last().unwrap()
    }

    #[test]
    fn a_request_has_the_wanted_size_or_as_much_as_it_needs() {
        assert_eq!(request("abcdef", 19), b"tfo-probe/1 abcdef\n");
        assert_eq!(request_len("abcdef"), 19);
        for size in [0, 18, 19, 20, 21, 64, 5000] {
            let line = request("abcdef", size);
            assert_eq!(line.len(), size.max(19), "{size}");
            let expected = Progress::Request { token: "abcdef".to_owned(), received: line.len() };
            assert_eq!(read(&[&line]), expected, "{size}");
        }
    }

    #[test]
    fn a_request_may_come_byte_by_byte() {
        let line = request("abc-123", 100);
        let pieces: Vec<&[u8]> = line.chunks(1).collect();
        assert_eq!(read(&pieces), Progress::Request { token: "abc-123".to_owned(), received: 100 });
        let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let pieces: Vec<&[u8]> = get.chunks(1).collect();
        assert_eq!(read(&pieces), Progress::Http { received: get.len() });
        assert_eq!(read(&pieces[..get.len() - 1]), Progress::More);
    }

    #[test]
    fn what_is_no_request_is_refused_at_once() {
        for bytes in [&b"HELO x\n"[..], b"x", b"GIT / HTTP/1.1", b"tfo-probe/2 a\n", b"\n"] {
            assert!(matches!(read(&[bytes]), Progress::Refused(_)), "{bytes:?}");
        }
        for token in ["", "a_b", "a/b", &"a".repeat(33)] {
            let line = format!("{REQUEST}{token}\n");
            assert!(matches!(read(&[line.as_bytes()]), Progress::Refused(_)), "{token:?}");
        }
    }

    #[test]
    fn a_request_without_an_end_is_refused_and_not_kept() {
        for start in [REQUEST, "GET /"] {
            let mut reader = RequestReader::default();
            assert_eq!(reader.read(start.as_bytes()), Progress::More);
            let filling = [b'a'; 4096];
            let refused = (0..=MAX_REQUEST / filling.len())
                .any(|_| matches!(reader.read(&filling), Progress::Refused(_)));
            assert!(refused, "{start}");
            assert!(reader.head.len() + reader.tail.len() < 128, "only its head is kept");
        }
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let answer = Answer::new("abcdef".to_owned(), 64, evidence());
        let line = answer.to_line().unwrap();
        assert!(line.starts_with(ANSWER), "{}", String::from_utf8_lossy(&line));
        assert_eq!(Answer::parse(&line).unwrap(), answer);
    }

    #[test]
    fn an_answer_is_a_small_multiple_of_its_request() {
        for received in 14..200 {
            let line = Answer::new("a".to_owned(), received, evidence()).to_line().unwrap();
            assert!(line.len() <= received * MULTIPLE, "{} for {received}", line.len());
            assert!(line.len() <= MAX_ANSWER);
            assert_eq!(Answer::parse(&line).unwrap().evidence.source, evidence().source);
        }
        let short = Answer::new("a".to_owned(), 14, evidence()).to_line().unwrap();
        let short = Answer::parse(&short).unwrap();
        assert_eq!(short.evidence.counters, None, "the least telling part goes first");
    }

    #[test]
    fn a_web_client_gets_the_same_line_as_a_response() {
        let answer = Answer::http(80, evidence()).to_http().unwrap();
        let body = answer.strip_prefix(HTTP_OK).unwrap();
        assert_eq!(Answer::parse(body).unwrap().token, "http");
    }

    #[test]
    fn an_answer_of_another_version_or_length_is_refused() {
        let line = Answer::new("a".to_owned(), 64, evidence()).to_line().unwrap();
        let text = String::from_utf8(line).unwrap();
        assert!(Answer::parse(text.replace("mirror\":1", "mirror\":2").as_bytes()).is_err());
        assert!(Answer::parse(&vec![b' '; MAX_ANSWER + 1]).is_err());
    }

    #[test]
    fn only_a_mirrors_answer_is_waited_for() {
        assert!(Answer::is_complete(b"HTTP/1.1 400"));
        assert!(Answer::is_complete(b"x"));
        assert!(!Answer::is_complete(&ANSWER[..5]));
        assert!(!Answer::is_complete(ANSWER));
        assert!(Answer::is_complete(&[ANSWER, b"}\n"].concat()));
    }

    proptest! {
        #[test]
        fn hostile_requests_and_answers_never_panic(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..8),
            start in prop_oneof![Just(&b""[..]), Just(REQUEST.as_bytes()), Just(HTTP_GET), Just(ANSWER)],
        ) {
            let mut reader = RequestReader::default();
            let _ = reader.read(start);
            for piece in &pieces {
                let _ = reader.read(piece);
            }
            let all = [start, &pieces.concat()].concat();
            let _ = Answer::parse(&all);
            let _ = Answer::is_complete(&all);
        }
    }
}
