//! Sockets that another process created, as with systemd.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use tfo_core::lab::isolated;
use tfo_core::socket::{Connector, FastOpenListener, SynRecord};

use crate::exchange::syn;
use crate::support::{Net, SERVERS};

#[test]
fn adopted_socket_gets_fast_open_and_keeps_its_queue() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let made = net.server.run(move || TcpListener::bind(SocketAddr::new(ip, 0)));
            let made = made.expect("the address is the server's");
            let address = made.local_addr().unwrap();
            let early = net.connect(&Connector::default(), address, b"early").expect("it listens");
            assert!(!early.info().unwrap().syn_data);

            assert_eq!(FastOpenListener::address_of(&made).unwrap(), address);
            let builder = FastOpenListener::builder(address).queue(5).backlog(7);
            let listener = builder.adopt(made).expect("it listens");
            assert_eq!(listener.local_addr(), address);
            assert!(listener.is_inherited());
            assert_eq!(listener.effective_queue().unwrap(), 5);
            assert_eq!(listener.effective_backlog().unwrap(), 7);

            assert_eq!(listener.waiting().unwrap(), 1);
            let mut accepted = listener.accept().expect("it waits since before");
            assert!(matches!(accepted.arrival.syn, SynRecord::NotSaved), "nobody told to");
            let mut received = [0; 5];
            accepted.stream.read_exact(&mut received).expect("it was sent");
            assert_eq!(&received, b"early");
            assert_eq!(listener.waiting().unwrap(), 0);

            net.fetch_cookie(&listener);
            let (client, server) = net.exchange(&listener, &Connector::default(), b"hello");
            assert!(client.info().unwrap().syn_data, "{ip}");
            assert_eq!(usize::from(syn(&server.arrival).payload_bytes), 5, "SYNs are saved now");
        }
    });
}

#[test]
fn adopting_another_socket_or_address_is_refused() {
    isolated(|| {
        let net = Net::new();
        let socket = net.server.run(|| UdpSocket::bind("127.0.0.1:0")).expect("any host has it");
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        let (stream, listener) = net.server.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            (std::net::TcpStream::connect(address).unwrap(), listener)
        });
        let address = listener.local_addr().unwrap();
        let others: [OwnedFd; 4] = [
            socket.into(),
            unix.into(),
            stream.into(),
            std::fs::File::open("/dev/null").unwrap().into(),
        ];
        for other in others {
            let error = FastOpenListener::builder(address).adopt(other).unwrap_err();
            let text = "inherited socket: expected a TCP socket that listens";
            assert_eq!(error.to_string(), text);
        }
        let elsewhere = SocketAddr::new(address.ip(), 1);
        let error = FastOpenListener::builder(elsewhere).adopt(listener).unwrap_err();
        let text = format!("inherited socket: listens on {address}: expected {elsewhere}");
        assert_eq!(error.to_string(), text);
    });
}
