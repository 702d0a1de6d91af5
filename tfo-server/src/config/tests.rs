use clap::Parser;
use tfo_core::program::{Expected, Port};

use super::{
    file::{Backlog, Connections, DrainTimeout, FastopenQueue, IdleTimeout, RotateEvery},
    *,
};

const SHIPPED: &str = include_str!("../../../config/server.toml");

fn parse(text: &str) -> Result<File, toml::de::Error> {
    toml::from_str(text)
}

/// The dotted names of all keys of a document.
fn keys(text: &str) -> Vec<String> {
    let document: toml::Table = text.parse().unwrap();
    let tables = document.iter().map(|(name, table)| (name, table.as_table().unwrap()));
    tables.flat_map(|(name, table)| table.keys().map(move |key| format!("{name}.{key}"))).collect()
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
    assert_eq!(
        lines[..4],
        ["[listen]", "address = \"127.0.0.1\"", "port = 2222", "service = \"mirror\""]
    );
}

#[test]
fn every_table_refuses_a_key_that_it_does_not_know() {
    for table in ["", "[listen]", "[limits]", "[keys]", "[output]"] {
        let error = parse(&format!("{table}\nnonsense = 1")).unwrap_err();
        assert!(error.message().starts_with("unknown field `nonsense`"), "{table}: {error}");
    }
}

#[test]
fn every_table_refuses_an_array_in_its_place() {
    for table in ["listen", "limits", "keys", "output"] {
        let error = parse(&format!("{table} = []")).unwrap_err();
        assert!(error.message().ends_with("expected a table"), "{error}");
    }
}

#[test]
fn an_address_is_an_ip_address_and_the_message_says_what_else_was_given() {
    let file = |address: &str| parse(&format!("listen.address = \"{address}\""));
    for (text, address) in
        [("0.0.0.0", "0.0.0.0"), ("::", "::"), ("[::1]", "::1"), ("2001:db8:0::1", "2001:db8::1")]
    {
        assert_eq!(file(text).unwrap().listen.address.to_string(), address);
    }
    for (text, hint) in [
        ("", r#"invalid value "": expected an IP address"#),
        ("localhost", "host names are not resolved"),
        ("127.0.0.1:2222", "the port has a setting of its own"),
        ("[::1]:2222", "the port has a setting of its own"),
        ("fe80::1%eth0", "a zone is not supported"),
        ("[127.0.0.1]", "expected an IP address"),
    ] {
        let error = file(text).unwrap_err();
        assert!(error.message().contains(hint), "{text}: {error}");
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same_settings() {
    let cli = Cli::parse_from(["tfo-server", "-a", "::1", "-p", "80", "-o", "json"]);
    let environment: Environment = [
        ("TFO_SERVER_SERVICE", "discard"),
        ("TFO_SERVER_FASTOPEN_QUEUE", "0"),
        ("TFO_SERVER_IDLE_TIMEOUT", "1m30s"),
        ("TFO_SERVER_DRAIN_TIMEOUT", "0ms"),
        ("TFO_SERVER_KEYS_MODE", "derived"),
        ("TFO_SERVER_KEYS_SECRET", "/etc/tfo/the secret"),
        ("TFO_SERVER_KEYS_ROTATE_EVERY", "1day"),
    ]
    .into_iter()
    .collect();
    let mut file = File::default();
    overlay(&mut file, &cli, &environment).unwrap();
    let printed = toml::to_string(&file).unwrap();
    assert_eq!(parse(&printed).unwrap(), file, "{printed}");
    assert_eq!(
        Settings::new(&file, key_source(&file.keys).unwrap(), &cli),
        Settings {
            listen: "[::1]:80".parse().unwrap(),
            service: Service::Discard,
            backlog: 1024,
            fastopen_queue: 0,
            connections: 1024,
            idle_timeout: Duration::from_secs(90),
            drain_timeout: Duration::ZERO,
            keys: KeySource::Derived {
                secret: "/etc/tfo/the secret".into(),
                rotate_every: Duration::from_secs(86_400),
            },
            format: Format::Json,
            trace: false,
            pcap: None,
        }
    );
}

#[test]
fn every_key_has_a_variable_of_its_name() {
    let value = |key: &str| match key {
        "address" => "::1",
        "service" => "echo",
        "idle-timeout" | "drain-timeout" => "7s",
        "mode" => "file",
        "file" | "secret" => "/etc/tfo/keys",
        "rotate-every" => "7days",
        "format" => "json",
        _ => "77",
    };
    for key in keys(SHIPPED) {
        let (table, name) = key.split_once('.').unwrap();
        let of_flag = match (table, name) {
            // The one key whose flag has another name.
            (_, "format") => "output".to_owned(),
            // By themselves these names say too little.
            ("keys", name) => format!("keys-{name}"),
            _ => name.to_owned(),
        };
        let variable = format!("TFO_SERVER_{}", of_flag.replace('-', "_").to_uppercase());
        let environment: Environment = [(&variable, value(name))].into_iter().collect();
        let mut file = File::default();
        overlay(&mut file, &Cli::parse_from(["tfo-server"]), &environment).unwrap();
        assert_ne!(file, File::default(), "{variable} must set {key}");
        assert!(SHIPPED.contains(&variable), "the shipped file must name {variable}");
    }
}

#[test]
fn the_shipped_file_states_the_rules() {
    // "expected … from 1 to 2, such as …"
    let range = |error: Expected| {
        let text = error.to_string();
        text.split(" from ").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    let shipped = SHIPPED.replace('"', "");
    for (key, allowed) in [
        ("port", range("".parse::<Port>().unwrap_err())),
        ("backlog", range("".parse::<Backlog>().unwrap_err())),
        ("fastopen-queue", range("".parse::<FastopenQueue>().unwrap_err())),
        ("connections", range("".parse::<Connections>().unwrap_err())),
        ("idle-timeout", range("".parse::<IdleTimeout>().unwrap_err())),
        ("drain-timeout", range("".parse::<DrainTimeout>().unwrap_err())),
        ("rotate-every", range("".parse::<RotateEvery>().unwrap_err())),
    ] {
        assert!(shipped.contains(&allowed), "{key}: {allowed}");
    }
}

#[test]
fn a_mode_of_the_keys_needs_its_file() {
    for (mode, key, what) in [("file", "file", "a key file"), ("derived", "secret", "secret")] {
        let file = parse(&format!("keys.mode = \"{mode}\"")).unwrap();
        let error = key_source(&file.keys).unwrap_err();
        assert!(error.contains(&format!("without keys.{key}: expected the path of")), "{error}");
        assert!(error.contains(what) && error.contains("TFO_SERVER_KEYS_"), "{error}");
    }
    let file = parse("keys = { mode = \"file\", file = \"keys\", secret = \"unused\" }").unwrap();
    assert_eq!(key_source(&file.keys), Ok(KeySource::File("keys".into())));
    assert!(parse("keys.file = \"a\\nb\"").is_err(), "a path is one line");
}
