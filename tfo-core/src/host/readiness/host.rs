//! The readiness of the host as a whole, as client and server.

use std::io;
use std::time::Duration;

use super::{Finding, Level, ListenerLoad, NamedListener, Part, Role};
use crate::Result;
use crate::host::features::{self, Feature, Support};
use crate::host::sockets::{self, Connection};
use crate::host::sysctl::{self, FastOpenFlags, NamespaceKey};
use crate::host::{
    CounterChange, Counters, Listener, Owners, Route, accept_queues, cookie_cache, routes,
};
use crate::socket::TcpState;

/// The facts about fast open of this host (this network namespace). A part that cannot be read is `None`, and
/// [`unread`](Self::unread) has the reason.
///
/// ```no_run
/// use tfo_core::host::readiness::{HostFacts, Role};
///
/// let facts = HostFacts::read();
/// println!("ready as a client: {}", facts.is_ready(Role::Client));
/// for finding in facts.findings() {
///     println!("{finding}");
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostFacts {
    /// `net.ipv4.tcp_fastopen`.
    pub tcp_fastopen: Option<FastOpenFlags>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u32>,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: Option<u32>,
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
    /// How loaded the listeners are.
    pub load: Option<ListenerLoad>,
    /// The open connections of all processes.
    pub connections: Option<Vec<Connection>>,
    /// The processes that hold the sockets.
    pub owners: Owners,
    /// The parts that could not be read, with the reason.
    pub unread: Vec<(Part, String)>,
}

impl HostFacts {
    /// Reads the facts of the calling thread's network namespace. Needs no privilege, sends nothing, and changes
    /// nothing.
    #[must_use]
    pub fn read() -> Self {
        let mut unread = Vec::new();
        let listeners = keep(&mut unread, Part::Listeners, crate::host::listeners());
        let connections = keep(&mut unread, Part::Connections, sockets::connections(sockets::OPEN));
        let owners = Owners::read();
        let counters = keep(&mut unread, Part::Counters, Counters::read());
        let load = load(
            listeners.as_deref(),
            connections.as_deref(),
            counters.unwrap_or_default(),
            &owners,
        );
        Self {
            tcp_fastopen: setting(&mut unread, Part::TcpFastopen, sysctl::tcp_fastopen()),
            somaxconn: setting(&mut unread, Part::Somaxconn, sysctl::somaxconn()),
            syncookies: setting(&mut unread, Part::Syncookies, sysctl::syncookies()),
            key: setting(&mut unread, Part::Key, sysctl::fastopen_key()),
            blackhole_timeout: setting(
                &mut unread,
                Part::BlackholeTimeout,
                sysctl::blackhole_timeout(),
            ),
            features: features::probe(),
            routes: keep(&mut unread, Part::Routes, routes::routes_without_cookie()),
            cookies: keep(&mut unread, Part::Cookies, cookies()),
            counters,
            load: keep(&mut unread, Part::ListenerLoad, load),
            listeners,
            connections,
            owners,
            unread,
        }
    }

    /// Returns the findings: problems first, then notes, then what is as it should be.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.judge_client(&mut findings);
        self.judge_server(&mut findings);
        self.judge_key(&mut findings);
        self.judge_listeners(&mut findings);
        if let Some(load) = &self.load {
            load.judge(self.syncookies, true, &mut findings);
        }
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
        findings.extend(match self.tcp_fastopen {
            None if self.is_unread(Part::TcpFastopen) => None,
            None => Some(Finding::ClientSettingMissing(self.support(Feature::Connect))),
            Some(bits) if !bits.client() => Some(Finding::ClientBitOff(bits)),
            Some(bits) if bits == CLIENT_WITHOUT_COOKIES => Some(Finding::ClientDataWithoutCookies),
            Some(bits) if bits.client_no_cookie() => Some(Finding::ClientWithoutCookies(bits)),
            Some(bits) => Some(Finding::ClientOn(bits)),
        });
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
        findings.extend(match self.tcp_fastopen {
            None if self.is_unread(Part::TcpFastopen) => None,
            None => Some(Finding::ServerSettingMissing(self.support(Feature::Listener))),
            Some(bits) if !bits.server() => Some(Finding::ServerBitOff(bits)),
            Some(bits) if bits.server_no_cookie() => Some(Finding::NoCookies(bits)),
            Some(bits) => Some(Finding::ServerOn(bits)),
        });
        if let Some(bits) = self.tcp_fastopen.filter(|bits| bits.server() && bits.all_listeners()) {
            findings.push(Finding::AllListeners(bits));
        }
        findings.extend(self.syncookies.map(|value| match value {
            2.. => Finding::SyncookiesAlways(value),
            _ => Finding::Syncookies(value),
        }));
        findings.extend(self.somaxconn.map(|value| match value {
            0 => Finding::SomaxconnZero,
            // 128 was the default for thirty years, and is considered too small since.
            1..128 => Finding::SomaxconnSmall(value),
            _ => Finding::Somaxconn(value),
        }));
    }

    fn judge_key(&self, findings: &mut Vec<Finding>) {
        let Some(key) = self.key else { return };
        findings.push(match key {
            // The kernel creates a key when a listener asks for fast open. If such a listener exists, or existed by
            // the counters, the zeros were written.
            NamespaceKey::Zeros if self.has_listened() => Finding::KeyIsZeros,
            NamespaceKey::Zeros => Finding::KeyUnset,
            NamespaceKey::Set => Finding::KeySet { backup: false },
            NamespaceKey::SetWithBackup => Finding::KeySet { backup: true },
            NamespaceKey::NotReadable => Finding::KeyNotReadable,
        });
    }

    fn judge_listeners(&self, findings: &mut Vec<Finding>) {
        let Some(listeners) = &self.listeners else { return };
        let with = self.fast_open_listeners();
        let without = listeners.len() - with;
        let all = self.tcp_fastopen.is_some_and(|bits| bits.server() && bits.all_listeners());
        if all && without > 0 {
            let listeners = self.named(|listener| listener.fast_open_queue == 0);
            findings.push(Finding::RestartListeners { listeners, with });
        }
        match with {
            0 if all && without > 0 => {}
            0 => findings.push(Finding::NoListener { without }),
            _ => findings.push(Finding::Listeners(with)),
        }
    }

    /// The listeners of which this is true, by name.
    fn named(&self, is_so: impl Fn(&Listener) -> bool) -> Vec<NamedListener> {
        let listeners = self.listeners.iter().flatten().filter(|listener| is_so(listener));
        listeners.map(|listener| NamedListener::new(listener, &self.owners)).collect()
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
            let mut listeners = self.named(|listener| listener.fast_open_queue > 0);
            listeners.sort_by_key(|listener| listener.fast_open_queue);
            findings.push(Finding::QueueFull { times: counters.listen_overflow, listeners });
        }
        if counters.cookie_reqd > 0 && passive == 0 {
            findings.push(Finding::CookiesNeverUsed {
                requests: counters.cookie_reqd,
                server: self.tcp_fastopen.is_none_or(FastOpenFlags::server),
                listeners: self.fast_open_listeners(),
            });
        }
        if counters.passive_alt_key > 0 {
            findings.push(Finding::BackupKeyUsed(counters.passive_alt_key));
        }
    }

    /// Whether a listener has, or had, fast open.
    fn has_listened(&self) -> bool {
        // Each of these takes a listener with a fast open queue.
        let served = |counters: Counters| {
            counters.passive > 0 || counters.passive_fail > 0 || counters.listen_overflow > 0
        };
        self.fast_open_listeners() > 0 || self.counters.is_some_and(served)
    }

    /// Whether something is there and could not be read.
    fn is_unread(&self, part: Part) -> bool {
        self.unread.iter().any(|(unread, _)| *unread == part)
    }

    fn support(&self, feature: Feature) -> Support {
        let found = self.features.iter().find(|(probed, _)| *probed == feature);
        found.map_or(Support::No, |(_, support)| *support)
    }

    fn fast_open_listeners(&self) -> usize {
        self.listeners.iter().flatten().filter(|listener| listener.fast_open_queue > 0).count()
    }
}

/// 5, which is documented for clients of servers that require no cookies.
const CLIENT_WITHOUT_COOKIES: FastOpenFlags = FastOpenFlags::new(0x5);

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

/// A setting that the kernel may lack: then that is the finding, and not that it can't be read.
fn setting<T>(unread: &mut Vec<(Part, String)>, part: Part, read: Result<T>) -> Option<T> {
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        read => keep(unread, part, read),
    }
}

/// Returns the load of these listeners.
fn load(
    listeners: Option<&[Listener]>,
    connections: Option<&[Connection]>,
    counters: Counters,
    owners: &Owners,
) -> Result<ListenerLoad> {
    let unfinished = connections
        .unwrap_or_default()
        .iter()
        .filter(|connection| connection.state == TcpState::SynRecv && connection.inode == 0);
    Ok(ListenerLoad::new(
        listeners.unwrap_or_default(),
        accept_queues()?,
        unfinished.map(|connection| connection.local).collect(),
        counters,
        owners,
    ))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// The hit rates by the kernel's counters: the share of SYNs that saved a round trip among those that could have, from
/// 0 to 1. `None`: there were none.
///
/// The definition is that of `diagnosis::HitRate`, which counts verdicts: a SYN that only requests a cookie is neither
/// a hit nor a miss.
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
