use std::fs;

use crate::support::{Folder, assert_help, output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn help_is_as_stored() {
    assert_help(ROOT, &["--help"], "help.txt");
    assert_help(ROOT, &["probe", "--help"], "help-probe.txt");
    assert_help(ROOT, &["explain", "--help"], "help-explain.txt");
    assert_help(ROOT, &["cookies", "--help"], "help-cookies.txt");
    assert_help(ROOT, &["doctor", "--help"], "help-doctor.txt");
    assert_help(ROOT, &["load", "--help"], "help-load.txt");
    assert_help(ROOT, &["compare", "--help"], "help-compare.txt");
    assert_help(ROOT, &["path", "--help"], "help-path.txt");
}

#[test]
fn help_names_every_variable() {
    let help = String::from_utf8(output(&mut Folder::new("").program(&["--help"])).stdout).unwrap();
    let shipped = include_str!("../../../config/client.toml");
    let names = shipped.split(|c: char| c != '_' && !c.is_ascii_uppercase());
    let names: Vec<_> = names.filter(|word| word.starts_with("TFO_CLIENT_")).collect();
    assert!(names.len() > 5, "the shipped file names variables");
    for name in names {
        assert!(help.contains(name), "{name}");
    }
}

#[test]
fn full_disk_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = Folder::new("");
    let output = folder.program(&["--print-config", "-q"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: can't print the settings: No space left"), "{stderr}");
}
