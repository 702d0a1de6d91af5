//! Findings from the settings.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;

use tfo_core::lab::{Host, isolated, require};

use crate::harness::{
    apply, connect, doctor, doctor_of_nobody, examine, finding, fix, has, hosts, listen, look, run,
    server_address, set, set_bits,
};

#[test]
fn host_that_allows_both_halves_is_ready() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let (found, status) = examine(&host, &[]);
        assert_eq!(status, Some(0), "{found}");
        for ready in ["ready", "client_ready", "server_ready"] {
            assert_eq!(found[ready], true, "{ready}: {found}");
        }
        assert_eq!(finding(&found, "client-on")["level"], "ok");
        assert_eq!(finding(&found, "server-on")["level"], "ok");
        assert_eq!(found["settings"]["tcp_fastopen_bits"], serde_json::json!(["client", "server"]));
    });
}

#[test]
fn client_bit_off_is_a_problem_of_the_client_half_only() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set_bits(&host, 2);
        let (found, status) = examine(&host, &[]);
        assert_eq!(status, Some(1), "{found}");
        assert_eq!((&found["client_ready"], &found["server_ready"]), (&false.into(), &true.into()));
        let problem = finding(&found, "client-bit-off");
        assert_eq!((&problem["level"], &problem["half"]), (&"problem".into(), &"client".into()));
        let steps = fix(problem);
        assert!(steps.contains("tcp_fastopen=3") || steps.contains("value: \"3\""), "{steps}");
        let features = found["features"].as_array().unwrap();
        let connect = features.iter().find(|feature| feature["name"] == "TCP_FASTOPEN_CONNECT");
        assert_eq!(connect.unwrap()["support"], "switched-off", "supported, but the bit is off");
        assert_eq!(examine(&host, &["--only", "server"]).1, Some(0), "the server's half is ready");
        assert_eq!(examine(&host, &["--only", "client"]).1, Some(1));
    });
}

#[test]
fn server_bit_off_is_a_problem_of_the_server_half_only() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set_bits(&host, 1);
        let (found, status) = examine(&host, &[]);
        assert_eq!(status, Some(1), "{found}");
        assert!(finding(&found, "server-bit-off")["text"].as_str().unwrap().contains("0x2"));
        let (client, status) = examine(&host, &["--only", "client"]);
        assert_eq!(status, Some(0), "{client}");
        assert!(
            !has(&client, "server-bit-off"),
            "--only client includes no finding about the server: {client}"
        );
    });
}

#[test]
fn bits_without_cookies_are_problems_all_listeners_is_a_note() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set_bits(&host, 0x607);
        let found = look(&host);
        assert_eq!(finding(&found, "client-without-cookies")["level"], "problem");
        assert_eq!(finding(&found, "no-cookies")["level"], "problem");
        assert_eq!(finding(&found, "all-listeners")["level"], "note");
    });
}

#[test]
fn presence_of_a_key_is_reported_but_never_the_key() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        assert!(has(&look(&host), "key-unset"), "a new namespace has no key");
        set(&host, "ipv4/tcp_fastopen_key", "5ec12e75-5ec12e75-5ec12e75-5ec12e75");
        let found = look(&host);
        assert_eq!(finding(&found, "key-set")["level"], "ok");
        assert!(!found.to_string().contains("5ec12e75"), "the key is printed: {found}");
        set(
            &host,
            "ipv4/tcp_fastopen_key",
            "5ec12e75-5ec12e75-5ec12e75-5ec12e75,00000000-00000000-00000000-00000001",
        );
        let found = look(&host);
        assert_eq!(found["settings"]["key"], "set-with-backup");
        assert!(!found.to_string().contains("5ec12e75"), "the key is printed: {found}");
    });
}

#[test]
fn key_of_zeros_with_a_listener_is_a_problem_and_its_fix_works() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set(&host, "ipv4/tcp_fastopen_key", "00000000-00000000-00000000-00000000");
        let _listener = listen(&host);
        let found = look(&host);
        let problem = finding(&found, "key-is-zeros");
        assert_eq!(problem["level"], "problem", "{found}");
        apply(&host, &fix(problem));
        assert!(has(&look(&host), "key-set"), "the fix wrote a key");
    });
}

#[test]
fn kernel_generates_a_key_for_the_first_listener() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let _listener = listen(&host);
        assert!(has(&look(&host), "key-set"), "the key is not zeros");
    });
}

#[test]
fn small_somaxconn_is_a_note_and_zero_is_a_problem() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set(&host, "core/somaxconn", "16");
        let found = look(&host);
        assert_eq!(finding(&found, "somaxconn-small")["level"], "note");
        assert_eq!(found["settings"]["somaxconn"], 16);
        let _listener = listen(&host);
        let found = look(&host);
        assert_eq!(found["listeners"][0]["fast_open_queue"], 16, "the effective queue: {found}");
        set(&host, "core/somaxconn", "0");
        assert_eq!(finding(&look(&host), "somaxconn-zero")["level"], "problem");
    });
}

#[test]
fn syncookies_always_is_a_problem() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set(&host, "ipv4/tcp_syncookies", "2");
        let (found, status) = examine(&host, &[]);
        assert_eq!(status, Some(1), "{found}");
        let problem = finding(&found, "syncookies-always");
        assert!(fix(problem).contains("net.ipv4.tcp_syncookies"), "{problem}");
        set(&host, "ipv4/tcp_syncookies", "1");
        assert!(has(&look(&host), "syncookies"));
    });
}

#[test]
fn blackhole_timeout_is_reported() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        assert!(has(&look(&host), "blackhole-off"), "the kernel's default");
        set(&host, "ipv4/tcp_fastopen_blackhole_timeout_sec", "77");
        let found = look(&host);
        let text = finding(&found, "blackhole-on")["text"].as_str().unwrap();
        assert!(text.contains("77 s"), "{text}");
        assert_eq!(found["settings"]["blackhole_timeout_s"], 77);
    });
}

#[test]
fn fix_in_a_pod_uses_the_security_context() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set_bits(&host, 1);
        let mut command = doctor(&["-o", "json"]);
        command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
        let ended = run(&host, command);
        let document: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        let found = &document["doctor"];
        assert_eq!(found["place"], "Kubernetes pod");
        let steps = fix(finding(found, "server-bit-off"));
        for part in [
            "securityContext: {sysctls: [{name: net.ipv4.tcp_fastopen, value: \"3\"}]}",
            "kubelet --allowed-unsafe-sysctls=net.ipv4.tcp_fastopen",
            "with hostNetwork the network is the node's, and the pod's sysctls are refused: on the node, \
             `sudo sysctl -w net.ipv4.tcp_fastopen=3`",
        ] {
            assert!(steps.contains(part), "{part}: {steps}");
        }
    });
}

#[test]
fn read_only_proc_sys_is_reported_and_no_fix_writes_there() {
    isolated(|| {
        if !require("unshare") || !require("mount") {
            return;
        }
        let host = Host::new("host").unwrap();
        set_bits(&host, 1);
        // As container runtimes do.
        let script = "mount --bind /proc/sys /proc/sys && \
                      mount -o remount,bind,ro,nosuid,nodev,noexec /proc/sys && exec \"$0\" \"$@\"";
        let examined = doctor(&["-o", "json"]);
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]);
        command.arg(examined.get_program()).args(examined.get_args());
        let ended = run(&host, command);
        assert_eq!(ended.code, Some(1), "{} {}", ended.out, ended.err);
        let document: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        let found = &document["doctor"];
        assert_eq!(found["settings_read_only"], true, "{found}");
        let steps = fix(finding(found, "server-bit-off"));
        assert!(!steps.contains("in here"), "a write to /proc/sys here would fail: {steps}");
    });
}

/// Returns the program, to run without the settings of IPv4.
fn without_settings(arguments: &[&str]) -> Command {
    let examined = doctor(arguments);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o ro none /proc/sys/net/ipv4 && exec \"$0\" \"$@\"";
    command.args(["-m", "sh", "-c", script]);
    command.arg(examined.get_program()).args(examined.get_args());
    command
}

#[test]
fn kernel_without_the_setting_is_reported_with_consequences() {
    isolated(|| {
        if !require("unshare") || !require("mount") {
            return;
        }
        let host = Host::new("host").unwrap();
        for (bits, client, level) in [(3, "half is on", "note"), (2, "half is off", "problem")] {
            set_bits(&host, bits);
            let ended = run(&host, without_settings(&["-o", "json"]));
            assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""), "{}", ended.out);
            let document: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
            crate::schema::assert_valid(&document);
            let found = &document["doctor"];
            assert_eq!(found["settings"]["tcp_fastopen"], serde_json::Value::Null);
            let missing = finding(found, "client-setting-missing");
            assert_eq!(missing["level"], level, "{missing}");
            let text = missing["text"].as_str().unwrap();
            assert!(text.contains("has no net.ipv4.tcp_fastopen"), "{text}");
            assert!(text.contains(client), "by what the kernel allows: {text}");
            let missing = finding(found, "server-setting-missing");
            assert!(missing["text"].as_str().unwrap().contains("clients get regular connections"));
            assert!(!has(found, "unreadable"), "{found}");
            assert!(!ended.out.contains("os error"), "an errno is reported: {}", ended.out);
        }
        let text = run(&host, without_settings(&[])).out;
        assert!(text.contains(", no net.ipv4.tcp_fastopen"), "{text}");
    });
}

#[test]
fn any_bad_value_is_fixed_by_one_command() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        for bits in ["0", "1", "2", "4", "519", "-1", "1543", "4096"] {
            set(&host, "ipv4/tcp_fastopen", bits);
            let (found, status) = examine(&host, &[]);
            assert_eq!(status, Some(1), "{bits}: {found}");
            let list = found["findings"].as_array().unwrap();
            let problems = list.iter().filter(|finding| finding["level"] == "problem");
            let count = problems.clone().count();
            let fixes: BTreeSet<String> = problems.map(fix).collect();
            assert_eq!(fixes.len(), 1, "{bits}: {fixes:?}");
            let text = run(&host, doctor(&[])).out;
            assert_eq!(text.matches("the same fix as above").count(), count - 1, "{text}");
            apply(&host, fixes.first().unwrap());
            let (found, status) = examine(&host, &[]);
            assert_eq!(status, Some(0), "{bits}: {found}");
        }
    });
}

#[test]
fn documented_setting_of_clients_is_no_problem_of_theirs() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set_bits(&host, 5);
        let (found, status) = examine(&host, &["--only", "client"]);
        assert_eq!(status, Some(0), "{found}");
        let note = finding(&found, "client-data-without-cookies");
        assert_eq!(note["level"], "note");
        assert!(note["text"].as_str().unwrap().contains("documented"), "{note}");
    });
}

#[test]
fn listeners_from_before_bit_0x400_are_to_be_restarted() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        for address in ["127.0.0.1:8080", "[::1]:8080"] {
            set_bits(&host, 3);
            let early = host.run(move || TcpListener::bind(address)).unwrap();
            set_bits(&host, 0x403);
            let (found, status) = examine(&host, &[]);
            assert_eq!(status, Some(1), "no listener has fast open: {found}");
            let problem = finding(&found, "restart-listeners");
            assert_eq!(problem["level"], "problem");
            let text = problem["text"].as_str().unwrap();
            assert!(text.contains(&format!("{address} (")), "the listener: {text}");
            assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
            assert!(fix(problem).contains("restart the program"), "{problem}");
            let late = host.run(|| TcpListener::bind("127.0.0.1:8081")).unwrap();
            let (found, status) = examine(&host, &[]);
            assert_eq!(status, Some(0), "{found}");
            assert_eq!(finding(&found, "restart-listeners")["level"], "note");
            drop(early);
            assert!(!has(&look(&host), "restart-listeners"), "its program was restarted");
            drop(late);
        }
    });
}

#[test]
fn zeros_that_a_listener_used_are_the_key() {
    isolated(|| {
        let (client, server) = hosts();
        set(&server, "ipv4/tcp_fastopen_key", "00000000-00000000-00000000-00000000");
        assert!(has(&look(&server), "key-unset"), "zeros alone do not show a key");
        let listener = listen(&server);
        for _ in 0..2 {
            drop((connect(&client, server_address()), listener.accept().unwrap()));
        }
        drop(listener);
        assert!(has(&look(&server), "key-is-zeros"), "it served, so zeros were its key");
    });
}

#[test]
fn route_without_cookies_is_found_and_its_fix_works() {
    isolated(|| {
        if !require("ip") {
            return;
        }
        let host = Host::new("host").unwrap();
        apply(&host, "`ip route add 203.0.113.0/24 dev lo`");
        apply(&host, "`ip -6 route add 2001:db8:1::/64 dev lo`");
        assert!(!has(&look(&host), "route-without-cookie"), "these routes use cookies");
        for (route, v6) in [("203.0.113.0/24", ""), ("2001:db8:1::/64", "-6 ")] {
            apply(&host, &format!("`ip {v6}route replace {route} dev lo fastopen_no_cookie 1`"));
            let found = look(&host);
            let note = finding(&found, "route-without-cookie");
            assert_eq!((&note["level"], &note["half"]), (&"note".into(), &"both".into()));
            let text = note["text"].as_str().unwrap();
            assert!(text.contains(&format!("{route} dev lo")), "{text}");
            let listed = found["routes_without_cookie"][0].as_str().unwrap();
            assert!(listed.starts_with(route), "{listed}");
            apply(&host, &fix(note));
            assert!(
                !has(&look(&host), "route-without-cookie"),
                "the fix removed the finding: {note}"
            );
        }
    });
}

#[test]
fn ordinary_user_gets_all_findings_except_those_of_root() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set_bits(&host, 1);
        let _listener = listen(&host);
        let Some(command) = doctor_of_nobody(&["-o", "json"]) else { return };
        let ended = run(&host, command);
        assert_eq!(ended.code, Some(1), "{} {}", ended.out, ended.err);
        let document: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        crate::schema::assert_valid(&document);
        let found = &document["doctor"];
        assert!(has(found, "server-bit-off") && has(found, "client-on"), "{found}");
        assert!(has(found, "key-not-readable"), "only root may read the key: {found}");
        assert!(!has(found, "unreadable"), "all other settings are readable: {found}");
        assert_eq!(
            found["listeners"][0]["processes"],
            serde_json::json!([]),
            "processes of other users are hidden"
        );
        assert!(found["listeners"][0]["fast_open_queue"].as_u64().unwrap() > 0, "{found}");
        let text = run(&host, doctor_of_nobody(&[]).unwrap()).out;
        assert!(text.contains("not visible (uid 0)"), "{text}");
    });
}
