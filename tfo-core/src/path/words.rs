//! Faults in sentences, and whom to ask.

use super::chance::at_most;
use super::conclude::Conclusion;
use super::{Fault, FaultKind, PathMap, SynKind};

/// Faults that are one: the same thing happens to several kinds of SYNs in the same place.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FaultGroup {
    /// What happens, with the counts of all kinds.
    pub fault: Fault,
    /// The kinds.
    pub kinds: Vec<SynKind>,
}

/// Joins faults of the same kind in the same place.
#[must_use]
pub fn groups(faults: &[Fault]) -> Vec<FaultGroup> {
    let mut groups: Vec<FaultGroup> = Vec::new();
    for fault in faults {
        let same = |group: &&mut FaultGroup| {
            let other = &group.fault;
            (other.kind, other.after_hop, other.before_hop, other.values, other.option)
                == (fault.kind, fault.after_hop, fault.before_hop, fault.values, fault.option)
        };
        if let Some(group) = groups.iter_mut().find(same) {
            group.kinds.push(fault.syn);
            group.fault.tried += fault.tried;
            group.fault.passed += fault.passed;
            let again = fault.retransmission_passed.max(group.fault.retransmission_passed);
            group.fault.retransmission_passed = again;
        } else {
            groups.push(FaultGroup { fault: fault.clone(), kinds: vec![fault.syn] });
        }
    }
    groups
}

impl FaultGroup {
    /// The SYNs that it happens to, as they are called in a sentence.
    #[must_use]
    pub fn syns(&self) -> String {
        use SynKind::{Cookie, CookieAndData, Data, Plain, Request};
        let has = |kind: SynKind| self.kinds.contains(&kind);
        let with_option =
            [Request, Cookie, CookieAndData].into_iter().filter(|kind| has(*kind)).count();
        match (has(Plain), has(Data), has(CookieAndData), with_option) {
            (true, ..) => "SYNs".to_owned(),
            (_, true, true, 1) => "SYNs with data".to_owned(),
            (_, false, _, 2..) => "SYNs with the fast open option".to_owned(),
            (_, true, _, 2..) => "all SYNs but regular ones".to_owned(),
            _ => self.kinds.first().map_or("SYNs", |kind| kind.in_words()).to_owned(),
        }
    }

    /// Returns what happens, where, and how sure that is: one or two sentences.
    #[must_use]
    pub fn sentence(&self, map: &PathMap) -> String {
        let fault = &self.fault;
        let place = place(fault, map);
        let mut text = format!("{place} {} {}", self.syns(), fault.kind.happens());
        match (fault.kind, fault.values) {
            (FaultKind::MssChanged, Some((before, now))) => text += &format!(" ({before} → {now})"),
            (FaultKind::TooLarge, Some((fits, lost))) => {
                text += &format!(": {fits} bytes of data pass, {lost} do not");
            }
            _ => {}
        }
        if let Some(option) = fault.option {
            text += &format!(" ({})", option_name(option));
        }
        if let Some(by) = fault.by.filter(|_| fault.kind != FaultKind::AddressChanged) {
            text += &format!(", by {by}");
        }
        match fault.kind {
            FaultKind::TooLarge => {
                text += &fault.mtu.map_or(String::new(), |mtu| format!("; the path MTU is {mtu}"));
            }
            FaultKind::FlowDropped
            | FaultKind::AddressChanged
            | FaultKind::AnswerOptionRemoved
            | FaultKind::Proxy => {}
            kind if kind.is_harmless() => {}
            _ => text += &self.counts(),
        }
        text.push('.');
        if fault.widened {
            text += " Packets take different ways there, so it may be any of these hops.";
        }
        text
    }

    fn counts(&self) -> String {
        let fault = &self.fault;
        let Fault { tried, passed, control_tried, control_passed, .. } = fault;
        let mut text = format!(
            ": {passed} of {tried} passed, regular ones {control_passed} of {control_tried}"
        );
        if fault.kind == FaultKind::Dropped && passed < tried {
            let share = at_most(*passed, *tried) * 100.0;
            text += &format!(" (at most {share:.0} % pass, with 95 % confidence)");
        }
        if fault.retransmission_passed == Some(true) {
            text += "; the kernel's own regular SYN from the same socket passed";
        }
        text
    }

    /// Returns whom to ask, and what to do.
    #[must_use]
    pub fn advice(&self, map: &PathMap) -> String {
        let fault = &self.fault;
        let what = match fault.kind {
            FaultKind::OptionOverwritten | FaultKind::OptionRemoved => {
                "let TCP option 34 pass (on Linux: no `TCPOPTSTRIP`, no `reset tcp option fastopen`)"
            }
            FaultKind::CookieChanged => "leave TCP option 34 as it is",
            FaultKind::DataRemoved | FaultKind::DataChanged => {
                "leave the data of SYNs as it is (a SYN proxy, TCP normalization)"
            }
            FaultKind::Dropped
            | FaultKind::Reset
            | FaultKind::Prohibited
            | FaultKind::FlowDropped => {
                "let SYNs with data and TCP option 34 pass (an \"invalid SYN\" or \"SYN with data\" rule)"
            }
            FaultKind::Proxy => "use fast open in the proxy too, or let TCP pass it",
            FaultKind::Intercepted => "let such SYNs pass to their target",
            FaultKind::TooLarge => {
                return "Send a smaller first message, or let ICMP \"packet too big\" pass."
                    .to_owned();
            }
            FaultKind::AnswerOptionRemoved => "let TCP option 34 of SYN-ACKs pass",
            FaultKind::AnswerDropped => "let SYN-ACKs with TCP option 34 pass",
            FaultKind::AddressChanged => "give this client the same address each time",
            _ => return String::new(),
        };
        format!(
            "Ask {} to {what}; until then leave fast open off towards this server.",
            whom(fault, map)
        )
    }
}

fn option_name(option: u8) -> String {
    match option {
        3 => "window scale".to_owned(),
        4 => "SACK permitted".to_owned(),
        8 => "timestamps".to_owned(),
        other => format!("option {other}"),
    }
}

/// Where a fault is: "Between hop 2 (203.0.113.2) and hop 3 (203.0.113.3)".
fn place(fault: &Fault, map: &PathMap) -> String {
    if matches!(fault.kind, FaultKind::AnswerOptionRemoved | FaultKind::AnswerDropped) {
        let target = hop(fault.before_hop, map);
        return format!("Between {target} and this host");
    }
    format!("Between {} and {}", hop(fault.after_hop, map), hop(fault.before_hop, map))
}

fn hop(hop: u8, map: &PathMap) -> String {
    if hop == 0 {
        return "this host".to_owned();
    }
    if map.distance() == Some(hop) {
        let is_nearer = map.datagram_distance.is_some_and(|far| far > hop);
        return if is_nearer { format!("hop {hop}") } else { "the target".to_owned() };
    }
    match map.addresses(hop).as_slice() {
        [only] => format!("hop {hop} ({only})"),
        _ => format!("hop {hop}"),
    }
}

fn whom(fault: &Fault, map: &PathMap) -> String {
    let addresses: Vec<String> = (fault.after_hop..=fault.before_hop)
        .flat_map(|hop| map.addresses(hop))
        .map(|address| address.to_string())
        .collect();
    let at_target = map.distance() == Some(fault.before_hop) && fault.kind != FaultKind::Proxy;
    match (fault.after_hop, at_target, addresses.as_slice()) {
        (0, false, [first, ..]) => format!("whoever runs your own network or {first}"),
        (0, true, _) => "whoever runs the networks on the way, or the target".to_owned(),
        (_, true, [last, ..]) => {
            format!("whoever runs the target's network, or {last} (`whois {last}`)")
        }
        (_, false, [first, .., last]) => {
            format!("whoever runs {first} or {last} (`whois {first}`)")
        }
        (_, _, [only]) => format!("whoever runs {only} (`whois {only}`)"),
        (_, _, []) => "whoever runs the network there".to_owned(),
    }
}

impl Conclusion {
    /// Returns all that was found, in sentences; one paragraph each.
    #[must_use]
    pub fn sentences(&self, map: &PathMap) -> Vec<String> {
        let mut found: Vec<String> =
            groups(&self.faults).iter().map(|group| group.sentence(map)).collect();
        found.extend(groups(&self.changes).iter().map(|group| {
            let text = group.sentence(map);
            format!("{text} That does no harm.")
        }));
        if let Some(hop) = self.proxy {
            let far = map.datagram_distance.unwrap_or(0);
            found.push(format!(
                "At hop {hop} somebody answers TCP in the target's name, which is {far} hops or more away: a proxy. \
                 What is behind it can't be seen from here."
            ));
        }
        if let Some(hop) = self.unstable {
            let addresses: Vec<String> =
                map.addresses(hop).iter().map(ToString::to_string).collect();
            found.push(format!(
                "At hop {hop} different routers answered ({}): packets of one connection take different ways, or the path \
                 changed meanwhile.",
                addresses.join(", ")
            ));
        }
        found
    }
}
