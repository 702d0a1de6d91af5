//! A client and a server that serve one connection after another.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tfo_core::host::Counters;
use tfo_core::lab::Host;
use tfo_core::socket::{Accepted, Connector, FastOpenListener};

/// Far more than a connection takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects from one address to a server, with data; whether the SYN's data was acknowledged.
pub(crate) fn connect(from: IpAddr, to: SocketAddr) -> bool {
    let connector = Connector::default().timeout(PATIENCE).bind(SocketAddr::new(from, 0));
    let mut stream = connector.connect(to, b"hello").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Until the server closes: then its side is over as well.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    stream.info().unwrap().syn_data
}

/// Takes a connection, reads its message and closes it.
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
