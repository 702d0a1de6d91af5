//! The decision table, row by row.

use std::collections::BTreeSet;

use tfo_core::diagnosis::manual::Topic;
use tfo_core::diagnosis::{Cause, Evidence, Outcome, Verdict, judge};

use crate::scenario::{self, Scenario};

/// The rows of the measured table; scenarios beyond it have words of their own.
const ROWS: &[&str] = &[
    "-", "a", "c", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "d", "e", "e'", "g", "g'",
    "i", "x", "x'", "k1", "k2", "k3", "k5", "f", "f1", "h", "h'", "j", "l", "m", "o", "z1", "z2",
    "z3", "q",
];

#[test]
fn each_scenario_gets_its_verdict() {
    assert_verdicts(scenario::all());
}

#[test]
fn each_scenario_gets_its_verdict_over_ipv6() {
    assert_verdicts(scenario::all_over_ipv6());
}

fn assert_verdicts(scenarios: Vec<Scenario>) {
    let mut wrong = Vec::new();
    for scenario in scenarios {
        for (view, evidence, expected) in &scenario.views {
            let got = judge(evidence);
            let same = (got.outcome, got.cause, got.blame, &got.candidates)
                == (expected.verdict, expected.cause, expected.blame, &expected.candidates)
                && expected.complete.is_none_or(|complete| complete == got.candidates_complete);
            let said = expected.finding.iter().all(|part| got.finding.contains(part))
                && !expected.finding_lacks.iter().any(|part| got.finding.contains(part))
                && expected.advice.iter().all(|part| got.advice.contains(part));
            if !(same && said) {
                wrong.push(format!(
                    "{} ({}), {view}:\n  expected {expected:?}\n  got      {got:?}",
                    scenario.name, scenario.row
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} verdicts are not as expected:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What a server can't know of its connection: what is in front of it, what becomes of its answer, and what regular
/// connections of the client did.
const OUT_OF_THE_SERVERS_SIGHT: &[Cause] =
    &[Cause::Proxied, Cause::SynAckOptionStripped, Cause::SynRetransmitted, Cause::RegularFailsToo];

/// Whether a verdict leaves this cause possible.
fn admits(verdict: &Verdict, cause: Cause) -> bool {
    let stands_for = |word: Cause| {
        let broader = Topic::Cause(word).page().broader_than();
        broader.iter().any(|broader| broader.causes.contains(&cause))
    };
    let is_broad = verdict.cause.is_none_or(stands_for);
    verdict.cause == Some(cause)
        || verdict.candidates.iter().any(|word| *word == cause || stands_for(*word))
        || (is_broad && !verdict.candidates_complete)
}

#[test]
fn one_end_alone_never_excludes_what_both_ends_prove() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for Scenario { name, row, views } in scenario::all() {
        let Some((_, both, _)) = views.iter().find(|(view, ..)| *view == "joined") else {
            continue;
        };
        let joined = judge(both);
        let client = judge(&Evidence::new(both.client.clone(), None));
        let server = judge(&Evidence::new(None, both.server.clone()));
        let stated = joined.cause.filter(|_| joined.candidates.is_empty());
        for cause in joined.candidates.iter().copied().chain(stated) {
            compared += 1;
            if !admits(&client, cause) {
                wrong.push(format!("{name} ({row}), client alone: {cause}: {client:?}"));
            }
            if !OUT_OF_THE_SERVERS_SIGHT.contains(&cause) && !admits(&server, cause) {
                wrong.push(format!("{name} ({row}), server alone: {cause}: {server:?}"));
            }
        }
    }
    assert!(compared > 50, "{compared}");
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_row_of_the_table_has_a_scenario() {
    let rows: BTreeSet<_> = scenario::all().into_iter().map(|scenario| scenario.row).collect();
    let missing: Vec<_> = ROWS.iter().filter(|row| !rows.contains(**row)).collect();
    assert!(missing.is_empty(), "rows without a scenario: {missing:?}");
}

#[test]
fn each_word_of_a_verdict_is_expected_somewhere() {
    let scenarios = scenario::all();
    let expected =
        || scenarios.iter().flat_map(|scenario| scenario.views.iter().map(|view| &view.2));
    let outcomes: BTreeSet<_> = expected().map(|it| it.verdict).collect();
    let causes: BTreeSet<_> =
        expected().flat_map(|it| it.cause.into_iter().chain(it.candidates.clone())).collect();
    for outcome in Outcome::ALL {
        assert!(outcomes.contains(outcome), "no scenario ends as {outcome}");
    }
    for cause in Cause::ALL {
        assert!(causes.contains(cause), "no scenario is caused by {cause}, or may be");
    }
}

#[test]
fn names_of_scenarios_are_unique() {
    let mut seen = BTreeSet::new();
    for scenario in scenario::all() {
        assert!(seen.insert(scenario.name.clone()), "two scenarios: {}", scenario.name);
    }
}

#[test]
fn no_evidence_is_a_failure_that_blames_nobody() {
    let verdict = judge(&Evidence::default());
    assert_eq!(verdict.outcome, Outcome::Failed, "nothing is known to have worked");
    assert_eq!(verdict.blame, Some(tfo_core::diagnosis::Blame::Unknown), "nobody can be blamed");
    assert!(verdict.finding.contains("no evidence"), "it says so: {verdict}");
}
