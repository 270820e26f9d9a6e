//! Where a run's decisions come from: a seed, or the bytes of a fuzzer.

/// A source of decisions. The same source makes the same run.
#[derive(Debug)]
pub(crate) enum Choices {
    /// Endless, from `SplitMix64`.
    Seed(u64),
    /// As long as the script lasts, and then always 0.
    #[allow(dead_code, reason = "single faults and the fuzzer have one")]
    Script { bytes: Vec<u8>, next: usize },
}

impl Choices {
    fn next(&mut self) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                z ^ (z >> 31)
            }
            Self::Script { bytes, next } => {
                let byte = bytes.get(*next).copied().unwrap_or(0);
                *next += 1;
                byte.into()
            }
        }
    }

    /// Whether a script has come to its end.
    pub(crate) fn is_exhausted(&self) -> bool {
        matches!(self, Self::Script { bytes, next } if *next >= bytes.len())
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let wide = if limit > 256 { (self.next() << 8) ^ self.next() } else { self.next() };
        (wide % limit as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        // From the top, so that an exhausted script takes no chances.
        self.below(100) >= 100 - percent
    }

    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// From 0 to `most`; each order of magnitude is as likely as any other.
    pub(crate) fn length(&mut self, most: usize) -> usize {
        let bits = usize::BITS - most.leading_zeros();
        let bound = 1_usize << self.below(bits as usize + 1);
        self.below(bound.min(most + 1))
    }
}
