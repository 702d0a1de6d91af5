use std::time::Duration;

use clap::Parser;
use tfo_core::cli::{ConfigFile, value::Format};

use super::{
    values::{Balance, EarlyData, ProxyOut},
    *,
};

const SHIPPED: &str = include_str!("../../config/server.toml");

fn parse(text: &str) -> Result<File, toml::de::Error> {
    toml::from_str(text)
}

/// Fills the model from a file's text, flags and variables.
fn resolved(
    text: &str,
    flags: &Flags,
    variables: &[(&str, &str)],
) -> Result<Resolved<File>, SettingsError> {
    let file = ConfigFile::new("x.toml", text);
    SOURCES.fill(Some(file), &flags.values(), &variables.iter().copied().collect())
}

fn no_flags() -> Flags {
    Flags::parse_from(["tfo-server"])
}

fn settings(file: &File) -> Settings {
    Settings::new(file, &no_flags()).unwrap()
}

#[test]
fn shipped_file_documents_every_key() {
    assert_eq!(SOURCES.undocumented::<File>(SHIPPED), [""; 0], "in config/server.toml");
}

/// Names that operators rely on: they must not change when keys or tables are renamed or moved.
#[test]
fn variables_keep_their_names() {
    for (key, variable) in [
        ("listen.address", "TFO_SERVER_ADDRESS"),
        ("listen.port", "TFO_SERVER_PORT"),
        ("listen.service", "TFO_SERVER_SERVICE"),
        ("listen.backlog", "TFO_SERVER_BACKLOG"),
        ("listen.fastopen-queue", "TFO_SERVER_FASTOPEN_QUEUE"),
        ("listen.early-data", "TFO_SERVER_EARLY_DATA"),
        ("listen.proxy-protocol", "TFO_SERVER_PROXY_PROTOCOL"),
        ("respond.body", "TFO_SERVER_RESPOND_BODY"),
        ("respond.file", "TFO_SERVER_RESPOND_FILE"),
        ("respond.http", "TFO_SERVER_RESPOND_HTTP"),
        ("respond.content-type", "TFO_SERVER_RESPOND_CONTENT_TYPE"),
        ("forward.upstreams", "TFO_SERVER_FORWARD_UPSTREAMS"),
        ("forward.balance", "TFO_SERVER_FORWARD_BALANCE"),
        ("forward.fast-open", "TFO_SERVER_FORWARD_FAST_OPEN"),
        ("forward.syn-data-pause", "TFO_SERVER_FORWARD_SYN_DATA_PAUSE"),
        ("forward.proxy-protocol", "TFO_SERVER_FORWARD_PROXY_PROTOCOL"),
        ("forward.connect-timeout", "TFO_SERVER_FORWARD_CONNECT_TIMEOUT"),
        ("forward.idle-timeout", "TFO_SERVER_FORWARD_IDLE_TIMEOUT"),
        ("forward.health-interval", "TFO_SERVER_FORWARD_HEALTH_INTERVAL"),
        ("engine.workers", "TFO_SERVER_WORKERS"),
        ("engine.evidence", "TFO_SERVER_EVIDENCE"),
        ("limits.connections", "TFO_SERVER_CONNECTIONS"),
        ("limits.connections-per-source", "TFO_SERVER_CONNECTIONS_PER_SOURCE"),
        ("limits.buffer", "TFO_SERVER_BUFFER"),
        ("limits.header-timeout", "TFO_SERVER_HEADER_TIMEOUT"),
        ("limits.idle-timeout", "TFO_SERVER_IDLE_TIMEOUT"),
        ("limits.drain-timeout", "TFO_SERVER_DRAIN_TIMEOUT"),
        ("keys.mode", "TFO_SERVER_KEYS_MODE"),
        ("keys.file", "TFO_SERVER_KEYS_FILE"),
        ("keys.secret", "TFO_SERVER_KEYS_SECRET"),
        ("keys.rotate-every", "TFO_SERVER_KEYS_ROTATE_EVERY"),
        ("metrics.address", "TFO_SERVER_METRICS_ADDRESS"),
        ("metrics.port", "TFO_SERVER_METRICS_PORT"),
        ("process.user", "TFO_SERVER_USER"),
        ("process.group", "TFO_SERVER_GROUP"),
        ("output.format", "TFO_SERVER_OUTPUT"),
        ("output.lines", "TFO_SERVER_LINES"),
    ] {
        assert_eq!(SOURCES.variable(key), variable);
    }
}

#[test]
fn every_key_is_set_by_its_own_variable() {
    assert_eq!(SOURCES.unreachable_keys::<File>(), [""; 0]);
}

#[test]
fn shipped_file_begins_with_the_keys_that_everyone_edits() {
    let lines: Vec<_> =
        SHIPPED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(
        lines[..4],
        ["[listen]", "address = \"127.0.0.1\"", "port = 2222", "service = \"mirror\""]
    );
}

#[test]
fn unknown_key_is_refused_in_every_table() {
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
fn array_in_place_of_a_table_is_refused() {
    for table in ["respond", "forward", "engine", "limits", "keys", "metrics", "process", "output"]
    {
        let error = parse(&format!("{table} = []")).unwrap_err();
        assert!(error.message().ends_with("expected a table"), "{error}");
    }
}

#[test]
fn address_that_is_not_an_ip_address_is_refused_with_a_hint() {
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
fn printed_settings_are_read_back() {
    let flags = Flags::parse_from(["tfo-server", "-a", "::1", "-p", "80", "-o", "json"]);
    let variables = [
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
    ];
    let file = resolved("", &flags, &variables).unwrap();
    let printed = file.to_toml().unwrap();
    assert_eq!(parse(&printed).unwrap(), file.model, "{printed}");
    let settings = settings(&file.model);
    let [listen] = settings.listeners.as_slice() else { panic!("{:?}", settings.listeners) };
    assert_eq!(listen.address, "[::1]:80".parse().unwrap());
    assert_eq!(listen.queue_and_backlog(1), (0, 1024));
    assert_eq!(listen.table.early_data, EarlyData::AwaitHandshake);
    let forward = listen.forward().unwrap();
    let upstreams = ["192.0.2.1:80", "[::1]:81"].map(|address| address.parse().unwrap());
    assert_eq!(forward.upstreams.get(), upstreams);
    assert_eq!(forward.balance, Balance::LeastConnections);
    assert_eq!(forward.proxy_protocol, ProxyOut::V2);
    assert_eq!(forward.health_interval.nonzero(), None);
    assert!(forward.fast_open.get());
    assert_eq!(forward.syn_data_pause.get(), Duration::from_secs(60));
    assert_eq!(forward.connect_timeout.get(), Duration::from_secs(5));
    assert_eq!(forward.idle_timeout.get(), Duration::from_secs(300));
    let limits = &settings.limits;
    assert_eq!((limits.connections.get(), limits.connections_per_source.nonzero()), (65_536, None));
    assert_eq!(limits.buffer.get(), 65_536);
    assert_eq!(limits.header_timeout.get(), Duration::from_secs(10));
    assert_eq!(limits.idle_timeout.get(), Duration::from_secs(90));
    assert_eq!(limits.drain_timeout.get(), Duration::ZERO);
    assert_eq!(
        settings.keys,
        KeySource::Derived {
            secret: "/etc/tfo/the secret".into(),
            rotate_every: Duration::from_secs(86_400),
        }
    );
    assert_eq!((settings.output.format, settings.metrics), (Format::Json, None));
    assert!(settings.workers >= 1 && settings.output.lines.get());
}

#[test]
fn listeners_use_their_own_service_table_or_that_of_the_file() {
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
    let answers: Vec<_> = settings(&file)
        .listeners
        .into_iter()
        .map(|listen| (listen.address.port(), listen.respond))
        .map(|(port, respond)| (port, respond.body, respond.file.to_string(), respond.http.get()))
        .collect();
    let text = |text: &str| text.to_owned();
    assert_eq!(answers, [(2222, text("all"), text(""), false), (81, text(""), text("one"), true)]);
}

#[test]
fn queue_is_divided_among_workers_and_stays_above_zero() {
    let file = parse("listen = { fastopen-queue = 256, backlog = 1 }").unwrap();
    let listen = &settings(&file).listeners[0];
    for (workers, queue) in [(1, 256), (2, 128), (3, 86), (1000, 1)] {
        assert_eq!(listen.queue_and_backlog(workers), (queue, 1), "{workers} workers");
    }
    let file = parse("listen.fastopen-queue = 0").unwrap();
    assert_eq!(settings(&file).listeners[0].queue_and_backlog(4).0, 0, "0 is off");
}

#[test]
fn contradicting_settings_are_refused_at_their_key() {
    for (text, key, reason) in [
        ("[[listen]]\n[[listen]]", "listen[1].port", "duplicate listen address 127.0.0.1:2222"),
        ("listen.service = \"forward\"", "forward.upstreams", "needs at least one upstream"),
        (
            "listen.service = \"forward\"\nforward.upstreams = [\"192.0.2.1:2222\", \"127.0.0.1:2222\"]",
            "forward.upstreams",
            "upstream 127.0.0.1:2222 is this listener's own address",
        ),
        (
            "[listen]\naddress = \"::\"\nservice = \"forward\"\n[forward]\nupstreams = [\"[::1]:2222\"]",
            "forward.upstreams",
            "upstream [::1]:2222 is this listener's own address",
        ),
        (
            "[[listen]]\nservice = \"forward\"\n[listen.forward]\n[[listen]]\nport = 1",
            "listen[0].forward.upstreams",
            "needs at least one upstream",
        ),
        ("metrics.port = 2222", "metrics.port", "taken by the listener"),
        (
            "metrics.port = 2222\nmetrics.address = \"0.0.0.0\"",
            "metrics.port",
            "taken by the listener",
        ),
        (
            "listen.service = \"respond\"\n[respond]\nbody = \"a\"\nfile = \"b\"",
            "respond.file",
            "expected one of them",
        ),
    ] {
        let refusal = Settings::new(&parse(text).unwrap(), &no_flags()).unwrap_err();
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
fn flag_for_one_of_several_listeners_is_refused() {
    let text = "[[listen]]\n[[listen]]\nport = 1";
    let flags = Flags::parse_from(["tfo-server", "-p", "80"]);
    let error = resolved(text, &flags, &[]).unwrap_err().to_string();
    assert!(error.starts_with("--port: the file has 2 [[listen]] tables"), "{error}");
    let error = resolved(text, &no_flags(), &[("TFO_SERVER_PORT", "80")]).unwrap_err().to_string();
    assert!(error.starts_with("TFO_SERVER_PORT: the file has 2 [[listen]] tables"), "{error}");
    resolved(text, &no_flags(), &[]).unwrap();
    resolved("[[listen]]\nport = 1", &flags, &[]).unwrap();
}

#[test]
fn key_mode_without_its_file_is_refused() {
    for (mode, key, what) in [("file", "file", "a key file"), ("derived", "secret", "secret")] {
        let file = parse(&format!("keys.mode = \"{mode}\"")).unwrap();
        let refusal = key_source(&file.keys).unwrap_err();
        assert_eq!(refusal.key, "keys.mode");
        let error = refusal.reason;
        assert!(error.contains(&format!("without keys.{key}: expected the path of")), "{error}");
        assert!(error.contains(what) && !error.contains("TFO_SERVER_"), "{error}");
    }
    let file = parse("keys = { mode = \"file\", file = \"keys\", secret = \"unused\" }").unwrap();
    assert_eq!(key_source(&file.keys).unwrap(), KeySource::File("keys".into()));
    assert!(parse("keys.file = \"a\\nb\"").is_err(), "a path is one line");
}
