//! The text format of Prometheus, as the textfile collector of `node_exporter` reads it.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use tfo_core::diagnosis::End;
use tfo_core::host::readiness::{HitRates, Role};
use tfo_core::host::{NamespaceKey, sysctl};

use super::snapshot::{Snapshot, includes};

/// Returns the metrics of a host, without timestamps: the collector adds its own.
pub(super) fn exposition(snapshot: &Snapshot, half: Role) -> String {
    let mut text = Exposition::default();
    readiness(&mut text, snapshot, half);
    settings(&mut text, snapshot);
    counters(&mut text, snapshot, half);
    if includes(half, Role::Client) {
        cookies(&mut text, snapshot);
    }
    if includes(half, Role::Server) {
        listeners(&mut text, snapshot);
    }
    connections(&mut text, snapshot);
    text.0
}

fn readiness(text: &mut Exposition, snapshot: &Snapshot, half: Role) {
    text.family("ready", "gauge", "1 if no finding keeps fast open from working, else 0.");
    for (name, part) in [("client", Role::Client), ("server", Role::Server)] {
        if includes(half, part) {
            text.sample("ready", &[("half", name)], u8::from(snapshot.facts.is_ready(part)));
        }
    }
    let mut found: BTreeMap<_, u32> = BTreeMap::new();
    for finding in snapshot.findings(half) {
        let half = match finding.role() {
            Role::Client => "client",
            Role::Server => "server",
            _ => "both",
        };
        *found.entry((finding.code(), finding.level().to_string(), half)).or_default() += 1;
    }
    text.family("findings", "gauge", "Findings of `tfo-client doctor`, by code.");
    for ((code, level, half), count) in found {
        text.sample("findings", &[("code", code), ("level", &level), ("half", half)], count);
    }
}

fn settings(text: &mut Exposition, snapshot: &Snapshot) {
    let facts = &snapshot.facts;
    let timeout = facts.blackhole_timeout.map(|time| time.as_secs());
    text.family("setting", "gauge", "Settings of this network namespace.");
    for (name, value) in [
        ("net.ipv4.tcp_fastopen", facts.tcp_fastopen.map(|flags| u64::from(flags.bits()))),
        ("net.core.somaxconn", facts.somaxconn.map(u64::from)),
        ("net.ipv4.tcp_syncookies", facts.syncookies.map(u64::from)),
        ("net.ipv4.tcp_fastopen_blackhole_timeout_sec", timeout),
    ] {
        if let Some(value) = value {
            text.sample("setting", &[("name", name)], value);
        }
    }
    if !matches!(facts.key, Some(NamespaceKey::Set | NamespaceKey::SetWithBackup)) {
        return;
    }
    // Only root reads the key.
    if let Ok(Some((primary, backup))) = sysctl::tcp_fastopen_key() {
        let primary = primary.fingerprint().to_string();
        let backup = backup.map(|key| key.fingerprint().to_string()).unwrap_or_default();
        text.family("key_info", "gauge", "1, with the fingerprints of this namespace's keys.");
        text.sample("key_info", &[("primary", &primary), ("backup", &backup)], 1);
    }
}

fn counters(text: &mut Exposition, snapshot: &Snapshot, half: Role) {
    let Some(counters) = snapshot.facts.counters else { return };
    text.family("netstat_total", "counter", "TcpExt counters of /proc/net/netstat.");
    for (name, count) in counters.iter() {
        text.sample("netstat_total", &[("counter", name)], count);
    }
    let rates = HitRates::of(&counters.total());
    text.family("hit_ratio", "gauge", "Share of the SYNs that could save a round trip and did.");
    for (name, part, rate) in
        [("client", Role::Client, rates.outgoing), ("server", Role::Server, rates.incoming)]
    {
        if let Some(rate) = rate
            && includes(half, part)
        {
            text.sample("hit_ratio", &[("half", name)], rate);
        }
    }
}

fn cookies(text: &mut Exposition, snapshot: &Snapshot) {
    let Some(entries) = &snapshot.facts.cookies else { return };
    let cached = entries.iter().filter(|entry| entry.cookie.is_some()).count();
    text.family("cached_cookies", "gauge", "Destinations whose cookie is cached.");
    text.sample("cached_cookies", &[], cached);
    let lossy = entries.iter().filter(|entry| entry.syn_drops > 0).count();
    text.family("lossy_destinations", "gauge", "Destinations that lost SYNs with data.");
    text.sample("lossy_destinations", &[], lossy);
}

/// Sockets that share an address and a process, as the workers of `tfo-server` do, are one listener.
fn listeners(text: &mut Exposition, snapshot: &Snapshot) {
    #[derive(Default)]
    struct Sums {
        sockets: u64,
        fast_open: u64,
        accept: u64,
    }
    let Some(listeners) = &snapshot.facts.listeners else { return };
    let mut sums: BTreeMap<_, Sums> = BTreeMap::new();
    for listener in listeners {
        let owner = snapshot.facts.owners.of_inode(listener.inode).first();
        let owner = owner.map(|process| process.name.clone()).unwrap_or_default();
        let key = (listener.address.to_string(), owner, listener.uid.to_string());
        let sum = sums.entry(key).or_default();
        sum.sockets += 1;
        sum.fast_open += u64::from(listener.fast_open_queue);
        sum.accept += u64::from(listener.accept_queue);
    }
    let mut family = |name, help, value: fn(&Sums) -> u64| {
        text.family(name, "gauge", help);
        for ((address, process, uid), sum) in &sums {
            let labels = [("address", &**address), ("process", process), ("uid", uid)];
            text.sample(name, &labels, value(sum));
        }
    };
    family("listener_sockets", "Listening sockets.", |sum| sum.sockets);
    family(
        "listener_fast_open_queue",
        "Upper limit of unfinished fast open handshakes; 0: fast open is off.",
        |sum| sum.fast_open,
    );
    family("listener_accept_queue", "Connections that wait to be accepted.", |sum| sum.accept);
}

fn connections(text: &mut Exposition, snapshot: &Snapshot) {
    if snapshot.facts.connections.is_none() {
        return;
    }
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    for open in &snapshot.open {
        let verdict = open.outcome.map_or_else(|| "unknown".to_owned(), |o| o.to_string());
        let end = match open.end {
            End::Client => "client",
            _ => "server",
        };
        *counts.entry((end, verdict)).or_default() += 1;
    }
    text.family("open_connections", "gauge", "Open TCP connections, by end and verdict.");
    for ((end, verdict), count) in counts {
        text.sample("open_connections", &[("end", end), ("verdict", &verdict)], count);
    }
}

/// Families of samples, all of them named `tfo_host_…`.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP tfo_host_{name} {help}\n# TYPE tfo_host_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = labels.join(",");
        let _ = if labels.is_empty() {
            writeln!(self.0, "tfo_host_{name} {value}")
        } else {
            writeln!(self.0, "tfo_host_{name}{{{labels}}} {value}")
        };
    }
}

/// The value of a label. A process chooses its own name.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        let mut text = Exposition::default();
        text.sample("x", &[("process", "a\"} 1\n\\")], 2);
        assert_eq!(text.0, "tfo_host_x{process=\"a\\\"} 1\\n\\\\\"} 2\n");
    }
}
