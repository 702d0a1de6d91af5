//! The mirror: a server answers a client with the SYN that arrived. The wire format of both
//! programs, in this one place.
//!
//! The client sends one line, `tfo-probe/1 <token>\n`, padded with dots behind the token to the
//! wanted size. The server answers with one line of JSON: the token, the bytes that came, and its
//! half of the [evidence](ServerEvidence). It shows nothing of other clients, and never a key.
//!
//! The padding begins with a 2 where the client reads the second version of the answer, which has more fields; to
//! any other request the first is sent. An older server takes the 2 for padding.
//!
//! A web client is answered too, so that `curl --tcp-fastopen http://server:2222/` shows what arrived of
//! *its* SYN: to `GET …` the same JSON comes as an HTTP/1.0 response, with the token `http`.
//!
//! So that nobody can use it to flood others, whatever it sends in answer has at most [`MULTIPLE`] times
//! the bytes of the request and at most [`MAX_ANSWER`], heads of HTTP and refusals included. What does
//! not fit is left out, the least telling part first. Where even the addresses do not fit, which only a
//! web client's request of a few bytes can cause, a refusal says so; a refusal that does not fit is
//! replaced by a shorter one.
//!
//! A client that ends without a byte gets the [`GREETING`]: so it learns, without sending data, that a mirror is here,
//! which wants data.
//!
//! The answer depends on the bytes of the request alone, not on the segments in which they come:
//! [`RequestReader::respond`] makes it for every mirror.
//!
//! ```no_run
//! use tfo_core::diagnosis::{Evidence, judge};
//! use tfo_core::probe::{Probe, mirror};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let probe = Probe::new("192.0.2.1:2222".parse()?).until(mirror::Answer::is_complete);
//! let seen = probe.run(&mirror::request("1", 64));
//! let server = mirror::Answer::parse(&seen.answer)?.evidence;
//! println!("{}", judge(&Evidence::new(Some(seen.evidence), Some(server))));
//! # Ok(())
//! # }
//! ```

use serde::{Deserialize, Serialize};

use crate::diagnosis::ServerEvidence;
use crate::error::{Error, Result};
use crate::socket::SynRecord;

/// The beginning of a request.
pub const REQUEST: &str = "tfo-probe/1 ";
/// The bytes that each answer of a mirror begins with; its version follows.
pub const ANSWER: &[u8] = b"{\"tfo_mirror\":";
/// The bytes that a mirror sends to a client that ends without a byte.
pub const GREETING: &[u8] = b"{\"tfo_mirror\":2}\n";
/// The latest version of the answer.
const VERSION: u32 = 2;
/// What the padding of a request begins with whose client reads that version.
const READS_VERSION: u8 = b'2';
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
/// The answer to a web client whose request is too short for any other.
const HTTP_TOO_SHORT: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n\
    error: the request is too short for its answer\n";
/// The refusal of a request that is too short for a longer one.
const SHORT_REFUSAL: &str = "error: expected tfo-probe/1\n";
/// The fewest and the most characters of a token.
pub const TOKEN: std::ops::RangeInclusive<usize> = 1..=32;

/// A request's line: `size` bytes, or as many as it needs if that is more.
#[must_use]
pub fn request(token: &str, size: usize) -> Vec<u8> {
    let mut line = format!("{REQUEST}{token}").into_bytes();
    if line.len() + 1 < size {
        line.push(b' ');
        if line.len() + 1 < size {
            line.push(READS_VERSION);
        }
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
    /// The first bytes.
    head: Vec<u8>,
    /// How many of the last bytes may be the beginning of [`HTTP_END`].
    ending: usize,
    /// The bytes of the request so far.
    received: usize,
}

/// The progress of a [`RequestReader`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The request has not ended yet.
    More,
    /// The line has ended.
    Request {
        /// The request's token.
        token: String,
        /// The request's bytes, its line feed included.
        received: usize,
        /// The version of the answer that the client reads.
        version: u32,
    },
    /// A web client's request has ended: its headers, without a body.
    Http {
        /// The request's bytes, the empty line included.
        received: usize,
    },
    /// This is no request.
    Refused {
        /// Why, and what is allowed.
        why: &'static str,
        /// The bytes up to the one that decided it.
        received: usize,
    },
}

impl RequestReader {
    /// Up to the first byte of the padding.
    const HEAD: usize = REQUEST.len() + *TOKEN.end() + 2;

    /// Takes the next bytes. Returns the answer once the request has ended or is refused.
    ///
    /// `evidence` is called only for an answer that contains it.
    ///
    /// # Errors
    /// There is no evidence, or the answer could not be written.
    pub fn respond(
        &mut self,
        bytes: &[u8],
        evidence: impl FnOnce() -> Option<ServerEvidence>,
    ) -> Result<Option<Vec<u8>>> {
        let evidence =
            || evidence().ok_or_else(|| Error::malformed("the mirror's evidence", "there is none"));
        match self.read(bytes) {
            Progress::More => Ok(None),
            Progress::Request { token, received, version } => {
                Answer::new(token, received, evidence()?).of_version(version).to_line().map(Some)
            }
            Progress::Http { received } => Answer::http(received, evidence()?).to_http().map(Some),
            Progress::Refused { why, received } => Ok(Some(refusal(why, received))),
        }
    }

    /// Returns what to send to a client that has ended: the [`GREETING`] if it sent nothing, else nothing.
    #[must_use]
    pub fn ended(&self) -> &'static [u8] {
        if self.head.is_empty() { GREETING } else { &[] }
    }

    /// Takes the next bytes.
    pub fn read(&mut self, bytes: &[u8]) -> Progress {
        let room = Self::HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let is_http = self.head.first() == HTTP_GET.first();
        let start = if is_http { HTTP_GET } else { REQUEST.as_bytes() };
        if let Some(at) = self.head.iter().zip(start).position(|(byte, wanted)| byte != wanted) {
            let why = "expected `tfo-probe/1 <token>` and a line feed";
            return Progress::Refused { why, received: at + 1 };
        }
        if is_http { self.read_http(bytes) } else { self.read_line(bytes) }
    }

    fn read_line(&mut self, bytes: &[u8]) -> Progress {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        self.received = self.received.saturating_add(end.unwrap_or(bytes.len()));
        if self.received >= MAX_REQUEST {
            let why = "the line is longer than 1 MiB";
            return Progress::Refused { why, received: MAX_REQUEST };
        }
        if end.is_none() {
            return Progress::More;
        }
        let received = self.received + 1;
        let Some(token) = self.token() else {
            let why = "expected a token of 1 to 32 letters, digits or `-`";
            return Progress::Refused { why, received };
        };
        Progress::Request { token, received, version: self.version() }
    }

    fn read_http(&mut self, bytes: &[u8]) -> Progress {
        for &byte in bytes {
            self.received = self.received.saturating_add(1);
            self.ending = match (self.ending, byte) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => self.ending + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.ending == HTTP_END.len() {
                return Progress::Http { received: self.received };
            }
            if self.received >= MAX_REQUEST {
                let why = "the request is longer than 1 MiB";
                return Progress::Refused { why, received: MAX_REQUEST };
            }
        }
        Progress::More
    }

    /// The version of the answer that the padding asks for.
    fn version(&self) -> u32 {
        let behind = self.head.get(REQUEST.len()..).unwrap_or_default();
        let line = behind.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let padding = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if padding.first() == Some(&READS_VERSION) { VERSION } else { 1 }
    }

    fn token(&self) -> Option<String> {
        let behind = self.head.get(REQUEST.len()..)?;
        let word = behind.split(|byte| matches!(byte, b' ' | b'\n')).next()?;
        let token = std::str::from_utf8(word).ok()?.trim_end_matches('\r');
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (TOKEN.contains(&token.len()) && token.chars().all(allowed)).then(|| token.to_owned())
    }
}

/// The most bytes of an answer to a request of this length.
fn limit(received: usize) -> usize {
    received.saturating_mul(MULTIPLE).min(MAX_ANSWER)
}

/// A mirror's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The version of this format. Comes first, so that an answer is known by its beginning.
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
        Self { tfo_mirror: VERSION, token, received, evidence }
    }

    /// The answer for a client that reads this version, and refuses fields that it does not know.
    fn of_version(mut self, version: u32) -> Self {
        if version < VERSION {
            self.tfo_mirror = version;
            let ServerEvidence { host, syn, counters, cookie_origin, .. } = &mut self.evidence;
            *cookie_origin = None;
            if let Some(host) = host {
                (host.sets_child_bit, host.overflowed) = (false, None);
                host.asks_for_cookies = None;
            }
            if let SynRecord::Saved(syn) = syn {
                syn.tsval = None;
            }
            if let Some(counters) = counters {
                counters.alone = None;
            }
        }
        self
    }

    /// The answer to a web client's request of this length.
    #[must_use]
    pub fn http(received: usize, evidence: ServerEvidence) -> Self {
        Self::new("http".to_owned(), received, evidence)
    }

    /// The line as an HTTP/1.0 response, which ends when the connection is closed. Its limit holds for
    /// the head too.
    ///
    /// # Errors
    /// The answer could not be written.
    pub(crate) fn to_http(&self) -> Result<Vec<u8>> {
        let limit = limit(self.received);
        if let Some(room) = limit.checked_sub(HTTP_OK.len())
            && let Some(line) = self.encode_within(room)?
        {
            return Ok([HTTP_OK, &line].concat());
        }
        let fits = HTTP_TOO_SHORT.len() <= limit;
        Ok(if fits { HTTP_TOO_SHORT.to_vec() } else { self.too_short() })
    }

    /// The answer's line, with as much of the evidence as its limit allows. No request that a
    /// [`RequestReader`] accepts is too short for the smallest form; another gets a [`refusal`].
    ///
    /// # Errors
    /// The answer could not be written.
    pub fn to_line(&self) -> Result<Vec<u8>> {
        Ok(self.encode_within(limit(self.received))?.unwrap_or_else(|| self.too_short()))
    }

    fn too_short(&self) -> Vec<u8> {
        refusal("the request is too short for its answer", self.received)
    }

    /// The line with as much of the evidence as fits. `None`: not even the smallest form does.
    fn encode_within(&self, limit: usize) -> Result<Option<Vec<u8>>> {
        let mut answer = self.clone();
        let omissions: [fn(&mut ServerEvidence); 4] = [
            |_| {},
            |evidence| evidence.counters = None,
            |evidence| evidence.host = None,
            |evidence| evidence.syn = SynRecord::NotSaved,
        ];
        for omit in omissions {
            omit(&mut answer.evidence);
            let line = answer.encode()?;
            if line.len() <= limit {
                return Ok(Some(line));
            }
        }
        Ok(None)
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
        if (1..=VERSION).contains(&answer.tfo_mirror) {
            Ok(answer)
        } else {
            Err(malformed(format!("version {}, expected 1 or 2", answer.tfo_mirror)))
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
///
/// `received` is the length of what is refused. Where the reason does not fit the limit, a shorter line
/// without it is returned, and an empty one where that does not fit either, which is the case for no
/// byte at all.
#[must_use]
pub fn refusal(why: &str, received: usize) -> Vec<u8> {
    let limit = limit(received);
    let full = format!("error: {why}\n");
    let fitting = [full.as_str(), SHORT_REFUSAL].into_iter().find(|line| line.len() <= limit);
    fitting.unwrap_or_default().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnosis::CookieOrigin;

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

    /// What a request that comes in these pieces is. Nothing is read behind the end.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Progress {
        let mut reader = RequestReader::default();
        let mut pieces = pieces.into_iter().map(|piece| reader.read(piece));
        pieces.find(|progress| *progress != Progress::More).unwrap_or(Progress::More)
    }

    #[test]
    fn a_request_has_the_wanted_size_or_as_much_as_it_needs() {
        assert_eq!(request("abcdef", 19), b"tfo-probe/1 abcdef\n");
        assert_eq!(request_len("abcdef"), 19);
        for size in [0, 18, 19, 20, 21, 64, 5000] {
            let line = request("abcdef", size);
            assert_eq!(line.len(), size.max(19), "{size}");
            let expected = Progress::Request {
                token: "abcdef".to_owned(),
                received: line.len(),
                version: if size > 20 { 2 } else { 1 },
            };
            assert_eq!(read([&line[..]]), expected, "{size}");
        }
    }

    #[test]
    fn only_a_client_that_sends_nothing_is_greeted() {
        let mut reader = RequestReader::default();
        assert_eq!(reader.ended(), GREETING);
        assert!(GREETING.starts_with(ANSWER) && Answer::is_complete(GREETING));
        assert_eq!(reader.read(b"t"), Progress::More);
        assert_eq!(reader.ended(), b"");
    }

    #[test]
    fn request_may_come_byte_by_byte() {
        let line = request("abc-123", 100);
        let expected = Progress::Request { token: "abc-123".to_owned(), received: 100, version: 2 };
        assert_eq!(read(line.chunks(1)), expected);
        let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(read(get.chunks(1)), Progress::Http { received: get.len() });
        assert_eq!(read(get[..get.len() - 1].chunks(1)), Progress::More);
        assert_eq!(read([&get[..3]]), Progress::More, "it may become a GET");
    }

    #[test]
    fn bytes_behind_the_request_are_not_counted() {
        let line = [&request("a", 20)[..], b"more"].concat();
        assert_eq!(
            read([&line[..]]),
            Progress::Request { token: "a".to_owned(), received: 20, version: 2 }
        );
        assert_eq!(read([&b"GET /\r\n\r\nmore"[..]]), Progress::Http { received: 9 });
        assert_eq!(read([&b"GET /\r\r\n\r\r\n\r\n\n"[..]]), Progress::Http { received: 13 });
    }

    #[test]
    fn what_is_no_request_is_refused_at_once() {
        for bytes in [&b"HELO x\n"[..], b"x", b"GIT / HTTP/1.1", b"tfo-probe/2 a\n", b"\n"] {
            assert!(matches!(read([bytes]), Progress::Refused { .. }), "{bytes:?}");
        }
        for token in ["", "a_b", "a/b", &"a".repeat(33)] {
            let line = format!("{REQUEST}{token}\n");
            assert!(matches!(read([line.as_bytes()]), Progress::Refused { .. }), "{token:?}");
        }
    }

    #[test]
    fn a_request_without_an_end_is_refused_and_not_kept() {
        for start in [REQUEST, "GET /"] {
            let mut reader = RequestReader::default();
            assert_eq!(reader.read(start.as_bytes()), Progress::More);
            let filling = [b'a'; 4096];
            let refused = (0..=MAX_REQUEST / filling.len())
                .any(|_| matches!(reader.read(&filling), Progress::Refused { .. }));
            assert!(refused, "{start}");
            assert!(reader.head.capacity() < 128, "only its head is kept");
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
    fn smallest_requests_are_answered() {
        let line = b"tfo-probe/1 a\n";
        let answer = RequestReader::default().respond(line, || Some(evidence())).unwrap().unwrap();
        assert!(answer.starts_with(ANSWER), "{}", answer.escape_ascii());
        let answer = RequestReader::default().respond(b"GET \r\n\r\n", || Some(evidence()));
        assert_eq!(answer.unwrap().unwrap(), HTTP_TOO_SHORT);
        let get = b"GET / HTTP/1.0\r\n\r\n";
        let answer = RequestReader::default().respond(get, || Some(evidence())).unwrap().unwrap();
        assert!(Answer::parse(answer.strip_prefix(HTTP_OK).unwrap()).is_ok());
        let refused = RequestReader::default().respond(b"x", || None).unwrap().unwrap();
        assert_eq!(refused, SHORT_REFUSAL.as_bytes());
        let refused = RequestReader::default().respond(b"tfo-probe/2 a\n", || None);
        let full = b"error: expected `tfo-probe/1 <token>` and a line feed\n";
        assert_eq!(refused.unwrap().unwrap(), full);
        assert_eq!(RequestReader::default().respond(b"tfo", || None).unwrap(), None);
        assert!(RequestReader::default().respond(line, || None).is_err(), "no evidence");
    }

    #[test]
    fn older_clients_get_an_answer_without_newer_fields() {
        let mut evidence = evidence();
        evidence.cookie_origin = Some(CookieOrigin::Current);
        let host = evidence.host.as_mut().expect("it is there");
        (host.sets_child_bit, host.overflowed) = (true, Some(false));
        host.asks_for_cookies = Some(true);
        evidence.counters.as_mut().expect("they are there").alone = Some(true);
        let respond = |request: &[u8]| {
            let answer = RequestReader::default().respond(request, || Some(evidence.clone()));
            String::from_utf8(answer.unwrap().expect("the request has ended")).unwrap()
        };
        let newer = ["cookie_origin", "sets_child_bit", "overflowed", "asks_for_cookies", "alone"];
        let old = respond(b"tfo-probe/1 abc .........................................\n");
        assert!(old.starts_with("{\"tfo_mirror\":1,"), "{old}");
        assert!(newer.iter().all(|field| !old.contains(field)), "{old}");
        assert_eq!(Answer::parse(old.as_bytes()).unwrap().evidence.source, evidence.source);
        let new = respond(&request("abc", 64));
        assert!(new.starts_with("{\"tfo_mirror\":2,"), "{new}");
        assert!(newer.iter().all(|field| new.contains(field)), "{new}");
        assert_eq!(Answer::parse(new.as_bytes()).unwrap().evidence, evidence);
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
        assert!(Answer::parse(text.replace("mirror\":2", "mirror\":3").as_bytes()).is_err());
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

    /// Evidence of all sizes: each part may be absent or as long as it can be.
    fn any_evidence() -> impl Strategy<Value = ServerEvidence> {
        any::<(bool, bool, bool, bool)>().prop_map(|(short, no_syn, no_host, no_counters)| {
            let mut evidence = evidence();
            if short {
                evidence.source = "1.1.1.1:1".parse().unwrap();
                evidence.destination = evidence.source;
            }
            if no_syn {
                evidence.syn = SynRecord::SynCookie;
            }
            evidence.host = evidence.host.filter(|_| !no_host);
            evidence.counters = evidence.counters.filter(|_| !no_counters);
            evidence
        })
    }

    /// Requests and what is none, right up to the beginning.
    fn any_request() -> impl Strategy<Value = Vec<u8>> {
        let start = prop_oneof![
            Just(Vec::new()),
            Just(REQUEST.as_bytes().to_vec()),
            Just(HTTP_GET.to_vec()),
            (0..REQUEST.len()).prop_map(|len| REQUEST.as_bytes()[..len].to_vec()),
            (0..HTTP_GET.len()).prop_map(|len| HTTP_GET[..len].to_vec()),
        ];
        let middle = prop_oneof![
            "[a-z-]{0,34}".prop_map(String::into_bytes),
            "[a-z-]{1,32} \\.{0,100}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..80),
        ];
        let ends = ["", "\n", "\r\n", "\r\n\r\n", "\r\r\n\r\nbehind", "\nbehind"];
        let end = proptest::sample::select(ends.map(str::as_bytes).to_vec());
        (start, middle, end).prop_map(|(start, middle, end)| [&start[..], &middle, end].concat())
    }

    #[test]
    fn each_form_of_an_answer_keeps_the_limit_at_each_length() {
        for received in (0..300).chain([1000, MAX_REQUEST, usize::MAX]) {
            let limit = received.saturating_mul(MULTIPLE).min(MAX_ANSWER);
            for token in ["a", &"a".repeat(32)] {
                let answer = Answer::new(token.to_owned(), received, evidence());
                for bytes in [answer.to_line().unwrap(), answer.to_http().unwrap()] {
                    assert!(bytes.len() <= limit, "{} for {received}", bytes.len());
                    assert!(!bytes.is_empty() || received == 0, "{received}");
                }
            }
            for why in ["", "the line is longer than 1 MiB", &"x".repeat(3000)] {
                let bytes = refusal(why, received);
                assert!(bytes.len() <= limit, "{} for {received}", bytes.len());
                assert!(!bytes.is_empty() || received == 0, "{received}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn answer_keeps_the_limit_and_does_not_depend_on_segments(
            bytes in any_request(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
            evidence in any_evidence(),
        ) {
            let respond = |pieces: Vec<&[u8]>| {
                let mut reader = RequestReader::default();
                pieces.into_iter().find_map(|piece| reader.respond(piece, || Some(evidence.clone())).unwrap())
            };
            let whole = respond(vec![&bytes[..]]);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(&respond(pieces), &whole);
            prop_assert_eq!(&respond(bytes.chunks(1).collect()), &whole);
            let len = whole.map_or(0, |answer| answer.len());
            prop_assert!(len <= (bytes.len() * MULTIPLE).min(MAX_ANSWER), "{} for {}", len, bytes.len());
        }
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
