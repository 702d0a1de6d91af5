use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use clap::ValueEnum;
use serde::Deserialize;

use super::*;
use crate::cli::{
    Integer, Period, Port, error_chain,
    value::{Switch, table},
};

const SOURCES: Sources = Sources {
    places: Places { variable: "TFO_X_CONFIG", defaults: &[] },
    prefix: "TFO_X",
    unnamed_tables: &["listen", "limits"],
    renamed: &[("limits.pace", "SPEED")],
};

/// A model with a key of each kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Model {
    #[serde(deserialize_with = "table")]
    listen: Address,
    #[serde(deserialize_with = "table")]
    limits: Limits,
    #[serde(deserialize_with = "table")]
    keys: Keys,
}

/// A model with one `[listen]` table or several.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Listeners {
    One { listen: Address },
    Several { listen: Vec<Address> },
}

impl Default for Listeners {
    fn default() -> Self {
        Self::One { listen: Address::default() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Address {
    port: Port<80>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Limits {
    connections: Integer<1, 100, 10>,
    idle_timeout: Period<0, 60_000, 1_000>,
    pace: Pace,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Keys {
    files: Vec<String>,
    watch: Switch<true>,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Pace {
    #[default]
    Slow,
    Fast,
}

crate::choice!(Pace);

fn fill(
    text: &str,
    flags: &FlagValues,
    variables: &[(&str, &str)],
) -> Result<Resolved<Model>, SettingsError> {
    let file = ConfigFile::new("x.toml", text);
    SOURCES.fill(Some(file), flags, &variables.iter().copied().collect())
}

fn refusal(text: &str, flags: &FlagValues, variables: &[(&str, &str)]) -> String {
    error_chain(&fill(text, flags, variables).unwrap_err())
}

fn port_flag(port: u16) -> FlagValues {
    FlagValues::default().with("--port", "listen.port", Some(port))
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let variable = [("TFO_X_PORT", "90")];
    let none = FlagValues::default();
    let file = "listen.port = 85";
    for (text, flags, variables, port, source) in [
        ("", &none, &[][..], 80, Source::File),
        (file, &none, &[], 85, Source::File),
        (file, &none, &variable, 90, Source::Variable),
        ("", &none, &variable, 90, Source::Variable),
        (file, &port_flag(100), &variable, 100, Source::Flag),
        (file, &port_flag(100), &[("TFO_X_PORT", "bad")], 100, Source::Flag),
    ] {
        let resolved = fill(text, flags, variables).unwrap();
        assert_eq!(resolved.model.listen.port.get(), port, "{text} {flags:?} {variables:?}");
        assert_eq!(resolved.source("listen.port"), source);
        assert_eq!(resolved.source("keys.name"), Source::File);
    }
}

#[test]
fn variables_of_every_kind_set_their_keys() {
    let variables = [
        ("TFO_X_PORT", "+90"),
        ("TFO_X_CONNECTIONS", "007"),
        ("TFO_X_IDLE_TIMEOUT", "2s"),
        ("TFO_X_SPEED", "fast"),
        ("TFO_X_KEYS_FILES", "a, b,,"),
        ("TFO_X_KEYS_WATCH", "false"),
        ("TFO_X_KEYS_NAME", "5"),
    ];
    let resolved = fill("", &FlagValues::default(), &variables).unwrap();
    let expected = "listen.port = 90\n[limits]\nconnections = 7\nidle-timeout = '2s'\npace = 'fast'\n\
                    [keys]\nfiles = ['a', 'b']\nwatch = false\nname = '5'";
    assert_eq!(resolved.model, toml::from_str(expected).unwrap());
    let written = resolved.to_toml().unwrap();
    assert_eq!(toml::from_str::<Model>(&written).unwrap(), resolved.model);
}

#[test]
fn keys_without_a_name_of_their_own_have_derived_variables() {
    for (key, variable) in [
        ("listen.port", "TFO_X_PORT"),
        ("limits.idle-timeout", "TFO_X_IDLE_TIMEOUT"),
        ("limits.pace", "TFO_X_SPEED"),
        ("keys.watch", "TFO_X_KEYS_WATCH"),
    ] {
        assert_eq!(SOURCES.variable(key), variable);
    }
}

#[test]
fn bad_variable_is_named_with_its_value_and_the_rule() {
    for (name, value, message) in [
        ("TFO_X_PORT", "70000", r#"invalid value "70000": expected a port from 1 to 65535"#),
        ("TFO_X_PORT", "70\n000", r#"invalid value "70\n000": expected a port from 1 to 65535"#),
        ("TFO_X_PORT", "", r#"invalid value "": expected a port from 1 to 65535"#),
        (
            "TFO_X_CONNECTIONS",
            "99999999999999999999",
            r#"invalid value "99999999999999999999": expected an integer from 1 to 100"#,
        ),
        (
            "TFO_X_IDLE_TIMEOUT",
            "expected 5",
            r#"invalid value "expected 5": expected a duration from 0ms to 1m, such as "250ms""#,
        ),
        (
            "TFO_X_SPEED",
            "fats",
            r#"invalid value "fats": expected `slow` or `fast`; did you mean `fast`?"#,
        ),
        ("TFO_X_KEYS_WATCH", "yes", r#"invalid value "yes": expected true or false"#),
    ] {
        let error = refusal("", &FlagValues::default(), &[(name, value)]);
        assert_eq!(error, format!("{name}: {message}"));
    }
    let raw = [("TFO_X_KEYS_NAME", OsString::from_vec(vec![0xff]))].into_iter().collect();
    let error = SOURCES.fill::<Model>(None, &FlagValues::default(), &raw).unwrap_err();
    assert_eq!(error_chain(&error), "TFO_X_KEYS_NAME: is not UTF-8");
}

#[test]
fn fault_in_the_file_is_reported_before_variables() {
    let error = refusal("keys.watch = 1", &FlagValues::default(), &[("TFO_X_PORT", "bad")]);
    assert_eq!(error, "x.toml:1:14: keys.watch: invalid type: integer `1`: expected a boolean");
}

#[test]
fn value_for_one_of_several_tables_is_refused_by_its_source() {
    let fill = |flags: &FlagValues, variables: &[(&str, &str)]| {
        let file = ConfigFile::new("x.toml", "[[listen]]\n[[listen]]\nport = 81");
        SOURCES.fill::<Listeners>(Some(file), flags, &variables.iter().copied().collect())
    };
    let none = FlagValues::default();
    let variable = [("TFO_X_PORT", "90")];
    let message =
        "the file has 2 [[listen]] tables, and this value is for one: set port in the file";
    let by_flag = fill(&port_flag(90), &variable).unwrap_err();
    assert_eq!(error_chain(&by_flag), format!("--port: {message}"));
    let by_variable = fill(&none, &variable).unwrap_err();
    assert_eq!(error_chain(&by_variable), format!("TFO_X_PORT: {message}"));
    assert!(fill(&none, &[]).is_ok());
}

#[test]
fn contradiction_is_refused_at_the_source_of_the_key() {
    let refuse =
        |resolved: &Resolved<Model>| error_chain(&resolved.refuse("keys.name", "expected x"));
    let (none, file) = (FlagValues::default(), "[keys]\nname = 'a'");
    let flags = none.clone().with("--name", "keys.name", Some("b"));
    let variable = [("TFO_X_KEYS_NAME", "c")];
    for (text, flags, variables, place) in [
        (file, &none, &[][..], "x.toml:2:8: keys.name"),
        (file, &none, &variable, "TFO_X_KEYS_NAME"),
        (file, &flags, &variable, "--name"),
    ] {
        let error = refuse(&fill(text, flags, variables).unwrap());
        assert_eq!(error, format!("{place}: expected x"));
    }
    let without_file = SOURCES.fill(None, &none, &Environment::default()).unwrap();
    assert_eq!(refuse(&without_file), "keys.name: expected x");
}

const SHIPPED: &str = "\
[listen]
port = 80
# 1 to 65535.           -p, TFO_X_PORT

[limits]
# 1 to 100.             TFO_X_CONNECTIONS
connections = 10

# \"0ms\" (never) to
# \"1m\".               TFO_X_IDLE_TIMEOUT
idle-timeout = \"1s\"

# \"slow\" or \"fast\". TFO_X_SPEED
pace = \"slow\"

[keys]
# TFO_X_KEYS_FILES, TFO_X_KEYS_WATCH
files = []
watch = true
# TFO_X_KEYS_NAME
name = \"\"
";

#[test]
fn keys_with_the_same_variable_are_reported() {
    assert_eq!(SOURCES.unreachable_keys::<Model>(), [""; 0]);
    let renamed = &[("keys.name", "PORT")];
    let sources = Sources { renamed, ..SOURCES };
    assert_eq!(sources.unreachable_keys::<Model>(), ["keys.name", "listen.port"]);
}

#[test]
fn shipped_file_without_a_default_variable_or_rule_is_reported() {
    assert_eq!(SOURCES.undocumented::<Model>(SHIPPED), [""; 0]);
    for (text, other, fault) in [
        ("port = 80", "port = 81", "listen.port: set it to 80, its default"),
        ("watch = true\n", "", "keys.watch: set it to true, its default"),
        ("name = \"\"", "nane = \"\"", "keys.nane: the model has no such key"),
        ("TFO_X_KEYS_WATCH", "", "keys.watch: name its variable, TFO_X_KEYS_WATCH"),
        ("1 to 100.", "1 to 99.", "limits.connections: state what is allowed, 1 to 100"),
        ("or \\\"fast\\\"", "", "limits.pace: state what is allowed, fast"),
    ] {
        let text = text.replace('\\', "");
        assert!(SHIPPED.contains(&text), "{text}");
        let faults = SOURCES.undocumented::<Model>(&SHIPPED.replace(&text, other));
        assert!(faults.iter().any(|found| found == fault), "{faults:?}");
    }
    assert_eq!(SOURCES.undocumented::<Model>("=").len(), 1, "a file that is no TOML");
}
