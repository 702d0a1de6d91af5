//! Tests the answers with constructed samples, and with random samples from a fixed seed.

use std::time::Duration;

use serde_json::json;
use tfo_core::diagnosis::{self, ClientEvidence, Evidence, Outcome, Verdict};

use super::super::sample::Times;
use super::*;

const FIRST_BYTE: &[Metric] = &[Metric::FirstByte];

/// Returns the verdict on evidence with these values.
fn verdict(attempt: &serde_json::Value, syn_data: bool, code: &str, result: &str) -> Verdict {
    let evidence = json!({
        "remote": "192.0.2.2:2222", "message_bytes": 64, "attempt": attempt, "result": result,
        "tcp": {"state": "established", "syn_data": syn_data, "client_fail": code},
        "tcp_fastopen": 3,
        "cookie_before": {"hex": "0011223344556677"}, "cookie_after": {"hex": "0011223344556677"},
    });
    let client: ClientEvidence = serde_json::from_value(evidence).unwrap();
    diagnosis::judge(&Evidence::new(Some(client), None))
}

struct Verdicts {
    hit: Verdict,
    regular: Verdict,
    /// The SYN with data was not answered.
    lost: Verdict,
    /// The SYN-ACK did not acknowledge the data.
    refused: Verdict,
}

impl Verdicts {
    fn new() -> Self {
        let in_syn = || json!({"in-syn": 64});
        let verdicts = Self {
            hit: verdict(&in_syn(), true, "unspecified", "answered"),
            regular: verdict(&json!("regular"), false, "unspecified", "answered"),
            lost: verdict(&in_syn(), false, "syn-retransmitted", "answered"),
            refused: verdict(&in_syn(), false, "data-not-acked", "answered"),
        };
        assert_eq!(verdicts.hit.outcome, Outcome::FastOpen);
        assert_eq!(verdicts.regular.outcome, Outcome::NotAttempted);
        assert_eq!(verdicts.lost.cause, Some(Cause::SynRetransmitted));
        assert_eq!(verdicts.refused.cause, Some(Cause::DataNotAcked));
        verdicts
    }
}

fn sample(pair: usize, side: Side, verdict: &Verdict, ms: f64, rtt: f64) -> Sample {
    let time = Duration::from_secs_f64(ms / 1e3);
    Sample {
        pair,
        first: true,
        side,
        verdict: verdict.clone(),
        times: Times { first_byte: Some(time), reply: Some(time), handshake: None },
        rtt: Some(Duration::from_secs_f64(rtt / 1e3)),
        ended: time,
        lossy: false,
        tls: None,
    }
}

/// Returns this number of pairs. Each closure returns the verdict and the time of its side of a pair.
fn samples<'a>(
    pairs: usize,
    fast: impl Fn(usize) -> (&'a Verdict, f64),
    regular: impl Fn(usize) -> (&'a Verdict, f64),
) -> Vec<Sample> {
    let both = |pair: usize| {
        let ((fast, fast_ms), (regular, regular_ms)) = (fast(pair), regular(pair));
        [
            sample(pair, Side::FastOpen, fast, fast_ms, 40.0),
            sample(pair, Side::Regular, regular, regular_ms, 40.0),
        ]
    };
    (1..=pairs).flat_map(both).collect()
}

fn analyse(samples: &[Sample]) -> Analysis {
    Analysis::new(samples, FIRST_BYTE, false, false)
}

/// Returns a small difference between pairs, as real times have.
fn jitter(pair: usize) -> f64 {
    f64::from(u32::try_from(pair * 7 % 10).unwrap()) / 10.0
}

#[test]
fn saved_round_trip_has_the_figures_computed_by_hand() {
    let verdicts = Verdicts::new();
    let samples = samples(
        10,
        |pair| (&verdicts.hit, 40.0 + jitter(pair)),
        |pair| (&verdicts.regular, 80.0 + jitter(pair)),
    );
    let found = analyse(&samples);
    assert_eq!(found.answer, Answer::On);
    // The ten jitters are 0.0 to 0.9: the median is 0.45, ranks 2 and 9 are 0.1 and 0.8.
    let main = found.main().unwrap();
    let regular = main.regular.median.unwrap();
    assert!((regular.value - 80.45).abs() < 1e-9, "{regular:?}");
    assert!((regular.low.unwrap() - 80.1).abs() < 1e-9, "{regular:?}");
    assert!((regular.high.unwrap() - 80.8).abs() < 1e-9, "{regular:?}");
    let saved = found.saved().unwrap();
    // Both sides of a pair have the same jitter, and the bootstrap draws whole pairs: every draw differs by 40.
    assert!((saved.value - 40.0).abs() < 1e-9 && (saved.high - saved.low) < 1e-9, "{saved:?}");
    assert!((found.round_trips(saved.value).unwrap() - 1.0).abs() < 1e-9);
    assert_eq!((found.hit_rate.count, found.hit_rate.total), (10, 10));
    assert_eq!(found.misses, []);
    // The interval of each median extends 0.35 ms from its value.
    assert!((found.width().unwrap() - 0.35 / 80.45).abs() < 1e-9, "{:?}", found.width());
}

#[test]
fn misses_reduce_the_net_expectation_by_their_cost() {
    let verdicts = Verdicts::new();
    // 9 of 10 save 40 ms, the tenth loses a second: 36 − 100 = −64 ms.
    let fast = |pair: usize| {
        if pair.is_multiple_of(10) { (&verdicts.lost, 1080.0) } else { (&verdicts.hit, 40.0) }
    };
    let mixed = samples(100, fast, |_| (&verdicts.regular, 80.0));
    let found = analyse(&mixed);
    assert_eq!(found.answer, Answer::Off);
    assert!((found.net.unwrap().value + 64.0).abs() < 1e-6, "{:?}", found.net);
    assert!((found.lost.unwrap() - 1000.0).abs() < 1e-6);
    assert_eq!((found.misses[0].word, found.misses[0].count), ("syn-retransmitted", 10));
    // 99 of 100: 39.6 − 10 = 29.6 ms.
    let fast =
        |pair: usize| if pair == 50 { (&verdicts.lost, 1080.0) } else { (&verdicts.hit, 40.0) };
    let found = analyse(&samples(100, fast, |_| (&verdicts.regular, 80.0)));
    assert!((found.net.unwrap().value - 29.6).abs() < 1e-6, "{:?}", found.net);
}

#[test]
fn box_that_drops_syn_data_means_off() {
    let verdicts = Verdicts::new();
    let found = analyse(&samples(
        10,
        |pair| (&verdicts.lost, 1080.0 + jitter(pair)),
        |pair| (&verdicts.regular, 80.0 + jitter(pair)),
    ));
    assert_eq!(found.answer, Answer::Off);
    assert!((found.net.unwrap().value + 1000.0).abs() < 1.0, "{:?}", found.net);
    assert_eq!(found.saved(), None, "no connection used fast open");
}

#[test]
fn small_loss_without_hits_is_inconclusive_and_a_large_is_off() {
    let verdicts = Verdicts::new();
    // The round trip time is 40 ms: a loss of a twentieth of it, and one of half of it.
    for (lost, answer) in [(2.0, Answer::Unknown(Inconclusive::HitRateTooLow)), (20.0, Answer::Off)]
    {
        let found = analyse(&samples(
            20,
            |pair| (&verdicts.lost, 80.0 + lost + jitter(pair)),
            |pair| (&verdicts.regular, 80.0 + jitter(pair)),
        ));
        assert!((found.net.unwrap().value + lost).abs() < 0.5, "{:?}", found.net);
        assert_eq!(found.answer, answer, "{lost} ms");
    }
}

#[test]
fn loss_on_both_sides_is_not_attributed_to_fast_open() {
    let verdicts = Verdicts::new();
    let mut samples = samples(
        100,
        |pair| {
            if pair.is_multiple_of(10) { (&verdicts.lost, 1080.0) } else { (&verdicts.hit, 40.0) }
        },
        |pair| (&verdicts.regular, if pair % 10 == 5 { 1080.0 } else { 80.0 }),
    );
    for sample in &mut samples {
        sample.lossy = sample.time(Metric::FirstByte) > Some(1000.0);
    }
    let found = analyse(&samples);
    // 36 saved − 100 lost + 100 that regular connections lose too.
    assert!((found.ordinary_loss - 100.0).abs() < 1e-6, "{}", found.ordinary_loss);
    assert!((found.net.unwrap().value - 36.0).abs() < 1e-6, "{:?}", found.net);
    assert_ne!(found.answer, Answer::Off);
}

#[test]
fn inconclusive_samples_are_reported_with_their_reason() {
    let verdicts = Verdicts::new();
    let hit = |ms: f64| move |pair: usize| (ms + jitter(pair), pair);
    let reason = |found: Analysis| match found.answer {
        Answer::Unknown(reason) => reason,
        answer => panic!("{answer:?}"),
    };
    let good = |pairs: usize| {
        samples(
            pairs,
            |pair| (&verdicts.hit, hit(40.0)(pair).0),
            |pair| (&verdicts.regular, hit(80.0)(pair).0),
        )
    };
    assert_eq!(reason(analyse(&[])), Inconclusive::TooFewSamples);
    assert_eq!(reason(analyse(&good(9))), Inconclusive::TooFewSamples);
    assert_eq!(analyse(&good(10)).answer, Answer::On);

    let loopback = Analysis::new(&good(50), FIRST_BYTE, false, true);
    assert_eq!(reason(loopback), Inconclusive::RttTooSmall);
    let mut near = good(50);
    for sample in &mut near {
        sample.rtt = Some(Duration::from_micros(990));
    }
    assert_eq!(reason(analyse(&near)), Inconclusive::RttTooSmall);

    // A rare miss makes the interval of the net expectation so wide that the result is inconclusive.
    let lossy = samples(
        40,
        |pair| if pair == 7 { (&verdicts.lost, 1080.0) } else { (&verdicts.hit, 60.0) },
        |_| (&verdicts.regular, 80.0),
    );
    let found = analyse(&lossy);
    assert!(found.net.unwrap().low < -10.0 && found.net.unwrap().high > 0.0, "{:?}", found.net);
    assert_eq!(reason(found), Inconclusive::TooFewSamples);

    let slower = samples(
        50,
        |pair| (&verdicts.hit, 40.0 + jitter(pair)),
        |pair| (&verdicts.regular, if pair <= 25 { 80.0 } else { 100.0 } + jitter(pair)),
    );
    let found = analyse(&slower);
    assert!((found.drift.unwrap() - 20.0).abs() < 1.0, "{:?}", found.drift);
    assert_eq!(reason(found), Inconclusive::Drift);

    // Refused data costs nothing, but a hit rate of a quarter is too low for an answer.
    let rarely = samples(
        100,
        |pair| {
            if pair.is_multiple_of(4) { (&verdicts.hit, 40.0) } else { (&verdicts.refused, 80.0) }
        },
        |_| (&verdicts.regular, 80.0),
    );
    assert_eq!(reason(analyse(&rarely)), Inconclusive::HitRateTooLow);
}

#[test]
fn disabled_client_is_the_answer_with_any_number_of_samples() {
    let verdicts = Verdicts::new();
    let disabled = verdict(&json!("client-disabled"), false, "unspecified", "answered");
    assert_eq!(disabled.cause, Some(Cause::ClientDisabled));
    let doubt = |verdict: &Verdict, pairs| {
        let all = samples(pairs, |_| (verdict, 80.0), |_| (&verdicts.regular, 80.0));
        let found = analyse(&all);
        match found.answer {
            Answer::Unknown(doubt) => (doubt, found.hit_rate.total),
            other => panic!("{other:?}"),
        }
    };
    for pairs in [1, 5, 50] {
        // They did not try, so that there is no hit rate either.
        assert_eq!(doubt(&disabled, pairs), (Inconclusive::ClientDisabled, 0));
    }
    assert_eq!(doubt(&verdicts.refused, 5), (Inconclusive::HitRateTooLow, 5));
    assert_eq!(doubt(&verdicts.refused, 2), (Inconclusive::TooFewSamples, 2));
}

type Spread = fn(&mut fastrand::Rng) -> f64;

/// Returns a time as on a real path: most are close, some are late, a few are very late.
fn skewed(random: &mut fastrand::Rng) -> f64 {
    let late = -(1.0 - random.f64()).ln();
    80.0 + late * if random.u8(..10) == 0 { 10.0 } else { 0.3 }
}

/// Returns a time that a coarse clock rounded.
fn rounded(random: &mut fastrand::Rng) -> f64 {
    f64::from(random.u8(0..8)).mul_add(0.5, 80.0)
}

#[test]
fn identical_paths_differ_in_at_most_7_of_100_runs() {
    let verdicts = Verdicts::new();
    let spread: [(&str, usize, Spread); 3] =
        [("skewed", 10, skewed), ("skewed", 30, skewed), ("rounded", 30, rounded)];
    for (name, pairs, time) in spread {
        let mut random = fastrand::Rng::with_seed(7413);
        let (mut zero, mut answered) = (0, 0);
        for _ in 0..100 {
            let times: Vec<[f64; 2]> =
                (0..=pairs).map(|_| [time(&mut random), time(&mut random)]).collect();
            let samples = samples(
                pairs,
                |pair| (&verdicts.regular, times[pair][0]),
                |pair| (&verdicts.regular, times[pair][1]),
            );
            let found = Analysis::new(&samples, FIRST_BYTE, true, false);
            zero += usize::from(!found.saved().unwrap().differs_from_zero());
            answered += usize::from(found.answer == Answer::NoDifference);
        }
        assert!(zero >= 93, "{name}, {pairs} pairs: the interval includes zero in {zero} of 100");
        assert!(answered >= 93, "{name}, {pairs} pairs: no difference in {answered} of 100");
    }
}

#[test]
fn difference_of_a_tenth_of_the_spread_is_found_in_400_pairs() {
    // Complements the previous test, which would pass if no difference were ever found.
    let verdicts = Verdicts::new();
    let mut random = fastrand::Rng::with_seed(1);
    let times: Vec<[f64; 2]> =
        (0..=400).map(|_| [skewed(&mut random) - 0.3, skewed(&mut random)]).collect();
    let samples = samples(
        400,
        |pair| (&verdicts.regular, times[pair][0]),
        |pair| (&verdicts.regular, times[pair][1]),
    );
    let found = Analysis::new(&samples, FIRST_BYTE, true, false);
    assert!(found.saved().unwrap().low > 0.0, "{:?}", found.saved());
}
