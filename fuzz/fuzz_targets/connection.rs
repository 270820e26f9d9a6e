//! The whole dispatcher on a simulated kernel, whose every decision the input makes.
#![no_main]
#![allow(dead_code, reason = "the tests use the rest of what they share with this")]

#[path = "../../tests/simulation/budget.rs"]
mod budget;
#[path = "../../tests/simulation/check.rs"]
mod check;
#[path = "../../tests/simulation/choices.rs"]
mod choices;
#[path = "../../tests/simulation/commands.rs"]
mod commands;
#[path = "../../tests/simulation/datagrams.rs"]
mod datagrams;
#[path = "../../tests/simulation/faulty.rs"]
mod faulty;
#[path = "../../tests/simulation/kernel.rs"]
mod kernel;
#[path = "../../tests/simulation/peer.rs"]
mod peer;
#[path = "../../tests/simulation/recording.rs"]
mod recording;
#[path = "../../tests/simulation/world.rs"]
mod world;

use choices::Choices;
use libfuzzer_sys::fuzz_target;
use world::{Size, World};

fuzz_target!(|data: &[u8]| {
    let script = Choices::Script { bytes: data.to_vec(), next: 0 };
    World::new(script).run(Size { connections: 30, at_once: 10 });
});
