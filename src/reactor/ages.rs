//! When each connection was opened, in tenths of a second (13 years fit): 4 bytes each, so that an idle connection stays
//! small.

use std::time::Duration;

/// Tenths of a second from the loop's start, by slab key. The value of a slot without a connection has no meaning.
#[derive(Debug, Default)]
pub(super) struct Ages(Vec<u32>);

impl Ages {
    /// The connection in slot `key` opens now.
    pub(super) fn open(&mut self, key: usize, now: Duration) {
        if self.0.len() <= key {
            self.0.resize(key + 1, 0);
        }
        self.0[key] = tenths(now);
    }

    /// How many tenths of a second the connection in slot `key` has been open.
    pub(super) fn age(&self, key: usize, now: Duration) -> u64 {
        let since = self.0.get(key).copied().unwrap_or_default();
        tenths(now).saturating_sub(since).into()
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
