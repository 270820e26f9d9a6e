//! The `resound` command.
fn main() {}
