//! `--faults`, `--fault-journal` and `--replay`: the files of faults.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use resound::{
    listen::Listen,
    protocol::fault::{Faults, Plan},
};

use super::{
    Failure,
    journal::{self, JournalWriter},
};
use crate::common::{plans::NamedPlans, protocols};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Faults on demand (fault= of a listener; resound faults lists them)")]
pub(crate) struct FaultArgs {
    /// Read plans with names from FILE, for fault=NAME: TOML with lines like flaky = "drop@1%+delay=5ms..20ms"
    #[arg(long, env = "RESOUND_FAULTS", hide_env_values = true, value_name = "FILE")]
    faults: Option<PathBuf>,

    /// Write each connection and each fault of the listeners with fault= to FILE, as lines of JSON; what is in FILE is
    /// replaced
    #[arg(long, env = "RESOUND_FAULT_JOURNAL", hide_env_values = true, value_name = "FILE")]
    fault_journal: Option<PathBuf>,

    /// Write the time into each line of the journal; without times, equal runs have equal journals
    #[arg(long, env = "RESOUND_FAULT_JOURNAL_TIMES", hide_env_values = true)]
    #[arg(requires = "fault_journal")]
    fault_journal_times: bool,

    /// Repeat the faults of a journal, in the same frames of the same connections; needs the same --listen without fault=
    #[arg(long, env = "RESOUND_REPLAY", hide_env_values = true, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// The files, open.
#[derive(Debug)]
pub(super) struct FaultFiles {
    pub(super) plans: NamedPlans,
    journal: Option<(JournalWriter, File)>,
    /// By the number of the listener.
    replay: BTreeMap<usize, Plan>,
}

impl FaultArgs {
    /// Opens the files.
    pub(super) fn open(&self) -> Result<FaultFiles, Failure> {
        let plans = match &self.faults {
            None => NamedPlans::default(),
            Some(file) => NamedPlans::read(file)
                .map_err(|why| Failure::Failed(format!("--faults {}: {why}", file.display())))?,
        };
        let replay = match &self.replay {
            None => BTreeMap::new(),
            Some(file) => {
                let text = fs::read_to_string(file).map_err(|error| error.to_string());
                text.and_then(|text| journal::read(&text))
                    .map_err(|why| Failure::Failed(format!("--replay {}: {why}", file.display())))?
            }
        };
        let journal = match &self.fault_journal {
            None => None,
            Some(path) => {
                let (writer_file, file) = open_twice(path).map_err(|error| {
                    Failure::Failed(format!("--fault-journal {}: {error}", path.display()))
                })?;
                Some((JournalWriter::start(writer_file, self.fault_journal_times)?, file))
            }
        };
        Ok(FaultFiles { plans, journal, replay })
    }
}

/// Removes what is in a file. A pipe or a terminal has nothing to remove.
fn cut(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.set_len(0) } else { Ok(()) }
}

/// Opens a file for appending: two processes write to it while one replaces the other.
fn open_twice(path: &Path) -> io::Result<(File, File)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok((file.try_clone()?, file))
}

impl FaultFiles {
    /// The faults of the listener with this number, from 1.
    pub(super) fn of(
        &mut self,
        number: usize,
        listen: &Listen,
    ) -> Result<Option<Arc<Faults>>, Failure> {
        let wrong = |why: String| Failure::Usage(format!("--listen {listen}: {why}"));
        let asked = protocols::faults(listen, &self.plans).map_err(wrong)?;
        let faults = match (asked, self.replay.remove(&number)) {
            (asked, None) => asked,
            (Some(_), Some(_)) => {
                return Err(wrong(
                    "--replay has its faults; leave out fault=, seed= and client-faults="
                        .to_owned(),
                ));
            }
            (None, Some(plan)) => {
                protocols::check_address(&plan, listen).map_err(wrong)?;
                Some(Arc::new(Faults::new(plan)))
            }
        };
        if let (Some(faults), Some((journal, _))) = (&faults, &self.journal) {
            faults.keep_journal(journal.of(number));
        }
        Ok(faults)
    }

    /// Begins the journal, now that all listeners are there: a start that fails leaves the file as it is. The journal
    /// of a process that this one `replaces` goes on.
    pub(super) fn begin(&self, replaces: bool) -> Result<(), Failure> {
        if let Some(number) = self.replay.keys().next() {
            return Err(Failure::Usage(format!(
                "--replay: the journal has faults for listener {number}, which does not exist; give the same --listen in \
                 the same order"
            )));
        }
        match &self.journal {
            Some((_, file)) if !replaces => {
                cut(file).map_err(|error| Failure::Failed(format!("--fault-journal: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Notes in the journal that this process now takes over from the one that it replaces.
    pub(super) fn note_replaced(&self) {
        if let Some((journal, _)) = &self.journal {
            journal.note_replaced();
        }
    }

    /// Waits until the journal is written.
    ///
    /// # Errors
    ///
    /// If something is missing in it.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        self.journal.as_ref().map_or(Ok(()), |(journal, _)| journal.finish())
    }
}
