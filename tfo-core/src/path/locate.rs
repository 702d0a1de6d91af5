//! From samples to faults: what happens to SYNs, and between which hops.
//!
//! 1. A hop is blamed for nothing: a fault lies between a hop that still saw the SYN as it was sent, and a hop that did
//!    not. Hop 0 is this host.
//! 2. A hop that does not answer regular SYNs plays no part.
//! 3. A SYN that gets no answer is dropped only if that is no chance: regular SYNs to the same hops were answered, and
//!    Fisher's test leaves at most [`CHANCE`] for both to pass equally often. It then lies behind the last hop that any
//!    SYN of its kind came to.
//! 4. Where packets take different ways, a SYN that passed proves nothing for the next one: the interval begins in front of
//!    the first hop at which different routers answered, and at this host if there is none.

use super::chance::chance_of_no_difference;
use super::fault::{Fault, FaultKind};
use super::map::{Count, SMALL};
use super::reading::{Change, Matter};
use super::sample::IcmpError;
use super::{PathMap, Reply, Sample, SynKind};

/// The chance that is left for a difference that is none.
pub(super) const CHANCE: f64 = 0.005;

/// Returns what the samples show, harmless things included, from the first hop to the last.
#[must_use]
pub fn locate(map: &PathMap) -> Vec<Fault> {
    let mut faults = Vec::new();
    for kind in SynKind::ALL {
        for matter in Matter::ALL {
            faults.extend(changed(map, kind, matter));
        }
        faults.extend(answered(map, kind));
        faults.extend(dropped(map, kind));
    }
    faults.extend(too_large(map));
    faults.extend(flow_dropped(map));
    without_repetitions(&mut faults);
    faults.sort_by_key(|fault| (fault.before_hop, fault.after_hop, fault.kind, fault.syn));
    faults
}

/// What is no matter of fast open is reported once, not for each kind of SYN.
fn without_repetitions(faults: &mut Vec<Fault>) {
    let mut seen = Vec::new();
    faults.retain(|fault| {
        let common = matches!(
            fault.kind,
            FaultKind::MssChanged
                | FaultKind::OptionLost
                | FaultKind::OptionAdded
                | FaultKind::AddressChanged
        );
        let what = (fault.kind, fault.values, fault.option);
        let is_new = !common || !seen.contains(&what);
        seen.push(what);
        is_new
    });
}

/// Counts for a fault that shows from a hop on.
fn count(map: &PathMap, mut fault: Fault) -> Fault {
    let control = map.count_from(SynKind::Plain, fault.before_hop);
    (fault.control_passed, fault.control_tried) = (control.passed, control.tried);
    widen(map, fault)
}

/// Lets the interval begin in front of the first hop at which packets take different ways.
fn widen(map: &PathMap, mut fault: Fault) -> Fault {
    let unstable = map.first_unstable_hop().filter(|hop| *hop <= fault.before_hop);
    // Passing now and then without different routers to be seen: nothing is known of the ways.
    let mixed = fault.passed > 0;
    if let Some(hop) = unstable {
        fault.widened = hop - 1 < fault.after_hop;
        fault.after_hop = fault.after_hop.min(hop - 1);
    } else if mixed {
        fault.widened = fault.after_hop > 0;
        fault.after_hop = 0;
    }
    fault
}

/// What quotes show to be changed. A matter may be changed at several places, one after the other.
fn changed(map: &PathMap, kind: SynKind, matter: Matter) -> Vec<Fault> {
    let readings = map.readings(kind, matter);
    let mut faults = Vec::new();
    let (mut state, mut last) = (None, 0);
    for hop in map.hops() {
        let here = || readings.iter().filter(move |(at, _)| *at == hop).map(|(_, change)| *change);
        // One changed SYN is enough: what passes beside it took another way.
        let Some(now) = here().max() else { continue };
        if now != state
            && let Some(change) = now
        {
            let from = readings.iter().filter(|(at, _)| *at >= hop);
            let tried = from.clone().count();
            let passed = from.filter(|(_, change)| *change == state).count();
            let mut fault = Fault::new(word(change), kind, last, hop);
            fault.tried = u32::try_from(tried).unwrap_or(u32::MAX);
            fault.passed = u32::try_from(passed).unwrap_or(u32::MAX);
            match (change, state) {
                (Change::Mss(_, now), Some(Change::Mss(_, before)))
                | (Change::Mss(before, now), _) => {
                    fault.values = Some((before.into(), now.into()));
                }
                (Change::OptionLost(option) | Change::OptionAdded(option), _) => {
                    fault.option = Some(option);
                }
                _ => {}
            }
            faults.push(count(map, fault));
            state = now;
        }
        if now == state {
            last = hop;
        }
    }
    faults
}

const fn word(change: Change) -> FaultKind {
    match change {
        Change::OptionOverwritten => FaultKind::OptionOverwritten,
        Change::OptionRemoved => FaultKind::OptionRemoved,
        Change::OptionRenumbered => FaultKind::OptionRenumbered,
        Change::CookieChanged => FaultKind::CookieChanged,
        Change::DataRemoved => FaultKind::DataRemoved,
        Change::DataChanged => FaultKind::DataChanged,
        Change::Mss(..) => FaultKind::MssChanged,
        Change::OptionLost(_) => FaultKind::OptionLost,
        Change::OptionAdded(_) => FaultKind::OptionAdded,
        Change::Address => FaultKind::AddressChanged,
    }
}

/// What is answered otherwise than regular SYNs to the same hop.
fn answered(map: &PathMap, kind: SynKind) -> Option<Fault> {
    if kind == SynKind::Plain {
        return None;
    }
    let hops = map.hops();
    let first = map
        .of(kind)
        .filter(|sample| hops.contains(&sample.shot.ttl))
        .filter_map(|sample| Some((sample, kind_of_answer(sample)?)))
        .min_by_key(|(sample, _)| sample.shot.ttl);
    let (sample, word) = first?;
    let before = sample.shot.ttl;
    let after = arrived_before(map, kind, before);
    let mut fault = Fault::new(word, kind, after, before);
    let tests = map.count_from(kind, before);
    (fault.passed, fault.tried) = (tests.passed, tests.tried);
    fault.by = sample.icmp().and_then(|icmp| icmp.from);
    Some(count(map, fault))
}

fn kind_of_answer(sample: &Sample) -> Option<FaultKind> {
    match &sample.reply {
        Reply::Reset => Some(FaultKind::Reset),
        Reply::SynAck => Some(FaultKind::Intercepted),
        Reply::Icmp(icmp) => match icmp.error {
            IcmpError::Prohibited | IcmpError::Unreachable | IcmpError::Other(..) => {
                Some(FaultKind::Prohibited)
            }
            IcmpError::TimeExceeded | IcmpError::TooBig(_) => None,
        },
        Reply::Silence | Reply::NotSent(_) => None,
    }
}

/// The last hop in front of this one at which such a SYN arrived.
fn arrived_before(map: &PathMap, kind: SynKind, hop: u8) -> u8 {
    let arrived = map.of(kind).filter(|sample| sample.arrived() && sample.shot.ttl < hop);
    arrived.map(|sample| sample.shot.ttl).max().unwrap_or(0)
}

/// Where a kind of SYN might disappear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Loss {
    /// The last hop that it arrived at.
    pub(super) after: u8,
    /// The first hop behind that one which answered regular SYNs.
    pub(super) before: u8,
    pub(super) test: Count,
    pub(super) control: Count,
    /// The chance that there is no difference.
    pub(super) chance: f64,
}

/// Where a kind of SYN gets no answer any more, whatever the chance of that.
pub(super) fn loss(map: &PathMap, kind: SynKind) -> Option<Loss> {
    let after = map.last_passed(kind);
    let hops = map.hops();
    let before =
        hops.iter().copied().find(|hop| *hop > after && map.count(kind, *hop).tried > 0)?;
    // Something that is answered is not lost.
    let lost = |sample: &&Sample| sample.reply == Reply::Silence && sample.shot.ttl >= before;
    map.of(kind).find(lost)?;
    map.of(kind).all(|sample| kind_of_answer(sample).is_none()).then_some(())?;
    let test = map.count_from(kind, before);
    let control = map.count_from(SynKind::Plain, before);
    Some(Loss { after, before, test, control, chance: chance(test, control) })
}

/// A hop at which a kind of SYN is lost now and then, though it passes there too: the hop, and the chance of that.
pub(super) fn losses_at_times(map: &PathMap, kind: SynKind) -> Vec<(u8, Count, f64)> {
    let at = |hop| {
        // Something that is answered is not lost.
        let silent = map.of(kind).filter(|it| it.shot.ttl == hop && it.reply == Reply::Silence);
        let passed = map.count(kind, hop).passed;
        let lost = u32::try_from(silent.count()).unwrap_or(u32::MAX);
        let (test, control) =
            (Count { passed, tried: passed.saturating_add(lost) }, map.count(SynKind::Plain, hop));
        (lost > 0).then(|| (hop, test, chance(test, control)))
    };
    map.hops().into_iter().filter_map(at).collect()
}

fn chance(test: Count, control: Count) -> f64 {
    chance_of_no_difference((test.passed, test.tried), (control.passed, control.tried))
}

fn dropped(map: &PathMap, kind: SynKind) -> Option<Fault> {
    if kind == SynKind::Plain {
        return None;
    }
    let mut fault = if let Some(loss) = loss(map, kind).filter(|loss| loss.chance <= CHANCE) {
        let mut fault = Fault::new(FaultKind::Dropped, kind, loss.after, loss.before);
        (fault.passed, fault.tried) = (loss.test.passed, loss.test.tried);
        fault
    } else {
        let times = losses_at_times(map, kind);
        let (hop, test, _) = times.into_iter().find(|(_, _, chance)| *chance <= CHANCE)?;
        let after = arrived_before(map, kind, hop);
        let mut fault = Fault::new(FaultKind::Dropped, kind, after, hop);
        (fault.passed, fault.tried) = (test.passed, test.tried);
        fault
    };
    let again = map.samples.iter().filter(|sample| {
        sample.retransmitted
            && sample.shot.ttl >= fault.before_hop
            && kinds_sent_like(map, sample, kind)
    });
    fault.retransmission_passed = again.map(Sample::arrived).max();
    Some(count(map, fault))
}

/// Whether a retransmission follows a SYN of this kind.
fn kinds_sent_like(map: &PathMap, again: &Sample, kind: SynKind) -> bool {
    let place = map.samples.iter().position(|sample| std::ptr::eq(sample, again));
    let before = place.and_then(|place| map.samples.get(place.checked_sub(1)?));
    before.is_some_and(|sample| sample.shot.kind == kind)
}

/// What does not fit where smaller data does.
fn too_large(map: &PathMap) -> Option<Fault> {
    let large = || map.samples.iter().filter(|it| it.shot.data > SMALL && !it.retransmitted);
    let small = map.last_passed(SynKind::Data);
    let told = large().find_map(|sample| match sample.icmp() {
        Some(icmp) => match icmp.error {
            IcmpError::TooBig(mtu) => Some((sample, icmp.from, mtu)),
            _ => None,
        },
        None => None,
    });
    let passed = |data: usize| {
        large().filter(move |it| it.arrived() && it.shot.data >= data).map(|it| it.shot.ttl).max()
    };
    if let Some((sample, from, mtu)) = told {
        let before = sample.shot.ttl;
        let after = passed(sample.shot.data).filter(|hop| *hop < before).unwrap_or(0);
        let mut fault = Fault::new(FaultKind::TooLarge, SynKind::Data, after, before);
        fault.by = from;
        fault.mtu = (mtu > 0).then_some(mtu);
        fault.tried = 1;
        fault.values = Some((data_of(SMALL), data_of(sample.shot.data)));
        return Some(with_small_control(map, fault));
    }
    // Only what is followed by an answered small one: the hop may limit the rate of its ICMP errors.
    let pairs = || map.samples.windows(2).filter_map(|pair| <&[Sample; 2]>::try_from(pair).ok());
    let silent = || {
        let lost = pairs().filter(|[test, control]| {
            let alike = test.shot.ttl == control.shot.ttl && control.shot.kind == SynKind::Data;
            alike && control.shot.data <= SMALL && control.arrived()
        });
        let tests = lost.map(|[test, _]| test).filter(|it| it.shot.data > SMALL);
        tests.filter(|it| it.reply == Reply::Silence && it.shot.ttl <= small)
    };
    // The smallest data that got lost; what is larger counts with it.
    let lost = silent().map(|it| it.shot.data).min()?;
    let after = passed(lost).unwrap_or(0);
    let before = silent().map(|it| it.shot.ttl).filter(|hop| *hop > after).min()?;
    let tried = silent().filter(|it| it.shot.ttl >= before).count();
    let test = Count { passed: 0, tried: u32::try_from(tried).unwrap_or(u32::MAX) };
    if chance(test, Count { passed: test.tried, tried: test.tried }) > CHANCE {
        return None;
    }
    let fits = large().filter(|it| it.arrived() && it.shot.ttl >= before && it.shot.data < lost);
    let fits = fits.map(|it| it.shot.data).max().unwrap_or(SMALL);
    let mut fault = Fault::new(FaultKind::TooLarge, SynKind::Data, after, before);
    fault.tried = test.tried;
    fault.values = Some((data_of(fits), data_of(lost)));
    fault.mtu = Some(data_of(fits + headers(map)));
    Some(with_small_control(map, fault))
}

/// The control of large data is small data.
fn with_small_control(map: &PathMap, mut fault: Fault) -> Fault {
    let control = map.count_from(SynKind::Data, fault.before_hop);
    (fault.control_passed, fault.control_tried) = (control.passed, control.tried);
    widen(map, fault)
}

/// The bytes of IP and TCP headers of a SYN with data and without the fast open option.
fn headers(map: &PathMap) -> usize {
    if map.target.is_ipv4() { 20 + 40 } else { 40 + 40 }
}

fn data_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn flow_dropped(map: &PathMap) -> Option<Fault> {
    let (after, before) = map.flow_dropped?;
    let mut fault = Fault::new(FaultKind::FlowDropped, SynKind::Data, after, before);
    // Regular SYNs, from ports that SYNs with data had passed from.
    let after_data = map.samples.iter().filter(|sample| {
        sample.shot.kind == SynKind::Plain
            && sample.shot.ttl == before
            && sample.port != map.local.port()
    });
    fault.tried = u32::try_from(after_data.filter(|it| !it.arrived()).count()).unwrap_or(u32::MAX);
    Some(count(map, fault))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::path::{IcmpReply, Shot};

    fn map() -> PathMap {
        PathMap::new("192.0.2.1:40000".parse().unwrap(), "192.0.2.2:2222".parse().unwrap())
    }

    fn add(map: &mut PathMap, kind: SynKind, ttl: u8, reply: Reply) {
        let data = if kind.has_data() { SMALL } else { 0 };
        let shot = Shot::new(kind, ttl, data, Duration::from_millis(100));
        map.samples.push(Sample::new(shot, reply, Duration::from_millis(10), 40_000));
    }

    fn expired(ttl: u8) -> Reply {
        let from = Some(IpAddr::from([203, 0, 113, ttl]));
        Reply::Icmp(IcmpReply::new(from, IcmpError::TimeExceeded, Vec::new()))
    }

    #[test]
    fn few_silent_syns_are_no_fault() {
        for (count, found) in [(1, 0), (4, 0), (5, 1), (6, 1)] {
            let mut map = map();
            for ttl in 1..=3 {
                for _ in 0..count {
                    add(&mut map, SynKind::Plain, ttl, expired(ttl));
                    let passes = ttl < 3;
                    let reply = if passes { expired(ttl) } else { Reply::Silence };
                    add(&mut map, SynKind::Data, ttl, reply);
                }
            }
            let faults = locate(&map);
            assert_eq!(faults.len(), found, "{count}: {faults:?}");
            for fault in faults {
                assert_eq!(
                    (fault.kind, fault.after_hop, fault.before_hop),
                    (FaultKind::Dropped, 2, 3)
                );
                assert_eq!((fault.passed, fault.tried), (0, count));
            }
        }
    }

    #[test]
    fn silence_where_controls_are_silent_too_is_no_fault() {
        let mut map = map();
        for ttl in 1..=3 {
            add(&mut map, SynKind::Plain, ttl, expired(ttl));
            for _ in 0..20 {
                add(&mut map, SynKind::Data, ttl, Reply::Silence);
                add(&mut map, SynKind::Plain, ttl, Reply::Silence);
            }
        }
        assert_eq!(locate(&map), []);
    }

    #[test]
    fn data_stays_in_front_of_the_first_tcp_answer() {
        let mut map = map();
        assert_eq!(map.data_limit(), 0, "nothing is known yet");
        add(&mut map, SynKind::Plain, 2, expired(2));
        assert_eq!(map.data_limit(), 2, "a hop that ends it");
        add(&mut map, SynKind::Plain, 5, Reply::SynAck);
        assert_eq!(map.data_limit(), 4);
        add(&mut map, SynKind::Plain, 3, Reply::Reset);
        assert_eq!(map.data_limit(), 2, "somebody nearer answers now");
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let from =
            prop_oneof![Just(None), (0..9_u8).prop_map(|last| Some([203, 0, 113, last].into()))];
        let error = prop_oneof![
            Just(IcmpError::TimeExceeded),
            Just(IcmpError::Prohibited),
            any::<u32>().prop_map(IcmpError::TooBig),
            Just(IcmpError::Unreachable),
            (any::<u8>(), any::<u8>()).prop_map(|(kind, code)| IcmpError::Other(kind, code)),
        ];
        let quote = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100),
            // Of the right ports.
            proptest::collection::vec(any::<u8>(), 0..100).prop_map(|rest| [
                &[0x9c, 0x40, 0x08, 0xae][..],
                &rest
            ]
            .concat()),
        ];
        prop_oneof![
            (from, error, quote).prop_map(|(from, error, quote)| {
                Reply::Icmp(IcmpReply::new(from, error, quote))
            }),
            Just(Reply::SynAck),
            Just(Reply::Reset),
            Just(Reply::Silence),
        ]
    }

    proptest! {
        /// Whatever comes back, forged quotes included, blames no hop that no SYN was sent to.
        #[test]
        fn forged_replies_blame_only_hops_that_were_tried(
            samples in proptest::collection::vec((0..5_usize, 1..6_u8, reply()), 0..60),
        ) {
            let mut map = map();
            for (kind, ttl, reply) in samples {
                add(&mut map, SynKind::ALL[kind], ttl, reply);
            }
            for fault in locate(&map) {
                prop_assert!(fault.after_hop < fault.before_hop, "{:?}", fault);
                let tried = |hop: u8| map.samples.iter().any(|sample| sample.shot.ttl == hop);
                prop_assert!(tried(fault.before_hop), "{:?}", fault);
                prop_assert!(fault.passed <= fault.tried && fault.control_passed <= fault.control_tried);
                let groups = crate::path::groups(&[fault]);
                prop_assert!(!groups[0].sentence(&map).is_empty());
            }
        }
    }
}
