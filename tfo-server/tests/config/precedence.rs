use crate::support::{Folder, output};

/// One setting of each kind: table and key, and what file, variable and flag say.
const SETTINGS: [(&str, &str, [&str; 4]); 4] = [
    ("listen", "address", ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0"]),
    ("listen", "port", ["2222", "10", "20", "30"]),
    ("listen", "service", ["mirror", "echo", "discard", "echo"]),
    ("output", "format", ["text", "json", "text", "json"]),
];

#[test]
fn a_flag_beats_a_variable_which_beats_the_file_which_beats_the_default() {
    for (table, key, [default, file, variable, flag]) in SETTINGS {
        let word = if key == "format" { "output" } else { key };
        let name = format!("TFO_SERVER_{}", word.to_uppercase());
        let flags = [format!("--{word}"), flag.to_owned()];
        let flags = flags.each_ref().map(String::as_str);
        let set = [(name.as_str(), variable)];

        let quote = if key == "port" { "" } else { "'" };
        let without = Folder::new("");
        let with = Folder::new(format!("[{table}]\n{key} = {quote}{file}{quote}"));
        let found = |folder: &Folder, flags: &[&str], variables: &[(&str, &str)]| {
            let value = folder.printed(flags, variables)[table][key].clone();
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        assert_eq!(found(&without, &[], &[]), default, "{key}");
        assert_eq!(found(&with, &[], &[]), file, "{key}");
        assert_eq!(found(&with, &[], &set), variable, "{key}");
        assert_eq!(found(&with, &flags, &set), flag, "{key}");
        let after = [&["check"], &flags[..]].concat();
        assert_eq!(found(&with, &after, &set), flag, "{key} behind the subcommand");
    }
}

#[test]
fn keys_without_a_flag_come_from_a_variable_or_the_file() {
    let folder = Folder::new("[limits]\nidle-timeout = '1m'\nconnections = 5");
    let found = folder.printed(&[], &[("TFO_SERVER_CONNECTIONS", "6")]);
    assert_eq!(found["limits"]["connections"].as_integer(), Some(6));
    assert_eq!(found["limits"]["idle-timeout"].as_str(), Some("1m"));
    assert_eq!(found["limits"]["drain-timeout"].as_str(), Some("10s"));
}

#[test]
fn the_flag_chooses_the_file_before_the_variable_and_the_default_place() {
    let folder = Folder::new("listen.port = 10");
    folder.write("by-variable.toml", "listen.port = 20");
    folder.write("by-flag.toml", "listen.port = 30");
    let variable = [("TFO_SERVER_CONFIG", "by-variable.toml")];
    let port = |flags: &[&str], variables: &[(&str, &str)]| {
        folder.printed(flags, variables)["listen"]["port"].as_integer()
    };
    assert_eq!(port(&[], &[]), Some(10));
    assert_eq!(port(&[], &variable), Some(20));
    assert_eq!(port(&["-c", "by-flag.toml"], &variable), Some(30));
    // What is not asked is not looked at.
    assert_eq!(port(&["-c", "by-flag.toml"], &[("TFO_SERVER_CONFIG", "missing")]), Some(30));
}

#[test]
fn a_log_line_names_the_file_and_quiet_hides_it() {
    let folder = Folder::new("");
    let log = |flags: &[&str]| {
        let output = output(folder.program(flags).arg("--print-config"));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(log(&[]).ends_with("info: configuration file: config/server.toml\n"), "{}", log(&[]));
    assert!(log(&["-v"]).contains("configuration file: config/server.toml"));
    assert_eq!(log(&["-q"]), "");
}

#[test]
fn what_is_printed_can_be_used_as_the_file() {
    let flags = ["-a", "::1", "-p", "80", "--service", "discard", "-o", "json"];
    let folder = Folder::new("[limits]\nidle-timeout = '1m30s'");
    let printed = folder.printed(&flags, &[("TFO_SERVER_FASTOPEN_QUEUE", "0")]);
    folder.write("printed.toml", printed.to_string());
    assert_eq!(folder.printed(&["-c", "printed.toml"], &[]), printed);
}

#[test]
fn the_shipped_file_changes_nothing() {
    let shipped = Folder::new(include_str!("../../../config/server.toml"));
    assert_eq!(shipped.printed(&[], &[]), Folder::new("").printed(&[], &[]));
}
