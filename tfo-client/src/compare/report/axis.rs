//! The parts of a plot: series, axis, ticks, and histogram bins.

use crate::compare::analysis::Analysis;
use crate::compare::sample::Side;
use crate::compare::statistics::Sorted;

use super::words;

/// A distribution to draw.
pub(super) struct Series<'a> {
    pub(super) name: &'static str,
    pub(super) tone: Tone,
    pub(super) times: &'a Sorted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Regular,
    FastOpen,
    /// Attempted fast open without using it.
    Missed,
}

/// The time axis, from 0 to a value that few samples exceed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
    /// The multiples of the round trip time; empty if they are too close to each other.
    pub(super) round_trips: Vec<f64>,
}

/// Returns the series of a comparison that are not empty.
pub(super) fn series(analysis: &Analysis) -> Vec<Series<'_>> {
    let Some(main) = analysis.main() else { return Vec::new() };
    let name = |side| words::side(side, analysis.both_regular);
    let mut series = vec![
        Series { name: name(Side::Regular), tone: Tone::Regular, times: &main.regular.sorted },
        Series { name: name(Side::FastOpen), tone: Tone::FastOpen, times: &main.fast.sorted },
        Series { name: "not fast open", tone: Tone::Missed, times: &analysis.miss_times },
    ];
    series.retain(|series| series.times.len() > 0);
    series
}

impl Axis {
    /// Creates the axis for these series, with about this number of ticks.
    pub(super) fn new(series: &[Series<'_>], rtt: Option<f64>, ticks: u32) -> Self {
        let all: usize = series.iter().map(|series| series.times.len()).sum();
        // Leaves out a few misses, which are often a second late and would compress all other series.
        let counts =
            |series: &&Series<'_>| series.tone != Tone::Missed || series.times.len() * 10 >= all;
        let reach = series.iter().filter(counts).filter_map(|series| {
            let most = series.times.values().last()?;
            let usual = series.times.quantile(0.9)?.value * 1.2;
            Some(usual.min(most * 1.04).max(series.times.median()? * 1.04))
        });
        let high = reach.fold(0.0, f64::max).max(0.001);
        let step = round_step(high / f64::from(ticks.max(1)));
        let high = (high / step).ceil() * step;
        let marks = |step: f64| {
            (0..).map(move |n| f64::from(n) * step).take_while(move |at| *at <= high * 1.0001)
        };
        let round_trips = match rtt {
            Some(rtt) if rtt * 8.0 >= high => marks(rtt).skip(1).collect(),
            _ => Vec::new(),
        };
        Self { high, ticks: marks(step).collect(), round_trips }
    }

    /// Returns the position of a time: 0 at the left end, 1 at the right end, more beyond it.
    pub(super) fn place(&self, time: f64) -> f64 {
        time / self.high
    }

    /// Returns the share of the samples in each of `count` bins, and the number of samples beyond the last one.
    pub(super) fn histogram(&self, times: &Sorted, count: usize) -> (Vec<f64>, usize) {
        let (shares, _, beyond) = bins(times, 0.0, self.high, count);
        (shares, beyond)
    }
}

/// Returns the share of the samples in each bin, and the numbers of samples before the first and beyond the last one.
/// The bins cover `span` from `start`.
pub(super) fn bins(times: &Sorted, start: f64, span: f64, bins: usize) -> (Vec<f64>, usize, usize) {
    let mut shares = vec![0.0; bins];
    let one = 1.0 / count(times.len());
    let (mut before, mut beyond) = (0, 0);
    for time in times.values() {
        let place = (time - start) / span;
        if place < 0.0 {
            before += 1;
        } else if let Some(share) = shares.get_mut(bin(place, bins)) {
            *share += one;
        } else {
            beyond += 1;
        }
    }
    (shares, before, beyond)
}

/// Formats a tick with the precision of its step.
pub(super) fn label(tick: f64, step: f64) -> String {
    let digits = [1.0, 0.1, 0.01].iter().take_while(|unit| step < **unit * 0.999).count();
    format!("{tick:.digits$}")
}

/// Returns the share of the samples that are at most `limit`.
pub(super) fn share_until(times: &Sorted, limit: f64) -> f64 {
    count(times.values().partition_point(|time| *time <= limit)) / count(times.len()).max(1.0)
}

/// Returns the smallest step of 1, 2 or 5 times a power of ten that is at least `least`.
pub(super) fn round_step(least: f64) -> f64 {
    let power = 10.0_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= least * 0.9999)
        .unwrap_or(10.0 * power)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places are not negative, and a cast saturates"
)]
fn bin(place: f64, bins: usize) -> usize {
    (place * count(bins)) as usize
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^52")]
pub(super) fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Sorted {
        Sorted::new(values.iter().copied())
    }

    #[test]
    fn ticks_are_round_numbers_that_cover_all_series() {
        let (regular, fast) = (of(&[80.0, 81.0, 82.0]), of(&[40.0, 41.0]));
        let series = [
            Series { name: "", tone: Tone::Regular, times: &regular },
            Series { name: "", tone: Tone::FastOpen, times: &fast },
        ];
        let axis = Axis::new(&series, Some(40.0), 5);
        assert_eq!(axis.ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(axis.round_trips, [40.0, 80.0]);
        let (shares, beyond) = axis.histogram(&fast, 10);
        assert_eq!((shares[4], beyond), (1.0, 0), "{shares:?}");
        for (least, step) in [(0.9, 1.0), (1.1, 2.0), (2.1, 5.0), (5.1, 10.0), (0.03, 0.05)] {
            assert!((round_step(least) - step).abs() < 1e-12, "{least}");
        }
    }

    #[test]
    fn axis_ignores_a_few_misses_and_includes_many() {
        let regular = Sorted::new((0..100).map(|_| 80.0));
        let high = |misses: usize| {
            let missed = Sorted::new((0..misses).map(|_| 1080.0));
            let series = [
                Series { name: "", tone: Tone::Regular, times: &regular },
                Series { name: "", tone: Tone::Missed, times: &missed },
            ];
            Axis::new(&series, None, 5).high
        };
        assert!(high(2) < 200.0, "{}", high(2));
        assert!(high(50) > 1080.0, "{}", high(50));
    }

    #[test]
    fn share_until_includes_samples_equal_to_the_limit() {
        let times = of(&[1.0, 2.0, 2.0, 4.0]);
        for (limit, share) in [(0.5, 0.0), (1.0, 0.25), (2.0, 0.75), (3.0, 0.75), (4.0, 1.0)] {
            assert!((share_until(&times, limit) - share).abs() < 1e-12, "{limit}");
        }
    }
}
