//! nginx, a server that does not send its half of the evidence.

use std::fs;
use std::process::Command;

use tfo_core::lab::{Program, isolated, require};

use crate::harness::{Lab, clean, each};

/// Starts nginx. All of its paths are in the test's folder, and it changes no owner, so that any user can run it.
fn nginx(lab: &Lab, listen: &str) -> Program {
    let folder = lab.path("nginx");
    fs::create_dir_all(&folder).unwrap();
    let root = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {root}/{name};\n"))
        .concat();
    let config = lab.file(
        "nginx.conf",
        &format!(
            "user root root;\nworker_processes 1;\npid {root}/pid;\nerror_log stderr notice;\nevents {{}}\nhttp {{\n\
             {temporary}  access_log off;\n  server {{ {listen} location / {{ return 200 ok; }} }}\n}}\n"
        ),
    );
    let path = if fs::exists("/usr/sbin/nginx").unwrap() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = clean(Command::new(path));
    command.arg("-c").arg(config).arg("-p").arg(&folder);
    command.args(["-g", "daemon off; master_process off;"]);
    let program = Program::start(&lab.server, command).unwrap();
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
