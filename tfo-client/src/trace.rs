//! `--trace` and `--pcap`: the packets of the probe's connections, on this host's interfaces.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::Result;
use tfo_core::capture::{Crossing, Trace};

/// The least time without a packet after which a connection is taken for ended.
const QUIET: Duration = Duration::from_millis(20);
/// The most time that is waited for its last packets.
const PATIENCE: Duration = Duration::from_secs(1);

/// The packets of one connection after the other.
pub(crate) struct Tracer {
    trace: Trace,
}

impl Tracer {
    /// Sees the packets to and from this address from now on.
    pub(crate) fn start(server: SocketAddr) -> Result<Self> {
        Ok(Self { trace: Trace::start(server)? })
    }

    /// The packets since the last call, once no more of them come. The last ones (FIN, ACK) take a
    /// round trip more than the answer.
    pub(crate) fn take(&self, rtt: Duration) -> Vec<Crossing> {
        let quiet = (2 * rtt).max(QUIET);
        let deadline = Instant::now() + PATIENCE;
        let mut last = usize::MAX;
        loop {
            let count = self.trace.count();
            if count == last || Instant::now() > deadline {
                return self.trace.take_all();
            }
            last = count;
            thread::sleep(quiet);
        }
    }
}
