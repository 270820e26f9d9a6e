//! Tests that run again and again, each time with another seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

/// Calls `run` with `usual` seeds from 0 on, or with `RESOUND_SEEDS` seeds from `RESOUND_SEED` on, one if only that is given.
/// Says how `test` runs again with the seed that fails. Returns how many there were.
pub(crate) fn each(usual: u64, test: &str, mut run: impl FnMut(u64)) -> u64 {
    let (first, count) = (number("RESOUND_SEED"), number("RESOUND_SEEDS"));
    let count = count.unwrap_or_else(|| first.map_or(usual, |_| 1));
    for seed in (first.unwrap_or(0)..).take(usize::try_from(count).unwrap()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("to run this again: RESOUND_SEED={seed} cargo test --test {test}");
            resume_unwind(panic);
        }
    }
    count
}
