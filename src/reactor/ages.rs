//! When each connection was opened, in tenths of a second (13 years fit): 4 bytes each, so that an idle connection stays
//! small.

use std::time::Duration;

/// When each connection was opened, by slab key: tenths of a second from the loop's start, modulo 2^32. The value of a slot
/// without a connection has no meaning.
#[derive(Debug, Default)]
pub(super) struct Ages(Vec<u32>);

impl Ages {
    /// The connection in slot `key` has been open for the time `age`, which may be longer than the loop has run.
    pub(super) fn open(&mut self, key: usize, now: Duration, age: Duration) {
        if self.0.len() <= key {
            self.0.resize(key + 1, 0);
        }
        self.0[key] = tenths(now).wrapping_sub(tenths(age));
    }

    /// How many tenths of a second the connection in slot `key` has been open.
    pub(super) fn age(&self, key: usize, now: Duration) -> u64 {
        let since = self.0.get(key).copied().unwrap_or_default();
        tenths(now).wrapping_sub(since).into()
    }

    /// Gives back the memory of slots from `used` on.
    pub(super) fn trim(&mut self, used: usize) {
        self.0.truncate(used);
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit();
        }
    }
}

fn tenths(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / 100).unwrap_or(u32::MAX)
}
