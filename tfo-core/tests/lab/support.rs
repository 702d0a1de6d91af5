//! A network with a mirror on each server.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use tfo_core::lab::{Network, PathSettings, has_ipv6, skip};
use tfo_core::probe::mirror::{self, Answer};
use tfo_core::probe::{Observation, Probe, serve_mirror};
use tfo_core::socket::{FastOpenListener, Method};

pub(crate) const PORT: u16 = 2222;

/// The address on which a server is reached by both families: the namespace's `bindv6only` is 0.
pub(crate) fn any_address() -> SocketAddr {
    let any = if has_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
    SocketAddr::new(any, PORT)
}

/// Returns, for each family that this kernel has, whether it is IPv6.
pub(crate) fn families() -> &'static [bool] {
    if has_ipv6() {
        return &[false, true];
    }
    skip("this kernel has no IPv6: only IPv4 is tested");
    &[false]
}

pub(crate) fn network(settings: PathSettings) -> Network {
    network_with_servers(settings, 1)
}

pub(crate) fn network_with_servers(settings: PathSettings, servers: usize) -> Network {
    let network = Network::with_servers(settings, servers).unwrap();
    for server in network.servers() {
        server.run(|| {
            let listener = FastOpenListener::bind(any_address()).unwrap();
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
