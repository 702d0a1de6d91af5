//! The JSON document: `schema-doctor.json` describes it.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use tfo_core::connection::{ClientFail, TcpState};
use tfo_core::diagnosis::{Cause, End, Outcome};
use tfo_core::host::features::Support;
use tfo_core::host::readiness::{Half, HitRates, Level};
use tfo_core::host::{NamespaceKey, Process};

use super::snapshot::{OpenConnection, Snapshot, rate};
use crate::output;

#[derive(Serialize)]
struct DoctorDocument {
    schema: u32,
    doctor: Doctor,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "a document says yes or no")]
struct Doctor {
    ready: bool,
    client_ready: bool,
    server_ready: bool,
    judged: Half,
    place: String,
    settings_read_only: bool,
    settings: Settings,
    features: Vec<Feature>,
    findings: Vec<Finding>,
    counters: Option<serde_json::Map<String, serde_json::Value>>,
    hit_rates: Option<HitRates>,
    change: Option<Change>,
    routes_without_cookie: Option<Vec<String>>,
    cookies: Option<Vec<Cookie>>,
    listeners: Option<Vec<Listener>>,
    connections: Vec<Connection>,
}

#[derive(Serialize)]
struct Settings {
    tcp_fastopen: u32,
    tcp_fastopen_bits: Vec<&'static str>,
    key: Option<NamespaceKey>,
    somaxconn: u32,
    syncookies: u32,
    blackhole_timeout_s: Option<u64>,
}

#[derive(Serialize)]
struct Feature {
    name: &'static str,
    support: &'static str,
}

#[derive(Serialize)]
struct Finding {
    code: &'static str,
    level: Level,
    half: Half,
    text: String,
    fix: Vec<String>,
}

#[derive(Serialize)]
struct Change {
    seconds: f64,
    per_second: serde_json::Map<String, serde_json::Value>,
    hit_rates: HitRates,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the document's names")]
struct Cookie {
    destination: IpAddr,
    source: Option<IpAddr>,
    cookie: Option<String>,
    mss: Option<u16>,
    age_ms: Option<u64>,
    syn_drops: u16,
    syn_drop_age_ms: Option<u64>,
}

#[derive(Serialize)]
struct Listener {
    address: String,
    fast_open_queue: u32,
    uid: u32,
    processes: Vec<Process>,
}

#[derive(Serialize)]
struct Connection {
    local: String,
    remote: String,
    end: End,
    state: TcpState,
    verdict: Option<Outcome>,
    cause: Option<Cause>,
    says: &'static str,
    syn_data: bool,
    tfo_child: bool,
    client_fail: ClientFail,
    uid: u32,
    processes: Vec<Process>,
}

/// One line a document while watching, so that a program can read them as they come.
pub(super) fn document(snapshot: &Snapshot, half: Half, watch: bool) -> String {
    let document = DoctorDocument { schema: 1, doctor: doctor(snapshot, half) };
    if watch { output::json_line(&document) } else { output::json(&document) }
}

fn doctor(snapshot: &Snapshot, half: Half) -> Doctor {
    let facts = &snapshot.facts;
    Doctor {
        ready: facts.is_ready(half),
        client_ready: facts.is_ready(Half::Client),
        server_ready: facts.is_ready(Half::Server),
        judged: half,
        place: snapshot.surroundings.place.to_string(),
        settings_read_only: snapshot.surroundings.read_only,
        settings: Settings {
            tcp_fastopen: facts.tcp_fastopen.bits(),
            tcp_fastopen_bits: facts.tcp_fastopen.names().collect(),
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
                half: finding.half(),
                text: finding.what(),
                fix: finding.fix(&snapshot.surroundings),
            })
            .collect(),
        counters: facts.counters.map(|counters| {
            counters.iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
        }),
        hit_rates: facts.counters.map(|counters| HitRates::of(&counters.total())),
        change: snapshot.change.map(|(change, time)| Change {
            seconds: time.as_secs_f64(),
            per_second: change
                .iter()
                .map(|(name, count)| (name.to_owned(), rate(count, time).into()))
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
                    processes: snapshot.owners.of_inode(listener.inode).to_vec(),
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
    let OpenConnection { connection, end, verdict } = open;
    let info = connection.info.as_ref()?;
    Some(Connection {
        local: connection.local.to_string(),
        remote: connection.remote.to_string(),
        end: *end,
        state: connection.state,
        verdict: verdict.outcome,
        cause: verdict.cause,
        says: verdict.says,
        syn_data: info.syn_data,
        tfo_child: info.tfo_child,
        client_fail: info.client_fail,
        uid: connection.uid,
        processes: snapshot.owners.of_inode(connection.inode).to_vec(),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
