//! The mirror: what a server tells a client of the SYN that arrived. The wire format of both
//! programs, in this one place.
//!
//! The client sends one line, `tfo-probe/1 <token>\n`, padded with dots behind the token to the
//! wanted size. The server answers with one line of JSON: the token, the bytes that came, and its
//! half of the [evidence](ServerEvidence). It shows nothing of other clients, and never a key.
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
    /// This is no request; the text says why, and what is allowed.
    Refused(&'static str),
}

impl RequestReader {
    const HEAD: usize = REQUEST.len() + *TOKEN.end() + 1;

    /// Takes the next bytes.
    pub fn read(&mut self, bytes: &[u8]) -> Progress {
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
