//! What can be found on a host: its text, its severity, and the fix.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::NamedListener;
use crate::host::features::{Feature, Support};
use crate::host::{FastOpenFlags, Route, RuntimeEnvironment};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Level {
    /// Fast open, or the listener as a whole, cannot work with it.
    Problem,
    /// The operator should know about it.
    Note,
    /// As it should be.
    Ok,
}

impl Level {
    /// Returns the word, as in text and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Note => "note",
            Self::Ok => "ok",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The half of fast open that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Role {
    /// Connections that this host makes.
    Client,
    /// Connections that this host accepts.
    Server,
    /// Both.
    Both,
}

/// A part of the host that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Part {
    /// `net.ipv4.tcp_fastopen`.
    TcpFastopen,
    /// `net.core.somaxconn`.
    Somaxconn,
    /// `net.ipv4.tcp_syncookies`.
    Syncookies,
    /// `net.ipv4.tcp_fastopen_key`.
    Key,
    /// `net.ipv4.tcp_fastopen_blackhole_timeout_sec`.
    BlackholeTimeout,
    /// The routing tables.
    Routes,
    /// The cache of cookies.
    Cookies,
    /// The counters.
    Counters,
    /// The listening sockets.
    Listeners,
    /// The load of the listening sockets.
    ListenerLoad,
    /// The open connections.
    Connections,
}

impl Part {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TcpFastopen => TCP_FASTOPEN,
            Self::Somaxconn => SOMAXCONN,
            Self::Syncookies => SYNCOOKIES,
            Self::Key => "the key",
            Self::BlackholeTimeout => "the blackhole timer",
            Self::Routes => "the routes",
            Self::Cookies => "the cached cookies",
            Self::Counters => "the counters",
            Self::Listeners => "the listeners",
            Self::ListenerLoad => "the load of the listeners",
            Self::Connections => "the open connections",
        }
    }
}

/// Defines [`Finding`], with a fixed code, level and role for each variant.
macro_rules! findings {
    ($( $(#[$doc:meta])* $code:literal $level:ident $half:ident
        $variant:ident $( ($tuple:ty) )? $( { $( $(#[$field_doc:meta])* $field:ident: $type:ty, )* } )?; )*) => {
        /// Something that keeps this host from fast open, that its operator should know, or that is as it should
        /// be.
        ///
        /// `Display` gives the finding and its fix on a host; [`describe`](Self::describe) gives the fix for
        /// another environment. [`what`](Self::what) and [`fix`](Self::fix) are its parts.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
        #[non_exhaustive]
        pub enum Finding {
            $( $(#[$doc])* $variant $( ($tuple) )? $( { $( $(#[$field_doc])* $field: $type, )* } )?, )*
        }

        impl Finding {
            /// The codes of all findings.
            pub const CODES: &[&str] = &[$( $code, )*];

            /// Returns the code, a word for programs that never changes.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $code, )* }
            }

            /// Returns the usual severity.
            const fn usual_level(&self) -> Level {
                match self { $( Self::$variant { .. } => Level::$level, )* }
            }

            /// Returns the half of fast open that it is about.
            #[must_use]
            pub const fn role(&self) -> Role {
                match self { $( Self::$variant { .. } => Role::$half, )* }
            }
        }
    };
}

findings! {
    /// The client's bit of `net.ipv4.tcp_fastopen` is off.
    "client-bit-off" Problem Client ClientBitOff(FastOpenFlags);
    /// Bit 0x4: clients never ask for a cookie.
    "client-without-cookies" Problem Client ClientWithoutCookies(FastOpenFlags);
    /// 5, a documented setting of clients: data in SYNs, and never a cookie.
    "client-data-without-cookies" Note Client ClientDataWithoutCookies;
    /// There is no `net.ipv4.tcp_fastopen`; contains the support of `TCP_FASTOPEN_CONNECT`.
    "client-setting-missing" Problem Client ClientSettingMissing(Support);
    /// There is no `net.ipv4.tcp_fastopen`; contains the support of `TCP_FASTOPEN`.
    "server-setting-missing" Problem Server ServerSettingMissing(Support);
    /// The client's half is allowed.
    "client-on" Ok Client ClientOn(FastOpenFlags);
    /// The server's bit of `net.ipv4.tcp_fastopen` is off.
    "server-bit-off" Problem Server ServerBitOff(FastOpenFlags);
    /// The server's half is allowed.
    "server-on" Ok Server ServerOn(FastOpenFlags);
    /// The configuration asks for a queue of length 0.
    "queue-is-zero" Problem Server QueueIsZero;
    /// `net.ipv4.tcp_syncookies` is 2: always SYN cookies, never fast open.
    "syncookies-always" Problem Server SyncookiesAlways(u32);
    /// `net.ipv4.tcp_syncookies` leaves fast open alone.
    "syncookies" Ok Server Syncookies(u32);
    /// The host takes data without cookies, and grants none.
    "no-cookies" Problem Server NoCookies(FastOpenFlags);
    /// Bit 0x400: each listener has fast open without asking.
    "all-listeners" Note Server AllListeners(FastOpenFlags);
    /// Bit 0x400 is set, and some listeners have no fast open.
    "restart-listeners" Note Server RestartListeners {
        /// The listeners without fast open.
        listeners: Vec<NamedListener>,
        /// The number of listeners with fast open.
        with: usize,
    };
    /// The address is not local.
    "address-not-local" Problem Server AddressNotLocal(SocketAddr);
    /// The port needs `CAP_NET_BIND_SERVICE`.
    "port-needs-privilege" Problem Server PortNeedsPrivilege {
        /// The configured port.
        port: u16,
        /// The first port that needs no privilege.
        start: u32,
    };
    /// The fast open queue is longer than the kernel allows.
    "queue-cut" Note Server QueueCut {
        /// The configured length.
        wished: u32,
        /// The kernel's limit.
        somaxconn: u32,
    };
    /// The backlog is longer than the kernel allows.
    "backlog-cut" Note Server BacklogCut {
        /// The configured length.
        wished: u32,
        /// The kernel's limit.
        somaxconn: u32,
    };
    /// Something else listens there.
    "address-taken" Note Server AddressTaken {
        /// The address of the other listener.
        address: SocketAddr,
        /// The length of its fast open queue; 0: none.
        queue: u32,
    };
    /// `net.core.somaxconn` is 0: no listener can have a fast open queue.
    "somaxconn-zero" Problem Server SomaxconnZero;
    /// `net.core.somaxconn` caps each queue at a small value.
    "somaxconn-small" Note Server SomaxconnSmall(u32);
    /// `net.core.somaxconn` is large enough.
    "somaxconn" Ok Server Somaxconn(u32);
    /// There is no key yet.
    "key-unset" Ok Server KeyUnset;
    /// There is a key, or two.
    "key-set" Ok Server KeySet {
        /// Whether a second key is accepted as well.
        backup: bool,
    };
    /// Listeners use a key of zeros, for which anyone can make cookies.
    "key-is-zeros" Problem Server KeyIsZeros;
    /// Only root may read whether there is a key.
    "key-not-readable" Ok Server KeyNotReadable;
    /// Blackhole detection is off, which is the kernel's default.
    "blackhole-off" Ok Client BlackholeOff;
    /// A suspected blackhole pauses outgoing fast open.
    "blackhole-on" Ok Client BlackholeOn(Duration);
    /// Outgoing fast open was paused, and may still be.
    "blackhole-paused" Note Client BlackholePaused {
        /// How often it was paused.
        times: u64,
        /// The length of the first pause; zero: detection was turned off since.
        timeout: Duration,
    };
    /// The kernel lacks a feature, or a sandbox hides it.
    "feature-missing" Note Both FeatureMissing {
        /// The feature.
        feature: Feature,
        /// The result of probing it.
        support: Support,
    };
    /// A route without cookies.
    "route-without-cookie" Note Both RouteWithoutCookie(Route);
    /// Cookies are cached.
    "cookies-cached" Ok Client CookiesCached(usize);
    /// SYNs with data were lost on the path to a peer.
    "syn-drops" Note Client SynDrops {
        /// The peer.
        destination: IpAddr,
        /// The number of lost SYNs in a row.
        drops: u16,
        /// The time since the last of them.
        age: Option<Duration>,
    };
    /// Servers do not accept the data of many of this host's SYNs.
    "data-not-taken" Note Client DataNotTaken {
        /// SYNs whose data was accepted.
        active: u64,
        /// SYNs whose data was not accepted.
        fail: u64,
    };
    /// Clients send many cookies that are not this host's.
    "invalid-cookies" Note Server InvalidCookies {
        /// SYNs that were accepted.
        passive: u64,
        /// SYNs with an invalid cookie.
        fail: u64,
    };
    /// A fast open queue was full.
    "queue-full" Note Server QueueFull {
        /// The number of refused SYNs.
        times: u64,
        /// The listeners with a fast open queue, the shortest first: it is one of them, unless it has closed.
        listeners: Vec<NamedListener>,
    };
    /// An accept queue is full: new connections are dropped.
    "accept-queue-full" Note Server AcceptQueueFull {
        /// The listener with the full queue.
        listener: NamedListener,
        /// The number of connections that wait.
        waiting: u32,
        /// The effective backlog.
        limit: u32,
    };
    /// An accept queue was full.
    "accept-queue-overflowed" Note Server AcceptQueueOverflowed {
        /// The number of dropped SYNs and final ACKs.
        times: u64,
        /// The listeners that have dropped some, most drops first.
        listeners: Vec<NamedListener>,
    };
    /// SYN cookies were sent because a SYN queue was full.
    "syncookies-sent" Note Server SyncookiesSent {
        /// The number of SYN cookies.
        times: u64,
        /// The listeners whose SYN queue is full now.
        listeners: Vec<NamedListener>,
    };
    /// Clients ask for cookies, and none is ever used.
    "cookies-never-used" Note Server CookiesNeverUsed {
        /// The number of requests.
        requests: u64,
        /// Whether the server's bit is on.
        server: bool,
        /// How many listeners have a fast open queue.
        listeners: usize,
    };
    /// Cookies of the backup key were accepted.
    "backup-key-used" Ok Server BackupKeyUsed(u64);
    /// No listener has fast open.
    "no-listener" Note Server NoListener {
        /// The number of listeners without fast open.
        without: usize,
    };
    /// Listeners have fast open.
    "listeners" Ok Server Listeners(usize);
    /// A part of the host could not be read.
    "unreadable" Note Both Unreadable {
        /// The part.
        part: Part,
        /// The reason.
        why: String,
    };
}

pub(super) const TCP_FASTOPEN: &str = "net.ipv4.tcp_fastopen";
pub(super) const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";
pub(super) const SOMAXCONN: &str = "net.core.somaxconn";
const BLACKHOLE_TIMEOUT: &str = "net.ipv4.tcp_fastopen_blackhole_timeout_sec";
/// The kernel's default.
const USUAL_SOMAXCONN: u32 = 4096;

impl Finding {
    /// Returns the severity.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            // The kernel allows the option only while the client's bit is on.
            Self::ClientSettingMissing(Support::Yes) => Level::Note,
            // Every listener is without fast open.
            Self::RestartListeners { with: 0, .. } => Level::Problem,
            _ => self.usual_level(),
        }
    }

    /// Returns whether fast open, or the listener as a whole, cannot work with it.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        self.level() == Level::Problem
    }

    /// Returns the finding and the first step of its fix as a paragraph.
    #[must_use]
    pub fn describe(&self, environment: &RuntimeEnvironment) -> String {
        match self.fix(environment).first() {
            Some(step) => format!("{}. Fix: {step}", self.what()),
            None => self.what(),
        }
    }

    /// Returns how to fix it here: one step per line, with commands in backticks. Empty if there is nothing to fix.
    #[must_use]
    pub fn fix(&self, environment: &RuntimeEnvironment) -> Vec<String> {
        let set = |name, value: u32| environment.set(name, value);
        let step = |step: &str| vec![step.to_owned()];
        match self {
            Self::ClientBitOff(bits)
            | Self::ServerBitOff(bits)
            | Self::ClientWithoutCookies(bits)
            | Self::NoCookies(bits) => set(TCP_FASTOPEN, bits.recommended().bits()),
            Self::ClientSettingMissing(_) | Self::ServerSettingMissing(_) => vec![
                "see what hides it: `findmnt -T /proc/sys/net/ipv4`".to_owned(),
                "a container whose runtime has a network stack of its own, such as gVisor, has no fast open: \
                 run it with another runtime, or outside"
                    .to_owned(),
            ],
            Self::RestartListeners { listeners, .. } => restart(listeners),
            Self::SyncookiesAlways(_) => set(SYNCOOKIES, 1),
            Self::SomaxconnZero | Self::SomaxconnSmall(_) => set(SOMAXCONN, USUAL_SOMAXCONN),
            Self::QueueCut { wished, .. } | Self::BacklogCut { wished, .. } => {
                set(SOMAXCONN, *wished)
            }
            Self::BlackholePaused { timeout, .. } if !timeout.is_zero() => {
                let mut steps = step("end the pause by writing the setting again:");
                let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
                steps.extend(set(BLACKHOLE_TIMEOUT, seconds).into_iter().take(1));
                steps
            }
            Self::QueueIsZero => step("set it to 256, for instance"),
            Self::AddressNotLocal(_) => step("`ip address` lists them; 0.0.0.0 or :: means all"),
            Self::PortNeedsPrivilege { start, .. } => vec![format!(
                "`sudo setcap cap_net_bind_service=+ep \"$(command -v tfo-server)\"`, or choose a port from \
                 {start}"
            )],
            Self::AddressTaken { .. } => step("see who: `sudo tfo-client doctor`"),
            Self::KeyIsZeros => step(
                "write a key, the same on all servers behind one address; one at random: `sudo sysctl -qw \
                 net.ipv4.tcp_fastopen_key=$(od -An -N16 -tx4 /dev/urandom | sed 's/ //;s/ /-/g')`",
            ),
            Self::RouteWithoutCookie(route) => {
                let family = if route.destination.is_ipv6() { "-6 " } else { "" };
                vec![format!("`sudo ip {family}route change {route} fastopen_no_cookie 0`")]
            }
            Self::SynDrops { destination, .. } => {
                vec![format!(
                    "see whether it is so each time: `tfo-client -s {destination} -p PORT -n 5`"
                )]
            }
            Self::QueueFull { .. } => step(
                "give the listener a longer queue, or let it accept faster; a connection that is reset keeps its \
                 place for a minute",
            ),
            Self::AcceptQueueFull { .. } | Self::AcceptQueueOverflowed { .. } => longer_backlog(),
            Self::SyncookiesSent { .. } => {
                let mut steps = longer_backlog();
                steps.push(
                    "the kernel's log names the ports: `sudo dmesg | grep 'SYN flooding'`".to_owned(),
                );
                steps
            }
            Self::NoListener { .. } => {
                step("`tfo-server` is one that has it; in nginx: `listen … fastopen=256;`")
            }
            _ => Vec::new(),
        }
    }
}

/// Returns the steps to restart the programs of these listeners.
fn restart(listeners: &[NamedListener]) -> Vec<String> {
    const SHOWN: usize = 4;
    let shown = listeners.iter().take(SHOWN);
    let mut steps: Vec<_> = shown
        .map(|listener| {
            let unnamed = listener.processes.is_empty();
            let who = if unnamed { "; `sudo tfo-client doctor` names it" } else { "" };
            format!("restart the program that listens on {listener}{who}")
        })
        .collect();
    if listeners.len() > SHOWN {
        steps.push(format!(
            "and {} more: `sudo tfo-client doctor` lists them",
            listeners.len() - SHOWN
        ));
    }
    steps
}

/// Returns the step that keeps an accept queue, or a SYN queue, from filling up.
fn longer_backlog() -> Vec<String> {
    vec![format!(
        "let its program accept faster, or give it a longer backlog (tfo-server: listen.backlog), which \
         {SOMAXCONN} limits; watch both: `tfo-client doctor --watch 1s`"
    )]
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&RuntimeEnvironment::HOST))
    }
}
