//! The head of a request, by the rules of RFC 9112 that keep a proxy and a server of one mind about
//! where a request ends.

use std::mem::MaybeUninit;

use httparse::Header;

use super::answer::{Connection, Framing, Status};

/// The most bytes of a request line with its fields.
pub(super) const MAX_HEAD: usize = 8 * 1024;
pub(super) const MAX_FIELDS: usize = 64;

/// What a handler needs to know of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Without the query.
    pub(crate) path: &'a str,
    /// What the client would like to have; empty: anything.
    pub(crate) accept: &'a [u8],
    /// The method is neither GET nor HEAD.
    pub(crate) other_method: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// It goes on.
    Partial,
    /// So many bytes were a head.
    Whole(usize, Request<'a>, Framing, Body),
}

/// What follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Body {
    /// `None`: it comes in chunks.
    pub(super) length: Option<u64>,
    /// The client waits for a word before it sends it.
    pub(super) expected: bool,
}

/// What the fields say, as far as it matters here.
#[derive(Default)]
struct Fields<'a> {
    length: Option<u64>,
    /// How many fields say that it comes in chunks.
    chunked: usize,
    hosts: usize,
    close: bool,
    keep_alive: bool,
    expects: bool,
    accept: &'a [u8],
}

/// What is wrong.
pub(super) type Refusal = (Status, &'static str);

/// Reads a head. After a refusal nobody knows where the next request begins.
pub(super) fn parse(bytes: &[u8]) -> Result<Head<'_>, Refusal> {
    // The same bytes get the same answer, however they come.
    let bytes = bytes.get(..MAX_HEAD).unwrap_or(bytes);
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(len)) => judge(len, &parsed),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => Ok(Head::Partial),
        Ok(httparse::Status::Partial) if !bytes.contains(&b'\n') => {
            Err((Status::UriTooLong, "the request line is longer than 8 KiB"))
        }
        Ok(httparse::Status::Partial) => {
            Err((Status::HeaderFieldsTooLarge, "the head is longer than 8 KiB"))
        }
        Err(httparse::Error::TooManyHeaders) => {
            Err((Status::HeaderFieldsTooLarge, "the head has more than 64 fields"))
        }
        Err(httparse::Error::Version) if names_a_version(bytes) => {
            Err((Status::VersionNotSupported, "HTTP/1.1 and HTTP/1.0 are spoken here"))
        }
        Err(_) => Err((Status::BadRequest, "this is no HTTP request")),
    }
}

/// Whether the first line ends with a version, one that is not known here.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    last.strip_prefix(b"HTTP/").and_then(|rest| rest.first()).is_some_and(u8::is_ascii_digit)
}

fn judge<'a>(len: usize, parsed: &httparse::Request<'_, 'a>) -> Result<Head<'a>, Refusal> {
    let bad = |why| Err((Status::BadRequest, why));
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let old = parsed.version == Some(0);
    let fields = Fields::read(parsed.headers)?;
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
        _ => return Err((Status::NotImplemented, "this method is not known")),
    };
    let Some(path) = path(target).or_else(|| other_method.then_some(target)) else {
        return bad("the target is neither a path nor a URI");
    };
    let connection = match (old, fields.close) {
        (_, true) => Connection::Close,
        (true, false) if !fields.keep_alive => Connection::Close,
        (true, false) => Connection::PersistentOnRequest,
        (false, false) => Connection::Persistent,
    };
    let length = if fields.chunked > 0 { None } else { Some(fields.length.unwrap_or(0)) };
    // A client of HTTP/1.0 does not know the answer.
    let body = Body { length, expected: fields.expects && !old };
    let request = Request { path, accept: fields.accept, other_method };
    Ok(Head::Whole(len, request, Framing { head_only, connection }, body))
}

/// The path of a target, which is `/path?query` or, for a proxy, `http://host/path?query`.
fn path(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') {
        target
    } else {
        let (_, rest) = target.split_once("://")?;
        rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/")
    };
    let path = path.split(['?', '#']).next()?;
    Some(if path.is_empty() { "/" } else { path })
}

impl<'a> Fields<'a> {
    fn read(headers: &[Header<'a>]) -> Result<Self, Refusal> {
        let bad = |why| Err((Status::BadRequest, why));
        let mut fields = Self::default();
        for Header { name, value } in headers {
            if name.eq_ignore_ascii_case("host") {
                if !value.iter().all(|byte| is_of_a_host(*byte)) {
                    return bad("the Host field is no host");
                }
                fields.hosts += 1;
            } else if name.eq_ignore_ascii_case("content-length") {
                let Some(length) = decimal(value) else {
                    return bad("the Content-Length is no number");
                };
                if fields.length.replace(length).is_some_and(|before| before != length) {
                    return bad("more than one Content-Length");
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if fields.chunked > 0 {
                    return bad("more than one Transfer-Encoding");
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err((Status::NotImplemented, "a Transfer-Encoding other than chunked"));
                }
                fields.chunked += 1;
            } else if name.eq_ignore_ascii_case("connection") {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    fields.close |= option.eq_ignore_ascii_case(b"close");
                    fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if name.eq_ignore_ascii_case("expect") {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err((Status::ExpectationFailed, "an Expect other than 100-continue"));
                }
                fields.expects = true;
            } else if name.eq_ignore_ascii_case("accept") {
                fields.accept = value;
            }
        }
        Ok(fields)
    }
}

/// Digits alone: a sign, a list or a blank would be read differently elsewhere.
fn decimal(value: &[u8]) -> Option<u64> {
    value.iter().all(u8::is_ascii_digit).then_some(())?;
    str::from_utf8(value).ok()?.parse().ok()
}

fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}
