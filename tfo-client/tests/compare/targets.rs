//! `--targets`, a file of hosts.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::host::FastOpenFlags;
use tfo_core::lab::{Network, PathSettings, Program, isolated};

use super::{among_others, command, compare, errors, jobs::serve, schema};

#[test]
fn each_target_has_a_row_despite_one_failure() {
    let _others = among_others();
    isolated(|| {
        let network =
            Network::new(PathSettings::new().round_trip(std::time::Duration::from_millis(5)))
                .unwrap();
        serve(&network, 2222);
        serve(&network, 2223);
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("targets.txt");
        let hosts = "# hosts\n192.0.2.2\n\n192.0.2.2:9  # closed\n[2001:db8::2]:2223\n";
        fs::write(&file, hosts).unwrap();
        let run = |more: &str| {
            let line = format!("-n 10 --targets {} {more}", file.display());
            Program::start(network.client(), command(&line)).unwrap().finish()
        };
        let ended = run("");
        assert_eq!(ended.code, Some(3), "the highest status of all targets: {ended:?}");
        let rows: Vec<&str> = ended.out.lines().collect();
        assert_eq!(rows.len(), 4, "{}", ended.out);
        assert!(rows[0].starts_with("target"), "{}", rows[0]);
        assert!(rows[1].starts_with("192.0.2.2:2222 "), "{}", rows[1]);
        assert!(rows[2].starts_with("192.0.2.2:9 ") && rows[2].contains("refused"), "{}", rows[2]);
        assert!(rows[3].starts_with("[2001:db8::2]:2223 "), "{}", rows[3]);

        let page = folder.path().join("all.html");
        run(&format!("--html {}", page.display()));
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains("<h1>TCP Fast Open: 3 targets</h1>"), "no overview");
        assert_eq!(page.matches("<main ").count(), 3, "expected a section for each target");
        assert!(page.contains("Not measured."), "no section for the failed target");

        let ended = run("-o json");
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        schema::assert_valid(&document);
        let targets = document["targets"].as_array().unwrap();
        assert_eq!(targets.len(), 3);
        for measured in [&targets[0], &targets[2]] {
            assert_eq!(measured["hit_rate"]["count"], 10, "{measured}");
        }
        assert!(targets[1]["error"].is_string(), "{}", targets[1]);
    });
}

#[test]
fn invalid_targets_file_is_refused_with_its_line() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("targets.txt");
    let name = file.display().to_string();
    for (content, pieces) in [
        ("", ["names no target", "example.org:443"]),
        ("# none\n\n", ["names no target", "one host per line"]),
        (
            "a.example\nb.example:0\n",
            [":2: invalid target \"b.example:0\"", "a port is 1 to 65535"],
        ),
        ("http://a.example/\n", [":1: invalid target", "a URL is not supported"]),
    ] {
        fs::write(&file, content).unwrap();
        let output = compare(&format!("--targets {name}"));
        assert_eq!(output.status.code(), Some(2), "{content:?}");
        let errors = errors(&output);
        assert!(errors.contains(&name), "{errors}");
        for piece in pieces {
            assert!(errors.contains(piece), "{piece}: {errors}");
        }
    }
    let output = compare("--targets /nowhere/targets.txt");
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("can't read /nowhere/targets.txt"), "{}", errors(&output));
}

#[test]
fn client_bit_that_is_off_is_the_answer() {
    let _others = among_others();
    isolated(|| {
        let network = Network::new(PathSettings::new()).unwrap();
        network.client().set_tcp_fastopen(FastOpenFlags::new(2)).unwrap();
        serve(&network, 2222);
        for target in ["192.0.2.2", "2001:db8::2"] {
            let run = |more: &str| {
                let line = format!("-n 5 -s {target} {more}");
                Program::start(network.client(), command(&line)).unwrap().finish()
            };
            let ended = run("");
            let text = ended.out.replace('\n', " ");
            assert!(text.contains("client's bit (0x1) of net.ipv4.tcp_fastopen is off"), "{text}");
            assert!(!text.contains("Measure more"), "{text}");
            let document: Value = serde_json::from_str(&run("-o json").out).unwrap();
            schema::assert_valid(&document);
            assert_eq!(document["targets"][0]["doubt"], "client-disabled", "{document}");
            assert_eq!(document["targets"][0]["hit_rate"]["total"], 0, "none tried: {document}");
        }
    });
}
