//! Scenario files: what happens on which path, and what is expected.
//!
//! A file describes the path and the hosts, then for each connection what changes before it and what is expected. A
//! verdict is one line: outcome, cause, `@` and blame, and after a colon the candidates. Evidence and counters are
//! given as far as they matter. Differences for IPv6, or for one way of connecting, are in a table of that name.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tfo_core::diagnosis::{Blame, Cause, Outcome, Verdict};
use tfo_core::lab::Middlebox;
use tfo_core::socket::Method;
use toml::{Table, Value};

use crate::service::Service;

#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) boxes: Vec<Middlebox>,
    pub(crate) servers: usize,
    pub(crate) service: Service,
    pub(crate) message: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) reply_timeout: Duration,
    pub(crate) methods: Vec<Method>,
    pub(crate) setup: Changes,
    connections: Vec<Table>,
}

/// The changes before a connection.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) client_bits: Option<u32>,
    pub(crate) server_bits: Option<u32>,
    pub(crate) syncookies: Option<u32>,
    pub(crate) blackhole_timeout: Option<u32>,
    pub(crate) queue: Option<u32>,
    pub(crate) key: Option<String>,
    pub(crate) backup: Option<String>,
    pub(crate) fill_queue: bool,
    /// The boxes of the path from now on.
    pub(crate) boxes: Option<Vec<Middlebox>>,
}

/// One connection, and what is expected of it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) before: Changes,
    /// The verdicts: of the client alone, of both halves, of the server alone when it answered, and of the server
    /// when the client has given up.
    pub(crate) verdicts: Vec<(&'static str, Vec<Expected>)>,
    /// The state of the cached cookie afterwards.
    pub(crate) cookie: Option<String>,
    pub(crate) client: Value,
    pub(crate) server: Value,
    pub(crate) packets: Vec<String>,
    /// How many connections the server accepted.
    pub(crate) accepted: Option<usize>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Expected {
    outcome: Outcome,
    cause: Option<Cause>,
    blame: Option<Blame>,
    candidates: Vec<Cause>,
}

/// The expectation for a regular connection with any box: no box affects it.
const REGULAR: &str = "
client = 'not-attempted disabled-by-config'
both = 'not-attempted disabled-by-config'
server = 'not-attempted: disabled-by-config client-disabled paused-by-blackhole option-stripped syn-retransmitted'
client-evidence = { attempt = 'regular', result = 'answered', tcp = { syn_data = false, client_fail = 'unspecified', total_retrans = 0 } }
server-evidence = { tcp = { syn_data = false, tfo_child = false }, syn = { saved = { payload_bytes = 0 } } }
cookie = 'none'
packets = ['> SYN', '< SYN-ACK']
accepted = 1
";

const VIEWS: [&str; 4] = ["client", "both", "server", "server-later"];

pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "lab", "scenarios"].iter().collect()
}

/// Returns all scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(read).collect()
}

fn read(path: &PathBuf) -> Scenario {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut table: Table = text.parse().unwrap_or_else(|why| panic!("{name}: {why}"));
    let millis = |table: &mut Table, key: &str, default| {
        Duration::from_millis(take::<u64>(table, key).unwrap_or(default))
    };
    let boxes: Vec<String> = take(&mut table, "boxes").unwrap_or_default();
    let methods: Option<Vec<String>> = take(&mut table, "methods");
    let scenario = Scenario {
        boxes: boxes_of(&boxes),
        servers: take(&mut table, "servers").unwrap_or(1),
        service: match take::<String>(&mut table, "service").as_deref() {
            None => Service::Mirror,
            Some("silent") => Service::Silent,
            Some("closed") => Service::Closed,
            Some(other) => panic!("{name}: unknown service {other}"),
        },
        message: take(&mut table, "message").unwrap_or(64),
        connect_timeout: millis(&mut table, "connect-timeout-ms", 4000),
        reply_timeout: millis(&mut table, "reply-timeout-ms", 4000),
        methods: methods.map_or_else(
            || vec![Method::SendTo, Method::Connect, Method::Off],
            |names| names.iter().map(|name| method_of(name)).collect(),
        ),
        setup: changes(take(&mut table, "setup").unwrap_or_default()),
        connections: take(&mut table, "connection").unwrap_or_default(),
        name,
    };
    assert!(table.is_empty(), "{}: unknown keys {table}", scenario.name);
    assert!(!scenario.connections.is_empty(), "{}: nothing plays", scenario.name);
    scenario
}

impl Scenario {
    /// Returns the connections, with the differences for this family and this way of connecting.
    pub(crate) fn connections(&self, v6: bool, method: Method) -> Vec<Connection> {
        let way = name_of(method);
        self.connections
            .iter()
            .map(|table| {
                let mut table = table.clone();
                let mut own = Vec::new();
                for key in ["v6", "sendto", "connect", "off"] {
                    if let Some(table) = take::<Table>(&mut table, key)
                        && (key == way || (key == "v6" && v6 && method != Method::Off))
                    {
                        own.push(table);
                    }
                }
                if method == Method::Off {
                    let before = table.remove("before");
                    table = REGULAR.parse().unwrap();
                    table.extend(before.map(|before| ("before".to_owned(), before)));
                }
                for own in own {
                    merge(&mut table, own);
                }
                connection(&self.name, table)
            })
            .collect()
    }
}

fn connection(name: &str, mut table: Table) -> Connection {
    let mut verdicts = Vec::new();
    for view in VIEWS {
        if let Some(text) = take::<String>(&mut table, view)
            && !text.is_empty()
        {
            verdicts.push((view, text.split('|').map(expected).collect()));
        }
    }
    let empty = || Value::Table(Table::new());
    let it = Connection {
        before: changes(take(&mut table, "before").unwrap_or_default()),
        verdicts,
        cookie: take(&mut table, "cookie"),
        client: table.remove("client-evidence").unwrap_or_else(empty),
        server: table.remove("server-evidence").unwrap_or_else(empty),
        packets: take(&mut table, "packets").unwrap_or_default(),
        accepted: take(&mut table, "accepted"),
    };
    assert!(table.is_empty(), "{name}: unknown keys {table}");
    it
}

fn changes(mut table: Table) -> Changes {
    let it = Changes {
        client_bits: take(&mut table, "client-bits"),
        server_bits: take(&mut table, "server-bits"),
        syncookies: take(&mut table, "syncookies"),
        blackhole_timeout: take(&mut table, "blackhole-timeout"),
        queue: take(&mut table, "queue"),
        key: take(&mut table, "key"),
        backup: take(&mut table, "backup"),
        fill_queue: take(&mut table, "fill-queue").unwrap_or(false),
        boxes: take::<Vec<String>>(&mut table, "boxes").map(|names| boxes_of(&names)),
    };
    assert!(table.is_empty(), "unknown changes {table}");
    it
}

fn boxes_of(names: &[String]) -> Vec<Middlebox> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn expected(text: &str) -> Expected {
    let (head, candidates) = text.split_once(':').unwrap_or((text, ""));
    let mut words = head.split_whitespace();
    let mut it = Expected {
        outcome: word(words.next().unwrap_or_default()),
        cause: None,
        blame: None,
        candidates: candidates.split_whitespace().map(word).collect(),
    };
    for text in words {
        match text.strip_prefix('@') {
            Some(blame) => it.blame = Some(word(blame)),
            None => it.cause = Some(word(text)),
        }
    }
    it
}

impl Expected {
    /// Returns whether a verdict matches. Blame is ignored if it is not named.
    pub(crate) fn is(&self, verdict: &Verdict) -> bool {
        self.outcome == verdict.outcome
            && self.cause == verdict.cause
            && self.candidates == verdict.candidates
            && self.blame.is_none_or(|blame| Some(blame) == verdict.blame)
    }
}

/// Returns a verdict as in a scenario file.
pub(crate) fn as_text(verdict: &Verdict) -> String {
    let mut text = verdict.outcome.to_string();
    if let Some(cause) = verdict.cause {
        text += &format!(" {cause}");
    }
    if let Some(blame) = verdict.blame {
        text += &format!(" @{blame}");
    }
    if !verdict.candidates.is_empty() {
        text += ":";
    }
    for candidate in &verdict.candidates {
        text += &format!(" {candidate}");
    }
    text
}

fn word<T: serde::de::DeserializeOwned>(text: &str) -> T {
    Value::String(text.to_owned()).try_into().unwrap_or_else(|why| panic!("{text:?}: {why}"))
}

pub(crate) fn name_of(method: Method) -> &'static str {
    match method {
        Method::SendTo => "sendto",
        Method::Connect => "connect",
        _ => "off",
    }
}

fn method_of(name: &str) -> Method {
    match name {
        "sendto" => Method::SendTo,
        "connect" => Method::Connect,
        "off" => Method::Off,
        other => panic!("unknown method {other}"),
    }
}

fn merge(into: &mut Table, changes: Table) {
    for (key, change) in changes {
        match (into.get_mut(&key), change) {
            (Some(Value::Table(old)), Value::Table(change)) => merge(old, change),
            (_, change) => drop(into.insert(key, change)),
        }
    }
}

fn take<T: serde::de::DeserializeOwned>(table: &mut Table, key: &str) -> Option<T> {
    let value = table.remove(key)?;
    Some(value.try_into().unwrap_or_else(|why| panic!("{key}: {why}")))
}

/// Returns the parts of `expected` that are not in `found`. A table is compared as far as it is given.
pub(crate) fn differences(path: &str, expected: &Value, found: Option<&Value>) -> Vec<String> {
    match (expected, found) {
        (Value::Table(expected), Some(Value::Table(found))) => expected
            .iter()
            .flat_map(|(key, value)| differences(&format!("{path}.{key}"), value, found.get(key)))
            .collect(),
        (expected, Some(found)) if expected == found => Vec::new(),
        (expected, found) => vec![format!(
            "{path} is {}, expected {expected}",
            found.map_or_else(|| "not there".to_owned(), ToString::to_string)
        )],
    }
}
