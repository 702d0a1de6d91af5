//! The proof: whatever box is on the path, a dialer loses nothing against regular connections.

use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tfo_core::dialer::{Dialer, Message, Policy};
use tfo_core::lab::{Middlebox, Network, PathSettings, isolated};

use crate::server::{Server, answers};

/// Paths at once.
const AT_ONCE: usize = 6;
/// Connections of each kind through each box.
const COUNT: usize = 100;
/// A regular connection beside a silent SYN starts later than any test takes: without it the kernel's timeouts show.
const NO_HEDGE: Duration = Duration::from_secs(600);

struct Stage {
    middlebox: Middlebox,
    network: Network,
    server: Server,
}

/// What a series of dials has left.
#[derive(Debug, PartialEq, Eq)]
struct Tally {
    /// Retransmission timeouts of the client, of SYNs and of data.
    timeouts: u64,
    /// Why dials failed.
    failed: Vec<String>,
    /// How often the message that was executed most often was.
    most: usize,
    /// How many messages were executed.
    executed: usize,
}

impl Stage {
    fn new(middlebox: Middlebox) -> Self {
        let path = PathSettings::new().round_trip(Duration::from_millis(2));
        let network = Network::new(path).expect("namespaces can be made here");
        let address = SocketAddr::new(Network::server_address(false), 2222);
        let server = Server::start(network.server(), address);
        network.set_boxes(&[middlebox]);
        Self { middlebox, network, server }
    }

    /// Dials [`COUNT`] times, and stops after too many timeouts: each one takes a second.
    fn dial(&self, dialer: &Dialer, message: fn(&[u8]) -> Message<'_>, most: u64) -> Tally {
        let (dialer, server) = (dialer.clone(), self.server.address);
        let (timeouts, failed) = self.network.client().run(move || {
            let before = timeouts();
            let mut failed = Vec::new();
            for number in 0..COUNT {
                let text = format!("message {number}\n");
                let stream = dialer.dial(server, message(text.as_bytes()));
                match stream.map(answers) {
                    Ok(true) => {}
                    Ok(false) => failed.push("no answer".to_owned()),
                    Err(e) => failed.push(e.to_string()),
                }
                if timeouts() - before > most {
                    break;
                }
            }
            (timeouts() - before, failed)
        });
        let executed = self.server.executed();
        let most = executed.values().copied().max().unwrap_or(0);
        Tally { timeouts, failed, most, executed: executed.len() }
    }

    fn regular(&self) -> Tally {
        let tally =
            self.dial(&Dialer::new().policy(Policy::Off), |text| Message::once(text), u64::MAX);
        assert!(tally.failed.is_empty(), "{}: {tally:?}", self.middlebox);
        assert_eq!((tally.most, tally.executed), (1, COUNT), "{}", self.middlebox);
        tally
    }

    fn idempotent(&self, dialer: &Dialer, regular: &Tally, what: &str) {
        let most = regular.timeouts + 1;
        let tally = self.dial(dialer, |text| Message::idempotent(text), most);
        let seen = format!("{}, {what}: {tally:?}; regular: {regular:?}", self.middlebox);
        assert!(tally.timeouts <= most, "{seen}");
        assert!(tally.failed.is_empty() && tally.executed == COUNT, "{seen}");
    }

    /// Lets the client's kernel cache a cookie.
    fn fetch_cookie(&self) {
        self.network.set_boxes(&[]);
        let server = self.server.address;
        for _ in 0..2 {
            let answered = self.network.client().run(move || {
                let message = Message::idempotent(b"fetch a cookie\n");
                Dialer::new().policy(Policy::Require).dial(server, message).is_ok_and(answers)
            });
            assert!(answered, "{}", self.middlebox);
        }
        let _ = self.server.executed();
        self.network.set_boxes(&[self.middlebox]);
    }

    fn prove(&self) {
        let regular = self.regular();
        let unhedged = || Dialer::new().hedge_after(NO_HEDGE);
        // Nothing but another connection helps where all of the first one is dropped.
        let swallows = self.middlebox == Middlebox::SwallowAfterSynData;
        if !swallows {
            self.idempotent(&unhedged(), &regular, "without a cookie, unhedged");
        }
        self.fetch_cookie();
        self.idempotent(&Dialer::new(), &regular, "with a cookie");
        if !swallows {
            self.idempotent(&unhedged(), &regular, "with a cookie, unhedged");
        }
        let once = self.dial(&Dialer::new(), |text| Message::once(text), u64::MAX);
        assert_eq!(once, regular, "{}: messages that do not ride the SYN", self.middlebox);
    }

    /// Messages that ride the SYN although they must not be executed twice.
    fn prove_allowed(&self) {
        self.fetch_cookie();
        let dialer = Dialer::new().timeout(Duration::from_secs(3));
        let tally = self.dial(&dialer, |text| Message::once(text).allow_in_syn(), 2);
        let seen = format!("{}: {tally:?}", self.middlebox);
        assert!(tally.failed.len() <= 1 && tally.timeouts <= 2, "once for the destination: {seen}");
        assert_eq!(tally.most, 1, "none is executed twice: {seen}");
        assert!(tally.executed >= COUNT - tally.failed.len(), "{seen}");
    }
}

/// Returns the retransmission timeouts of this thread's network namespace.
fn timeouts() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").expect("readable");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "TCPTimeouts");
    found.expect("as of Linux 2.6").1.parse().expect("a number")
}

/// Runs this on a path with each box, several at once: they wait most of the time.
fn with_each_box(prove: fn(&Stage)) {
    let boxes = Mutex::new(Middlebox::ALL.iter());
    // Also keeps the paths from being built at once, which would take them longer than one after the other.
    let next = || boxes.lock().unwrap().next().map(|middlebox| Stage::new(*middlebox));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(stage) = next() {
                    prove(&stage);
                }
            });
        }
    });
}

#[test]
fn no_box_costs_more_than_one_timeout() {
    isolated(|| with_each_box(Stage::prove));
}

#[test]
fn allowed_messages_fail_once_and_are_executed_once() {
    isolated(|| with_each_box(Stage::prove_allowed));
}
