//! `resound timeline`: a file of `--record` as a page.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::{Failure, cannot};
use crate::{common::units::Size, timeline::page};

/// Make a web page of a file that `serve --record` or GET /timeline has written
///
/// The page has everything in it and loads nothing: it can be sent to others, or kept. It zooms, moves, shows each record,
/// and searches for a connection by its name or address.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TimelineArgs {
    /// The recording: Chrome trace events in JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where to write the page; - is standard output [default: FILE with the ending .html]
    #[arg(long, short, value_name = "HTML")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  resound serve --record trace.json      Ctrl-C ends it and writes the file
  resound timeline trace.json            writes trace.html, to open in a browser";

impl TimelineArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let path = self.file.display();
        let json = fs::read_to_string(&self.file)
            .map_err(|error| cannot(&format!("read {path}"), &error))?;
        let (page, events) = page::page(&json, &format!("{path}: timeline"))
            .map_err(|why| Failure::Failed(format!("cannot show {path}: {why}")))?;
        let to = self.output.clone().unwrap_or_else(|| self.file.with_extension("html"));
        if to.as_os_str() == "-" {
            let written = io::stdout().write_all(page.as_bytes());
            written.map_err(|error| cannot("write to standard output", &error))?;
        } else {
            if to == self.file {
                return Err(Failure::Usage(format!(
                    "{path} is the recording itself: name another file with --output"
                )));
            }
            let shown = to.display();
            fs::write(&to, &page).map_err(|error| cannot(&format!("write {shown}"), &error))?;
            let size = Size(page.len() as u64);
            println!("{shown}: {events} events, {size}; open it in a browser");
        }
        Ok(ExitCode::SUCCESS)
    }
}
