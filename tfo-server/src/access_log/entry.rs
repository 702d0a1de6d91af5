//! The line of a connection that has ended.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tfo_core::cli::value::Format;
use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::{Outcome, ServerEvidence, Verdict};
use tfo_core::socket::SynRecord;

use crate::arrival::cookie_origin::OriginReading;
use crate::arrival::{ArrivalDetails, ArrivalVerdict};
use crate::config::values::ServiceKind;
use crate::output::{json, micros};

/// A connection that has ended.
pub(crate) struct ConnectionEntry {
    pub(crate) peer: SocketAddr,
    /// The client behind a proxy, if the proxy named it.
    pub(crate) client: Option<SocketAddr>,
    /// The upstream of the connection.
    pub(crate) upstream: Option<SocketAddr>,
    /// `None`: the arrival was not inspected.
    pub(crate) arrival: Option<Box<ArrivalDetails>>,
    /// The verdict that was counted.
    pub(crate) counted_as: ArrivalVerdict,
    pub(crate) service: ServiceKind,
    pub(crate) duration: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Why the server closed the connection early.
    pub(crate) cut_short: Option<String>,
}

#[derive(Serialize)]
struct ConnectionLine<'a> {
    schema: u32,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<SocketAddr>,
    #[serde(flatten)]
    verdict: Option<VerdictField<'a>>,
    syn_bytes: u16,
    cookie: Cookie,
    cookie_origin: Option<OriginReading>,
    duration_us: u64,
    service: ServiceKind,
    bytes_in: u64,
    bytes_out: u64,
    cut_short: Option<&'a str>,
    evidence: Option<&'a ServerEvidence>,
}

/// The verdict, or that it is unknown.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum VerdictField<'a> {
    Verdict(&'a Verdict),
    Unknown { verdict: &'static str },
}

/// The fast open option of the SYN.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Cookie {
    /// The SYN was not saved.
    Unknown,
    /// The SYN had no fast open option.
    None,
    /// The SYN requested a cookie.
    Request,
    /// The SYN contained a cookie of this length.
    Bytes(usize),
}

impl Cookie {
    fn text(self) -> String {
        match self {
            Self::Unknown => "SYN not seen".to_owned(),
            Self::None => "no cookie".to_owned(),
            Self::Request => "cookie request".to_owned(),
            Self::Bytes(len) => format!("cookie {len} B"),
        }
    }
}

impl ConnectionEntry {
    /// Returns the peer. An IPv4-mapped address becomes an IPv4 address.
    fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.peer.ip().to_canonical(), self.peer.port())
    }

    /// Formats the line.
    pub(super) fn line(&self, format: Format) -> String {
        let verdict = self.arrival.as_ref().and_then(|arrival| arrival.in_words(self.counted_as));
        let (syn_bytes, cookie) = match &self.arrival {
            Some(arrival) => of_syn(&arrival.evidence.syn),
            None => (0, Cookie::Unknown),
        };
        match format {
            Format::Json => self.json(verdict.as_deref(), syn_bytes, cookie),
            Format::Text => self.text(verdict.as_deref(), syn_bytes, cookie),
        }
    }

    fn cookie_origin(&self) -> Option<OriginReading> {
        self.arrival.as_ref()?.cookie_origin
    }

    fn json(&self, verdict: Option<&Verdict>, syn_bytes: u16, cookie: Cookie) -> String {
        json(&ConnectionLine {
            schema: 1,
            peer: self.peer().to_string(),
            client: self.client,
            upstream: self.upstream,
            verdict: match (verdict, self.counted_as) {
                (Some(verdict), _) => Some(VerdictField::Verdict(verdict)),
                (None, ArrivalVerdict::Unknown) => {
                    Some(VerdictField::Unknown { verdict: "unknown" })
                }
                (None, _) => None,
            },
            syn_bytes,
            cookie,
            cookie_origin: self.cookie_origin(),
            duration_us: micros(self.duration),
            service: self.service,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            cut_short: self.cut_short.as_deref(),
            evidence: self.arrival.as_ref().map(|arrival| &arrival.evidence),
        })
    }

    fn text(&self, verdict: Option<&Verdict>, syn_bytes: u16, cookie: Cookie) -> String {
        let mut line = self.peer().to_string();
        if let Some(client) = self.client {
            line += &format!(" for {client}");
        }
        if let Some(upstream) = self.upstream {
            line += &format!(" to {upstream}");
        }
        match verdict {
            Some(verdict) => {
                line += &format!(" {}", verdict.outcome);
                if let Some(cause) = verdict.cause {
                    line += &format!(" ({cause})");
                }
                line += &format!(", {syn_bytes} B in the SYN, {}", cookie.text());
            }
            None if self.counted_as == ArrivalVerdict::Unknown => {
                line += &format!(" unknown, {}", cookie.text());
            }
            None => line += " not looked at",
        }
        // A cookie of the primary key is not worth mentioning, unless it was refused.
        let refused = verdict
            .is_some_and(|verdict| matches!(verdict.outcome, Outcome::Fallback | Outcome::Failed));
        if let Some(origin) = self
            .cookie_origin()
            .filter(|origin| refused || *origin != OriginReading::Of(Origin::Primary))
        {
            line += &format!(" {origin}");
        }
        line += &format!(", {:.1} ms", self.duration.as_secs_f64() * 1e3);
        if let Some(why) = &self.cut_short {
            line += &format!(", ended: {why}");
        }
        line
    }
}

fn of_syn(syn: &SynRecord) -> (u16, Cookie) {
    let Some(syn) = syn.saved() else { return (0, Cookie::Unknown) };
    let cookie = match syn.fast_open {
        None => Cookie::None,
        Some(option) if option.is_request() => Cookie::Request,
        Some(option) => Cookie::Bytes(option.cookie.as_bytes().len()),
    };
    (syn.payload_bytes, cookie)
}
