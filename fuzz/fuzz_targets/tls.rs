//! A listener with TLS on a simulated kernel: the input makes each decision of the kernel and of the peers, some of which
//! damage their handshakes and records.
#![no_main]
#![allow(dead_code, reason = "the tests use the rest of what they share with this")]

#[path = "../../tests/simulation/budget.rs"]
mod budget;
#[path = "../../tests/simulation/choices.rs"]
mod choices;
#[path = "../../tests/simulation/datagrams.rs"]
mod datagrams;
#[path = "../../tests/simulation/kernel.rs"]
mod kernel;
#[path = "../../tests/simulation/tls.rs"]
mod tls;

use choices::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    tls::run(Choices::Script { bytes: data.to_vec(), next: 0 });
});
