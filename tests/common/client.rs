//! `resound client` as a child process.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    thread,
};

use super::resound;

/// The client for the server at `address`.
pub(crate) fn client(address: &str, arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("client").arg(address).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with that input.
pub(crate) fn pipe(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A client that has failed does not read the rest.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}
