//! Several connections of one run: what each adds to the evidence of the next.

use super::client::{Control, Probe};
use crate::cookie::FastOpenCookie;
use crate::diagnosis::{
    ClientEvidence, CookieAddresses, Ending, Evidence, RegularCheck, Repetition,
};
use crate::socket::{Attempt, ClientFail};

/// A run of connections: what they have shown so far.
///
/// A fault is worth more when it repeats, and only a regular connection can tell whether it is about fast open. The
/// controls are made in turn with the connections whose SYN has data, and not always one for one: a balancer that
/// goes round its servers would give all of one kind to the same server.
#[derive(Debug, Clone, Default)]
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

    /// Like [`complete`](Self::complete), without regular connections: adds for which addresses the cookie was made.
    pub fn learn(&mut self, evidence: &mut Evidence) {
        let same = evidence.same_connection() != Some(false);
        let server = evidence.server.as_ref().filter(|_| same);
        let Some(client) = &mut evidence.client else { return };
        let cookie = |cached: Option<crate::diagnosis::CachedCookie>| cached?.cookie();
        let (before, after) = (cookie(client.cookie_before), cookie(client.cookie_after));
        client.cookie_addresses = before.and_then(|cookie| self.addresses(cookie));
        // A cache that could not be read before may have had this cookie of another connection.
        if let Some((server, after)) = server.zip(after)
            && client.cookie_before.is_some()
            && before != Some(after)
        {
            self.made.retain(|(known, _)| *known != after);
            self.made.extend(CookieAddresses::of(server).map(|addresses| (after, addresses)));
        }
    }

    /// Adds to the evidence of a run what its regular connections say of its faults, which they were made in turn with.
    pub fn settle(run: &mut [Evidence]) {
        let of_data = |client: &&ClientEvidence| matches!(client.attempt, Attempt::InSyn(1..));
        let clients = || run.iter().filter_map(|evidence| evidence.client.as_ref());
        let regular = clients().filter(|client| client.attempt == Attempt::Regular);
        let controls: Vec<_> = regular.map(control_of).collect();
        let seen: Vec<_> = clients().filter(of_data).map(fault).collect();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        for client in run.iter_mut().filter_map(|evidence| evidence.client.as_mut()) {
            let Some(met) = fault(client).filter(|_| of_data(&&*client)) else { continue };
            client.repetition = Some(Repetition {
                faults: count(seen.iter().filter(|other| **other == Some(met)).count()),
                passed: count(seen.iter().filter(|other| other.is_none()).count()),
                controls: count(controls.len()),
                controls_alike: count(controls.iter().filter(|one| is_alike(met, **one)).count()),
            });
        }
    }

    fn addresses(&self, cookie: FastOpenCookie) -> Option<CookieAddresses> {
        let known = self.made.iter().find(|(known, _)| *known == cookie);
        known.map(|(_, addresses)| *addresses)
    }

    fn compare(&mut self, probe: &Probe, client: &mut ClientEvidence) {
        if !matches!(client.attempt, Attempt::InSyn(1..) | Attempt::AfterHandshake) {
            return;
        }
        let Some(fault) = fault(client) else {
            // A request that passes says nothing of SYNs with data.
            self.repetition.passed += u32::from(client.attempt != Attempt::AfterHandshake);
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
            // Nothing gets through: each would take as long as the connection itself.
            _ if self.fault == Some(Fault::NoHandshake) && controls_alike == controls => {
                faults.min(Repetition::ALIKE)
            }
            _ if controls > 0 && controls_alike == controls => Repetition::ALIKE,
            _ if controls_alike > 0 => Repetition::ALIKE.max(faults),
            1 => 1,
            2 => 3,
            Repetition::FAULTS.. => Repetition::CONTROLS,
            0 => 0,
        };
        controls < wanted
    }

    fn count(&mut self, fault: Fault, control: Control) {
        self.repetition.controls += 1;
        self.repetition.controls_alike += u32::from(is_alike(fault, control));
    }
}

/// Whether a regular connection met the same fault.
fn is_alike(fault: Fault, control: Control) -> bool {
    match (fault, control.result) {
        (Fault::Repeated, RegularCheck::Connected) => control.retransmitted,
        (Fault::Repeated | Fault::NoHandshake, RegularCheck::TimedOut)
        | (Fault::AnsweredByError, RegularCheck::Failed(_)) => true,
        _ => false,
    }
}

/// A regular connection of the run, as a control.
fn control_of(client: &ClientEvidence) -> Control {
    let result = match client.result {
        Ending::Failed(errno) => RegularCheck::Failed(errno),
        Ending::NoHandshake => RegularCheck::TimedOut,
        _ => RegularCheck::Connected,
    };
    // Data that is sent again leaves the SYN's counter alone.
    let retransmitted = client.tcp.is_some_and(|tcp| tcp.total_retrans > 0)
        && client.counters.is_none_or(|change| change.syn_retrans > 0);
    Control { result, retransmitted }
}

fn fault(client: &ClientEvidence) -> Option<Fault> {
    match client.result {
        Ending::Failed(_) => return Some(Fault::AnsweredByError),
        Ending::NoHandshake => return Some(Fault::NoHandshake),
        _ => {}
    }
    let tcp = client.tcp?;
    let request_repeated = client.attempt == Attempt::AfterHandshake
        && tcp.total_retrans > 0
        && client.counters.is_some_and(|change| change.syn_retrans > 0);
    (tcp.client_fail == ClientFail::SynRetransmitted || request_repeated).then_some(Fault::Repeated)
}
