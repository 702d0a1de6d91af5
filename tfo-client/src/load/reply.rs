//! Whether a reply is complete, and right, as its bytes come. Keeps none of them.

use std::fmt;

use super::settings::Expect;

/// The longest head of a response that is read.
const MAX_HEAD: usize = 16 * 1024;
/// The most headers.
const MAX_HEADERS: usize = 64;

/// How far one reply has come.
#[derive(Debug, Default)]
pub(super) struct Reply {
    received: u64,
    /// The beginning of a response whose head came in pieces.
    head: Vec<u8>,
    body: Body,
}

/// What is still to come of a response.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Its head.
    #[default]
    Unknown,
    /// That many bytes.
    Left(u64),
    /// All until the server's close.
    UntilClose,
}

/// What bytes, or the server's close, did to a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    More,
    /// It is complete, and right; the server closes now.
    Complete,
    /// It is complete, and right; this end is to close.
    CompleteHere,
    Wrong(Wrong),
    /// The server closed too early.
    ClosedEarly,
}

/// What is wrong with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Beginning,
    TooLong(u64),
    NotHttp,
    Status(u16),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("it does not begin as --expect says"),
            Self::TooLong(bytes) => write!(f, "{bytes} bytes came, more than expected"),
            Self::NotHttp => f.write_str("it is no HTTP/1 response"),
            Self::Status(status) => write!(f, "its HTTP status is {status}"),
        }
    }
}

impl Reply {
    /// These bytes came.
    pub(super) fn bytes(&mut self, expect: &Expect, bytes: &[u8]) -> Step {
        let before = self.received;
        self.received += bytes.len() as u64;
        match expect {
            Expect::Nothing => Step::More,
            Expect::Beginning(text) => {
                // What is left of it after what came before.
                let skip = usize::try_from(before).unwrap_or(usize::MAX);
                let rest = text.as_bytes().get(skip..).unwrap_or_default();
                let len = rest.len().min(bytes.len());
                if rest[..len] == bytes[..len] { Step::More } else { Step::Wrong(Wrong::Beginning) }
            }
            Expect::Bytes(count) if self.received < *count => Step::More,
            Expect::Bytes(count) if self.received == *count => Step::CompleteHere,
            Expect::Bytes(_) => Step::Wrong(Wrong::TooLong(self.received)),
            Expect::Http(status) => self.http(*status, bytes),
        }
    }

    /// The server has closed.
    pub(super) fn closed(&self, expect: &Expect) -> Step {
        let complete = match expect {
            Expect::Nothing => true,
            Expect::Beginning(text) => self.received >= (text.len() as u64).max(1),
            Expect::Bytes(count) => self.received == *count,
            Expect::Http(_) => matches!(self.body, Body::UntilClose | Body::Left(0)),
        };
        if complete { Step::Complete } else { Step::ClosedEarly }
    }

    fn http(&mut self, status: Option<u32>, bytes: &[u8]) -> Step {
        let body = match self.body {
            Body::UntilClose => return Step::More,
            Body::Left(_) => bytes.len(),
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
            Body::Left(left) => match left.checked_sub(body as u64) {
                Some(0) => {
                    self.body = Body::Left(0);
                    Step::Complete
                }
                Some(left) => {
                    self.body = Body::Left(left);
                    Step::More
                }
                None => Step::Wrong(Wrong::TooLong(self.received)),
            },
            Body::Unknown | Body::UntilClose => Step::More,
        }
    }

    fn wait_for_head(&self) -> Step {
        if self.head.len() > MAX_HEAD { Step::Wrong(Wrong::NotHttp) } else { Step::More }
    }
}

/// The body's length and the head's, once the head is complete.
fn parse(bytes: &[u8], wanted: Option<u32>) -> Result<Option<(Body, usize)>, Wrong> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Wrong::NotHttp),
    };
    let status = response.code.ok_or(Wrong::NotHttp)?;
    let right = wanted.map_or((200..400).contains(&status), |wanted| wanted == u32::from(status));
    if !right {
        return Err(Wrong::Status(status));
    }
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length = header("content-length").and_then(|value| value.trim().parse().ok());
    let body = match (status, header("transfer-encoding"), length) {
        (204 | 304, ..) => Body::Left(0),
        (_, None, Some(length)) => Body::Left(length),
        _ => Body::UntilClose,
    };
    Ok(Some((body, head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the pieces did, and what the close does behind them.
    fn steps(expect: &Expect, pieces: &[&[u8]]) -> Vec<Step> {
        let mut reply = Reply::default();
        let mut steps: Vec<Step> = pieces.iter().map(|piece| reply.bytes(expect, piece)).collect();
        steps.push(reply.closed(expect));
        steps
    }

    #[test]
    fn any_reply_is_at_least_one_byte_until_the_close() {
        let any = Expect::Beginning(String::new());
        assert_eq!(steps(&any, &[]), [Step::ClosedEarly]);
        assert_eq!(steps(&any, &[b"x", b"y"]), [Step::More, Step::More, Step::Complete]);
    }

    #[test]
    fn a_beginning_is_held_against_all_pieces() {
        let expect = Expect::Beginning("abc".to_owned());
        let wrong = Step::Wrong(Wrong::Beginning);
        assert_eq!(steps(&expect, &[b"abcd"]), [Step::More, Step::Complete]);
        assert_eq!(steps(&expect, &[b"a", b"bc", b"z"])[3], Step::Complete);
        assert_eq!(steps(&expect, &[b"a", b"x"])[..2], [Step::More, wrong]);
        assert_eq!(steps(&expect, &[b"ab"]), [Step::More, Step::ClosedEarly]);
    }

    #[test]
    fn a_number_of_bytes_ends_with_the_last_one() {
        let expect = Expect::Bytes(3);
        assert_eq!(steps(&expect, &[b"ab", b"c"])[..2], [Step::More, Step::CompleteHere]);
        assert_eq!(steps(&expect, &[b"abcd"])[0], Step::Wrong(Wrong::TooLong(4)));
        assert_eq!(steps(&expect, &[b"ab"]), [Step::More, Step::ClosedEarly]);
    }

    #[test]
    fn a_response_ends_by_its_length_or_by_the_close() {
        let any = Expect::Http(None);
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(steps(&any, &[whole])[0], Step::Complete);
        for cut in 1..whole.len() {
            let pieces = steps(&any, &[&whole[..cut], &whole[cut..]]);
            assert_eq!(pieces, [Step::More, Step::Complete, Step::Complete], "{cut}");
            assert_eq!(steps(&any, &[&whole[..cut]])[1], Step::ClosedEarly, "{cut}");
        }
        let open = b"HTTP/1.0 302 Found\r\n\r\nok";
        assert_eq!(steps(&any, &[open]), [Step::More, Step::Complete]);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert_eq!(steps(&any, &[chunked]), [Step::More, Step::Complete]);
        assert_eq!(steps(&any, &[b"HTTP/1.1 204 No\r\n\r\n"])[0], Step::Complete);
    }

    #[test]
    fn a_wrong_response_is_told() {
        let long = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok";
        for (status, bytes, wrong) in [
            (None, &b"HTTP/1.1 404 No\r\n\r\n"[..], Wrong::Status(404)),
            (Some(404), b"HTTP/1.1 200 OK\r\n\r\n", Wrong::Status(200)),
            (None, b"{\"tfo_mirror\"", Wrong::NotHttp),
            (None, long, Wrong::TooLong(long.len() as u64)),
        ] {
            assert_eq!(steps(&Expect::Http(status), &[bytes])[0], Step::Wrong(wrong));
        }
        let right = steps(&Expect::Http(Some(404)), &[b"HTTP/1.1 404 No\r\n\r\n"]);
        assert_eq!(right, [Step::More, Step::Complete]);
        let endless = [b'x'; 1024];
        let mut reply = Reply::default();
        reply.bytes(&Expect::Http(None), b"HTTP/1.1 200 OK\r\nX: ");
        let last = (0..32).map(|_| reply.bytes(&Expect::Http(None), &endless)).last();
        assert_eq!(last, Some(Step::Wrong(Wrong::NotHttp)), "a head without an end is not kept");
    }
}
