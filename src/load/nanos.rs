//! Times as whole nanoseconds.

use std::time::Duration;

/// Nanoseconds since the run began. 64 bits are enough for any run.
pub(crate) type Nanos = u64;

pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn seconds(nanos: Nanos) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// A floating-point time in whole nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, as it should"
)]
pub(crate) const fn whole(nanos: f64) -> Nanos {
    nanos as u64
}
