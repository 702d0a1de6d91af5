//! Hops of the path: routers, and what is special about each of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Middlebox;
use crate::error::Error;

/// The most hops of a path.
pub const MAX_HOPS: usize = 30;
/// The most routers that share the packets of a hop.
pub const MAX_BRANCHES: usize = 4;
/// The smallest MTU of an IPv4 link whose packets hold a SYN with all its options.
const MIN_MTU: u16 = 200;

/// A hop of the path: one router, or several of equal cost that share its packets.
///
/// A router decrements the TTL, and answers a packet whose TTL ends there with an ICMP error, as Linux does:
/// before it forwards. A box in its forward path is therefore first seen in the quotes of the next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub(super) routers: Vec<Router>,
    /// Each packet takes the next router; else each connection keeps the one that its addresses choose.
    pub(super) per_packet: bool,
    /// Terminates TCP connections, and opens others to the server: a transparent proxy.
    pub(super) terminates: bool,
}

/// One router of a hop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Router {
    /// Act before the TTL is looked at.
    pub(super) arriving: Vec<Middlebox>,
    /// Act on what is forwarded.
    pub(super) forwarding: Vec<Middlebox>,
    /// Sends no ICMP errors.
    pub(super) silent: bool,
    /// Sends six ICMP errors at once, then one a second, as Linux does by default.
    pub(super) rate_limited: bool,
    /// The bytes that its ICMP errors quote from the TCP header on; as many as allowed if `None`.
    pub(super) quote: Option<usize>,
    pub(super) mtu: Option<u16>,
    /// Drops what does not fit the MTU, and sends no ICMP error.
    pub(super) mtu_silent: bool,
}

impl Default for Hop {
    fn default() -> Self {
        Self { routers: vec![Router::default()], per_packet: false, terminates: false }
    }
}

/// A rule for a hop, as on the command line: `3:drop-syn-data`, `2:silent`, `4b:quote=8`.
///
/// A letter behind the number names one of several routers: `b` is the second one, and makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopRule {
    hop: usize,
    branch: Option<usize>,
    property: HopProperty,
}

/// A property of a hop, or of one of its routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HopProperty {
    /// Has a box in its forward path: `NAME`.
    Box(Middlebox),
    /// Has a box where packets arrive, before the TTL is looked at: `arriving=NAME`.
    ArrivingBox(Middlebox),
    /// Sends no ICMP errors: `silent`.
    Silent,
    /// Sends six ICMP errors at once, then one a second: `rate-limit`.
    RateLimit,
    /// Quotes this number of bytes from the TCP header on: `quote=8`.
    Quote(usize),
    /// Forwards no larger packets, and says so by ICMP: `mtu=1400`.
    Mtu(u16),
    /// Forwards no larger packets, and does not say so: `mtu-silent=1400`.
    MtuSilent(u16),
    /// Has this number of routers, among which connections are distributed: `branches=2`.
    Branches(usize),
    /// Distributes packets among its routers, not connections: `per-packet`.
    PerPacket,
    /// Terminates TCP connections, and opens others to the server: `proxy`.
    Proxy,
}

impl HopRule {
    /// The text of what is allowed, for error messages and help.
    pub const ALLOWED: &str = "N:BOX, N:arriving=BOX, N:silent, N:rate-limit, N:quote=BYTES, N:mtu=BYTES, \
                               N:mtu-silent=BYTES, N:branches=COUNT, N:per-packet or N:proxy, where N is a hop, and Nb its second router";

    /// Creates a rule for all routers of a hop, counted from 1.
    #[must_use]
    pub const fn new(hop: usize, property: HopProperty) -> Self {
        Self { hop, branch: None, property }
    }

    /// Creates a rule for one router of a hop; the first one is 0.
    #[must_use]
    pub const fn of_branch(hop: usize, branch: usize, property: HopProperty) -> Self {
        Self { hop, branch: Some(branch), property }
    }

    /// Returns the hop, counted from 1.
    #[must_use]
    pub const fn hop(&self) -> usize {
        self.hop
    }
}

/// Creates the hops of a path.
///
/// ```
/// use tfo_core::lab::{PathSettings, hops};
///
/// # fn main() -> tfo_core::Result<()> {
/// let rules = ["2:silent".parse()?, "3:drop-syn-data".parse()?];
/// let path = PathSettings::new().hops(hops(4, &rules)?);
/// # let _ = path;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// There are more than [`MAX_HOPS`], a rule names a hop that the path does not have, or two hops are proxies.
pub fn hops(count: usize, rules: &[HopRule]) -> Result<Vec<Hop>, Error> {
    if count > MAX_HOPS {
        return Err(malformed(format!("{count} hops: a path has at most {MAX_HOPS}")));
    }
    let mut hops = vec![Hop::default(); count];
    for rule in rules {
        let hop = rule.hop.checked_sub(1).and_then(|index| hops.get_mut(index));
        let hop = hop.ok_or_else(|| {
            malformed(format!("there is no hop {}: the path has {count}", rule.hop))
        })?;
        hop.apply(*rule);
    }
    if hops.iter().filter(|hop| hop.terminates).count() > 1 {
        return Err(malformed("a path has at most one proxy".to_owned()));
    }
    Ok(hops)
}

impl Hop {
    fn apply(&mut self, rule: HopRule) {
        let wanted = match (rule.property, rule.branch) {
            (HopProperty::Branches(count), _) => count,
            (_, Some(branch)) => branch + 1,
            _ => 1,
        };
        // The others are like the first one as it is by now.
        while self.routers.len() < wanted.min(MAX_BRANCHES) {
            let like =
                if rule.branch.is_some() { Router::default() } else { self.routers[0].clone() };
            self.routers.push(like);
        }
        match rule.property {
            HopProperty::PerPacket => self.per_packet = true,
            HopProperty::Proxy => self.terminates = true,
            _ => {}
        }
        for (branch, router) in self.routers.iter_mut().enumerate() {
            if rule.branch.is_none_or(|wanted| wanted == branch) {
                router.apply(rule.property);
            }
        }
    }
}

impl Router {
    fn apply(&mut self, property: HopProperty) {
        match property {
            HopProperty::Box(middlebox) => self.forwarding.push(middlebox),
            HopProperty::ArrivingBox(middlebox) => self.arriving.push(middlebox),
            HopProperty::Silent => self.silent = true,
            HopProperty::RateLimit => self.rate_limited = true,
            HopProperty::Quote(bytes) => self.quote = Some(bytes),
            HopProperty::Mtu(mtu) => (self.mtu, self.mtu_silent) = (Some(mtu), false),
            HopProperty::MtuSilent(mtu) => (self.mtu, self.mtu_silent) = (Some(mtu), true),
            HopProperty::Branches(_) | HopProperty::PerPacket | HopProperty::Proxy => {}
        }
    }
}

/// The address of a router: of 203.0.113.0/24 (RFC 5737), or `2001:db8:2::/48`. Hop 0 stands for boxes in front of the first
/// one.
pub(super) fn router_address(hop: usize, branch: usize, v6: bool) -> IpAddr {
    let number = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    if v6 {
        let (branch, hop) = (number(branch).into(), number(hop).into());
        Ipv6Addr::new(0x2001, 0xdb8, 2, branch, 0, 0, 0, hop).into()
    } else {
        let last = if hop == 0 { 254 } else { number(branch * (MAX_HOPS + 2) + hop) };
        Ipv4Addr::new(203, 0, 113, last).into()
    }
}

impl FromStr for HopProperty {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let number = |range: std::ops::RangeInclusive<usize>| {
            let parsed = value.parse().ok().filter(|number| range.contains(number));
            parsed.ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                malformed(format!("{text:?}: expected a number from {least} to {most}"))
            })
        };
        let mtu = || {
            let number = number(MIN_MTU.into()..=1500)?;
            Ok(u16::try_from(number).unwrap_or(1500))
        };
        let property = match name {
            "arriving" => Self::ArrivingBox(value.parse()?),
            "quote" => Self::Quote(number(8..=1400)?),
            "mtu" => Self::Mtu(mtu()?),
            "mtu-silent" => Self::MtuSilent(mtu()?),
            "branches" => Self::Branches(number(1..=MAX_BRANCHES)?),
            _ if !value.is_empty() => {
                return Err(malformed(format!("{text:?}: expected {}", HopRule::ALLOWED)));
            }
            "silent" => Self::Silent,
            "rate-limit" => Self::RateLimit,
            "per-packet" => Self::PerPacket,
            "proxy" => Self::Proxy,
            name => Self::Box(name.parse().map_err(|e: Error| {
                malformed(format!("{text:?}: expected {}; {e}", HopRule::ALLOWED))
            })?),
        };
        Ok(property)
    }
}

impl fmt::Display for HopProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Box(middlebox) => write!(f, "{middlebox}"),
            Self::ArrivingBox(middlebox) => write!(f, "arriving={middlebox}"),
            Self::Silent => f.write_str("silent"),
            Self::RateLimit => f.write_str("rate-limit"),
            Self::Quote(bytes) => write!(f, "quote={bytes}"),
            Self::Mtu(mtu) => write!(f, "mtu={mtu}"),
            Self::MtuSilent(mtu) => write!(f, "mtu-silent={mtu}"),
            Self::Branches(count) => write!(f, "branches={count}"),
            Self::PerPacket => f.write_str("per-packet"),
            Self::Proxy => f.write_str("proxy"),
        }
    }
}

impl FromStr for HopRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || malformed(format!("{text:?}: expected {}", Self::ALLOWED));
        let (place, property) = text.split_once(':').ok_or_else(wrong)?;
        let digits = place.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let branch = match place.get(digits.len()..).unwrap_or_default().as_bytes() {
            [] => None,
            [letter @ b'a'..=b'd'] => Some(usize::from(letter - b'a')),
            _ => return Err(wrong()),
        };
        let hop = digits.parse().ok().filter(|hop| (1..=MAX_HOPS).contains(hop));
        Ok(Self { hop: hop.ok_or_else(wrong)?, branch, property: property.parse()? })
    }
}

impl fmt::Display for HopRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.branch.and_then(|branch| ['a', 'b', 'c', 'd'].get(branch));
        write!(
            f,
            "{}{}:{}",
            self.hop,
            letter.map(char::to_string).unwrap_or_default(),
            self.property
        )
    }
}

fn malformed(reason: String) -> Error {
    Error::malformed("hop", reason)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rules_read_back_as_they_are_written() {
        for text in [
            "3:drop-syn-data",
            "3b:strip-syn-option",
            "30:arriving=reset-syn-data",
            "1:silent",
            "2:rate-limit",
            "2:quote=8",
            "2:mtu=1280",
            "2d:mtu-silent=1400",
            "2:branches=4",
            "2:per-packet",
            "2:proxy",
        ] {
            let rule: HopRule = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(rule.to_string(), text);
        }
    }

    #[test]
    fn malformed_rules_are_refused_with_what_is_allowed() {
        for text in [
            "",
            "3",
            "3:",
            "0:silent",
            "31:silent",
            "x:silent",
            "3e:silent",
            "3ab:silent",
            "3:nonsense",
            "3:silent=1",
            "3:quote=7",
            "3:mtu=9000",
            "3:branches=5",
            "3:arriving=silent",
            "3:quote",
        ] {
            let error = text.parse::<HopRule>().expect_err(text).to_string();
            assert!(error.contains("expected"), "{text}: {error}");
        }
    }

    #[test]
    fn branch_of_a_rule_makes_its_router() {
        let rules: Vec<HopRule> = ["2:quote=8", "2b:silent", "2:rate-limit"]
            .map(|rule| rule.parse().expect("valid"))
            .into();
        let hops = hops(2, &rules).expect("two hops");
        assert_eq!(hops[0], Hop::default());
        let [first, second] = &hops[1].routers[..] else { panic!("two routers: {hops:?}") };
        assert!(!first.silent && second.silent, "{hops:?}");
        assert!(first.rate_limited && second.rate_limited, "{hops:?}");
        assert_eq!((first.quote, second.quote), (Some(8), None));
    }

    #[test]
    fn hops_that_do_not_exist_are_refused() {
        let silent = HopRule::new(3, HopProperty::Silent);
        hops(2, &[silent]).expect_err("hop 3 of 2");
        hops(MAX_HOPS + 1, &[]).expect_err("too many");
        let proxies = [1, 2].map(|hop| HopRule::new(hop, HopProperty::Proxy));
        hops(2, &proxies).expect_err("two proxies");
    }

    #[test]
    fn each_router_has_an_address_of_its_own() {
        for v6 in [false, true] {
            let all: HashSet<IpAddr> = (1..=MAX_HOPS)
                .flat_map(|hop| {
                    (0..MAX_BRANCHES).map(move |branch| router_address(hop, branch, v6))
                })
                .chain([router_address(0, 0, v6)])
                .collect();
            assert_eq!(all.len(), MAX_HOPS * MAX_BRANCHES + 1);
        }
    }
}
