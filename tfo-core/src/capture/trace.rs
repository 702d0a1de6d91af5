//! The packets of real connections, as this host's interfaces see them.

use std::io::{self, PipeReader, PipeWriter};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Delivery, Direction, PacketPath, Sighting};
use crate::error::{Error, Result};
use crate::sys::packet::{self, PacketSocket, Received};
use crate::wire::{IpHeader, PROTOCOL_TCP, TcpHeader};

/// The number of frames that may be unread: 2 MiB.
const RING: usize = 1024;
/// The most packets that are kept. When it is reached, the older half is dropped.
const KEPT: usize = 10_000;
/// All interfaces of the namespace.
const ANY: u32 = 0;
/// How long to wait when no packet arrives.
const IDLE: Duration = Duration::from_secs(3600);
/// Zeros in place of the two hardware addresses, for interfaces that have none. The type follows.
const NO_ETHERNET: [u8; 12] = [0; 12];

/// A running trace. Dropping it ends the trace.
///
/// A trace contains what the interfaces see: offloaded checksums and segments larger than the MTU are normal. On
/// loopback each packet is seen twice, as sent and as arrived.
///
/// ```no_run
/// use tfo_core::capture::{Ladder, TextStyle, Trace, pcapng};
/// use tfo_core::socket::FastOpenStream;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = "192.0.2.1:2222".parse()?;
/// let trace = Trace::start(server)?;
/// let stream = FastOpenStream::connect(server, b"hello\n")?;
/// let packets = trace.take(stream.local_addr()?);
/// println!("{}", Ladder::new("client", "server").packets(&packets).to_text(TextStyle::default()));
/// pcapng::write(&mut std::fs::File::create("trace.pcapng")?, &packets)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Trace {
    record: Arc<Mutex<Record>>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// The connections to keep: those to one server's port.
#[derive(Debug, Clone, Copy)]
struct Filter {
    /// The server's address; `None`: any address of this host.
    ip: Option<IpAddr>,
    port: u16,
}

#[derive(Debug, Default)]
struct Record {
    packets: Vec<PacketPath>,
    dropped: u64,
}

impl Trace {
    /// Traces the connections to this address and port; with an unspecified address (`::`), those to the port at
    /// any address. Packets are recorded from the return of this function on.
    ///
    /// # Errors
    /// The kernel refuses it; without `CAP_NET_RAW` the error's [`kind`](Error::kind) is
    /// `PermissionDenied`.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let socket = PacketSocket::open(ANY, RING, true)
            .map_err(|e| Error::system("opening", "a packet socket", e))?;
        let (stopped, stop) = io::pipe().map_err(|e| Error::system("pipe", "", e))?;
        let ip = Some(server.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
        let filter = Filter { ip, port: server.port() };
        let record = Arc::<Mutex<Record>>::default();
        let kept = Arc::clone(&record);
        let thread = std::thread::Builder::new()
            .name("trace".to_owned())
            .spawn(move || run(socket, &stopped, filter, &kept))
            .map_err(|e| Error::system("starting a thread for", "the trace", e))?;
        Ok(Self { record, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the packets recorded so far.
    #[must_use]
    pub fn packets(&self) -> Vec<PacketPath> {
        lock(&self.record).packets.clone()
    }

    /// Returns how many packets are kept.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.record).packets.len()
    }

    /// Returns all recorded packets, and forgets them.
    #[must_use]
    pub fn take_all(&self) -> Vec<PacketPath> {
        std::mem::take(&mut lock(&self.record).packets)
    }

    /// Returns the recorded packets of the connection with this client, and forgets them.
    #[must_use]
    pub fn take(&self, client: SocketAddr) -> Vec<PacketPath> {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let mut record = lock(&self.record);
        let all = std::mem::take(&mut record.packets);
        let (its, others) = all.into_iter().partition(|packet| client_of(packet) == Some(client));
        record.packets = others;
        its
    }

    /// Returns how many packets were seen and not kept because there were too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        lock(&self.record).dropped
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(mut socket: PacketSocket, stopped: &PipeReader, filter: Filter, record: &Mutex<Record>) {
    loop {
        match packet::wait_readable(&[stopped.as_fd(), socket.as_fd()], IDLE) {
            Ok(false) => {}
            Ok(true) => return,
            Err(e) => return log::error!("the trace ends: {e}"),
        }
        while let Some(()) = socket.next(|seen| keep(&seen, filter, record)) {}
    }
}

fn keep(seen: &Received<'_>, filter: Filter, record: &Mutex<Record>) {
    let Some((frame, direction)) = sort(seen, filter) else { return };
    let sighting = Sighting::new(seen.at, frame);
    let mut record = lock(record);
    if seen.outgoing {
        record.add(PacketPath::sent(direction, sighting));
        return;
    }
    // On loopback the packet was seen as sent a moment ago.
    let sent = record.packets.iter_mut().rev().take(64).find(|packet| {
        let same = packet.sent.as_ref().is_some_and(|sent| sent.frame == sighting.frame);
        same && packet.arrived.is_none()
    });
    match sent {
        Some(sent) => {
            sent.arrived = Some(sighting);
            sent.delivery = Delivery::Arrived;
        }
        None => record.add(PacketPath::arrived(direction, sighting)),
    }
}

impl Record {
    fn add(&mut self, packet: PacketPath) {
        if self.packets.len() >= KEPT {
            // The oldest packets belong to connections that nobody asked for, such as scans, or that never end.
            self.packets.drain(..KEPT / 2);
            self.dropped += KEPT as u64 / 2;
        }
        self.packets.push(packet);
    }
}

/// Returns the frame and its direction, if its connection is traced.
fn sort(seen: &Received<'_>, filter: Filter) -> Option<(Vec<u8>, Direction)> {
    let frame = if seen.ethernet {
        seen.frame.to_vec()
    } else {
        // A tunnel or a point-to-point link delivers packets without a link-layer header.
        let kind = if seen.frame.first()? >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        [&NO_ETHERNET[..], &kind, seen.frame].concat()
    };
    let (source, destination) = ends(&frame)?;
    let is_server =
        |end: SocketAddr| end.port() == filter.port && filter.ip.is_none_or(|ip| end.ip() == ip);
    if is_server(destination) {
        Some((frame, Direction::ToServer))
    } else if is_server(source) {
        Some((frame, Direction::ToClient))
    } else {
        None
    }
}

fn ends(frame: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = IpHeader::parse(frame.get(14..)?).ok()?;
    if ip.protocol() != PROTOCOL_TCP {
        return None;
    }
    let tcp = TcpHeader::parse(ip.payload()).ok()?;
    let source = SocketAddr::new(ip.source(), tcp.source_port());
    Some((source, SocketAddr::new(ip.destination(), tcp.destination_port())))
}

fn client_of(packet: &PacketPath) -> Option<SocketAddr> {
    let sighting = packet.sent.as_ref().or(packet.arrived.as_ref())?;
    let (source, destination) = ends(&sighting.frame)?;
    Some(match packet.direction {
        Direction::ToServer => source,
        Direction::ToClient => destination,
    })
}
