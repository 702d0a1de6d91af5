//! More fast open connections than may have an incomplete handshake.

use std::net::{Ipv4Addr, SocketAddr};

use tfo_core::host::Counters;
use tfo_core::lab::{isolated, require};
use tfo_core::socket::ClientFail;
use tfo_core::socket::{Connector, Method};

use crate::support::{Lab, SERVER, answer, until};

/// The source address of handshakes that never complete.
const FLOODER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 0);

fn nft(lab: &Lab, script: &str) {
    let mut command = std::process::Command::new("nft");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).arg(script);
    let output = lab.host.output(command).unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn clients_beyond_the_fast_open_queue_fall_back() {
    isolated(|| {
        const QUEUE: usize = 16;
        if !require("nft") {
            return;
        }
        let lab = Lab::new();
        let config = format!("[listen]\nfastopen-queue = {QUEUE}\n[engine]\nworkers = 1\n");
        let server = lab.serve(&config, &["--service", "echo", "-o", "json"]);
        for local in [FLOODER, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)] {
            let fetch =
                move || Connector::default().bind(local).connect(SERVER, b"cookie").map(drop);
            lab.host.run(fetch).unwrap();
        }
        let counters = || lab.host.run(|| Counters::read().unwrap());
        let before = counters();
        nft(
            &lab,
            "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
             add rule inet t i ip saddr 127.0.0.2 tcp flags & (syn|ack|fin|rst) == ack drop",
        );
        let flood = move |_| {
            let stream = Connector::default().bind(FLOODER).connect(SERVER, b"flood").unwrap();
            (stream.info().unwrap().syn_data, stream)
        };
        let flood = lab.host.run(move || (0..3 * QUEUE).map(flood).collect::<Vec<_>>());
        let accepted = flood.iter().filter(|(in_syn, _)| *in_syn).count();
        assert_eq!(accepted, QUEUE, "as many as the queue allows");
        let change = counters().since(&before);
        assert!(change.listen_overflow >= 2 * QUEUE as u64, "the rest overflowed: {change:?}");

        // A well-behaved client has a cookie, but the queue is full.
        let mut client = lab.fast_open(b"am I served?");
        let info = client.info().unwrap();
        assert!(!info.syn_data, "the queue is full: {info:?}");
        assert_eq!(info.client_fail, ClientFail::DataNotAcked, "{info:?}");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(answer(&mut client), b"am I served?");

        nft(&lab, "delete table inet t");
        // The next segment completes the handshakes. A reset would occupy the queue for a minute.
        for (_, stream) in &flood {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        until("fast open works again", || {
            let stream =
                lab.host.run(|| Connector::default().method(Method::SendTo).connect(SERVER, b"x"));
            stream.unwrap().info().unwrap().syn_data
        });
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}
