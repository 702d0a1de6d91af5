use std::fs;

use crate::support::{Folder, assert_help, output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn help_is_as_stored() {
    assert_help(ROOT, &["--help"], "help.txt");
    assert_help(ROOT, &["check", "--help"], "help-check.txt");
    assert_help(ROOT, &["top", "--help"], "help-top.txt");
    assert_help(ROOT, &["keys", "--help"], "help-keys.txt");
    assert_help(ROOT, &["keys", "new", "--help"], "help-keys-new.txt");
    assert_help(ROOT, &["keys", "show", "--help"], "help-keys-show.txt");
    assert_help(ROOT, &["keys", "convert", "--help"], "help-keys-convert.txt");
    assert_help(ROOT, &["keys", "compare", "--help"], "help-keys-compare.txt");
}

#[test]
fn help_names_the_variable_of_every_flag() {
    let help = String::from_utf8(output(&mut Folder::new("").program(&["--help"])).stdout).unwrap();
    for flag in ["address", "port", "service", "config", "output"] {
        assert!(help.contains(&format!("--{flag} ")), "{flag}");
        let variable = format!("TFO_SERVER_{}", flag.to_uppercase());
        assert!(help.contains(&variable), "{variable}");
    }
}

#[test]
fn full_disk_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = Folder::new("");
    let output = folder.program(&["--print-config", "-q"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the configuration is right");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: can't print: No space left"), "{stderr}");
}
