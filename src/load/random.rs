//! Random numbers that are the same in every run, so two runs send the same bytes at the same times.

/// splitmix64, by Sebastiano Vigna.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product. Its bias is too small to matter here.
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    /// An exponentially distributed time with this `mean`: the time between independent arrivals.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        // In (0, 1], so that the logarithm exists.
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln() * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_their_mean_and_spread() {
        let mut random = Random::new(1);
        let times: Vec<f64> = (0..100_000).map(|_| random.exponential(50.0)).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / times.len() as f64;
        assert!((49.0..51.0).contains(&mean), "{mean}");
        assert!((48.0..52.0).contains(&variance.sqrt()), "{}", variance.sqrt());
    }

    #[test]
    fn below_stays_below() {
        let mut random = Random::new(7);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[usize::try_from(random.below(5)).unwrap()] = true);
        assert_eq!((seen, random.below(0), random.below(1)), ([true; 5], 0, 0));
    }
}
