//! The contract of the stream before, while and after its SYN is sent.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use tfo_core::diagnosis::{Cause, Outcome};
use tfo_core::lab::{self, Network, isolated};
use tfo_core::socket::{self, Attempt, Method, TcpState, option};
use tfo_core::tokio::{Accepted, Connector, FastOpenListener, FastOpenStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::shared::nft;
use crate::support::{
    ROUND_TRIP, client, echo, fetch_cookie, in_syn, network, runtime, serve, serve_each,
    set_client_bits,
};

async fn read_all(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.expect("the answer comes");
    all
}

#[test]
fn first_bytes_ride_the_syn_once_a_cookie_is_cached() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, echo);
        for (attempt, outcome) in [
            (Attempt::AfterHandshake, Outcome::CookieGranted),
            (Attempt::InSyn(5), Outcome::FastOpen),
        ] {
            client(&net, async move || {
                let mut stream = FastOpenStream::connect(server, b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
                let handshake = stream.handshake();
                assert_eq!(read_all(&mut stream).await, b"hello");
                assert_eq!(handshake.attempt(), Some(attempt));
                assert_eq!(handshake.verdict().unwrap().outcome, outcome);
            });
            let carried = if let Attempt::InSyn(bytes) = attempt { bytes } else { 0 };
            assert_eq!(in_syn(&arrivals.recv().unwrap()), carried);
        }
    });
}

#[test]
fn first_write_rides_the_syn_and_the_stream_works_before() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, echo);
        client(&net, async move || {
            fetch_cookie(server).await;
            let mut stream = FastOpenStream::connect_on_write(server).await.unwrap();
            assert_eq!(stream.peer_addr(), server);
            let handshake = stream.handshake();
            stream.flush().await.expect("nothing is to be sent");
            assert_eq!((handshake.attempt(), handshake.verdict()), (None, None), "no packet yet");

            let slices = [IoSlice::new(b"hel"), IoSlice::new(b""), IoSlice::new(b"lo")];
            assert_eq!(stream.write_vectored(&slices).await.unwrap(), 5, "all slices");
            assert_eq!(handshake.attempt(), Some(Attempt::InSyn(5)));
            assert_eq!(handshake.verdict(), None, "the SYN is under way");
            stream.shutdown().await.expect("it waits for the handshake");
            assert!(handshake.tcp().unwrap().syn_data);
            assert_eq!(read_all(&mut stream).await, b"hello");
            drop(stream);
            let verdict = handshake.verdict().expect("it outlives the connection");
            assert_eq!((verdict.outcome, verdict.cause), (Outcome::FastOpen, None));
        });
        assert_eq!(in_syn(&arrivals.recv().unwrap()), 0, "the request for a cookie");
        assert_eq!(in_syn(&arrivals.recv().unwrap()), 5);
    });
}

#[test]
fn long_first_write_arrives_whole() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, echo);
        client(&net, async move || {
            fetch_cookie(server).await;
            let message: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
            for client_first in [false, true] {
                let connector = Connector::default().client_speaks_first(client_first);
                let mut stream = connector.connect_on_write(server).await.unwrap();
                stream.write_all(&message).await.unwrap();
                stream.shutdown().await.unwrap();
                assert!(read_all(&mut stream).await == message, "{client_first}");
            }
        });
        let carried: Vec<_> = arrivals.try_iter().map(|arrival| in_syn(&arrival)).collect();
        assert_eq!(carried, [0, 1420, 1420]);
    });
}

#[test]
fn server_that_speaks_first_is_heard() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, async |mut accepted: Accepted| {
            accepted.write_all(b"220 ready\n").await.unwrap();
            echo(accepted).await;
        });
        client(&net, async move || {
            fetch_cookie(server).await;
            let start = Instant::now();
            let mut stream = FastOpenStream::connect_on_write(server).await.unwrap();
            let mut banner = [0; 10];
            stream.read_exact(&mut banner).await.expect("a read sends the SYN");
            assert_eq!(&banner, b"220 ready\n");
            assert!(start.elapsed() >= ROUND_TRIP);
            stream.write_all(b"HELO\n").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, b"HELO\n");
        });
        let _ = arrivals.recv();
        let arrival = arrivals.recv().unwrap();
        assert_eq!(in_syn(&arrival), 0);
        let option = arrival.syn.saved().unwrap().fast_open.expect("the cookie is sent");
        assert!(!option.is_request(), "the banner leaves one round trip earlier");
    });
}

#[test]
fn halves_and_inner_stream_work_in_any_order() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, echo);
        client(&net, async move || {
            fetch_cookie(server).await;
            // The write half is dropped while the SYN is under way: the read half shuts down for it.
            let stream = FastOpenStream::connect_on_write(server).await.unwrap();
            let (read, mut write) = stream.into_split();
            assert_eq!((read.peer_addr(), write.peer_addr()), (server, server));
            write.write_all(b"split").await.unwrap();
            drop(write);
            assert_eq!(read_all(read).await, b"split");

            // It is dropped after the reader has begun to wait.
            let stream = FastOpenStream::connect_on_write(server).await.unwrap();
            let (read, mut write) = stream.into_split();
            write.write_all(b"later").await.unwrap();
            let reader = tokio::spawn(read_all(read));
            tokio::task::yield_now().await;
            drop(write);
            assert_eq!(reader.await.unwrap(), b"later");

            // Nothing is written at all.
            let stream = FastOpenStream::connect_on_write(server).await.unwrap();
            let (read, write) = stream.into_split();
            drop(write);
            assert_eq!(read_all(read).await, b"");

            let stream = FastOpenStream::connect_on_write(server).await.unwrap();
            let mut inner = stream.into_inner().await.unwrap();
            assert_eq!(inner.peer_addr().unwrap(), server, "it is connected");
            inner.write_all(b"inner").await.unwrap();
            inner.shutdown().await.unwrap();
            assert_eq!(read_all(inner).await, b"inner");
        });
        let carried: Vec<_> = arrivals.try_iter().map(|arrival| in_syn(&arrival)).collect();
        assert_eq!(carried, [0, 5, 5, 0, 0]);
    });
}

#[test]
fn shutdown_and_drop_without_a_write_behave() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, async |mut accepted: Accepted| {
            assert_eq!(read_all(&mut accepted).await, b"", "the client shuts down");
            accepted.write_all(b"bye").await.unwrap();
        });
        client(&net, async move || {
            let mut stream = FastOpenStream::connect(server, b"").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, b"bye");
            fetch_cookie_for(server).await;

            drop(FastOpenStream::connect_on_write(server).await.unwrap());
            let mut stream = FastOpenStream::connect_on_write(server).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, b"bye");
        });
        let requests = arrivals.try_iter().map(|arrival| arrival.syn.saved().unwrap().fast_open);
        let requests: Vec<_> = requests.map(|option| option.map(|it| it.is_request())).collect();
        assert_eq!(requests, [None, Some(true), Some(false)], "a dropped stream sends nothing");
    });
}

/// Asks for a cookie without sending data.
async fn fetch_cookie_for(server: SocketAddr) {
    let mut stream = FastOpenStream::connect_on_write(server).await.unwrap();
    assert_eq!(stream.handshake().attempt(), Some(Attempt::AfterHandshake));
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, b"bye");
}

#[test]
fn refusal_is_reported_by_connect_or_by_the_first_wait() {
    isolated(|| {
        let net = network();
        let (server, _arrivals) = serve_each(&net, echo);
        client(&net, async move || {
            let closed = SocketAddr::new(server.ip(), 9);
            let refused = io::ErrorKind::ConnectionRefused;
            let error = FastOpenStream::connect_on_write(closed).await.expect_err("no cookie yet");
            assert_eq!(error.kind(), refused);
            let both = [closed, server];
            let stream = FastOpenStream::connect_on_write(&both[..]).await.expect("the second one");
            assert_eq!(stream.peer_addr(), server);
            drop(stream);

            // That one has asked for a cookie.
            let deferred = || FastOpenStream::connect_on_write(closed);
            let mut stream = deferred().await.expect("the cookie is that of the address");
            assert_eq!(stream.read(&mut [0]).await.expect_err("read").kind(), refused);
            let mut stream = deferred().await.unwrap();
            stream.write_all(b"hello").await.expect("the SYN takes it");
            assert_eq!(stream.flush().await.expect_err("flush").kind(), refused);
            let mut stream = deferred().await.unwrap();
            assert_eq!(stream.established().await.expect_err("handshake").kind(), refused);
            let mut stream = deferred().await.unwrap();
            assert_eq!(stream.shutdown().await.expect_err("shutdown").kind(), refused);
            let error = FastOpenStream::connect(closed, b"hello").await.expect_err("connect");
            assert_eq!(error.kind(), refused);
        });
    });
}

#[test]
fn regular_connection_is_made_where_fast_open_is_off() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, echo);
        client(&net, async move || fetch_cookie(server).await);
        set_client_bits(&net, 0);
        client(&net, async move || {
            for connector in [Connector::default(), by(Method::Off)] {
                let mut deferred = connector.connect_on_write(server).await.expect("it works");
                deferred.write_all(b"later").await.unwrap();
                let given = connector.connect(server, b"given").await.expect("it works");
                for (mut stream, message) in [(deferred, b"later"), (given, b"given")] {
                    stream.shutdown().await.unwrap();
                    assert_eq!(read_all(&mut stream).await, message);
                    let verdict = stream.handshake().verdict().unwrap();
                    assert_eq!(verdict.outcome, Outcome::NotAttempted);
                    let off = matches!(
                        verdict.cause,
                        Some(Cause::ClientDisabled | Cause::DisabledByConfig)
                    );
                    assert!(off, "{verdict:?}");
                }
            }
        });
        assert!(arrivals.try_iter().skip(1).all(|arrival| in_syn(&arrival) == 0));
    });
}

fn by(method: Method) -> Connector {
    socket::FastOpenStream::connector().method(method).into()
}

#[test]
fn client_that_speaks_first_gathers_its_writes() {
    isolated(|| {
        let net = network();
        let (server, arrivals) = serve_each(&net, echo);
        client(&net, async move || {
            fetch_cookie(server).await;
            let first = Connector::default().client_speaks_first(true);
            let mut stream = first.connect_on_write(server).await.unwrap();
            let silent = timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
            silent.expect_err("a read waits for the first write");
            for part in ["one ", "two ", "three"] {
                stream.write_all(part.as_bytes()).await.unwrap();
            }
            assert_eq!(stream.handshake().attempt(), None, "all is held");
            stream.flush().await.unwrap();
            assert_eq!(stream.handshake().attempt(), Some(Attempt::InSyn(13)));
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, b"one two three");

            // Reading without a flush, and halves.
            let mut stream = first.connect_on_write(server).await.unwrap();
            stream.write_all(b"asked").await.unwrap();
            while stream.handshake().attempt().is_none() {
                let mut byte = [0];
                let mut read = pin!(stream.read(&mut byte));
                poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_ready())).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(stream.handshake().attempt(), Some(Attempt::InSyn(5)));
            let mut stream = first.connect_on_write(server).await.unwrap();
            stream.write_all(b"held").await.unwrap();
            let (read, write) = stream.into_split();
            drop(write);
            assert_eq!(read_all(read).await, b"held");
        });
        let carried: Vec<_> = arrivals.try_iter().map(|arrival| in_syn(&arrival)).collect();
        assert_eq!(carried, [0, 13, 5, 4]);
    });
}

#[test]
fn listener_of_tokio_keeps_its_backlog_and_its_queue() {
    isolated(|| {
        let net = network();
        net.server().run(|| {
            runtime().block_on(async {
                let any = SocketAddr::new(Network::server_address(false), 0);
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind(any).unwrap();
                let plain = socket.listen(77).unwrap();
                let address = plain.local_addr().unwrap();
                let earlier = tokio::net::TcpStream::connect(address).await.unwrap();
                let listener = FastOpenListener::try_from(plain).unwrap();
                assert_eq!(listener.get_ref().effective_backlog().unwrap(), 77);
                assert_eq!(listener.get_ref().effective_queue().unwrap(), 256);
                let accepted = listener.accept().await.expect("it came before");
                assert_eq!(accepted.arrival.peer, earlier.local_addr().unwrap());
            });
        });
    });
}

#[test]
fn each_task_that_accepts_gets_a_connection() {
    isolated(|| {
        let net = network();
        net.server().run(|| {
            runtime().block_on(async {
                let any = SocketAddr::new(Network::server_address(false), 0);
                let listener = Arc::new(FastOpenListener::bind(any).unwrap());
                let address = listener.local_addr();
                let tasks = [(); 2].map(|()| {
                    let listener = Arc::clone(&listener);
                    tokio::spawn(async move { listener.accept().await.unwrap().arrival.peer })
                });
                // Both wait.
                tokio::task::yield_now().await;
                let clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
                let mut peers = Vec::new();
                for task in tasks {
                    peers.push(task.await.unwrap());
                }
                assert!(clients.iter().all(|it| peers.contains(&it.local_addr().unwrap())));
            });
        });
    });
}

#[test]
fn answer_leaves_before_the_handshake_ends() {
    isolated(|| {
        if !lab::require("nft") {
            return;
        }
        let net = network();
        let (report, arrivals) = mpsc::channel();
        let server = serve(&net, async move |listener| {
            loop {
                let (mut stream, peer) = listener.accept_raw().await.expect("a connection");
                let mut message = [0; 1];
                stream.read_exact(&mut message).await.unwrap();
                stream.write_all(&message).await.unwrap();
                let arrival = listener.arrival(&stream, peer).unwrap();
                report.send((arrival, option::tcp_bits(&stream))).unwrap();
            }
        });
        client(&net, async move || fetch_cookie(server).await);
        nft(net.client(), &["o tcp flags & syn == 0 counter drop"]);
        client(&net, async move || {
            let mut stream = FastOpenStream::connect_on_write(server).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            assert!(stream.info().unwrap().syn_data);
        });
        let _ = arrivals.recv();
        let (arrival, after) = arrivals.recv().unwrap();
        assert!(arrival.tcp.syn_data && arrival.tcp.tfo_child);
        assert_eq!(after.unwrap().state, TcpState::SynRecv, "only SYNs pass");
    });
}
