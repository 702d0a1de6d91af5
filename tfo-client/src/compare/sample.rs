//! One measured connection.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::{Outcome, Verdict};

/// The times of one connection, from the call that started it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Until the TLS handshake had ended.
    pub(crate) handshake: Option<Duration>,
    /// Until the first byte of the reply to the request; in a bare TLS handshake of the server's part.
    pub(crate) first_byte: Option<Duration>,
    /// Until the reply was whole.
    pub(crate) reply: Option<Duration>,
}

/// Which of a pair a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// Fast open was to be used.
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
    /// Until the TLS handshake had ended.
    Handshake,
    FirstByte,
    /// Until the reply was whole.
    Reply,
}

#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// From 1.
    pub(crate) pair: usize,
    /// It was made first of its pair.
    pub(crate) first: bool,
    pub(crate) side: Side,
    pub(crate) verdict: Verdict,
    pub(crate) times: Times,
    /// The round trip time of the handshake, where no retransmission spoiled it.
    pub(crate) rtt: Option<Duration>,
    /// Until all was said, or it was given up.
    pub(crate) ended: Duration,
    /// Something was sent again.
    pub(crate) lossy: bool,
    /// The version of TLS that was spoken.
    pub(crate) tls: Option<&'static str>,
}

impl Sample {
    /// In milliseconds.
    pub(crate) fn time(&self, metric: Metric) -> Option<f64> {
        let time = match metric {
            Metric::Handshake => self.times.handshake,
            Metric::FirstByte => self.times.first_byte,
            Metric::Reply => self.times.reply,
        };
        time.map(millis)
    }

    /// Whether it is what its side is meant to be: only then its times count as those of its side.
    /// `both_regular`: fast open was not to be used by either.
    pub(crate) fn is_proper(&self, both_regular: bool) -> bool {
        let regular = self.side == Side::Regular || both_regular;
        let wanted = if regular { Outcome::NotAttempted } else { Outcome::FastOpen };
        self.verdict.outcome == wanted
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
