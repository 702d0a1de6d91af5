//! What the lab prints and writes.

use std::fs;
use std::process::Command;

use tempfile::TempDir;
use tfo_core::lab::{isolated, require};

use super::{document, errors, lab, text};

#[test]
fn the_lab_shows_a_ladder_for_each_connection_and_what_was_saved() {
    isolated(|| {
        let output = lab("");
        let text = text(&output);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        for piece in [
            "A regular connection",
            "Fast open, connection 3",
            "SYN, TFO request",
            "SYN-ACK, cookie 8 B",
            "SYN, cookie 8 B, 64 B of data in the SYN",
            "SYN-ACK, acks the data",
            "Verdict: fast-open",
            "Fast open saved ",
        ] {
            assert!(text.contains(piece), "{piece:?} is missing:\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "a pipe gets no colour");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    });
}

#[test]
fn ascii_is_ascii() {
    isolated(|| {
        let text = text(&lab("--ascii -n 1 --rtt 5ms"));
        assert!(text.contains("|---"), "{text}");
        assert!(text.is_ascii(), "{text}");
    });
}

#[test]
fn json_tells_the_packets_with_their_times() {
    isolated(|| {
        let document = document("-n 2 --rtt 20ms -6");
        assert_eq!(document["schema"], 1);
        assert_eq!(document["lab"]["rtt_us"], 20_000);
        assert_eq!(document["lab"]["server"], "[2001:db8::2]:2222");
        let last = &document["connections"][2];
        assert_eq!(last["verdict"], "fast-open", "{last}");
        let syn = &last["packets"][0];
        assert_eq!(syn["what"], "SYN, cookie 8 B, 64 B of data in the SYN");
        assert_eq!(syn["direction"], "to-server");
        let way = syn["arrived_us"].as_u64().unwrap() - syn["sent_us"].as_u64().unwrap();
        assert!(way >= 10_000, "half a round trip: {way} µs");
    });
}

#[test]
fn pictures_and_packets_are_written() {
    isolated(|| {
        let folder = TempDir::new().unwrap();
        let [svg, pcap] = ["lab.svg", "lab.pcapng"].map(|name| folder.path().join(name));
        let files = format!("--svg {} --pcap {}", svg.display(), pcap.display());
        let output = lab(&format!("-n 2 --rtt 5ms --box strip-syn-data {files}"));
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
        let svg = fs::read_to_string(svg).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("A regular connection"), "{svg}");
        assert!(svg.contains("strip-syn-data"), "the picture names the box");
        assert!(!pcap.exists(), "a file for each host: one of both shows each packet twice");
        let comment = b"strip-syn-data: 64 B of data removed";
        for host in ["client", "server"] {
            let pcap = fs::read(folder.path().join(format!("lab-{host}.pcapng"))).unwrap();
            assert!(pcap.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "a section header of pcapng");
            let told = pcap.windows(comment.len()).any(|window| window == comment);
            assert!(told, "the file of the {host} tells what the box did");
        }
    });
}

#[test]
fn wireshark_sees_no_retransmission_in_the_file_of_a_host() {
    isolated(|| {
        if !require("tshark") {
            return;
        }
        let folder = TempDir::new().unwrap();
        let pcap = folder.path().join("lab.pcapng");
        let output = lab(&format!("-n 2 --rtt 5ms --pcap {}", pcap.display()));
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        for host in ["client", "server"] {
            let file = folder.path().join(format!("lab-{host}.pcapng"));
            let count = |filter: &str| {
                let mut tshark = Command::new("tshark");
                tshark.arg("-r").arg(&file).args(["-Y", filter]);
                String::from_utf8(tshark.output().unwrap().stdout).unwrap().lines().count()
            };
            assert_eq!(
                count("tcp.analysis.retransmission || tcp.analysis.duplicate_ack"),
                0,
                "{host}"
            );
            assert!(count("tcp") > 10, "{host}");
        }
    });
}

#[test]
fn what_is_wrong_is_refused_with_what_is_allowed() {
    for (arguments, pieces) in [
        ("--box nonsense", ["nonsense", "drop-syn-data"]),
        ("--loss 200%", ["200%", "0% to 100%"]),
        ("--rtt 40", ["40", "250ms"]),
        ("--svg /nowhere/x.svg --rtt 0ms -n 1", ["/nowhere/x.svg", "can't write"]),
    ] {
        let output = lab(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        for piece in pieces {
            assert!(errors(&output).contains(piece), "{arguments}: {}", errors(&output));
        }
    }
}
