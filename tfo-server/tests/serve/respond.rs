//! A fixed answer, from the configuration or from a file.

use std::fs;
use std::io::Write;

use tfo_core::lab::isolated;

use crate::support::{Lab, answer, json, pattern};

fn of_file(lab: &Lab, name: &str) -> String {
    let path = lab.path(name);
    format!("[listen]\nservice = \"respond\"\n[respond]\nfile = \"{}\"\n", path.display())
}

#[test]
fn any_first_bytes_are_answered_and_the_connection_closed() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[listen]\nservice = \"respond\"\n[respond]\nbody = \"so it is\"\n";
        let server = lab.serve(config, &["-o", "json"]);
        for (n, request) in [b"?".as_slice(), b"?", &pattern(100_000)].into_iter().enumerate() {
            let mut client = lab.fast_open(request);
            assert_eq!(answer(&mut client), b"so it is", "request {n}, followed by the end");
            assert_eq!(client.info().unwrap().syn_data, n > 0, "request {n}");
        }
        let lines: Vec<_> = server.out().first(3).iter().map(|line| json(line)).collect();
        assert_eq!(lines[1]["verdict"], "fast-open", "{}", lines[1]);
        assert_eq!(lines[1]["bytes_out"], 8, "{}", lines[1]);
        assert!(lines.iter().all(|line| line["cut_short"].is_null()), "{lines:?}");
    });
}

#[test]
fn file_is_sent_unchanged() {
    isolated(|| {
        for len in [0, 1, 16 * 1024, 16 * 1024 + 1, 3_000_000] {
            let lab = Lab::new();
            let content = pattern(len);
            fs::write(lab.path("answer"), &content).unwrap();
            let server = lab.serve(&of_file(&lab, "answer"), &["-o", "json"]);
            let mut client = lab.connect();
            client.write_all(b"?").unwrap();
            assert!(answer(&mut client) == content, "{len} bytes");
            let line = json(&server.out().first(1)[0]);
            assert_eq!(line["bytes_out"], len, "{line}");
        }
    });
}

#[test]
fn unusable_file_is_reported_at_the_start() {
    isolated(|| {
        let lab = Lab::new();
        fs::create_dir(lab.path("folder")).unwrap();
        let large = fs::File::create(lab.path("large")).unwrap();
        large.set_len((64 << 20) + 1).unwrap();
        for (name, why) in [
            ("missing", "No such file"),
            ("folder", "it is not a regular file"),
            ("large", "expected at most 64 MiB"),
        ] {
            let ended = lab.start(&of_file(&lab, name), &["-q"]).finish();
            assert_eq!(ended.code, Some(2), "{name}: {}", ended.err);
            let path = lab.path(name);
            let named = ended.err.contains(&path.display().to_string());
            assert!(named && ended.err.contains(why), "{name}: {}", ended.err);
            assert_eq!(ended.err.lines().count(), 1, "{name}: {}", ended.err);
        }
    });
}

#[test]
fn sighup_reloads_the_file_and_a_bad_one_changes_nothing() {
    isolated(|| {
        let lab = Lab::new();
        let path = lab.path("answer");
        fs::write(&path, "one").unwrap();
        let server = lab.serve(&of_file(&lab, "answer"), &[]);
        let body = || {
            let mut client = lab.connect();
            client.write_all(b"?").unwrap();
            String::from_utf8(answer(&mut client)).unwrap()
        };
        assert_eq!(body(), "one");
        fs::write(&path, "two").unwrap();
        assert_eq!(body(), "one", "unchanged before the reload");
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["settings reloaded"]);
        assert_eq!(body(), "two");
        fs::remove_file(&path).unwrap();
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["answer", "No such file", "keeping"]);
        assert_eq!(body(), "two");
    });
}
