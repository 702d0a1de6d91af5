//! The last connections of a listener: those that came before it dropped new ones.

use std::io::{self, Read, Write};
use std::time::Duration;

use tfo_core::host::unfinished_handshakes;
use tfo_core::lab::isolated;
use tfo_core::socket::Attempt;
use tfo_core::socket::TcpState;
use tfo_core::socket::{Connector, Method, option};

use crate::exchange::{METHODS, by};
use crate::support::{Net, SERVERS, nft, nft_flush, on, until};

#[test]
fn queued_connections_are_served_after_dropping_new_ones() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip));
            let address = listener.local_addr();
            net.fetch_cookie(&listener);
            let mut waiting = Vec::new();
            // The last segment of this handshake does not arrive before new connections are dropped.
            nft(&net.server, &["i tcp flags & (syn|ack) == ack drop"]);
            waiting
                .push(net.connect(&by(METHODS[0]), address, b"in the SYN").expect("acknowledged"));
            nft_flush(&net.server);
            waiting
                .push(net.connect(&by(METHODS[0]), address, b"in the SYN").expect("acknowledged"));
            waiting.push(net.connect(&by(Method::Off), address, b"regular!!!").expect("connected"));
            until("the kernel has acknowledged all of it", || {
                waiting.iter().all(|client| client.info().unwrap().unacked == Some(0))
            });
            listener.drop_new_connections().expect("needs no privilege");

            let accept = || listener.accept().expect("it waits").stream;
            let accepted: Vec<_> = std::iter::repeat_with(accept).take(waiting.len()).collect();
            drop(listener);

            for (number, (client, mut server)) in waiting.iter_mut().zip(accepted).enumerate() {
                let in_syn = client.info().unwrap().syn_data;
                assert_eq!(in_syn, number < 2, "{ip}: what the test is about");
                client.write_all(b" and after").expect("connected");
                let mut received = [0; 20];
                server.read_exact(&mut received).expect("nothing was lost");
                assert_eq!(&received[10..], b" and after");
                server.write_all(b"the answer").expect("connected");
                drop(server);
                let mut answer = String::new();
                client.read_to_string(&mut answer).expect("a clean end");
                assert_eq!(answer, "the answer", "{ip}, connection {number}");
            }
        }
    });
}

#[test]
fn no_syn_is_answered_after_the_listener_drops_new_connections() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip).nonblocking(true));
            let address = listener.local_addr();
            let connect = |method| {
                let connector = by(method).timeout(Duration::from_millis(300));
                net.connect(&connector, address, b"hello")
            };
            connect(METHODS[0]).expect("the door is open, and a cookie is granted");
            until("the first one arrives", || listener.accept().is_ok());
            listener.drop_new_connections().expect("needs no privilege");
            for (method, attempt) in
                [(METHODS[0], Attempt::InSyn(5)), (Method::Off, Attempt::Regular)]
            {
                let error = connect(method).expect_err("no answer");
                assert_eq!(error.error.kind(), io::ErrorKind::TimedOut, "no reset: {error:?}");
                assert_eq!(error.attempt, Some(attempt), "{error:?}");
                assert_eq!(error.info.expect("a socket").state, TcpState::SynSent, "{ip}");
            }
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    });
}

/// The last segment of a handshake may arrive after the listener has dropped new connections. The connection is
/// served all the same, and its requests arrive although it inherits the listener's options.
#[test]
fn handshake_that_had_begun_completes_and_is_served() {
    isolated(|| {
        let net = Net::new();
        for ip in SERVERS {
            let listener = net.listen(on(ip).nonblocking(true));
            let address = listener.local_addr();
            let unfinished = || net.server.run(unfinished_handshakes).expect("anybody may ask");
            assert_eq!(unfinished(), []);
            nft(&net.server, &["i tcp flags & (syn|ack) == ack drop"]);
            let connector = Connector::default().method(Method::Off);
            let mut client = net.connect(&connector, address, b"").expect("SYN-ACK");
            assert_eq!(client.info().unwrap().state, TcpState::Established, "so it believes");
            assert!(listener.accept().is_err(), "the server does not");
            listener.drop_new_connections().expect("needs no privilege");
            assert_eq!(unfinished(), [address]);
            nft_flush(&net.server);
            client.write_all(b"a request").expect("the buffer has room");
            let mut accepted = None;
            until("a connection", || {
                accepted = listener.accept().ok();
                accepted.is_some()
            });
            assert_eq!(unfinished(), []);
            drop(listener);
            let mut server = accepted.expect("just there").stream;
            let mut received = [0; 9];
            server.set_nonblocking(false).unwrap();
            server.read_exact(&mut received).expect("it is there");
            assert_eq!(&received, b"a request", "{ip}");
            assert_eq!(option::min_ttl(&server).unwrap(), 0);
            client.write_all(b"a second.").expect("connected");
            server.read_exact(&mut received).expect("it is there");
            assert_eq!(&received, b"a second.", "{ip}");
        }
    });
}
