//! What the services do with the received bytes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use tfo_core::lab::isolated;
use tfo_core::probe::mirror;

use crate::support::{Lab, answer, ask, json, pattern};

const MIB: usize = 1024 * 1024;

#[test]
fn echo_sends_a_mebibyte_back_unchanged() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("[listen]\nservice = \"echo\"\n", &["-o", "json"]);
        let mut client = lab.connect();
        let mut writer = client.try_clone().unwrap();
        let sent = pattern(MIB);
        let message = sent.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&message).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let back = answer(&mut client);
        writing.join().unwrap();
        assert_eq!(back.len(), sent.len());
        assert!(back == sent, "the bytes must be unchanged");
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["bytes_in"], MIB, "{line}");
        assert_eq!(line["bytes_out"], MIB, "{line}");
        assert_eq!(line["service"], "echo", "{line}");
    });
}

#[test]
fn echo_answers_a_half_closed_client() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &["--service", "echo"]);
        assert_eq!(ask(&mut lab.connect(), b"half-closed"), b"half-closed");
        assert_eq!(ask(&mut lab.connect(), b""), b"", "no input gives no output");
    });
}

#[test]
fn mirror_greets_a_client_that_sends_nothing() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &[]);
        assert_eq!(ask(&mut lab.connect(), b""), mirror::GREETING);
        let half_a_request = ask(&mut lab.connect(), b"tfo-probe/1 ");
        assert_eq!(half_a_request, b"", "no answer to what is no request, and no greeting");
    });
}

#[test]
fn echo_returns_syn_data_and_what_follows() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo", "-o", "json"]);
        let sent = pattern(100_000);
        for n in 0..2 {
            let mut client = lab.fast_open(&sent);
            client.shutdown(Shutdown::Write).unwrap();
            assert!(answer(&mut client) == sent, "connection {n}");
            assert_eq!(client.info().unwrap().syn_data, n > 0, "connection {n}");
        }
        let lines: Vec<_> = server.out().first(2).iter().map(|line| json(line)).collect();
        assert_eq!(lines[0]["verdict"], "cookie-granted");
        assert_eq!(lines[1]["verdict"], "fast-open");
        let in_syn = lines[1]["syn_bytes"].as_u64().unwrap();
        assert!((1400..100_000).contains(&in_syn), "a full SYN, and more: {}", lines[1]);
        assert_eq!(lines[1]["bytes_in"], 100_000, "{}", lines[1]);
    });
}

#[test]
fn discard_reads_a_mebibyte_and_sends_nothing() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "discard", "-o", "json"]);
        assert_eq!(ask(&mut lab.connect(), &pattern(MIB)), b"");
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["bytes_in"], MIB, "{line}");
        assert_eq!(line["bytes_out"], 0, "{line}");
    });
}

#[test]
fn reset_ends_only_the_clients_own_connection() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo", "-o", "json"]);
        let mut other = lab.connect();
        let mut byte = [0];
        let mut client = lab.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut byte).unwrap();
        // Close with a reset instead of a FIN.
        tfo_core::socket::option::set_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let line = json(&server.out().first(1)[0]);
        let why = line["cut_short"].as_str().unwrap();
        assert!(why.to_lowercase().contains("reset"), "{line}");
        assert_eq!(ask(&mut other, b"still here"), b"still here");
    });
}
