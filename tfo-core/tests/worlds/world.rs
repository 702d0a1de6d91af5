//! What a seed draws: the client, the path, the servers and what happens on them.

use std::time::Duration;

use fastrand::Rng;
use tfo_core::cookie::FastOpenKey;
use tfo_core::lab::{Hop, HopProperty, HopRule, Middlebox, PathSettings, has_ipv6, hops};
use tfo_core::socket::Method;

use crate::service::Service;

/// Everything that a seed decides.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) v6: bool,
    pub(crate) method: Method,
    pub(crate) message: usize,
    /// The faults that were drawn, in words.
    pub(crate) faults: Vec<&'static str>,
    pub(crate) client: Client,
    pub(crate) servers: Vec<Server>,
    pub(crate) path: PathSettings,
    pub(crate) proxy: bool,
    pub(crate) lossy: bool,
    /// In front of the first hop, at each connection.
    pub(crate) boxes: Vec<Vec<Middlebox>>,
    /// Before which connection the servers change, and how.
    pub(crate) change: Option<(usize, Change)>,
    pub(crate) connections: usize,
    /// Others that make connections on the server's host, and on the client's.
    pub(crate) neighbours: (Option<Neighbour>, bool),
    pub(crate) connect_timeout: Duration,
    pub(crate) reply_timeout: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) bits: u32,
    pub(crate) route_without_cookies: bool,
    pub(crate) ecn: bool,
    pub(crate) timestamps: u32,
    pub(crate) blackhole: bool,
    /// How many source addresses it uses in turn.
    pub(crate) sources: usize,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Server {
    pub(crate) bits: u32,
    pub(crate) queue: u32,
    pub(crate) keys: (FastOpenKey, Option<FastOpenKey>),
    pub(crate) syncookies: u32,
    pub(crate) no_cookie: bool,
    pub(crate) save_syn: bool,
    pub(crate) service: Service,
    /// Its queue of 1 holds a child whose handshake never ends.
    pub(crate) filled: bool,
    /// It reads its counters for each connection.
    pub(crate) counts: bool,
    /// It can say which key made a cookie.
    pub(crate) knows_keys: bool,
}

/// Another listener of the server's host, with its client there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbour {
    /// Its key changes again and again.
    Keys,
    /// Its queue is full.
    Overflows,
}

/// What changes while connections are made.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Keys(FastOpenKey, Option<FastOpenKey>),
    Bits(u32),
    Queue(u32),
    Syncookies(u32),
}

/// One thing that can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Box,
    SecondBox,
    Loss,
    Proxy,
    Keys,
    KeyReplaced,
    KeyRotated,
    ServerOff,
    ServerOffLater,
    OneServerOff,
    QueueZero,
    QueueFull,
    Syncookies,
    SyncookiesLater,
    WithoutCookies,
    Silent,
    Slow,
    Closed,
    OneClosed,
    AcceptQueue,
    ClientOff,
    ClientWithoutCookies,
    Destination,
    SmallMtu,
    SmallMtuSilent,
    Blackhole,
}

/// With how often each is drawn.
const FAULTS: &[(Fault, usize)] = &[
    (Fault::Box, 40),
    (Fault::SecondBox, 16),
    (Fault::Loss, 14),
    (Fault::Proxy, 5),
    (Fault::Keys, 5),
    (Fault::KeyReplaced, 5),
    (Fault::KeyRotated, 2),
    (Fault::ServerOff, 4),
    (Fault::ServerOffLater, 3),
    (Fault::OneServerOff, 4),
    (Fault::QueueZero, 3),
    (Fault::QueueFull, 6),
    (Fault::Syncookies, 2),
    (Fault::SyncookiesLater, 1),
    (Fault::WithoutCookies, 4),
    (Fault::Silent, 3),
    (Fault::Slow, 2),
    (Fault::Closed, 2),
    (Fault::OneClosed, 3),
    (Fault::AcceptQueue, 3),
    (Fault::ClientOff, 1),
    (Fault::ClientWithoutCookies, 5),
    (Fault::Destination, 5),
    (Fault::SmallMtu, 3),
    (Fault::SmallMtuSilent, 3),
    (Fault::Blackhole, 1),
];

fn key(number: u8) -> FastOpenKey {
    FastOpenKey::new([number; FastOpenKey::LENGTH])
}

impl World {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // Seeds beside each other draw alike at first.
        let mut rng = rng.fork();
        let mut world = Self::plain(seed, &mut rng);
        let count = [0, 1, 1, 1, 1, 1, 2, 2, 2, 2][rng.usize(..10)];
        let mut faults: Vec<Fault> = Vec::new();
        while faults.len() < count {
            let fault = pick(&mut rng);
            if !faults.contains(&fault) && !faults.iter().any(|other| clash(*other, fault)) {
                faults.push(fault);
            }
        }
        let mut rules = Vec::new();
        let many = |fault: &Fault| {
            matches!(
                fault,
                Fault::Keys | Fault::OneServerOff | Fault::OneClosed | Fault::Destination
            )
        };
        if faults.iter().any(many) {
            let count = rng.usize(2..=4);
            world.servers = vec![world.servers[0].clone(); count];
            world.connections += 1;
        }
        let mut hop_count = [0, 0, 1, 3][rng.usize(..4)];
        for fault in faults {
            world.add(fault, &mut rng, &mut hop_count, &mut rules);
        }
        let mut hops: Vec<Hop> = hops(hop_count, &rules).unwrap();
        let delay = Duration::from_micros([0, 500, 2_000, 10_000][rng.usize(..4)]);
        let path = std::mem::take(&mut world.path);
        world.path = path.delays(delay, delay).hops(std::mem::take(&mut hops)).seed(seed);
        world
    }

    /// What hides something from both ends, in words.
    pub(crate) fn context(&self) -> String {
        let server = &self.servers[0];
        let hidden = [
            (self.client.timestamps != 1, " without timestamps"),
            (!server.counts, " without counters"),
            (!server.save_syn, " without saved SYNs"),
            (self.neighbours.0.is_some(), " with a neighbour of the server"),
            (self.neighbours.1, " with a neighbour of the client"),
        ];
        hidden.iter().filter(|(so, _)| *so).map(|(_, what)| *what).collect()
    }

    fn plain(seed: u64, rng: &mut Rng) -> Self {
        let server = Server {
            bits: if rng.u8(..10) == 0 { 2 } else { 3 },
            queue: 256,
            keys: (key(1), None),
            syncookies: rng.u32(..2),
            no_cookie: false,
            save_syn: rng.u8(..25) > 0,
            service: Service::Mirror,
            filled: false,
            counts: rng.u8(..16) > 0,
            knows_keys: rng.bool(),
        };
        let connections = rng.usize(3..=5);
        Self {
            seed,
            v6: has_ipv6() && rng.bool(),
            method: if rng.bool() { Method::SendTo } else { Method::Connect },
            message: [64, 64, 300, 1000][rng.usize(..4)],
            faults: Vec::new(),
            client: Client {
                bits: if rng.bool() { 1 } else { 3 },
                route_without_cookies: false,
                ecn: rng.u8(..5) == 0,
                timestamps: [0, 2].get(rng.usize(..60)).copied().unwrap_or(1),
                blackhole: false,
                sources: if rng.u8(..8) == 0 { 2 } else { 1 },
            },
            servers: vec![server],
            path: PathSettings::new()
                .translate_client(rng.u8(..5) == 0)
                .translate_servers(rng.u8(..8) == 0),
            proxy: false,
            lossy: false,
            boxes: vec![Vec::new(); connections + 1],
            change: None,
            connections,
            neighbours: (
                [Neighbour::Keys, Neighbour::Overflows].get(rng.usize(..8)).copied(),
                rng.u8(..6) == 0,
            ),
            connect_timeout: Duration::from_millis(2500),
            reply_timeout: Duration::from_millis(1500),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each fault")]
    fn add(
        &mut self,
        fault: Fault,
        rng: &mut Rng,
        hop_count: &mut usize,
        rules: &mut Vec<HopRule>,
    ) {
        let later = rng.usize(1..self.connections);
        let path = |world: &mut Self, change: fn(PathSettings) -> PathSettings| {
            world.path = change(std::mem::take(&mut world.path));
        };
        let name = match fault {
            Fault::Box => self.add_box(rng, hop_count, rules),
            Fault::SecondBox => {
                // It may be the third.
                if rng.u8(..3) == 0 {
                    let name = self.add_box(rng, hop_count, rules);
                    self.faults.push(name);
                }
                self.add_box(rng, hop_count, rules)
            }
            Fault::Loss => {
                self.path = std::mem::take(&mut self.path).loss(0.02 + 0.13 * rng.f64());
                self.lossy = true;
                "loss"
            }
            Fault::Proxy => {
                *hop_count = (*hop_count).max(1);
                rules.push(HopRule::new(rng.usize(1..=*hop_count), HopProperty::Proxy));
                self.proxy = true;
                "proxy"
            }
            Fault::Keys => {
                for (number, server) in (1..).zip(&mut self.servers) {
                    server.keys.0 = key(number);
                }
                "several keys"
            }
            Fault::KeyReplaced => {
                self.change = Some((later, Change::Keys(key(9), None)));
                "key replaced"
            }
            Fault::KeyRotated => {
                self.change = Some((later, Change::Keys(key(9), Some(key(1)))));
                "key rotated"
            }
            Fault::ServerOff => {
                self.servers.iter_mut().for_each(|server| server.bits = 1);
                "server off"
            }
            Fault::ServerOffLater => {
                let change = if rng.bool() { Change::Bits(1) } else { Change::Queue(0) };
                self.change = Some((later, change));
                "server off later"
            }
            Fault::OneServerOff => {
                let which = rng.usize(..self.servers.len());
                if rng.bool() {
                    self.servers[which].bits = 1;
                } else {
                    self.servers[which].queue = 0;
                }
                "one server off"
            }
            Fault::QueueZero => {
                self.servers.iter_mut().for_each(|server| server.queue = 0);
                "queue 0"
            }
            Fault::QueueFull => {
                self.servers[0].queue = 1;
                self.servers[0].filled = true;
                "queue full"
            }
            Fault::Syncookies => {
                self.servers.iter_mut().for_each(|server| server.syncookies = 2);
                "syncookies"
            }
            Fault::SyncookiesLater => {
                self.change = Some((later, Change::Syncookies(2)));
                "syncookies later"
            }
            Fault::WithoutCookies => {
                let setting = rng.bool();
                for server in &mut self.servers {
                    if setting {
                        server.bits |= 0x200;
                    } else {
                        server.no_cookie = true;
                    }
                }
                "server without cookies"
            }
            Fault::Silent => self.all(Service::Silent, "silent"),
            Fault::Slow => {
                let time = [100, 1200, 1700][rng.usize(..3)];
                self.all(Service::Slow(Duration::from_millis(time)), "slow")
            }
            Fault::Closed => self.all(Service::Closed, "closed"),
            Fault::OneClosed => {
                let which = rng.usize(..self.servers.len());
                self.servers[which].service = Service::Closed;
                "one server closed"
            }
            Fault::AcceptQueue => {
                self.all(Service::Stalled(Duration::from_millis(150)), "accept queue full")
            }
            Fault::ClientOff => {
                self.client.bits = 2;
                "client off"
            }
            Fault::ClientWithoutCookies => {
                if rng.bool() {
                    self.client.bits |= 4;
                } else {
                    self.client.route_without_cookies = true;
                }
                "client without cookies"
            }
            Fault::Destination => {
                path(self, |path| path.translate_servers(true));
                "destination translated"
            }
            Fault::SmallMtu | Fault::SmallMtuSilent => {
                *hop_count = (*hop_count).max(1);
                let mtu = [600, 900][rng.usize(..2)];
                let property = if fault == Fault::SmallMtu {
                    HopProperty::Mtu(mtu)
                } else {
                    HopProperty::MtuSilent(mtu)
                };
                rules.push(HopRule::new(rng.usize(1..=*hop_count), property));
                self.message = 1000;
                path(self, |path| path.translate_client(false).translate_servers(false));
                if fault == Fault::SmallMtu { "small MTU" } else { "small MTU, silent" }
            }
            Fault::Blackhole => {
                self.client.blackhole = true;
                for boxes in self.boxes.iter_mut().skip(1).take(1) {
                    boxes.push(Middlebox::SwallowAfterSynData);
                }
                self.connect_timeout = Duration::from_millis(4500);
                "blackhole pause"
            }
        };
        self.faults.push(name);
    }

    fn all(&mut self, service: Service, name: &'static str) -> &'static str {
        self.servers.iter_mut().for_each(|server| server.service = service);
        name
    }

    fn add_box(
        &mut self,
        rng: &mut Rng,
        hop_count: &mut usize,
        rules: &mut Vec<HopRule>,
    ) -> &'static str {
        let middlebox = Middlebox::ALL[rng.usize(..Middlebox::ALL.len())];
        let kind = rng.u8(..4);
        if kind == 0 && *hop_count > 0 {
            rules.push(HopRule::new(rng.usize(1..=*hop_count), HopProperty::Box(middlebox)));
            return middlebox.name();
        }
        let once = rng.usize(..self.boxes.len());
        for (number, boxes) in self.boxes.iter_mut().enumerate() {
            let acts = match kind {
                0 | 1 => true,
                2 => number == once,
                _ => rng.u8(..5) < 2,
            };
            if acts {
                boxes.push(middlebox);
            }
        }
        middlebox.name()
    }
}

fn pick(rng: &mut Rng) -> Fault {
    let all: usize = FAULTS.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.usize(..all);
    for (fault, weight) in FAULTS {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *fault,
        }
    }
    Fault::Box
}

/// Faults that can't be in one world.
fn clash(one: Fault, other: Fault) -> bool {
    let changes = |fault| {
        matches!(
            fault,
            Fault::KeyReplaced | Fault::KeyRotated | Fault::ServerOffLater | Fault::SyncookiesLater
        )
    };
    let mtu = |fault| matches!(fault, Fault::SmallMtu | Fault::SmallMtuSilent);
    let services =
        |fault| matches!(fault, Fault::Silent | Fault::Slow | Fault::Closed | Fault::OneClosed);
    let fills = |fault| matches!(fault, Fault::QueueFull | Fault::Blackhole);
    let pair = |is: fn(Fault) -> bool| is(one) && is(other);
    pair(|fault| {
        matches!(
            fault,
            Fault::KeyReplaced | Fault::KeyRotated | Fault::ServerOffLater | Fault::SyncookiesLater
        )
    }) || (changes(one) && other == Fault::Keys)
        || (changes(other) && one == Fault::Keys)
        || (mtu(one) && (mtu(other) || other == Fault::Destination || other == Fault::Proxy))
        || (mtu(other) && (one == Fault::Destination || one == Fault::Proxy))
        || (services(one) && services(other))
        || (fills(one) && (fills(other) || services(other)))
        || (fills(other) && services(one))
        || one == Fault::SecondBox && other != Fault::Box
        || other == Fault::SecondBox && one != Fault::Box
}
