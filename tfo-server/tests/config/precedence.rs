use crate::support::Folder;

/// A setting of each kind: table, key, and the values of default, file, variable and flag.
const SETTINGS: [(&str, &str, [&str; 4]); 4] = [
    ("listen", "address", ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0"]),
    ("listen", "port", ["2222", "10", "20", "30"]),
    ("listen", "service", ["mirror", "echo", "discard", "echo"]),
    ("output", "format", ["text", "json", "text", "json"]),
];

#[test]
fn flag_beats_variable_beats_file_beats_default() {
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
        assert_eq!(found(&with, &after, &set), flag, "{key} after the subcommand");
    }
}

#[test]
fn keys_without_a_flag_are_set_by_variable_or_file() {
    let folder = Folder::new("[limits]\nidle-timeout = '1m'\nconnections = 5");
    let found = folder.printed(&[], &[("TFO_SERVER_CONNECTIONS", "6")]);
    assert_eq!(found["limits"]["connections"].as_integer(), Some(6));
    assert_eq!(found["limits"]["idle-timeout"].as_str(), Some("1m"));
    assert_eq!(found["limits"]["drain-timeout"].as_str(), Some("10s"));
}

#[test]
fn printed_settings_can_be_used_as_the_file() {
    let flags = ["-a", "::1", "-p", "80", "--service", "discard", "-o", "json"];
    let folder = Folder::new("[limits]\nidle-timeout = '1m30s'");
    let printed = folder.printed(&flags, &[("TFO_SERVER_FASTOPEN_QUEUE", "0")]);
    folder.write("printed.toml", printed.to_string());
    assert_eq!(folder.printed(&["-c", "printed.toml"], &[]), printed);
}
