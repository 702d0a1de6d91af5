//! The table of rules proves itself: no two causes are stated for the same signs.

use std::collections::BTreeSet;

use tfo_core::diagnosis::Cause;
use tfo_core::diagnosis::rules::{RULES, Rule, Sign, Symptom, candidates};

/// What is known of each sign.
type Reading = [Option<bool>; Sign::ALL.len()];

/// Each way in which these signs may be known or not; nothing is known of the others. What a rule requires excludes it
/// no more than what is unknown, so that of each sign only the values count that contradict a rule.
fn readings(signs: Vec<(Sign, Vec<Option<bool>>)>) -> impl Iterator<Item = Reading> {
    let count: usize = signs.iter().map(|(_, values)| values.len()).product();
    (0..count).map(move |mut number| {
        let mut reading: Reading = [None; Sign::ALL.len()];
        for (sign, values) in &signs {
            reading[*sign as usize] = values[number % values.len()];
            number /= values.len();
        }
        reading
    })
}

fn rules_of(symptom: Symptom) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| rule.symptom == symptom)
}

fn causes(symptom: Symptom) -> BTreeSet<Cause> {
    rules_of(symptom).map(|rule| rule.cause).collect()
}

/// Each symptom with each two of its causes.
fn pairs() -> impl Iterator<Item = (Symptom, Cause, Cause)> {
    Symptom::ALL.iter().flat_map(|&symptom| {
        let causes: Vec<_> = causes(symptom).into_iter().collect();
        let pairs = (0..causes.len()).flat_map(|at| (at + 1..causes.len()).map(move |to| (at, to)));
        pairs.map(|(at, to)| (symptom, causes[at], causes[to])).collect::<Vec<_>>()
    })
}

/// The signs that separate a pair of causes, each with its values: those that all of their rules require alike exclude
/// both or neither.
fn telling_signs(symptom: Symptom, one: Cause, other: Cause) -> Vec<(Sign, Vec<Option<bool>>)> {
    let rules: Vec<_> =
        rules_of(symptom).filter(|rule| [one, other].contains(&rule.cause)).collect();
    let mut signs = Vec::new();
    for &sign in Sign::ALL {
        let find = |rule: &&&Rule| rule.requires.iter().find(|(s, _)| *s == sign).map(|(_, t)| *t);
        let required: BTreeSet<_> = rules.iter().map(|rule| find(&rule)).collect();
        if required.len() > 1 {
            let contradicting = required.iter().flatten().map(|there| Some(!there));
            signs.push((sign, [None].into_iter().chain(contradicting).collect()));
        }
    }
    signs
}

/// Whether a cause is left.
fn is_left(symptom: Symptom, cause: Cause, reading: &Reading) -> bool {
    let mut rules = rules_of(symptom).filter(|rule| rule.cause == cause);
    rules.any(|rule| rule.excluded_by(|sign| reading[sign as usize]).is_none())
}

#[test]
fn of_two_causes_one_is_stated_only_if_a_sign_excludes_the_other() {
    let mut compared = 0;
    for (symptom, one, other) in pairs() {
        for reading in readings(telling_signs(symptom, one, other)) {
            let (left, right) =
                (is_left(symptom, one, &reading), is_left(symptom, other, &reading));
            compared += usize::from(left != right);
            for (missing, is_left) in [(one, left), (other, right)] {
                if is_left {
                    continue;
                }
                for rule in rules_of(symptom).filter(|rule| rule.cause == missing) {
                    let excluded = rule.excluded_by(|sign| reading[sign as usize]);
                    let (sign, there) = excluded.expect("each of its rules is contradicted");
                    assert_eq!(reading[sign as usize], Some(there), "{missing}: by what is seen");
                    assert!(
                        !rule.requires.contains(&(sign, there)),
                        "{missing}: and not as required"
                    );
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared} readings left one of two");
}

/// Pairs that full evidence cannot separate; any other two causes exclude each other. Two translations may act at once. A
/// cookie that is changed on its way back is stale or foreign as well. What is never acknowledged was too large, or the
/// path is dead. A SYN or a SYN-ACK that is sent again has no option, whatever became of the first one.
const INSEPARABLE: &[(&str, &str)] = &[
    ("address-translated", "destination-translated"),
    ("cookie-corrupted", "address-translated"),
    ("cookie-corrupted", "destination-translated"),
    ("dead-after-syn-data", "path-mtu-exceeded"),
    ("key-mismatch", "cookie-corrupted"),
    ("syn-retransmitted", "option-stripped"),
    ("syn-retransmitted", "syn-ack-option-stripped"),
];

#[test]
fn full_evidence_tells_all_causes_apart_but_those_listed() {
    let mut together = BTreeSet::new();
    // Behind a proxy nothing is known of the server, so that each other cause stays possible.
    let pairs = pairs().filter(|(_, one, other)| ![one, other].contains(&&Cause::Proxied));
    for (symptom, one, other) in pairs {
        let rules = |cause| rules_of(symptom).filter(move |rule| rule.cause == cause);
        let agree = |(one, other): (&Rule, &Rule)| {
            one.requires.iter().all(|(sign, there)| !other.requires.contains(&(*sign, !there)))
        };
        if rules(one).any(|a| rules(other).any(|b| agree((a, b)))) {
            together.insert((one.as_str(), other.as_str()));
        }
    }
    assert_eq!(together, INSEPARABLE.iter().copied().collect());
}

#[test]
fn nothing_known_leaves_every_cause() {
    for &symptom in Symptom::ALL {
        let left: BTreeSet<_> = candidates(symptom, |_| None).into_iter().collect();
        assert_eq!(left, causes(symptom), "{symptom:?}");
    }
}

#[test]
fn a_rule_requires_nothing_twice_and_not_both_ways() {
    for rule in RULES {
        let signs: BTreeSet<_> = rule.requires.iter().map(|(sign, _)| sign).collect();
        assert_eq!(signs.len(), rule.requires.len(), "{rule:?}");
    }
}

#[test]
fn each_sign_is_required_by_some_rule() {
    let used: BTreeSet<_> = RULES.iter().flat_map(|rule| rule.requires).map(|(s, _)| *s).collect();
    assert_eq!(used, Sign::ALL.iter().copied().collect());
}
