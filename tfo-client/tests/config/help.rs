use std::{env, fs, io, path::Path};

use crate::harness::{Folder, output};

/// Holds the help against the file next to this one.
fn holds(arguments: &[&str], snapshot: &str) {
    let output = output(&mut Folder::new("").program(arguments));
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(snapshot);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &help).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        help == stored,
        "{arguments:?} differs from {}; if that is meant, run the test once more with \
         UPDATE_SNAPSHOTS=1\n--- now\n{help}\n--- stored\n{stored}",
        path.display()
    );
}

#[test]
fn the_help_is_as_stored() {
    holds(&["--help"], "help.txt");
    holds(&["probe", "--help"], "help-probe.txt");
    holds(&["explain", "--help"], "help-explain.txt");
    holds(&["cookies", "--help"], "help-cookies.txt");
    holds(&["doctor", "--help"], "help-doctor.txt");
    holds(&["load", "--help"], "help-load.txt");
    holds(&["compare", "--help"], "help-compare.txt");
    holds(&["path", "--help"], "help-path.txt");
}

#[test]
fn short_and_long_help_are_the_same() {
    let help = |flag| output(&mut Folder::new("").program(&[flag])).stdout;
    assert_eq!(help("-h"), help("--help"));
}

#[test]
fn the_help_names_every_variable() {
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
fn the_version_is_that_of_the_package() {
    let output = output(&mut Folder::new("").program(&["-V"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, concat!("tfo-client ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let folder = Folder::new("");
    let mut command = folder.program(&["--print-config", "-q"]);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = Folder::new("");
    let output = folder.program(&["--print-config", "-q"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: can't print the settings: No space left"), "{stderr}");
}
