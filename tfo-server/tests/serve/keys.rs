//! Keys of the listeners: from a file and derived; and the origin of cookies.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tfo_core::cookie::FastOpenKey;
use tfo_core::cookie::derived::Secret;
use tfo_core::host::{CounterChange, Counters, cookie_cache, sysctl};
use tfo_core::lab::{Middlebox, Network, PathSettings, Program, isolated, require, skip};
use tfo_core::socket::{FastOpenListener, FastOpenStream};

use crate::support::{Lab, SERVER, answer, clean, json as parse};

fn key(number: u8) -> FastOpenKey {
    FastOpenKey::new([number; 16])
}

fn name(number: u8) -> String {
    key(number).fingerprint().to_string()
}

/// Replaces a key file atomically, as a careful operator does.
fn replace(lab: &Lab, content: &str) -> PathBuf {
    let path = lab.path("keys");
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

fn keys(numbers: &[u8]) -> String {
    numbers.iter().map(|number| key(*number).reveal_hex() + "\n").collect()
}

/// Starts a server with these keys in a file.
fn serve(lab: &Lab, numbers: &[u8]) -> Program {
    let path = replace(lab, &keys(numbers));
    let config = format!("[keys]\nmode = \"file\"\nfile = \"{}\"\n", path.display());
    lab.serve(&config, &["--service", "discard", "-o", "json"])
}

/// Connects with a message. Returns whether the data in the SYN was accepted.
fn connect(lab: &Lab) -> bool {
    let mut client = lab.fast_open(b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(&mut client), b"");
    client.info().unwrap().syn_data
}

/// Returns the last of this many connections' lines.
fn line(server: &Program, count: usize) -> Value {
    parse(server.out().first(count).last().unwrap())
}

fn counters(lab: &Lab) -> Counters {
    lab.host.run(|| Counters::read().unwrap())
}

fn since(lab: &Lab, before: &Counters) -> CounterChange {
    counters(lab).since(before)
}

fn end(server: Program) -> (Value, String) {
    server.signal("TERM").unwrap();
    let ended = server.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    (parse(ended.out.lines().last().unwrap()), ended.out + &ended.err)
}

/// Asserts that the text contains none of these keys, in any form.
fn hides(text: &str, numbers: &[u8]) {
    for number in numbers {
        let text = text.to_lowercase();
        assert!(!text.contains(&format!("{number:02x}").repeat(4)), "{text}");
        assert!(!text.contains(&format!("{number}, {number}")), "{text}");
    }
}

#[test]
fn keys_from_a_file_rotate_by_sighup_without_a_miss() {
    isolated(|| {
        let lab = Lab::new();
        let server = serve(&lab, &[0xa1]);
        let _ = server.err().expect(&["keys: primary", &name(0xa1), "no backup"]);
        let before = counters(&lab);
        assert!(!connect(&lab), "the first connection requests a cookie");
        let cached = lab.host.run(|| cookie_cache::get(None, SERVER.ip())).unwrap();
        let cookie = cached.unwrap().cookie.unwrap();
        assert_eq!(
            cookie,
            key(0xa1).cookie(SERVER.ip(), SERVER.ip()),
            "generated with the key of the file"
        );
        assert!(connect(&lab));
        // The order in which a fleet rotates keys. Each step is logged with the fingerprints.
        for (numbers, message, backup_used) in [
            (&[0xa1, 0xb2][..], format!("primary {}, backup {}", name(0xa1), name(0xb2)), 0),
            (&[0xb2, 0xa1], format!("primary {}, backup {}", name(0xb2), name(0xa1)), 1),
            (&[0xb2], format!("primary {}, no backup", name(0xb2)), 0),
        ] {
            replace(&lab, &keys(numbers));
            server.signal("HUP").unwrap();
            let _ = server.err().expect(&["keys: ", &message]);
            let before = counters(&lab);
            assert!(connect(&lab), "{message}");
            assert_eq!(since(&lab, &before).passive_alt_key, backup_used, "{message}");
        }
        let change = since(&lab, &before);
        assert_eq!((change.passive_fail, change.passive), (0, 4), "{change:?}");
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["keys unchanged"]);
        let origins: Vec<_> =
            server.out().first(5).iter().map(|l| parse(l)["cookie_origin"].clone()).collect();
        let expected = [Value::Null, "primary".into(), "primary".into(), "backup".into()];
        assert_eq!(origins[..4], expected);
        let (totals, output) = end(server);
        assert_eq!(totals["totals"]["cookies"]["backup"], 1, "{totals}");
        assert_eq!(totals["totals"]["cookies"]["primary"], 3, "{totals}");
        hides(&output, &[0xa1, 0xb2]);
    });
}

#[test]
fn changed_key_file_is_noticed_without_a_signal() {
    isolated(|| {
        let lab = Lab::new();
        let server = serve(&lab, &[0xa1]);
        let before = counters(&lab);
        assert!(!connect(&lab));
        for (numbers, message) in [
            (&[0xa1, 0xb2][..], format!("primary {}, backup {}", name(0xa1), name(0xb2))),
            (&[0xb2, 0xa1], format!("primary {}, backup {}", name(0xb2), name(0xa1))),
        ] {
            replace(&lab, &keys(numbers));
            let _ = server.err().expect(&["keys: ", &message]);
            assert!(connect(&lab), "{message}");
        }
        let change = since(&lab, &before);
        assert_eq!((change.passive_fail, change.passive_alt_key), (0, 1), "{change:?}");
    });
}

#[test]
fn unusable_key_file_is_refused_and_the_old_keys_remain() {
    isolated(|| {
        let lab = Lab::new();
        let server = serve(&lab, &[0xa1]);
        assert!(!connect(&lab));
        let unchanged = format!("keeping the previous keys: primary {}, no backup", name(0xa1));
        for (content, mode, why) in [
            (keys(&[0xb2]), 0o640, "mode 0640 allows access by others"),
            (keys(&[0xb2, 0xb2]), 0o600, "keys:2: the backup key equals the primary"),
            (keys(&[0]), 0o600, "keys:1: a key of zeros"),
            (keys(&[0xb2])[1..].to_owned(), 0o600, "keys:1: expected a key of 32 hex digits"),
            (keys(&[0xb2, 0xc3, 0xd4]), 0o600, "keys:3: expected at most two keys"),
            (String::new(), 0o600, "keys: expected one or two keys"),
        ] {
            let path = replace(&lab, &content);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            server.signal("HUP").unwrap();
            let _ = server.err().expect(&["warn: keys: ", why, &unchanged]);
            assert!(connect(&lab), "{why}");
        }
        fs::remove_file(replace(&lab, "")).unwrap();
        let _ = server.err().expect(&["keys: No such file", &unchanged]);
        assert!(connect(&lab), "noticed without a signal as well");
        let (_, output) = end(server);
        hides(&output, &[0xa1, 0xb2, 0xc3, 0xd4]);
    });
}

#[test]
fn server_without_usable_keys_does_not_start() {
    isolated(|| {
        let lab = Lab::new();
        let path = replace(&lab, &keys(&[0xb2, 0xb2]));
        let path = path.display();
        for (mode, named, why) in [
            ("file", "file", "keys:2: the backup key equals"),
            ("derived", "secret", "keys:2: expected only one secret"),
        ] {
            let config = format!("[keys]\nmode = \"{mode}\"\n{named} = \"{path}\"\n");
            for arguments in [&[][..], &["check"], &["check", "-o", "json"]] {
                let ended = lab.start(&config, arguments).finish();
                assert_eq!(ended.code, Some(2), "{}", ended.err);
                let error = ended.err.lines().last().unwrap();
                assert!(error.starts_with("error: ") && error.contains(why), "{error}");
                hides(&(ended.out + &ended.err), &[0xb2]);
            }
        }
    });
}

#[test]
fn check_reports_the_state_of_the_keys() {
    isolated(|| {
        let lab = Lab::new();
        let kernel = lab.start("", &["check"]).finish();
        assert!(kernel.out.contains("keys: those of the network namespace\n"), "{}", kernel.out);
        let path = replace(&lab, &keys(&[0xa1, 0xb2]));
        let config = format!("[keys]\nmode = \"file\"\nfile = \"{}\"\n", path.display());
        let text = lab.start(&config, &["check"]).finish();
        let expected = format!("keys: primary {}, backup {}\n", name(0xa1), name(0xb2));
        assert_eq!(text.code, Some(0), "{}", text.err);
        assert!(text.out.contains(&expected), "{}", text.out);
        let document = lab.start(&config, &["check", "-o", "json"]).finish();
        let found = &parse(&document.out)["keys"];
        assert_eq!(found["mode"], "file", "{found}");
        assert_eq!((&found["primary"], &found["backup"]), (&name(0xa1).into(), &name(0xb2).into()));
        hides(&(text.out + &document.out), &[0xa1, 0xb2]);
    });
}

#[test]
fn derived_keys_rotate_by_the_clock_without_a_miss() {
    isolated(|| {
        let lab = Lab::new();
        let secret = "5a".repeat(32);
        let path = replace(&lab, &secret);
        let config = format!(
            "[keys]\nmode = \"derived\"\nsecret = \"{}\"\nrotate-every = \"10s\"\n",
            path.display()
        );
        let server = lab.serve(&config, &["--service", "discard", "-o", "json"]);
        let start = server.err().expect(&["keys: primary", "derived, epochs"]);
        let epoch = start.split("epochs ").nth(1).unwrap().split(' ').next().unwrap();
        let epoch: u64 = epoch.parse().unwrap();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 10;
        assert!((epoch..=epoch + 1).contains(&clock), "the current epoch: {start}");
        let before = counters(&lab);
        assert!(!connect(&lab));
        let secret = Secret::from_hex(&secret).unwrap();
        let [now, next, after] = [0, 1, 2].map(|n| secret.key(epoch + n).fingerprint());
        // Each of these occurs within the next two epochs, whatever part of an epoch this is.
        for (primary, backup) in [(now, next), (next, now), (next, after)] {
            let message = format!("keys: primary {primary}, backup {backup} (derived, epochs ");
            let _ = server.err().expect(&[&message]);
            assert!(connect(&lab), "{message}, after {start}");
        }
        let change = since(&lab, &before);
        assert_eq!((change.passive_fail, change.passive), (0, 3), "{change:?}");
        let (_, output) = end(server);
        hides(&output, &[0x5a]);
        assert!(!output.contains(&secret.key(epoch).reveal_hex()), "{output}");
    });
}

#[test]
fn origin_of_a_refused_cookie_is_logged() {
    isolated(|| {
        let lab = Lab::new();
        let server = serve(&lab, &[0xa1]);
        assert!(!connect(&lab));
        // An abrupt change: the cookie of the previous key is refused.
        replace(&lab, &keys(&[0xb2]));
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["keys: primary", &name(0xb2)]);
        assert!(!connect(&lab));
        let entry = line(&server, 2);
        assert_eq!(entry["verdict"], "fallback", "{entry}");
        assert_eq!(entry["cookie_origin"], parse(r#"{"previous":1}"#), "{entry}");
        let (totals, output) = end(server);
        assert_eq!(totals["totals"]["cookies"]["previous"], 1, "{totals}");
        hides(&output, &[0xa1, 0xb2]);
        // Another server on the same address, without knowledge of that key.
        let server = lab.serve("", &["--service", "discard"]);
        assert!(!connect(&lab));
        let line = server.out().first(1).remove(0);
        if lab.host.run(sysctl::tcp_fastopen_key).is_ok() {
            assert!(line.contains("fallback (") && line.contains("8 B of no known key,"), "{line}");
            server.signal("TERM").unwrap();
            let ended = server.finish();
            assert!(ended.out.contains("; of 1 cookie 1 of no known key (100 %)"), "{}", ended.out);
        }
    });
}

#[test]
fn modified_cookie_is_distinguished_from_a_nat_client() {
    isolated(|| {
        for (middlebox, v6) in [
            (Middlebox::TranslateSource, false),
            (Middlebox::TranslateSource, true),
            (Middlebox::CorruptCookie, false),
            (Middlebox::CorruptCookie, true),
        ] {
            let network = Network::new(PathSettings::new().boxes(&[middlebox])).unwrap();
            let lab = Lab::new();
            let path = replace(&lab, &keys(&[0xa1]));
            let config = format!("[keys]\nmode = \"file\"\nfile = \"{}\"\n", path.display());
            let command = lab.command(&config, &["-a", "::", "--service", "discard", "-o", "json"]);
            let server = Program::start(network.server(), command).unwrap();
            let _ = server.err().expect(&["listening on"]);
            for _ in 0..2 {
                let address = SocketAddr::new(Network::server_address(v6), SERVER.port());
                network.client().run(move || {
                    let mut client = FastOpenStream::connect(address, b"hello").unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(answer(&mut client), b"");
                });
            }
            let entry = line(&server, 2);
            assert_eq!(entry["verdict"], "fallback", "{middlebox:?}: {entry}");
            let expected = if middlebox == Middlebox::TranslateSource {
                let first = parse(&server.out().first(1).remove(0));
                let peer: SocketAddr = first["peer"].as_str().unwrap().parse().unwrap();
                // Found among the neighbours for IPv4, and among the recent clients for IPv6.
                json!({"other-source": peer.ip()})
            } else {
                json!("unknown")
            };
            assert_eq!(entry["cookie_origin"], expected, "{middlebox:?}: {entry}");
        }
    });
}

#[test]
fn keys_of_this_namespace_are_shown_by_fingerprint() {
    isolated(|| {
        let lab = Lab::new();
        let none = lab.start("", &["keys", "show", "--sysctl"]).finish();
        assert_eq!(none.code, Some(0), "{}", none.err);
        assert!(none.out.starts_with("no key yet"), "{}", none.out);
        let words = [0xa1, 0xb2].map(|number| key(number).reveal_sysctl_text()).join(",");
        let write =
            move || -> io::Result<()> { fs::write("/proc/sys/net/ipv4/tcp_fastopen_key", words) };
        lab.host.run(write).unwrap();
        let shown = lab.start("", &["keys", "show", "--sysctl"]).finish();
        assert_eq!(shown.out, format!("primary {}\nbackup {}\n", name(0xa1), name(0xb2)));
        let revealed = lab.start("", &["keys", "show", "--sysctl", "--reveal"]).finish();
        assert!(revealed.out.contains(&key(0xb2).reveal_hex()), "{}", revealed.out);
        let server = lab.serve("", &["-o", "json"]);
        let _ = server.err().expect(&["keys: primary", &name(0xa1), "of the network namespace"]);
        hides(&end(server).1, &[0xa1, 0xb2]);
    });
}

#[test]
fn keys_of_a_listener_are_shown_with_cap_sys_ptrace() {
    isolated(|| {
        let lab = Lab::new();
        let show = |more: &[&str]| {
            let address = format!("{SERVER}");
            lab.start("", &[&["keys", "show", "--listener", &address], more].concat()).finish()
        };
        let nobody = show(&[]);
        assert_eq!(nobody.code, Some(1));
        assert!(nobody.err.contains("nothing listens on"), "{}", nobody.err);

        let listener = lab.host.run(|| {
            let listener = FastOpenListener::builder(SERVER);
            listener.keys(key(0xa1), Some(key(0xb2))).listen().unwrap()
        });
        let shown = show(&[]);
        if shown.code != Some(0) {
            // Yama or a sandbox forbids it for root of a user namespace.
            assert!(shown.err.contains("CAP_SYS_PTRACE"), "{}", shown.err);
            return;
        }
        assert_eq!(shown.out, format!("primary {}\nbackup {}\n", name(0xa1), name(0xb2)));
        hides(&(shown.out + &shown.err), &[0xa1, 0xb2]);
        assert!(show(&["--reveal"]).out.contains(&key(0xb2).reveal_hex()));
        drop(listener);

        let _own = lab.host.run(|| FastOpenListener::bind(SERVER)).unwrap();
        let none = show(&[]);
        assert!(none.out.starts_with("no keys of its own"), "{} {}", none.out, none.err);
    });
}

/// Writes the key of the network namespace, as `sysctl -w` does.
fn write_key(lab: &Lab, number: u8) {
    let text = key(number).reveal_sysctl_text();
    let write =
        move || -> io::Result<()> { fs::write("/proc/sys/net/ipv4/tcp_fastopen_key", text) };
    lab.host.run(write).unwrap();
}

/// Connects over IPv4 or IPv6, and returns whether the data of the SYN was accepted.
fn connect_to(lab: &Lab, address: SocketAddr) -> bool {
    let mut client = lab.host.run(move || FastOpenStream::connect(address, b"hello").unwrap());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(&mut client), b"");
    client.info().unwrap().syn_data
}

#[test]
fn changed_kernel_key_is_read_at_the_first_contradiction() {
    isolated(|| {
        for ip in ["127.0.0.1", "::1"] {
            let lab = Lab::new();
            let address = SocketAddr::new(ip.parse().unwrap(), SERVER.port());
            write_key(&lab, 0xa1);
            let server = lab.serve("", &["-a", "::", "--service", "discard", "-o", "json"]);
            let _ = server.err().expect(&["keys: primary", &name(0xa1)]);
            assert!(!connect_to(&lab, address), "it requests a cookie");
            assert!(connect_to(&lab, address));
            // The server's own check, each second, has not come yet.
            write_key(&lab, 0xb2);
            assert!(!connect_to(&lab, address), "a cookie of the previous key");
            assert!(connect_to(&lab, address), "a cookie of the new key");
            // Another listener grants a cookie of a key that the server has never read.
            write_key(&lab, 0xc3);
            let neighbour = SocketAddr::new(address.ip(), 8080);
            lab.host.run(move || {
                let listener = FastOpenListener::bind(neighbour).unwrap();
                let client = FastOpenStream::connect(neighbour, b"hello").unwrap();
                drop((listener.accept().unwrap(), client));
            });
            assert!(connect_to(&lab, address), "it is accepted");
            let lines = server.out().first(5);
            let origins: Vec<_> =
                lines.iter().map(|line| parse(line)["cookie_origin"].clone()).collect();
            let previous = parse(r#"{"previous":1}"#);
            let primary = || Value::from("primary");
            let expected = [Value::Null, primary(), previous, primary(), primary()];
            assert_eq!(origins, expected, "{lines:?}");
            let (totals, said) = end(server);
            assert_eq!(totals["totals"]["cookies"]["unknown"], 0, "{totals}");
            hides(&said, &[0xa1, 0xb2, 0xc3]);
        }
    });
}

#[test]
fn zeros_of_the_namespace_are_the_key_once_the_server_listens() {
    isolated(|| {
        let lab = Lab::new();
        write_key(&lab, 0);
        let before = lab.start("", &["keys", "show", "--sysctl"]).finish();
        assert!(before.out.starts_with("no key yet"), "{}", before.out);
        let server = lab.serve("", &["--service", "discard", "-o", "json"]);
        let _ = server.err().expect(&["warn: ", "all zeros", "anyone can make valid cookies"]);
        let _ = server.err().expect(&["keys: primary", &name(0)]);
        assert!(!connect(&lab), "it requests a cookie");
        assert!(connect(&lab));
        assert_eq!(line(&server, 2)["cookie_origin"], "primary");
        let shown = lab.start("", &["keys", "show", "--sysctl"]).finish();
        assert_eq!(shown.out, format!("primary {}\n", name(0)));
        assert!(shown.err.contains("all zeros"), "{}", shown.err);
        let check = lab.start("", &["check", "-o", "json"]).finish();
        assert_eq!(check.code, Some(1), "{}", check.out);
        assert!(check.out.contains("\"key-is-zeros\""), "{}", check.out);
    });
}

/// Returns the program, to run with an empty `/proc`.
fn without_proc(lab: &Lab, config: &str) -> Command {
    let mut command = clean(Command::new("unshare"));
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_tfo-server")]);
    command.arg("--config").arg(lab.config(config));
    command
}

#[test]
fn key_file_of_another_user_is_refused_without_proc() {
    isolated(|| {
        if !require("unshare") {
            return;
        }
        let lab = Lab::new();
        let path = replace(&lab, &keys(&[1]));
        let config = format!(
            "[listen]\nservice = \"discard\"\n[keys]\nmode = \"file\"\nfile = \"{}\"\n",
            path.display()
        );
        let server = Program::start(&lab.host, without_proc(&lab, &config)).unwrap();
        let _ = server.err().expect(&["keys: primary", &name(1)]);
        drop(server);

        if std::os::unix::fs::chown(&path, Some(65534), None).is_err() {
            skip("changing the owner of a file needs root");
            return;
        }
        for command in [lab.command(&config, &[]), without_proc(&lab, &config)] {
            let server = Program::start(&lab.host, command).unwrap();
            let _ = server.err().expect(&["error: ", "owned by user 65534: expected root"]);
            assert_eq!(server.finish().code, Some(2));
        }
    });
}
