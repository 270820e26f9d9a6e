//! The difference between two sets of measurements, and whether it is more than noise.
//!
//! Logarithms are compared, so that a difference is a ratio: twice as fast and half as fast have the same distance.
//! Student's t gives the interval. Consecutive measurements are correlated, so they count for fewer independent ones.

use crate::load::nanos::whole;

/// A relative difference with its interval, as a factor minus 1: 0.1 is a tenth more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    pub(crate) middle: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Change {
    fn of(mean: f64, half: f64) -> Self {
        let factor = |logarithm: f64| logarithm.exp() - 1.0;
        Self { middle: factor(mean), least: factor(mean - half), most: factor(mean + half) }
    }

    /// Whether it is a change and not noise: the whole interval is on one side of 0, and the middle is at least
    /// `threshold`.
    pub(crate) fn is_real(&self, threshold: f64) -> bool {
        let one_side = self.least > 0.0 || self.most < 0.0;
        one_side && self.middle.abs() >= threshold
    }
}

/// With two measurements the interval would be useless: from a hundredth to a hundredfold.
pub(crate) const FEWEST: usize = 3;

/// From `before` to `after`, two independent sets (Welch's interval, 99 %).
/// `None` with fewer than [`FEWEST`] measurements on a side.
pub(crate) fn unpaired(before: &[f64], after: &[f64]) -> Option<Change> {
    let (before, after) = (Sample::new(before)?, Sample::new(after)?);
    let (a, b) = (before.variance / before.effective, after.variance / after.effective);
    let freedom = if a + b == 0.0 {
        f64::INFINITY
    } else {
        (a + b).powi(2)
            / (a.powi(2) / (before.effective - 1.0) + b.powi(2) / (after.effective - 1.0))
    };
    let half = student(freedom) * (a + b).sqrt();
    Some(Change::of(after.mean - before.mean, half))
}

/// From `before` to `after`, measured in turn: each pair under the same conditions (99 %).
/// `None` with fewer than [`FEWEST`] pairs.
pub(crate) fn paired(before: &[f64], after: &[f64]) -> Option<Change> {
    let differences: Vec<f64> = before
        .iter()
        .zip(after)
        .filter(|(a, b)| **a > 0.0 && **b > 0.0)
        .map(|(a, b)| b.ln() - a.ln())
        .collect();
    if differences.len() < FEWEST {
        return None;
    }
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(Change::of(mean, student(count - 1.0) * (variance / count).sqrt()))
}

/// Logarithms of measurements, in the order of time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    mean: f64,
    variance: f64,
    /// The number of independent measurements that they are equivalent to.
    effective: f64,
}

impl Sample {
    fn new(values: &[f64]) -> Option<Self> {
        let logarithms: Vec<f64> =
            values.iter().filter(|value| **value > 0.0).map(|value| value.ln()).collect();
        if logarithms.len() < FEWEST {
            return None;
        }
        let count = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / count;
        let squares: f64 = logarithms.iter().map(|value| (value - mean).powi(2)).sum();
        let products: f64 =
            logarithms.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
        // The correlation of neighbours, with the usual correction for an exponential decay. With a few dozen
        // measurements it is a rough estimate, so it removes three quarters of them at most.
        let alike = if squares > 0.0 { (products / squares).clamp(0.0, 0.6) } else { 0.0 };
        let effective = (count * (1.0 - alike) / (1.0 + alike)).max(2.0);
        Some(Self { mean, variance: squares / (count - 1.0), effective })
    }
}

/// The 99.5 % quantile of Student's t: half a per cent is outside on each side.
fn student(freedom: f64) -> f64 {
    const TABLE: [f64; 12] =
        [63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055];
    let normal: f64 = 2.576;
    let below = usize::try_from(whole(freedom.floor())).unwrap_or(usize::MAX);
    match below {
        0 => TABLE[0],
        1..=11 => {
            let (low, high) = (TABLE[below - 1], TABLE[below]);
            low + (high - low) * (freedom - freedom.floor())
        }
        // The first terms of the expansion around the normal distribution.
        _ => {
            let (z, v) = (normal, freedom);
            z + (z.powi(3) + z) / (4.0 * v)
                + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v * v)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::random::Random;

    fn noisy(middle: f64, spread: f64, count: usize, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        let mut one = || (random.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
        (0..count).map(|_| middle * (1.0 + spread * (one() + one() + one()))).collect()
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, quantile) in
            [(1.0, 63.657), (4.0, 4.604), (12.0, 3.055), (30.0, 2.750), (1e9, 2.576)]
        {
            assert!((student(freedom) - quantile).abs() < 0.02, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn the_same_twice_is_noise_and_a_tenth_more_is_not() {
        let mut false_alarms = 0;
        for seed in 0..200 {
            let before = noisy(1000.0, 0.05, 20, seed);
            let same = unpaired(&before, &noisy(1000.0, 0.05, 20, seed + 1000)).unwrap();
            false_alarms += u32::from(same.is_real(0.0));
            let more = unpaired(&before, &noisy(1100.0, 0.05, 20, seed + 1000)).unwrap();
            assert!(more.is_real(0.02), "{more:?}");
            assert!((0.06..0.14).contains(&more.middle), "{more:?}");
        }
        assert!(false_alarms <= 8, "{false_alarms} of 200 where 1 % is promised");
    }

    #[test]
    fn pairs_cancel_what_both_share() {
        let drift: Vec<f64> = (0..6).map(|n| 1000.0 * (1.0 + 0.2 * f64::from(n))).collect();
        let less: Vec<f64> =
            drift.iter().zip([0.90, 0.91, 0.89, 0.90, 0.90, 0.91]).map(|(d, f)| d * f).collect();
        let change = paired(&drift, &less).unwrap();
        assert!(change.is_real(0.02) && (-0.11..-0.08).contains(&change.middle), "{change:?}");
        let apart = unpaired(&drift, &less).unwrap();
        assert!(!apart.is_real(0.02), "{apart:?}");
    }

    #[test]
    fn a_slow_drift_is_not_mistaken_for_many_measurements() {
        let wave = |phase: f64| -> Vec<f64> {
            (0..40).map(|n| 1000.0 + 100.0 * (f64::from(n) / 12.0 + phase).sin()).collect()
        };
        let change = unpaired(&wave(0.0), &wave(0.6)).unwrap();
        assert!(!change.is_real(0.0), "{change:?}");
    }

    #[test]
    fn too_few_say_nothing() {
        let three = [1.0, 2.0, 1.5];
        assert!(unpaired(&three, &three).is_some() && paired(&three, &three).is_some());
        assert_eq!(unpaired(&[1.0, 2.0], &three), None);
        assert_eq!(paired(&[1.0, 0.0, 1.0], &three), None);
    }
}
