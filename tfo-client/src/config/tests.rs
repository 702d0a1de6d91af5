use tfo_core::cli::Switch;

use super::*;

const SHIPPED: &str = include_str!("../../../config/client.toml");

fn parse(text: &str) -> Result<File, toml::de::Error> {
    toml::from_str(text)
}

/// The dotted names of all keys of a document.
fn keys(text: &str) -> Vec<String> {
    let document: toml::Table = text.parse().unwrap();
    let tables = document.iter().map(|(name, table)| (name, table.as_table().unwrap()));
    tables.flat_map(|(name, table)| table.keys().map(move |key| format!("{name}.{key}"))).collect()
}

/// What the flags of a command line set.
fn overrides(flags: &str) -> Overrides {
    let mut overrides = Overrides::default();
    let mut words = flags.split_whitespace();
    while let Some(flag) = words.next() {
        let mut value = || words.next().unwrap();
        match flag {
            "-s" => overrides.server = Some(value().parse().unwrap()),
            "-p" => overrides.port = Some(value().parse().unwrap()),
            "-n" => overrides.count = Some(value().parse().unwrap()),
            "-o" => overrides.output = Some(value().parse().unwrap()),
            "--mode" => overrides.mode = Some(value().parse().unwrap()),
            "--message" => overrides.message = Some(value().parse().unwrap()),
            "--size" => overrides.size = Some(value().parse().unwrap()),
            "--connect-timeout" => overrides.connect_timeout = Some(value().parse().unwrap()),
            "--reply-timeout" => overrides.reply_timeout = Some(value().parse().unwrap()),
            "--interval" => overrides.interval = Some(value().parse().unwrap()),
            "--expect-reply" => overrides.expect_reply = Some(Switch(true)),
            "--no-reply" => overrides.expect_reply = Some(Switch(false)),
            "--fresh" => overrides.fresh = Some(Switch(true)),
            other => panic!("{other} is no flag of these tests"),
        }
    }
    overrides
}

/// The settings from a file's text, variables and flags, and what `--print-config` says of them.
fn resolved(file: &str, variables: &[(&str, &str)], flags: &str) -> (Settings, String) {
    let mut file = parse(file).unwrap();
    overlay(&mut file, &overrides(flags), &variables.iter().copied().collect()).unwrap();
    (Settings::new(&file), toml::to_string(&file).unwrap())
}

#[test]
fn the_shipped_file_says_the_defaults_and_leaves_no_key_out() {
    assert_eq!(parse(SHIPPED).unwrap(), File::default());
    assert_eq!(keys(SHIPPED), keys(&toml::to_string(&File::default()).unwrap()));
}

#[test]
fn the_keys_that_everyone_edits_stand_first_in_the_shipped_file() {
    let lines: Vec<_> =
        SHIPPED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(lines[..3], ["[server]", "address = \"127.0.0.1\"", "port = 2222"]);
}

#[test]
fn every_table_refuses_a_key_that_it_does_not_know() {
    for table in ["", "[server]", "[probe]", "[output]"] {
        let error = parse(&format!("{table}\nnonsense = 1")).unwrap_err();
        assert!(error.message().starts_with("unknown field `nonsense`"), "{table}: {error}");
    }
}

#[test]
fn every_table_refuses_an_array_in_its_place() {
    for table in ["server", "probe", "output"] {
        let error = parse(&format!("{table} = []")).unwrap_err();
        assert!(error.message().ends_with("expected a table"), "{error}");
    }
}

#[test]
fn a_port_goes_with_its_host_until_somebody_who_outranks_it_says_another() {
    const PLAIN: &str = "[server]\naddress = 'file'\nport = 10";
    const WITH_PORT: &str = "[server]\naddress = 'file:11'\nport = 10";
    let server = |value| ("TFO_CLIENT_SERVER", value);
    let port = |value| ("TFO_CLIENT_PORT", value);
    for (file, variables, flags, target) in [
        ("", vec![], "", "127.0.0.1 2222"),
        ("server.address = 'file:11'", vec![], "", "file 11"),
        (PLAIN, vec![], "", "file 10"),
        (WITH_PORT, vec![], "", "file 11"),
        (WITH_PORT, vec![port("20")], "", "file 20"),
        (WITH_PORT, vec![], "-p 30", "file 30"),
        (WITH_PORT, vec![server("var")], "", "var 10"),
        (WITH_PORT, vec![server("var:21")], "", "var 21"),
        (PLAIN, vec![server("var:21"), port("20")], "", "var 21"),
        (PLAIN, vec![server("var:21"), port("20")], "-p 30", "var 30"),
        (PLAIN, vec![server("var:21"), port("20")], "-s flag", "flag 20"),
        (PLAIN, vec![server("var:21")], "-s flag", "flag 10"),
        (WITH_PORT, vec![port("20")], "-s flag:31", "flag 31"),
        (WITH_PORT, vec![port("20")], "-s [::1]:31", "::1 31"),
        (WITH_PORT, vec![port("20")], "-s ::1 -p 30", "::1 30"),
    ] {
        let (settings, printed) = resolved(file, &variables, flags);
        let found = format!("{} {}", settings.target.host, settings.target.port);
        assert_eq!(found, target, "file {file:?}, variables {variables:?}, flags {flags:?}");
        assert_eq!(resolved(&printed, &[], "").0, settings, "{printed}");
    }
}

#[test]
fn a_size_that_outranks_the_message_means_generated_bytes() {
    let message = ("TFO_CLIENT_MESSAGE", "var");
    let size = ("TFO_CLIENT_SIZE", "2B");
    let text = |text: &str| Payload::Text(text.to_owned());
    for (file, variables, flags, payload) in [
        ("", vec![], "", Payload::Generated(64)),
        ("probe.message = 'file'", vec![], "", text("file")),
        ("probe.message = 'file'", vec![size], "", Payload::Generated(2)),
        ("probe.message = 'file'", vec![message, size], "", text("var")),
        ("probe.message = 'file'", vec![message], "--size 3B", Payload::Generated(3)),
        ("probe.size = '1KiB'", vec![size], "--message flag", text("flag")),
        ("probe.size = '1KiB'", vec![("TFO_CLIENT_MESSAGE", "")], "", Payload::Generated(1024)),
    ] {
        let (settings, _) = resolved(file, &variables, flags);
        assert_eq!(settings.payload, payload, "{file:?}, {variables:?}, {flags:?}");
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same_settings() {
    let variables = [("TFO_CLIENT_FAMILY", "ipv6"), ("TFO_CLIENT_MESSAGE", "a \"b\"\n\tü\u{7f}")];
    let flags = "-n 10000 --mode connect --no-reply --connect-timeout 1ms --reply-timeout 1m30s \
                 --interval 1h --fresh -o json -s [fe80::1%eth0]:80";
    let (settings, printed) = resolved("probe.size = '1MiB'", &variables, flags);
    assert_eq!(resolved(&printed, &[], "").0, settings, "{printed}");
    assert_eq!(
        settings,
        Settings {
            target: Target { host: "fe80::1%eth0".to_owned(), port: 80 },
            family: Family::Ipv6,
            count: 10_000,
            mode: Mode::Connect,
            payload: Payload::Text(variables[1].1.to_owned()),
            expect_reply: false,
            connect_timeout: Duration::from_millis(1),
            reply_timeout: Duration::from_secs(90),
            interval: Duration::from_secs(3600),
            fresh: true,
            format: Format::Json,
        }
    );
}

#[test]
fn a_switch_that_the_file_turned_is_turned_back() {
    let file = "[probe]\nexpect-reply = false\nfresh = true";
    assert!(!resolved(file, &[], "").0.expect_reply);
    assert!(resolved(file, &[], "--expect-reply").0.expect_reply);
    assert!(resolved(file, &[("TFO_CLIENT_EXPECT_REPLY", "true")], "").0.expect_reply);
    assert!(!resolved(file, &[("TFO_CLIENT_FRESH", "false")], "").0.fresh);
    assert!(resolved(file, &[("TFO_CLIENT_FRESH", "false")], "--fresh").0.fresh);
}

#[test]
fn every_key_has_a_variable_of_its_name() {
    let value = |key: &str| match key {
        "address" | "message" => "text",
        "mode" => "off",
        "size" => "77B",
        "expect-reply" => "false",
        "fresh" => "true",
        "connect-timeout" | "reply-timeout" | "interval" => "7s",
        "family" => "ipv6",
        "format" => "json",
        _ => "77",
    };
    for key in keys(SHIPPED) {
        let name = key.split_once('.').unwrap().1;
        // The keys whose flags have other names.
        let of_flag = match name {
            "address" => "server",
            "format" => "output",
            name => name,
        };
        let variable = format!("TFO_CLIENT_{}", of_flag.replace('-', "_").to_uppercase());
        let default = resolved("", &[], "").1;
        assert_ne!(resolved("", &[(&variable, value(name))], "").1, default, "{variable} {key}");
        assert!(SHIPPED.contains(&variable), "the shipped file must name {variable}");
    }
}
