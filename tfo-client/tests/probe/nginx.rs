//! nginx, a server that does not send its half of the evidence.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::host::Counters;
use tfo_core::lab::{Host, Network, PathSettings, Program, isolated, require};

use crate::harness::{Lab, clean, each, json};

fn nginx(lab: &Lab, listen: &str) -> Program {
    nginx_on(&lab.server, &lab.path("nginx"), listen)
}

/// Starts nginx. All of its paths are in this folder, and it changes no owner, so that any user can run it.
fn nginx_on(host: &Host, folder: &Path, listen: &str) -> Program {
    fs::create_dir_all(folder).unwrap();
    let root = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {root}/{name};\n"))
        .concat();
    let config = folder.join("nginx.conf");
    let text = format!(
        "user root root;\nworker_processes 1;\npid {root}/pid;\nerror_log stderr notice;\nevents {{}}\nhttp {{\n\
         {temporary}  access_log off;\n  server {{ {listen} location / {{ return 200 ok; }} }}\n}}\n"
    );
    fs::write(&config, text).unwrap();
    let path = if fs::exists("/usr/sbin/nginx").unwrap() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = clean(Command::new(path));
    command.arg("-c").arg(config).arg("-p").arg(folder);
    command.args(["-g", "daemon off; master_process off;"]);
    let program = Program::start(host, command).unwrap();
    let _ = program.err().expect(&["using the", "event method"]);
    program
}

const REQUEST: &str = "GET / HTTP/1.0\r\n\r\n";

#[test]
fn nginx_with_fastopen_grants_a_cookie_and_accepts_data() {
    isolated(|| {
        if !require("nginx") {
            return;
        }
        let lab = Lab::new();
        let _nginx = nginx(&lab, "listen 192.0.2.2:8080 fastopen=16;");
        let arguments = ["-s", "192.0.2.2:8080", "--message", REQUEST];
        let (document, ended) = lab.document(&arguments);
        assert_eq!(ended.code, Some(0), "{document}");
        let verdicts = each(&document, "verdict");
        assert_eq!(verdicts, ["cookie-granted", "fast-open", "fast-open"], "{document}");
        assert!(each(&document, "evidence").iter().all(|both| both["server"].is_null()));
        assert_eq!(document["connections"][2]["evidence"]["client"]["result"], "answered");
        assert_eq!(each(&document, "syn_bytes")[2], REQUEST.len(), "{document}");
    });
}

#[test]
fn nginx_without_fastopen_reports_candidates() {
    isolated(|| {
        if !require("nginx") {
            return;
        }
        let lab = Lab::new();
        let _nginx = nginx(&lab, "listen 192.0.2.2:8080;");
        let (document, ended) = lab.document(&["-s", "192.0.2.2:8080", "--message", REQUEST]);
        assert_eq!(ended.code, Some(1), "{document}");
        let summary = &document["summary"];
        assert_eq!(summary["verdict"], "fallback", "{document}");
        assert_eq!(summary["cause"], "no-cookie-returned", "the general cause: {document}");
        assert_eq!(summary["blame"], "unknown", "one end is inconclusive: {document}");
        let candidates = summary["candidates"].as_array().unwrap();
        for candidate in ["option-stripped", "server-disabled", "queue-full"] {
            assert!(candidates.iter().any(|found| found == candidate), "{candidate}: {document}");
        }
        let advice = summary["advice"].as_str().unwrap();
        assert!(advice.contains("tfo-server -a 0.0.0.0"), "how to get the other half: {advice}");
    });
}

/// Returns the client's command.
fn client(folder: &TempDir, arguments: &[&str]) -> Command {
    let config = folder.path().join("client.toml");
    fs::write(&config, "").unwrap();
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    command.arg("--config").arg(config).arg("-q").args(arguments);
    command
}

/// A short queue under load misses most connections: that they miss is no sign against it.
#[test]
fn short_queue_under_load_stays_a_candidate_and_doctor_names_it() {
    isolated(|| {
        if !require("nginx") {
            return;
        }
        for (v6, listen, target) in [
            (false, "listen 192.0.2.2:8080 fastopen=3;", "192.0.2.2:8080"),
            (true, "listen [2001:db8::2]:8080 fastopen=3;", "[2001:db8::2]:8080"),
        ] {
            let path = PathSettings::new().round_trip(Duration::from_millis(40));
            let network = Network::new(path).unwrap();
            let folder = TempDir::new().unwrap();
            let _nginx = nginx_on(network.server(), &folder.path().join("nginx"), listen);
            let load = ["load", target, "--http", "/", "--concurrency", "40", "--duration", "1min"];
            let load = Program::start(network.client(), client(&folder, &load)).unwrap();
            let overflows = || network.server().run(|| Counters::read().unwrap().listen_overflow);
            while overflows() < 100 {
                std::thread::sleep(Duration::from_millis(10));
            }
            let probe = ["-s", target, "--message", REQUEST, "-n", "20", "-o", "json"];
            let ended = Program::start(network.client(), client(&folder, &probe)).unwrap().finish();
            let document = json(&ended.out);
            let all = document["connections"].as_array().unwrap();
            let missed = || all.iter().filter(|one| one["cause"] == "data-not-acked");
            assert!(missed().count() > 1, "v6 {v6}: {document}");
            for one in missed() {
                let candidates = one["candidates"].as_array().unwrap();
                assert!(candidates.contains(&Value::from("queue-full")), "{one}");
                assert_eq!(one["blame"], "unknown", "{one}");
            }
            let summary = &document["summary"];
            let advice = summary["advice"].as_str().unwrap();
            assert!(advice.contains("`tfo-client doctor` on the server"), "{advice}");
            assert!(advice.contains("port 8080"), "{advice}");

            let doctor = client(&folder, &["doctor", "-o", "json"]);
            let ended = Program::start(network.server(), doctor).unwrap().finish();
            let document = json(&ended.out);
            let findings = document["doctor"]["findings"].as_array().unwrap();
            let full = findings.iter().find(|finding| finding["code"] == "queue-full").unwrap();
            let text = full["text"].as_str().unwrap();
            for named in ["nginx", "8080", "3"] {
                assert!(text.contains(named), "{named}: {text}");
            }
            drop(load);
        }
    });
}
