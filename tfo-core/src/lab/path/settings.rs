//! The settings of a path.

use std::time::Duration;

use crate::lab::{Hop, Middlebox};

/// The settings of a path.
#[derive(Debug, Clone, Default)]
pub struct PathSettings {
    pub(in crate::lab) delay: [Duration; 2],
    pub(in crate::lab) jitter: Duration,
    pub(in crate::lab) loss: f64,
    pub(in crate::lab) rate: Option<u64>,
    pub(in crate::lab) seed: u64,
    pub(in crate::lab) boxes: Vec<Middlebox>,
    pub(in crate::lab) hops: Vec<Hop>,
    pub(in crate::lab) translate_client: bool,
    pub(in crate::lab) translate_servers: bool,
}

impl PathSettings {
    /// Creates the settings of a path without delay and loss.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the round trip time: half of it in each direction.
    #[must_use]
    pub fn round_trip(self, time: Duration) -> Self {
        let half = time / 2;
        self.delays(half, time.saturating_sub(half))
    }

    /// Sets the delay to the server, and back.
    #[must_use]
    pub fn delays(mut self, to_server: Duration, to_client: Duration) -> Self {
        self.delay = [to_server, to_client];
        self
    }

    /// Adds up to this to each packet's delay, evenly distributed. Packets keep their order.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets the share of packets that are lost, from 0 to 1.
    #[must_use]
    pub fn loss(mut self, share: f64) -> Self {
        self.loss = share.clamp(0.0, 1.0);
        self
    }

    /// Limits the rate to this many bits per second in each direction; at most 1000 packets wait.
    #[must_use]
    pub fn rate(mut self, bits_per_second: u64) -> Self {
        self.rate = Some(bits_per_second.max(1));
        self
    }

    /// Sets the seed of all randomness: with the same seed the same packets are lost, counted per direction.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the routers, from the client's end to the server's. Default: none, the path is a cable.
    #[must_use]
    pub fn hops(mut self, hops: Vec<Hop>) -> Self {
        self.hops = hops;
        self
    }

    /// Sets the boxes, from the client's end to the server's, in front of the first hop.
    #[must_use]
    pub fn boxes(mut self, boxes: &[Middlebox]) -> Self {
        self.boxes = boxes.to_vec();
        self
    }

    /// Translates the client's addresses to one other, at its end of the path.
    #[must_use]
    pub fn translate_client(mut self, on: bool) -> Self {
        self.translate_client = on;
        self
    }

    /// Translates the address that clients use to an own one of each server, as a balancer does.
    #[must_use]
    pub fn translate_servers(mut self, on: bool) -> Self {
        self.translate_servers = on;
        self
    }
}
