//! What the dialer promises: policy, memory, several addresses, and which message is sent how often.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use tfo_core::capture::{Direction, describe};
use tfo_core::dialer::{DialError, Dialer, Message, PathMemory, Policy};
use tfo_core::lab::{CLIENT_V4, Middlebox, Network, PathSettings, SERVER_V4, isolated};
use tfo_core::socket::{Attempt, Connector};

use crate::server::{Server, answers};
use crate::support::Net;

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(SERVER_V4.into(), port)
}

/// A server on the other host, and its cookie in the client's cache.
fn served(net: &Net) -> Server {
    let server = Server::start(&net.server, address(0));
    let (first, second) = (dial(net, &Dialer::new(), &server), dial(net, &Dialer::new(), &server));
    assert_eq!([first, second].map(Result::unwrap), [Attempt::AfterHandshake, IN_SYN]);
    let _ = server.executed();
    server
}

const TEXT: &[u8] = b"message\n";
const IN_SYN: Attempt = Attempt::InSyn(TEXT.len());

/// Sends an idempotent message. Returns what the kernel did with it.
fn dial(net: &Net, dialer: &Dialer, server: &Server) -> Result<Attempt, DialError> {
    dial_to(net, dialer, server.address, Message::idempotent(TEXT))
}

fn dial_to(
    net: &Net,
    dialer: &Dialer,
    server: SocketAddr,
    message: Message<'static>,
) -> Result<Attempt, DialError> {
    let dialer = dialer.clone();
    let stream = net.client.run(move || dialer.dial(server, message))?;
    let attempt = stream.attempt().expect("the client's");
    assert!(answers(stream), "{attempt:?}");
    Ok(attempt)
}

#[test]
fn message_rides_the_syn_only_if_it_may() {
    isolated(|| {
        let net = Net::new();
        let server = served(&net);
        for (message, policy, expected) in [
            (Message::idempotent(TEXT), Policy::Try, IN_SYN),
            (Message::once(TEXT), Policy::Try, Attempt::Regular),
            (Message::once(TEXT).allow_in_syn(), Policy::Try, IN_SYN),
            (Message::idempotent(b""), Policy::Try, Attempt::Regular),
            (Message::idempotent(TEXT), Policy::Off, Attempt::Regular),
            (Message::idempotent(TEXT), Policy::Require, IN_SYN),
            (Message::once(TEXT), Policy::Require, Attempt::Regular),
        ] {
            let dialer = Dialer::new().policy(policy);
            let (server, what) = (server.address, format!("{message:?} {policy:?}"));
            let stream = net.client.run(move || dialer.dial(server, message)).expect("it listens");
            assert_eq!(stream.attempt(), Some(expected), "{what}");
            if what.contains("[]") {
                continue;
            }
            assert!(answers(stream), "{what}");
        }
    });
}

#[test]
fn require_fails_where_the_host_forbids_fast_open() {
    isolated(|| {
        let net = Net::new();
        let server = served(&net);
        net.set_client_bits(2);
        assert_eq!(dial(&net, &Dialer::new(), &server).unwrap(), Attempt::ClientDisabled);
        let error = dial(&net, &Dialer::new().policy(Policy::Require), &server).unwrap_err();
        let start = format!("connect with fast open to {} failed: ", server.address);
        assert!(error.to_string().starts_with(&start), "{error}");
        assert_eq!(io::Error::from(error).raw_os_error(), Some(95), "EOPNOTSUPP");
    });
}

#[test]
fn closed_port_is_refused_and_blames_no_path() {
    isolated(|| {
        let net = Net::new();
        let server = served(&net);
        let closed = address(server.address.port() ^ 1);
        let dialer = Dialer::new();
        let error = dial_to(&net, &dialer, closed, Message::idempotent(TEXT)).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        assert!(!error.maybe_executed && dialer.paths().entries().is_empty(), "{error}");
        assert_eq!(dial(&net, &dialer, &server).unwrap(), IN_SYN);

        let pay = Message::once(TEXT).allow_in_syn();
        let error = dial_to(&net, &dialer, closed, pay).unwrap_err();
        assert!(error.maybe_executed, "nobody knows who refused it: {error}");
        let end = "the message was sent and may have been executed: check before sending it again";
        assert!(error.to_string().ends_with(end), "{error}");
        let error = dial_to(&net, &dialer, closed, pay).unwrap_err();
        assert!(!error.maybe_executed, "its SYN carried nothing: {error}");
    });
}

#[test]
fn next_address_is_tried_while_the_first_is_silent() {
    isolated(|| {
        let net = Net::new();
        let server = served(&net);
        // Nobody has this address, and the last one has no route.
        let silent = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 77), 80));
        let unreachable = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 80));
        for first in [silent, unreachable] {
            for message in [Message::idempotent(TEXT), Message::once(TEXT)] {
                let both = [first, server.address];
                let stream = net
                    .client
                    .run(move || Dialer::new().dial(&both[..], message))
                    .expect("one of them");
                assert_eq!(stream.peer_addr().unwrap(), server.address, "{first}");
                assert!(answers(stream));
            }
        }
        assert_eq!(server.executed().values().sum::<usize>(), 4, "each message was sent once");
        let error = dial_to(&net, &Dialer::new(), unreachable, Message::once(TEXT)).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::NetworkUnreachable, "{error}");
        let short = Dialer::new().timeout(Duration::from_millis(20));
        let error = dial_to(&net, &short, silent, Message::idempotent(TEXT)).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().starts_with("connect 192.0.2.77:80 failed: "), "{error}");
        let error = Dialer::new().dial("no port", Message::once(TEXT)).unwrap_err();
        assert!(error.to_string().starts_with("resolve the server's address failed"), "{error}");
    });
}

#[test]
fn large_message_arrives_whole() {
    isolated(|| {
        let net = Net::new();
        let server = served(&net);
        let mut line = vec![b'x'; 300_000];
        line.push(b'\n');
        let line: &'static [u8] = line.leak();
        for message in [Message::idempotent(line), Message::once(line)] {
            dial_to(&net, &Dialer::new(), server.address, message).expect("it listens");
        }
        let executed = server.executed();
        assert_eq!(
            executed.into_iter().map(|(line, count)| (line.len(), count)).collect::<Vec<_>>(),
            [(300_001, 2)]
        );
    });
}

#[test]
fn another_local_address_tries_again() {
    isolated(|| {
        let net = Net::new();
        let server = served(&net);
        let dialer = Dialer::new();
        let path = dialer.paths().destination(server.address);
        let lost = |local: IpAddr| path.permit().lost(Some(local)).expect("a pause begins");
        let _ = lost(CLIENT_V4.into());
        let attempts = [(); 2].map(|()| dial(&net, &dialer, &server).unwrap());
        assert_eq!(attempts, [Attempt::Paused; 2], "it was lost from here");
        let other = Ipv4Addr::new(192, 0, 2, 9);
        net.client.add_address(other.into()).unwrap();
        let roamed = dialer.clone().connector(Connector::default().bind((other, 0).into()));
        assert_eq!(dial(&net, &roamed, &server).unwrap(), Attempt::Paused, "only then is it known");
        // The other address has no cookie.
        assert_eq!(dial(&net, &roamed, &server).unwrap(), Attempt::AfterHandshake);
        assert_eq!(dial(&net, &roamed, &server).unwrap(), IN_SYN);
    });
}

/// Two hosts with a path between them.
struct Stage {
    network: Network,
    server: Server,
}

impl Stage {
    fn new() -> Self {
        let network = Network::new(PathSettings::new()).expect("namespaces can be made here");
        let server = Server::start(network.server(), address(2222));
        let stage = Self { network, server };
        for _ in 0..2 {
            stage.dial(&Dialer::new(), Message::idempotent(TEXT)).expect("nothing is in the way");
        }
        stage
    }

    fn dial(&self, dialer: &Dialer, message: Message<'static>) -> Result<Attempt, DialError> {
        let (dialer, server) = (dialer.clone(), self.server.address);
        let stream = self.network.client().run(move || dialer.dial(server, message))?;
        let attempt = stream.attempt().expect("the client's");
        assert!(answers(stream), "{attempt:?}");
        Ok(attempt)
    }

    /// Returns how many SYNs with data the client has sent.
    fn syns_with_data(&self) -> usize {
        let packets = self.network.packets();
        let sent = packets.iter().filter(|packet| packet.direction == Direction::ToServer);
        sent.filter(|packet| {
            packet.sent.as_ref().is_some_and(|sent| {
                // SYN without ACK, in the TCP flags behind the Ethernet and IPv4 headers.
                let syn = sent.frame.get(14 + 20 + 13).is_some_and(|flags| flags & 0x12 == 0x02);
                syn && describe(&sent.frame).syn_data() > 0
            })
        })
        .count()
    }
}

#[test]
fn pause_ends_with_a_trial_of_an_idempotent_message() {
    isolated(|| {
        let stage = Stage::new();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        // Each pause is over at once.
        let memory = PathMemory::with_pause(Duration::ZERO);
        let dialer = Dialer::new().memory(&memory);
        let idempotent = Message::idempotent(TEXT);
        let before = stage.syns_with_data();
        for _ in 0..3 {
            assert_eq!(stage.dial(&dialer, idempotent).unwrap(), Attempt::Regular);
        }
        assert_eq!(stage.syns_with_data() - before, 3, "each one was a trial");
        assert_eq!(memory.entries()[0].doublings, 2);
        stage.network.set_boxes(&[]);
        let once = Message::once(TEXT).allow_in_syn();
        assert_eq!(
            stage.dial(&dialer, once).unwrap(),
            Attempt::Paused,
            "it takes part in no trial"
        );
        assert_eq!(stage.dial(&dialer, idempotent).unwrap(), IN_SYN);
        assert_eq!(stage.dial(&dialer, once).unwrap(), IN_SYN, "the path works again");
        assert!(memory.entries().is_empty());
    });
}

#[test]
fn path_that_strips_the_data_is_given_up_after_three_connections() {
    isolated(|| {
        let stage = Stage::new();
        let dialer = Dialer::new();
        stage.network.set_boxes(&[Middlebox::StripSynData]);
        let attempts = [(); 5].map(|()| stage.dial(&dialer, Message::idempotent(TEXT)).unwrap());
        let paused = Attempt::Paused;
        assert_eq!(attempts, [IN_SYN, IN_SYN, IN_SYN, paused, paused]);
    });
}

#[test]
fn memory_is_shared_by_dialers_and_threads() {
    isolated(|| {
        let stage = Stage::new();
        stage.network.set_boxes(&[Middlebox::ResetSynData]);
        let memory = PathMemory::new();
        let dialers = [(); 4].map(|()| Dialer::new().memory(&memory));
        stage.dial(&dialers[0], Message::idempotent(TEXT)).unwrap();
        let before = stage.syns_with_data();
        thread::scope(|scope| {
            for dialer in &dialers {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let attempt = stage.dial(dialer, Message::idempotent(TEXT)).unwrap();
                        assert_eq!(attempt, Attempt::Paused);
                    }
                });
            }
        });
        assert_eq!(stage.syns_with_data(), before, "one failure was enough for all");
        let restored = PathMemory::new();
        restored.restore(memory.entries());
        let attempt = stage.dial(&Dialer::new().memory(&restored), Message::idempotent(TEXT));
        assert_eq!(attempt.unwrap(), Attempt::Paused, "another process knows it too");
    });
}

#[test]
fn hedge_that_loses_is_closed() {
    isolated(|| {
        let stage = Stage::new();
        // The regular connection starts right after the SYN with data.
        let dialer = Dialer::new().hedge_after(Duration::ZERO);
        let mut known = stage.network.packets().len();
        for _ in 0..20 {
            let _ = stage.dial(&dialer, Message::idempotent(TEXT)).unwrap();
        }
        let open = stage.network.client().run(|| {
            let text = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("readable");
            // SYN_SENT and ESTABLISHED.
            text.lines().filter(|line| line.contains(" 02 ") || line.contains(" 01 ")).count()
        });
        assert_eq!(open, 0, "all sockets were closed");
        known = stage.network.packets().len() - known;
        assert!(known > 20 * 9, "there were two connections for each dial: {known} packets");
    });
}
