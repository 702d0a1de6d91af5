//! The link between the hosts.

use tfo_core::lab::isolated;
use tfo_core::socket::Connector;

use crate::support::{Net, SERVERS, on};

#[test]
fn hosts_that_were_just_joined_lose_nothing() {
    isolated(|| {
        // Losing the first packet costs a second and changes the verdict. It was one in three before `join` waited
        // for the carrier.
        for round in 0..12 {
            let net = Net::new();
            net.set_client_bits(5);
            for ip in SERVERS {
                let server = net.listen(on(ip));
                let address = server.local_addr();
                let before = net.counters();
                let connect = move || Connector::default().connect(address, b"hello");
                net.client.run(connect).expect("it listens");
                let (client, server) = before.change();
                let again = (client.syn_retrans, server.syn_retrans);
                assert_eq!(again, (0, 0), "{ip}, round {round}");
            }
        }
    });
}
