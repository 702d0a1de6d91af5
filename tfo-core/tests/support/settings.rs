//! Tests of command line and configuration that are the same for both programs. `tests/config` of both include this
//! file.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
};

use crate::support::{Folder, PROGRAM, output, refused};

fn variable(name: &str) -> String {
    format!("{}_{name}", PROGRAM.prefix)
}

/// Returns a configuration with one setting of the table that contains `address` and `port`.
fn with(setting: &str) -> String {
    format!("[{}]\n{setting}\n", PROGRAM.table)
}

/// A key, the end of its variable, its flag, and the values of default, file, variable and flag.
pub(crate) type Setting = (&'static str, &'static str, &'static str, [&'static str; 4]);

/// Asserts the order of precedence for each setting, with the flag alone and after a subcommand.
pub(crate) fn assert_precedence(subcommand: &str, settings: &[Setting]) {
    for (key, name, flag, [default, file, by_variable, by_flag]) in settings {
        let (table, name_in_table) = key.split_once('.').unwrap();
        let name = variable(name);
        let set = [(name.as_str(), *by_variable)];
        let flags: Vec<_> = flag.split(' ').collect();
        let quote = if file.parse::<u16>().is_ok() { "" } else { "'" };
        let without = Folder::new("");
        let with = Folder::new(format!("{key} = {quote}{file}{quote}"));
        let found = |folder: &Folder, flags: &[&str], variables: &[(&str, &str)]| {
            let value = folder.printed(flags, variables)[table][name_in_table].clone();
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        assert_eq!(found(&without, &[], &[]), *default, "{key}");
        assert_eq!(found(&with, &[], &[]), *file, "{key}");
        assert_eq!(found(&with, &[], &set), *by_variable, "{key}");
        assert_eq!(found(&with, &flags, &set), *by_flag, "{key}");
        let after = [&[subcommand], &flags[..]].concat();
        assert_eq!(found(&with, &after, &set), *by_flag, "{key} after the subcommand");
    }
}

/// Asserts that the printed configuration can be used as the configuration file.
pub(crate) fn assert_printed_is_read_back(config: &str, flags: &[&str], name: &str, value: &str) {
    let folder = Folder::new(config);
    let printed = folder.printed(flags, &[(&variable(name), value)]);
    folder.write("printed.toml", printed.to_string());
    assert_eq!(folder.printed(&["-c", "printed.toml"], &[]), printed);
}

#[test]
fn short_and_long_help_are_the_same() {
    let help = |flag| {
        let output = output(&mut Folder::new("").program(&[flag]));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(help("-h"), help("--help"));
}

/// Returns the help of the program and of each of its subcommands.
pub(crate) fn all_help(path: &[&str]) -> Vec<(String, String)> {
    let folder = Folder::new("");
    let arguments = [path, &["--help"]].concat();
    let help = String::from_utf8(output(&mut folder.program(&arguments)).stdout).unwrap();
    let commands = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let names = commands.lines().take_while(|line| line.starts_with("  "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let mut all = Vec::new();
    for name in names.filter(|name| *name != "help") {
        all.extend(all_help(&[path, &[name]].concat()));
    }
    all.push((path.join(" "), help));
    all
}

#[test]
fn each_help_has_exit_status_and_examples_within_100_columns() {
    for (command, help) in all_help(&[]) {
        let wide: Vec<_> = help.lines().filter(|line| line.chars().count() > 100).collect();
        assert!(wide.is_empty(), "{command}: {wide:?}");
        for heading in ["\nExit status: ", "\nExamples:\n"] {
            assert!(help.contains(heading), "{command}: {heading}: {help}");
        }
        let name = format!("{} {command}", PROGRAM.name);
        assert!(help.split("\nExamples:\n").nth(1).unwrap().contains(&name), "{command}: {help}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    let output = output(&mut Folder::new("").program(&["-V"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("{} {}\n", PROGRAM.name, env!("CARGO_PKG_VERSION")));
}

#[test]
fn closed_pipe_is_no_error() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let folder = Folder::new("");
    let mut command = folder.program(&["--print-config", "-q"]);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn syntax_error_names_line_and_key() {
    let error = Folder::new(with("address = example.org")).refused(&[], &[]);
    let place = format!("{}:2:11: {}.address: ", PROGRAM.config, PROGRAM.table);
    assert!(error.starts_with(&place), "{error}");
}

#[test]
fn duplicate_key_is_refused_at_its_second_place() {
    let error = Folder::new(with("port = 80\nport = 81")).refused(&[], &[]);
    let (config, table) = (PROGRAM.config, PROGRAM.table);
    assert_eq!(error, format!("{config}:3:1: {table}.port: duplicate key: expected once"));
}

#[test]
fn file_that_is_not_utf8_is_refused_at_the_byte() {
    let error = Folder::new(b"# fine\n# caf\xe9\n").refused(&[], &[]);
    assert_eq!(error, format!("{}:2:6: not UTF-8: found byte 0xe9", PROGRAM.config));
}

#[test]
fn unreadable_file_is_named() {
    let folder = Folder::new("");
    fs::create_dir(folder.path("folder")).unwrap();
    let variable = variable("CONFIG");

    let by_flag = folder.refused(&["-c", "folder"], &[]);
    let expected = "can't read the configuration file folder, named by --config: Is a directory";
    assert!(by_flag.starts_with(expected), "{by_flag}");
    let by_variable = folder.refused(&[], &[(&variable, "missing.toml")]);
    let expected =
        format!("can't read the configuration file missing.toml, named by {variable}: No such");
    assert!(by_variable.starts_with(&expected), "{by_variable}");
    let empty = folder.refused(&[], &[(&variable, "")]);
    assert!(empty.contains(&format!("named by {variable}: the name is empty")), "{empty}");

    fs::remove_file(folder.path(PROGRAM.config)).unwrap();
    fs::create_dir(folder.path(PROGRAM.config)).unwrap();
    let found = folder.refused(&[], &[]);
    let expected = format!("can't read the configuration file {}: Is a dir", PROGRAM.config);
    assert!(found.starts_with(&expected), "{found}");
}

#[test]
fn file_without_permission_is_named() {
    let folder = Folder::new("");
    let path = folder.path(PROGRAM.config);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(&path).is_ok() {
        eprintln!("SKIPPED: this user may read any file");
        return;
    }
    let error = folder.refused(&[], &[]);
    assert!(error.contains(&format!("{}: Permission denied", PROGRAM.config)), "{error}");
}

#[test]
fn variable_that_is_not_utf8_is_refused() {
    let (folder, port) = (Folder::new(""), variable("PORT"));
    let mut command = folder.program(&[]);
    let error = refused(command.env(&port, OsStr::from_bytes(b"\xff")));
    assert_eq!(error, format!("{port}: is not UTF-8"));
}

#[test]
fn invalid_log_filter_is_refused() {
    let error = Folder::new("").refused(&[], &[("RUST_LOG", "tfo=loud")]);
    assert!(error.starts_with("RUST_LOG: "), "{error}");
}

#[test]
fn file_of_flag_beats_variable_beats_default_path() {
    let folder = Folder::new(with("port = 10"));
    folder.write("by-variable.toml", with("port = 20"));
    folder.write("by-flag.toml", with("port = 30"));
    let name = variable("CONFIG");
    let port = |flags: &[&str], variables: &[(&str, &str)]| {
        folder.printed(flags, variables)[PROGRAM.table]["port"].as_integer()
    };
    assert_eq!(port(&[], &[]), Some(10));
    assert_eq!(port(&[], &[(&name, "by-variable.toml")]), Some(20));
    assert_eq!(port(&["-c", "by-flag.toml"], &[(&name, "by-variable.toml")]), Some(30));
    // A file that another source overrides is not read.
    assert_eq!(port(&["-c", "by-flag.toml"], &[(&name, "missing")]), Some(30));
}

#[test]
fn log_line_names_the_file_unless_quiet() {
    let folder = Folder::new("");
    let log = |flags: &[&str]| {
        let output = output(folder.program(flags).arg("--print-config"));
        String::from_utf8(output.stderr).unwrap()
    };
    let line = format!("configuration file: {}", PROGRAM.config);
    assert!(log(&[]).ends_with(&format!("info: {line}\n")), "{}", log(&[]));
    assert!(log(&["-v"]).contains(&line));
    assert_eq!(log(&["-q"]), "");
}

#[test]
fn shipped_file_changes_nothing() {
    let shipped = Folder::new(PROGRAM.shipped);
    assert_eq!(shipped.printed(&[], &[]), Folder::new("").printed(&[], &[]));
}
