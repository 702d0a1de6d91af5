//! `--metrics`: the text format of Prometheus.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;
use tfo_core::lab::{Host, isolated, require};

use crate::harness::{connect, doctor, hosts, listen, run, server_address};

/// The value of a sample, by its name and labels.
fn value<'a>(text: &'a str, sample: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    lines.next().unwrap_or_else(|| panic!("{sample} is missing:\n{text}"))
}

#[test]
fn metrics_of_a_busy_host_have_counters_rates_and_listeners() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let open: Vec<_> = (0..3)
            .map(|_| (connect(&client, server_address()), listener.accept().unwrap()))
            .collect();
        let waiting = connect(&client, server_address());
        let ended = run(&server, doctor(&["--metrics"]));
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        let text = ended.out;
        assert_eq!(value(&text, "tfo_host_ready{half=\"server\"}"), "1");
        assert_eq!(value(&text, "tfo_host_setting{name=\"net.ipv4.tcp_fastopen\"}"), "3");
        assert_eq!(value(&text, "tfo_host_netstat_total{counter=\"TCPFastOpenPassive\"}"), "3");
        assert_eq!(value(&text, "tfo_host_hit_ratio{half=\"server\"}"), "1");
        assert!(text.contains("\ntfo_host_key_info{primary=\""), "root reads the key:\n{text}");
        for (name, expected) in
            [("sockets", "1"), ("fast_open_queue", "4096"), ("accept_queue", "1")]
        {
            let sample = format!("tfo_host_listener_{name}{{address=\"[::]:2222\",process=\"");
            let line = text.lines().find(|line| line.starts_with(&sample));
            let line = line.unwrap_or_else(|| panic!("{sample} is missing:\n{text}"));
            let listed = line.rsplit(' ').next().unwrap();
            assert!(listed == expected || name == "fast_open_queue" && listed != "0", "{line}");
        }
        let fast_open = "tfo_host_open_connections{end=\"server\",verdict=\"fast-open\"}";
        assert_eq!(value(&text, fast_open), "3");
        drop((open, waiting));
    });
}

#[test]
fn promtool_reads_the_metrics() {
    isolated(|| {
        if !require("promtool") {
            return;
        }
        let host = Host::new("host").unwrap();
        let text = run(&host, doctor(&["--metrics"])).out;
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tfo.prom");
        fs::write(&file, text).unwrap();
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(fs::File::open(file).unwrap());
        let output = promtool.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    });
}

#[test]
fn metrics_file_is_replaced_whole_and_readable_for_a_collector() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tfo.prom");
        fs::write(&file, "old\n".repeat(10_000)).unwrap();
        let path = file.to_str().unwrap();
        let watch = ["--metrics", path, "--watch", "100ms", "--frames", "2"];
        let ended = run(&host, doctor(&watch));
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "", ""));
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(value(&text, "tfo_host_ready{half=\"client\"}"), "1");
        assert!(!text.contains("old"), "{text}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o444, 0o444);
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1, "no file is left over");
    });
}

#[test]
fn metrics_that_cannot_be_written_are_an_error() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let ended = run(&host, doctor(&["--metrics", "/nowhere/tfo.prom"]));
        assert_eq!(ended.code, Some(2));
        assert!(ended.err.starts_with("error: can't write /nowhere/tfo.prom: "), "{}", ended.err);
        let ended = run(&host, doctor(&["--metrics", "-o", "json"]));
        assert_eq!(ended.code, Some(2));
        assert!(ended.err.contains("omit -o json"), "{}", ended.err);
    });
}
