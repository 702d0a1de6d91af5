//! Plays a world: real kernels, the connections that it draws, and what both ends and the path saw of each.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::capture::PacketPath;
use tfo_core::cookie::forensics::{neighbours, origin};
use tfo_core::cookie::{FastOpenKey, KeyRing};
use tfo_core::diagnosis::{Evidence, ServerEvidence, Verdict, judge};
use tfo_core::host::{FastOpenFlags, sockets};
use tfo_core::lab::{Host, Middlebox, Network, has_ipv6};
use tfo_core::probe::mirror::{self, Answer};
use tfo_core::probe::{Probe, Series};
use tfo_core::socket::{Connector, FastOpenListener, Method, TcpState};

use crate::service::{self, Forensics, Look, Records, Service};
use crate::world::{Change, Neighbour, Server, World};

pub(crate) const PORT: u16 = 2222;
const NEIGHBOUR: u16 = 3333;
const UNKNOWING: u16 = 3334;

/// What is left of a world that was played.
pub(crate) struct Played {
    pub(crate) connections: Vec<Connection>,
    pub(crate) packets: Vec<PacketPath>,
    /// The keys that servers had at any time.
    pub(crate) keys: Vec<FastOpenKey>,
    pub(crate) lateness: Duration,
}

/// One connection, as both ends saw it.
pub(crate) struct Connection {
    /// The client's own address.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: SocketAddr,
    /// The number of the server that it reached, and the port of the client that this server saw.
    pub(crate) reached: Option<(usize, SocketAddr)>,
    /// The servers at that time.
    pub(crate) servers: Vec<Server>,
    pub(crate) views: Vec<(&'static str, Evidence, Verdict)>,
}

/// `None`: this machine was too busy to make the hosts.
pub(crate) fn play(world: &World) -> Option<Played> {
    let mut stage = Stage::new(world)?;
    let mut series = Series::default();
    let mut connections = Vec::new();
    for number in 0..world.connections {
        connections.push(stage.connect(number, &mut series));
    }
    stage.network.settle(Duration::from_millis(5));
    let lateness = stage.network.lateness();
    let late = stage.network.missed() > 0;
    let lateness = if late { Duration::MAX } else { lateness };
    let (packets, keys) = (stage.network.packets(), stage.keys.clone());
    Some(Played { connections, packets, keys, lateness })
}

struct Stage<'a> {
    world: &'a World,
    network: Network,
    address: SocketAddr,
    listeners: Vec<Option<Arc<FastOpenListener>>>,
    records: Vec<Records>,
    servers: Vec<Server>,
    keys: Vec<FastOpenKey>,
    rings: Vec<Arc<Mutex<KeyRing>>>,
    stop: Arc<AtomicBool>,
}

fn extra(number: u8, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(198, 18, 0, number).into()
    }
}

fn any(port: u16) -> SocketAddr {
    let any = if has_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
    SocketAddr::new(any, port)
}

fn set(host: &Host, name: &'static str, value: u32) {
    host.run(move || fs::write(format!("/proc/sys/net/ipv4/{name}"), value.to_string())).unwrap();
}

impl<'a> Stage<'a> {
    fn new(world: &'a World) -> Option<Self> {
        let network = Network::with_servers(world.path.clone(), world.servers.len()).ok()?;
        if world.proxy {
            network.relay(PORT).unwrap();
        }
        let address = SocketAddr::new(Network::server_address(world.v6), PORT);
        let client = network.client();
        client.set_tcp_fastopen(FastOpenFlags::new(world.client.bits)).unwrap();
        set(client, "tcp_ecn", if world.client.ecn { 1 } else { 2 });
        set(client, "tcp_timestamps", world.client.timestamps);
        if world.client.blackhole {
            set(client, "tcp_fastopen_blackhole_timeout_sec", 60);
        }
        if world.client.route_without_cookies {
            client.route_without_cookies(address.ip()).unwrap();
        }
        for number in 0..2 {
            client.add_address(extra(number, world.v6)).unwrap();
        }
        let mut stage = Self {
            world,
            network,
            address,
            listeners: Vec::new(),
            records: Vec::new(),
            servers: world.servers.clone(),
            keys: Vec::new(),
            rings: Vec::new(),
            stop: Arc::default(),
        };
        for number in 0..world.servers.len() {
            stage.start(number);
        }
        for (number, server) in world.servers.iter().enumerate() {
            if matches!(server.service, Service::Stalled(_)) {
                let stop = Arc::clone(&stage.stop);
                stage.network.servers()[number].run(|| crowd(stop));
            }
        }
        if let Some(neighbour) = world.neighbours.0 {
            let queue = if neighbour == Neighbour::Overflows { 1 } else { 16 };
            for server in stage.network.servers() {
                let stop = Arc::clone(&stage.stop);
                server.run(move || on_server(stop, queue));
            }
            if neighbour == Neighbour::Overflows {
                stage.fill(NEIGHBOUR);
            }
        }
        if world.servers.iter().any(|server| server.filled) {
            stage.fill(PORT);
            stage.find_filled();
        }
        if world.neighbours.1 {
            let (stop, v6) = (Arc::clone(&stage.stop), world.v6);
            stage.network.client().run(move || on_client(&stop, v6));
        }
        Some(stage)
    }

    fn start(&mut self, number: usize) {
        let server = self.servers[number].clone();
        let host = &self.network.servers()[number];
        host.set_tcp_fastopen(FastOpenFlags::new(server.bits)).unwrap();
        set(host, "tcp_syncookies", server.syncookies);
        let (primary, backup) = server.keys.clone();
        self.keys.push(primary.clone());
        let ring = Arc::new(Mutex::new(KeyRing::new(primary.clone(), backup.clone())));
        self.rings.push(Arc::clone(&ring));
        let records = Records::default();
        self.records.push(Arc::clone(&records));
        let listener = (server.service != Service::Closed).then(|| {
            host.run(move || {
                let builder = FastOpenListener::builder(any(PORT))
                    .queue(server.queue)
                    .keys(primary, backup)
                    .no_cookie(server.no_cookie)
                    .save_syn(server.save_syn);
                let stalled = matches!(server.service, Service::Stalled(_));
                let builder = if stalled { builder.backlog(1) } else { builder };
                let listener = Arc::new(builder.listen().unwrap());
                let forensics = server.knows_keys.then(|| forensics(ring));
                let look = Look { counters: server.counts, forensics };
                service::serve(&listener, server.service, &records, look);
                listener
            })
        });
        self.listeners.push(listener);
    }

    /// Leaves children in the queues of this port whose handshake never ends.
    fn fill(&self, port: u16) {
        let from = SocketAddr::new(extra(0, self.world.v6), 0);
        let address = SocketAddr::new(self.address.ip(), port);
        let connect = |message: &'static str| {
            let connector = Connector::default()
                .method(Method::SendTo)
                .timeout(Duration::from_millis(100))
                .bind(from);
            self.network
                .client()
                .run(move || drop(connector.connect(address, &mirror::request(message, 64))));
        };
        for _ in &self.servers {
            connect("fetch");
        }
        self.network.set_boxes(&[Middlebox::SwallowAfterSynData]);
        for _ in &self.servers {
            connect("swallowed");
        }
        self.network.set_boxes(&[]);
    }

    /// Looks which queues are full.
    fn find_filled(&mut self) {
        for (number, host) in self.network.servers().iter().enumerate() {
            let children = host.run(|| {
                let open = sockets::connections(&[TcpState::SynRecv]).unwrap();
                let child = |one: &&sockets::Connection| {
                    one.local.port() == PORT && one.info.as_ref().is_some_and(|info| info.tfo_child)
                };
                open.iter().filter(child).count()
            });
            let server = &mut self.servers[number];
            server.filled = children >= server.queue.max(1) as usize;
        }
    }

    fn change(&mut self, change: &Change) {
        for number in 0..self.servers.len() {
            let host = &self.network.servers()[number];
            let server = &mut self.servers[number];
            let listener = &self.listeners[number];
            match change {
                Change::Keys(primary, backup) => {
                    if let Some(listener) = listener {
                        listener.set_keys(primary, backup.as_ref()).unwrap();
                    }
                    self.keys.push(primary.clone());
                    server.keys = (primary.clone(), backup.clone());
                    let mut ring = self.rings[number].lock().unwrap();
                    *ring = ring.rotated(primary.clone(), backup.clone());
                }
                Change::Bits(bits) => {
                    host.set_tcp_fastopen(FastOpenFlags::new(*bits)).unwrap();
                    server.bits = *bits;
                }
                Change::Queue(queue) => {
                    if let Some(listener) = listener {
                        listener.set_queue(*queue).unwrap();
                    }
                    server.queue = *queue;
                }
                Change::Syncookies(value) => {
                    set(host, "tcp_syncookies", *value);
                    server.syncookies = *value;
                }
            }
        }
    }

    fn connect(&mut self, number: usize, series: &mut Series) -> Connection {
        let world = self.world;
        if let Some((_, change)) = world.change.as_ref().filter(|(at, _)| *at == number) {
            self.change(change);
        }
        self.network.set_boxes(&world.boxes[number]);
        let mut probe = Probe::new(self.address)
            .method(world.method)
            .connect_timeout(world.connect_timeout)
            .reply_timeout(world.reply_timeout)
            .until(Answer::is_complete);
        if world.client.sources > 1 && number % 2 == 1 {
            probe = probe.bind(SocketAddr::new(extra(1, world.v6), 0));
        }
        let token = format!("w{number}");
        let (run, message) = (probe.clone(), mirror::request(&token, world.message));
        let seen = self.network.client().run(move || run.run(&message));
        let local = seen.evidence.local.filter(|local| local.port() != 0);
        let port = local.map(|local| local.port());
        let servers = self.servers.clone();
        let client = seen.evidence.clone();
        let record = self.wait_for(&token, port);
        let mirrored = Answer::parse(&seen.answer).ok().map(|answer| answer.evidence);
        let other = mirrored.or_else(|| record.as_ref().map(|(_, _, later)| later.clone()));
        let mut both = Evidence::new(Some(client.clone()), other);
        let mut evidence = vec![("client", Evidence::new(Some(client), None))];
        let mut own = std::mem::take(series);
        let (mut own, both) = self.network.client().run(move || {
            own.complete(&probe, &mut both);
            (own, both)
        });
        std::mem::swap(series, &mut own);
        // With what the other connections of the run showed, but without the server.
        evidence.push(("client-series", Evidence::new(both.client.clone(), None)));
        let both_halves = both.server.is_some();
        if both_halves {
            evidence.push(("both", both));
        }
        let reached = record.as_ref().map(|(index, answered, _)| (*index, answered.source));
        if let Some((_, answered, later)) = record {
            evidence.push(("server", Evidence::new(None, Some(answered))));
            evidence.push(("server-later", Evidence::new(None, Some(later))));
        }
        let judged = |(view, evidence): (&'static str, Evidence)| {
            let verdict = judge(&evidence);
            (view, evidence, verdict)
        };
        let views = evidence.into_iter().map(judged).collect();
        Connection { local, remote: self.address, reached, servers, views }
    }

    /// What a server saw of a connection, and which.
    fn wait_for(
        &self,
        token: &str,
        port: Option<u16>,
    ) -> Option<(usize, ServerEvidence, ServerEvidence)> {
        let end = Instant::now() + Duration::from_millis(20);
        loop {
            for (index, records) in self.records.iter().enumerate() {
                let records = records.lock().unwrap();
                let own = records.iter().find(|record| match &record.token {
                    Some(found) => found == token,
                    None => !self.world.proxy && Some(record.evidence.source.port()) == port,
                });
                if let Some(record) = own {
                    return Some((index, record.evidence.clone(), record.now()));
                }
            }
            if Instant::now() > end {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.listeners.iter().flatten().for_each(|listener| service::stop(listener));
    }
}

fn forensics(ring: Arc<Mutex<KeyRing>>) -> Forensics {
    Arc::new(move |evidence| {
        let cookie = evidence.syn.saved()?.fast_open?.cookie;
        let (source, destination) = (evidence.source.ip(), evidence.destination.ip());
        let ring = ring.lock().unwrap();
        (!cookie.is_empty())
            .then(|| origin(&cookie, source, destination, &ring, neighbours(source)).into())
    })
}

/// Makes connections within the server's host that raise its counters: to a listener whose key changes, and to one
/// without fast open.
fn on_server(stop: Arc<AtomicBool>, queue: u32) {
    let local = SocketAddr::from(([127, 0, 0, 1], NEIGHBOUR));
    let listener = FastOpenListener::builder(any(NEIGHBOUR)).queue(queue).listen().unwrap();
    let plain = TcpListener::bind(("127.0.0.1", UNKNOWING)).unwrap();
    thread::spawn(move || {
        let mut number = 0_u8;
        while !stop.load(Ordering::Relaxed) {
            number = number.wrapping_add(1);
            let port = if number.is_multiple_of(4) { UNKNOWING } else { NEIGHBOUR };
            if number.is_multiple_of(3) && queue > 1 {
                let _ = listener.set_keys(&FastOpenKey::new([number | 1; 16]), None);
            }
            let connector =
                Connector::default().method(Method::SendTo).timeout(Duration::from_millis(100));
            let ours = connector.connect(SocketAddr::new(local.ip(), port), b"neighbour");
            if port == NEIGHBOUR {
                drop(listener.accept());
            } else {
                drop(plain.accept());
            }
            drop(ours);
            thread::sleep(Duration::from_millis(5 + u64::from(number % 7)));
        }
    });
}

/// Fills the accept queue again and again, for about half of the time.
fn crowd(stop: Arc<AtomicBool>) {
    let local = SocketAddr::from(([127, 0, 0, 1], PORT));
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let waiting: Vec<_> = (0..3)
                .map(|_| {
                    let connector =
                        Connector::default().method(Method::Off).timeout(Duration::from_millis(5));
                    connector.connect(local, &[])
                })
                .collect();
            thread::sleep(Duration::from_millis(800));
            drop(waiting);
        }
    });
}

/// Connects to an address that does not answer, so that the client's counters rise.
fn on_client(stop: &Arc<AtomicBool>, v6: bool) {
    for number in 0..4 {
        let stop = Arc::clone(stop);
        let target = extra(99, v6);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(number * 60));
            while !stop.load(Ordering::Relaxed) {
                let connector = Connector::default()
                    .method(Method::SendTo)
                    .timeout(Duration::from_millis(1100));
                drop(connector.connect(SocketAddr::new(target, NEIGHBOUR), b"nobody"));
            }
        });
    }
}
