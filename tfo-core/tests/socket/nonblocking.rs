//! Calls for programs with an event loop: a connect that does not wait, and moving bytes from socket to socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use tfo_core::lab::isolated;
use tfo_core::socket::Attempt;
use tfo_core::socket::{Connector, FastOpenStream, Method, Pipe};

use crate::exchange::{by, syn};
use crate::support::{Net, SERVERS, on, until};

fn start(
    net: &Net,
    method: Method,
    server: std::net::SocketAddr,
    first: &'static [u8],
) -> FastOpenStream {
    net.client.run(move || by(method).connect_nonblocking(server, first)).expect("it is possible")
}

#[test]
fn nonblocking_connect_reports_bytes_in_the_syn() {
    isolated(|| {
        for method in [Method::SendTo, Method::Connect, Method::Auto] {
            let net = Net::new();
            for ip in SERVERS {
                let listener = net.listen(on(ip));
                let server = listener.local_addr();
                for expected in [Attempt::AfterHandshake, Attempt::InSyn(5)] {
                    let mut client = start(&net, method, server, b"first");
                    assert_eq!(client.attempt(), Some(expected), "{method:?} {ip}");
                    let mut accepted = listener.accept().expect("a connection waits");
                    if expected == Attempt::AfterHandshake {
                        until("writable", || client.write(b"first").is_ok());
                    }
                    let in_syn = expected == Attempt::InSyn(5);
                    assert_eq!(accepted.arrival.tcp.syn_data, in_syn, "{method:?} {ip}");
                    assert_eq!(
                        usize::from(syn(&accepted.arrival).payload_bytes),
                        5 * usize::from(in_syn)
                    );
                    let mut message = [0; 5];
                    accepted.stream.read_exact(&mut message).expect("it was sent");
                    assert_eq!(&message, b"first");
                    let waiting = client.read(&mut [0]).expect_err("nothing was answered");
                    assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock);
                }
            }
        }
    });
}

#[test]
fn failed_connect_shows_at_the_first_read() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            let server = listener.local_addr();
            net.fetch_cookie(&listener);
            drop(listener);
            for first in [&b""[..], b"a cookie"] {
                let mut client = start(&net, Method::Auto, server, first);
                let mut error = None;
                until("an answer", || {
                    error = client.read(&mut [0]).err().map(|e| e.kind());
                    error != Some(io::ErrorKind::WouldBlock)
                });
                assert_eq!(error, Some(io::ErrorKind::ConnectionRefused), "{ip} {first:?}");
            }
        }
    });
}

#[test]
fn pipe_moves_bytes_between_sockets_and_reports_the_end() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let regular = Connector::default().method(Method::Off);
        let (mut from, source) = net.exchange(&listener, &regular, b"");
        let (to, mut sink) = net.exchange(&listener, &regular, b"");
        source.stream.set_nonblocking(true).expect("it is a socket");
        to.set_nonblocking(true).expect("it is a socket");

        let mut pipe = Pipe::new().expect("there are descriptors");
        let nothing = pipe.fill(&source.stream, 100).expect_err("nothing was sent");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        from.write_all(b"straight through").expect("there is room");
        until("it came", || pipe.fill(&source.stream, 8).is_ok());
        assert_eq!((pipe.len(), pipe.is_empty()), (8, false), "no more than was asked for");
        assert_eq!(pipe.drain(&to).expect("there is room"), 8);
        assert_eq!(pipe.fill(&source.stream, 100).expect("the rest is there"), 8);
        assert_eq!(pipe.drain(&to).expect("there is room"), 8);
        assert!(pipe.is_empty());
        let mut message = [0; 16];
        sink.stream.read_exact(&mut message).expect("it was sent");
        assert_eq!(&message, b"straight through");

        from.shutdown(Shutdown::Write).expect("it is connected");
        let mut end = None;
        until("the end", || {
            end = pipe.fill(&source.stream, 100).ok();
            end.is_some()
        });
        assert_eq!(end, Some(0));
    });
}
