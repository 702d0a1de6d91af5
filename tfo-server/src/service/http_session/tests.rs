use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::service::http::content::*;
use crate::service::http::head::*;

/// Answers `/` with a small body and `/big` with a shared one.
#[derive(Debug)]
struct Site {
    small: Content,
    big: Content,
    missing: Content,
    other_method: Content,
}

impl Handler for Site {
    fn answer(&self, request: &Request<'_>) -> Cow<'_, Content> {
        Cow::Borrowed(match request.path {
            _ if request.other_method => &self.other_method,
            "/" => &self.small,
            "/big" => &self.big,
            _ => &self.missing,
        })
    }
}

const BIG: usize = 100_000;
const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn site() -> Site {
    Site {
        small: Content::new(Status::Ok, "text/plain", b"hello\n".to_vec()),
        big: Content::new(Status::Ok, "application/octet-stream", vec![b'x'; BIG]),
        missing: Content::line(Status::NotFound, "nothing is here"),
        other_method: Content::line(Status::MethodNotAllowed, "GET and HEAD"),
    }
}

fn date() -> Date {
    Date::new(UNIX_EPOCH + Duration::from_secs(784_111_777))
}

fn terms(date: &Date) -> AnswerTerms<'_> {
    AnswerTerms { date, ending: false, buffer: 64 * 1024 }
}

/// Returns the answer to bytes that arrive in these pieces, and the last action. Stops when the session ends.
fn talk<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, SessionAction) {
    let (site, date, mut http) = (site(), date(), Http::new());
    let (mut all, mut next) = (Vec::new(), SessionAction::Read);
    for piece in pieces {
        let mut piece = piece;
        loop {
            let mut out = SessionOutput::default();
            next = http.answer(piece, &mut out, &site, terms(&date));
            assert!(out.bytes.len() < MAX_OUT + 32 * 1024, "{}", out.bytes.len());
            all.extend_from_slice(&out.bytes);
            all.extend_from_slice(&out.shared.unwrap_or_default());
            match next {
                SessionAction::Again => piece = b"",
                SessionAction::Close | SessionAction::Linger => {
                    return (String::from_utf8(all).unwrap(), next);
                }
                SessionAction::Read | SessionAction::More | SessionAction::Begun => break,
            }
        }
    }
    (String::from_utf8(all).unwrap(), next)
}

fn ask(bytes: &[u8]) -> (String, SessionAction) {
    talk([bytes])
}

/// Returns the status of the first answer, and the last action.
fn status(bytes: &[u8]) -> (String, SessionAction) {
    let (answer, next) = ask(bytes);
    (answer.get(9..12).unwrap_or_default().to_owned(), next)
}

fn hello(connection: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n{DATE}{connection}\r\nhello\n"
    )
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn request_is_answered_and_the_connection_persists() {
    assert_eq!(ask(GET), (hello(""), SessionAction::Read));
    assert_eq!(ask(b""), (String::new(), SessionAction::Read));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let requests = [GET, b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n", GET].concat();
    let (answer, next) = ask(&requests);
    let statuses: Vec<_> =
        answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(
        (statuses.as_slice(), next),
        (["200", "404", "200"].as_slice(), SessionAction::Read)
    );
    let (answer, next) = ask(&[GET, &GET[..9]].concat());
    assert_eq!(
        (answer, next),
        (hello(""), SessionAction::Begun),
        "the second request is incomplete"
    );
}

#[test]
fn flood_of_pipelined_requests_is_answered_in_portions() {
    let (site, date, mut http) = (site(), date(), Http::new());
    let (mut out, mut answers, mut calls) = (SessionOutput::default(), 0, 1);
    let mut next = http.answer(&GET.repeat(2000), &mut out, &site, terms(&date));
    loop {
        assert!(out.bytes.len() < MAX_OUT + 1024, "{}", out.bytes.len());
        answers += out.bytes.windows(6).filter(|bytes| bytes == b"hello\n").count();
        if next != SessionAction::Again {
            break;
        }
        out = SessionOutput::default();
        next = http.answer(b"", &mut out, &site, terms(&date));
        calls += 1;
    }
    assert_eq!((answers, next), (2000, SessionAction::Read));
    assert!(calls > 3, "{calls}");
    assert!(http.held() == 0);
}

#[test]
fn large_body_is_shared_and_delays_the_next_request() {
    let request = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
    let (site, date, mut http) = (site(), date(), Http::new());
    let mut out = SessionOutput::default();
    assert_eq!(
        http.answer(&request.repeat(2), &mut out, &site, terms(&date)),
        SessionAction::Again
    );
    assert!(out.bytes.ends_with(b"\r\n\r\n"), "only the head is copied");
    assert_eq!(out.shared.map(|body| body.len()), Some(BIG));
    let mut out = SessionOutput::default();
    assert_eq!(http.answer(b"", &mut out, &site, terms(&date)), SessionAction::Read);
    assert_eq!(out.shared.map(|body| body.len()), Some(BIG));
}

#[test]
fn answer_to_head_has_the_length_and_no_body() {
    for path in ["/", "/big"] {
        let (answer, next) = ask(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let length = if path == "/" { 6 } else { BIG };
        assert!(answer.contains(&format!("Content-Length: {length}\r\n")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(next, SessionAction::Read);
    }
}

#[test]
fn connection_persists_if_the_client_wants() {
    let closed = (hello("Connection: close\r\n"), SessionAction::Close);
    let kept = (hello("Connection: keep-alive\r\n"), SessionAction::Read);
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &closed),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", &closed),
        ("GET / HTTP/1.0\r\n\r\n", &closed),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", &closed),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &kept),
    ] {
        assert_eq!(&ask(request.as_bytes()), expected, "{request:?}");
    }
    let more = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /";
    assert_eq!(
        ask(more),
        (closed.0, SessionAction::Linger),
        "the peer is still sending: a FIN, not a reset"
    );
}

#[test]
fn malformed_request_gets_its_status_and_closes() {
    let long = |len: usize| "x".repeat(len);
    let host = "Host: a\r\n";
    for (expected, request) in [
        ("400", "\x16\x03\x01\x02".to_owned()),
        ("400", "GET /\r\n\r\n".to_owned()),
        ("400", "GET / HTTPS/1.1\r\n\r\n".to_owned()),
        ("400", format!("GET /a b HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/1.1 \r\n{host}\r\n")),
        ("400", format!("GET /  HTTP/1.1\r\n{host}\r\n")),
        ("400", format!(" GET / HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET\t/ HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET / http/1.1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/1.10\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/11.1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/1,1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/2.0x\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/2\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/\r\n{host}\r\n")),
        ("400", format!("GET HTTP/1.1\r\n{host}\r\n")),
        ("400", "GET\r\n\r\n".to_owned()),
        ("400", format!("G(T / HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET /\u{e4} HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET /<a> HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET /a\\b HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET /\x7f HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET /\0 HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("\rGET / HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("\nGET / HTTP/1.1\r\n{host}\r\n")),
        ("400", "GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\n\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n".to_owned()),
        ("400", format!("GET  / HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}no colon\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Space : 1\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Folded: 1\r\n 2\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Nul: \0\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Return: a\rb\r\n\r\n")),
        ("400", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("400", format!("GET / HTTP/1.1\r\n{host}{host}\r\n")),
        ("400", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n".to_owned()),
        ("400", format!("GET x?y=://z/metrics HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET http:///metrics HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET a:443 HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("CONNECT / HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("POST * HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET /%zz HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET a HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET * HTTP/1.1\r\n{host}\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length:\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length: 1, 1\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length: 99999999999999999999\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\n")),
        (
            "400",
            format!(
                "GET / HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
        ),
        ("400", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        ("413", format!("GET / HTTP/1.1\r\n{host}Content-Length: 1048577\r\n\r\n")),
        ("414", format!("GET /{}", long(9000))),
        ("417", format!("GET / HTTP/1.1\r\n{host}Expect: wonders\r\n\r\n")),
        ("431", format!("GET / HTTP/1.1\r\n{host}A: {}", long(9000))),
        ("431", format!("GET / HTTP/1.1\r\n{host}A: {}\r\n\r\n", long(8200))),
        ("431", format!("GET / HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(65))),
        ("501", format!("BREW / HTTP/1.1\r\n{host}\r\n")),
        ("501", format!("get / HTTP/1.1\r\n{host}\r\n")),
        ("501", format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: \x0bchunked\r\n\r\n")),
        ("505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("505", format!("GET / HTTP/3.0\r\n{host}\r\n")),
        ("505", format!("GET / HTTP/0.9\r\n{host}\r\n")),
        ("505", format!("GET / HTTP/9.1\r\n{host}\r\n")),
    ] {
        let whole = ask(request.as_bytes());
        assert_eq!(whole.0.get(9..12), Some(expected), "{request:?}: {}", whole.0);
        assert_eq!(whole.1, SessionAction::Linger, "{request:?}");
        assert!(whole.0.contains("Connection: close\r\n"), "{}", whole.0);
        let bytes = request.as_bytes().chunks(1);
        assert_eq!(talk(bytes), whole, "{request:?}, byte by byte");
    }
}

#[test]
fn unsupported_method_gets_405_with_the_allowed_ones() {
    let (answer, next) = ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
    assert_eq!(next, SessionAction::Read, "its body was read: the connection may persist");
    assert_eq!(
        status(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("405".to_owned(), SessionAction::Read)
    );
    assert_eq!(
        status(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("405".to_owned(), SessionAction::Read)
    );
}

#[test]
fn target_may_be_a_path_or_uri_and_its_query_is_ignored() {
    for target in ["/", "/?a=b", "http://a", "http://a/", "http://a:80?x", "HTTP://a/?y#z"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(ask(request.as_bytes()), (hello(""), SessionAction::Read), "{target}");
    }
}

#[test]
fn later_minor_versions_are_served_as_http_1_1() {
    for minor in 1..=9 {
        let request = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n\r\n");
        assert_eq!(ask(request.as_bytes()), (hello(""), SessionAction::Read), "HTTP/1.{minor}");
    }
}

#[test]
fn empty_lines_are_skipped_and_begin_a_request() {
    let lines = b"\r\n\r\n";
    assert_eq!(ask(&[lines, GET].concat()), (hello(""), SessionAction::Read));
    assert_eq!(talk([lines.as_slice(), GET]), (hello(""), SessionAction::Read));
    assert_eq!(ask(&[GET, lines].concat()), (hello(""), SessionAction::Begun));
    let (site, date, mut http) = (site(), date(), Http::new());
    for (sent, expected) in [
        (b"\r".as_slice(), SessionAction::Begun),
        (b"\n", SessionAction::More),
        (b"\r\n", SessionAction::More),
        (&b"\r\n".repeat(50_000), SessionAction::More),
    ] {
        let mut out = SessionOutput::default();
        assert_eq!(http.answer(sent, &mut out, &site, terms(&date)), expected);
        assert!(out.bytes.is_empty() && !http.is_idle() && http.held() < 3);
    }
    let mut out = SessionOutput::default();
    assert_eq!(http.answer(GET, &mut out, &site, terms(&date)), SessionAction::Read);
    assert_eq!(out.bytes, hello("").as_bytes());
}

#[test]
fn pipelined_request_begins_with_its_first_byte() {
    let (site, date, mut http) = (site(), date(), Http::new());
    let body = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".as_slice();
    let (begin, rest) = GET.split_at(5);
    for (sent, expected) in [
        (begin.to_vec(), SessionAction::Begun),
        (rest[..3].to_vec(), SessionAction::More),
        ([&rest[3..], begin].concat(), SessionAction::Begun),
        (rest[..3].to_vec(), SessionAction::More),
        ([&rest[3..], GET, begin].concat(), SessionAction::Begun),
        ([rest, body].concat(), SessionAction::Begun),
        (b"a".to_vec(), SessionAction::More),
        (b"bcG".to_vec(), SessionAction::Begun),
        (GET[1..].to_vec(), SessionAction::Read),
        (body.to_vec(), SessionAction::Begun),
        (b"abc".to_vec(), SessionAction::Read),
        (GET.to_vec(), SessionAction::Read),
    ] {
        let mut out = SessionOutput::default();
        let next = http.answer(&sent, &mut out, &site, terms(&date));
        assert_eq!(next, expected, "{}", sent.escape_ascii());
    }
}

/// Valid bodies. None of their bytes may be taken for a request.
const BODIES: &[&str] = &[
    "Content-Length: 27\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n\r\nGET /",
    "Content-Length: 0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: Chunked\r\n\r\n1b\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3;a=\"b\" \r\nGET\r\n0A \r\n0123456789\r\n000\r\nT: 1\r\n\r\n",
];

#[test]
fn body_is_discarded_and_the_next_request_answered() {
    for body in BODIES {
        let request = format!("GET /no HTTP/1.1\r\nHost: a\r\n{body}");
        let both = [request.as_bytes(), GET].concat();
        let whole = ask(&both);
        assert!(whole.0.starts_with("HTTP/1.1 404 "), "{body:?}: {}", whole.0);
        assert!(whole.0.ends_with(&hello("")), "{body:?}: {}", whole.0);
        assert_eq!(whole.0.matches("HTTP/1.1 ").count(), 2, "{body:?}: {}", whole.0);
        for at in 0..both.len() {
            let (a, b) = both.split_at(at);
            assert_eq!(talk([a, b]), whole, "{body:?}, cut at {at}");
        }
        assert_eq!(talk(both.chunks(1)), whole, "{body:?}, byte by byte");
    }
}

#[test]
fn malformed_body_closes_the_connection() {
    let fields = "A: b\r\n".repeat(65);
    for (expected, body) in [
        ("400", "\r\n"),
        ("400", "x\r\n"),
        ("400", "-1\r\n"),
        ("400", "0x3\r\nabc\r\n"),
        ("400", "3\nabc\n0\n\n"),
        ("400", "3;a\nb\r\nabc\r\n"),
        ("400", "3\r\nabcd\r\n"),
        ("400", "3\r\nabc0\r\n\r\n"),
        ("400", "11111111111111111\r\n"),
        ("400", "0\r\nno field\r\n\r\n"),
        ("400", "3;a\0b\r\nabc\r\n"),
        ("400", "3;a=\"\x01\"\r\nabc\r\n"),
        ("400", "3;a\x7f\r\nabc\r\n"),
        ("400", "3;a\rb\r\nabc\r\n"),
        ("400", "3;a\r\n b\r\nabc\r\n"),
        ("400", "3 4\r\nabc\r\n"),
        ("400", "3\x0b\r\nabc\r\n"),
        ("400", ";a\r\nabc\r\n"),
        ("400", "0\n\r\n"),
        ("400", "0\r\n\n"),
        ("400", "0\r\nA: b\n\r\n"),
        ("400", "0\r\nA: b\r\n\n"),
        ("400", "0\r\nA: b\nC: d\r\n\r\n"),
        ("400", "0\r\nA: b\r\n c\r\n\r\n"),
        ("400", "0\r\nA: b\r\n\tc\r\n\r\n"),
        ("400", "0\r\nA: \0\r\n\r\n"),
        ("400", "0\r\nA: \x1f\r\n\r\n"),
        ("400", "0\r\nA: \x7f\r\n\r\n"),
        ("400", "0\r\nA: b\rc\r\n\r\n"),
        ("400", "0\r\nA : b\r\n\r\n"),
        ("400", &format!("1;{}", "x".repeat(300))),
        ("400", &format!("1;{}\r\n", "x".repeat(300))),
        ("413", "ffffffffffffffff\r\n"),
        ("413", "100000\r\n"),
        ("431", &format!("0\r\n{fields}\r\n")),
        ("431", &format!("0\r\nA: {}", "x".repeat(9000))),
    ] {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let request = format!("{head}{body}");
        let whole = ask(request.as_bytes());
        assert_eq!(whole.0.get(9..12), Some(expected), "{body:?}: {}", whole.0);
        assert_eq!(whole.1, SessionAction::Linger, "{body:?}");
        assert_eq!(talk(request.as_bytes().chunks(1)), whole, "{body:?}, byte by byte");
    }
}

#[test]
fn total_size_of_small_chunks_is_limited() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    let chunks = b"1\r\nx\r\n".repeat(200_000);
    let (answer, next) = talk([head, &chunks]);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(next, SessionAction::Linger);
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn accepted_body_gets_100_continue() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(ask(head), (CONTINUE.to_owned(), SessionAction::Begun));
    let expected = (CONTINUE.to_owned() + &hello(""), SessionAction::Read);
    assert_eq!(talk([head.as_slice(), b"abc"]), expected);
    assert_eq!(
        ask(&[head.as_slice(), b"abc"].concat()),
        expected,
        "independent of how the bytes arrive"
    );
    let chunked = "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(ask(chunked.as_bytes()), expected);
    let empty = b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(ask(empty), (hello(""), SessionAction::Read), "there is no body");
    let old = b"GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(ask(old), (String::new(), SessionAction::Begun), "HTTP/1.0 has no 100 Continue");
}

#[test]
fn refused_request_gets_no_100_continue() {
    for (expected, method, path, length) in [
        ("405", "PUT", "/", "Content-Length: 3"),
        ("405", "PUT", "/", "Transfer-Encoding: chunked"),
        ("404", "GET", "/no", "Content-Length: 3"),
        ("413", "GET", "/", "Content-Length: 1048577"),
        ("413", "PUT", "/", "Content-Length: 1048577"),
        ("400", "GET", "*", "Content-Length: 3"),
        ("501", "BREW", "/", "Content-Length: 3"),
    ] {
        let fields = format!("Host: a\r\nExpect: 100-continue\r\n{length}\r\n");
        let head = format!("{method} {path} HTTP/1.1\r\n{fields}\r\n");
        let (answer, next) = ask(head.as_bytes());
        assert_eq!(answer.get(9..12), Some(expected), "{head:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(next, SessionAction::Linger, "the client may send the body: {head:?}");
        let both = head + "abc";
        assert_eq!(ask(both.as_bytes()), (answer.clone(), next));
        assert_eq!(talk(both.as_bytes().chunks(1)), (answer, next));
    }
}

#[test]
fn refusal_of_a_head_request_has_no_body() {
    let field = "A: b\r\n";
    let (many, long) = (field.repeat(65), "x".repeat(9000));
    for (expected, rest) in [
        ("400", "x"),
        ("400", "/a b HTTP/1.1\r\n"),
        ("400", "/ HTTP/1.1\r\n\r\n"),
        ("400", "/ HTTP/1.1\r\nHost: a\r\nA: \0"),
        ("400", "/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx"),
        ("404", "/no HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("404", "/no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
        ("413", "/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"),
        ("413", "/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n"),
        ("414", &format!("/{long}")),
        ("417", "/ HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n"),
        ("431", &format!("/ HTTP/1.1\r\n{many}")),
        ("431", &format!("/ HTTP/1.1\r\nA: {long}")),
        ("505", "/ HTTP/2.0\r\n"),
    ] {
        for before in ["", "\r\n"] {
            let path = if rest == "x" { "x\r" } else { rest };
            let request = format!("{before}HEAD {path}");
            let (answer, next) = ask(request.as_bytes());
            assert_eq!(answer.get(9..12), Some(expected), "{request:?}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{request:?}: {answer}");
            assert_eq!(answer.matches("\r\n\r\n").count(), 1, "{request:?}: {answer}");
            assert!(!answer.contains("Content-Length: 0"), "{answer}");
            assert_eq!(talk(request.as_bytes().chunks(1)), (answer, next), "{request:?}");
        }
    }
}

#[test]
fn overdue_request_gets_408() {
    let body = "Host: a\r\nContent-Length: 3\r\n\r\na";
    for (begun, has_body) in [
        ("G", true),
        ("\r\n", true),
        ("GET / HTTP/1.1\r\nHost:", true),
        (&format!("GET / HTTP/1.1\r\n{body}"), true),
        ("HEAD", true),
        ("HEAD ", false),
        ("\r\nHEAD / HTTP/1.1\r\n", false),
        (&format!("HEAD / HTTP/1.1\r\n{body}"), false),
    ] {
        let (site, date, mut http) = (site(), date(), Http::new());
        let mut out = SessionOutput::default();
        let next = http.answer(begun.as_bytes(), &mut out, &site, terms(&date));
        assert_eq!((next, out.bytes.len()), (SessionAction::Begun, 0), "{begun:?}");
        assert!(http.timed_out(&mut out, &date));
        let answer = String::from_utf8(out.bytes).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{begun:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{begun:?}: {answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), !has_body, "{begun:?}: {answer}");
    }
}

#[test]
fn incomplete_request_holds_little_more_than_its_bytes() {
    let (site, date, mut http) = (site(), date(), Http::new());
    for (at, byte) in GET.iter().take(20).enumerate() {
        let mut out = SessionOutput::default();
        let next = if at == 0 { SessionAction::Begun } else { SessionAction::More };
        assert_eq!(http.answer(&[*byte], &mut out, &site, terms(&date)), next);
    }
    assert_eq!(http.held(), 20);
    assert!(size_of::<Http>() <= 24, "{}", size_of::<Http>());
    let mut out = SessionOutput::default();
    assert_eq!(http.answer(&GET[20..], &mut out, &site, terms(&date)), SessionAction::Read);
    assert!(http.held() == 0, "an idle connection holds nothing");
}

#[test]
fn date_follows_the_clock_and_tolerates_a_wrong_clock() {
    let mut date = date();
    assert_eq!(date.line(), DATE.as_bytes());
    date.refresh(UNIX_EPOCH + Duration::from_millis(784_111_778_999));
    assert_eq!(date.line(), b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
    date.refresh(UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(date.line(), b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
    if let Some(far) = UNIX_EPOCH.checked_add(Duration::from_secs(1 << 40)) {
        date.refresh(far);
        assert_eq!(date.line(), b"Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    }
}

/// Valid and invalid pieces of requests, and sizes around the limits.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let long = (8100_usize..8300).prop_map(|len| vec![b'x'; len]);
    let lines = prop_oneof![
        Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        Just(b"HEAD /no HTTP/1.7\r\nHost: a\r\n".to_vec()),
        Just(b"GET /big HTTP/1.0\r\nConnection: keep-alive\r\n".to_vec()),
        Just(b"POST http://a/ HTTP/1.1\r\nHost: a\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Content-Length: 12\r\n".to_vec()),
        Just(b"Content-Length: 1048577\r\n".to_vec()),
        Just(b"Expect: 100-continue\r\n".to_vec()),
        Just(b"Connection: close\r\n".to_vec()),
        (1_usize..70).prop_map(|count| b"A: b\r\n".repeat(count)),
    ];
    let parts = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"a\r\n0123456789\r\n0\r\n\r\n".to_vec()),
        Just(b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n".to_vec()),
        Just(b"0;a\0\r\nA: b\n\r\n".to_vec()),
        Just(b"ffff\r\n".to_vec()),
        Just(b"GET ".to_vec()),
        Just(b"HEAD ".to_vec()),
        Just(b" HTTP/1.1\r\n".to_vec()),
        Just(b" HTTP/2.0\r\n".to_vec()),
        Just(b"A: ".to_vec()),
        Just(b";".to_vec()),
        long,
        "[ -~]{0,20}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let piece = prop_oneof![2 => Just(GET.to_vec()), 4 => lines, 4 => parts];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

#[test]
fn stopping_server_answers_all_and_closes_with_the_last() {
    let (site, date, mut http) = (site(), date(), Http::new());
    let ending = AnswerTerms { date: &date, ending: true, buffer: 64 * 1024 };
    let mut out = SessionOutput::default();
    assert!(http.is_idle());
    let (whole, half) = ([GET, GET].concat(), &GET[..20]);
    assert_eq!(
        http.answer(&[&whole, half].concat(), &mut out, &site, ending),
        SessionAction::Begun
    );
    assert!(!http.is_idle(), "a request has begun");
    let text = String::from_utf8(out.bytes.split_off(0)).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2);
    assert!(!text.contains("Connection: close"), "another request is incomplete: {text}");
    assert_eq!(http.answer(&GET[20..], &mut out, &site, ending), SessionAction::Linger);
    let text = String::from_utf8(out.bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("Connection: close"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn answer_is_independent_of_how_bytes_are_divided(
        bytes in requests(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        size in 1..9000_usize,
    ) {
        let whole = ask(&bytes);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(outcome(talk(pieces)), outcome(whole.clone()));
        prop_assert_eq!(outcome(talk(bytes.chunks(size))), outcome(whole));
    }

    #[test]
    fn answer_is_the_same_byte_by_byte(bytes in requests()) {
        // Quadratic: each byte of an incomplete head is parsed again with each following byte.
        let bytes = bytes.get(..2000).unwrap_or(&bytes);
        prop_assert_eq!(outcome(talk(bytes.chunks(1))), outcome(ask(bytes)));
    }
}

/// Returns the answer and the action, except for what depends on how the bytes are divided: whether bytes followed the
/// end, and whether the first byte of the last request was in the last piece.
fn outcome((answer, next): (String, SessionAction)) -> (String, SessionAction) {
    let next = match next {
        SessionAction::Close => SessionAction::Linger,
        SessionAction::Begun => SessionAction::More,
        next => next,
    };
    (answer, next)
}
