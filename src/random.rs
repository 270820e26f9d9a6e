//! Numbers that are a function of the seed and of what they are for.

/// A stream of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers for one purpose, which `parts` name.
    pub(crate) fn of(parts: &[u64]) -> Self {
        let mut random = Self(0);
        for part in parts {
            random.0 ^= part;
            random.0 = random.next();
        }
        random
    }

    /// Where the stream is: [`at`](Self::at) goes on there.
    pub(crate) const fn place(self) -> u64 {
        self.0
    }

    /// The stream from a [`place`](Self::place) on.
    pub(crate) const fn at(place: u64) -> Self {
        Self(place)
    }

    /// splitmix64, by Sebastiano Vigna.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product: without a division, and nearly without bias.
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// A number from `least` to `most`.
    pub(crate) const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// A number above 0 and up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    pub(crate) const fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_every_part_and_on_nothing_else() {
        let first = |parts: &[u64]| Random::of(parts).next();
        assert_eq!(first(&[1, 2, 3]), first(&[1, 2, 3]));
        let others = [[2, 2, 3], [1, 3, 3], [1, 2, 4], [3, 2, 1], [2, 1, 3]];
        assert!(others.iter().all(|other| first(other) != first(&[1, 2, 3])));
    }

    #[test]
    fn ranges_are_filled_to_both_ends() {
        let mut random = Random::of(&[7]);
        let numbers: Vec<u64> = (0..1000).map(|_| random.between(3, 6)).collect();
        assert!((3..=6).all(|number| numbers.contains(&number)));
        assert!(numbers.iter().all(|number| (3..=6).contains(number)));
        assert_eq!(random.below(0), 0);
        assert!((0..1000).map(|_| random.unit()).all(|unit| unit > 0.0 && unit <= 1.0));
    }
}
