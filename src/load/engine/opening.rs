//! How fast connections are opened before the load begins: as fast as the server accepts them.

use crate::load::nanos::Nanos;

/// Connections that are being opened at once: few at first, because a SYN that finds the backlog full is repeated only
/// after 1 s, 2 s, 4 s …; a usual backlog holds the most there may be.
const FIRST_AT_ONCE: usize = 4;
const MOST_AT_ONCE: usize = 100;

/// An attempt is quick if it takes no more than twice as long as the quickest one, and this.
const NOISE: Nanos = 10_000_000;

/// An attempt that takes this long waited in the server's backlog, or found it full: the kernel repeats a SYN after 1 s
/// (RFC 6298, section 2).
const SLOW: Nanos = 900_000_000;

/// How one thread opens its connections.
#[derive(Debug)]
pub(crate) struct Opening {
    /// How many may be on their way at once: as many as the server takes without making them wait.
    at_once: usize,
    /// What the quickest attempt took.
    quickest: Nanos,
    shrunk: Nanos,
    /// The most connections that were open at once, and when this number was reached.
    most: usize,
    grown: Nanos,
    /// Attempts that have failed since then.
    failed: usize,
}

impl Opening {
    pub(crate) const fn new() -> Self {
        Self {
            at_once: FIRST_AT_ONCE,
            quickest: Nanos::MAX,
            shrunk: 0,
            most: 0,
            grown: 0,
            failed: 0,
        }
    }

    /// How many connections may be on their way at once.
    pub(crate) const fn at_once(&self) -> usize {
        self.at_once
    }

    /// When the last one was opened that made them more than there ever were.
    pub(crate) const fn last_progress(&self) -> Nanos {
        self.grown
    }

    /// The server has answered an attempt after `took`.
    pub(crate) fn answered(&mut self, took: Nanos, now: Nanos) {
        self.quickest = self.quickest.min(took);
        if took <= self.quickest.saturating_mul(2).saturating_add(NOISE) {
            self.at_once = (self.at_once + 1).min(MOST_AT_ONCE);
        } else if took >= SLOW && now.saturating_sub(self.shrunk) >= SLOW {
            // Once for all that met the same full backlog.
            (self.at_once, self.shrunk) = ((self.at_once / 2).max(1), now);
        }
    }

    /// An attempt was not answered at all.
    pub(crate) fn unanswered(&mut self, now: Nanos) {
        self.answered(SLOW, now);
    }

    pub(crate) const fn failed(&mut self) {
        self.failed += 1;
    }

    /// Whether there is nothing more to wait for: `open` connections are there and `missing` are not. These are given up
    /// when none was opened for `patience`, or when as many attempts have failed as give each two.
    pub(crate) const fn is_over(
        &mut self,
        open: usize,
        missing: usize,
        now: Nanos,
        patience: Nanos,
    ) -> bool {
        if open > self.most {
            (self.most, self.grown, self.failed) = (open, now, 0);
        }
        missing == 0
            || now.saturating_sub(self.grown) >= patience
            || self.failed >= missing.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn quick_answers_add_to_what_is_on_its_way_and_a_full_backlog_halves_it() {
        let mut opening = Opening::new();
        (0..10).for_each(|_| opening.answered(1_000, SECOND));
        assert_eq!(opening.at_once(), FIRST_AT_ONCE + 10);
        (0..10).for_each(|_| opening.answered(SECOND / 10, SECOND));
        assert_eq!(opening.at_once(), FIRST_AT_ONCE + 10, "those had to wait");
        // All connections that found the backlog full.
        (0..50).for_each(|_| opening.answered(SECOND, 2 * SECOND));
        assert_eq!(opening.at_once(), (FIRST_AT_ONCE + 10) / 2);
        (3..20).for_each(|second| opening.answered(SECOND, second * SECOND));
        assert_eq!(opening.at_once(), 1);
        (0..200).for_each(|_| opening.answered(1_000, SECOND));
        assert_eq!(opening.at_once(), MOST_AT_ONCE);
    }

    #[test]
    fn where_the_way_is_long_an_answer_is_quick_that_takes_no_longer_than_others() {
        let mut opening = Opening::new();
        (0..10).for_each(|_| opening.answered(3 * SECOND / 2, SECOND));
        assert_eq!(opening.at_once(), FIRST_AT_ONCE + 10);
    }

    #[test]
    fn as_long_as_some_are_opened_none_is_given_up() {
        let mut opening = Opening::new();
        for open in 1..100 {
            assert!(!opening.is_over(open, 100 - open, open as Nanos * 9, 10));
        }
        assert!(!opening.is_over(90, 10, 99 * 9 + 9, 10));
        assert!(opening.is_over(99, 1, 99 * 9 + 10, 10), "none for that long");
        assert!(Opening::new().is_over(5, 0, 0, 10), "all are open");
    }

    #[test]
    fn those_that_are_refused_twice_are_given_up() {
        let mut opening = Opening::new();
        assert!(!opening.is_over(10, 3, 1, SECOND));
        (0..5).for_each(|_| opening.failed());
        assert!(!opening.is_over(10, 3, 1, SECOND));
        opening.failed();
        assert!(opening.is_over(10, 3, 1, SECOND));
    }
}
