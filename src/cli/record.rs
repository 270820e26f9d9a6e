//! `--record`: what the loops do is kept, and written to a file.

use std::{path::PathBuf, sync::Arc, thread};

use log::{info, warn};

use super::Failure;
use crate::{common::units::TimeLimit, timeline::recording::Recording};

/// Events that are kept for each loop unless `--record-events` says otherwise: some ten thousand frames, one at a time.
const EVENTS: usize = 131_072;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Timeline")]
pub(crate) struct RecordArgs {
    /// Record what each event loop does, and write the last of it to FILE at the end and on SIGUSR1, as Chrome trace
    /// events for Perfetto (also GET /timeline of --admin) [default: off]
    #[arg(long, env = "RESOUND_RECORD", hide_env_values = true, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Say on standard output what happens on each connection, in sentences
    #[arg(long, env = "RESOUND_EXPLAIN", hide_env_values = true)]
    pub(super) explain: bool,

    /// How many events to keep for each event loop, 1024 to 1048576, 40 bytes each; a frame is six of them and more
    #[arg(long, env = "RESOUND_RECORD_EVENTS", hide_env_values = true, value_name = "N")]
    #[arg(default_value_t = EVENTS, value_parser = events, requires = "record")]
    record_events: usize,

    /// How far back to write; off is as far as there are events
    #[arg(long, env = "RESOUND_RECORD_TIME", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(None), requires = "record")]
    record_time: TimeLimit,
}

fn events(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1 << 10..=1 << 20).contains(number));
    number.ok_or_else(|| "not a number from 1024 to 1048576; write one like 131072".to_owned())
}

/// The file of `--record`, and what is recorded for it.
#[derive(Debug, Clone)]
pub(crate) struct RecordFile {
    path: PathBuf,
    recording: Arc<Recording>,
}

impl RecordArgs {
    /// The recorders of `loops` loops, if anybody is to read them.
    pub(crate) fn recording(&self, loops: usize) -> Option<Arc<Recording>> {
        let is_on = self.record.is_some() || self.explain;
        is_on.then(|| Arc::new(Recording::new(loops, self.record_events, self.record_time.0)))
    }

    /// The file that `recording` is written to. This checks that it can be written.
    pub(crate) fn file(&self, recording: &Arc<Recording>) -> Result<Option<RecordFile>, Failure> {
        let Some(path) = &self.record else { return Ok(None) };
        let file = RecordFile { path: path.clone(), recording: Arc::clone(recording) };
        file.save()?;
        Ok(Some(file))
    }
}

impl RecordFile {
    /// Writes the file.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = self.path.display();
        self.recording.save(&self.path).map_err(|error| {
            Failure::Failed(format!(
                "cannot write --record {path}: {error}; name a file in a folder that this user may write to"
            ))
        })
    }

    /// Writes the file in a thread of its own: it may take a while.
    pub(crate) fn save_meanwhile(&self) {
        let file = self.clone();
        let save = move || match file.save() {
            Ok(()) => info!("the timeline is in {}", file.path.display()),
            Err(failure) => warn!("{failure}"),
        };
        if let Err(error) = thread::Builder::new().name("record".to_owned()).spawn(save) {
            warn!("--record: cannot start a thread that writes the file: {error}");
        }
    }
}
