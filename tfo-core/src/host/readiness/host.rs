//! The readiness of the host as a whole, as client and server.

use std::time::Duration;

use super::{Finding, Level, Part, Role};
use crate::Result;
use crate::host::features::{self, Feature, Support};
use crate::host::sockets::{self, Connection};
use crate::host::sysctl::{self, FastOpenFlags, NamespaceKey};
use crate::host::{CounterChange, Counters, Listener, Route, cookie_cache, routes};

/// What this host (this network namespace) shows about fast open. A part that cannot be read is `None`, and
/// [`unread`](Self::unread) has the reason.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostFacts {
    /// `net.ipv4.tcp_fastopen`.
    pub tcp_fastopen: FastOpenFlags,
    /// `net.core.somaxconn`.
    pub somaxconn: u32,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: u32,
    /// Whether `net.ipv4.tcp_fastopen_key` holds a key.
    pub key: Option<NamespaceKey>,
    /// `net.ipv4.tcp_fastopen_blackhole_timeout_sec`.
    pub blackhole_timeout: Option<Duration>,
    /// The features of the kernel.
    pub features: Vec<(Feature, Support)>,
    /// The routes without cookies.
    pub routes: Option<Vec<Route>>,
    /// The cache entries of peers that have a cookie, or that lost SYNs with data.
    pub cookies: Option<Vec<cookie_cache::Entry>>,
    /// The counters since the namespace was created.
    pub counters: Option<Counters>,
    /// The listening sockets.
    pub listeners: Option<Vec<Listener>>,
    /// The open connections of all processes.
    pub connections: Option<Vec<Connection>>,
    /// The parts that could not be read, with the reason.
    pub unread: Vec<(Part, String)>,
}

impl HostFacts {
    /// Reads the facts of the calling thread's network namespace. Needs no privilege, sends nothing, and changes
    /// nothing.
    ///
    /// # Errors
    /// A required setting under `/proc/sys/net` cannot be read.
    pub fn read() -> Result<Self> {
        let mut unread = Vec::new();
        let features = features::probe();
        Ok(Self {
            tcp_fastopen: sysctl::tcp_fastopen()?,
            somaxconn: sysctl::somaxconn()?,
            syncookies: sysctl::syncookies()?,
            key: keep(&mut unread, Part::Key, sysctl::fastopen_key()),
            blackhole_timeout: keep(
                &mut unread,
                Part::BlackholeTimeout,
                sysctl::blackhole_timeout(),
            ),
            features,
            routes: keep(&mut unread, Part::Routes, routes::routes_without_cookie()),
            cookies: keep(&mut unread, Part::Cookies, cookies()),
            counters: keep(&mut unread, Part::Counters, Counters::read()),
            listeners: keep(&mut unread, Part::Listeners, crate::host::listeners()),
            connections: keep(&mut unread, Part::Connections, sockets::connections(sockets::OPEN)),
            unread,
        })
    }

    /// Returns the findings: problems first, then notes, then what is as it should be.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.judge_client(&mut findings);
        self.judge_server(&mut findings);
        self.judge_key(&mut findings);
        self.judge_listeners(&mut findings);
        if let Some(counters) = &self.counters {
            self.judge_counters(counters, &mut findings);
        }
        for route in self.routes.iter().flatten() {
            findings.push(Finding::RouteWithoutCookie(route.clone()));
        }
        for (feature, support) in &self.features {
            if matches!(support, Support::No | Support::Refused(_)) {
                findings.push(Finding::FeatureMissing { feature: *feature, support: *support });
            }
        }
        for (part, why) in &self.unread {
            findings.push(Finding::Unreadable { part: *part, why: why.clone() });
        }
        findings.sort_by_key(Finding::level);
        findings
    }

    /// Returns whether nothing keeps this role from working; for [`Role::Both`], whether nothing keeps either.
    #[must_use]
    pub fn is_ready(&self, role: Role) -> bool {
        let concerns = |finding: &Finding| {
            role == Role::Both || finding.role() == Role::Both || finding.role() == role
        };
        !self
            .findings()
            .iter()
            .any(|finding| finding.level() == Level::Problem && concerns(finding))
    }

    fn judge_client(&self, findings: &mut Vec<Finding>) {
        let bits = self.tcp_fastopen;
        if !bits.client() {
            findings.push(Finding::ClientBitOff(bits));
        } else if bits.client_no_cookie() {
            findings.push(Finding::ClientWithoutCookies(bits));
        } else {
            findings.push(Finding::ClientOn(bits));
        }
        let times = self.counters.map_or(0, |counters| counters.blackhole);
        match self.blackhole_timeout {
            Some(timeout) if times > 0 => {
                findings.push(Finding::BlackholePaused { times, timeout });
            }
            Some(Duration::ZERO) => findings.push(Finding::BlackholeOff),
            Some(timeout) => findings.push(Finding::BlackholeOn(timeout)),
            None => {}
        }
        let entries = self.cookies.as_deref().unwrap_or_default();
        match entries.iter().filter(|entry| entry.cookie.is_some()).count() {
            0 => {}
            count => findings.push(Finding::CookiesCached(count)),
        }
        for entry in entries.iter().filter(|entry| entry.syn_drops > 0) {
            findings.push(Finding::SynDrops {
                destination: entry.destination,
                drops: entry.syn_drops,
                age: entry.syn_drop_age,
            });
        }
    }

    fn judge_server(&self, findings: &mut Vec<Finding>) {
        let bits = self.tcp_fastopen;
        if !bits.server() {
            findings.push(Finding::ServerBitOff(bits));
        } else if bits.server_no_cookie() {
            findings.push(Finding::NoCookies(bits));
        } else {
            findings.push(Finding::ServerOn(bits));
        }
        if bits.server() && bits.all_listeners() {
            findings.push(Finding::AllListeners(bits));
        }
        findings.push(match self.syncookies {
            value @ 2.. => Finding::SyncookiesAlways(value),
            value => Finding::Syncookies(value),
        });
        findings.push(match self.somaxconn {
            0 => Finding::SomaxconnZero,
            // 128 was the default for thirty years, and is considered too small since.
            value @ ..128 => Finding::SomaxconnSmall(value),
            value => Finding::Somaxconn(value),
        });
    }

    fn judge_key(&self, findings: &mut Vec<Finding>) {
        let Some(key) = self.key else { return };
        findings.push(match key {
            // The kernel creates a key when a listener asks for fast open. If such a listener exists, the zeros
            // were written.
            NamespaceKey::Zeros if self.fast_open_listeners() > 0 => Finding::KeyIsZeros,
            NamespaceKey::Zeros => Finding::KeyUnset,
            NamespaceKey::Set => Finding::KeySet { backup: false },
            NamespaceKey::SetWithBackup => Finding::KeySet { backup: true },
            NamespaceKey::NotReadable => Finding::KeyNotReadable,
        });
    }

    fn judge_listeners(&self, findings: &mut Vec<Finding>) {
        let Some(listeners) = &self.listeners else { return };
        findings.push(match self.fast_open_listeners() {
            0 => Finding::NoListener { without: listeners.len() },
            count => Finding::Listeners(count),
        });
    }

    fn judge_counters(&self, counters: &Counters, findings: &mut Vec<Finding>) {
        let &Counters { active, active_fail, passive, passive_fail, .. } = counters;
        if is_frequent(active_fail, active) {
            findings.push(Finding::DataNotTaken { active, fail: active_fail });
        }
        if is_frequent(passive_fail, passive) {
            findings.push(Finding::InvalidCookies { passive, fail: passive_fail });
        }
        if counters.listen_overflow > 0 {
            findings.push(Finding::QueueFull(counters.listen_overflow));
        }
        if counters.cookie_reqd > 0 && passive == 0 {
            findings.push(Finding::CookiesNeverUsed {
                requests: counters.cookie_reqd,
                server: self.tcp_fastopen.server(),
                listeners: self.fast_open_listeners(),
            });
        }
        if counters.passive_alt_key > 0 {
            findings.push(Finding::BackupKeyUsed(counters.passive_alt_key));
        }
    }

    fn fast_open_listeners(&self) -> usize {
        self.listeners.iter().flatten().filter(|listener| listener.fast_open_queue > 0).count()
    }
}

/// Returns whether failures exceed one in ten: fewer are chance, or rotated keys.
fn is_frequent(failures: u64, successes: u64) -> bool {
    failures > 0 && failures.saturating_mul(9) >= successes
}

/// Returns the cache entries that concern fast open, those with a cookie first, by destination.
fn cookies() -> Result<Vec<cookie_cache::Entry>> {
    let mut entries = cookie_cache::list()?;
    entries.retain(|entry| entry.cookie.is_some() || entry.syn_drops > 0);
    entries.sort_by_key(|entry| (entry.cookie.is_none(), entry.destination, entry.source));
    Ok(entries)
}

fn keep<T>(unread: &mut Vec<(Part, String)>, part: Part, read: Result<T>) -> Option<T> {
    read.map_err(|e| unread.push((part, with_cause(&e)))).ok()
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// The share of SYNs that saved a round trip among those that could have, from 0 to 1. `None`: there were none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HitRates {
    /// `Active / (Active + ActiveFail)`: the share of this host's SYNs with data whose data was accepted. Neither
    /// counter includes cookie requests.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub outgoing: Option<f64>,
    /// `Passive / (Passive + PassiveFail + ListenOverflow)`: the share of SYNs with a cookie that were accepted.
    ///
    /// An approximation: `Passive` includes SYNs without data, `ListenOverflow` includes cookie requests at a full
    /// queue, and SYNs with a cookie at a listener without fast open are in none of them.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub incoming: Option<f64>,
}

impl HitRates {
    /// Returns the rates of these counts: all since the namespace was created, or a change of them.
    #[must_use]
    pub fn of(counts: &CounterChange) -> Self {
        let missed = counts.passive_fail.saturating_add(counts.listen_overflow);
        Self {
            outgoing: share(counts.active, counts.active_fail),
            incoming: share(counts.passive, missed),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
fn share(hits: u64, misses: u64) -> Option<f64> {
    let total = hits.saturating_add(misses);
    (total > 0).then(|| hits as f64 / total as f64)
}
