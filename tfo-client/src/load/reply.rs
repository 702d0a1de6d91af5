//! Checks whether a reply is complete and correct, as its bytes arrive and without storing them.

use std::fmt;

use super::settings::Expect;

/// The maximum size of a response's head.
const MAX_HEAD: usize = 16 * 1024;
/// The maximum number of headers.
const MAX_HEADERS: usize = 64;

/// The state of one reply.
#[derive(Debug, Default)]
pub(super) struct Reply {
    received: u64,
    /// The beginning of a response whose head arrives in pieces.
    head: Vec<u8>,
    body: Body,
}

/// The part of a response's body that is outstanding.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Unknown, because the head is incomplete.
    #[default]
    Unknown,
    /// This number of bytes.
    Remaining(u64),
    /// Everything until the server closes.
    UntilClose,
}

/// The state of a reply after bytes arrived, or after the server closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes are expected.
    Incomplete,
    /// The reply is complete and correct; the server closes.
    Complete,
    /// The reply is complete and correct; this end has to close.
    CompleteAndClose,
    Wrong(Mismatch),
    /// The server closed too early.
    ClosedEarly,
}

/// The difference between a reply and the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Beginning,
    TooLong(u64),
    NotHttp,
    Status(u16),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("it does not begin with the text of --expect"),
            Self::TooLong(bytes) => write!(f, "it is longer than expected, at least {bytes} bytes"),
            Self::NotHttp => f.write_str("it is not an HTTP/1 response"),
            Self::Status(status) => write!(f, "its HTTP status is {status}"),
        }
    }
}

impl Reply {
    /// Processes bytes that arrived.
    pub(super) fn on_bytes(&mut self, expect: &Expect, bytes: &[u8]) -> Step {
        let before = self.received;
        self.received += bytes.len() as u64;
        match expect {
            Expect::Nothing => Step::Incomplete,
            Expect::Beginning(text) => {
                // The part of the text that earlier bytes have not matched yet.
                let skip = usize::try_from(before).unwrap_or(usize::MAX);
                let rest = text.as_bytes().get(skip..).unwrap_or_default();
                let len = rest.len().min(bytes.len());
                if rest[..len] == bytes[..len] {
                    Step::Incomplete
                } else {
                    Step::Wrong(Mismatch::Beginning)
                }
            }
            Expect::Bytes(count) if self.received < *count => Step::Incomplete,
            Expect::Bytes(count) if self.received == *count => Step::CompleteAndClose,
            Expect::Bytes(_) => Step::Wrong(Mismatch::TooLong(self.received)),
            Expect::Http(status) => self.http(*status, bytes),
        }
    }

    /// Processes the server's close.
    pub(super) fn on_close(&self, expect: &Expect) -> Step {
        let complete = match expect {
            Expect::Nothing => true,
            Expect::Beginning(text) => self.received >= (text.len() as u64).max(1),
            Expect::Bytes(count) => self.received == *count,
            Expect::Http(_) => matches!(self.body, Body::UntilClose | Body::Remaining(0)),
        };
        if complete { Step::Complete } else { Step::ClosedEarly }
    }

    fn http(&mut self, status: Option<u32>, bytes: &[u8]) -> Step {
        let body = match self.body {
            Body::UntilClose => return Step::Incomplete,
            Body::Remaining(_) => bytes.len(),
            Body::Unknown if self.head.is_empty() => match parse(bytes, status) {
                Ok(Some((body, head))) => {
                    self.body = body;
                    bytes.len() - head
                }
                Ok(None) => {
                    self.head.extend_from_slice(bytes);
                    return self.wait_for_head();
                }
                Err(wrong) => return Step::Wrong(wrong),
            },
            Body::Unknown => {
                self.head.extend_from_slice(bytes);
                match parse(&self.head, status) {
                    Ok(Some((body, head))) => {
                        self.body = body;
                        let len = self.head.len() - head;
                        self.head = Vec::new();
                        len
                    }
                    Ok(None) => return self.wait_for_head(),
                    Err(wrong) => return Step::Wrong(wrong),
                }
            }
        };
        match self.body {
            Body::Remaining(left) => match left.checked_sub(body as u64) {
                Some(0) => {
                    self.body = Body::Remaining(0);
                    Step::Complete
                }
                Some(left) => {
                    self.body = Body::Remaining(left);
                    Step::Incomplete
                }
                None => Step::Wrong(Mismatch::TooLong(self.received)),
            },
            Body::Unknown | Body::UntilClose => Step::Incomplete,
        }
    }

    fn wait_for_head(&self) -> Step {
        if self.head.len() > MAX_HEAD { Step::Wrong(Mismatch::NotHttp) } else { Step::Incomplete }
    }
}

/// Parses a response. Returns its body and the length of its head, once the head is complete.
fn parse(bytes: &[u8], wanted: Option<u32>) -> Result<Option<(Body, usize)>, Mismatch> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Mismatch::NotHttp),
    };
    let status = response.code.ok_or(Mismatch::NotHttp)?;
    let right = wanted.map_or((200..400).contains(&status), |wanted| wanted == u32::from(status));
    if !right {
        return Err(Mismatch::Status(status));
    }
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length = header("content-length").and_then(|value| value.trim().parse().ok());
    let body = match (status, header("transfer-encoding"), length) {
        (204 | 304, ..) => Body::Remaining(0),
        (_, None, Some(length)) => Body::Remaining(length),
        _ => Body::UntilClose,
    };
    Ok(Some((body, head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the step after each piece, and after the close that follows them.
    fn steps(expect: &Expect, pieces: &[&[u8]]) -> Vec<Step> {
        let mut reply = Reply::default();
        let mut steps: Vec<Step> =
            pieces.iter().map(|piece| reply.on_bytes(expect, piece)).collect();
        steps.push(reply.on_close(expect));
        steps
    }

    #[test]
    fn any_reply_needs_one_byte_and_ends_with_the_close() {
        let any = Expect::Beginning(String::new());
        assert_eq!(steps(&any, &[]), [Step::ClosedEarly]);
        assert_eq!(
            steps(&any, &[b"x", b"y"]),
            [Step::Incomplete, Step::Incomplete, Step::Complete]
        );
    }

    #[test]
    fn expected_beginning_is_compared_across_pieces() {
        let expect = Expect::Beginning("abc".to_owned());
        let wrong = Step::Wrong(Mismatch::Beginning);
        assert_eq!(steps(&expect, &[b"abcd"]), [Step::Incomplete, Step::Complete]);
        assert_eq!(steps(&expect, &[b"a", b"bc", b"z"])[3], Step::Complete);
        assert_eq!(steps(&expect, &[b"a", b"x"])[..2], [Step::Incomplete, wrong]);
        assert_eq!(steps(&expect, &[b"ab"]), [Step::Incomplete, Step::ClosedEarly]);
    }

    #[test]
    fn reply_of_fixed_length_is_complete_with_its_last_byte() {
        let expect = Expect::Bytes(3);
        assert_eq!(steps(&expect, &[b"ab", b"c"])[..2], [Step::Incomplete, Step::CompleteAndClose]);
        assert_eq!(steps(&expect, &[b"abcd"])[0], Step::Wrong(Mismatch::TooLong(4)));
        assert_eq!(steps(&expect, &[b"ab"]), [Step::Incomplete, Step::ClosedEarly]);
    }

    #[test]
    fn response_ends_by_content_length_or_by_the_close() {
        let any = Expect::Http(None);
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(steps(&any, &[whole])[0], Step::Complete);
        for cut in 1..whole.len() {
            let pieces = steps(&any, &[&whole[..cut], &whole[cut..]]);
            assert_eq!(pieces, [Step::Incomplete, Step::Complete, Step::Complete], "{cut}");
            assert_eq!(steps(&any, &[&whole[..cut]])[1], Step::ClosedEarly, "{cut}");
        }
        let open = b"HTTP/1.0 302 Found\r\n\r\nok";
        assert_eq!(steps(&any, &[open]), [Step::Incomplete, Step::Complete]);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert_eq!(steps(&any, &[chunked]), [Step::Incomplete, Step::Complete]);
        assert_eq!(steps(&any, &[b"HTTP/1.1 204 No\r\n\r\n"])[0], Step::Complete);
    }

    #[test]
    fn wrong_response_is_rejected_with_its_difference() {
        let long = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok";
        for (status, bytes, wrong) in [
            (None, &b"HTTP/1.1 404 No\r\n\r\n"[..], Mismatch::Status(404)),
            (Some(404), b"HTTP/1.1 200 OK\r\n\r\n", Mismatch::Status(200)),
            (None, b"{\"tfo_mirror\"", Mismatch::NotHttp),
            (None, long, Mismatch::TooLong(long.len() as u64)),
        ] {
            assert_eq!(steps(&Expect::Http(status), &[bytes])[0], Step::Wrong(wrong));
        }
        let right = steps(&Expect::Http(Some(404)), &[b"HTTP/1.1 404 No\r\n\r\n"]);
        assert_eq!(right, [Step::Incomplete, Step::Complete]);
        let endless = [b'x'; 1024];
        let mut reply = Reply::default();
        reply.on_bytes(&Expect::Http(None), b"HTTP/1.1 200 OK\r\nX: ");
        let last = (0..32).map(|_| reply.on_bytes(&Expect::Http(None), &endless)).last();
        assert_eq!(last, Some(Step::Wrong(Mismatch::NotHttp)), "an endless head is rejected");
    }
}
