//! Names, addresses and ports.

use tfo_core::lab::{SERVER_V4, SERVER_V6, isolated};

use crate::harness::{Lab, json};

fn address_of(lab: &Lab, arguments: &[&str]) -> String {
    let (document, ended) = lab.document(&[arguments, &["-n", "2"]].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {document} {}", ended.err);
    document["target"]["address"].as_str().unwrap().to_owned()
}

#[test]
fn host_may_include_a_port() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&["-p", "8888"]) else { return };
        let v4 = format!("{SERVER_V4}:8888");
        let v6 = format!("[{SERVER_V6}]:8888");
        assert_eq!(address_of(&lab, &["-s", &v4]), v4);
        assert_eq!(address_of(&lab, &["-s", &v6]), v6);
        assert_eq!(address_of(&lab, &["-s", &SERVER_V6.to_string(), "-p", "8888"]), v6);
        assert_eq!(address_of(&lab, &["-6", "-s", &v6]), v6);
    });
}

#[test]
fn host_name_is_resolved_and_shown() {
    isolated(|| {
        let lab = Lab::new();
        let (document, ended) = lab.document(&["-l", "-4", "-s", "localhost:2345"]);
        assert_eq!(ended.code, Some(0), "{document} {}", ended.err);
        assert_eq!(document["target"]["host"], "localhost");
        assert_eq!(document["target"]["address"], "127.0.0.1:2345");
        let text = lab.probe(&["-l", "-4", "-s", "localhost:2345"]);
        let head = text.out.lines().next().unwrap();
        assert!(head.starts_with("localhost (127.0.0.1:2345): 3 connections"), "{head}");
    });
}

#[test]
fn unresolvable_name_is_status_3_with_one_message() {
    isolated(|| {
        let lab = Lab::new();
        for format in ["text", "json"] {
            let ended = lab.probe(&["-s", "no-such-host.invalid", "-o", format]);
            assert_eq!(ended.code, Some(3), "{}", ended.err);
            assert_eq!(ended.out.is_empty(), format == "text", "{}", ended.out);
            let error = ended.err.lines().last().unwrap();
            assert!(error.starts_with("error: no address for no-such-host.invalid: "), "{error}");
        }
    });
}

#[test]
fn address_of_the_other_family_is_refused() {
    isolated(|| {
        let lab = Lab::new();
        let ended = lab.probe(&["-6", "-s", &SERVER_V4.to_string()]);
        assert_eq!(ended.code, Some(3), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.contains("no IPv6 address, only 192.0.2.2"), "{error}");
    });
}

#[test]
fn invalid_usage_is_status_2() {
    isolated(|| {
        let lab = Lab::new();
        for arguments in [["-n", "0"], ["-p", "70000"], ["--mode", "fast"], ["--size", "2MiB"]] {
            let ended = lab.probe(&arguments);
            assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.err);
            assert_eq!(ended.out, "");
        }
        let ended = lab.run(lab.command("[probe]\ncuont = 3\n", &[]));
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains("client.toml:2:1: "), "{}", ended.err);
        let _ = json("{}");
    });
}
