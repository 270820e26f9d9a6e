//! How often a number was how large: fixed buckets, one writer, any number of readers.

use super::counter::Counter;

/// Buckets that count how often a number was at most their upper bound.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    /// One for each bound, and one for what is above the last bound. Not cumulative: one number changes one of them.
    buckets: Box<[Counter]>,
    sum: Counter,
}

/// The buckets of a histogram.
#[derive(Debug)]
pub(crate) struct Scale {
    /// Upper bounds, ascending.
    bounds: &'static [u64],
    /// How many of the bounds' unit are one of the unit that readers get.
    per_unit: u64,
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Durations of turns, in nanoseconds.
pub(crate) static TURNS: Scale = Scale {
    bounds: &[
        10 * MICROSECOND,
        25 * MICROSECOND,
        50 * MICROSECOND,
        100 * MICROSECOND,
        250 * MICROSECOND,
        500 * MICROSECOND,
        MILLISECOND,
        2_500 * MICROSECOND,
        5 * MILLISECOND,
        10 * MILLISECOND,
        25 * MILLISECOND,
        50 * MILLISECOND,
        100 * MILLISECOND,
        250 * MILLISECOND,
        500 * MILLISECOND,
        SECOND,
        2_500 * MILLISECOND,
        5 * SECOND,
        10 * SECOND,
    ],
    per_unit: SECOND,
};

/// Durations of connections, in tenths of a second: 1 s to 24 h.
pub(crate) static CONNECTIONS: Scale = Scale {
    bounds: &[10, 30, 100, 300, 600, 3_000, 9_000, 36_000, 144_000, 432_000, 864_000],
    per_unit: 10,
};

/// Connections that a listener accepted in one turn.
pub(crate) static ACCEPTS: Scale = Scale { bounds: &[0, 1, 2, 4, 8, 16, 32, 64], per_unit: 1 };

impl Histogram {
    pub(crate) fn new(scale: &'static Scale) -> Self {
        let buckets = (0..=scale.bounds.len()).map(|_| Counter::default()).collect();
        Self { scale, buckets, sum: Counter::default() }
    }

    pub(crate) fn record(&self, value: u64) {
        // From the lowest bound: most numbers are small.
        let bounds = self.scale.bounds;
        let index = bounds.iter().position(|&bound| value <= bound).unwrap_or(bounds.len());
        self.buckets[index].add(1);
        self.sum.add(value);
    }

    /// The upper bound of each bucket, and how many numbers were at most that; the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.scale.bounds.iter().map(|&bound| self.in_units(bound));
        let counts = self.buckets.iter().scan(0, |count, bucket| {
            *count += bucket.value();
            Some(*count)
        });
        bounds.chain([f64::INFINITY]).zip(counts)
    }

    /// How many numbers there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::value).sum()
    }

    /// The sum of all numbers.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.in_units(self.sum.value())
    }

    /// Adds up what several writers have counted of the same thing; `None` where there are none.
    #[must_use]
    pub fn total<'a>(all: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut all = all.into_iter().peekable();
        let total = Self::new(all.peek()?.scale);
        for histogram in all {
            for (total, bucket) in total.buckets.iter().zip(&histogram.buckets) {
                total.add(bucket.value());
            }
            total.sum.add(histogram.sum.value());
        }
        Some(total)
    }

    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 100 days of turns")]
    fn in_units(&self, value: u64) -> f64 {
        value as f64 / self.scale.per_unit as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_in_its_bucket_and_in_all_above() {
        let histogram = Histogram::new(&ACCEPTS);
        for value in [0, 3, 4, 65] {
            histogram.record(value);
        }
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 1, 3, 3, 3, 3, 3, 4]);
        assert_eq!(histogram.buckets().last(), Some((f64::INFINITY, 4)));
        assert_eq!((histogram.count(), histogram.sum()), (4, 72.0));
    }

    #[test]
    fn bounds_are_in_seconds_and_ascend() {
        let bounds = |scale| -> Vec<f64> {
            Histogram::new(scale).buckets().map(|(bound, _)| bound).collect()
        };
        let turns = bounds(&TURNS);
        assert_eq!((turns[0], turns[18]), (0.000_01, 10.0));
        let connections = bounds(&CONNECTIONS);
        assert_eq!((connections[0], connections[10]), (1.0, 86_400.0));
        for bounds in [turns, connections] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        }
    }

    #[test]
    fn a_total_has_what_each_has() {
        let [one, two] = [(); 2].map(|()| Histogram::new(&CONNECTIONS));
        one.record(5);
        two.record(5);
        two.record(2_000_000);
        let total = Histogram::total([&one, &two]).unwrap();
        assert_eq!((total.count(), total.sum()), (3, 200_001.0));
        assert_eq!(total.buckets().next(), Some((1.0, 2)));
        assert!(Histogram::total([]).is_none());
    }
}
