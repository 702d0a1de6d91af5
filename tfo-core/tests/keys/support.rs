//! A client, and a server that serves one connection after another.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tfo_core::host::Counters;
use tfo_core::lab::Host;
use tfo_core::socket::{Accepted, Connector, FastOpenListener};

/// Far longer than a connection takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects from an address to a server with data, and returns whether the SYN's data was acknowledged.
pub(crate) fn connect(from: IpAddr, to: SocketAddr) -> bool {
    let connector = Connector::default().timeout(PATIENCE).bind(SocketAddr::new(from, 0));
    let mut stream = connector.connect(to, b"hello").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Reads until the server closes, so that its side has ended as well.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    stream.info().unwrap().syn_data
}

/// Accepts a connection, reads its message and closes it.
pub(crate) fn serve(listener: &FastOpenListener) -> Accepted {
    let mut accepted = listener.accept().unwrap();
    let mut message = [0; 5];
    accepted.stream.set_nonblocking(false).unwrap();
    accepted.stream.read_exact(&mut message).unwrap();
    accepted
}

pub(crate) fn counters(host: &Host) -> Counters {
    host.run(|| Counters::read().unwrap())
}
