//! Both programs on two hosts, with edited configuration files, as users run them.

use tfo_core::lab::{SERVER_V4, SERVER_V6, isolated};

use crate::harness::{Lab, each, json};

#[test]
fn edited_config_files_work_on_two_hosts() {
    isolated(|| {
        for (address, port, target) in [
            (SERVER_V4.to_string(), 4433, format!("{SERVER_V4}:4433")),
            (SERVER_V6.to_string(), 8080, format!("[{SERVER_V6}]:8080")),
        ] {
            let lab = Lab::new();
            let shipped = include_str!("../../../config/server.toml");
            let edited = shipped
                .replace("\"127.0.0.1\"", &format!("\"{address}\""))
                .replace("\nport = 2222", &format!("\nport = {port}"));
            let Some(server) = lab.serve(&edited, &["-o", "json"]) else { return };
            let shipped = include_str!("../../../config/client.toml");
            let edited = shipped
                .replace("\"127.0.0.1\"", &format!("\"{address}\""))
                .replace("\nport = 2222", &format!("\nport = {port}"))
                .replace("format = \"text\"", "format = \"json\"");
            let ended = lab.run(lab.command(&edited, &[]));

            assert_eq!(ended.code, Some(0), "{}", ended.err);
            let document = json(&ended.out);
            assert_eq!(document["target"]["address"], target, "{document}");
            let verdicts = each(&document, "verdict");
            assert_eq!(verdicts, ["cookie-granted", "fast-open", "fast-open"], "{document}");
            assert_eq!(each(&document, "syn_data_acked"), [false, true, true], "{document}");
            assert_eq!(each(&document, "sent_bytes"), [64, 64, 64], "{document}");
            for line in &document["connections"].as_array().unwrap()[1..] {
                let evidence = &line["evidence"];
                assert_eq!(evidence["client"]["tcp"]["syn_data"], true, "{line}");
                assert_eq!(evidence["server"]["tcp"]["syn_data"], true, "{line}");
                assert_eq!(evidence["server"]["syn"]["saved"]["payload_bytes"], 64, "{line}");
                assert!(line["rtt_us"].as_u64().unwrap() > 0, "{line}");
            }
            assert_eq!(document["summary"]["total"], 3, "{document}");
            assert_eq!(document["summary"]["fast_open"], 2, "{document}");
            assert_eq!(document["summary"]["verdict"], "fast-open", "{document}");

            let lines = server.out().first(3);
            for (n, line) in lines.iter().enumerate() {
                let line = json(line);
                let verdict = if n == 0 { "cookie-granted" } else { "fast-open" };
                assert_eq!(line["verdict"], verdict, "{line}");
                assert_eq!(line["syn_bytes"], if n == 0 { 0 } else { 64 }, "{line}");
                assert_eq!(
                    line["cookie"],
                    json(if n == 0 { "\"request\"" } else { "{\"bytes\":8}" })
                );
                let local = document["connections"][n]["evidence"]["client"]["local"].clone();
                assert_eq!(line["peer"], local, "both ends report the same connection: {line}");
            }
            server.signal("TERM").unwrap();
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            let totals = json(ended.out.lines().last().unwrap());
            assert_eq!(totals["totals"]["verdicts"]["fast-open"], 2, "{totals}");
        }
    });
}

#[test]
fn server_on_all_addresses_accepts_both_families() {
    isolated(|| {
        let lab = Lab::new();
        let Some(server) = lab.serve_all(&[]) else { return };
        for address in [SERVER_V4.to_string(), SERVER_V6.to_string()] {
            let (document, ended) = lab.document(&["-s", &address]);
            assert_eq!(ended.code, Some(0), "{address}: {document}");
            assert_eq!(document["summary"]["fast_open"], 2, "{address}: {document}");
        }
        // The IPv4 client of an IPv6 socket is printed with its IPv4 address.
        let _ = server.out().expect(&["192.0.2.1:", "fast-open"]);
        let _ = server.out().expect(&["[2001:db8::1]:", "fast-open"]);
    });
}

#[test]
fn count_sets_the_number_of_connections() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&["-n", "1"]);
        assert_eq!(ended.code, Some(1), "a cookie was granted, but not used: {document}");
        assert_eq!(document["summary"]["verdict"], "cookie-granted");
        let (document, ended) = lab.document(&["--count", "7", "--interval", "1ms"]);
        assert_eq!(ended.code, Some(0), "{document}");
        assert_eq!(document["summary"]["fast_open"], 7, "the cookie is cached: {document}");
        assert_eq!(each(&document, "n"), [1, 2, 3, 4, 5, 6, 7]);
    });
}
