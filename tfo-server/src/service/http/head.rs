//! Parses request heads strictly by RFC 9112, so that the server and a proxy in front of it agree on where a request
//! ends.

use std::borrow::Cow;
use std::fmt::Debug;

use httparse::Header;

use super::content::{Content, Framing, Persistence, Status};
use super::target::{self, is_target_byte};

/// Maximum length of a request line with its fields, if the buffer is large enough.
pub(in crate::service) const MAX_HEAD: usize = 8 * 1024;
pub(in crate::service) const MAX_FIELDS: usize = 64;

/// Returns the answer to a request.
pub(crate) trait Handler: Debug + Send + Sync {
    fn answer(&self, request: &Request<'_>) -> Cow<'_, Content>;
}

/// The parts of a request that a handler needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Path without the query.
    pub(crate) path: &'a str,
    /// Value of the Accept field; empty if there is none.
    pub(crate) accept: &'a [u8],
    /// The method is neither GET nor HEAD.
    pub(crate) other_method: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::service) enum Head<'a> {
    /// The head is not complete.
    Partial,
    /// A head of the given length.
    Whole(usize, Request<'a>, Framing, BodyFraming),
}

/// The framing of the body behind a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct BodyFraming {
    /// `None`: chunked.
    pub(in crate::service) length: Option<u64>,
    /// The client waits for `100 Continue` before it sends the body.
    pub(in crate::service) expected: bool,
}

/// The fields that matter to the server.
#[derive(Default)]
struct FieldValues<'a> {
    length: Option<u64>,
    /// Number of `Transfer-Encoding: chunked` fields.
    chunked: usize,
    hosts: usize,
    close: bool,
    keep_alive: bool,
    expects: bool,
    accept: &'a [u8],
}

/// Status and reason of a refusal.
pub(in crate::service) type Refusal = (Status, &'static str);

/// Parses a head. After a refusal, the start of the next request is unknown.
///
/// The result does not depend on how the bytes are divided: each byte is judged only by the bytes before it, so if some
/// bytes are refused, all requests that start with them are refused alike.
///
/// `max`: maximum length of a head.
pub(in crate::service) fn parse(bytes: &[u8], max: usize) -> Result<Head<'_>, Refusal> {
    let bytes = bytes.get(..max).unwrap_or(bytes);
    let is_full = bytes.len() == max;
    let Some((line, fields)) = RequestLine::parse(bytes)? else {
        let too_long = (Status::UriTooLong, "the request line is too long");
        return if is_full { Err(too_long) } else { Ok(Head::Partial) };
    };
    let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match read_fields(fields, &mut headers) {
        Ok(Some((len, headers))) => judge(bytes.len() - fields.len() + len, &line, headers),
        Ok(None) if is_full => Err((Status::HeaderFieldsTooLarge, "the head is too long")),
        Ok(None) => Ok(Head::Partial),
        Err(FieldError::Malformed) => Err((Status::BadRequest, "malformed header field")),
        Err(FieldError::TooMany) => {
            Err((Status::HeaderFieldsTooLarge, "the head has more than 64 fields"))
        }
    }
}

/// The first line of a request.
struct RequestLine<'a> {
    method: &'a str,
    target: &'a str,
    /// HTTP/1.0. Later minor versions are served as HTTP/1.1
    /// ([RFC 9110, section 2.5](https://www.rfc-editor.org/rfc/rfc9110#section-2.5)).
    old: bool,
}

impl<'a> RequestLine<'a> {
    /// Parses the line, and returns what follows it. `None`: the line is not complete.
    fn parse(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, Refusal> {
        let Some((method, rest)) = word(bytes, is_token_byte)? else { return Ok(None) };
        let Some((target, rest)) = word(rest, is_target_byte)? else { return Ok(None) };
        let is_valid = |(at, byte): (usize, &u8)| match at {
            5 | 7 => byte.is_ascii_digit(),
            _ => b"HTTP/1.1\r\n".get(at) == Some(byte),
        };
        let (version, rest) = rest.split_at(rest.len().min(10));
        if !version.iter().enumerate().all(is_valid) {
            return Err(MALFORMED);
        }
        match version {
            [_, _, _, _, _, b'1', _, minor, _, _] => {
                Ok(Some((Self { method, target, old: *minor == b'0' }, rest)))
            }
            [_, _, _, _, _, _, _, _, _, _] => {
                Err((Status::VersionNotSupported, "expected HTTP/1.1 or HTTP/1.0"))
            }
            _ => Ok(None),
        }
    }
}

const MALFORMED: Refusal = (Status::BadRequest, "the request line is malformed");

/// Splits off a word and the space behind it. `None`: the word is not complete.
fn word(bytes: &[u8], allowed: fn(u8) -> bool) -> Result<Option<(&str, &[u8])>, Refusal> {
    let Some(end) = bytes.iter().position(|byte| !allowed(*byte)) else { return Ok(None) };
    match (bytes.get(..end).map(str::from_utf8), bytes.get(end..)) {
        (Some(Ok(word)), Some([b' ', rest @ ..])) if end > 0 => Ok(Some((word, rest))),
        _ => Err(MALFORMED),
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Why header fields are refused.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::service) enum FieldError {
    Malformed,
    TooMany,
}

/// Parses header fields and the empty line behind them, and returns their length. `None`: they are not complete.
///
/// A bare LF does not end a line. RFC 9112, section 2.2 allows recipients to accept it, but a proxy in front of this
/// server may not, and would see other lines.
pub(in crate::service) fn read_fields<'a, 'h>(
    bytes: &'a [u8],
    headers: &'h mut [Header<'a>],
) -> Result<Option<(usize, &'h [Header<'a>])>, FieldError> {
    let (lines, ends_bare) = whole_lines(bytes);
    match httparse::parse_headers(lines, headers) {
        Ok(httparse::Status::Complete(fields)) => Ok(Some(fields)),
        Ok(httparse::Status::Partial) if !ends_bare => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(FieldError::TooMany),
        Ok(httparse::Status::Partial) | Err(_) => Err(FieldError::Malformed),
    }
}

/// Returns the bytes up to the empty line or up to a bare LF, and whether they end with a bare LF.
fn whole_lines(bytes: &[u8]) -> (&[u8], bool) {
    let mut start = 0;
    while let Some(rest) = bytes.get(start..)
        && let Some(at) = rest.iter().position(|byte| *byte == b'\n')
    {
        let end = start + at;
        match rest.get(..at) {
            Some([b'\r']) => return (bytes.get(..=end).unwrap_or(bytes), false),
            Some([.., b'\r']) => start = end + 1,
            _ => return (bytes.get(..end).unwrap_or(bytes), true),
        }
    }
    (bytes, false)
}

fn judge<'a>(
    len: usize,
    line: &RequestLine<'a>,
    headers: &[Header<'a>],
) -> Result<Head<'a>, Refusal> {
    let bad = |why| Err((Status::BadRequest, why));
    let RequestLine { method, target, old } = *line;
    let fields = FieldValues::read(headers)?;
    match fields.hosts {
        0 if !old => return bad("no Host field"),
        0 | 1 => {}
        _ => return bad("more than one Host field"),
    }
    if fields.chunked > 0 && fields.length.is_some() {
        return bad("both Content-Length and Transfer-Encoding");
    }
    if fields.chunked > 0 && old {
        return bad("Transfer-Encoding in HTTP/1.0");
    }
    let head_only = method == "HEAD";
    let other_method = match method {
        "GET" | "HEAD" => false,
        "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "TRACE" | "CONNECT" => true,
        _ => return Err((Status::NotImplemented, "unknown method")),
    };
    let Some(path) = target::path(method, target) else {
        return bad("the form of the target is not allowed for this method");
    };
    let connection = match (old, fields.close) {
        (_, true) => Persistence::Close,
        (true, false) if !fields.keep_alive => Persistence::Close,
        (true, false) => Persistence::PersistentOnRequest,
        (false, false) => Persistence::Persistent,
    };
    let length = if fields.chunked > 0 { None } else { Some(fields.length.unwrap_or(0)) };
    // HTTP/1.0 has no `100 Continue`.
    let body = BodyFraming { length, expected: fields.expects && !old };
    let request = Request { path, accept: fields.accept, other_method };
    Ok(Head::Whole(len, request, Framing { head_only, connection }, body))
}

impl<'a> FieldValues<'a> {
    fn read(headers: &[Header<'a>]) -> Result<Self, Refusal> {
        let bad = |why| Err((Status::BadRequest, why));
        let mut fields = Self::default();
        for Header { name, value } in headers {
            if name.eq_ignore_ascii_case("host") {
                if !str::from_utf8(value).is_ok_and(target::is_authority) {
                    return bad("malformed Host field");
                }
                fields.hosts += 1;
            } else if name.eq_ignore_ascii_case("content-length") {
                let Some(length) = decimal(value) else {
                    return bad("malformed Content-Length");
                };
                if fields.length.replace(length).is_some_and(|before| before != length) {
                    return bad("different Content-Length fields");
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if fields.chunked > 0 {
                    return bad("more than one Transfer-Encoding");
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err((
                        Status::NotImplemented,
                        "unsupported Transfer-Encoding: expected chunked",
                    ));
                }
                fields.chunked += 1;
            } else if name.eq_ignore_ascii_case("connection") {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    fields.close |= option.eq_ignore_ascii_case(b"close");
                    fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if name.eq_ignore_ascii_case("expect") {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err((
                        Status::ExpectationFailed,
                        "unsupported Expect: expected 100-continue",
                    ));
                }
                fields.expects = true;
            } else if name.eq_ignore_ascii_case("accept") {
                fields.accept = value;
            }
        }
        Ok(fields)
    }
}

/// Accepts only digits: other programs may read signs, lists or blanks differently.
fn decimal(value: &[u8]) -> Option<u64> {
    value.iter().all(u8::is_ascii_digit).then_some(())?;
    str::from_utf8(value).ok()?.parse().ok()
}
