//! The whole daemon without a kernel: a run of many connections is a function of its seed.
//!
//! ```sh
//! RESOUND_SEEDS=10000 cargo test --release --test simulation   # a long run
//! RESOUND_SEED=123 cargo test --test simulation                # one run again
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the report"
)]

#[path = "simulation/budget.rs"]
mod budget;
#[path = "simulation/check.rs"]
mod check;
#[path = "simulation/choices.rs"]
mod choices;
#[path = "simulation/commands.rs"]
mod commands;
#[path = "simulation/datagrams.rs"]
mod datagrams;
#[path = "simulation/faulty.rs"]
mod faulty;
#[path = "simulation/kernel.rs"]
mod kernel;
#[path = "simulation/peer.rs"]
mod peer;
#[path = "simulation/recording.rs"]
mod recording;
#[path = "simulation/rows.rs"]
mod rows;
#[path = "common/seeds.rs"]
mod seeds;
#[cfg(feature = "tls")]
#[path = "simulation/tls.rs"]
mod tls;
#[path = "simulation/world.rs"]
mod world;

use choices::Choices;
use world::{Size, World};

/// Runs in `cargo test`: a few seconds.
const SEEDS: u64 = 30;

const SIZE: Size = Size { connections: 300, at_once: 60 };

#[test]
fn every_invariant_holds_after_every_step() {
    seeds::each(SEEDS, "simulation", |seed| {
        World::new(Choices::Seed(seed)).run(SIZE);
    });
}
