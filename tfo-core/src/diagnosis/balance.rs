//! How many keys answer behind one address, seen from a client.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{CachedCookie, ClientEvidence, Evidence};
use crate::cookie::FastOpenCookie;
use crate::socket::{Attempt, ClientFail};

/// What several connections to one address say of the keys behind it.
///
/// A server that refuses a cookie sends one of its own along, so the cookie that is cached after a
/// connection shows the key of the server that answered it. No privilege is needed for that.
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
    /// How many keys made them. Less than there are cookies only where the servers' half of the
    /// evidence shows that an address made the difference.
    pub keys: usize,
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
    /// The share of hits to expect, from 0 to 1. `None` where nothing was seen, and where servers
    /// take each other's cookies.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub expected_hit_rate: Option<f64>,
    /// The chance, from 0 to 1, that one more server with another cookie would have been met.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub confidence: Option<f64>,
    /// What was found.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub finding: String,
    /// What to do next.
    pub advice: String,
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
        match self.cookies.iter_mut().find(|known| known.cookie == cookie) {
            Some(known) => known.connections += 1,
            None => self.cookies.push(SeenCookie { cookie, connections: 1 }),
        }
    }

    /// The most cookies that were made for the same two addresses.
    fn keys(&self) -> usize {
        let same = |pair| self.made.iter().filter(|(other, _)| *other == pair).count();
        self.made.iter().map(|(pair, _)| same(*pair)).max().unwrap_or(0)
    }

    fn judge(self, connections: usize) -> Balance {
        let distinct = self.cookies.len();
        let told = |addresses: &HashSet<IpAddr>| Some(addresses.len()).filter(|count| *count > 0);
        let mut balance = Balance {
            connections,
            observed: self.observed,
            keys: self.keys(),
            server_addresses: told(&self.servers),
            client_addresses: told(&self.clients),
            tried: self.tried,
            hits: self.hits,
            renewed: self.renewed,
            expected_hit_rate: (distinct > 0 && self.renewed == 0).then(|| 1.0 / real(distinct)),
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
        let sure = format!("{} sure after {} connections", self.sureness(), self.observed);
        let found = match (distinct, self.why()) {
            (0, _) => {
                return format!(
                    "None of {} connections showed a cookie, so nothing can be told of keys.",
                    self.connections
                );
            }
            (1, _) => {
                return format!(
                    "One key answers behind this address. That there is no second: {sure}{ASSUMED}."
                );
            }
            (_, Why::Key) => format!("{} keys answer behind this address", self.keys),
            (_, Why::ServerAddress(count)) => format!(
                "{distinct} different cookies answer behind this address, of servers with {count} \
                 addresses of their own; a cookie is made for the server's address too, so they differ \
                 even with the same key"
            ),
            (_, Why::ClientAddress(count)) => format!(
                "{distinct} different cookies answer behind this address, as this host arrives there \
                 with {count} addresses; a cookie is made for the client's address too, so they differ \
                 even with the same key"
            ),
        };
        let hits = match self.expected_hit_rate {
            None => format!(
                ", and they take each other's cookies as those of a backup key: {} of {} SYNs with data \
                 were accepted",
                self.hits, self.tried
            ),
            Some(rate) => format!(
                ": expect {:.0} % hits; {} of {} SYNs with data were accepted{}",
                rate * 100.0,
                self.hits,
                self.tried,
                if self.in_turns(rate) {
                    ", which is less than chance: connections go to the servers in turn"
                } else {
                    ""
                }
            ),
        };
        format!("{found}{hits}. That there is no other: {sure}{ASSUMED}.")
    }

    fn next_step(&self) -> String {
        let same_key = "Give all servers the same key, and compare them: `sudo tfo-server keys show \
                        --sysctl` on each server";
        match (self.cookies.len(), self.why()) {
            (0, _) => "See what becomes of the connections first: their verdict says it.".to_owned(),
            (1, _) => "Nothing to do.".to_owned(),
            (_, Why::Key) if self.renewed > 0 => {
                "Nothing to do while keys are rotated; afterwards all servers should have the same one: \
                 `sudo tfo-server keys show --sysctl` on each server."
                    .to_owned()
            }
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
    fn in_turns(&self, rate: f64) -> bool {
        self.hits == 0 && (1.0 - rate).powf(real(self.tried)) < 0.01
    }

    fn sureness(&self) -> String {
        match self.confidence.unwrap_or(0.0) * 100.0 {
            percent if percent > 99.9 => "more than 99.9 %".to_owned(),
            percent => format!("{percent:.1} %"),
        }
    }
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

/// The chance that so many connections never met one more server, as likely as the others.
fn miss(distinct: usize, observed: usize) -> f64 {
    (real(distinct) / (real(distinct) + 1.0)).powf(real(observed))
}

#[allow(clippy::cast_precision_loss, reason = "a count of connections is small")]
fn real(count: usize) -> f64 {
    count as f64
}
