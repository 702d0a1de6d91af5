//! How many keys answer behind one address, seen from a client.

mod occupancy;

use crate::prose::counted;
use std::collections::HashSet;
use std::net::IpAddr;

use super::{CachedCookie, ClientEvidence, Evidence};
use crate::cookie::FastOpenCookie;
use crate::socket::{Attempt, ClientFail};

use occupancy::Occupancy;

/// The keys behind one address, as several connections to it show them.
///
/// A server that refuses a cookie sends one of its own along, so the cookie that is cached after a
/// connection shows the key of the server that answered it. No privilege is needed for that.
///
/// Only repeated cookies bound the number of keys that were not met. If none repeats, there may be any number of keys,
/// or a server that makes a new key for each connection.
///
/// The chances hold where each connection goes to any of the servers with the same chance. A
/// balancer that always sends one client to the same server shows that one alone.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Balance {
    /// How many connections there were.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub connections: usize,
    /// How many of them showed the key of the server that answered.
    pub observed: usize,
    /// The cookies that were seen, in the order in which they came first.
    pub cookies: Vec<SeenCookie>,
    /// The number of keys that made the cookies, which is a minimum. It is less than the number of cookies only if
    /// the servers' half of the evidence shows that an address made the difference.
    pub keys: usize,
    /// The number of different cookies, including those that were not met: one for each key, unless an address
    /// makes the difference. `None` if no cookie was seen.
    pub estimate: Option<KeyEstimate>,
    /// Whether the cookies repeat in the same order: connections go to the servers in turn.
    pub in_turn: bool,
    /// How many addresses of their own the servers have. `None`: no server told.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub server_addresses: Option<usize>,
    /// As how many addresses this host arrived there. `None`: no server told.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub client_addresses: Option<usize>,
    /// How many SYNs carried data.
    pub tried: usize,
    /// How many of them had their data accepted.
    pub hits: usize,
    /// How many of those brought a new cookie all the same: the old one was of a backup key.
    pub renewed: usize,
    /// The share of hits to expect by chance, from 0 to 1: one divided by the estimate. If connections go to the
    /// servers in turn, the share holds for many clients; a single client never hits. `None` if no cookie was seen, if
    /// none repeats, and if servers accept each other's cookies.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub expected_hit_rate: Option<f64>,
    /// The chance, from 0 to 1, that one more cookie would have been met if exactly one more existed. The estimate
    /// bounds the total number.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub confidence: Option<f64>,
    /// What was found.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub finding: String,
    /// What to do next.
    pub advice: String,
}

/// An estimate with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct KeyEstimate {
    /// The likely number. `None`: no cookie repeats, so any number is equally likely.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub likely: Option<usize>,
    /// The lower bound.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub low: usize,
    /// The upper bound. `None`: there may be any number.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub high: Option<usize>,
}

/// A cookie, and how often it was met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SeenCookie {
    /// The cookie; in text as hex digits.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", regex(pattern = "^([0-9a-f]{2}){4,16}$"))
    )]
    pub cookie: FastOpenCookie,
    /// Connections whose server had made it, or would have.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub connections: usize,
}

/// Counts the keys behind an address: `evidence` is of connections to it, made one after another.
///
/// ```no_run
/// use tfo_core::diagnosis::{Evidence, balance};
/// use tfo_core::probe::Probe;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let probe = Probe::new("192.0.2.1:2222".parse()?);
/// let evidence: Vec<_> = (0..16)
///     .map(|_| Evidence::new(Some(probe.run(b"hello\n").evidence), None))
///     .collect();
/// println!("{}", balance(&evidence).finding);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn balance(evidence: &[Evidence]) -> Balance {
    let mut seen = Seen::default();
    for one in evidence {
        seen.add(one);
    }
    seen.judge(evidence.len())
}

#[derive(Default)]
struct Seen {
    cookies: Vec<SeenCookie>,
    /// The index of the cookie of each connection that showed one.
    order: Vec<usize>,
    /// Cookies with the addresses that they were made for, as far as those are known.
    made: HashSet<(Option<(IpAddr, IpAddr)>, FastOpenCookie)>,
    servers: HashSet<IpAddr>,
    clients: HashSet<IpAddr>,
    observed: usize,
    tried: usize,
    hits: usize,
    renewed: usize,
}

impl Seen {
    fn add(&mut self, evidence: &Evidence) {
        let addresses = evidence
            .server
            .as_ref()
            .map(|server| (server.source_ip(), server.destination.ip().to_canonical()));
        if let Some((source, destination)) = addresses {
            self.clients.insert(source);
            self.servers.insert(destination);
        }
        let Some(client) = &evidence.client else { return };
        let in_syn = matches!(client.attempt, Attempt::InSyn(bytes) if bytes > 0);
        let hit = in_syn && client.tcp.is_some_and(|tcp| tcp.syn_data);
        self.tried += usize::from(in_syn);
        self.hits += usize::from(hit);
        let Some(cookie) = shown(client, hit) else { return };
        self.renewed += usize::from(hit && before(client).is_some_and(|before| before != cookie));
        self.observed += 1;
        self.made.insert((addresses, cookie));
        let known = self.cookies.iter().position(|known| known.cookie == cookie);
        let index = known.unwrap_or(self.cookies.len());
        self.order.push(index);
        match self.cookies.get_mut(index) {
            Some(known) => known.connections += 1,
            None => self.cookies.push(SeenCookie { cookie, connections: 1 }),
        }
    }

    /// Returns whether all other cookies came before each cookie came again, as far as there were enough
    /// connections.
    fn may_be_in_turn(&self) -> bool {
        self.order.iter().zip(self.order.iter().skip(self.cookies.len())).all(|(a, b)| a == b)
    }

    /// Returns whether the cookies come in turn, which is unlikely to be chance.
    fn is_in_turn(&self) -> bool {
        let (distinct, repeats) = (self.cookies.len(), self.observed - self.cookies.len());
        distinct > 1 && self.may_be_in_turn() && real(distinct).powf(-real(repeats)) < MAX_CHANCE
    }

    fn estimate(&self) -> Option<KeyEstimate> {
        let distinct = self.cookies.len();
        if distinct == 0 {
            return None;
        }
        if self.is_in_turn() {
            return Some(KeyEstimate {
                likely: Some(distinct),
                low: distinct,
                high: Some(distinct),
            });
        }
        let Occupancy { likely, low, high } = Occupancy::new(distinct, self.observed);
        // If the servers come in turn, their number can be the observed one, where chance would require more.
        let low = if self.may_be_in_turn() { distinct } else { low };
        Some(KeyEstimate { likely, low, high })
    }

    /// The most cookies that were made for the same two addresses.
    fn keys(&self) -> usize {
        let same = |pair| self.made.iter().filter(|(other, _)| *other == pair).count();
        self.made.iter().map(|(pair, _)| same(*pair)).max().unwrap_or(0)
    }

    fn judge(self, connections: usize) -> Balance {
        let distinct = self.cookies.len();
        let told = |addresses: &HashSet<IpAddr>| Some(addresses.len()).filter(|count| *count > 0);
        let estimate = self.estimate();
        let likely = estimate.and_then(|estimate| estimate.likely);
        let mut balance = Balance {
            connections,
            observed: self.observed,
            keys: self.keys(),
            estimate,
            in_turn: self.is_in_turn(),
            server_addresses: told(&self.servers),
            client_addresses: told(&self.clients),
            tried: self.tried,
            hits: self.hits,
            renewed: self.renewed,
            expected_hit_rate: likely
                .filter(|_| self.renewed == 0)
                .map(|likely| 1.0 / real(likely)),
            confidence: (distinct > 0).then(|| 1.0 - miss(distinct, self.observed)),
            cookies: self.cookies,
            finding: String::new(),
            advice: String::new(),
        };
        balance.finding = balance.say();
        balance.advice = balance.next_step();
        balance
    }
}

impl Balance {
    fn say(&self) -> String {
        let distinct = self.cookies.len();
        let Some(estimate) = self.estimate else {
            return format!(
                "None of {} connections showed a cookie, so the number of keys is unknown.",
                self.connections
            );
        };
        let kind = match self.why() {
            Why::Key => "keys",
            _ => "cookies",
        };
        let found = match self.why() {
            Why::Key if distinct == 1 && estimate.high == Some(1) => {
                "One key answers behind this address".to_owned()
            }
            Why::Key if distinct == 1 => "At least one key answers behind this address".to_owned(),
            Why::Key if estimate.likely.is_none() => format!(
                "Each of {} connections showed another key: a new key each time, or more keys than so few \
                 connections show",
                self.observed
            ),
            Why::Key if estimate.high == Some(distinct) => {
                format!("{distinct} keys answer behind this address")
            }
            Why::Key => format!("At least {distinct} keys answer behind this address"),
            Why::ServerAddress(count) => format!(
                "{distinct} different cookies answer behind this address, of servers with {count} \
                 addresses of their own; a cookie is made for the server's address too, so they differ \
                 even with the same key"
            ),
            Why::ClientAddress(count) => format!(
                "{distinct} different cookies answer behind this address, as this host arrives there \
                 with {count} addresses; a cookie is made for the client's address too, so they differ \
                 even with the same key"
            ),
        };
        format!("{found}{}. {}", self.hits_in_words(), self.bounds(estimate, kind))
    }

    /// What to expect, and what came of it.
    fn hits_in_words(&self) -> String {
        let accepted = format!(
            "{} of {} accepted",
            self.hits,
            counted(self.tried, "SYN with data was", "SYNs with data were")
        );
        match self.expected_hit_rate {
            _ if self.cookies.len() == 1 => String::new(),
            None if self.renewed > 0 => {
                format!(", and they take each other's cookies as those of a backup key: {accepted}")
            }
            None => format!("; {accepted}"),
            Some(rate) if self.in_turn || self.are_hits_rare(rate) => format!(
                ": expect {} hits; {accepted}, which is less than chance: connections go to the servers in \
                 turn",
                percent(rate)
            ),
            Some(rate) => format!(": expect {} hits; {accepted}", percent(rate)),
        }
    }

    /// Describes how many keys there may be that were not met.
    fn bounds(&self, estimate: KeyEstimate, kind: &str) -> String {
        let distinct = self.cookies.len();
        let after = format!("after {}", counted(self.observed, "connection", "connections"));
        match (estimate.likely, estimate.high) {
            _ if self.in_turn => {
                format!("There is no other: they come round in the same order, {after}.")
            }
            (None, _) | (_, None) => {
                format!(
                    "How many {kind} there are only repeats can tell, and there are too few {after}."
                )
            }
            (Some(_), Some(high)) if high == distinct => {
                format!("There is no other, with 95 % confidence {after}{ASSUMED}.")
            }
            (Some(_), Some(high)) if distinct == 1 => {
                format!("With 95 % confidence there are at most {high} {kind} {after}{ASSUMED}.")
            }
            (Some(likely), Some(high)) => {
                let rates = match self.expected_hit_rate {
                    Some(_) if distinct > 1 => format!(
                        ", and between {} and {} hits to expect",
                        percent(1.0 / real(high)),
                        percent(1.0 / real(estimate.low))
                    ),
                    _ => String::new(),
                };
                format!(
                    "There are likely {likely} {kind}, with 95 % confidence between {} and {high}{rates}, {after}\
                     {ASSUMED}.",
                    estimate.low
                )
            }
        }
    }

    fn next_step(&self) -> String {
        let same_key = "Give all servers the same key, and compare them: `sudo tfo-server keys show \
                        --sysctl` on each server";
        let is_bounded =
            self.estimate.is_some_and(|estimate| estimate.high == Some(self.cookies.len()));
        match (self.cookies.len(), self.why()) {
            (0, _) => "See what becomes of the connections first: their verdict says it.".to_owned(),
            (1, _) if !is_bounded => {
                "Make more connections, which meet more servers: `--balance 20`.".to_owned()
            }
            (1, _) => "Nothing to do.".to_owned(),
            (_, Why::Key) if self.renewed > 0 => {
                "Nothing to do while keys are rotated; afterwards all servers should have the same one: \
                 `sudo tfo-server keys show --sysctl` on each server."
                    .to_owned()
            }
            (distinct, Why::Key) if distinct == self.observed => format!(
                "Make more connections, so that keys can repeat: `--balance {}`. If none does, look for one that is \
                 made anew each time, by a program that is started for each connection or sets a key at random. \
                 {same_key}.",
                self.connections.saturating_mul(5).clamp(20, 10_000)
            ),
            (_, Why::Key) if self.server_addresses.is_some() => format!("{same_key}."),
            (_, Why::Key) => format!(
                "{same_key}. If they are the same already, an address is translated on the way, the \
                 servers' or this host's: `tfo-server` there tells, as its mirror shows what arrives."
            ),
            (_, Why::ServerAddress(_)) => {
                "Let the balancer leave the destination address as it is (direct server return), or send \
                 each client always to the same server; the same key alone does not help."
                    .to_owned()
            }
            (_, Why::ClientAddress(_)) => {
                "Pin this host to one address in the NAT; the same key alone does not help.".to_owned()
            }
        }
    }

    /// What makes the cookies differ.
    fn why(&self) -> Why {
        match (self.server_addresses, self.client_addresses) {
            _ if self.keys == self.cookies.len() => Why::Key,
            (Some(count), _) if count > 1 => Why::ServerAddress(count),
            (_, Some(count)) if count > 1 => Why::ClientAddress(count),
            _ => Why::Key,
        }
    }

    /// Hits are so rare that chance hardly explains it.
    fn are_hits_rare(&self, rate: f64) -> bool {
        self.hits == 0 && (1.0 - rate).powf(real(self.tried)) < MAX_CHANCE
    }
}

/// Chance explains what is as likely as this.
const MAX_CHANCE: f64 = 0.005;

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

const ASSUMED: &str = ", if each connection goes to any server with the same chance";

enum Why {
    Key,
    ServerAddress(usize),
    ClientAddress(usize),
}

/// The cookie of the server that answered, where the connection shows it: that of a SYN that was
/// accepted, or the one that came back.
fn shown(client: &ClientEvidence, hit: bool) -> Option<FastOpenCookie> {
    let after = client.cookie_after?.cookie()?;
    let refused = client.tcp.is_some_and(|tcp| tcp.client_fail == ClientFail::DataNotAcked)
        && before(client) != Some(after);
    let granted = client.cookie_before == Some(CachedCookie::None);
    (hit || refused || granted).then_some(after)
}

fn before(client: &ClientEvidence) -> Option<FastOpenCookie> {
    client.cookie_before?.cookie()
}

/// Returns the chance that this number of connections never met one more server that is as likely as the others.
fn miss(distinct: usize, observed: usize) -> f64 {
    (real(distinct) / (real(distinct) + 1.0)).powf(real(observed))
}

#[allow(clippy::cast_precision_loss, reason = "a count of connections is small")]
fn real(count: usize) -> f64 {
    count as f64
}
