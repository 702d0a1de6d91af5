//! What is answered: a status, a type, a body; and the parts of a head that differ by request.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::service::output::SessionOutput;

/// A status that is answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UriTooLong,
    ExpectationFailed,
    HeaderFieldsTooLarge,
    NotImplemented,
    ServiceUnavailable,
    VersionNotSupported,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// A response, all but what depends on the request and the time.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    status: Status,
    /// The status line, and the fields that are always the same.
    head: Arc<[u8]>,
    body: Arc<[u8]>,
}

impl Content {
    pub(crate) fn new(status: Status, content_type: &str, body: impl Into<Arc<[u8]>>) -> Self {
        let body = body.into();
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
            status.as_str(),
            body.len()
        );
        if status == Status::MethodNotAllowed {
            head += "Allow: GET, HEAD\r\n";
        }
        Self { status, head: head.into_bytes().into(), body }
    }

    /// One line of text that says what the status means here.
    pub(crate) fn line(status: Status, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
    }

    /// The same, with a field that keeps caches from storing it.
    pub(crate) fn uncached(mut self) -> Self {
        self.head = [&self.head[..], b"Cache-Control: no-store\r\n"].concat().into();
        self
    }

    /// Whether the request is refused.
    pub(in crate::service) fn is_error(&self) -> bool {
        self.status != Status::Ok
    }

    /// A body up to `copied` bytes is copied behind its head; a larger one is shared by its connections.
    pub(in crate::service) fn write(
        &self,
        out: &mut SessionOutput,
        framing: Framing,
        date: &Date,
        copied: usize,
    ) {
        out.bytes.extend_from_slice(&self.head);
        out.bytes.extend_from_slice(date.line());
        out.bytes.extend_from_slice(match framing.connection {
            Persistence::Persistent => b"\r\n".as_slice(),
            Persistence::PersistentOnRequest => b"Connection: keep-alive\r\n\r\n",
            Persistence::Close => b"Connection: close\r\n\r\n",
        });
        if framing.head_only {
            // The length stands in the head all the same.
        } else if self.body.len() <= copied {
            out.bytes.extend_from_slice(&self.body);
        } else {
            out.shared = Some(Arc::clone(&self.body));
        }
    }
}

/// How one response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct Framing {
    pub(in crate::service) head_only: bool,
    pub(in crate::service) connection: Persistence,
}

/// What becomes of the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Persistence {
    /// As HTTP/1.1 has it: nothing need be said.
    Persistent,
    /// A client of HTTP/1.0 has asked for it, and must be told.
    PersistentOnRequest,
    Close,
}

/// The `Date` field, written once a second.
#[derive(Debug)]
pub(crate) struct Date {
    second: u64,
    line: [u8; LINE],
}

const PREFIX: &[u8] = b"Date: ";
/// `Date: Sun, 06 Nov 1994 08:49:37 GMT` and the end of the line.
const LINE: usize = 37;
/// The end of the year 9999, after which there is no such date.
const LAST: u64 = 253_402_300_799;

impl Date {
    pub(crate) fn new(now: SystemTime) -> Self {
        let mut date = Self { second: u64::MAX, line: [0; LINE] };
        date.refresh(now);
        date
    }

    /// A turn of the event loop has begun.
    pub(crate) fn refresh(&mut self, now: SystemTime) {
        // A clock that is before 1970 has no date that a client could use.
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST);
        if second == self.second {
            return;
        }
        self.second = second;
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        let bytes = PREFIX.iter().chain(date.as_bytes()).chain(b"\r\n");
        for (place, byte) in self.line.iter_mut().zip(bytes) {
            *place = *byte;
        }
    }

    pub(in crate::service) fn line(&self) -> &[u8] {
        &self.line
    }
}
