//! Detects whether a reply is complete.

use tfo_core::probe::mirror::Answer;

use super::dns;

/// The kind of request.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReplyTo {
    Message,
    Http,
    /// A DNS query with this id.
    Dns(u16),
}

/// The maximum size of the head of an HTTP response.
const MAX_HEAD: usize = 64 * 1024;

/// A reply whose bytes arrive in pieces.
#[derive(Debug)]
pub(super) struct Reply {
    to: ReplyTo,
    beginning: Vec<u8>,
    /// The body of an HTTP response, once its head is complete.
    body: Option<Body>,
}

#[derive(Debug)]
enum Body {
    /// The number of bytes that are outstanding.
    Remaining(u64),
    /// A chunked body; the bytes of the incomplete chunk.
    Chunks(Vec<u8>),
    /// A body that ends when the server closes.
    UntilClosed,
}

impl Reply {
    pub(super) fn new(to: ReplyTo) -> Self {
        Self { to, beginning: Vec::new(), body: None }
    }

    pub(super) fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// Adds bytes. Returns whether the reply is complete, or an error if it is invalid.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool, String> {
        if let Some(body) = &mut self.body {
            return body.take(bytes);
        }
        self.beginning.extend_from_slice(bytes);
        match self.to {
            ReplyTo::Message => Ok(Answer::is_complete(&self.beginning)),
            ReplyTo::Dns(id) => dns::is_whole(&self.beginning, id),
            ReplyTo::Http => self.take_head(),
        }
    }

    pub(super) fn ends_with_the_connection(&self) -> bool {
        matches!(self.body, Some(Body::UntilClosed))
    }

    fn take_head(&mut self) -> Result<bool, String> {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.beginning);
        let length = match parsed.map_err(|e| format!("the reply is not an HTTP response: {e}"))? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial if self.beginning.len() > MAX_HEAD => {
                return Err("the head of the HTTP response is longer than 64 KiB".to_owned());
            }
            httparse::Status::Partial => return Ok(false),
        };
        let mut body = Body::from_response(&response);
        let whole = body.take(self.beginning.get(length..).unwrap_or_default());
        self.body = Some(body);
        whole
    }
}

impl Body {
    fn from_response(response: &httparse::Response<'_, '_>) -> Self {
        let header = |name: &str| {
            let found = response.headers.iter().find(|found| found.name.eq_ignore_ascii_case(name));
            found.and_then(|found| std::str::from_utf8(found.value).ok()).map(str::trim)
        };
        let coding = header("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if matches!(response.code, Some(204 | 304)) {
            Self::Remaining(0)
        } else if coding.ends_with("chunked") {
            Self::Chunks(Vec::new())
        } else if let Some(length) = header("content-length").and_then(|text| text.parse().ok()) {
            Self::Remaining(length)
        } else {
            Self::UntilClosed
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<bool, String> {
        match self {
            Self::Remaining(left) => {
                *left = left.saturating_sub(bytes.len() as u64);
                Ok(*left == 0)
            }
            Self::Chunks(open) => {
                open.extend_from_slice(bytes);
                take_chunks(open)
            }
            Self::UntilClosed => Ok(false),
        }
    }
}

/// Removes complete chunks. Returns whether the last chunk and the trailers are complete.
fn take_chunks(open: &mut Vec<u8>) -> Result<bool, String> {
    const END: &[u8] = b"\r\n";

    loop {
        let size = httparse::parse_chunk_size(open)
            .map_err(|_| "the HTTP response has a chunk without a size".to_owned())?;
        let httparse::Status::Complete((start, size)) = size else { return Ok(false) };
        let rest = open.get(start..).unwrap_or_default();
        if size == 0 {
            return Ok(rest.starts_with(END) || rest.windows(4).any(|end| end == b"\r\n\r\n"));
        }
        let whole = usize::try_from(size).ok().and_then(|size| size.checked_add(END.len()));
        match whole.filter(|whole| *whole <= rest.len()) {
            Some(whole) => drop(open.drain(..start + whole)),
            None => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a reply in pieces of every size. Returns the number of bytes after which it was complete.
    fn whole_at(to: ReplyTo, bytes: &[u8]) -> Option<usize> {
        let mut found = Vec::new();
        for size in 1..=bytes.len() {
            let mut reply = Reply::new(to);
            let mut seen = 0;
            let whole = bytes.chunks(size).find_map(|piece| {
                seen += piece.len();
                reply.take(piece).unwrap().then_some(seen)
            });
            // The reply is complete with the piece that contains its last byte.
            found.push(whole.map(|at| (at.div_ceil(size), size)));
        }
        let end = found[0].map(|(pieces, _)| pieces);
        for (found, size) in found.iter().zip(1..) {
            assert_eq!(found.map(|found| found.0), end.map(|end| end.div_ceil(size)), "{size}");
        }
        end
    }

    #[test]
    fn response_ends_by_length_last_chunk_or_close() {
        let http = |text: &str| whole_at(ReplyTo::Http, text.as_bytes());
        assert_eq!(http("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"), Some(41));
        assert_eq!(http("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"), None);
        assert_eq!(http("HTTP/1.1 204 No Content\r\n\r\n"), Some(27));
        assert_eq!(http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Some(38));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunked = format!("{head}3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n");
        assert_eq!(http(&chunked), Some(chunked.len()));
        assert_eq!(http(&chunked[..chunked.len() - 1]), None);
        let trailers = format!("{head}0\r\nx: y\r\n\r\n");
        assert_eq!(http(&trailers), Some(trailers.len()));
        let mut reply = Reply::new(ReplyTo::Http);
        assert_eq!(reply.take(b"HTTP/1.0 200 OK\r\n\r\nabc"), Ok(false));
        assert!(reply.ends_with_the_connection());
    }

    #[test]
    fn invalid_response_is_an_error() {
        assert!(Reply::new(ReplyTo::Http).take(b"220 mail ESMTP\r\n").is_err());
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut reply = Reply::new(ReplyTo::Http);
        assert_eq!(reply.take(head), Ok(false));
        assert!(reply.take(b"xyz\r\n").is_err());
        let mut endless = Reply::new(ReplyTo::Http);
        assert_eq!(endless.take(b"HTTP/1.1 200 OK\r\nx: "), Ok(false));
        assert!(endless.take(&vec![b'y'; MAX_HEAD]).is_err(), "an endless head is refused");
    }

    #[test]
    fn chunk_of_impossible_size_does_not_panic() {
        let mut open = b"ffffffffffffffff\r\n".to_vec();
        assert_eq!(take_chunks(&mut open), Ok(false));
    }
}
