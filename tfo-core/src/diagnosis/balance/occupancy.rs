//! Estimates the number of kinds from the number that was met: the occupancy problem.
//!
//! Each observation meets one of `total` kinds with the same chance. Of `observed` observations `distinct` were of
//! different kinds.

/// The chance that one end of an interval is wrong; both ends together 5 %.
const TAIL: f64 = 0.025;
/// A chance that is too small to matter.
const NEGLIGIBLE: f64 = 1e-15;
/// More kinds than this are as good as unlimited.
const MOST: usize = 10_000_000;

/// An estimate of the number of kinds, with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occupancy {
    /// The number of kinds for which the observed number of different ones is expected. `None`: nothing repeats.
    pub(super) likely: Option<usize>,
    pub(super) low: usize,
    /// `None`: there may be any number.
    pub(super) high: Option<usize>,
}

impl Occupancy {
    pub(super) fn new(distinct: usize, observed: usize) -> Self {
        // With more kinds, more of them are met: both chances fall as the number rises.
        let fewer = |total| match distinct {
            0 => 0.0,
            some => at_most(some - 1, observed, total),
        };
        let low = first(distinct, |total| 1.0 - fewer(total) > TAIL).unwrap_or(distinct);
        if distinct >= observed {
            return Self { likely: None, low, high: None };
        }
        let above = first(distinct, |total| at_most(distinct, observed, total) <= TAIL);
        let likely = first(distinct, |total| expected(observed, total) >= real(distinct) - 0.5);
        Self {
            likely: likely.map(|likely| likely.max(low)),
            low,
            high: above.map(|above| above - 1),
        }
    }
}

/// Returns the first number from `from` on for which the condition holds, if it holds for all greater ones. `None`:
/// there is none up to [`MOST`].
fn first(from: usize, is_so: impl Fn(usize) -> bool) -> Option<usize> {
    if is_so(from) {
        return Some(from);
    }
    let (mut below, mut step) = (from, 1);
    let mut at = loop {
        let at = below + step;
        if at > MOST {
            return None;
        }
        if is_so(at) {
            break at;
        }
        (below, step) = (at, step * 2);
    };
    while at - below > 1 {
        let middle = below + (at - below) / 2;
        if is_so(middle) { at = middle } else { below = middle }
    }
    Some(at)
}

/// Returns the average number of kinds that are met.
fn expected(observed: usize, total: usize) -> f64 {
    let total = real(total);
    total * (1.0 - (1.0 - 1.0 / total).powf(real(observed)))
}

/// Returns the chance to meet at most `distinct` of `total` kinds.
fn at_most(distinct: usize, observed: usize, total: usize) -> f64 {
    // The chances of each number of kinds met so far, from `first` on. More than `distinct` never become fewer.
    let (mut first, mut chances) = (0, vec![1.0]);
    for _ in 0..observed {
        let mut next = vec![0.0; chances.len() + 1];
        for (index, chance) in chances.iter().enumerate() {
            let met = real(first + index) / real(total);
            if let Some(place) = next.get_mut(index) {
                *place += chance * met;
            }
            if let Some(place) = next.get_mut(index + 1) {
                *place += chance * (1.0 - met);
            }
        }
        next.truncate((distinct + 1).saturating_sub(first));
        let skipped = next.iter().take_while(|chance| **chance < NEGLIGIBLE).count();
        next.drain(..skipped);
        first += skipped;
        chances = next;
    }
    chances.iter().sum()
}

#[expect(clippy::cast_precision_loss, reason = "a count of connections is small")]
fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(distinct: usize, observed: usize) -> (Option<usize>, usize, Option<usize>) {
        let Occupancy { likely, low, high } = Occupancy::new(distinct, observed);
        (likely, low, high)
    }

    #[test]
    fn chances_are_those_of_small_cases() {
        // Two throws of a coin show both sides half of the time.
        assert!((at_most(1, 2, 2) - 0.5).abs() < 1e-12);
        assert!((at_most(2, 2, 2) - 1.0).abs() < 1e-12);
        // Five kinds, of which one is never met: 5 × 0.8^20, less the chance to miss two.
        let missed = 5.0 * 0.8_f64.powi(20) - 10.0 * 0.6_f64.powi(20) + 10.0 * 0.4_f64.powi(20);
        assert!((at_most(4, 20, 5) - missed).abs() < 1e-4, "{}", at_most(4, 20, 5));
    }

    #[test]
    fn repeats_bound_the_number() {
        assert_eq!(found(1, 7), (Some(1), 1, Some(1)));
        assert_eq!(found(1, 3), (Some(1), 1, Some(6)), "1/6² is more than 2.5 %, 1/7² is not");
        assert_eq!(found(4, 20).1, 4);
        assert_eq!(found(4, 20).2, Some(5));
    }

    #[test]
    fn without_repeats_there_is_no_upper_bound() {
        assert_eq!(found(2, 2), (None, 2, None));
        let (likely, low, high) = found(20, 20);
        assert!((40..60).contains(&low), "{low}: exp(-190/low) is 2.5 %");
        assert_eq!((likely, high), (None, None));
    }

    #[test]
    fn many_observations_take_no_time() {
        let (likely, low, high) = found(2_000, 10_000);
        let (likely, high) = (likely.unwrap(), high.unwrap());
        assert!(low <= likely && likely <= high, "{low} {likely} {high}");
        assert!(high < 2_030, "{high}");
    }
}
