//! Paths that drop the packets of fast open.

use std::thread;
use std::time::{Duration, Instant};

use tfo_core::host::Counters;
use tfo_core::lab::{Middlebox, Network, PathSettings, isolated};
use tfo_core::socket::{Connector, Method};

use crate::harness::{connect, finding, listen, look, server_address, set};

#[test]
fn pause_for_a_blackhole_is_reported() {
    isolated(|| {
        let path = PathSettings::new().boxes(&[Middlebox::SwallowAfterSynData]);
        let network = Network::new(path).unwrap();
        let client = network.client();
        set(client, "ipv4/tcp_fastopen_blackhole_timeout_sec", "60");
        let listener = listen(network.server());
        drop((connect(client, server_address()), listener.accept().unwrap()));
        // The kernel detects a blackhole at the third timeout, after about three seconds.
        let pauses = client.run(|| {
            let connector =
                Connector::default().method(Method::SendTo).timeout(Duration::from_secs(20));
            thread::spawn(move || connector.connect(server_address(), b"hello"));
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end && Counters::read().unwrap().blackhole == 0 {
                thread::sleep(Duration::from_millis(20));
            }
            Counters::read().unwrap().blackhole
        });
        assert_eq!(pauses, 1, "the kernel paused fast open");
        let found = look(client);
        let note = finding(&found, "blackhole-paused");
        assert_eq!((&note["level"], &note["half"]), (&"note".into(), &"client".into()));
        let text = note["text"].as_str().unwrap();
        assert!(text.contains("paused 1 time for a suspected blackhole, for 60 s"), "{text}");
    });
}
