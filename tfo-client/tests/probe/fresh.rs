//! `--fresh`.

use std::fs;
use std::process::Command;

use tfo_core::lab::{SERVER_V4, isolated, require};

use crate::harness::{Lab, clean, each, json};

#[test]
fn fresh_deletes_the_cookie_with_the_capability() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        assert_eq!(lab.document(&["-n", "2"]).1.code, Some(0));
        let ended = lab.probe(&["--fresh", "-o", "json"]);
        if in_user_namespace() {
            // The kernel requires the capability on the real host, so only the refusal can be tested.
            assert_eq!(ended.code, Some(2), "{}", ended.err);
            assert!(ended.err.contains("CAP_NET_ADMIN"), "{}", ended.err);
            return;
        }
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let document = json(&ended.out);
        assert_eq!(each(&document, "verdict"), ["cookie-granted", "fast-open", "fast-open"]);
        assert_eq!(document["connections"][0]["evidence"]["client"]["cookie_before"], "none");
    });
}

/// Returns whether the test runs in a user namespace, where root lacks capabilities on the real host.
pub(crate) fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().last() != Some("4294967295")
}

#[test]
fn fresh_without_the_capability_is_status_2_and_names_it() {
    isolated(|| {
        if !require("setpriv") {
            return;
        }
        let lab = Lab::new();
        let mut command = clean(Command::new("setpriv"));
        // Without the capability in the bounding set, even root does not get it.
        command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]);
        command.args([env!("CARGO_BIN_EXE_tfo-client"), "--fresh", "-s", &SERVER_V4.to_string()]);
        command.arg("--config").arg(lab.file("client.toml", ""));
        let ended = lab.run(command);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert_eq!(ended.out, "", "nothing was probed");
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't forget the cookie for 192.0.2.2: "), "{error}");
        assert!(error.contains("--fresh needs CAP_NET_ADMIN: run it with sudo"), "{error}");
    });
}
