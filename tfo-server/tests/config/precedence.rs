use crate::settings::{assert_precedence, assert_printed_is_read_back};
use crate::support::Folder;

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    assert_precedence(
        "check",
        &[
            (
                "listen.address",
                "ADDRESS",
                "--address 0.0.0.0",
                ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0"],
            ),
            ("listen.port", "PORT", "--port 30", ["2222", "10", "20", "30"]),
            ("listen.service", "SERVICE", "--service echo", ["mirror", "echo", "discard", "echo"]),
            ("output.format", "OUTPUT", "--output json", ["text", "json", "text", "json"]),
        ],
    );
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
    assert_printed_is_read_back("limits.idle-timeout = '1m30s'", &flags, "FASTOPEN_QUEUE", "0");
}
