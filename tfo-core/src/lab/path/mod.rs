//! The path between the hosts: a forwarder between veth pairs, with delay, loss, rate and boxes. It records each
//! packet that it receives and each that it delivers.

mod nat;
mod settings;

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nat::Nat;
pub(super) use nat::server_address;
pub use settings::PathSettings;

use super::frame::{Flow, Segment};
use super::middlebox::{Middlebox, flow};
use super::route::{Carried, End, Leaving, Route};
use crate::capture::{Delivery, Direction, Modification, PacketPath, Sighting};
use crate::error::{Error, Result};
use crate::sys::packet::{self, PacketSocket};

/// The number of frames that a side of the path may have unread: 8 MiB.
const RING: usize = 4096;
/// The most bytes that are recorded: a long transfer would fill the memory.
const RECORDED: usize = 64 * 1024 * 1024;
/// The number of packets that may wait for a path with a limited rate.
const WAITING: usize = 1000;
/// How long the forwarder waits when it has nothing to do.
const IDLE: Duration = Duration::from_secs(3600);

/// A running path. Dropping it ends the path.
#[derive(Debug)]
pub(super) struct ForwardingPath {
    record: Arc<Mutex<Record>>,
    route: Arc<Mutex<Route>>,
    /// Closed to end the forwarder.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// What the path has recorded.
#[derive(Debug, Default)]
struct Record {
    packets: Vec<PacketPath>,
    bytes: usize,
    /// Packets that were forwarded but not recorded because the record was full.
    unrecorded: u64,
    /// Packets that a host sent and the path missed because it was too slow.
    missed: u64,
    /// The longest time between the time when a packet was due and the time when it was sent.
    lateness: Duration,
}

impl ForwardingPath {
    /// Starts to forward between interfaces in the calling thread's namespace. The first is the client's.
    pub(super) fn start(settings: PathSettings, interfaces: &[(u32, End)]) -> Result<Self> {
        let mut ports = Vec::new();
        for (interface, end) in interfaces {
            let socket = PacketSocket::open(*interface, RING, false)
                .map_err(|e| Error::system("opening a packet socket on interface", interface, e))?;
            ports.push(Port { socket, end: *end });
        }
        let (stopped, stop) = io::pipe().map_err(|e| Error::system("pipe", "", e))?;
        let record = Arc::<Mutex<Record>>::default();
        let route = Arc::new(Mutex::new(Route::new(&settings.boxes, &settings.hops)));
        let shared = (Arc::clone(&record), Arc::clone(&route));
        let forwarder = Forwarder::new(settings, ports, stopped, shared);
        let thread = std::thread::Builder::new()
            .name("path".to_owned())
            .spawn(move || forwarder.run())
            .map_err(|e| Error::system("starting a thread for", "the path", e))?;
        Ok(Self { record, route, stop: Some(stop), thread: Some(thread) })
    }

    /// Replaces the boxes.
    pub(super) fn set_boxes(&self, boxes: &[Middlebox]) {
        lock(&self.route).set_boxes(boxes);
    }

    /// Returns the packets that have crossed so far, in the order in which they were sent.
    pub(super) fn packets(&self) -> Vec<PacketPath> {
        lock(&self.record).packets.clone()
    }

    /// Returns how many packets were recorded, and how many of them are on their way.
    pub(super) fn count(&self) -> (usize, usize) {
        let record = lock(&self.record);
        let open = |packet: &&PacketPath| packet.delivery == Delivery::Unknown;
        (record.packets.len(), record.packets.iter().filter(open).count())
    }

    /// Returns how many packets were forwarded but not recorded.
    pub(super) fn unrecorded(&self) -> u64 {
        lock(&self.record).unrecorded
    }

    /// Returns how many packets were missed.
    pub(super) fn missed(&self) -> u64 {
        lock(&self.record).missed
    }

    /// Returns the longest time between the time when a packet was due and the time when it was sent.
    pub(super) fn lateness(&self) -> Duration {
        lock(&self.record).lateness
    }
}

impl Drop for ForwardingPath {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A frame on its way.
#[derive(Debug)]
struct Waiting {
    due: Duration,
    /// Distinguishes frames that are due at the same time, and keeps their order.
    number: u64,
    port: usize,
    frame: Vec<u8>,
    /// The packet's index in the record.
    packet: Option<usize>,
}

impl Ord for Waiting {
    /// Makes the frame that is due first the greatest, which a heap returns first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

/// A frame that the kernel delivered.
struct Entered {
    at: Duration,
    frame: Vec<u8>,
}

/// An interface of the path.
struct Port {
    socket: PacketSocket,
    end: End,
}

struct Forwarder {
    settings: PathSettings,
    /// The client's side first.
    ports: Vec<Port>,
    stopped: PipeReader,
    record: Arc<Mutex<Record>>,
    route: Arc<Mutex<Route>>,
    /// One per direction: otherwise the loss would depend on which side sends first.
    loss: [fastrand::Rng; 2],
    jitter: [fastrand::Rng; 2],
    waiting: BinaryHeap<Waiting>,
    number: u64,
    /// When the last frame to each port leaves. The next one must not overtake it.
    last_due: Vec<Duration>,
    /// When each direction's line is free again.
    line_free: [Duration; 2],
    /// When each of the frames that wait for the line will have left.
    in_line: [VecDeque<Duration>; 2],
    /// The server of each connection.
    servers: HashMap<Flow, usize>,
    nat: Nat,
}

impl Forwarder {
    fn new(
        settings: PathSettings,
        ports: Vec<Port>,
        stopped: PipeReader,
        (record, route): (Arc<Mutex<Record>>, Arc<Mutex<Route>>),
    ) -> Self {
        let mut chance = fastrand::Rng::with_seed(settings.seed);
        let nat = Nat::new(settings.translate_client, settings.translate_servers);
        Self {
            route,
            nat,
            loss: [(); 2].map(|()| chance.fork()),
            jitter: [(); 2].map(|()| chance.fork()),
            settings,
            last_due: vec![Duration::ZERO; ports.len()],
            ports,
            stopped,
            record,
            waiting: BinaryHeap::new(),
            number: 0,
            line_free: [Duration::ZERO; 2],
            in_line: [VecDeque::new(), VecDeque::new()],
            servers: HashMap::new(),
        }
    }

    fn run(mut self) {
        // Without this a wait may end 50 µs late, which is less exact but still correct.
        let _ = packet::wake_exactly();
        while self.wait() {
            for port in 0..self.ports.len() {
                // Frames that are due must not wait behind a flood of arriving ones.
                for _ in 0..64 {
                    let Some(entered) = self.ports.get_mut(port).and_then(|port| {
                        port.socket.next(|seen| Entered { at: seen.at, frame: seen.frame.to_vec() })
                    }) else {
                        break;
                    };
                    self.take(port, entered);
                }
            }
            self.send_due();
        }
    }

    /// Waits for the next frame to arrive or to become due. Returns `false` at the end.
    fn wait(&self) -> bool {
        let next = self.waiting.peek().map_or(IDLE, |next| next.due.saturating_sub(now()));
        if next > Duration::from_millis(1) {
            self.count_missed();
        }
        let mut fds = vec![self.stopped.as_fd()];
        fds.extend(self.ports.iter().map(|port| port.socket.as_fd()));
        match packet::wait_readable(&fds, next) {
            Ok(first_is_ready) => !first_is_ready,
            Err(e) => {
                log::error!("the lab's path ends: {e}");
                false
            }
        }
    }

    fn count_missed(&self) {
        let missed: u64 =
            self.ports.iter().map(|port| u64::from(port.socket.lost().unwrap_or(0))).sum();
        if missed > 0 {
            lock(&self.record).missed += missed;
            log::warn!("the lab's path was too slow for {missed} packets, which are lost");
        }
    }

    fn take(&mut self, port: usize, entered: Entered) {
        let Some(end) = self.ports.get(port).map(|port| port.end) else { return };
        let direction = match end {
            End::Client | End::ProxyClient => Direction::ToServer,
            End::Server | End::ProxyServer => Direction::ToClient,
        };
        let Some(segment) = Segment::parse(&entered.frame) else {
            return self.take_other(end, direction, entered);
        };
        let server = self.server_of(flow(direction, &segment), port);
        let mut packet =
            PacketPath::sent(direction, Sighting::new(entered.at, entered.frame.clone()));
        if self.is_lost(direction) {
            packet.modifications.push(Modification::new("loss", "lost"));
            packet.delivery = Delivery::Dropped;
            self.note(packet);
            return;
        }
        let Carried { leaving, modifications } =
            lock(&self.route).carry(end, self.nat.enter(end, entered.frame), entered.at);
        packet.modifications = modifications;
        let mut packet = Some(packet);
        if leaving.iter().all(|leaving| leaving.made_by.is_some())
            && let Some(mut dropped) = packet.take()
        {
            dropped.delivery = Delivery::Dropped;
            self.note(dropped);
        }
        for leaving in leaving {
            let place = match packet.take() {
                Some(packet) if leaving.made_by.is_none() => self.note(packet),
                kept => {
                    packet = kept;
                    let direction = match leaving.end {
                        End::Server | End::ProxyServer => Direction::ToServer,
                        End::Client | End::ProxyClient => Direction::ToClient,
                    };
                    let mut made = PacketPath::forged(direction);
                    let by = leaving.made_by.map(|by| Modification::new(by, "sent by this box"));
                    made.modifications.extend(by);
                    // ICMP errors are no part of a connection.
                    Segment::parse(&leaving.frame).and_then(|_| self.note(made))
                }
            };
            let port =
                if leaving.end == End::Server { Some(server) } else { self.port_of(leaving.end) };
            if let Some(port) = port {
                // The client's port is the first one.
                let frame = self.nat.leave(leaving.end, port.saturating_sub(1), leaving.frame);
                let leaving = Leaving { frame, ..leaving };
                self.queue(entered.at, port, leaving, place);
            }
        }
    }

    /// Forwards what is not a TCP segment: ARP unchanged, IP packets from hop to hop.
    fn take_other(&mut self, end: End, direction: Direction, entered: Entered) {
        let carried = lock(&self.route).carry(end, entered.frame, entered.at);
        for leaving in carried.leaving {
            let Leaving { end, frame, made_by, links } = leaving;
            let to_all = end == End::Server && direction == Direction::ToServer;
            let ports: Vec<usize> = if to_all {
                let all = self.ports.iter().enumerate();
                all.filter(|(_, port)| port.end == end).map(|(index, _)| index).collect()
            } else {
                self.port_of(end).into_iter().collect()
            };
            for port in ports {
                self.queue(
                    entered.at,
                    port,
                    Leaving { end, frame: frame.clone(), made_by, links },
                    None,
                );
            }
        }
    }

    /// The first port of an end.
    fn port_of(&self, end: End) -> Option<usize> {
        self.ports.iter().position(|port| port.end == end)
    }

    fn is_lost(&mut self, direction: Direction) -> bool {
        self.settings.loss > 0.0 && self.loss[side(direction)].f64() < self.settings.loss
    }

    /// Returns the port of the connection's server: each new connection goes to the next server.
    fn server_of(&mut self, flow: Flow, port: usize) -> usize {
        if self.ports.get(port).is_some_and(|port| port.end == End::Server) {
            return port;
        }
        let next = self.servers.len();
        let servers = self.ports.iter().filter(|port| port.end == End::Server).count();
        *self.servers.entry(flow).or_insert(1 + next % servers.max(1))
    }

    fn queue(&mut self, at: Duration, port: usize, leaving: Leaving, packet: Option<usize>) {
        let Leaving { end, frame, made_by, links } = leaving;
        let side = usize::from(matches!(end, End::Client | End::ProxyClient));
        let mut leaves = at;
        // What a router makes itself does not wait for the line that packets from end to end share.
        if let Some(rate) = self.settings.rate.filter(|_| made_by.is_none()) {
            let line = &mut self.in_line[side];
            while line.front().is_some_and(|left| *left <= at) {
                line.pop_front();
            }
            if line.len() >= WAITING {
                return self.overflow(packet);
            }
            let bits = frame.len() as u64 * 8;
            let takes = Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate);
            leaves = at.max(self.line_free[side]) + takes;
            self.line_free[side] = leaves;
            line.push_back(leaves);
        }
        let jitter = self.settings.jitter.mul_f64(self.jitter[side].f64());
        let mut due = leaves + self.delay(links) + jitter;
        // It comes from nearer, and may overtake.
        if made_by.is_none()
            && let Some(last) = self.last_due.get_mut(port)
        {
            due = due.max(*last);
            *last = due;
        }
        self.number += 1;
        self.waiting.push(Waiting { due, number: self.number, port, frame, packet });
    }

    /// The time that this many links take in both directions.
    fn delay(&self, links: [usize; 2]) -> Duration {
        let all = u32::try_from(self.settings.hops.len() + 1).unwrap_or(1);
        let share = |direction: usize| {
            let links = u32::try_from(links[direction]).unwrap_or(0);
            self.settings.delay[direction] * links / all
        };
        share(0) + share(1)
    }

    fn overflow(&mut self, packet: Option<usize>) {
        let mut record = lock(&self.record);
        if let Some(packet) = packet.and_then(|place| record.packets.get_mut(place)) {
            packet.delivery = Delivery::Dropped;
            packet.modifications.push(Modification::new("rate", "dropped: the queue is full"));
        }
    }

    fn send_due(&mut self) {
        while self.waiting.peek().is_some_and(|next| next.due <= now()) {
            let Some(leaving) = self.waiting.pop() else { return };
            let Some(port) = self.ports.get(leaving.port) else { continue };
            // The lock is held while the frame is sent: whoever receives the frame finds it in the record.
            let mut record = lock(&self.record);
            let at = now();
            record.lateness = record.lateness.max(at.saturating_sub(leaving.due));
            let sent = port.socket.send(&leaving.frame);
            let Some(packet) = leaving.packet.and_then(|place| record.packets.get_mut(place))
            else {
                continue;
            };
            match sent {
                Ok(()) => {
                    packet.delivery = Delivery::Arrived;
                    packet.arrived = Some(Sighting::new(at, leaving.frame));
                }
                Err(e) => {
                    packet.delivery = Delivery::Dropped;
                    packet
                        .modifications
                        .push(Modification::new("path", format!("not handed over: {e}")));
                }
            }
        }
    }

    /// Records a packet, and returns its index if there was room.
    fn note(&mut self, packet: PacketPath) -> Option<usize> {
        let mut record = lock(&self.record);
        // A frame is stored twice: as sent and as arrived.
        let bytes = 2 * packet.sent.as_ref().map_or(64, |sighting| sighting.frame.len());
        if record.bytes + bytes > RECORDED {
            record.unrecorded += 1;
            return None;
        }
        record.bytes += bytes;
        record.packets.push(packet);
        Some(record.packets.len() - 1)
    }
}

const fn side(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

/// Returns the time since 1970 by the clock that stamps the frames.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
