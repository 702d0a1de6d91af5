//! The decision table, row by row.

use std::collections::BTreeSet;

use tfo_core::diagnosis::{Cause, Outcome, judge};

use crate::scenario;

/// The rows of the measured table; scenarios beyond it have words of their own.
const ROWS: &[&str] = &[
    "-", "a", "c", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "d", "e", "e'", "g", "g'",
    "i", "x", "x'", "k1", "k2", "k3", "k5", "f", "f1", "h", "h'", "j", "l", "m", "o", "z1", "z2",
    "z3", "q",
];

#[test]
fn each_scenario_gets_its_verdict() {
    let mut wrong = Vec::new();
    for scenario in scenario::all() {
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
    let verdict = judge(&tfo_core::diagnosis::Evidence::default());
    assert_eq!(verdict.outcome, Outcome::Failed, "nothing is known to have worked");
    assert_eq!(verdict.blame, Some(tfo_core::diagnosis::Blame::Unknown), "nobody can be blamed");
    assert!(verdict.finding.contains("no evidence"), "it says so: {verdict}");
}
