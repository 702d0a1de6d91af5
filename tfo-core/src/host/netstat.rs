//! `/proc/net/netstat`: what TCP Fast Open did in this namespace.

/// The counters of TCP Fast Open, since the namespace was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {}

/// How the counters changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct CounterChange {
    /// `TCPFastOpenActive`: outgoing connections whose SYN data was acknowledged.
    pub active: u64,
    /// `TCPFastOpenActiveFail`: outgoing ones whose SYN data was not.
    pub active_fail: u64,
    /// `TCPFastOpenPassive`: connections born of a valid fast open SYN, even of an empty one.
    pub passive: u64,
    /// `TCPFastOpenPassiveFail`: SYNs with an invalid cookie.
    pub passive_fail: u64,
    /// `TCPFastOpenListenOverflow`: SYNs refused because the fast open queue was full.
    pub listen_overflow: u64,
    /// `TCPFastOpenCookieReqd`: cookie requests; counted even when none is granted.
    pub cookie_reqd: u64,
    /// `TCPFastOpenBlackhole`: times that outgoing fast open was paused.
    pub blackhole: u64,
    /// `TCPFastOpenPassiveAltKey`: cookies of the backup key that were accepted.
    pub passive_alt_key: u64,
    /// `TCPSynRetrans`: SYNs and SYN-ACKs sent again.
    pub syn_retrans: u64,
}
