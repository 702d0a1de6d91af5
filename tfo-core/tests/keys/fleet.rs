//! A fleet that derives its keys from clocks that differ by a tenth of an epoch: real listeners, real clients, and
//! two rotations within seconds, because the test sets each server's clock.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tfo_core::cookie::derived::{Schedule, Secret, Slots};
use tfo_core::lab::{CLIENT_V4, CLIENT_V6, Host, Network, PathSettings, isolated};
use tfo_core::socket::FastOpenListener;

use super::support::{connect, counters, serve};

const EPOCH: Duration = Duration::from_secs(3600);
/// How far each server's clock is ahead, in epochs: the ends differ by a tenth.
const AHEAD: [f64; 3] = [0.0, 0.04, 0.1];
/// The longest time that a client stays away, in epochs, for which the rule holds.
const AWAY: f64 = 0.7;
/// The end, in epochs, after two rotations and the transition of the second.
const END: f64 = 2.9;

/// A server of the fleet.
struct Server {
    listener: Arc<FastOpenListener>,
    ahead: f64,
    slots: Option<Slots>,
}

impl Server {
    /// Starts to serve.
    fn start(listener: FastOpenListener, ahead: f64) -> Self {
        let listener = Arc::new(listener);
        let served = Arc::clone(&listener);
        thread::spawn(move || {
            loop {
                serve(&served);
            }
        });
        Self { listener, ahead, slots: None }
    }

    /// Checks the server's clock, and returns whether the keys were changed.
    fn tick(&mut self, secret: &Secret, epochs: f64) -> bool {
        let schedule = Schedule::new(EPOCH);
        let now = SystemTime::UNIX_EPOCH + EPOCH.mul_f64(400_000.0 + epochs + self.ahead);
        let slots = schedule.slots(now);
        if self.slots.replace(slots) == Some(slots) {
            return false;
        }
        let ring = schedule.ring(secret, now);
        self.listener.set_keys(ring.primary(), ring.backup()).unwrap();
        true
    }
}

fn secret() -> Secret {
    Secret::new(b"what all servers of the fleet know").unwrap()
}

/// Returns when each client connects, in epochs, sorted by time: first within the first stretch, then repeatedly
/// after at most [`AWAY`].
fn visits(clients: usize, briefest: f64) -> Vec<(f64, usize)> {
    let mut state = 0x2545_f491_u32;
    let mut random = move || {
        // An xorshift generator: the same visits in each run.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX)
    };
    let mut visits = Vec::new();
    for client in 0..clients {
        let mut time = random() * AWAY;
        while time < END {
            visits.push((time, client));
            time += briefest + random() * (AWAY - briefest);
        }
    }
    visits.sort_by(|a, b| a.0.total_cmp(&b.0));
    visits
}

#[test]
fn thousand_clients_miss_nothing_over_two_rotations() {
    isolated(|| {
        let host = Host::new("fleet").unwrap();
        let port = 2222;
        // One port for all: the kernel distributes connections among the listeners.
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let mut fleet = AHEAD.map(|ahead| {
            let builder = FastOpenListener::builder(any).reuse_port(true);
            Server::start(host.run(move || builder.listen()).unwrap(), ahead)
        });
        // The cookie cache holds few entries per destination: each client has its own.
        let address = |network: u8, client: usize| {
            let [high, low] = u16::try_from(client).unwrap().to_be_bytes();
            IpAddr::from([127, network, high, low])
        };
        let (clients, secret) = (1_000, secret());
        let before = counters(&host);
        let mut changes = 0;
        let visits = visits(clients, 0.3);
        let mut accepted = 0;
        for (time, client) in visits.iter().copied() {
            for server in &mut fleet {
                changes += usize::from(server.tick(&secret, time));
            }
            let (from, to) = (address(1, client), SocketAddr::new(address(2, client), port));
            accepted += usize::from(host.run(move || connect(from, to)));
        }
        let change = counters(&host).since(&before);
        assert_eq!(change.passive_fail, 0, "no cookie was refused: {change:?}");
        assert_eq!(change.listen_overflow, 0, "nor anything else: {change:?}");
        assert!(changes >= 3 * 5, "each server rotated twice, in two steps: {changes}");
        assert!(change.passive_alt_key > 1_000, "most cookies were renewed: {change:?}");
        // The first connections ask for a cookie; the cache may evict a few.
        let returned = visits.len() - clients;
        assert!(
            accepted <= returned && accepted * 100 >= returned * 99,
            "{accepted} of {returned}"
        );
    });
}

#[test]
fn hosts_behind_one_address_miss_nothing_over_two_rotations() {
    isolated(|| {
        let network = Network::with_servers(PathSettings::new(), AHEAD.len()).unwrap();
        let address = SocketAddr::new(IpAddr::from([0_u16; 8]), 2222);
        let mut fleet: Vec<Server> = network
            .servers()
            .iter()
            .zip(AHEAD)
            .map(|(host, ahead)| {
                let listener = host.run(move || FastOpenListener::bind(address)).unwrap();
                Server::start(listener, ahead)
            })
            .collect();
        let secret = secret();
        let visits = visits(2, 0.02);
        let mut accepted = 0;
        for (time, client) in visits.iter().copied() {
            for server in &mut fleet {
                server.tick(&secret, time);
            }
            let v6 = client == 1;
            let from = if v6 { CLIENT_V6.into() } else { CLIENT_V4.into() };
            let to = SocketAddr::new(Network::server_address(v6), 2222);
            accepted += usize::from(network.client().run(move || connect(from, to)));
        }
        let hosts: Vec<_> = network.servers().iter().map(counters).collect();
        for counters in &hosts {
            assert_eq!(counters.passive_fail, 0, "no cookie was refused: {hosts:?}");
            assert!(counters.passive > 1, "each server took its part: {hosts:?}");
        }
        assert_eq!(accepted, visits.len() - 2, "all but the first of each client: {hosts:?}");
        let renewed: u64 = hosts.iter().map(|counters| counters.passive_alt_key).sum();
        assert!(renewed >= 2 * 2, "each rotation renewed each client's cookie: {hosts:?}");
    });
}

#[test]
fn fleet_without_the_preparation_misses() {
    isolated(|| {
        let host = Host::new("fleet").unwrap();
        let listen = |port| {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            host.run(move || FastOpenListener::bind(any)).unwrap()
        };
        // Cookies do not depend on ports: two ports are two servers of one address.
        let [mut ahead, mut behind] =
            [(2222, 0.0), (2223, -0.25)].map(|(port, ahead)| Server::start(listen(port), ahead));
        let client = IpAddr::from([127, 0, 0, 1]);
        let server = |port| SocketAddr::new(IpAddr::from([127, 0, 0, 2]), port);
        let before = counters(&host);
        for server in [&mut ahead, &mut behind] {
            // A clock that is off by more than a fifth of an epoch.
            assert!(server.tick(&secret(), 1.0));
        }
        assert!(!host.run(move || connect(client, server(2222))), "it asks for a cookie");
        assert!(host.run(move || connect(client, server(2222))), "which is good there");
        assert!(!host.run(move || connect(client, server(2223))), "and not here");
        assert_eq!(counters(&host).since(&before).passive_fail, 1, "these tests see a miss");
    });
}
