//! What one connection proves about its path.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use super::PathMemory;
use super::{Destination, FastOpenPermit};
use crate::socket::{Attempt, ClientFail, TcpBits};

/// Below this no SYN was retransmitted. The time only decides whether to ask the kernel, which reports what happened.
const SLOW: Duration = Duration::from_millis(500);

/// A connection, and what its handshake will prove about the path to its destination.
#[derive(Debug)]
pub(crate) struct Witness {
    address: SocketAddr,
    pub(super) destination: Destination,
    /// `None`: a regular connection.
    pub(super) permit: Option<FastOpenPermit>,
    /// The length of the data in the SYN.
    pub(super) in_syn: usize,
    /// When the SYN was sent.
    started: Option<Instant>,
}

impl Witness {
    /// Asks the memory whether the SYN to this server may use fast open.
    #[cfg(feature = "tokio")]
    pub(crate) fn ask(memory: &PathMemory, server: SocketAddr) -> Self {
        let destination = memory.destination(server);
        let permit = Some(destination.permit()).filter(FastOpenPermit::is_granted);
        Self::new(server, destination, permit)
    }

    pub(super) fn new(
        address: SocketAddr,
        destination: Destination,
        permit: Option<FastOpenPermit>,
    ) -> Self {
        Self { address, destination, permit, in_syn: 0, started: None }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns whether the SYN may use fast open.
    pub(crate) fn permits(&self) -> bool {
        self.permit.is_some()
    }

    /// Records what the kernel did with the SYN. If that used no fast open, a trial is left to the next connection.
    pub(crate) fn sent(&mut self, attempt: Attempt, now: Instant) {
        self.started = Some(now);
        match attempt {
            Attempt::InSyn(bytes) => self.in_syn = bytes,
            // A request for a cookie is a trial as well: paths may drop the option, or the answer.
            Attempt::AfterHandshake => {}
            Attempt::Regular | Attempt::Paused | Attempt::ClientDisabled => self.permit = None,
        }
        if let Some(permit) = &mut self.permit {
            permit.sent(true);
        }
    }

    /// Records what the end of the handshake proves. `look` asks the kernel, and is called if that is worth it.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        local: impl Fn() -> Option<IpAddr>,
        look: impl FnOnce() -> Option<TcpBits>,
    ) {
        let destination = &self.destination;
        if destination.is_paused()
            && let Some(local) = local()
        {
            destination.set_local(local);
        }
        let trial = self.permit.as_ref().is_some_and(FastOpenPermit::is_trial);
        let slow = self.started.is_some_and(|at| now.saturating_duration_since(at) >= SLOW);
        if !(destination.is_due_for_a_look() || slow || trial) {
            return;
        }
        let Some(tcp) = look() else { return };
        if tcp.total_retrans == 0 && tcp.rtt_us > 0 {
            destination.set_round_trip(Duration::from_micros(tcp.rtt_us.into()));
        }
        let Some(permit) = &mut self.permit else { return };
        let lost = match self.in_syn {
            0 => tcp.total_retrans > 0,
            _ => tcp.client_fail == ClientFail::SynRetransmitted,
        };
        if lost {
            report(permit.lost(local()), self.address, "lost");
        } else if tcp.syn_data || self.in_syn == 0 && trial {
            permit.accepted();
        } else if self.in_syn > 0 {
            report(permit.ignored(local()), self.address, "ignored");
        }
    }

    /// Records that the handshake failed, or that nothing waits for its end any more because it takes too long.
    pub(crate) fn failed(&mut self, local: Option<IpAddr>) {
        if let Some(permit) = &mut self.permit {
            report(permit.lost(local), self.address, "refused or not answered");
        }
    }
}

fn report(pause: Option<Duration>, address: SocketAddr, how: &str) {
    if let Some(pause) = pause {
        log::debug!("{address}: a SYN of fast open was {how}; regular ones for {pause:?}");
    }
}
