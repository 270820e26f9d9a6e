//! One log line a second for one cause, however often it happens, with a count of the rest.

use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);

/// Says when a warning may be logged again.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    quiet_until: Duration,
    suppressed: u64,
}

impl Throttle {
    /// Whether to log now; if so, how many times it was not logged since the last time.
    pub(crate) fn admit(&mut self, now: Duration) -> Option<u64> {
        if now < self.quiet_until {
            self.suppressed += 1;
            return None;
        }
        self.quiet_until = now + EVERY;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_one_line_a_second_and_nothing_goes_uncounted() {
        let mut throttle = Throttle::default();
        let mut lines = Vec::new();
        for millisecond in 0..2_500 {
            lines.extend(throttle.admit(Duration::from_millis(millisecond)));
        }
        assert_eq!(lines, [0, 999, 999]);
    }
}
