use crate::support::Folder;

/// Table, key, the name of the flag, and the values of default, file, variable and flag.
const SETTINGS: [(&str, &str, &str, [&str; 4]); 11] = [
    ("server", "address", "server", ["127.0.0.1", "file", "::1", "192.0.2.1"]),
    ("server", "port", "port", ["2222", "10", "20", "30"]),
    ("probe", "count", "count", ["3", "10", "20", "30"]),
    ("probe", "mode", "mode", ["auto", "off", "sendto", "connect"]),
    ("probe", "message", "message", ["", "file", "variable", "flag"]),
    ("probe", "size", "size", ["64B", "1KiB", "2KiB", "1MiB"]),
    ("probe", "connect-timeout", "connect-timeout", ["5s", "1s", "2s", "1m30s"]),
    ("probe", "reply-timeout", "reply-timeout", ["5s", "1s", "2s", "250ms"]),
    ("probe", "interval", "interval", ["0ms", "1s", "2s", "3s"]),
    ("output", "format", "output", ["text", "json", "text", "json"]),
    ("probe", "family", "ipv4", ["any", "ipv6", "any", "ipv4"]),
];

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    for (table, key, word, [default, file, variable, flag]) in SETTINGS {
        let (name, flags) = match word {
            "ipv4" => ("TFO_CLIENT_FAMILY".to_owned(), vec!["--ipv4".to_owned()]),
            _ => (
                format!("TFO_CLIENT_{}", word.replace('-', "_").to_uppercase()),
                vec![format!("--{word}"), flag.to_owned()],
            ),
        };
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let set = [(name.as_str(), variable)];

        let quote = if matches!(key, "port" | "count") { "" } else { "'" };
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
        let after = [&["probe"], &flags[..]].concat();
        assert_eq!(found(&with, &after, &set), flag, "{key} after the subcommand");
    }
}

#[test]
fn switch_is_set_by_file_variable_and_flag() {
    let folder = Folder::new("[probe]\nexpect-reply = false\nfresh = true");
    let found = |flags: &[&str], variables: &[(&str, &str)]| {
        let probe = &folder.printed(flags, variables)["probe"];
        ["expect-reply", "fresh"].map(|key| probe[key].as_bool().unwrap())
    };
    let variables = [("TFO_CLIENT_EXPECT_REPLY", "true"), ("TFO_CLIENT_FRESH", "false")];
    assert_eq!(found(&[], &[]), [false, true]);
    assert_eq!(found(&[], &variables), [true, false]);
    assert_eq!(found(&["--no-reply", "--fresh"], &variables), [false, true]);
    assert_eq!(found(&["--fresh", "probe", "--no-reply"], &variables), [false, true]);
}

#[test]
fn port_in_the_address_belongs_to_it() {
    let folder = Folder::new("server.address = '[::1]:11'");
    let found = |flags: &[&str], variables: &[(&str, &str)]| {
        let server = &folder.printed(flags, variables)["server"];
        let host = server["address"].as_str().unwrap().to_owned();
        (host, server["port"].as_integer().unwrap())
    };
    let server = |host: &str, port| (host.to_owned(), port);
    assert_eq!(found(&[], &[]), server("::1", 11));
    assert_eq!(found(&[], &[("TFO_CLIENT_PORT", "20")]), server("::1", 20));
    assert_eq!(found(&["-s", "b"], &[]), server("b", 2222));
    assert_eq!(found(&["-s", "b:31"], &[("TFO_CLIENT_PORT", "20")]), server("b", 31));
    assert_eq!(found(&["-p", "30"], &[("TFO_CLIENT_SERVER", "c:21")]), server("c", 30));
}

#[test]
fn printed_settings_can_be_used_as_the_file() {
    let flags =
        ["-s", "[fe80::1%eth0]:80", "-6", "--message", "a \"b\"\n\tü", "--no-reply", "--fresh"];
    let folder = Folder::new("[probe]\ninterval = '1m30s'");
    let printed = folder.printed(&flags, &[("TFO_CLIENT_SIZE", "1MiB")]);
    folder.write("printed.toml", printed.to_string());
    assert_eq!(folder.printed(&["-c", "printed.toml"], &[]), printed);
}
