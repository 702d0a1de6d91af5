//! Captures the packets of connections on this host's interfaces, for `--trace` and `--pcap`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::capture::{PacketPath, Trace, pcapng};

use crate::output::Failure;

/// The minimum time without a packet after which a connection counts as ended.
const QUIET: Duration = Duration::from_millis(20);
/// The maximum time to wait for a connection's last packets.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Captures the packets of consecutive connections.
pub(crate) struct Tracer {
    trace: Trace,
}

impl Tracer {
    /// Starts to capture the packets to and from this address.
    pub(crate) fn start(server: SocketAddr) -> Result<Self, Failure> {
        match Trace::start(server) {
            Ok(trace) => Ok(Self { trace }),
            Err(source) => Err(cannot_trace(source)),
        }
    }

    /// Returns the packets since the last call. Waits until no more packets arrive: the last ones (FIN, ACK) take
    /// one round trip more than the answer.
    pub(crate) fn take(&self, rtt: Duration) -> Vec<PacketPath> {
        let quiet = (2 * rtt).max(QUIET);
        let deadline = Instant::now() + TIMEOUT;
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

fn cannot_trace(source: tfo_core::Error) -> Failure {
    let advice = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "it needs CAP_NET_RAW: run it with sudo, or grant it: sudo setcap cap_net_raw=+ep \
             \"$(command -v tfo-client)\""
        }
        _ => "omit --trace and --pcap",
    };
    Failure::Operation { what: "can't trace packets".to_owned(), source, advice: advice.to_owned() }
}

/// Writes packets to a pcapng file, which Wireshark reads.
pub(crate) fn write_pcap(file: &Path, packets: &[PacketPath]) -> Result<(), Failure> {
    let write = || {
        let mut writer = BufWriter::new(File::create(file)?);
        pcapng::write(&mut writer, packets)?;
        writer.flush()
    };
    write().map_err(|e| Failure::write(file, e))
}
