//! What the benchmarks share: the servers that are measured, the loads, and the machine.

pub mod bench;
pub mod certificate;
pub mod load;
pub mod machine;
pub mod pattern;
pub mod peers;
pub mod protocol;
pub mod server;
