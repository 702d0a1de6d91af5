use std::time::Duration;

use tfo_core::cli::{ConfigFile, value::Format};

use super::{
    file::{Family, Mode},
    *,
};
use crate::cli::Cli;

const SHIPPED: &str = include_str!("../../config/client.toml");

fn parse(text: &str) -> Result<File, toml::de::Error> {
    toml::from_str(text)
}

/// Returns the settings and their text as a file, from a file's text, variables and the flags of a command line.
fn resolved(file: &str, variables: &[(&str, &str)], flags: &str) -> (Settings, String) {
    let words = ["tfo-client"].into_iter().chain(flags.split_whitespace());
    let flags = Cli::try_from_arguments(words).unwrap().values();
    let file = ConfigFile::new("x.toml", file);
    let mut file = SOURCES.fill(Some(file), &flags, &variables.iter().copied().collect()).unwrap();
    combine(&mut file);
    (Settings::new(&file.model), file.to_toml().unwrap())
}

#[test]
fn shipped_file_documents_every_key() {
    assert_eq!(SOURCES.undocumented::<File>(SHIPPED), [""; 0], "in config/client.toml");
}

/// Names that users rely on: they must not change when keys or tables are renamed or moved.
#[test]
fn variables_keep_their_names() {
    for (key, variable) in [
        ("server.address", "TFO_CLIENT_SERVER"),
        ("server.port", "TFO_CLIENT_PORT"),
        ("probe.count", "TFO_CLIENT_COUNT"),
        ("probe.mode", "TFO_CLIENT_MODE"),
        ("probe.message", "TFO_CLIENT_MESSAGE"),
        ("probe.size", "TFO_CLIENT_SIZE"),
        ("probe.expect-reply", "TFO_CLIENT_EXPECT_REPLY"),
        ("probe.connect-timeout", "TFO_CLIENT_CONNECT_TIMEOUT"),
        ("probe.reply-timeout", "TFO_CLIENT_REPLY_TIMEOUT"),
        ("probe.interval", "TFO_CLIENT_INTERVAL"),
        ("probe.fresh", "TFO_CLIENT_FRESH"),
        ("probe.family", "TFO_CLIENT_FAMILY"),
        ("probe.source", "TFO_CLIENT_SOURCE"),
        ("probe.interface", "TFO_CLIENT_INTERFACE"),
        ("output.format", "TFO_CLIENT_OUTPUT"),
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
    assert_eq!(lines[..3], ["[server]", "address = \"127.0.0.1\"", "port = 2222"]);
}

#[test]
fn unknown_key_is_refused_in_every_table() {
    for table in ["", "[server]", "[probe]", "[output]"] {
        let error = parse(&format!("{table}\nnonsense = 1")).unwrap_err();
        assert!(error.message().starts_with("unknown field `nonsense`"), "{table}: {error}");
    }
}

#[test]
fn array_in_place_of_a_table_is_refused() {
    for table in ["server", "probe", "output"] {
        let error = parse(&format!("{table} = []")).unwrap_err();
        assert!(error.message().ends_with("expected a table"), "{error}");
    }
}

#[test]
fn port_in_address_is_overridden_by_higher_sources_only() {
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
fn size_from_a_higher_source_overrides_the_message() {
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
fn printed_settings_are_read_back() {
    let variables = [("TFO_CLIENT_FAMILY", "ipv6"), ("TFO_CLIENT_MESSAGE", "a \"b\"\n\tü\u{7f}")];
    let flags = "-n 10000 --mode connect --no-reply --connect-timeout 1ms --reply-timeout 1m30s \
                 --interval 1h --fresh -o json -s [fe80::1%eth0]:80";
    let (settings, printed) = resolved("probe.size = '1MiB'", &variables, flags);
    assert_eq!(resolved(&printed, &[], "").0, settings, "{printed}");
    let Settings { target, payload, probe, output } = settings;
    assert_eq!(target, Target { host: "fe80::1%eth0".to_owned(), port: 80 });
    assert_eq!(payload, Payload::Text(variables[1].1.to_owned()));
    assert_eq!((probe.family, probe.mode), (Family::Ipv6, Mode::Connect));
    assert_eq!((probe.count.get(), probe.size.get()), (10_000, 1 << 20));
    assert_eq!((probe.expect_reply.get(), probe.fresh.get()), (false, true));
    assert_eq!(probe.connect_timeout.get(), Duration::from_millis(1));
    assert_eq!(probe.reply_timeout.get(), Duration::from_secs(90));
    assert_eq!(probe.interval.get(), Duration::from_secs(3600));
    assert_eq!(output.format, Format::Json);
}

#[test]
fn switch_in_the_file_is_overridden_in_both_directions() {
    let file = "[probe]\nexpect-reply = false\nfresh = true";
    assert!(!resolved(file, &[], "").0.probe.expect_reply.get());
    assert!(resolved(file, &[], "--expect-reply").0.probe.expect_reply.get());
    assert!(resolved(file, &[("TFO_CLIENT_EXPECT_REPLY", "true")], "").0.probe.expect_reply.get());
    assert!(!resolved(file, &[("TFO_CLIENT_FRESH", "false")], "").0.probe.fresh.get());
    assert!(resolved(file, &[("TFO_CLIENT_FRESH", "false")], "--fresh").0.probe.fresh.get());
}
