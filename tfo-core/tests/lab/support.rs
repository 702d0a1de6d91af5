//! A network with a mirror on each server.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use tfo_core::lab::{Network, PathSettings};
use tfo_core::mirror::{self, Answer};
use tfo_core::observer::{Observation, Probe, serve_mirror};
use tfo_core::socket::{FastOpenListener, Method};

pub(crate) const PORT: u16 = 2222;

pub(crate) fn network(settings: PathSettings) -> Network {
    network_with_servers(settings, 1)
}

pub(crate) fn network_with_servers(settings: PathSettings, servers: usize) -> Network {
    let network = Network::with_servers(settings, servers).unwrap();
    for server in network.servers() {
        server.run(|| {
            // IPv4 connections too: the namespace's `bindv6only` is 0.
            let address = SocketAddr::new(IpAddr::from([0_u16; 8]), PORT);
            let listener = FastOpenListener::bind(address).unwrap();
            thread::spawn(move || serve_mirror(&listener));
        });
    }
    network
}

pub(crate) fn probe(network: &Network, v6: bool, method: Method) -> Observation {
    let address = SocketAddr::new(Network::server_address(v6), PORT);
    network.client().run(move || {
        Probe::new(address)
            .method(method)
            .connect_timeout(Duration::from_secs(4))
            .reply_timeout(Duration::from_secs(4))
            .until(Answer::is_complete)
            .run(&mirror::request("token", 64))
    })
}
