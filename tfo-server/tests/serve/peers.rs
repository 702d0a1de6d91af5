//! Clients of other projects.

use std::process::Command;

use tfo_core::lab::{Program, isolated, require};

use crate::support::{Lab, clean, json};

#[test]
fn second_request_of_curl_is_in_the_syn() {
    isolated(|| {
        if !require("curl") {
            return;
        }
        let lab = Lab::new();
        for service in ["echo", "discard"] {
            let server = lab.serve("", &["--service", service, "-o", "json"]);
            for _ in 0..2 {
                let mut curl = clean(Command::new("curl"));
                curl.args(["--tcp-fastopen", "--silent", "--max-time", "0.5", "--http0.9"]);
                curl.args(["--noproxy", "*", "http://127.0.0.1:2222/"]);
                // curl fails, because the answer is not HTTP. Only what the server receives matters.
                let _ = Program::start(&lab.host, curl).unwrap().finish();
            }
            let lines = server.out().first(2);
            let (first, second) = (json(&lines[0]), json(&lines[1]));
            if service == "echo" {
                assert_eq!(first["verdict"], "cookie-granted", "{first}");
            }
            assert_eq!(second["verdict"], "fast-open", "{service}: {second}");
            assert_eq!(second["evidence"]["tcp"]["syn_data"], true, "{service}: {second}");
            let request = second["syn_bytes"].as_u64().unwrap();
            assert!(request > 40, "curl's whole request is in the SYN: {second}");
            assert_eq!(second["bytes_in"], request, "{service}: {second}");
            server.signal("TERM").unwrap();
            assert_eq!(server.finish().code, Some(0));
        }
    });
}
