//! The output and the files of the lab.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::lab::{isolated, require};

use super::{document, errors, lab, text};

#[test]
fn text_has_a_ladder_per_connection_and_the_saved_time() {
    isolated(|| {
        // Long enough for a busy machine.
        let output = lab("--rtt 100ms");
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
fn ladder_has_no_packets_of_regular_connections_to_compare_with() {
    isolated(|| {
        let text = text(&lab("--rtt 5ms --box reset-syn-data -n 3"));
        let (_, last) = text.split_once("Fast open, connection 3\n").unwrap();
        let (ladder, below) = last.split_once("\n\n").unwrap();
        assert_eq!(ladder.matches("SYN").count(), 2, "a SYN with data, dropped: {ladder}");
        assert!(below.contains("regular connections, to compare with, are not drawn."), "{below}");
    });
}

#[test]
fn ascii_flag_prints_ascii_only() {
    isolated(|| {
        let text = text(&lab("--ascii -n 1 --rtt 5ms"));
        assert!(text.contains("|---"), "{text}");
        assert!(text.is_ascii(), "{text}");
    });
}

#[test]
fn json_contains_packets_with_their_times() {
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
        let delay = syn["arrived_us"].as_u64().unwrap() - syn["sent_us"].as_u64().unwrap();
        assert!(delay >= 10_000, "less than half a round trip: {delay} µs");
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
        assert!(svg.contains("strip-syn-data"), "the picture does not name the box");
        assert!(!pcap.exists(), "one file contains the packets of both hosts");
        let comment = b"strip-syn-data: 64 B of data removed";
        for host in ["client", "server"] {
            let pcap = fs::read(folder.path().join(format!("lab-{host}.pcapng"))).unwrap();
            assert!(pcap.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "no section header of pcapng");
            let has_comment = pcap.windows(comment.len()).any(|window| window == comment);
            assert!(has_comment, "no comment of the {host} describes the modification");
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
fn invalid_flags_are_refused_with_allowed_values() {
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

/// The next step of the text, and of each part of the document.
fn next_steps(arguments: &str) -> Vec<String> {
    let text = text(&lab(arguments));
    let shown = text.split("Next: ").nth(1).map(|rest| rest.replace('\n', " "));
    let document = document(arguments);
    let verdicts = document["connections"].as_array().unwrap().iter().chain([&document["summary"]]);
    let told = verdicts.map(|verdict| verdict["advice"].as_str().unwrap().to_owned());
    shown.into_iter().chain(told).filter(|step| !step.is_empty()).collect()
}

#[test]
fn next_step_in_the_lab_is_a_lab_command() {
    isolated(|| {
        for (arguments, expected) in [
            ("-n 1", "`tfo-client lab -n 3`"),
            ("-n 1 -6 --rtt 10ms", "`tfo-client lab -6 --rtt 10ms -n 3`"),
            ("--rtt 10ms --box strip-syn-data", "`tfo-client lab --rtt 10ms`"),
            ("--rtt 10ms --box corrupt-cookie -6", "`tfo-client lab -6 --rtt 10ms`"),
            ("--rtt 10ms --box reset-syn-data", "`tfo-client lab --rtt 10ms`"),
            (
                "--rtt 10ms --box prohibit-syn-data -n 2",
                "`tfo-client lab --rtt 10ms --box prohibit-syn-data -n 8`",
            ),
            ("--rtt 10ms --servers 4", "`tfo-client lab --rtt 10ms`"),
            (
                "--rtt 10ms --hop 2:drop-syn-data -n 2",
                "`tfo-client path --lab --rtt 10ms --hops 2 --hop 2:drop-syn-data`",
            ),
            ("--rtt 10ms --mode off", "`tfo-client lab --rtt 10ms --mode auto`"),
        ] {
            let steps = next_steps(arguments);
            assert!(!steps.is_empty(), "{arguments}");
            assert!(steps.iter().any(|step| step.contains(expected)), "{arguments}: {steps:?}");
            for step in &steps {
                let commands = step.split('`').skip(1).step_by(2);
                assert!(
                    commands.clone().all(|command| {
                        command.starts_with("tfo-client lab")
                            || command.starts_with("tfo-client path --lab")
                            || command.starts_with("tfo-client compare --lab")
                            || command.starts_with("tfo-client explain")
                    }),
                    "{arguments}: {step}"
                );
            }
        }
    });
}

#[test]
fn chance_on_the_path_is_never_taken_for_a_saving() {
    isolated(|| {
        for arguments in
            ["--jitter 20ms --rtt 20ms", "--loss 20% --rtt 20ms", "--jitter 20ms --rtt 20ms -6"]
        {
            let text = text(&lab(arguments)).replace('\n', " ");
            assert!(!text.contains("Fast open saved"), "{arguments}: {text}");
            assert!(!text.contains("Trying fast open cost"), "{arguments}: {text}");
            assert!(text.contains("`tfo-client compare --lab"), "{arguments}: {text}");
            assert_eq!(document(arguments)["saved"], Value::Null, "{arguments}");
        }
        let saved = document("--rtt 100ms")["saved"]["round_trips"].as_f64().unwrap();
        assert!(saved > 0.5, "{saved}");
    });
}

/// A round trip is said to be saved only where the packets show it: the answer came within one and a half round trips
/// of the only SYN.
#[test]
fn each_claim_of_a_saving_is_held_against_the_packets() {
    isolated(|| {
        for (arguments, is_steady) in [
            ("--jitter 20ms --rtt 20ms -n 8", false),
            ("--loss 15% --rtt 30ms -n 8", false),
            ("--jitter 30ms --loss 5% --rtt 10ms -n 6 -6", false),
            ("--rtt 200ms -n 3", true),
        ] {
            let document = document(arguments);
            let mut claims = 0;
            for connection in document["connections"].as_array().unwrap() {
                let is_claimed = connection["saved"] == "round-trip";
                let finding = connection["finding"].as_str().unwrap();
                assert_eq!(finding.contains("one round trip saved"), is_claimed, "{connection}");
                if !is_claimed {
                    continue;
                }
                claims += 1;
                let packets = connection["packets"].as_array().unwrap();
                let time = |packet: &Value, field: &str| packet[field].as_i64().unwrap();
                let named = |name: &'static str| {
                    packets
                        .iter()
                        .filter(move |packet| packet["what"].as_str().unwrap().starts_with(name))
                };
                let to_client = |packet: &&Value| {
                    packet["direction"] == "to-client" && packet["dropped"] == false
                };
                let syns: Vec<_> = named("SYN, ").collect();
                assert_eq!(syns.len(), 1, "no SYN was repeated: {connection}");
                let sent = time(syns[0], "sent_us");
                let shaken = named("SYN-ACK").find(to_client).unwrap();
                let answered = packets
                    .iter()
                    .find(|packet| {
                        to_client(packet) && packet["what"].as_str().unwrap().contains("B of data")
                    })
                    .unwrap();
                let round_trip = time(shaken, "arrived_us") - sent;
                let answer = time(answered, "arrived_us") - sent;
                // The kernel takes its times a moment after the path.
                assert!(
                    answer * 2 <= round_trip * 3 + 10_000,
                    "{answer} of {round_trip} µs: {connection}"
                );
            }
            assert!(!is_steady || claims > 0, "{arguments}: {document}");
            let total = document["saved"]["round_trips"].as_f64().unwrap_or(0.0);
            assert!(claims > 0 || total <= 0.0, "the total agrees: {document}");
        }
    });
}
