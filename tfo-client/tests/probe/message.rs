//! The first bytes.

use std::io::{Read, Write};
use std::thread;

use tfo_core::lab::{SERVER_V6, isolated};

use crate::harness::{Lab, accept, each};

#[test]
fn bytes_beyond_the_syn_follow_after_the_handshake() {
    isolated(|| {
        let lab = Lab::new();
        let Some(server) = lab.serve_all(&["-o", "json"]) else { return };
        for (host, in_syn) in [("192.0.2.2".to_owned(), 1420), (SERVER_V6.to_string(), 1400)] {
            let (document, ended) = lab.document(&["--size", "5000B", "-s", &host]);
            assert_eq!(ended.code, Some(0), "{document}");
            assert_eq!(each(&document, "sent_bytes"), [5000; 3]);
            assert_eq!(each(&document, "syn_bytes"), [0, in_syn, in_syn], "{document}");
            let arrived = &document["connections"][2]["evidence"]["server"]["syn"]["saved"];
            assert_eq!(arrived["payload_bytes"], in_syn, "{document}");
        }
        let lines = server.out().first(6);
        assert!(lines.iter().all(|line| line.contains("\"bytes_in\":5000")), "{lines:?}");
    });
}

#[test]
fn request_of_a_mebibyte_arrives_completely() {
    isolated(|| {
        let lab = Lab::new();
        let Some(server) = lab.serve_all(&["-o", "json"]) else { return };
        let (document, ended) = lab.document(&["--size", "1MiB"]);
        assert_eq!(ended.code, Some(0), "{document}");
        let lines = server.out().first(3);
        assert!(lines.iter().all(|line| line.contains("\"bytes_in\":1048576")), "{lines:?}");
    });
}

#[test]
fn message_is_sent_unchanged() {
    isolated(|| {
        let lab = Lab::new();
        let listener = lab.silent_server();
        let received = thread::spawn(move || {
            let (mut stream, _) = accept(&listener);
            let mut message = [0; 9];
            stream.read_exact(&mut message).unwrap();
            stream.write_all(b"ok").unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            (message, rest)
        });
        let (document, _) = lab.document(&["--message", "EHLO m\u{e4}\n", "-n", "1"]);
        assert_eq!(each(&document, "sent_bytes"), [9]);
        assert_eq!(received.join().unwrap(), (*b"EHLO m\xc3\xa4\n", vec![]));
    });
}

#[test]
fn message_that_is_no_request_gets_the_client_half() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        for arguments in [["--message", "hello mirror\n"], ["--size", "5B"]] {
            let (document, ended) =
                lab.document(&[&arguments[..], &["--reply-timeout", "200ms"]].concat());
            let last = &document["connections"][2];
            assert!(last["evidence"]["server"].is_null(), "{arguments:?}: {document}");
            assert_eq!(last["syn_data_acked"], true, "{arguments:?}: {document}");
            assert_eq!(ended.code, Some(0), "{arguments:?}: {document}");
        }
    });
}
