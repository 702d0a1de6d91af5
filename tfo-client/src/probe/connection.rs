//! One connection of the probe.

use std::net::SocketAddr;

use tfo_core::capture::PacketPath;
use tfo_core::diagnosis::{self, Evidence, Verdict};
use tfo_core::probe::mirror::Answer;
use tfo_core::probe::{Probe, Series, Timing};
use tfo_core::socket::Attempt;

use crate::config::Settings;
use crate::first_bytes::{message, method, server_evidence, token};

/// The result of one connection.
pub(crate) struct ProbedConnection {
    /// The connection's number, from 1; 0 is the regular connection of the lab.
    pub(crate) n: u32,
    pub(crate) verdict: Verdict,
    pub(crate) evidence: Evidence,
    pub(crate) timing: Timing,
    pub(crate) message_bytes: usize,
    /// Whether a mirror sent its half of the evidence.
    pub(crate) mirrored: bool,
    /// The connection's packets; empty unless they were traced.
    pub(crate) packets: Vec<PacketPath>,
}

impl ProbedConnection {
    /// Returns the number of bytes sent in the SYN.
    pub(super) fn syn_bytes(&self) -> usize {
        match self.evidence.client.as_ref().map(|client| client.attempt) {
            Some(Attempt::InSyn(bytes)) => bytes,
            _ => 0,
        }
    }

    /// Returns whether the kernel reports the SYN's data as acknowledged.
    pub(super) fn syn_data_acked(&self) -> bool {
        let tcp = self.evidence.client.as_ref().and_then(|client| client.tcp);
        tcp.is_some_and(|tcp| tcp.syn_data)
    }
}

/// Returns the probe that makes connections to this address.
pub(crate) fn plan(settings: &Settings, address: SocketAddr) -> Probe {
    let probe = Probe::new(address)
        .connect_timeout(settings.probe.connect_timeout.get())
        .until(Answer::is_complete)
        .method(method(settings.probe.mode));
    if settings.probe.expect_reply.get() {
        probe.reply_timeout(settings.probe.reply_timeout.get())
    } else {
        probe
    }
}

/// Makes the `n`-th connection of this series.
pub(crate) fn connect(
    probe: &Probe,
    settings: &Settings,
    n: u32,
    series: &mut Series,
) -> ProbedConnection {
    let token = token();
    let message = message(settings, &token);
    let seen = probe.run(&message);
    let server = server_evidence(&seen.answer, &token);
    let mirrored = server.is_some();
    let mut evidence = Evidence::new(Some(seen.evidence), server);
    series.complete(probe, &mut evidence);
    let verdict = diagnosis::judge(&evidence);
    ProbedConnection {
        n,
        verdict,
        evidence,
        timing: seen.timing,
        message_bytes: message.len(),
        mirrored,
        packets: Vec::new(),
    }
}
