//! HTTP responses: status, content type and body, and the header fields that depend on the request.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::service::output::SessionOutput;

/// The statuses that the server sends.
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

/// A response, except for the parts that depend on the request and the time.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    status: Status,
    /// The status line and the constant fields.
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

    /// Creates a response with one line of text.
    pub(crate) fn line(status: Status, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
    }

    /// Adds a field that forbids caches to store the response.
    pub(crate) fn uncached(mut self) -> Self {
        self.head = [&self.head[..], b"Cache-Control: no-store\r\n"].concat().into();
        self
    }

    /// Returns whether the status is an error.
    pub(in crate::service) fn is_error(&self) -> bool {
        self.status != Status::Ok
    }

    /// Writes the response. Bodies of up to `copied` bytes are copied; larger ones are shared.
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
            // The head contains the length nevertheless.
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

/// Whether the connection persists after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Persistence {
    /// Persistent, as HTTP/1.1 connections are by default: no field is needed.
    Persistent,
    /// Persistent because an HTTP/1.0 client requested it, which the response confirms.
    PersistentOnRequest,
    Close,
}

/// The `Date` field, formatted once per second.
#[derive(Debug)]
pub(crate) struct Date {
    second: u64,
    line: [u8; LINE],
}

const PREFIX: &[u8] = b"Date: ";
/// Length of `Date: Sun, 06 Nov 1994 08:49:37 GMT` with the end of line.
const LINE: usize = 37;
/// The end of the year 9999, the last one that the format can express.
const LAST: u64 = 253_402_300_799;

impl Date {
    pub(crate) fn new(now: SystemTime) -> Self {
        let mut date = Self { second: u64::MAX, line: [0; LINE] };
        date.refresh(now);
        date
    }

    /// Sets the time. Called once per pass of the event loop.
    pub(crate) fn refresh(&mut self, now: SystemTime) {
        // A clock before 1970 gives no usable date.
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST);
        if second == self.second {
            return;
        }
        self.second = second;
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        let bytes = PREFIX.iter().chain(date.as_bytes()).chain(b"\r\n");
        for (target, byte) in self.line.iter_mut().zip(bytes) {
            *target = *byte;
        }
    }

    pub(in crate::service) fn line(&self) -> &[u8] {
        &self.line
    }
}
