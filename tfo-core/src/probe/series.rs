//! Several connections of one run: what each adds to the evidence of the next.

use super::client::{Control, Probe};
use crate::cookie::FastOpenCookie;
use crate::diagnosis::{
    ClientEvidence, CookieAddresses, Ending, Evidence, RegularCheck, Repetition,
};
use crate::socket::{Attempt, ClientFail};

/// From how many repetitions on the regular connections are to decide, and with how many of them.
const DECISIVE_FAULTS: u32 = 3;
const DECISIVE_CONTROLS: u32 = 10;
/// With how many controls it is said that they fail alike.
const SOME_CONTROLS: u32 = 4;

/// What the connections of one run have shown so far.
///
/// A fault is worth more when it repeats, and only a regular connection can tell whether it is about fast open. The
/// controls are made in turn with the connections whose SYN has data, and not always one for one: a balancer that
/// goes round its servers would give all of one kind to the same server.
#[derive(Debug, Default)]
pub struct Series {
    made: Vec<(FastOpenCookie, CookieAddresses)>,
    fault: Option<Fault>,
    repetition: Repetition,
}

/// What befell a SYN with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Repeated,
    AnsweredByError,
    NoHandshake,
}

impl Series {
    /// Adds to the evidence of a connection what the earlier ones showed. Makes regular connections, without data, where
    /// they decide something.
    pub fn complete(&mut self, probe: &Probe, evidence: &mut Evidence) {
        self.learn(evidence);
        if let Some(client) = &mut evidence.client {
            self.compare(probe, client);
        }
    }

    /// [`complete`](Self::complete) without regular connections: adds for which addresses the cookie was made.
    pub fn learn(&mut self, evidence: &mut Evidence) {
        let same = evidence.same_connection() != Some(false);
        let server = evidence.server.as_ref().filter(|_| same);
        let Some(client) = &mut evidence.client else { return };
        let cookie = |cached: Option<crate::diagnosis::CachedCookie>| cached?.cookie();
        let (before, after) = (cookie(client.cookie_before), cookie(client.cookie_after));
        client.cookie_addresses = before.and_then(|cookie| self.addresses(cookie));
        if let Some((server, after)) = server.zip(after)
            && before != Some(after)
        {
            self.made.retain(|(known, _)| *known != after);
            self.made.push((after, CookieAddresses::of(server)));
        }
    }

    fn addresses(&self, cookie: FastOpenCookie) -> Option<CookieAddresses> {
        let known = self.made.iter().find(|(known, _)| *known == cookie);
        known.map(|(_, addresses)| *addresses)
    }

    fn compare(&mut self, probe: &Probe, client: &mut ClientEvidence) {
        if !matches!(client.attempt, Attempt::InSyn(1..)) {
            return;
        }
        let Some(fault) = fault(client) else {
            self.repetition.passed += 1;
            return;
        };
        if self.fault != Some(fault) {
            let passed = self.repetition.passed;
            self.repetition = Repetition { passed, ..Repetition::default() };
            self.fault = Some(fault);
        }
        self.repetition.faults += 1;
        if let Some(result) = client.regular_check {
            self.count(fault, Control { result, retransmitted: false });
        }
        while self.wants_control() {
            self.count(fault, probe.control());
        }
        client.repetition = Some(self.repetition);
    }

    fn wants_control(&self) -> bool {
        let Repetition { faults, controls, controls_alike, .. } = self.repetition;
        let wanted = match faults {
            // Nothing gets through: one for each shows whether that lasts.
            _ if controls > 0 && controls_alike == controls => faults,
            _ if controls_alike > 0 => SOME_CONTROLS.max(faults),
            1 => 1,
            2 => 3,
            DECISIVE_FAULTS.. => DECISIVE_CONTROLS,
            0 => 0,
        };
        controls < wanted
    }

    fn count(&mut self, fault: Fault, control: Control) {
        let alike = match (fault, control.result) {
            (Fault::Repeated, RegularCheck::Connected) => control.retransmitted,
            (Fault::Repeated | Fault::NoHandshake, RegularCheck::TimedOut)
            | (Fault::AnsweredByError, RegularCheck::Failed(_)) => true,
            _ => false,
        };
        self.repetition.controls += 1;
        self.repetition.controls_alike += u32::from(alike);
    }
}

fn fault(client: &ClientEvidence) -> Option<Fault> {
    match client.result {
        Ending::Failed(_) => return Some(Fault::AnsweredByError),
        Ending::NoHandshake => return Some(Fault::NoHandshake),
        _ => {}
    }
    let code = client.tcp.map(|tcp| tcp.client_fail);
    (code == Some(ClientFail::SynRetransmitted)).then_some(Fault::Repeated)
}
