//! Listeners and open connections of all processes.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use tfo_core::lab::{Host, Middlebox, Network, PathSettings, isolated};

use crate::harness::{PORT, connect, finding, has, hosts, listen, look, server_address, set_bits};

/// Returns the connection with this local or remote port.
fn connection(found: &Value, port: u16) -> &Value {
    let list = found["connections"].as_array().unwrap();
    let has_port = |value: &Value| value.as_str().unwrap().ends_with(&format!(":{port}"));
    let matches = |line: &&Value| has_port(&line["local"]) || has_port(&line["remote"]);
    list.iter().find(matches).unwrap_or_else(|| panic!("no port {port} in {list:#?}"))
}

#[test]
fn each_listener_is_listed_with_queue_and_process() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        assert!(has(&look(&host), "no-listener"), "no socket listens");
        let _plain = host.run(|| TcpListener::bind("127.0.0.1:80")).unwrap();
        let found = look(&host);
        let text = finding(&found, "no-listener")["text"].as_str().unwrap();
        assert!(text.contains("1 listener has no fast open"), "{text}");
        let listener = listen(&host);
        let found = look(&host);
        assert!(has(&found, "listeners"), "{found}");
        let lines = found["listeners"].as_array().unwrap();
        assert_eq!(lines.len(), 2, "{found}");
        let queue = |address: &str| {
            let line = lines.iter().find(|line| line["address"] == address).unwrap();
            let pids: Vec<_> = line["processes"].as_array().unwrap().iter().collect();
            assert!(
                pids.iter().any(|process| process["pid"] == std::process::id()),
                "this process holds the socket: {line}"
            );
            line["fast_open_queue"].as_u64().unwrap()
        };
        assert_eq!(queue("127.0.0.1:80"), 0, "without fast open");
        let effective = listener.effective_queue().unwrap();
        assert_eq!(queue("[::]:2222"), u64::from(effective), "the effective queue");
    });
}

#[test]
fn open_connections_have_verdicts_at_both_ends() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let first = connect(&client, server_address());
        let first_accepted = listener.accept().unwrap();
        let second = connect(&client, server_address());
        let second_accepted = listener.accept().unwrap();

        let (here, there) = (look(&client), look(&server));
        let port = first.local_addr().unwrap().port();
        let line = connection(&here, port);
        assert_eq!((&line["end"], &line["verdict"]), (&"client".into(), &"cookie-granted".into()));
        assert_eq!(line["client_fail"], "cookie-unavailable", "not shown by ss: {line}");
        let line = connection(&there, port);
        assert_eq!((&line["end"], &line["verdict"]), (&"server".into(), &Value::Null), "{line}");

        let port = second.local_addr().unwrap().port();
        let line = connection(&here, port);
        assert_eq!((&line["end"], &line["verdict"]), (&"client".into(), &"fast-open".into()));
        assert_eq!((&line["syn_data"], &line["tfo_child"]), (&true.into(), &false.into()));
        let pids = line["processes"].as_array().unwrap();
        assert!(pids.iter().any(|process| process["pid"] == std::process::id()), "{line}");
        let line = connection(&there, port);
        assert_eq!((&line["end"], &line["verdict"]), (&"server".into(), &"fast-open".into()));
        assert_eq!(line["local"], format!("192.0.2.2:{PORT}"), "an IPv4 address on an IPv6 socket");
        if second_accepted.arrival.tcp.tfo_child {
            assert_eq!(line["tfo_child"], true, "not shown by ss: {line}");
            let child = json!({"name": "TCPI_OPT_TFO_CHILD", "support": "yes"});
            assert!(there["features"].as_array().unwrap().contains(&child), "{there}");
        }
        drop(first_accepted);
    });
}

#[test]
fn open_connection_without_cookie_or_data_is_a_fallback() {
    isolated(|| {
        let (client, server) = hosts();
        set_bits(&server, 1);
        let listener = listen(&server);
        let refused = connect(&client, server_address());
        let _refused = listener.accept().unwrap();
        let found = look(&client);
        let line = connection(&found, refused.local_addr().unwrap().port());
        assert_eq!(
            (&line["verdict"], &line["cause"]),
            (&"fallback".into(), &"no-cookie-returned".into())
        );

        set_bits(&server, 3);
        let granted = connect(&client, server_address());
        let _granted = listener.accept().unwrap();
        drop(granted);
        set_bits(&server, 1);
        let late = connect(&client, server_address());
        let _late = listener.accept().unwrap();
        let found = look(&client);
        let line = connection(&found, late.local_addr().unwrap().port());
        assert_eq!(
            (&line["verdict"], &line["cause"]),
            (&"fallback".into(), &"data-not-acked".into())
        );
        assert_eq!(line["client_fail"], "data-not-acked", "not shown by ss: {line}");
        assert!(has(&found, "data-not-taken"), "the counters agree: {found}");
    });
}

#[test]
fn lost_syn_data_shows_in_the_cache_and_at_the_connection() {
    isolated(|| {
        let path = PathSettings::new()
            .round_trip(Duration::from_millis(2))
            .boxes(&[Middlebox::DropSynData]);
        let network = Network::new(path).unwrap();
        let listener = listen(network.server());
        let asked = connect(network.client(), server_address());
        let _asked = listener.accept().unwrap();
        drop(asked);
        let found = look(network.client());
        assert!(has(&found, "cookies-cached") && !has(&found, "syn-drops"), "{found}");
        let cookie = found["cookies"][0]["cookie"].as_str().unwrap();
        assert_eq!((cookie.len(), &found["cookies"][0]["destination"]), (16, &"192.0.2.2".into()));

        let late = connect(network.client(), server_address());
        let _late = listener.accept().unwrap();
        let found = look(network.client());
        let note = finding(&found, "syn-drops");
        assert_eq!(note["level"], "note");
        let text = note["text"].as_str().unwrap();
        assert!(text.starts_with("1 SYN with data was lost on the way to 192.0.2.2"), "{text}");
        assert_eq!(found["cookies"][0]["syn_drops"], 1, "{found}");
        let line = connection(&found, late.local_addr().unwrap().port());
        assert_eq!(
            (&line["verdict"], &line["cause"]),
            (&"fallback".into(), &"syn-retransmitted".into())
        );
    });
}
