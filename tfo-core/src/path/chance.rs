//! How sure counts make: the binomial bound and Fisher's exact test.

/// Returns the bound that a share lies below with 95 %, after `passed` of `tried` did.
///
/// The one-sided bound of Clopper and Pearson: 0 of 6 leave a share of at most 39 %.
#[must_use]
pub fn at_most(passed: u32, tried: u32) -> f64 {
    if tried == 0 || passed >= tried {
        return 1.0;
    }
    // The chance of so few successes falls as the share rises.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let share = f64::midpoint(low, high);
        if chance_of_at_most(passed, tried, share) > 0.05 { low = share } else { high = share }
    }
    high
}

/// The chance of at most `passed` successes in `tried` trials.
fn chance_of_at_most(passed: u32, tried: u32, share: f64) -> f64 {
    (0..=passed)
        .map(|hits| {
            let misses = i32::try_from(tried - hits).unwrap_or(i32::MAX);
            let power = i32::try_from(hits).unwrap_or(i32::MAX);
            choose(tried, hits) * share.powi(power) * (1.0 - share).powi(misses)
        })
        .sum()
}

/// Returns the chance that tests would pass as rarely as they did if they passed as often as the controls: the one-sided
/// test of Fisher.
#[must_use]
pub(super) fn chance_of_no_difference(test: (u32, u32), control: (u32, u32)) -> f64 {
    let (passed, tried) = test;
    let (all_passed, all) = (passed + control.0, tried + control.1);
    if tried == 0 || control.1 == 0 {
        return 1.0;
    }
    let least = tried.saturating_sub(all - all_passed);
    let ways = choose(all, tried);
    (least..=passed)
        .map(|hits| choose(all_passed, hits) * choose(all - all_passed, tried - hits) / ways)
        .sum()
}

fn choose(from: u32, take: u32) -> f64 {
    if take > from {
        return 0.0;
    }
    (0..take).map(|step| f64::from(from - step) / f64::from(step + 1)).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.001, "{found}, expected {expected}");
    }

    #[test]
    fn bounds_are_those_of_clopper_and_pearson() {
        close(at_most(0, 6), 1.0 - 0.05_f64.powf(1.0 / 6.0));
        close(at_most(0, 6), 0.393);
        close(at_most(3, 10), 0.6066);
        close(at_most(6, 6), 1.0);
        close(at_most(0, 0), 1.0);
    }

    #[test]
    fn fishers_test_is_exact() {
        close(chance_of_no_difference((0, 6), (6, 6)), 1.0 / 924.0);
        close(chance_of_no_difference((3, 6), (6, 6)), 0.0909);
        close(chance_of_no_difference((6, 6), (6, 6)), 1.0);
        close(chance_of_no_difference((0, 6), (0, 6)), 1.0);
        close(chance_of_no_difference((0, 0), (6, 6)), 1.0);
    }
}
