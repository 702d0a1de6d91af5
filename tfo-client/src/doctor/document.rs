//! The JSON document: `schema/doctor.json` describes it.

#![allow(clippy::doc_markdown, reason = "the comments are the descriptions of the schema")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::{Cause, End, Outcome};
use tfo_core::host::features::Support;
use tfo_core::host::readiness::{self, HitRates, Level, Role};
use tfo_core::host::{FastOpenFlags, NamespaceKey, Process};
use tfo_core::socket::{ClientFail, TcpState};

use super::open_connection::OpenConnection;
use super::snapshot::{Snapshot, rate};
use crate::{output, schema};

/// The output of `tfo-client doctor -o json`: one document, or with --watch one document per line.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "tfo-client doctor")]
pub(crate) struct DoctorDocument {
    /// The version of this format. Fields may be added within a version, but never change or disappear.
    #[schemars(extend("const" = 1))]
    schema: u32,
    doctor: Doctor,
}

/// The settings and the state of this network namespace. A part that can't be read is null; a finding gives the
/// reason.
#[derive(Serialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "a document says yes or no")]
struct Doctor {
    /// Whether no finding about the checked half is a problem; decides the exit status.
    ready: bool,
    /// Whether this host can use fast open as a client.
    client_ready: bool,
    /// Whether this host can use fast open as a server.
    server_ready: bool,
    judged: Role,
    /// The detected runtime environment: host, container (docker), Kubernetes pod, systemd unit NAME.
    #[schemars(length(min = 1))]
    place: String,
    /// Whether /proc/sys is read-only.
    settings_read_only: bool,
    settings: Settings,
    /// The kernel's features, as probed.
    features: Vec<Feature>,
    /// The findings.
    findings: Vec<Finding>,
    /// The counters of TcpExt since this network namespace was created, by the kernel's name.
    #[schemars(extend("minProperties" = 9))]
    counters: Option<BTreeMap<String, u64>>,
    /// The hit rates since this network namespace was created.
    hit_rates: Option<HitRates>,
    /// The change since the previous document; null in the first one, and without --watch.
    change: Option<Change>,
    /// The routes with fastopen_no_cookie, as `ip route` writes them.
    #[schemars(inner(length(min = 1)))]
    routes_without_cookie: Option<Vec<String>>,
    /// The entries of the cookie cache, those with a cookie first.
    cookies: Option<Vec<Cookie>>,
    /// The listening sockets of all processes, including those without fast open.
    listeners: Option<Vec<Listener>>,
    /// The open connections.
    connections: Vec<Connection>,
}

/// The settings of this network namespace.
#[derive(Serialize, JsonSchema)]
struct Settings {
    /// net.ipv4.tcp_fastopen; null: this kernel has no such setting.
    tcp_fastopen: Option<u32>,
    /// The names of its bits.
    tcp_fastopen_bits: Vec<&'static str>,
    key: Option<NamespaceKey>,
    /// net.core.somaxconn: the maximum length of a fast open queue.
    somaxconn: Option<u32>,
    /// net.ipv4.tcp_syncookies.
    syncookies: Option<u32>,
    /// net.ipv4.tcp_fastopen_blackhole_timeout_sec; 0: no detection.
    blackhole_timeout_s: Option<u64>,
}

/// A feature of the kernel.
#[derive(Serialize, JsonSchema)]
struct Feature {
    /// The kernel's name.
    #[schemars(length(min = 1))]
    name: &'static str,
    /// The result of probing it; switched-off: supported, but disabled by tcp_fastopen; unknown: only a connection
    /// can show it.
    #[schemars(extend("enum" = ["yes", "switched-off", "no", "refused", "unknown"]))]
    support: &'static str,
}

/// A finding about this host.
#[derive(Serialize, JsonSchema)]
struct Finding {
    /// The code of the finding.
    #[schemars(extend("enum" = readiness::Finding::CODES))]
    code: &'static str,
    level: Level,
    half: Role,
    /// The observation, and its meaning.
    #[schemars(length(min = 1))]
    text: String,
    /// How to fix it in this runtime environment; commands are in backticks.
    #[schemars(inner(length(min = 1)))]
    fix: Vec<String>,
}

/// The change since the previous document.
#[derive(Serialize, JsonSchema)]
struct Change {
    /// The time since the previous document.
    #[schemars(range(min = 0))]
    seconds: f64,
    /// The rates of the counters.
    #[schemars(extend("minProperties" = 9))]
    per_second: BTreeMap<String, Rate>,
    hit_rates: HitRates,
}

/// A rate per second.
#[derive(Serialize, JsonSchema)]
struct Rate(#[schemars(range(min = 0))] f64);

/// The cache entry for a pair of addresses.
#[derive(Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the document's names")]
struct Cookie {
    /// The peer.
    destination: IpAddr,
    /// This host's address.
    source: Option<IpAddr>,
    /// The cookie, hexadecimal.
    #[schemars(extend("pattern" = schema::COOKIE))]
    cookie: Option<String>,
    /// The MSS received with the cookie, in bytes.
    mss: Option<u16>,
    /// Time since the entry was last used.
    age_ms: Option<u64>,
    /// Number of consecutive SYNs with data that were lost.
    syn_drops: u16,
    /// Time since the last loss.
    syn_drop_age_ms: Option<u64>,
}

/// A listening socket.
#[derive(Serialize, JsonSchema)]
struct Listener {
    /// The address and port that it listens on.
    #[schemars(length(min = 3))]
    address: String,
    /// The effective length of the fast open queue; 0: no fast open.
    fast_open_queue: u32,
    /// The user that created the socket.
    uid: u32,
    /// The processes that hold the socket, if visible.
    processes: Vec<Process>,
}

/// An open connection, of any process.
#[derive(Serialize, JsonSchema)]
struct Connection {
    /// The local address.
    #[schemars(length(min = 3))]
    local: String,
    /// The remote address.
    #[schemars(length(min = 3))]
    remote: String,
    /// Whether this host connected or accepted.
    end: End,
    /// The TCP state.
    state: TcpState,
    /// The verdict; null if the bits are inconclusive.
    verdict: Option<Outcome>,
    /// The cause, if the bits show it.
    cause: Option<Cause>,
    /// The meaning of the bits, in a few words.
    #[schemars(length(min = 1))]
    says: &'static str,
    /// TCPI_OPT_SYN_DATA: the SYN's data was accepted.
    syn_data: bool,
    /// TCPI_OPT_TFO_CHILD: created by a valid fast open SYN.
    tfo_child: bool,
    /// tcpi_fastopen_client_fail.
    client_fail: ClientFail,
    /// The user that created the socket.
    uid: u32,
    /// The processes that hold the socket, if visible.
    processes: Vec<Process>,
}

/// Returns the document. With `watch` it is one line, so that a program can read the documents as they arrive.
pub(super) fn document(snapshot: &Snapshot, half: Role, watch: bool) -> String {
    let document = DoctorDocument { schema: 1, doctor: doctor(snapshot, half) };
    if watch { output::json_line(&document) } else { output::json(&document) }
}

fn doctor(snapshot: &Snapshot, half: Role) -> Doctor {
    let facts = &snapshot.facts;
    Doctor {
        ready: facts.is_ready(half),
        client_ready: facts.is_ready(Role::Client),
        server_ready: facts.is_ready(Role::Server),
        judged: half,
        place: snapshot.environment.place.to_string(),
        settings_read_only: snapshot.environment.read_only,
        settings: Settings {
            tcp_fastopen: facts.tcp_fastopen.map(FastOpenFlags::bits),
            tcp_fastopen_bits: facts
                .tcp_fastopen
                .into_iter()
                .flat_map(FastOpenFlags::names)
                .collect(),
            key: facts.key,
            somaxconn: facts.somaxconn,
            syncookies: facts.syncookies,
            blackhole_timeout_s: facts.blackhole_timeout.map(|time| time.as_secs()),
        },
        features: features(snapshot),
        findings: snapshot
            .findings(half)
            .iter()
            .map(|finding| Finding {
                code: finding.code(),
                level: finding.level(),
                half: finding.role(),
                text: finding.what(),
                fix: finding.fix(&snapshot.environment),
            })
            .collect(),
        counters: facts.counters.map(|counters| {
            counters.iter().map(|(name, count)| (name.to_owned(), count)).collect()
        }),
        hit_rates: facts.counters.map(|counters| HitRates::of(&counters.total())),
        change: snapshot.change.map(|(change, time)| Change {
            seconds: time.as_secs_f64(),
            per_second: change
                .iter()
                .map(|(name, count)| (name.to_owned(), Rate(rate(count, time))))
                .collect(),
            hit_rates: HitRates::of(&change),
        }),
        routes_without_cookie: facts
            .routes
            .as_ref()
            .map(|routes| routes.iter().map(ToString::to_string).collect()),
        cookies: facts.cookies.as_ref().map(|entries| {
            entries
                .iter()
                .map(|entry| Cookie {
                    destination: entry.destination,
                    source: entry.source,
                    cookie: entry.cookie.as_ref().map(ToString::to_string),
                    mss: entry.mss,
                    age_ms: entry.age.map(millis),
                    syn_drops: entry.syn_drops,
                    syn_drop_age_ms: entry.syn_drop_age.map(millis),
                })
                .collect()
        }),
        listeners: facts.listeners.as_ref().map(|listeners| {
            listeners
                .iter()
                .map(|listener| Listener {
                    address: listener.address.to_string(),
                    fast_open_queue: listener.fast_open_queue,
                    uid: listener.uid,
                    processes: snapshot.facts.owners.of_inode(listener.inode).to_vec(),
                })
                .collect()
        }),
        connections: snapshot.open.iter().filter_map(|open| connection(snapshot, open)).collect(),
    }
}

fn features(snapshot: &Snapshot) -> Vec<Feature> {
    let probed = snapshot.facts.features.iter().map(|(feature, support)| Feature {
        name: feature.name(),
        support: match support {
            Support::Yes => "yes",
            Support::SwitchedOff => "switched-off",
            Support::No => "no",
            _ => "refused",
        },
    });
    let support = if snapshot.child_seen() { "yes" } else { "unknown" };
    probed.chain([Feature { name: "TCPI_OPT_TFO_CHILD", support }]).collect()
}

fn connection(snapshot: &Snapshot, open: &OpenConnection) -> Option<Connection> {
    let OpenConnection { connection, end, outcome, cause, description } = open;
    let info = connection.info.as_ref()?;
    Some(Connection {
        local: connection.local.to_string(),
        remote: connection.remote.to_string(),
        end: *end,
        state: connection.state,
        verdict: *outcome,
        cause: *cause,
        says: description,
        syn_data: info.syn_data,
        tfo_child: info.tfo_child,
        client_fail: info.client_fail,
        uid: connection.uid,
        processes: snapshot.facts.owners.of_inode(connection.inode).to_vec(),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
