//! What a sequence of connections says beyond the last of them.

use tfo_core::diagnosis::{Cause, Outcome, Summary, Verdict, judge, summarize};

use crate::scenario::evidence;

fn accepted() -> Verdict {
    judge(&evidence("sends", ""))
}

fn granted() -> Verdict {
    judge(&evidence("asks", ""))
}

/// A client alone whose cookie request came to nothing.
fn no_cookie() -> Verdict {
    client_alone("asks", "client.cookie_after = 'none'")
}

/// A client alone whose SYN data was not acknowledged, and whose cache did this.
fn not_acked(cookie_after: &str) -> Verdict {
    let changes = format!(
        "client.tcp = {{ syn_data = false, client_fail = 'data-not-acked', total_retrans = 1 }}
         client.cookie_after = {{ hex = '{cookie_after}' }}"
    );
    client_alone("sends", &changes)
}

fn syn_lost() -> Verdict {
    let changes =
        "client.tcp = { syn_data = false, client_fail = 'syn-retransmitted', total_retrans = 2 }";
    client_alone("sends", changes)
}

fn client_alone(base: &str, changes: &str) -> Verdict {
    let mut evidence = evidence(base, changes);
    evidence.server = None;
    judge(&evidence)
}

fn assert_says(summary: &Summary, finding: &str, advice: &str) {
    let verdict = &summary.verdict;
    assert!(verdict.finding.contains(finding), "{finding:?} is not in: {}", verdict.finding);
    assert!(verdict.advice.contains(advice), "{advice:?} is not in: {}", verdict.advice);
}

const SAME: &str = "00112233445566aa";
const OTHER: &str = "ffeeddccbbaa9988";

#[test]
fn unanswered_connections_do_not_prove_that_it_works() {
    let unanswered = || client_alone("sends", "client.result = 'connected'");
    let closed = || client_alone("sends", "client.result = 'closed'");
    let not_known = "without an answer nothing shows whether the service got it";
    for (verdicts, finding) in [
        (vec![unanswered(), unanswered()], "acknowledged the data of both connections; "),
        (vec![granted(), unanswered(), closed()], "of 2 of 3 connections, the first one fetched"),
        (vec![closed(), syn_lost(), closed()], "of 2 of 3 connections; the others: 1 x syn-"),
    ] {
        let summary = summarize(&verdicts);
        assert_says(&summary, finding, "");
        assert_says(&summary, not_known, "");
        assert!(!summary.verdict.finding.contains("works"), "{}", summary.verdict);
        assert!(summary.verdict.unanswered, "{summary:?}");
    }
    assert_says(&summarize(&[unanswered(), accepted()]), "Fast open works", "Nothing to do");
}

#[test]
fn no_connection_at_all_is_no_evidence() {
    let summary = summarize(&[]);
    assert_eq!((summary.total, summary.fast_open), (0, 0), "nothing was counted");
    assert_says(&summary, "no evidence", "tfo-client");
}

#[test]
fn one_connection_is_its_own_summary() {
    let summary = summarize(&[granted()]);
    assert_eq!(summary.verdict, granted(), "there is no sequence to speak of");
    assert_says(&summary, "granted", "Connect again");
}

#[test]
fn a_cookie_and_then_fast_open_works() {
    let summary = summarize(&[granted(), accepted(), accepted()]);
    assert_eq!((summary.total, summary.fast_open), (3, 2), "the first only fetched a cookie");
    assert_eq!(summary.verdict.outcome, Outcome::FastOpen, "the last one decides");
    assert_says(&summary, "2 of 3", "Nothing to do");
}

#[test]
fn early_data_with_late_answers_is_no_saving() {
    let late = || judge(&evidence("sends", "client.first_byte_us = 81_000"));
    let summary = summarize(&[late(), late()]);
    assert_says(&summary, "None of them saved a round trip", "`tfo-client compare -s");
    let summary = summarize(&[accepted(), late(), accepted()]);
    assert_says(&summary, "1 of these 3 saved no round trip", "compare");
    let parts = "client.message_bytes = 1800\nclient.attempt = { in-syn = 1420 }\nclient.first_byte_us = 80_000";
    let summary = summarize(&[granted(), judge(&evidence("sends", parts))]);
    assert_says(&summary, "1420 of 1800 bytes", "within 1420 bytes");
}

#[test]
fn all_accepted_works() {
    assert_says(&summarize(&[accepted(), accepted()]), "both connections", "Nothing to do");
}

#[test]
fn data_not_acknowledged_now_and_then_is_a_full_queue() {
    let summary = summarize(&[accepted(), not_acked(SAME), accepted()]);
    assert_says(
        &summary,
        "1 x data-not-acked",
        "`tfo-client doctor` on the server shows the listener on port",
    );
    let summary = summarize(&[accepted(), accepted(), not_acked(SAME)]);
    assert_eq!(summary.verdict.cause, Some(Cause::DataNotAcked), "the last one decides");
    assert_says(&summary, "2 of 3", "`tfo-client doctor` on the server shows the listener on port");
}

#[test]
fn data_never_acknowledged_may_still_be_a_full_queue() {
    let summary = summarize(&[not_acked(SAME), not_acked(SAME), not_acked(SAME)]);
    assert_says(&summary, "All 3 connections", "`tfo-client doctor` on the server");
    assert!(summary.verdict.advice.contains("tfo-server"), "and how to settle the rest");
}

#[test]
fn a_cookie_refused_every_time_is_several_keys_or_a_changing_address() {
    let summary = summarize(&[not_acked(OTHER), not_acked(OTHER)]);
    assert_says(&summary, "cookie-rejected", "different keys");
}

#[test]
fn a_cookie_refused_once_is_a_key_that_was_changed() {
    let summary = summarize(&[not_acked(OTHER), accepted(), accepted()]);
    assert_says(&summary, "1 x cookie-rejected", "backup");
}

#[test]
fn a_syn_repeated_once_is_loss_and_repeated_always_is_a_box() {
    let once = summarize(&[accepted(), syn_lost(), accepted()]);
    assert_says(&once, "1 of 3 attempts missed, which leaves a rate of 6 to 79 %", "ordinary loss");
    let always = summarize(&[syn_lost(), syn_lost()]);
    // Without regular connections in between nobody knows whether the data is the reason.
    assert_says(&always, "Both connections", "while regular connections pass");
}

#[test]
fn two_vain_requests_are_too_few_and_three_are_enough() {
    let two = summarize(&[no_cookie(), no_cookie()]);
    assert_says(&two, "no-cookie-returned", "at least 3 times");
    let three = summarize(&[no_cookie(), no_cookie(), no_cookie()]);
    assert_says(&three, "no-cookie-returned", "34 and 254");
}

#[test]
fn a_box_that_strips_only_kind_34_is_bypassed_by_the_second_request() {
    let summary = summarize(&[no_cookie(), granted(), accepted()]);
    assert_says(&summary, "1 of 3", "254");
}

#[test]
fn cookies_that_are_granted_each_time_are_not_kept() {
    assert_says(&summarize(&[granted(), granted()]), "cookie-granted", "`tfo-client cookies`");
}

#[test]
fn one_json_object_holds_the_numbers_and_the_verdict() {
    let json = toml::Value::try_from(summarize(&[granted(), accepted()])).expect("it serializes");
    for key in ["total", "fast_open", "verdict", "finding", "advice"] {
        assert!(json.get(key).is_some(), "{key} is missing in {json}");
    }
}
