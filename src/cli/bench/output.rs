//! What the parts of bench write, and where.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use crate::{
    cli::Failure,
    load::{
        check::fault::{Fault, Faults},
        report::Report,
    },
};

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
