use clap::Parser;
use tfo_core::cli::{Expected, Port};

use super::{
    file::{
        Backlog, Buffer, ConnectTimeout, Connections, ConnectionsPerSource, DrainTimeout,
        FastopenQueue, HeaderTimeout, HealthInterval, IdleTimeout, RotateEvery, Workers,
    },
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
    for table in [
        "",
        "[listen]",
        "[[listen]]",
        "[listen.respond]",
        "[listen.forward]",
        "[respond]",
        "[forward]",
        "[engine]",
        "[limits]",
        "[keys]",
        "[metrics]",
        "[process]",
        "[output]",
    ] {
        let error = parse(&format!("{table}\nnonsense = 1")).unwrap_err();
        assert!(error.message().starts_with("unknown field `nonsense`"), "{table}: {error}");
    }
}

#[test]
fn every_table_refuses_an_array_in_its_place() {
    for table in ["respond", "forward", "engine", "limits", "keys", "metrics", "process", "output"]
    {
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
        assert_eq!(file(text).unwrap().listen.all()[0].address.to_string(), address);
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
    let flags = Flags::parse_from(["tfo-server", "-a", "::1", "-p", "80", "-o", "json"]);
    let environment: Environment = [
        ("TFO_SERVER_SERVICE", "forward"),
        ("TFO_SERVER_EARLY_DATA", "await-handshake"),
        ("TFO_SERVER_FORWARD_UPSTREAMS", "192.0.2.1:80, [::1]:81"),
        ("TFO_SERVER_FORWARD_BALANCE", "least-connections"),
        ("TFO_SERVER_FORWARD_PROXY_PROTOCOL", "v2"),
        ("TFO_SERVER_FORWARD_HEALTH_INTERVAL", "0ms"),
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
    overlay(&mut file, &flags, &environment).unwrap();
    let printed = toml::to_string(&file).unwrap();
    assert_eq!(parse(&printed).unwrap(), file, "{printed}");
    let keys = key_source(&file.keys).unwrap();
    let settings = Settings::new(&file, listeners(&file).unwrap(), keys, &flags);
    assert_eq!(
        settings.listeners,
        [ListenSettings {
            address: "[::1]:80".parse().unwrap(),
            service: ServiceSettings::Forward(ForwardSettings {
                upstreams: vec!["192.0.2.1:80".parse().unwrap(), "[::1]:81".parse().unwrap()],
                balance: Balance::LeastConnections,
                fast_open: true,
                syn_data_pause: Duration::from_secs(60),
                proxy_protocol: ProxyOut::V2,
                connect_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(300),
                health_interval: None,
            }),
            backlog: 1024,
            fastopen_queue: 0,
            early_data: EarlyData::AwaitHandshake,
            proxy_protocol: ProxyIn::Off,
        }]
    );
    assert_eq!(
        settings.limits,
        Limits {
            connections: 65_536,
            connections_per_source: None,
            buffer: 65_536,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            drain_timeout: Duration::ZERO,
        }
    );
    assert_eq!(
        settings.keys,
        KeySource::Derived {
            secret: "/etc/tfo/the secret".into(),
            rotate_every: Duration::from_secs(86_400),
        }
    );
    assert_eq!((settings.format, settings.metrics), (Format::Json, None));
    assert!(settings.workers >= 1 && settings.lines);
}

#[test]
fn several_listeners_each_have_a_service_with_settings_of_its_own_or_of_the_file() {
    let file = parse(
        r#"
        respond.body = "all"
        [[listen]]
        service = "respond"
        [[listen]]
        port = 81
        service = "respond"
        [listen.respond]
        file = "one"
        http = true
        "#,
    )
    .unwrap();
    assert_eq!(parse(&toml::to_string(&file).unwrap()).unwrap(), file);
    let bodies: Vec<_> = listeners(&file)
        .unwrap()
        .into_iter()
        .map(|listen| match listen.service {
            ServiceSettings::Respond(respond) => (listen.address.port(), respond.body),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bodies, [(2222, Body::Text("all".into())), (81, Body::File("one".into()))]);
}

#[test]
fn a_queue_is_divided_among_the_workers_and_never_divided_away() {
    let file = parse("listen = { fastopen-queue = 256, backlog = 1 }").unwrap();
    let listen = &listeners(&file).unwrap()[0];
    for (workers, queue) in [(1, 256), (2, 128), (3, 86), (1000, 1)] {
        let wish = listen.wish(workers);
        assert_eq!((wish.queue, wish.backlog), (queue, 1), "{workers} workers");
    }
    let file = parse("listen.fastopen-queue = 0").unwrap();
    assert_eq!(listeners(&file).unwrap()[0].wish(4).queue, 0, "0 is off");
}

#[test]
fn settings_that_do_not_go_together_are_refused_where_they_stand() {
    for (text, key, reason) in [
        ("[[listen]]\n[[listen]]", "listen[1].port", "127.0.0.1:2222 stands in two tables"),
        ("listen.service = \"forward\"", "forward.upstreams", "nowhere to go"),
        (
            "listen.service = \"forward\"\nforward.upstreams = [\"192.0.2.1:2222\", \"127.0.0.1:2222\"]",
            "forward.upstreams",
            "127.0.0.1:2222 is this listener itself",
        ),
        (
            "[listen]\naddress = \"::\"\nservice = \"forward\"\n[forward]\nupstreams = [\"[::1]:2222\"]",
            "forward.upstreams",
            "[::1]:2222 is this listener itself",
        ),
        (
            "[[listen]]\nservice = \"forward\"\n[listen.forward]\n[[listen]]\nport = 1",
            "listen[0].forward.upstreams",
            "nowhere to go",
        ),
        (
            "listen.service = \"respond\"\n[respond]\nbody = \"a\"\nfile = \"b\"",
            "respond.file",
            "expected one of them",
        ),
    ] {
        let refusal = listeners(&parse(text).unwrap()).unwrap_err();
        assert_eq!(refusal.key, key);
        assert!(refusal.reason.contains(reason), "{}", refusal.reason);
    }
    for (text, reason) in [
        ("listen = []", "expected at least one table"),
        ("listen = 1", "expected a table, or an array of tables"),
        ("forward.upstreams = [\"localhost:80\"]", "names are not resolved"),
        ("forward.upstreams = [\"192.0.2.1:0\"]", "addresses with ports"),
        ("respond.content-type = \"text\"", "a media type"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.message().contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_flag_for_one_listener_is_refused_where_there_are_several() {
    let mut file = parse("[[listen]]\n[[listen]]\nport = 1").unwrap();
    let flags = Flags::parse_from(["tfo-server", "-p", "80"]);
    let error = overlay(&mut file, &flags, &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("--port or TFO_SERVER_PORT"), "{error}");
    let flags = Flags::parse_from(["tfo-server"]);
    overlay(&mut file, &flags, &Environment::default()).unwrap();
}

#[test]
fn every_key_has_a_variable_of_its_name() {
    let value = |key: &str| match key {
        "listen.address" | "metrics.address" => "::1",
        "listen.service" => "echo",
        "listen.early-data" => "await-handshake",
        "listen.proxy-protocol" => "required",
        "respond.content-type" => "text/html",
        "respond.http" => "true",
        "forward.upstreams" => "[::1]:80",
        "forward.balance" => "least-connections",
        "forward.fast-open" | "output.lines" => "false",
        "forward.proxy-protocol" => "v1",
        "engine.evidence" => "counters",
        "limits.buffer" => "8KiB",
        "keys.mode" => "file",
        "keys.rotate-every" => "7days",
        "output.format" => "json",
        "process.user" | "process.group" => "tfo",
        key if ["-timeout", "-interval", "-pause"].iter().any(|end| key.ends_with(end)) => "7s",
        _ => "77",
    };
    for key in keys(SHIPPED) {
        let (table, name) = key.split_once('.').unwrap();
        let of_flag = match (table, name) {
            // The one key whose flag has another name.
            (_, "format") => "output".to_owned(),
            // By themselves these names say too little.
            ("keys" | "respond" | "forward" | "metrics", name) => format!("{table}-{name}"),
            _ => name.to_owned(),
        };
        let variable = format!("TFO_SERVER_{}", of_flag.replace('-', "_").to_uppercase());
        let environment: Environment = [(&variable, value(&key))].into_iter().collect();
        let mut file = File::default();
        overlay(&mut file, &Flags::parse_from(["tfo-server"]), &environment).unwrap();
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
        ("connect-timeout", range("".parse::<ConnectTimeout>().unwrap_err())),
        ("health-interval", "0ms (never) to 1h".to_owned()),
        ("syn-data-pause", "1s to 1h".to_owned()),
        ("workers", range("".parse::<Workers>().unwrap_err())),
        ("connections", range("".parse::<Connections>().unwrap_err())),
        ("connections-per-source", "0 (any number) to 1000000".to_owned()),
        ("buffer", range("".parse::<Buffer>().unwrap_err())),
        ("header-timeout", range("".parse::<HeaderTimeout>().unwrap_err())),
        ("idle-timeout", range("".parse::<IdleTimeout>().unwrap_err())),
        ("drain-timeout", range("".parse::<DrainTimeout>().unwrap_err())),
        ("rotate-every", range("".parse::<RotateEvery>().unwrap_err())),
    ] {
        assert!(shipped.contains(&allowed), "{key}: {allowed}");
    }
    let range = |low: bool, error: Expected| {
        let text = range(error);
        let (from, to) = text.split_once(" to ").unwrap();
        if low { from.to_owned() } else { to.to_owned() }
    };
    assert_eq!(range(true, "x".parse::<ConnectionsPerSource>().unwrap_err()), "0");
    assert_eq!(range(false, "x".parse::<HealthInterval>().unwrap_err()), "1h");
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
