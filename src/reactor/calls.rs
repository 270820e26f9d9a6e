//! Calls at a given time: at most one for each connection. Protocols ask for some, and schedules of output for others.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use crate::Token;

/// Replaced and cancelled entries are removed when the heap is larger than this, and they are more than half of it.
const SWEEP_FROM: usize = 64;

/// The calls that are due at some time. Times are since the reactor's start.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    due: HashMap<Token, Duration>,
    /// Every entry of `due`, nearest first, and some that were replaced or cancelled since.
    heap: BinaryHeap<Reverse<(Duration, Token)>>,
}

impl Calls {
    /// Calls `token` at `time`. This replaces an earlier call.
    pub(crate) fn set(&mut self, token: Token, time: Duration) {
        self.due.insert(token, time);
        self.heap.push(Reverse((time, token)));
        self.sweep();
    }

    /// Whether `token` is going to be called.
    pub(crate) fn awaits(&self, token: Token) -> bool {
        self.due.contains_key(&token)
    }

    /// Cancels the call of `token`.
    pub(crate) fn cancel(&mut self, token: Token) {
        if !self.due.is_empty() && self.due.remove(&token).is_some() {
            self.sweep();
        }
    }

    /// When the call of `token` is due.
    pub(crate) fn due(&self, token: Token) -> Option<Duration> {
        self.due.get(&token).copied()
    }

    /// When the next call is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((time, _))| *time)
    }

    /// Removes one call that is due, and returns its token and its time.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<(Token, Duration)> {
        while let Some(&Reverse((time, token))) = self.heap.peek() {
            let counts = self.due.get(&token) == Some(&time);
            if counts && time > now {
                return None;
            }
            self.heap.pop();
            if counts {
                self.due.remove(&token);
                return Some((token, time));
            }
        }
        None
    }

    /// Keeps the heap in proportion to the valid entries.
    fn sweep(&mut self) {
        if self.heap.len() > SWEEP_FROM && self.heap.len() > 2 * self.due.len() {
            let due = &self.due;
            self.heap.retain(|Reverse((time, token))| due.get(token) == Some(time));
            self.heap.shrink_to(2 * due.len());
            self.due.shrink_to(2 * self.due.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn each_is_called_once_at_the_time_it_asked_for_last() {
        let (one, two) = (Token::new(1, 1), Token::new(2, 2));
        let mut calls = Calls::default();
        calls.set(one, seconds(5));
        calls.set(two, seconds(3));
        calls.set(two, seconds(9));
        assert_eq!(calls.expire(seconds(4)), None);
        assert_eq!(calls.next(), Some(seconds(5)));
        assert_eq!(calls.expire(seconds(9)), Some((one, seconds(5))));
        assert_eq!(calls.expire(seconds(9)), Some((two, seconds(9))));
        assert_eq!((calls.expire(seconds(9)), calls.next()), (None, None));
    }

    #[test]
    fn what_was_replaced_or_cancelled_is_not_kept() {
        let mut calls = Calls::default();
        for key in 0..100 {
            for time in 0..100 {
                calls.set(Token::new(key, 1), seconds(time));
            }
        }
        assert!(calls.heap.len() <= 201, "{} entries for 100 calls", calls.heap.len());
        for key in 0..100 {
            calls.cancel(Token::new(key, 1));
        }
        assert!(calls.heap.len() <= SWEEP_FROM);
        assert_eq!(calls.expire(seconds(100)), None);
    }
}
