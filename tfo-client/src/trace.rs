//! Captures the packets of connections on this host's interfaces, for `--trace` and `--pcap`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::capture::{Direction, Handshake, PacketPath, Trace, connections, pcapng};

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

/// Returns the packets of a probe's connection, without those of the regular connections that were made after it to
/// compare with, and the number of the latter.
pub(crate) fn without_controls(packets: Vec<PacketPath>) -> (Vec<PacketPath>, usize) {
    let mut begun =
        connections(&packets).into_iter().filter(|packets| Handshake::of(packets).is_some());
    match begun.next() {
        Some(connection) => (connection, begun.count()),
        None => (packets, 0),
    }
}

/// Returns a sentence about the regular connections of which no packets are drawn; empty if there are none.
pub(crate) fn not_drawn(controls: usize) -> String {
    match controls {
        0 => String::new(),
        1 => "A regular connection, to compare with, is not drawn.\n".to_owned(),
        many => format!("{many} regular connections, to compare with, are not drawn.\n"),
    }
}

/// Returns the files for the packets of each host of a lab: `lab.pcapng` becomes `lab-client.pcapng` and `lab-server.pcapng`.
///
/// One file would contain each packet twice, which programs read as a retransmission.
pub(crate) fn files_of_hosts(file: &Path) -> [PathBuf; 2] {
    ["client", "server"].map(|host| {
        let mut name = file.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{host}"));
        if let Some(extension) = file.extension() {
            name.push(".");
            name.push(extension);
        }
        file.with_file_name(name)
    })
}

/// Writes a file for each host of a lab, with the packets that it sent and received.
pub(crate) fn write_pcap_of_hosts(file: &Path, packets: &[PacketPath]) -> Result<(), Failure> {
    let [client, server] = files_of_hosts(file);
    write_pcap(&client, &seen_by(packets, Direction::ToServer))?;
    write_pcap(&server, &seen_by(packets, Direction::ToClient))
}

/// Returns the packets that were sent or received by the host that sends in this direction.
fn seen_by(packets: &[PacketPath], sends: Direction) -> Vec<PacketPath> {
    let mut packets = packets.to_vec();
    for packet in &mut packets {
        if packet.direction == sends {
            packet.arrived = None;
        } else {
            packet.sent = None;
        }
    }
    packets
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
