//! Waiting for a condition that nothing reports.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often what is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, for `timeout` at most; returns whether it does.
pub(crate) fn wait(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK);
    }
}
