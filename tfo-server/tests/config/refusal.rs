use crate::support::{Folder, output};

#[test]
fn invalid_file_reports_line_key_and_allowed_values() {
    for (config, message) in [
        (
            "[listen]\nprot = 80",
            "2:1: unknown key `prot` in [listen]: expected `address`, `port`, `service`, `backlog`, \
             `fastopen-queue`, `early-data`, `proxy-protocol`, `respond` or `forward`; did you mean `port`?",
        ),
        (
            "[listne]\nport = 80",
            "1:2: unknown key `listne` at the top level: expected `listen`, `respond`, `forward`, \
             `engine`, `limits`, `keys`, `metrics`, `process` or `output`; did you mean `listen`?",
        ),
        (
            "[listen]\nport = \"80\"",
            "2:8: listen.port: invalid type: string \"80\": expected a port from 1 to 65535",
        ),
        (
            "[listen]\n\nport = 0",
            "3:8: listen.port: invalid value 0: expected a port from 1 to 65535",
        ),
        (
            "listen.port = 70000",
            "1:15: listen.port: invalid value 70000: expected a port from 1 to 65535",
        ),
        (
            "[listen]\naddress = \"\"",
            "2:11: listen.address: invalid value \"\": expected an IP address of this host, such \
             as \"127.0.0.1\", \"0.0.0.0\" or \"::\"",
        ),
        (
            "[listen]\naddress = \"localhost\"",
            "2:11: listen.address: invalid value \"localhost\": expected an IP address of this \
             host, such as \"127.0.0.1\", \"0.0.0.0\" or \"::\"; host names are not resolved",
        ),
        (
            "[listen]\nservice = \"Echo\"",
            "2:11: listen.service: invalid value \"Echo\": expected `mirror`, `echo`, `discard`, \
             `respond` or `forward`; did you mean `echo`?",
        ),
        (
            "[listen]\nfastopen-queue = -1",
            "2:18: listen.fastopen-queue: invalid value -1: expected an integer from 0 to 65535",
        ),
        (
            "[limits]\nconnections = 0",
            "2:15: limits.connections: invalid value 0: expected an integer from 1 to 1000000",
        ),
        (
            "[limits]\nidle-timeout = 30",
            "2:16: limits.idle-timeout: invalid type: integer `30`: expected a duration from \
             100ms to 1day, such as \"250ms\" or \"1m30s\"",
        ),
        (
            "[limits]\ndrain-timeout = \"2h\"",
            "2:17: limits.drain-timeout: invalid value \"2h\": expected a duration from 0ms to \
             1h, such as \"250ms\" or \"1m30s\"",
        ),
        (
            "[keys]\nmode = \"files\"",
            "2:8: keys.mode: invalid value \"files\": expected `kernel`, `file` or `derived`; did you \
             mean `file`?",
        ),
        (
            "[keys]\nrotate-every = \"1s\"",
            "2:16: keys.rotate-every: invalid value \"1s\": expected a duration from 10s to 30days, \
             such as \"1m30s\" or \"12h\"",
        ),
        (
            "[keys]\nmode = \"file\"",
            "2:8: keys.mode: \"file\" without keys.file: expected the path of a key file in keys.file",
        ),
        (
            "keys = { file = \"x\", mode = \"derived\" }",
            "1:29: keys.mode: \"derived\" without keys.secret: expected the path of a file with the \
             fleet's secret in keys.secret",
        ),
        ("[listen]\nport = 80\nport = 81", "3:1: listen.port: duplicate key: expected once"),
        (
            "[[listen]]\nport = 80\n[[listen]]\nport = 80",
            "4:8: listen[1].port: duplicate listen address 127.0.0.1:80: expected each address once",
        ),
        (
            "[listen]\nservice = \"forward\"\n[forward]\nupstreams = []",
            "4:13: forward.upstreams: service \"forward\" needs at least one upstream: expected \
             addresses with ports, such as [\"192.0.2.1:80\", \"[2001:db8::1]:80\"]; names are not resolved",
        ),
        ("limits = [1]", "1:10: limits: invalid type: sequence: expected a table"),
    ] {
        let error = Folder::new(config).refused(&[], &[]);
        assert_eq!(error, format!("config/server.toml:{message}"), "{config}");
    }
}

#[test]
fn common_mistakes_are_answered_with_the_right_form() {
    for (config, message) in [
        (
            "[listen]\naddress = 0.0.0.0",
            "2:14: listen.address: text needs quotes: expected address = \"0.0.0.0\"",
        ),
        (
            "[[listen]]\naddress = localhost",
            "2:11: listen.address: invalid value localhost: expected an IP address of this host, such \
             as \"127.0.0.1\", \"0.0.0.0\" or \"::\"; host names are not resolved",
        ),
        (
            "[forward]\nupstreams = [192.0.2.1:80, 192.0.2.2:80]",
            "2:19: forward.upstreams: text needs quotes: expected upstreams = [\"192.0.2.1:80\", \"192.0.2.2:80\"]",
        ),
        ("[output]\nlines = yes", "2:9: output.lines: invalid value yes: expected a boolean"),
        (
            "[listen]\n[[listen]]",
            "2:3: listen: duplicate table: expected one [listen], or several, each as [[listen]]",
        ),
        ("port = 80", "1:1: port belongs to [listen] or [metrics]: expected it below that line"),
        (
            "[metrics]\nport = 2222",
            "2:8: metrics.port: 127.0.0.1:2222 is taken by the listener 127.0.0.1:2222: expected another port",
        ),
        (
            "[limits]\nbuffer = \"64B\"",
            "2:10: limits.buffer: invalid value \"64B\": expected a size from 4KiB to 16MiB, such as \"16KiB\" or \
             \"1MiB\"",
        ),
    ] {
        let error = Folder::new(config).refused(&[], &[]);
        assert_eq!(error, format!("config/server.toml:{message}"), "{config}");
    }
}

#[test]
fn missing_file_is_reported_at_its_key() {
    for (config, message) in [
        (
            "[keys]\nmode = \"file\"\nfile = \"no/such\"",
            "3:8: keys.file: can't read no/such: No such file or directory (os error 2)",
        ),
        (
            "[[listen]]\nservice = \"respond\"\n[listen.respond]\nfile = \"no/such\"\n[[listen]]\nport = 1",
            "4:8: listen[0].respond.file: can't read no/such: No such file or directory (os error 2)",
        ),
    ] {
        for arguments in [&["-q"][..], &["-q", "check"]] {
            let error = Folder::new(config).refused(arguments, &[]);
            assert_eq!(error, format!("config/server.toml:{message}"), "{config}");
        }
    }
}

#[test]
fn setting_without_effect_is_named() {
    for (config, warning) in [
        (
            "[forward]\nupstreams = [\"192.0.2.1:1\"]",
            "[forward] has no effect: no listener with service",
        ),
        (
            "[listen.respond]\nbody = \"x\"",
            "[listen.respond] has no effect: the listener has service = \"mirror\"",
        ),
        ("[metrics]\naddress = \"::1\"", "[metrics] has no effect: metrics.port is 0"),
        (
            "[keys]\nrotate-every = \"2h\"",
            "keys.rotate-every has no effect: keys.mode is \"kernel\"",
        ),
    ] {
        let output = output(&mut Folder::new(config).program(&["check", "-q"]));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(&format!("warn: {warning}")), "{config}: {log}");
    }
    let shipped = include_str!("../../../config/server.toml");
    let output = output(&mut Folder::new(shipped).program(&["check", "-q"]));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "the shipped file has its defaults");
}

#[test]
fn invalid_variable_is_named() {
    let folder = Folder::new("");
    for (name, value, expected) in [
        ("TFO_SERVER_PORT", "0", "expected a port from 1 to 65535"),
        ("TFO_SERVER_PORT", "tcp://10.0.0.1:2222", "expected a port from 1 to 65535"),
        ("TFO_SERVER_PORT", "", "expected a port from 1 to 65535"),
        ("TFO_SERVER_ADDRESS", "", "expected an IP address of this host"),
        (
            "TFO_SERVER_SERVICE",
            "http",
            "expected `mirror`, `echo`, `discard`, `respond` or `forward`",
        ),
        ("TFO_SERVER_OUTPUT", "xml", "expected `text` or `json`"),
        ("TFO_SERVER_BACKLOG", "many", "expected an integer from 1 to 65535"),
        ("TFO_SERVER_IDLE_TIMEOUT", "30", "expected a duration from 100ms to 1day"),
    ] {
        let error = folder.refused(&[], &[(name, value)]);
        let beginning = format!("{name}: invalid value {value:?}: {expected}");
        assert!(error.starts_with(&beginning), "{error}");
    }
    let error = folder.refused(&[], &[("TFO_SERVER_KEYS_MODE", "file")]);
    assert!(error.starts_with("TFO_SERVER_KEYS_MODE: \"file\" without keys.file: "), "{error}");
}

#[test]
fn invalid_flag_is_named() {
    let folder = Folder::new("");
    for (arguments, flag, expected) in [
        (["-p", "0"], "--port <PORT>", "expected a port from 1 to 65535"),
        (["--port", "70000"], "--port <PORT>", "expected a port from 1 to 65535"),
        (["-a", "example.org"], "--address <ADDR>", "host names are not resolved"),
        (
            ["--service", "http"],
            "--service <SERVICE>",
            "expected `mirror`, `echo`, `discard`, `respond` or `forward`",
        ),
        (["-o", "xml"], "--output <FORMAT>", "expected `text` or `json`"),
        (["--address", ""], "--address <ADDR>", ""),
        (["--colour", "always"], "--colour", ""),
        (["serve", "-v"], "serve", ""),
    ] {
        for arguments in [arguments.to_vec(), [&["check"], &arguments[..]].concat()] {
            let error = folder.refused(&arguments, &[]);
            assert!(error.contains(flag) && error.contains(expected), "{arguments:?}: {error}");
        }
    }
}

#[test]
fn check_refuses_an_invalid_file() {
    let error = Folder::new("[listen]\nport = 0").refused(&["check"], &[]);
    assert!(error.starts_with("config/server.toml:2:8: listen.port: "), "{error}");
}
