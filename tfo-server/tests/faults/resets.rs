//! Clients that reset their connection, at every stage of it.

use std::io::{Read, Write};
use std::net::SocketAddr;

use tfo_core::host::Counters;
use tfo_core::lab::isolated;
use tfo_core::socket::{Connector, FastOpenStream, Method, option};

use crate::harness::{Lab, SERVER, ask, json};
use crate::process::{descriptors, until};

const ROUNDS: usize = 20;
/// More than the buffers of both ends hold.
const BODY: usize = 8 << 20;

fn connect(server: SocketAddr, method: Method, first: &[u8]) -> FastOpenStream {
    let stream = Connector::default().method(method).connect(server, first).unwrap();
    // Closing resets from now on.
    option::set_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    stream
}

#[test]
fn a_reset_at_any_stage_ends_its_connection_and_no_other() {
    isolated(|| {
        let lab = Lab::new();
        let file = lab.config(&"x".repeat(BODY)).with_file_name("body");
        std::fs::write(&file, vec![b'x'; BODY]).unwrap();
        let config = format!(
            "[listen]\nservice = \"respond\"\n[respond]\nhttp = true\nfile = {:?}\n[engine]\nworkers = 1\n",
            file.display().to_string()
        );
        let server = lab.serve(&config, &["-o", "json"]);
        let request = b"GET / HTTP/1.1\r\nHost: tfo\r\n\r\n";
        let mut whole = lab.connect();
        whole.write_all(b"GET / HTTP/1.1\r\nHost: tfo\r\nConnection: close\r\n").unwrap();
        until("the first connection is served", || descriptors(&server) > 0);
        let before = descriptors(&server);

        let (in_syn, resets) = lab.host.run(move || {
            let resets = || Counters::read().unwrap().clone();
            let before = resets();
            let mut in_syn = 0;
            for _ in 0..ROUNDS {
                // After SYN data: a request whose answer nobody waits for.
                let stream = connect(SERVER, Method::SendTo, request);
                in_syn += usize::from(stream.info().unwrap().syn_data);
                drop(stream);
                // After the handshake, with nothing sent.
                drop(connect(SERVER, Method::Off, b""));
                // In the middle of a request, in the SYN and after it.
                drop(connect(SERVER, Method::SendTo, &request[..9]));
                drop(connect(SERVER, Method::Off, &request[..9]));
                // In the middle of a reply.
                let mut stream = connect(SERVER, Method::SendTo, request);
                stream.read_exact(&mut [0; 1000]).unwrap();
                drop(stream);
            }
            (in_syn, resets().since(&before))
        });
        assert!(in_syn >= ROUNDS - 1, "all but the one that fetched the cookie: {in_syn}");
        assert!(resets.passive > 0, "the server took SYN data: {resets:?}");

        // The one from before goes on where it was.
        whole.write_all(b"\r\n").unwrap();
        let mut answer = Vec::new();
        whole.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
        assert_eq!(answer.iter().rev().take(BODY).filter(|&&byte| byte == b'x').count(), BODY);

        let lines = server.out().first(5 * ROUNDS + 1);
        assert_eq!(lines.len(), 5 * ROUNDS + 1);
        until("descriptors are closed", || descriptors(&server) < before + 1);
        let answer =
            ask(&mut lab.connect(), b"GET / HTTP/1.1\r\nHost: tfo\r\nConnection: close\r\n\r\n");
        assert!(answer.len() > BODY, "served on");
        let cut = lines.iter().map(|line| json(line)["cut_short"].clone());
        let cut = cut.filter(|why| why.as_str().is_some_and(|why| why.contains("reset"))).count();
        assert!(cut >= ROUNDS, "those reset in the middle of a reply: {cut}");
    });
}
