//! The types fit in: they convert from and to those of others, and take sockets and first bytes as the caller has them.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tfo_core::lab::isolated;
use tfo_core::probe::Probe;
use tfo_core::socket::{Attempt, Connector, FastOpenListener, FastOpenStream, Method, option};

use crate::exchange::{METHODS, by, syn};
use crate::support::{Net, SERVERS, on};

#[test]
fn stream_converts_and_stays_connected() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let (client, mut server) = net.exchange(&listener, &Connector::default(), b"hello");
        let number = client.as_raw_fd();
        let client = FastOpenStream::from(TcpStream::from(client));
        let client = FastOpenStream::from(OwnedFd::from(client));
        assert_eq!((client.as_raw_fd(), client.attempt()), (number, None), "the same socket");

        server.stream.write_all(b"answer").unwrap();
        let (mut one, mut other) = ([0; 4], [0; 8]);
        assert_eq!(client.peek(&mut one).unwrap(), 4);
        let mut clone = client.try_clone().unwrap();
        let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        assert_eq!(clone.read_vectored(&mut parts).unwrap(), 6, "peeking took nothing");
        assert_eq!((&one, &other[..2]), (b"answ", &b"er"[..]));
        let parts = [&b"from"[..], b" ", b"the clone"].map(IoSlice::new);
        assert_eq!(clone.write_vectored(&parts).unwrap(), 14);
        drop((clone, client));
        let mut rest = String::new();
        server.stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "from the clone");
    });
}

#[test]
fn stream_settings_are_read_back() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let (client, _server) = net.exchange(&listener, &Connector::default(), b"hello");
        for on in [true, false] {
            client.set_nodelay(on).unwrap();
            assert_eq!(client.nodelay().unwrap(), on);
        }
        client.set_ttl(17).unwrap();
        assert_eq!(client.ttl().unwrap(), 17);
        let second = Some(Duration::from_secs(1));
        client.set_read_timeout(second).unwrap();
        assert_eq!(
            (client.read_timeout().unwrap(), client.write_timeout().unwrap()),
            (second, None)
        );
        client.set_write_timeout(second).unwrap();
        assert_eq!(client.write_timeout().unwrap(), second);
        assert_eq!(client.keepalive().unwrap(), None, "off by default");
        for (asked, effective) in [(1500, 2), (0, 1), (40_000_000, 32767)] {
            client.set_keepalive(Some(Duration::from_millis(asked))).unwrap();
            assert_eq!(client.keepalive().unwrap(), Some(Duration::from_secs(effective)));
        }
        client.set_keepalive(None).unwrap();
        assert_eq!(client.keepalive().unwrap(), None);
    });
}

#[test]
fn all_slices_ride_the_syn() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            net.fetch_cookie(&listener);
            let server = listener.local_addr();
            let parts = [&b"one"[..], b"", b" and ", b"two"];
            for method in METHODS {
                let client = net
                    .client
                    .run(move || by(method).connect_vectored(server, &parts.map(IoSlice::new)));
                assert_eq!(client.unwrap().attempt(), Some(Attempt::InSyn(11)), "{method:?} {ip}");
                let mut accepted = listener.accept().unwrap();
                assert_eq!(usize::from(syn(&accepted.arrival).payload_bytes), 11);
                let mut text = String::new();
                accepted.stream.read_to_string(&mut text).unwrap();
                assert_eq!(text, "one and two");
            }
            // The first write of a socket that connects on its first write.
            net.client.run(move || {
                let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).unwrap();
                assert!(option::set_fastopen_connect(&socket, true).unwrap());
                socket.connect(&server.into()).unwrap();
                let mut client = FastOpenStream::from(OwnedFd::from(socket));
                assert_eq!(client.write_vectored(&parts.map(IoSlice::new)).unwrap(), 11, "{ip}");
            });
            let accepted = listener.accept().unwrap();
            assert_eq!(usize::from(syn(&accepted.arrival).payload_bytes), 11, "{ip}");
        }
    });
}

#[test]
fn any_number_of_slices_arrives_whole() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let server = listener.local_addr();
        // Above the kernel's limit of slices for one call, and above what a SYN takes.
        let message: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for size in [1, 100, 299_999] {
            let sent: Vec<u8> = if size == 1 { message[..3000].to_vec() } else { message.clone() };
            let expected = sent.clone();
            let received = thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    let mut all = Vec::new();
                    listener.accept().unwrap().stream.read_to_end(&mut all).unwrap();
                    all
                });
                let client = net.client.run(move || {
                    let parts: Vec<_> = sent.chunks(size).map(IoSlice::new).collect();
                    Connector::default().connect_vectored(server, &parts).unwrap()
                });
                client.shutdown(Shutdown::Write).unwrap();
                assert!(matches!(client.attempt(), Some(Attempt::InSyn(1000..))), "{client:?}");
                reader.join().unwrap()
            });
            assert!(received == expected, "slices of {size}: {} bytes came", received.len());
        }
    });
}

#[test]
fn socket_of_the_caller_keeps_its_options() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let server = listener.local_addr();
        for method in [Method::SendTo, Method::Connect, Method::Off] {
            let (client, tos) = net.client.run(move || {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_tos_v4(0x10).unwrap();
                let client = by(method).connect_on(socket, server, b"hello").unwrap();
                let tos = socket2::SockRef::from(&client).tos_v4().unwrap();
                (client, tos)
            });
            let mut accepted = listener.accept().unwrap();
            accepted.stream.read_exact(&mut [0; 5]).unwrap();
            let in_syn = if method == Method::Off { 0 } else { 5 };
            assert_eq!(usize::from(syn(&accepted.arrival).payload_bytes), in_syn, "{method:?}");
            assert_eq!((tos, client.info().unwrap().syn_data), (0x10, in_syn > 0), "{method:?}");
            accepted.stream.write_all(b"answer").unwrap();
            (&client).read_exact(&mut [0; 6]).expect("a blocking stream, as `connect` returns it");
        }
    });
}

#[test]
fn first_bytes_ride_the_syn_of_an_mptcp_socket() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let server = listener.local_addr();
        let client = net.client.run(move || {
            // `ENOPROTOOPT` and the like: this kernel has no MPTCP.
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).ok()?;
            Some(Connector::default().connect_on(socket, server, b"hello").unwrap())
        });
        if client.is_none() {
            return;
        }
        let mut accepted = listener.accept().unwrap();
        accepted.stream.read_exact(&mut [0; 5]).expect("the listener speaks plain TCP");
    });
}

#[test]
fn socket_that_cannot_connect_is_refused() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let server = listener.local_addr();
        let neighbour = net.server.run(move || UdpSocket::bind(server)).expect("TCP alone uses it");
        net.client.run(move || {
            let new = |domain| Socket::new(domain, Type::STREAM, None).unwrap();
            let connected = TcpStream::connect(server).unwrap();
            let listening = TcpListener::bind("127.0.0.1:0").unwrap();
            let deferred = new(Domain::IPV4);
            assert!(option::set_fastopen_connect(&deferred, true).unwrap());
            deferred.connect(&server.into()).expect("it sends nothing");
            let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
            let sockets: [(OwnedFd, Result<i32, &str>); 7] = [
                (udp.into(), Err("socket: not a TCP socket")),
                (UnixStream::pair().unwrap().0.into(), Err("socket: not a TCP socket")),
                (File::open("/dev/null").unwrap().into(), Err("socket: not a TCP socket")),
                (connected.into(), Ok(libc::EISCONN)),
                (listening.into(), Ok(libc::EISCONN)),
                (deferred.into(), Ok(libc::EALREADY)),
                (new(Domain::IPV6).into(), Ok(libc::EAFNOSUPPORT)),
            ];
            for (fd, expected) in sockets {
                let e = Connector::default().connect_on(fd, server, b"lost?").unwrap_err();
                match expected {
                    Ok(errno) => assert_eq!(e.error.raw_os_error(), Some(errno), "{e}"),
                    Err(text) => assert_eq!(e.to_string(), text),
                }
                assert_eq!(e.attempt, None, "the kernel had no bytes: {e}");
            }
        });
        neighbour.set_nonblocking(true).unwrap();
        let error = neighbour.recv(&mut [0; 8]).expect_err("no datagram was sent");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn option_of_another_protocol_is_an_error() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    // `Ok(false)` would mean that this host does not allow it.
    for set in
        [option::set_fastopen_connect(&udp, true), option::set_fastopen_no_cookie(&udp, true)]
    {
        assert_eq!(set.unwrap_err().raw_os_error(), Some(libc::ENOPROTOOPT));
    }
    // The kernel would take the first 15 bytes of the name.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    for name in ["none", "lo\0", "sixteen-letters!"] {
        let e = option::set_bind_to_device(&socket, name).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ENODEV), "{e}");
        assert!(e.to_string().starts_with("setsockopt SO_BINDTODEVICE "), "{e}");
    }
}

#[test]
fn longest_times_are_no_error() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]).defer_accept(Duration::MAX));
        let server = listener.local_addr();
        let most = Connector::default().timeout(Duration::MAX);
        let client = net.connect(&most, server, b"hello").expect("it listens");
        client.set_read_timeout(Some(Duration::MAX)).unwrap();
        client.set_write_timeout(Some(Duration::MAX)).unwrap();
        client.set_keepalive(Some(Duration::MAX)).unwrap();
        option::set_user_timeout(&client, Duration::MAX).unwrap();
        option::set_linger(&client, Some(Duration::MAX)).unwrap();
        option::set_linger(&client, None).unwrap();
        let mut accepted = listener.accept().unwrap();
        accepted.stream.write_all(b"x").unwrap();
        (&client).read_exact(&mut [0; 1]).unwrap();
        let seen = thread::scope(|scope| {
            let probe = Probe::new(server).connect_timeout(Duration::MAX);
            let probe = probe.reply_timeout(Duration::MAX);
            let run = scope.spawn(|| net.client.run(move || probe.run(b"ask\n")));
            let mut stream = listener.accept().unwrap().stream;
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(b"answer").unwrap();
            drop(stream);
            run.join().unwrap()
        });
        assert!(seen.answer.starts_with(b"answer"), "{seen:?}");
    });
}

#[test]
fn stream_connects_to_names_and_to_the_next_address() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let open = listener.local_addr();
        // Nobody listens at the first address.
        let closed = SocketAddr::new(open.ip(), open.port() ^ 1);
        let client = net.client.run(move || FastOpenStream::connect(&[closed, open][..], b"hello"));
        assert_eq!(client.unwrap().peer_addr().unwrap(), open);
        let text = open.to_string();
        let client = net.client.run(move || FastOpenStream::connect(text, b"hello"));
        assert_eq!(client.unwrap().peer_addr().unwrap(), open, "text is an address as well");
        let error = net.client.run(move || FastOpenStream::connect(closed, b"hello")).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        let error = FastOpenStream::connect("no port", b"hello").unwrap_err().to_string();
        assert!(error.starts_with("resolve the server's address failed: "), "{error}");
        let error = FastOpenStream::connect(&[][..], b"hello").unwrap_err().to_string();
        assert!(error.starts_with("resolve the server's address failed: "), "{error}");
    });
}

#[test]
fn listener_binds_names_and_the_next_address() {
    isolated(|| {
        let net = Net::new();
        let taken = net.listen(on(SERVERS[0])).local_addr();
        let free = SocketAddr::new(taken.ip(), 0);
        net.server.run(move || {
            let _taken = FastOpenListener::bind(taken.to_string()).expect("text is an address");
            let listener = FastOpenListener::bind(&[taken, free][..]).expect("the next one");
            assert_ne!(listener.local_addr(), taken);
            let error = FastOpenListener::bind(taken).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            for none in [FastOpenListener::bind("no port"), FastOpenListener::bind(&[][..])] {
                let text = none.unwrap_err().to_string();
                assert!(text.starts_with("resolve the listen address failed: "), "{text}");
            }
        });
    });
}

#[test]
fn listener_converts_and_keeps_fast_open() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let server = listener.local_addr();
        let number = listener.as_raw_fd();
        let listener = TcpListener::from(OwnedFd::from(listener));
        assert_eq!((listener.as_raw_fd(), listener.local_addr().unwrap()), (number, server));
        let client = net.connect(&Connector::default(), server, b"hello").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(option::tcp_bits(&accepted).unwrap().syn_data, "it still takes data from SYNs");
        drop((client, accepted));
        let listener =
            FastOpenListener::builder(server).adopt(OwnedFd::from(listener)).expect("it listens");
        assert_eq!(TcpListener::from(listener).local_addr().unwrap(), server);
    });
}

#[test]
fn incoming_and_nonblocking_are_those_of_std() {
    isolated(|| {
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        let server = listener.local_addr();
        let _clients: Vec<_> =
            (0..3).map(|_| net.connect(&Connector::default(), server, b"hello").unwrap()).collect();
        for mut accepted in listener.incoming().take(2).map(Result::unwrap) {
            accepted.stream.read_exact(&mut [0; 5]).expect("it waits for the bytes");
        }
        listener.set_nonblocking(true).unwrap();
        let mut third = listener.incoming().next().unwrap().unwrap();
        third.stream.read_exact(&mut [0; 5]).unwrap();
        let error = third.stream.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the stream is as the listener");
        let error = listener.incoming().next().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let _client = net.connect(&Connector::default(), server, b"hello").unwrap();
        let mut fourth = listener.accept().unwrap();
        fourth.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        fourth.stream.read_exact(&mut [0; 5]).expect("blocking again");
    });
}

#[test]
fn queue_of_zero_is_off_though_the_host_gives_every_listener_one() {
    isolated(|| {
        let net = Net::new();
        // 0x400: `listen` gives each listener a queue as long as its backlog.
        net.set_server_bits(0x402);
        let by_host = net.server.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        assert!(option::fastopen(&by_host).unwrap() > 0, "the host gives one");
        let listener = net.listen(on(SERVERS[0]).queue(0));
        assert_eq!(listener.effective_queue().unwrap(), 0);
        let fd = OwnedFd::from(listener);
        let adopted = FastOpenListener::address_of(&fd)
            .and_then(|address| FastOpenListener::builder(address).queue(0).adopt(fd))
            .unwrap();
        assert_eq!(adopted.effective_queue().unwrap(), 0, "`adopt` calls `listen` again");
        for _ in 0..2 {
            let (client, _server) = net.exchange(&adopted, &Connector::default(), b"hello");
            assert_eq!(client.attempt(), Some(Attempt::AfterHandshake), "no cookie is granted");
        }
    });
}
