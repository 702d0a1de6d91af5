//! The times and the verdict of one connection.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::{Outcome, Verdict};

/// The times of one connection, from the call that started it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Time until the TLS handshake completed.
    pub(crate) handshake: Option<Duration>,
    /// Time until the first byte of the reply; without a request, until the TLS handshake completed.
    pub(crate) first_byte: Option<Duration>,
    /// Time until the reply was complete.
    pub(crate) reply: Option<Duration>,
}

/// The side of a pair that a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// A connection that attempts fast open.
    FastOpen,
    /// A regular connection.
    Regular,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::FastOpen => "fast-open",
            Self::Regular => "regular",
        }
    }
}

/// A time that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Metric {
    /// Time until the TLS handshake completed.
    Handshake,
    FirstByte,
    /// Time until the reply was complete.
    Reply,
}

/// One measured connection.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The number of its pair, from 1.
    pub(crate) pair: usize,
    /// Whether it was the first connection of its pair.
    pub(crate) first: bool,
    pub(crate) side: Side,
    pub(crate) verdict: Verdict,
    pub(crate) times: Times,
    /// The round trip time of the handshake; `None` if a retransmission made it unusable.
    pub(crate) rtt: Option<Duration>,
    /// Time until the dialogue ended, or the connection failed.
    pub(crate) ended: Duration,
    /// Whether a segment was retransmitted.
    pub(crate) lossy: bool,
    /// The negotiated version of TLS.
    pub(crate) tls: Option<&'static str>,
}

impl Sample {
    /// Returns a time in milliseconds.
    pub(crate) fn time(&self, metric: Metric) -> Option<f64> {
        let time = match metric {
            Metric::Handshake => self.times.handshake,
            Metric::FirstByte => self.times.first_byte,
            Metric::Reply => self.times.reply,
        };
        time.map(millis)
    }

    /// Returns whether the verdict is that of its side, so that its times count as those of the side.
    /// `both_regular` is whether neither side attempts fast open.
    pub(crate) fn is_proper(&self, both_regular: bool) -> bool {
        let regular = self.side == Side::Regular || both_regular;
        let wanted = if regular { Outcome::NotAttempted } else { Outcome::FastOpen };
        self.verdict.outcome == wanted
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
