//! The time of day, as protocols see it.

use std::time::SystemTime;

/// Tells the time of day. Protocols have no other clock; tests give them one that stands still.
pub type Clock = fn() -> SystemTime;
