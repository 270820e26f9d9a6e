//! When frames are due in an open loop: evenly, or at random like independent users.
//!
//! A frame that is due does not wait for the echo of an earlier one. Latency counts from the time at which the frame is
//! due, so the time that it waited to be sent is part of its latency.

use crate::load::{
    nanos::{Nanos, whole},
    random::Random,
};

/// How the times between frames are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrivals {
    Constant,
    Poisson,
}

/// Frames that were never sent are told apart by this many times at which they were due.
const MOST_GROUPS: u64 = 100_000;

impl Arrivals {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// The times at which one thread's frames are due.
#[derive(Debug)]
pub(crate) struct Pace {
    arrivals: Arrivals,
    /// On average, in nanoseconds.
    interval: f64,
    next: f64,
    random: Random,
}

impl Pace {
    /// `rate` frames a second from `start` on; `thread` sets those of several threads apart.
    pub(crate) fn new(
        arrivals: Arrivals,
        rate: f64,
        start: Nanos,
        thread: u32,
        threads: u32,
    ) -> Self {
        let interval = 1e9 / rate;
        let phase = interval * f64::from(thread) / f64::from(threads);
        Self {
            arrivals,
            interval,
            next: start as f64 + phase,
            random: Random::new(u64::from(thread) + 1),
        }
    }

    /// When the next frame is due.
    pub(crate) const fn next(&self) -> Nanos {
        whole(self.next)
    }

    /// How many are due by `now`: with random times a guess, but 0 only if it is none.
    pub(crate) fn due(&self, now: Nanos) -> u64 {
        let since = now as f64 - self.next;
        if since < 0.0 { 0 } else { whole(since / self.interval) + 1 }
    }

    /// Frames that are due before `end` and were never taken: when they were due, and how many at a time.
    pub(crate) fn left(&self, end: Nanos) -> impl Iterator<Item = (Nanos, u64)> + use<> {
        let first = self.next();
        let all = end.checked_sub(1).map_or(0, |last| self.due(last));
        // Of very many it is enough to know when about they were due.
        let groups = all.min(MOST_GROUPS);
        let share = move |whole: u64, group: u64| {
            let part = u128::from(whole) * u128::from(group) / u128::from(groups);
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let time = end.saturating_sub(first);
        (0..groups).map(move |group| {
            (first + share(time, group), share(all, group + 1) - share(all, group))
        })
    }

    /// Takes the next frame's time, if it is due by `now`.
    pub(crate) fn take(&mut self, now: Nanos) -> Option<Nanos> {
        let due = self.next();
        if due > now {
            return None;
        }
        self.next += match self.arrivals {
            Arrivals::Constant => self.interval,
            Arrivals::Poisson => self.random.exponential(self.interval),
        };
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrivals: Arrivals, until: Nanos) -> Vec<Nanos> {
        let mut pace = Pace::new(arrivals, 1e6, 5_000, 0, 1);
        std::iter::from_fn(|| pace.take(until)).collect()
    }

    #[test]
    fn constant_times_do_not_drift() {
        let times = times(Arrivals::Constant, 1_000_000_000);
        assert_eq!(
            (times.len(), times[0], times[1], times[999_994]),
            (999_996, 5_000, 6_000, 999_999_000)
        );
    }

    #[test]
    fn random_times_have_the_rate_and_bursts() {
        let times = times(Arrivals::Poisson, 100_000_000);
        assert!((98_000..102_000).contains(&times.len()), "{}", times.len());
        let close = times.windows(2).filter(|pair| pair[1] - pair[0] < 100).count();
        // 1 - e^-0.1 of the gaps are shorter than a tenth of the mean.
        assert!((9_000..10_000).contains(&close), "{close}");
    }

    #[test]
    fn all_that_was_never_sent_is_left() {
        let pace = Pace::new(Arrivals::Constant, 1000.0, 500_000, 0, 1);
        let left: Vec<_> = pace.left(3_600_000).collect();
        assert_eq!(left, [(500_000, 1), (1_275_000, 1), (2_050_000, 1), (2_825_000, 1)]);
        assert_eq!((pace.left(0).count(), pace.left(500_000).count()), (0, 0));
        let many = Pace::new(Arrivals::Constant, 1e9, 0, 0, 1);
        let left: Vec<_> = many.left(1_000_000_000).collect();
        assert_eq!(left.len() as u64, MOST_GROUPS);
        assert_eq!(left.iter().map(|(_, frames)| frames).sum::<u64>(), 1_000_000_000);
    }

    #[test]
    fn none_is_due_before_its_time() {
        let mut pace = Pace::new(Arrivals::Constant, 1000.0, 0, 1, 2);
        assert_eq!((pace.next(), pace.due(499_999), pace.take(499_999)), (500_000, 0, None));
        assert_eq!((pace.due(500_000), pace.due(2_600_000)), (1, 3));
        assert_eq!(pace.take(500_000), Some(500_000));
    }
}
