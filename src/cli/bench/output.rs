//! What the parts of bench write, and where.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use super::args::OutputArgs;
use crate::{
    cli::Failure,
    load::{
        check::fault::{Fault, Faults},
        report::{Report, html, text},
        run::Outcome,
        statistics::hdr,
    },
};

/// The exit code when a condition of `--fail-if` is met.
const GATE: u8 = 3;

/// Writes the reports. Returns the exit code.
pub(super) fn conclude(outcome: &Outcome, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let report = &outcome.report;
    let text = text::text(report).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut json = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::Failed(format!("the report as JSON: {error}")))?;
    json.push('\n');
    match output.json.as_deref() {
        // Standard output is for the data.
        Some(path) if path == Path::new("-") => {
            // Even if standard output is closed, the exit code still depends on the data.
            let _ = io::stderr().write_all(text.as_bytes());
            say(&json)?;
        }
        Some(path) => {
            say(&text)?;
            save(path, "--json", |file| file.write_all(json.as_bytes()))?;
        }
        None => say(&text)?,
    }
    if let Some(path) = &output.report {
        let page = html::page(report).map_err(|error| Failure::Failed(error.to_string()))?;
        save(path, "--report", |file| file.write_all(page.as_bytes()))?;
    }
    if let Some(path) = &output.hdr {
        save(path, "--hdr", |file| {
            hdr::write(file, outcome.started, outcome.window, &outcome.windows)
        })?;
    }
    let mut code = ExitCode::SUCCESS;
    if failures(report) > 0 || report.answered() == 0 && report.connections.held == 0 {
        code = ExitCode::FAILURE;
    }
    for condition in output.fail_if.iter().filter(|condition| condition.holds(report)) {
        let _ = writeln!(io::stderr(), "--fail-if {condition}: the condition is met");
        code = ExitCode::from(GATE);
    }
    Ok(code)
}

/// How many of the errors make the run a failure, whatever was measured besides.
pub(super) fn failures(report: &Report) -> u64 {
    let mut faults = Faults::default();
    for &fault in Fault::ALL {
        faults.count(fault, report.errors_by_name.get(fault.name()).copied().unwrap_or(0));
    }
    faults.failures()
}

pub(super) fn save(
    path: &Path,
    flag: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Failure> {
    File::create(path).and_then(|mut file| write(&mut file)).map_err(|error| {
        Failure::Failed(format!(
            "{flag} {}: {error}; choose a file that can be written",
            path.display()
        ))
    })
}

/// Writes to standard output. If it is closed, that is no failure.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
