//! The load: `resound bench`, run as a command of its own, and its report.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::server::Server;

/// What is read of a report. docs/bench.md describes each field.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    pub frames: u64,
    pub frames_per_s: f64,
    pub megabytes_per_s: f64,
    pub latency_us: Latency,
    pub errors: u64,
    pub errors_by_name: BTreeMap<String, u64>,
    pub first_difference: Option<String>,
    pub client_cpu_share: f64,
    pub client_wait_share: f64,
    pub server: ServerUsage,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct ServerUsage {
    pub cpu_share: f64,
    pub cpu_us_per_frame: f64,
    pub context_switches: u64,
}

/// A server that sends nothing for this long while something is in flight has failed. Long, because others use the
/// machine, too.
const TIMEOUT: &str = "10s";

/// The command line of a load on `server`, with `arguments` of `resound bench`, separated by spaces.
pub fn command(server: &Server, arguments: &str) -> Command {
    command_under(&[], server, arguments)
}

/// The same, with the load run by another program, which is given as command and arguments.
pub fn command_under(program: &[&str], server: &Server, arguments: &str) -> Command {
    let mut words = program.iter().copied().chain([env!("CARGO_BIN_EXE_resound")]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .args(["bench", &format!("{}://{}", server.protocol, server.address)])
        .args(arguments.split_whitespace())
        .args(server.protocol.flags().split_whitespace())
        .args(["--server-pid", &server.id().to_string(), "--timeout", TIMEOUT])
        .args(["--quiet", "--json", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Before what is measured, on the same connections: windows and buffers find their sizes.
const WARM_UP: Duration = Duration::from_millis(50);

/// On a machine with much else to do, a short load may end before a frame is back. It is repeated, each time longer, up to
/// this long.
const LONGEST: Duration = Duration::from_secs(30);

/// Loads `server` for `duration`. The report, read and as it was written.
pub fn run(server: &Server, arguments: &str, duration: Duration) -> io::Result<(Report, Value)> {
    until_frames(duration, |duration| {
        let times = format!("--warm-up {}ms -z {}ms", WARM_UP.as_millis(), duration.as_millis());
        let (report, json) = report(&command(server, &format!("{arguments} {times}")).output()?)?;
        Ok((report.frames > 0).then_some((report, json)))
    })
}

/// Repeats a load of which no frame came back, each time longer.
pub fn until_frames<T>(
    mut duration: Duration,
    mut load: impl FnMut(Duration) -> io::Result<Option<T>>,
) -> io::Result<T> {
    loop {
        if let Some(result) = load(duration)? {
            return Ok(result);
        }
        if duration > LONGEST {
            return Err(io::Error::other(format!("nothing came back in {duration:?}")));
        }
        duration *= 4;
    }
}

/// The report of a load that has ended. An error is also one that the load counted: a server that loses connections or
/// answers wrongly is not compared with one that does not.
pub fn report(output: &Output) -> io::Result<(Report, Value)> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let Ok(value) = serde_json::from_slice::<Value>(&output.stdout) else {
        return Err(io::Error::other(format!("resound bench: {}: {stderr}", output.status)));
    };
    let report = Report::deserialize(&value)
        .map_err(|error| io::Error::other(format!("the report of resound bench: {error}")))?;
    if report.errors > 0 {
        let named = report.errors_by_name.iter().filter(|(_, count)| **count > 0);
        let named: Vec<String> = named.map(|(name, count)| format!("{count} {name}")).collect();
        let difference = report.first_difference.as_deref().unwrap_or_default();
        return Err(io::Error::other(format!("errors: {}\n{difference}", named.join(", "))));
    }
    Ok((report, value))
}
