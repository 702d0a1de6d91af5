//! Invalid usage, which prints one line with the fault and the allowed values.

use tfo_core::lab::{Finished, isolated};

use crate::harness::Lab;

fn refused(lab: &Lab, arguments: &[&str]) -> Finished {
    let ended = lab.probe(&[&["-q", "load"], arguments].concat());
    assert_eq!(ended.code, Some(2), "{arguments:?}: {} {}", ended.out, ended.err);
    assert_eq!(ended.out, "", "{arguments:?}");
    ended
}

#[test]
fn invalid_value_is_refused_with_allowed_values() {
    isolated(|| {
        let lab = Lab::new();
        for (arguments, pieces) in [
            (&["--rate", "0"][..], ["--rate", "an integer from 1 to 10000000"]),
            (&["--mode", "fast"], ["--mode", "possible values: auto, sendto, connect, off, mixed"]),
            (&["--http", "index"], ["--http", "a path without spaces, such as \"/\""]),
            (&["--http", "/a b"], ["--http", "a path without spaces"]),
            (&["--duration", "5"], ["--duration", "a duration from 100ms to 7days"]),
            (&["--expect-bytes", "0"], ["--expect-bytes", "an integer from 1 to 4294967295"]),
            (&["--source", "here"], ["--source", "invalid IP address"]),
            (&["--count", "1", "--duration", "1s"], ["--duration", "cannot be used with"]),
            (&["--http", "/", "--size", "64B"], ["--size", "cannot be used with"]),
            (&["--no-reply", "--expect", "x"], ["--expect", "cannot be used with"]),
            (&["--expect-status", "200"], ["--http", "required"]),
        ] {
            let ended = refused(&lab, arguments);
            for piece in pieces {
                assert!(ended.err.contains(piece), "{arguments:?}: {piece}: {}", ended.err);
            }
        }
    });
}

#[test]
fn impossible_settings_are_refused_before_any_connection() {
    isolated(|| {
        let lab = Lab::new();
        for (arguments, message) in [
            (
                &["--source", "192.0.2.77"][..],
                "error: --source 192.0.2.77: expected an address of this host (`ip address` lists them): ",
            ),
            (
                &["--source", "::1"],
                "error: --source ::1: expected an IPv4 address, because the server's is 192.0.2.2",
            ),
            (
                &["--threads", "3", "--concurrency", "2"],
                "error: --concurrency 2 is less than --threads 3: expected at least 3",
            ),
        ] {
            let ended = refused(&lab, arguments);
            assert!(ended.err.starts_with(message), "{arguments:?}: {}", ended.err);
            assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        }
        let ended = lab.probe(&["-q", "-n", "3", "load"]);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(
            ended.err.contains("flags of `probe` can't be used with another subcommand"),
            "{}",
            ended.err
        );
    });
}
