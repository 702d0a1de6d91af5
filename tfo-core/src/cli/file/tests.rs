use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use serde::Deserialize;
use tempfile::TempDir;

use super::*;
use crate::cli::{Port, error_chain, value::table};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Model {
    #[serde(deserialize_with = "table")]
    server: Server,
    several: Several,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "only whether it can be read matters")]
enum Several {
    One(Server),
    More(Vec<Server>),
    #[default]
    None,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Server {
    address: String,
    port: Option<Port>,
}

fn file(text: &str) -> ConfigFile {
    ConfigFile { path: "x.toml".into(), text: text.into() }
}

fn refusal(text: &str) -> String {
    error_chain(&file(text).parse::<Model>().expect_err(text))
}

#[test]
fn contradicting_value_is_refused_at_its_place() {
    let file = file("# text\n[server]\naddress = \"x\"\n  port = 80\n");
    for (key, place) in [
        ("server.port", "4:10"),
        ("server.address", "3:11"),
        ("server.missing", "2:1"),
        ("other.missing", "1:1"),
    ] {
        let error = error_chain(&file.refuse(key, "expected another"));
        assert_eq!(error, format!("x.toml:{place}: {key}: expected another"));
    }
}

#[test]
fn empty_file_is_the_default() {
    let model: Model = file("# nothing\n").parse().unwrap();
    assert_eq!((model.server.address.as_str(), model.server.port), ("", None));
}

#[test]
fn refusal_names_file_line_column_key_and_what_is_allowed() {
    for (text, message) in [
        (
            "[server]\nport = 70000",
            "2:8: server.port: invalid value 70000: expected a port from 1 to 65535",
        ),
        ("server.port = 0", "1:15: server.port: invalid value 0: expected a port from 1 to 65535"),
        (
            "[server]\nport = 'a'",
            r#"2:8: server.port: invalid type: string "a": expected a port from 1 to 65535"#,
        ),
        (
            "[server]\naddress = 4",
            "2:11: server.address: invalid type: integer `4`: expected a string",
        ),
        (
            "[server]\nprot = 1",
            "2:1: unknown key `prot` in [server]: expected `address` or `port`; did you mean `port`?",
        ),
        ("[server]\nxyz = 1", "2:1: unknown key `xyz` in [server]: expected `address` or `port`"),
        (
            "\n[sever]\nport = 1",
            "2:2: unknown key `sever` at the top level: expected `server` or `several`; did you mean `server`?",
        ),
        ("server = 1", "1:10: server: invalid type: integer `1`: expected a table"),
        ("server = ['a', 1]", "1:10: server: invalid type: sequence: expected a table"),
        ("[server]\nport = 1\nport = 2", "3:1: server.port: duplicate key: expected once"),
        ("[server]\n[server]", "2:2: server: duplicate table: expected once"),
        (
            "[[several]]\n[several]",
            "2:2: several: duplicate table: expected one [several], or several, each as [[several]]",
        ),
        (
            "[several]\n[[several]]",
            "2:3: several: duplicate table: expected one [several], or several, each as [[several]]",
        ),
        (
            "port = 80\n[server]",
            "1:1: port belongs to [server] or [several]: expected it below that line",
        ),
        (
            "prt = 80\n[server]",
            "1:1: unknown key `prt` at the top level: expected `server` or `several`",
        ),
        (
            "[server]\naddress = 0.0.0.0",
            "2:14: server.address: text needs quotes: expected address = \"0.0.0.0\"",
        ),
        (
            "[server]\nport = 80x",
            "2:8: server.port: invalid value 80x: expected a port from 1 to 65535",
        ),
        ("[server]\nport =", "2:7: server.port: no value: expected one after the `=`"),
        (
            "[server]\naddress = ::1 # x",
            "2:11: server.address: text needs quotes: expected address = \"::1\"",
        ),
        ("[server]\n# ü\nport 3", "3:6: in [server]: key with no value: expected `=`"),
        ("[server\nport = 1", "1:8: server: unclosed table: expected `]`"),
    ] {
        assert_eq!(refusal(text), format!("x.toml:{message}"), "{text}");
    }
    let unquoted = refusal("[server]\r\naddress = localhost\r\n");
    assert_eq!(
        unquoted,
        "x.toml:2:11: server.address: text needs quotes: expected address = \"localhost\""
    );
}

#[test]
fn file_that_is_not_utf8_is_refused_at_the_byte() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.toml");
    fs::write(&path, b"[server]\naddress = \"\xff\"").unwrap();
    let error = ConfigFile::read(&path, None, |path| File::open(path)).unwrap_err();
    assert_eq!(error_chain(&error), format!("{}:2:12: not UTF-8: found byte 0xff", path.display()));
}

#[test]
fn file_of_flag_beats_variable_beats_default_paths() {
    let dir = TempDir::new().unwrap();
    let names = ["flag", "variable", "first", "second"].map(|name| {
        let path = dir.path().join(name);
        fs::write(&path, "").unwrap();
        path.to_str().unwrap().to_owned()
    });
    let [flag, variable, first, second] = names.each_ref().map(String::as_str);
    let defaults = [first, second];
    let places = Places { variable: "TFO_X_CONFIG", defaults: &defaults };
    let set: Environment = [("TFO_X_CONFIG", variable)].into_iter().collect();
    let unset = Environment::default();
    let found = |flag: Option<&str>, environment: &Environment| {
        let file = ConfigFile::find(flag.map(Path::new), environment, places).unwrap();
        file.map(|file| file.path().to_str().unwrap().to_owned())
    };

    assert_eq!(found(Some(flag), &set).as_deref(), Some(flag));
    assert_eq!(found(None, &set).as_deref(), Some(variable));
    assert_eq!(found(None, &unset).as_deref(), Some(first));
    fs::remove_file(first).unwrap();
    assert_eq!(found(None, &unset).as_deref(), Some(second));
    fs::remove_file(second).unwrap();
    assert_eq!(found(None, &unset), None);
}

#[test]
fn missing_named_file_is_reported_with_what_named_it() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing.toml");
    let places = Places { variable: "TFO_X_CONFIG", defaults: &[] };
    let none = Environment::default();
    let set: Environment = [("TFO_X_CONFIG", &missing)].into_iter().collect();
    let empty: Environment = [("TFO_X_CONFIG", "")].into_iter().collect();

    let by_flag = error_chain(&ConfigFile::find(Some(&missing), &none, places).unwrap_err());
    assert!(by_flag.contains("missing.toml, named by --config: No such file"), "{by_flag}");
    let by_variable = error_chain(&ConfigFile::find(None, &set, places).unwrap_err());
    assert!(by_variable.contains("missing.toml, named by TFO_X_CONFIG: No such"), "{by_variable}");
    assert!(ConfigFile::find(None, &empty, places).is_err(), "an empty name is an error");
}

#[test]
fn unreadable_default_path_is_an_error() {
    let dir = TempDir::new().unwrap();
    let join = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (folder, dangling, large, secret) =
        (join("folder"), join("dangling"), join("large"), join("secret"));
    fs::create_dir(&folder).unwrap();
    symlink("nowhere", &dangling).unwrap();
    fs::write(&large, vec![b'#'; 2 << 20]).unwrap();
    fs::write(&secret, "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o0)).unwrap();

    for path in [&folder, &dangling, &large, &secret] {
        if *path == secret && File::open(path).is_ok() {
            // Root may read any file.
            continue;
        }
        let defaults = [path.as_str()];
        let places = Places { variable: "TFO_X_CONFIG", defaults: &defaults };
        let error = ConfigFile::find(None, &Environment::default(), places).unwrap_err();
        assert!(error_chain(&error).contains(path.as_str()), "{error}");
    }

    // The parent of the path is a file: the default path does not exist.
    let under_a_file = format!("{large}/server.toml");
    let defaults = [under_a_file.as_str()];
    let places = Places { variable: "TFO_X_CONFIG", defaults: &defaults };
    assert!(ConfigFile::find(None, &Environment::default(), places).unwrap().is_none());
}

proptest! {
    #[test]
    fn any_text_gives_a_message_of_one_line(text in "(?s)[\\[\\]a-z.=\"'#\n\r ü\u{0}0-9{},-]{0,60}") {
        if let Err(error) = file(&text).parse::<Model>() {
            prop_assert!(!error_chain(&error).contains('\n'));
        }
    }

    #[test]
    fn key_is_searched_at_any_offset(text in "(?s).{0,40}", offset in 0_usize..200) {
        let _ = key_at(&text, offset);
        let _ = position(&text, offset);
    }
}

#[test]
fn only_regular_files_are_opened_without_blocking() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "text").unwrap();
    symlink("file", path("link")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for name in ["file", "link"] {
        let mut text = String::new();
        open_regular(&path(name)).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text", "{name}");
    }
    for name in ["pipe", "socket", ".", "/dev/null"] {
        let error = open_regular(&path(name)).unwrap_err();
        assert_eq!(error.to_string(), "it is not a regular file", "{name}");
    }
    assert_eq!(open_regular(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
