use crate::support::Folder;

#[test]
fn invalid_file_reports_line_key_and_allowed_values() {
    for (config, message) in [
        (
            "\n\n[server]\nprot = 80",
            "4:1: unknown key `prot` in [server]: expected `address` or `port`; did you mean \
             `port`?",
        ),
        (
            "[listen]\nport = 80",
            "1:2: unknown key `listen` at the top level: expected `server`, `probe` or `output`",
        ),
        (
            "[server]\nport = \"80\"",
            "2:8: server.port: invalid type: string \"80\": expected a port from 1 to 65535",
        ),
        (
            "[server]\n\nport = 0",
            "3:8: server.port: invalid value 0: expected a port from 1 to 65535",
        ),
        (
            "server.port = 70000",
            "1:15: server.port: invalid value 70000: expected a port from 1 to 65535",
        ),
        (
            "[server]\naddress = \"\"",
            "2:11: server.address: invalid value \"\": expected a host name or address, such as \
             \"example.org\", \"192.0.2.1:443\", \"::1\" or \"[::1]:2222\"; the host is empty",
        ),
        (
            "[probe]\ncount = 0",
            "2:9: probe.count: invalid value 0: expected an integer from 1 to 10000",
        ),
        (
            "[probe]\nsize = \"2MiB\"",
            "2:8: probe.size: invalid value \"2MiB\": expected a size from 1B to 1MiB, such as \
             \"64B\" or \"16KiB\"",
        ),
        (
            "[probe]\ninterval = 1.5",
            "2:12: probe.interval: invalid type: floating point `1.5`: expected a duration from \
             0ms to 1h, such as \"250ms\" or \"1m30s\"",
        ),
        (
            "[probe]\nfresh = \"yes\"",
            "2:9: probe.fresh: invalid type: string \"yes\": expected a boolean",
        ),
        (
            "[probe]\nmode = \"sento\"",
            "2:8: probe.mode: invalid value \"sento\": expected `auto`, `sendto`, `connect` or \
             `off`; did you mean `sendto`?",
        ),
        ("[server]\nport = 80\nport = 81", "3:1: server.port: duplicate key: expected once"),
        ("probe = [1]", "1:9: probe: invalid type: sequence: expected a table"),
    ] {
        let error = Folder::new(config).refused(&[], &[]);
        assert_eq!(error, format!("config/client.toml:{message}"), "{config}");
    }
}

#[test]
fn invalid_variable_is_named() {
    let folder = Folder::new("");
    for (name, value, expected) in [
        ("TFO_CLIENT_PORT", "70000", "expected a port from 1 to 65535"),
        ("TFO_CLIENT_SERVER", "", "expected a host name or address"),
        ("TFO_CLIENT_SERVER", "a:b:c", "expected a host name or address"),
        ("TFO_CLIENT_COUNT", "10001", "expected an integer from 1 to 10000"),
        ("TFO_CLIENT_MODE", "on", "expected `auto`, `sendto`, `connect` or `off`"),
        ("TFO_CLIENT_SIZE", "64", "expected a size from 1B to 1MiB"),
        ("TFO_CLIENT_EXPECT_REPLY", "yes", "expected true or false"),
        ("TFO_CLIENT_REPLY_TIMEOUT", "0s", "expected a duration from 1ms to 1h"),
        ("TFO_CLIENT_FAMILY", "inet", "expected `any`, `ipv4` or `ipv6`"),
        ("TFO_CLIENT_OUTPUT", "", "expected `text` or `json`"),
    ] {
        let error = folder.refused(&[], &[(name, value)]);
        let beginning = format!("{name}: invalid value {value:?}: {expected}");
        assert!(error.starts_with(&beginning), "{error}");
    }
}

#[test]
fn invalid_flag_is_named() {
    let folder = Folder::new("");
    for (arguments, flag, expected) in [
        (["-p", "0"], "--port <PORT>", "expected a port from 1 to 65535"),
        (["--port", "70000"], "--port <PORT>", "expected a port from 1 to 65535"),
        (["-s", "a:0"], "--server <HOST>", "a port is 1 to 65535"),
        (["-s", "http://a/"], "--server <HOST>", "a URL is not supported"),
        (["-n", "0"], "--count <N>", "expected an integer from 1 to 10000"),
        (["--mode", "on"], "--mode <MODE>", "expected `auto`, `sendto`, `connect` or `off`"),
        (["--size", "64"], "--size <SIZE>", "expected a size from 1B to 1MiB"),
        (["--interval", "5"], "--interval <TIME>", "expected a duration from 0ms to 1h"),
        (["-o", "xml"], "--output <FORMAT>", "expected `text` or `json`"),
        (["--server", ""], "--server <HOST>", ""),
        (["--colour", "always"], "--colour", ""),
        (["example.org", "example.com"], "example.com", ""),
    ] {
        for arguments in [arguments.to_vec(), [&["probe"], &arguments[..]].concat()] {
            let error = folder.refused(&arguments, &[]);
            assert!(error.contains(flag) && error.contains(expected), "{arguments:?}: {error}");
        }
    }
}

#[test]
fn conflicting_flags_are_refused() {
    let folder = Folder::new("");
    for arguments in [
        &["-4", "-6"][..],
        &["-4", "probe", "-6"],
        &["--server", "a:80", "--port", "90"],
        &["--message", "hi", "--size", "1B"],
        &["--message", "hi", "probe", "--size", "1B"],
        &["--expect-reply", "--no-reply"],
    ] {
        let error = folder.refused(arguments, &[]);
        assert!(error.contains("cannot be used with"), "{arguments:?}: {error}");
    }
}
