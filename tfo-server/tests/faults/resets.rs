//! Clients that reset their connection at every stage.

use std::io::{Read, Write};
use std::net::SocketAddr;

use tfo_core::host::Counters;
use tfo_core::lab::isolated;
use tfo_core::socket::{Connector, FastOpenStream, Method, option};

use crate::support::{Lab, SERVER, answer, ask, descriptors, json, pattern, until};

const ROUNDS: usize = 20;
const MIRROR: SocketAddr = SocketAddr::new(SERVER.ip(), 2223);

/// Connects, and closes with a reset on drop.
fn connect(server: SocketAddr, method: Method, first: &[u8]) -> FastOpenStream {
    let stream = Connector::default().method(method).connect(server, first).unwrap();
    option::set_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    stream
}

#[test]
fn reset_at_any_stage_ends_only_its_connection() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[[listen]]\nservice = \"echo\"\n[[listen]]\nport = 2223\n";
        let server = lab.serve(config, &["-o", "json"]);
        let mut survivor = lab.connect();
        survivor.write_all(b"before").unwrap();
        survivor.read_exact(&mut [0; 6]).unwrap();
        let before = descriptors(&server);

        let (in_syn, change) = lab.host.run(move || {
            let before = Counters::read().unwrap();
            let (half, large) = (&b"tfo-probe/1 to"[..], pattern(200_000));
            let mut in_syn = 0;
            for _ in 0..ROUNDS {
                // After SYN data that is answered, with the answer unread.
                let stream = connect(SERVER, Method::SendTo, b"hello");
                in_syn += usize::from(stream.info().unwrap().syn_data);
                drop(stream);
                // After the handshake, with nothing sent.
                drop(connect(SERVER, Method::Off, b""));
                // In the middle of a request, in the SYN and behind it.
                drop(connect(MIRROR, Method::SendTo, half));
                drop(connect(MIRROR, Method::Off, half));
                // In the middle of a reply.
                let mut stream = connect(SERVER, Method::SendTo, &large);
                stream.read_exact(&mut [0; 1000]).unwrap();
                drop(stream);
            }
            (in_syn, Counters::read().unwrap().since(&before))
        });
        assert!(in_syn >= ROUNDS - 1, "all except the cookie request: {in_syn}");
        assert!(
            change.passive >= 3 * ROUNDS as u64 - 1,
            "the server accepted the data: {change:?}"
        );

        for line in server.out().first(5 * ROUNDS) {
            let cut = json(&line)["cut_short"].to_string();
            assert!(cut.contains("reset") || cut.contains("broken pipe"), "{line}");
        }
        until("their descriptors are closed", || descriptors(&server) <= before);
        assert_eq!(ask(&mut lab.connect(), b"still served"), b"still served");
        survivor.write_all(b"after").unwrap();
        survivor.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(answer(&mut survivor), b"after");
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let totals = &json(ended.out.lines().last().unwrap())["totals"];
        assert_eq!(totals["connections"], 5 * ROUNDS + 2, "{totals}");
    });
}
