//! `tfo-client cookies`.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;

use tfo_core::lab::{
    Middlebox, Network, PathSettings, Program, SERVER_V4, SERVER_V6, isolated, require,
};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use crate::harness::{Lab, clean, json};

/// Creates a lab whose client has two cookies, after two connections over each family.
fn lab_with_cookies() -> Lab {
    let lab = Lab::new();
    let address: SocketAddr = "[::]:2222".parse().unwrap();
    lab.server.run(move || {
        let listener = FastOpenListener::bind(address).unwrap();
        thread::spawn(move || serve_mirror(&listener));
    });
    for server in [IpAddr::from(SERVER_V4), SERVER_V6.into()] {
        let ended = lab.probe(&["-s", &server.to_string(), "-n", "2"]);
        assert_eq!(ended.code, Some(0), "a cookie is cached and used: {}", ended.out);
    }
    lab
}

#[test]
fn empty_cache_prints_a_hint_and_an_empty_json_list() {
    isolated(|| {
        let lab = Lab::new();
        let ended = lab.probe(&["-q", "cookies"]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        assert!(ended.out.starts_with("No cookies are cached here: "), "{}", ended.out);
        let document = json(&lab.probe(&["cookies", "-o", "json"]).out);
        assert_eq!(document, serde_json::json!({"schema": 1, "cookies": [], "others": 0}));
        let ended = lab.probe(&["cookies", "show", "192.0.2.2"]);
        assert_eq!(ended.code, Some(1), "nothing to show");
        assert!(ended.out.starts_with("192.0.2.2 is not in the cache"), "{}", ended.out);
        let ended = lab.probe(&["cookies", "forget", "--all"]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "Nothing to forget.\n"));
    });
}

#[test]
fn list_shows_the_cookie_that_the_probe_reports() {
    isolated(|| {
        let lab = lab_with_cookies();
        let (probed, _) = lab.document(&["-n", "1"]);
        let cookie = &probed["connections"][0]["evidence"]["client"]["cookie_after"]["hex"];
        let cookie = cookie.as_str().unwrap();

        let ended = lab.probe(&["cookies"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let rows: Vec<Vec<&str>> =
            ended.out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 3, "expected a head and two cookies: {}", ended.out);
        assert_eq!(rows[0], ["destination", "source", "cookie", "used", "MSS", "SYN", "drops"]);
        assert_eq!(rows[1][..3], ["192.0.2.2", "192.0.2.1", cookie], "{}", ended.out);
        assert_eq!(rows[2][..2], ["2001:db8::2", "2001:db8::1"], "{}", ended.out);
        assert_eq!(rows[1].last(), Some(&"0"), "no SYN was lost: {}", ended.out);

        let document = json(&lab.probe(&["cookies", "-o", "json"]).out);
        let line = &document["cookies"][0];
        assert_eq!(document["schema"], 1);
        assert_eq!(line["destination"], "192.0.2.2", "{document}");
        assert_eq!(line["source"], "192.0.2.1", "{document}");
        assert_eq!(line["cookie"], cookie, "{document}");
        assert_eq!(line["syn_drops"], 0, "{document}");
        assert!(line["mss_bytes"].as_u64().unwrap() > 1000, "{document}");
        assert!(line["age_ms"].as_u64().unwrap() < 60_000, "{document}");
        assert!(line["last_syn_drop_ms"].is_null(), "{document}");

        let ended = lab.probe(&["cookies", "show", "192.0.2.2"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.starts_with("192.0.2.2 from 192.0.2.1\n"), "{}", ended.out);
        assert!(ended.out.contains(&format!("cookie     {cookie}\n")), "{}", ended.out);
        assert!(!ended.out.contains("2001:db8"), "expected one destination only: {}", ended.out);
        let shown = json(&lab.probe(&["cookies", "show", "::ffff:192.0.2.2", "-o", "json"]).out);
        assert_eq!(
            shown["cookies"][0]["cookie"], cookie,
            "a mapped address selects the IPv4 entry: {shown}"
        );
    });
}

#[test]
fn lost_syns_with_data_are_noted() {
    isolated(|| {
        let path = PathSettings::new().boxes(&[Middlebox::DropSynData]);
        let network = Network::new(path).unwrap();
        let address = SocketAddr::from((SERVER_V4, 2222));
        network.server().run(move || {
            let listener = FastOpenListener::bind(address).unwrap();
            thread::spawn(move || serve_mirror(&listener));
        });
        let run = |arguments: &[&str]| {
            let mut command = clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
            command.args(["-q", "--config", "/dev/null"]).args(arguments);
            Program::start(network.client(), command).unwrap().finish()
        };
        let ended = run(&["-n", "3", "192.0.2.2"]);
        assert_eq!(ended.code, Some(1), "{}", ended.out);
        assert!(ended.out.contains("syn-retransmitted"), "{}", ended.out);
        let document = json(&run(&["cookies", "-o", "json"]).out);
        assert_eq!(document["cookies"][0]["syn_drops"], 2, "both SYNs with data: {document}");
        let ended = run(&["cookies"]);
        assert!(ended.out.lines().next().unwrap().ends_with("note"), "{}", ended.out);
        let row = ended.out.lines().nth(1).unwrap();
        assert!(row.contains("  2  SYNs with data were lost, the last "), "{row}");
        assert!(row.ends_with(" ago"), "{row}");
        let ended = run(&["cookies", "show", "192.0.2.2"]);
        assert!(ended.out.contains("SYN drops  2: SYNs with data were lost"), "{}", ended.out);
    });
}

#[test]
fn forget_without_the_capability_is_status_2_and_names_it() {
    isolated(|| {
        if !require("setpriv") {
            return;
        }
        let lab = lab_with_cookies();
        for what in ["--all", "192.0.2.2"] {
            let mut command = clean(Command::new("setpriv"));
            command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]);
            command.args([env!("CARGO_BIN_EXE_tfo-client"), "cookies", "forget", what]);
            command.arg("--config").arg(lab.file("client.toml", ""));
            let ended = lab.run(command);
            assert_eq!(ended.code, Some(2), "{what}: {}", ended.out);
            assert_eq!(ended.out, "", "{what}: nothing was deleted");
            let error = ended.err.lines().last().unwrap();
            assert!(error.starts_with("error: can't forget the cookie for 192.0.2.2: "), "{error}");
            assert!(
                error.contains("cookies forget needs CAP_NET_ADMIN: run it with sudo"),
                "{error}"
            );
        }
        let document = json(&lab.probe(&["cookies", "-o", "json"]).out);
        assert_eq!(document["cookies"].as_array().unwrap().len(), 2, "{document}");
    });
}

#[test]
fn forget_deletes_one_or_all_cookies_with_the_capability() {
    isolated(|| {
        let lab = lab_with_cookies();
        let ended = lab.probe(&["cookies", "forget", "192.0.2.2"]);
        if crate::fresh::in_user_namespace() {
            // The kernel requires the capability on the real host, so only the refusal can be tested.
            assert_eq!(ended.code, Some(2), "{}", ended.err);
            assert!(ended.err.contains("CAP_NET_ADMIN of the real host"), "{}", ended.err);
            return;
        }
        assert_eq!(ended.out, "Forgotten: the cookie for 192.0.2.2 from 192.0.2.1\n");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let document = json(&lab.probe(&["cookies", "-o", "json"]).out);
        assert_eq!(document["cookies"][0]["destination"], "2001:db8::2", "{document}");
        let document = json(&lab.probe(&["cookies", "forget", "--all", "-o", "json"]).out);
        assert_eq!(document["forgotten"][0]["destination"], "2001:db8::2", "{document}");
        let (probed, _) = lab.document(&["-n", "1"]);
        assert_eq!(probed["connections"][0]["verdict"], "cookie-granted", "{probed}");
    });
}

#[test]
fn invalid_usage_is_status_2() {
    isolated(|| {
        let lab = Lab::new();
        for arguments in [
            &["cookies", "forget"][..],
            &["cookies", "forget", "192.0.2.2", "--all"],
            &["cookies", "show", "example.org"],
            &["cookies", "burn"],
            &["-n", "3", "cookies"],
        ] {
            let ended = lab.probe(arguments);
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}");
        }
    });
}
