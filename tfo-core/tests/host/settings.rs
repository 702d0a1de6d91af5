//! Settings and counters belong to one host.

use std::time::Duration;

use tfo_core::host::{FastOpenFlags, sysctl};
use tfo_core::lab::isolated;
use tfo_core::socket::Connector;

use crate::support::{Net, SERVERS, on, set};

#[test]
fn a_setting_is_read_from_the_host_that_it_was_made_on() {
    isolated(|| {
        let here = sysctl::tcp_fastopen().expect("readable");
        let net = Net::new();
        net.set_client_bits(0x5);
        net.set_server_bits(0x602);
        let bits = [&net.client, &net.server].map(|host| host.run(sysctl::tcp_fastopen).unwrap());
        assert_eq!(bits, [0x5, 0x602].map(FastOpenFlags::new));
        set(&net.server, "core/somaxconn", "99");
        set(&net.server, "ipv4/tcp_syncookies", "2");
        set(&net.server, "ipv4/tcp_max_syn_backlog", "77");
        set(&net.server, "ipv4/ip_unprivileged_port_start", "81");
        set(&net.server, "ipv4/tcp_fastopen_blackhole_timeout_sec", "5");
        net.server.run(|| {
            assert_eq!(sysctl::somaxconn().unwrap(), 99);
            assert_eq!(sysctl::syncookies().unwrap(), 2);
            assert_eq!(sysctl::max_syn_backlog().unwrap(), 77);
            assert_eq!(u64::from(sysctl::unprivileged_port_start().unwrap()), 81);
            assert_eq!(sysctl::blackhole_timeout().unwrap(), Duration::from_secs(5));
        });
        net.client.run(|| {
            assert_ne!(sysctl::somaxconn().unwrap(), 99, "the other host's");
            assert_eq!(sysctl::syncookies().unwrap(), 1, "the other host's");
        });
        assert_eq!(sysctl::tcp_fastopen().unwrap(), here, "the machine itself is not touched");
    });
}

#[test]
fn counters_count_what_happened_on_their_host() {
    isolated(|| {
        let net = Net::new();
        let before = net.counters();
        let listener = net.listen(on(SERVERS[1]));
        let server = listener.local_addr();
        for _ in 0..3 {
            let connect = move || Connector::default().connect(server, b"hello");
            net.client.run(connect).expect("it listens");
        }
        let (client, server) = before.change();
        assert_eq!((client.active, server.active), (2, 0), "the client is active");
        assert_eq!((client.passive, server.passive), (0, 2), "the server is passive");
        assert_eq!((client.cookie_reqd, server.cookie_reqd), (0, 1), "the server counts requests");
        let names: Vec<_> = server.iter().filter(|(_, n)| *n > 0).map(|(name, _)| name).collect();
        assert_eq!(names, ["TCPFastOpenPassive", "TCPFastOpenCookieReqd"], "nothing else");
    });
}
