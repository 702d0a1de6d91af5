//! Clients that send requests one after another, and compare the answers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use tfo_core::lab::Host;
use tfo_core::socket::TcpInfo;
use tfo_core::socket::{Connector, FastOpenStream, Method};

use crate::support::until;

/// Longer than any server under test needs, and than three transmissions of a SYN.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients of an `echo` service. Every other connection is a regular one.
pub(crate) struct Load {
    clients: Vec<JoinHandle<Tally>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

/// The outcomes of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answered completely, and the connection was closed cleanly.
    pub(crate) answered: u64,
    /// Number of these whose request was in the SYN.
    pub(crate) in_syn: u64,
    /// Never connected, and nothing was acknowledged: the client may retry.
    pub(crate) turned_away: u64,
    /// Connected or acknowledged, but not answered.
    pub(crate) lost: Vec<String>,
}

impl Load {
    /// Starts this many clients on the host.
    pub(crate) fn start(host: &Host, server: SocketAddr, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |number| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            // A thread that is started on a host stays on it.
            host.run(move || thread::spawn(move || client(number, server, &stop, &answered)))
        };
        let clients = (0..clients).map(client).collect();
        Self { clients, stop, answered }
    }

    /// Waits until this many more requests were answered.
    pub(crate) fn more(&self, requests: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        until("requests are answered", || {
            self.answered.load(Ordering::Relaxed) >= before + requests
        });
    }

    /// Stops the clients after their current requests.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for client in self.clients {
            let Tally { answered, in_syn, turned_away, lost } = client.join().unwrap();
            sum.answered += answered;
            sum.in_syn += in_syn;
            sum.turned_away += turned_away;
            sum.lost.extend(lost);
        }
        sum
    }
}

fn client(number: usize, server: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let methods = [Method::SendTo, Method::Off];
    for (round, method) in methods.into_iter().cycle().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let request = format!("client {number} asks for the {round}th time");
        match ask(server, method, request.as_bytes()) {
            Ok(in_syn) => {
                tally.answered += 1;
                tally.in_syn += u64::from(in_syn);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(Failure { served: false, .. }) => {
                tally.turned_away += 1;
                // The server may not be listening any more.
                sleep(Duration::from_millis(5));
            }
            Err(Failure { what, .. }) => tally.lost.push(format!("{request} ({method:?}): {what}")),
        }
    }
    tally
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    /// The handshake was complete, or data was acknowledged.
    pub(crate) served: bool,
}

/// Sends a request and a FIN, and compares the answer. Returns whether the request was in the SYN.
pub(crate) fn ask(server: SocketAddr, method: Method, request: &[u8]) -> Result<bool, Failure> {
    let connector = Connector::default().method(method).timeout(PATIENCE);
    let mut stream = connector.connect(server, request).map_err(|e| Failure {
        served: e.established || e.info.as_deref().is_some_and(data_acknowledged),
        what: format!("connecting: {e:?}"),
    })?;
    let answer = exchange(&mut stream);
    match answer {
        Ok(answer) if answer == request => Ok(stream.info().expect("a TCP socket").syn_data),
        other => Err(Failure {
            what: format!("{:?}", other.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            served: true,
        }),
    }
}

fn exchange(stream: &mut FastOpenStream) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.flush()?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Returns whether the peer's kernel has acknowledged more than the SYN, which counts as one byte.
fn data_acknowledged(info: &TcpInfo) -> bool {
    info.bytes_acked > Some(1)
}
