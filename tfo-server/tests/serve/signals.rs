//! Stopping by signals.

use std::io::Write;
use std::thread;
use std::time::Duration;

use tfo_core::lab::isolated;

use crate::support::{Lab, answer, ask, json};

#[test]
fn sigterm_and_sigint_stop_an_idle_server_with_status_0() {
    isolated(|| {
        for signal in ["TERM", "INT"] {
            let lab = Lab::new();
            let server = lab.serve("", &[]);
            server.signal(signal).unwrap();
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{signal}: {}", ended.err);
            assert_eq!(ended.out, "total: 0 connections; 0 B in SYNs, 0 B in, 0 B out\n");
        }
    });
}

#[test]
fn open_connection_may_complete_after_a_signal() {
    isolated(|| {
        for signal in ["TERM", "INT"] {
            let lab = Lab::new();
            let server = lab.serve("", &["--service", "echo", "-o", "json"]);
            let mut client = lab.fast_open(b"before ");
            let mut waiting = [0; 7];
            std::io::Read::read_exact(&mut client, &mut waiting).unwrap();
            server.signal(signal).unwrap();
            let _ = server.err().expect(&["stopped accepting", "1 open connection"]);
            let refused = lab.host.run(|| std::net::TcpStream::connect(crate::support::SERVER));
            assert!(refused.is_err(), "{signal}: no connection may be accepted");
            client.write_all(b"after").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"after", "{signal}: served to its end");
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{signal}: {}", ended.err);
            let lines: Vec<_> = ended.out.lines().map(json).collect();
            assert_eq!(lines[0]["bytes_in"], 12, "{signal}: {}", ended.out);
            assert!(lines[0]["cut_short"].is_null(), "{signal}: {}", ended.out);
            assert_eq!(lines[1]["totals"]["connections"], 1, "{signal}: {}", ended.out);
        }
    });
}

#[test]
fn drain_timeout_closes_an_unfinished_connection() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[limits]\ndrain-timeout = \"50ms\"\n";
        let server = lab.serve(config, &["--service", "echo"]);
        let mut client = lab.connect();
        assert_eq!(echoed(&mut client), *b"x");
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains("ended: drain-timeout"), "{}", ended.out);
        assert!(ended.out.contains("total: 1 connection,"), "{}", ended.out);
    });
}

#[test]
fn second_signal_stops_the_server_at_once() {
    isolated(|| {
        for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("INT", "TERM")] {
            let lab = Lab::new();
            let config = "[limits]\ndrain-timeout = \"1h\"\nidle-timeout = \"1h\"\n";
            let server = lab.serve(config, &["--service", "echo"]);
            let mut client = lab.connect();
            assert_eq!(echoed(&mut client), *b"x");
            server.signal(first).unwrap();
            let _ = server.err().expect(&["stopped accepting"]);
            // Signals within 200 ms of the first count as the same.
            thread::sleep(Duration::from_millis(250));
            server.signal(second).unwrap();
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{first}, {second}: {}", ended.err);
            assert!(ended.out.contains("ended: second signal"), "{}", ended.out);
            assert!(ended.out.contains("total: 1 connection,"), "{}", ended.out);
        }
    });
}

#[test]
fn queued_connection_is_served_after_a_signal() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo"]);
        // A stopped process cannot accept: both the connection and the signal wait for it.
        server.signal("STOP").unwrap();
        let mut client = lab.connect();
        server.signal("TERM").unwrap();
        server.signal("CONT").unwrap();
        assert_eq!(ask(&mut client, b"in time"), b"in time");
        assert_eq!(server.finish().code, Some(0));
    });
}

/// Waits for an echo, which shows that the connection is being served.
fn echoed(client: &mut std::net::TcpStream) -> [u8; 1] {
    let mut byte = [0];
    client.write_all(b"x").unwrap();
    std::io::Read::read_exact(client, &mut byte).unwrap();
    byte
}
