//! Compares the statistics with complete enumeration, with published tables, and with random samples.

use super::binomial::{Binomial, real};
use super::quantile::ranks;
use super::*;

/// Returns the probability of each number of successes, by enumerating all outcomes of `n` trials.
fn enumerated(n: usize, chance: f64) -> Vec<f64> {
    let mut probabilities = vec![0.0; n + 1];
    for outcome in 0_u32..1 << n {
        let hits = outcome.count_ones() as usize;
        probabilities[hits] +=
            chance.powi(outcome.count_ones().cast_signed()) * (1.0 - chance).powi(missed(n, hits));
    }
    probabilities
}

fn missed(n: usize, hits: usize) -> i32 {
    i32::try_from(n - hits).unwrap()
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}

#[test]
fn binomial_distribution_matches_enumeration() {
    for n in 0..=12 {
        for chance in [0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 1.0] {
            let (ours, all) = (Binomial::new(n, chance), enumerated(n, chance));
            for k in 0..=n + 1 {
                let below: f64 = all.iter().take(k).sum();
                assert!(close(ours.below(k), below), "n {n} chance {chance} below {k}");
                assert!(close(ours.at_least(k), 1.0 - below), "n {n} chance {chance} from {k}");
            }
        }
    }
    let large = Binomial::new(100_000, 0.5);
    assert!((large.below(50_000) - 0.5).abs() < 0.002, "no relevant weight underflows");
}

/// Returns the probability that a quantile lies between the values of these ranks, by enumerating all 2^n ways in
/// which the values can lie below and above the quantile.
fn coverage(n: usize, probability: f64, (low, high): (Option<usize>, Option<usize>)) -> f64 {
    let below = enumerated(n, probability);
    let covers = |k: usize| low.is_none_or(|low| low <= k) && high.is_none_or(|high| k < high);
    (0..=n).filter(|k| covers(*k)).map(|k| below[k]).sum()
}

#[test]
fn quantile_intervals_cover_95_percent_and_narrower_ones_do_not() {
    for n in 1..=14 {
        for probability in [0.5, 0.9, 0.99] {
            let (low, high) = ranks(n, probability);
            assert!(coverage(n, probability, (low, high)) >= 0.95, "n {n} at {probability}");
            // One rank less at either end leaves more than 2.5 % there.
            let narrower = (Some(low.map_or(1, |low| low + 1)), None);
            assert!(coverage(n, probability, narrower) < 0.975, "low end: n {n} at {probability}");
            let narrower = (None, Some(high.map_or(n, |high| high - 1)));
            assert!(coverage(n, probability, narrower) < 0.975, "high end: n {n} at {probability}");
        }
    }
}

#[test]
fn ranks_match_published_tables() {
    // The median: Conover, Practical Nonparametric Statistics, table A3; David and Nagaraja, 7.1.
    for (n, low, high) in
        [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (25, 8, 18), (100, 40, 61)]
    {
        assert_eq!(ranks(n, 0.5), (Some(low), Some(high)), "median of {n}");
    }
    assert_eq!(ranks(5, 0.5), (None, None), "2^-5 to either side is more than 2.5 %");
    // The maximum is above the 99th percentile with 97.5 % confidence once 0.99^n falls to 2.5 %.
    assert_eq!(ranks(367, 0.99).1, None, "0.99^367 = 0.02502");
    assert_eq!(ranks(368, 0.99).1, Some(368), "0.99^368 = 0.02477");
    assert_eq!(ranks(100, 0.99), (Some(97), None));
}

#[test]
fn quantiles_match_the_definition() {
    let ten = Sorted::new((1..=10).rev().map(f64::from));
    let value = |probability| ten.quantile(probability).unwrap().value;
    assert!(close(value(0.5), 5.5), "the mean of the two values in the middle");
    assert!(close(value(0.9), 9.5), "10 × 0.9 is 9: the mean of ranks 9 and 10");
    assert!(close(value(0.99), 10.0));
    assert!(close(value(0.25), 3.0));
    let found = ten.quantile(0.5).unwrap();
    assert_eq!((found.low, found.high), (Some(2.0), Some(9.0)));
    assert_eq!(Sorted::default().quantile(0.5), None);
    assert!(close(Sorted::new([7.0]).median().unwrap(), 7.0));
}

#[test]
fn intervals_of_shares_match_published_tables() {
    // Clopper and Pearson: 0 of 10 is at most 1 − 0.025^(1/10); 5 of 10 is 0.187 to 0.813.
    let none = Share::new(0, 10);
    assert!(close(none.low, 0.0) && close(none.high, 1.0 - 0.025_f64.powf(0.1)), "{none:?}");
    let half = Share::new(5, 10);
    assert!((half.low - 0.187_086).abs() < 1e-6 && (half.high - 0.812_914).abs() < 1e-6);
    let all = Share::new(10, 10);
    assert!(close(all.low, 0.025_f64.powf(0.1)) && close(all.high, 1.0), "{all:?}");
    assert!(close(Share::new(0, 0).value(), 0.0));
}

#[test]
fn intervals_of_shares_cover_95_percent_by_enumeration() {
    for n in [1, 4, 9, 12] {
        let intervals: Vec<Share> = (0..=n).map(|hits| Share::new(hits, n)).collect();
        for chance in (1..40).map(|step| f64::from(step) / 40.0) {
            let all = enumerated(n, chance);
            let holds = |share: &Share| share.low <= chance && chance <= share.high;
            let covered: f64 =
                intervals.iter().zip(all).filter(|(share, _)| holds(share)).map(|(_, p)| p).sum();
            assert!(covered >= 0.95, "n {n}, share {chance}: {covered}");
        }
    }
}

#[test]
fn weighted_median_equals_the_median_of_repeated_values() {
    let mut chance = fastrand::Rng::with_seed(1);
    for _ in 0..500 {
        let units = chance.usize(1..8);
        let values: Vec<Option<f64>> =
            (0..units).map(|_| chance.bool().then(|| f64::from(chance.u8(0..5)))).collect();
        let counts: Vec<u32> = (0..units).map(|_| chance.u32(0..4)).collect();
        let repeated = values
            .iter()
            .zip(&counts)
            .flat_map(|(value, count)| std::iter::repeat_n(*value, *count as usize).flatten());
        let expected = Sorted::new(repeated).median();
        assert_eq!(
            WeightedMedian::new(values.clone()).median(&counts),
            expected,
            "{values:?} {counts:?}"
        );
    }
}

/// Enumerates all samples of 4 units that can be drawn from 4: the exact distribution of the bootstrap.
#[test]
fn bootstrap_of_a_small_sample_matches_enumeration() {
    let values = [1.0, 2.0, 4.0, 8.0];
    let mut all = Vec::new();
    for draw in 0..4_usize.pow(4) {
        let drawn = (0..4).map(|place| values[draw / 4_usize.pow(place) % 4]);
        all.push(Sorted::new(drawn).median().unwrap());
    }
    let all = Sorted::new(all);
    let median = WeightedMedian::new(values.map(Some));
    let [found] =
        Resampling { rounds: 20_000, seed: 3 }.estimates(4, |counts| [median.median(counts)]);
    let found = found.unwrap();
    assert!(close(found.value, 3.0));
    assert_eq!((Some(found.low), Some(found.high)), (all.value(0.025), all.value(0.975)));
    let [none, rare] = Resampling::default()
        .estimates(4, |counts| [None, (counts == [1, 1, 1, 1] || counts[0] == 4).then_some(1.0)]);
    assert_eq!((none, rare), (None, None), "a statistic that most draws lack has no interval");
}

#[test]
fn empty_sample_has_no_estimate() {
    let median = WeightedMedian::new([]);
    let [none] = Resampling::default().estimates(0, |counts| [median.median(counts)]);
    assert_eq!(none, None);
    assert!(close(real(3), 3.0));
}
