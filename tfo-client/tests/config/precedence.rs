use crate::settings::{assert_precedence, assert_printed_is_read_back};
use crate::support::Folder;

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    assert_precedence(
        "probe",
        &[
            (
                "server.address",
                "SERVER",
                "--server 192.0.2.1",
                ["127.0.0.1", "file", "::1", "192.0.2.1"],
            ),
            ("server.port", "PORT", "--port 30", ["2222", "10", "20", "30"]),
            ("probe.count", "COUNT", "--count 30", ["3", "10", "20", "30"]),
            ("probe.mode", "MODE", "--mode connect", ["auto", "off", "sendto", "connect"]),
            ("probe.message", "MESSAGE", "--message flag", ["", "file", "variable", "flag"]),
            ("probe.size", "SIZE", "--size 1MiB", ["64B", "1KiB", "2KiB", "1MiB"]),
            (
                "probe.connect-timeout",
                "CONNECT_TIMEOUT",
                "--connect-timeout 1m30s",
                ["5s", "1s", "2s", "1m30s"],
            ),
            (
                "probe.reply-timeout",
                "REPLY_TIMEOUT",
                "--reply-timeout 250ms",
                ["5s", "1s", "2s", "250ms"],
            ),
            ("probe.interval", "INTERVAL", "--interval 3s", ["0ms", "1s", "2s", "3s"]),
            ("output.format", "OUTPUT", "--output json", ["text", "json", "text", "json"]),
            ("probe.family", "FAMILY", "--ipv4", ["any", "ipv6", "any", "ipv4"]),
        ],
    );
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
    assert_printed_is_read_back("probe.interval = '1m30s'", &flags, "SIZE", "1MiB");
}
