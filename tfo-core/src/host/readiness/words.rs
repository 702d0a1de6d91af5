//! The text of each finding.

use super::finding::{SOMAXCONN, SYNCOOKIES, TCP_FASTOPEN};
use super::{Finding, NamedListener};
use crate::host::features::{Feature, Support};
use crate::prose::counted;

impl Finding {
    /// Returns what was found, and what it means.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table of sentences")]
    pub fn what(&self) -> String {
        match self {
            Self::ClientBitOff(bits) => format!(
                "{TCP_FASTOPEN} is {bits}: the client's bit (0x1) is off, and this host's connections are \
                 regular ones"
            ),
            Self::ClientWithoutCookies(bits) => format!(
                "{TCP_FASTOPEN} is {bits}: bit 0x4 puts data into SYNs without ever asking for a cookie, and \
                 ordinary servers do not accept it"
            ),
            Self::ClientDataWithoutCookies => format!(
                "{TCP_FASTOPEN} is 0x5: this host puts data into SYNs without a cookie, as is documented for \
                 clients of servers that want none (0x200); ordinary servers don't take it, and 3 is for those"
            ),
            Self::ClientSettingMissing(support) => {
                format!("{MISSING}; {}", match support {
                    Support::Yes => "it takes TCP_FASTOPEN_CONNECT, so the client's half is on".to_owned(),
                    Support::SwitchedOff => "it forbids TCP_FASTOPEN_CONNECT: the client's half is off, this \
                                             host's connections are regular ones, and nothing in here changes \
                                             that".to_owned(),
                    _ => "it has no TCP_FASTOPEN_CONNECT either: this host's connections are regular ones"
                        .to_owned(),
                })
            }
            Self::ServerSettingMissing(support) => {
                format!("{MISSING}; {}", match support {
                    Support::Yes => "whether listeners may use fast open can't be seen, nor changed in here: \
                                     by default they may not, and clients get regular connections",
                    _ => "it has no TCP_FASTOPEN either: clients get regular connections",
                })
            }
            Self::RestartListeners { listeners, .. } => format!(
                "bit 0x400 gives fast open to what begins to listen from now on; {} without, and began before, \
                 or turned it off",
                listen(listeners)
            ),
            Self::ClientOn(_) => "clients may use fast open".to_owned(),
            Self::ServerBitOff(bits) => format!(
                "{TCP_FASTOPEN} is {bits}: the server's bit (0x2) is off, and clients get regular connections"
            ),
            Self::ServerOn(_) => "listeners may use fast open".to_owned(),
            Self::QueueIsZero => "listen.fastopen-queue is 0, which turns fast open off".to_owned(),
            Self::SyncookiesAlways(value) => format!(
                "{SYNCOOKIES} is {value}: the kernel always answers with SYN cookies, which have no room for \
                 fast open"
            ),
            Self::Syncookies(0) => format!("{SYNCOOKIES} is 0: no SYN cookies"),
            Self::Syncookies(value) => {
                format!("{SYNCOOKIES} is {value}: SYN cookies only while a SYN queue is full")
            }
            Self::NoCookies(bits) => format!(
                "{TCP_FASTOPEN} is {bits}: bit 0x200 accepts data from any SYN, forged ones included, and never grants a \
                 cookie, so ordinary clients get no fast open"
            ),
            Self::AllListeners(bits) => format!(
                "{TCP_FASTOPEN} is {bits}: bit 0x400 gives each new listener fast open, also those of programs \
                 that do not expect a duplicated request"
            ),
            Self::AddressNotLocal(address) => {
                format!("{} is not an address of this host", address.ip())
            }
            Self::PortNeedsPrivilege { port, start } => {
                format!("port {port} is below {start} and needs CAP_NET_BIND_SERVICE")
            }
            Self::QueueCut { wished, somaxconn } => {
                format!("the kernel cuts listen.fastopen-queue from {wished} to {somaxconn}")
            }
            Self::BacklogCut { wished, somaxconn } => {
                format!("the kernel cuts listen.backlog from {wished} to {somaxconn}")
            }
            Self::AddressTaken { address, queue } => format!(
                "something listens on {address} already (fast open queue {queue}): correct if that is this server"
            ),
            Self::SomaxconnZero => {
                format!("{SOMAXCONN} is 0: each listener's fast open queue is capped at 0")
            }
            Self::SomaxconnSmall(value) => format!(
                "{SOMAXCONN} is {value}: each listener's queues are capped at that, and a burst of clients \
                 overflows them"
            ),
            Self::Somaxconn(value) => {
                format!(
                    "{SOMAXCONN} is {value}: the longest that a listener's fast open queue can be"
                )
            }
            Self::KeyUnset => {
                "the key is all zeros: there is none yet, and the kernel makes one at random for the first \
                 listener with fast open; zeros that somebody has written look the same, and stay"
                    .to_owned()
            }
            Self::KeySet { backup: false } => {
                "there is a key, for listeners without one of their own".to_owned()
            }
            Self::KeySet { backup: true } => {
                "there is a key and a backup key, for listeners without their own".to_owned()
            }
            Self::KeyIsZeros => {
                "the key of listeners without one of their own is all zeros: anyone can \
                                 make valid cookies, and thereby forge SYNs with data"
                    .to_owned()
            }
            Self::KeyNotReadable => "only root can see whether there is a key".to_owned(),
            Self::BlackholeOff => {
                "a suspected blackhole does not pause fast open (the kernel's default)".to_owned()
            }
            Self::BlackholeOn(timeout) => format!(
                "a suspected blackhole pauses fast open to all destinations, first for {} s",
                timeout.as_secs()
            ),
            Self::BlackholePaused { times, timeout } => {
                let times = counted(*times, "time", "times");
                if timeout.is_zero() {
                    format!(
                        "fast open was paused {times} for a suspected blackhole; detection is off now"
                    )
                } else {
                    format!(
                        "fast open was paused {times} for a suspected blackhole, for {} s and longer each time: it \
                         may be paused now, for all destinations",
                        timeout.as_secs()
                    )
                }
            }
            Self::FeatureMissing { feature, support } => {
                let what = match support {
                    Support::Refused(errno) => format!(
                        "{} can't be used: the kernel, or a sandbox, answers with errno {errno}",
                        feature.name()
                    ),
                    _ => format!("this kernel has no {}", feature.name()),
                };
                match feature {
                    Feature::MinTtl => {
                        what + "; a server that stops resets clients that connect at that moment"
                    }
                    _ => what,
                }
            }
            Self::RouteWithoutCookie(route) => format!(
                "the route {route} has fastopen_no_cookie: SYNs on it carry data without a cookie, which ordinary \
                 servers do not accept, and data that arrives on it is accepted without proof of its source"
            ),
            Self::CookiesCached(count) => {
                format!(
                    "{} cached: the next SYN to that address carries data",
                    counted(*count, "cookie is", "cookies are")
                )
            }
            Self::SynDrops { destination, drops, age } => {
                let lost =
                    counted(*drops, "SYN with data was", "SYNs with data in a row were");
                let age = age.map(|age| format!(", {} s ago", age.as_secs())).unwrap_or_default();
                format!(
                    "{lost} lost on the way to {destination}{age}: by chance, or a box there drops them and each \
                     connection costs a second"
                )
            }
            Self::DataNotTaken { active, fail } => format!(
                "servers accepted the data of {active} of {}: without that a connection needs a second round \
                 trip or more",
                counted(active.saturating_add(*fail), "SYN", "SYNs")
            ),
            Self::InvalidCookies { passive, fail } => format!(
                "{} came with an invalid cookie, {passive} with a valid one: the key was changed, other \
                 servers behind this address have other keys, or clients' addresses are translated",
                counted(*fail, "SYN", "SYNs")
            ),
            Self::QueueFull { times, listeners } => {
                let of = |listener: &NamedListener| {
                    format!("{listener}, length {}", listener.fast_open_queue)
                };
                let which = match listeners.as_slice() {
                    [] => "its listener has closed since".to_owned(),
                    [one] => format!("that of {}", of(one)),
                    [first, ..] => {
                        format!("one of {}, the shortest is that of {}", listeners.len(), of(first))
                    }
                };
                format!("a fast open queue was full {}: {which}", counted(*times, "time", "times"))
            }
            Self::AcceptQueueFull { listener, waiting, limit } => format!(
                "the accept queue of {listener} is full: {} where {limit} may, and the kernel drops what comes, \
                 by fast open or not",
                counted(*waiting, "connection waits", "connections wait")
            ),
            Self::AcceptQueueOverflowed { times, listeners } => format!(
                "{} dropped because an accept queue was full{}",
                counted(*times, "SYN or final ACK was", "SYNs and final ACKs were"),
                match listeners.as_slice() {
                    [] => ", of a listener that has closed since".to_owned(),
                    // A listener drops for other reasons too, which are rare.
                    dropped => format!("; of the listeners, {} has dropped some", names(dropped)),
                }
            ),
            Self::SyncookiesSent { times, listeners } => format!(
                "{} answered with a SYN cookie, which has no room for fast open: {}",
                counted(*times, "SYN was", "SYNs were"),
                match listeners.as_slice() {
                    [] => "the SYN queue of a listener was full".to_owned(),
                    flooded => format!("the SYN queue of {} is full", names(flooded)),
                }
            ),
            Self::CookiesNeverUsed { requests, server, listeners } => {
                let why = match (server, listeners) {
                    (false, _) => "the server's bit is off",
                    (true, 0) => "no listener has a fast open queue",
                    (true, _) => {
                        "fine if each client came only once; otherwise their listener had no queue, or a box on \
                                  the path removes the cookie"
                    }
                };
                format!(
                    "clients asked for a cookie {} and no connection ever used one: {why}",
                    counted(*requests, "time", "times")
                )
            }
            Self::BackupKeyUsed(times) => {
                format!(
                    "a cookie of the backup key was accepted {}",
                    counted(*times, "time", "times")
                )
            }
            Self::NoListener { without: 0 } => "nothing listens here".to_owned(),
            Self::NoListener { without } => format!(
                "{} fast open",
                counted(
                    u64::try_from(*without).unwrap_or(u64::MAX),
                    "listener has no",
                    "listeners have no"
                )
            ),
            Self::Listeners(count) => format!(
                "{} fast open",
                counted(
                    u64::try_from(*count).unwrap_or(u64::MAX),
                    "listener has",
                    "listeners have"
                )
            ),
            Self::Unreadable { part, why } => format!("{} can't be read: {why}", part.as_str()),
        }
    }
}

const MISSING: &str = "this kernel, or what hides its settings, has no net.ipv4.tcp_fastopen";

/// `A listens`, `A and B listen`.
fn listen(listeners: &[NamedListener]) -> String {
    let verb = if listeners.len() == 1 { "listens" } else { "listen" };
    format!("{} {verb}", names(listeners))
}

/// Up to three names, and how many more.
fn names(listeners: &[NamedListener]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<_> = listeners.iter().take(SHOWN).map(ToString::to_string).collect();
    if listeners.len() > SHOWN {
        names.push(format!("{} more", listeners.len() - SHOWN));
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
