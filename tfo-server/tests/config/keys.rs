//! `tfo-server keys`: creates, shows, converts and compares key files.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Output, Stdio},
};

use crate::support::{Folder, json, output};

const ONE: &str = "000102030405060708090a0b0c0d0e0f";
const TWO: &str = "deadbeefdeadbeefdeadbeefdeadbeef";
/// `TWO` in groups of little-endian words.
const TWO_WORDS: &str = "efbeadde-efbeadde-efbeadde-efbeadde";

fn run(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = folder.program(&["keys", "-q"]);
    result(output(command.args(arguments)))
}

fn result(output: Output) -> (Option<i32>, String, String) {
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

/// Writes a key file that only its owner may read.
fn write(folder: &Folder, name: &str, content: &str) {
    folder.write(name, content);
    fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn new_key_is_random_private_and_not_printed() {
    let folder = Folder::new("");
    let mut known = Vec::new();
    for (name, arguments) in [("a", &["new", "a"][..]), ("b", &["new", "b", "-o", "json"])] {
        let (code, out, err) = run(&folder, arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        let mode = fs::metadata(folder.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let content = fs::read_to_string(folder.path(name)).unwrap();
        let key = content.lines().find(|line| !line.starts_with('#')).unwrap().to_owned();
        assert_eq!(key.len(), 32, "{content}");
        assert!(!out.contains(&key), "{out}");
        let (code, shown, _) = run(&folder, &["show", name]);
        assert_eq!(code, Some(0));
        let fingerprint = shown.trim_end().strip_prefix("primary ").unwrap().to_owned();
        assert!(out.contains(&fingerprint), "{out} {shown}");
        known.push((key, fingerprint));
    }
    assert_ne!(known[0].0, known[1].0);
    assert_ne!(known[0].1, known[1].1);
}

#[test]
fn new_secret_has_256_bits_and_is_not_printed() {
    let folder = Folder::new("");
    let (code, out, _) = run(&folder, &["new", "--secret", "fleet", "-o", "json"]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!((&json(&out)["schema"], &json(&out)["kind"]), (&1.into(), &"secret".into()));
    let content = fs::read_to_string(folder.path("fleet")).unwrap();
    let secret = content.lines().find(|line| !line.starts_with('#')).unwrap();
    assert_eq!(secret.len(), 64);
    assert!(!out.contains(secret));
}

#[test]
fn existing_file_is_never_replaced() {
    let folder = Folder::new("");
    folder.write("mine", "precious");
    symlink("elsewhere", folder.path("link")).unwrap();
    write(&folder, "key", ONE);
    for arguments in [
        &["new", "mine"][..],
        &["new", "--secret", "mine"],
        &["convert", "--to", "hex", "key", "mine"],
        &["new", "link"],
    ] {
        let (code, out, err) = run(&folder, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
        assert!(err.contains("is never replaced"), "{err}");
    }
    assert_eq!(fs::read_to_string(folder.path("mine")).unwrap(), "precious");
    assert!(!folder.path("elsewhere").exists(), "a link is not followed");
}

#[test]
fn show_prints_fingerprints_and_keys_only_with_reveal() {
    let folder = Folder::new("");
    write(&folder, "two", &format!("{ONE}\n{TWO}\n"));
    let (code, out, err) = run(&folder, &["show", "two"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let slots: Vec<_> = out.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!([slots[0].0, slots[1].0], ["primary", "backup"]);
    assert!(slots.iter().all(|(_, fingerprint)| fingerprint.len() == 8), "{out}");
    let (_, document, _) = run(&folder, &["show", "two", "-o", "json"]);
    let found = json(&document);
    assert_eq!((&found["schema"], &found["source"]), (&1.into(), &"file".into()));
    assert_eq!(found["keys"][1]["fingerprint"], slots[1].1);
    assert!(!format!("{out}{document}").contains("deadbeef"));
    let (_, revealed, _) = run(&folder, &["show", "two", "--reveal"]);
    assert_eq!(revealed.lines().nth(1).unwrap(), format!("backup {} {TWO}", slots[1].1));
    let (_, revealed, _) = run(&folder, &["show", "two", "--reveal", "-o", "json"]);
    assert_eq!(json(&revealed)["keys"][0]["key"], ONE);
}

#[test]
fn file_that_others_may_read_is_shown_with_a_warning() {
    let folder = Folder::new("");
    write(&folder, "open", TWO);
    fs::set_permissions(folder.path("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, err) = run(&folder, &["show", "open"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("open: mode 0644 allows access by others"), "{err}");
    assert!(!(out + &err).contains("deadbeef"));
}

#[test]
fn invalid_file_is_status_2_and_its_content_is_not_printed() {
    let folder = Folder::new("");
    write(&folder, "bad", &format!("# two\n{ONE}\n{}\n", &TWO[1..]));
    write(&folder, "good", ONE);
    for arguments in [
        &["show", "bad"][..],
        &["show", "bad", "--reveal", "-o", "json"],
        &["convert", "--to", "raw", "bad"],
        &["compare", "good", "bad"],
        &["compare", "bad", "good"],
        &["compare", "good", "missing"],
    ] {
        let (code, out, err) = run(&folder, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.starts_with("error: "), "{err}");
        let place = if arguments.contains(&"convert") { "bad: line 3: " } else { "bad:3: " };
        assert!(err.contains(place) || err.contains("missing: No such file"), "{err}");
        assert!(!err.contains("eadbeef"), "{err}");
    }
}

#[test]
fn keys_are_converted_between_all_forms() {
    let folder = Folder::new("");
    write(&folder, "hex", &format!("# both\n{ONE}\n{TWO}\n"));
    let words = format!("03020100-07060504-0b0a0908-0f0e0d0c,{TWO_WORDS}\n");
    for (to, from, into) in
        [("sysctl", "hex", "words"), ("raw", "words", "raw"), ("hex", "raw", "again")]
    {
        let (code, out, err) = run(&folder, &["convert", "--to", to, from, into]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.starts_with("primary ") && !out.contains("dead"), "fingerprints: {out}");
        let mode = fs::metadata(folder.path(into)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{into}");
    }
    assert_eq!(fs::read_to_string(folder.path("words")).unwrap(), words);
    assert_eq!(fs::read(folder.path("raw")).unwrap().len(), 32);
    assert_eq!(fs::read_to_string(folder.path("again")).unwrap(), format!("{ONE}\n{TWO}\n"));
    let (code, out, _) = run(&folder, &["compare", "hex", "again"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn keys_are_converted_from_stdin_to_stdout() {
    let folder = Folder::new("");
    for arguments in [&["--to", "sysctl"][..], &["--to", "sysctl", "-"]] {
        let mut command = folder.program(&["keys", "convert", "-q"]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(TWO.as_bytes()).unwrap();
        let (code, out, _) = result(child.wait_with_output().unwrap());
        assert_eq!((code, out), (Some(0), format!("{TWO_WORDS}\n")));
    }
}

#[test]
fn compare_reports_matching_slots() {
    let folder = Folder::new("");
    write(&folder, "both", &format!("{ONE}\n{TWO}\n"));
    write(&folder, "swapped", &format!("{TWO}\n{ONE}\n"));
    write(&folder, "one", &format!("# the same key\n{ONE}\n"));
    write(&folder, "two", TWO);
    for (a, b, status, last) in [
        ("both", "both", 0, "the same"),
        ("one", "one", 0, "the same"),
        ("both", "one", 1, "different: the same primary"),
        (
            "both",
            "swapped",
            1,
            "different: the primary of the first is the backup of the second; the backup of the \
             first is the primary of the second",
        ),
        ("one", "two", 1, "different: no key in common"),
    ] {
        let (code, out, err) = run(&folder, &["compare", a, b]);
        assert_eq!((code, err.as_str()), (Some(status), ""), "{out}");
        assert_eq!(out.lines().last().unwrap(), last, "{out}");
        let (code, document, _) = run(&folder, &["compare", a, b, "-o", "json"]);
        assert_eq!(code, Some(status));
        assert_eq!(json(&document)["same"], status == 0, "{document}");
        assert!(!(out + &document).contains("deadbeef"));
    }
    let (_, document, _) = run(&folder, &["compare", "both", "two", "-o", "json"]);
    let matches = &json(&document)["matches"];
    assert_eq!((&matches[0]["a"], &matches[0]["b"]), (&"backup".into(), &"primary".into()));
}

#[test]
fn show_requires_exactly_one_source() {
    let folder = Folder::new("");
    write(&folder, "key", ONE);
    for arguments in [&["keys", "show"][..], &["keys", "show", "key", "--sysctl"], &["keys"]] {
        let output = output(&mut folder.program(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn key_is_created_beside_a_configuration_that_is_not_valid_yet() {
    let folder = Folder::new("[keys]\nmode = \"file\"");
    let (code, _, err) = result(output(&mut folder.program(&["keys", "new", "k"])));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("config/server.toml:2:8: ") && err.contains("does without"), "{err}");
    assert!(folder.path("k").is_file());
}
