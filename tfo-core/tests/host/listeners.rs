//! The listeners on a host.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use tfo_core::host::{Listener, listeners};
use tfo_core::lab::isolated;
use tfo_core::socket::{Connector, FastOpenListener, option};

use crate::support::{Net, SERVERS, on, set};

fn of(net: &Net, address: SocketAddr) -> Option<Listener> {
    let all = net.server.run(listeners).expect("anybody may list");
    all.into_iter().find(|listener| listener.address == address)
}

#[test]
fn each_listener_of_the_host_is_listed_with_its_queue() {
    isolated(|| {
        let net = Net::new();
        assert_eq!(net.server.run(listeners).unwrap(), [], "a new host");
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        for builder in [on(SERVERS[0]), on(SERVERS[1]), FastOpenListener::builder(any)] {
            let listener = net.listen(builder.queue(17));
            let _client = {
                let server = SocketAddr::new(SERVERS[1], listener.local_addr().port());
                net.client.run(move || Connector::default().connect(server, b"hello").ok())
            };
            let seen = of(&net, listener.local_addr()).expect("it listens");
            assert_eq!(seen.fast_open_queue, 17);
            assert_eq!(seen.uid, 0, "root, if only of a namespace");
            option::set_fastopen(&listener, 0).unwrap();
            assert_eq!(of(&net, listener.local_addr()).unwrap().fast_open_queue, 0, "off now");
            let address = listener.local_addr();
            drop(listener);
            assert_eq!(of(&net, address), None, "it is gone");
        }
        assert_eq!(net.client.run(listeners).unwrap(), [], "those of this host alone");
    });
}

#[test]
fn listed_queue_is_the_effective_queue() {
    isolated(|| {
        let net = Net::new();
        set(&net.server, "core/somaxconn", "7");
        let listener = net.listen(on(SERVERS[0]).queue(50));
        assert_eq!(of(&net, listener.local_addr()).unwrap().fast_open_queue, 7);
        // Bit 0x400 gives fast open to programs that do not ask for it.
        let plain = || TcpListener::bind(SocketAddr::new(SERVERS[0], 0)).expect("its address");
        let listener = net.server.run(plain);
        assert_eq!(of(&net, listener.local_addr().unwrap()).unwrap().fast_open_queue, 0);
        net.set_server_bits(0x402);
        let listener = net.server.run(plain);
        let seen = of(&net, listener.local_addr().unwrap()).unwrap();
        assert_eq!(seen.fast_open_queue, 7, "as long as its backlog");
    });
}
