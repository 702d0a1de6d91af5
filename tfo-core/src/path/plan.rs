//! The plan of a survey, and the trait that sends its SYNs.

use std::time::Duration;

use super::reading::SentSyn;
use super::{Sample, Shot, SynKind};
use crate::Result;

/// Sends SYNs, and waits for what comes back.
pub trait Prober {
    /// Sends one, and returns what came back; with a long time to wait also for its retransmission.
    ///
    /// # Errors
    /// The host can't send it at all.
    fn shoot(&mut self, shot: Shot) -> Result<Vec<Sample>>;

    /// Lets time pass.
    fn pause(&mut self, time: Duration);

    /// Sends from another port from now on.
    ///
    /// # Errors
    /// There is none.
    fn change_port(&mut self) -> Result<()>;

    /// The port that SYNs are sent from.
    fn port(&self) -> u16;

    /// Sends from a port again that SYNs were sent from before.
    fn use_port(&mut self, port: u16);

    /// What a SYN of this kind looks like when it leaves.
    fn sent(&self, kind: SynKind) -> SentSyn;
}

/// The plan of a survey: what is wanted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The kinds to send besides regular SYNs.
    pub kinds: Vec<SynKind>,
    /// The last hop to look at.
    pub max_hops: u8,
    /// The round trip time to the target, where it is known.
    pub round_trip: Option<Duration>,
    /// Large data, to find out about the MTU.
    pub large: Option<usize>,
    /// It is known that the kernel's retransmission of such SYNs passes: no SYN need wait for it.
    pub retransmission_passes: bool,
    /// It seems that nothing passes any more from a port once a SYN with data has passed from it.
    pub flow_dropped: bool,
}

impl Plan {
    /// A plan for these kinds on a path of at most 30 hops.
    #[must_use]
    pub const fn new(kinds: Vec<SynKind>) -> Self {
        Self {
            kinds,
            max_hops: 30,
            round_trip: None,
            large: None,
            retransmission_passes: false,
            flow_dropped: false,
        }
    }

    /// Sets the kinds to send besides regular SYNs.
    #[must_use]
    pub fn kinds(mut self, kinds: Vec<SynKind>) -> Self {
        self.kinds = kinds;
        self
    }

    /// Sets the last hop to look at.
    #[must_use]
    pub const fn max_hops(mut self, hops: u8) -> Self {
        self.max_hops = hops;
        self
    }

    /// Sets the round trip time to the target.
    #[must_use]
    pub const fn round_trip(mut self, time: Option<Duration>) -> Self {
        self.round_trip = time;
        self
    }

    /// Sets the bytes of large data.
    #[must_use]
    pub const fn large(mut self, bytes: Option<usize>) -> Self {
        self.large = bytes;
        self
    }

    /// Sets whether nothing seems to pass any more from a port once a SYN with data has passed from it.
    #[must_use]
    pub const fn flow_dropped(mut self, dropped: bool) -> Self {
        self.flow_dropped = dropped;
        self
    }

    /// Sets whether it is known that the kernel's retransmission passes.
    #[must_use]
    pub const fn retransmission_passes(mut self, passes: bool) -> Self {
        self.retransmission_passes = passes;
        self
    }
}

/// The stage of a survey, for a line of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Regular SYNs find the hops.
    Discovering,
    /// All kinds are sent, hop by hop.
    Comparing,
    /// What looks like a fault is repeated.
    Repeating,
    /// The same, slowly: a hop limits the rate of its ICMP errors.
    RepeatingSlowly,
}
