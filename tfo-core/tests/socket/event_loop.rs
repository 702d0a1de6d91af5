//! Connections in an event loop (mio): which events are reported when.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tfo_core::lab::isolated;
use tfo_core::socket::{
    Attempt, ClientFail, Connector, FastOpenListener, FastOpenStream, Method, TcpBits, option,
};

use crate::exchange::{METHODS, by};
use crate::support::{Net, SERVERS, on};

const TOKEN: Token = Token(7);

/// One watched connection.
struct Watched {
    stream: FastOpenStream,
    poll: Poll,
}

impl Watched {
    fn start(net: &Net, server: SocketAddr, connector: &Connector, message: &'static [u8]) -> Self {
        let connector = connector.clone();
        let stream = net
            .client
            .run(move || connector.connect_nonblocking(server, message))
            .expect("it starts");
        let poll = Poll::new().expect("few files are open");
        let fd = stream.as_fd().as_raw_fd();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&fd), TOKEN, both).expect("it is not watched yet");
        Self { stream, poll }
    }

    /// Waits for an event for which `so` returns true.
    fn until(&mut self, so: impl Fn(&Event) -> bool) -> Event {
        let mut events = Events::with_capacity(4);
        loop {
            self.poll.poll(&mut events, Some(Duration::from_secs(30))).expect("it waits");
            let event = events.iter().next().expect("something happens in time");
            assert_eq!(event.token(), TOKEN);
            if so(event) {
                return event.clone();
            }
        }
    }

    fn status(&self) -> TcpBits {
        option::tcp_bits(&self.stream).expect("it is a TCP socket")
    }
}

/// Reads the whole message, and answers.
fn serve(listener: &FastOpenListener, len: usize) -> FastOpenStream {
    let mut stream = listener.accept().expect("it came").stream;
    stream.read_exact(&mut vec![0; len]).expect("all of it comes");
    stream.write_all(b"answer").expect("the client is there");
    stream
}

#[test]
fn bytes_beyond_the_syn_are_sent_when_writable() {
    isolated(|| {
        for method in METHODS {
            let net = Net::new();
            for ip in SERVERS {
                let listener = net.listen(on(ip));
                let server = listener.local_addr();
                let before = net.counters();

                let mut first = Watched::start(&net, server, &by(method), b"message");
                assert_eq!(
                    first.stream.attempt(),
                    Some(Attempt::AfterHandshake),
                    "{method:?} {ip}"
                );
                first.until(Event::is_writable);
                assert_eq!((&first.stream).write(b"message").expect("there is room"), 7);
                drop(serve(&listener, 7));
                first.until(Event::is_read_closed);
                assert_eq!(first.status().client_fail, ClientFail::CookieUnavailable);
                assert!(!first.status().syn_data);

                let mut second = Watched::start(&net, server, &by(method), b"message");
                assert_eq!(second.stream.attempt(), Some(Attempt::InSyn(7)), "{method:?} {ip}");
                drop(serve(&listener, 7));
                let event = second.until(Event::is_read_closed);
                assert!(event.is_readable() && !event.is_error(), "{event:?}");
                assert!(second.status().syn_data, "{method:?} {ip}: {:?}", second.status());
                let mut buffer = [0; 64];
                assert_eq!((&second.stream).read(&mut buffer).expect("it is there"), 6);
                assert_eq!((&second.stream).read(&mut buffer).expect("and then the end"), 0);
                assert_eq!(before.change().0.active, 1, "the kernel's count");
            }
        }
    });
}

#[test]
fn nothing_blocks_and_each_edge_is_reported_once() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let mut watched =
            Watched::start(&net, listener.local_addr(), &by(Method::Off), b"not sent yet");
        let accepted = listener.accept().expect("it came");
        watched.until(Event::is_writable);
        let again = (&watched.stream).read(&mut [0; 1]).expect_err("nothing came");
        assert_eq!(again.kind(), ErrorKind::WouldBlock);
        let mut events = Events::with_capacity(4);
        watched.poll.poll(&mut events, Some(Duration::ZERO)).expect("it waits");
        assert_eq!(
            events.iter().count(),
            0,
            "it is still writable, which is nothing new: {events:?}"
        );
        drop(accepted);
        watched.until(Event::is_read_closed);
    });
}

#[test]
fn refusal_is_an_event_and_then_an_error() {
    isolated(|| {
        let net = Net::new();
        let nobody = SocketAddr::new(SERVERS[0], 9);
        let mut watched = Watched::start(&net, nobody, &by(Method::SendTo), b"message");
        watched.until(Event::is_error);
        let refused = watched.stream.take_error().unwrap().expect("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(watched.stream.take_error().unwrap().is_none(), "the error is returned once");
    });
}

#[test]
fn bind_without_a_port_reuses_ports_per_destination() {
    isolated(|| {
        let net = Net::new();
        // There is one port for both connections, whose destinations differ.
        crate::support::set(&net.client, "ipv4/ip_local_port_range", "40000 40000");
        let local = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0));
        let connector = by(Method::Off).bind(local);
        let listeners = [net.listen(on(SERVERS[0])), net.listen(on(SERVERS[0]))];
        let mut open = Vec::new();
        for listener in &listeners {
            open.push(Watched::start(&net, listener.local_addr(), &connector, b"message"));
            let peer = listener.accept().expect("it came").arrival.peer;
            assert_eq!(peer, SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 40_000));
        }
        let server = listeners[0].local_addr();
        let full = net.client.run(move || connector.connect_nonblocking(server, b"message"));
        let error = full.expect_err("that port and destination are taken");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "{error:?}");
    });
}

#[test]
fn tcp_bits_agree_with_tcp_info() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let (client, _server) = net.exchange(&listener, &by(Method::SendTo), b"message");
        let (short, whole) =
            (option::tcp_bits(&client).unwrap(), option::tcp_info(&client).unwrap());
        assert!(short.syn_data && whole.syn_data);
        assert_eq!(short.client_fail, whole.client_fail);
    });
}
