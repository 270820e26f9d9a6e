//! The recorders of all loops, and the file or the answer that is made of them.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use resound::Recorder;

use super::{Lane, trace};

/// The recorders of a process.
#[derive(Debug)]
pub(crate) struct Recording {
    start: Instant,
    recorders: Vec<Arc<Recorder>>,
    /// How far back a timeline goes.
    window: Option<Duration>,
    /// One file is written at a time.
    writing: Mutex<()>,
}

impl Recording {
    /// A recorder of the last `events` for each of `loops`. A timeline goes back for the time `window`, if there is one.
    pub(crate) fn new(loops: usize, events: usize, window: Option<Duration>) -> Self {
        let start = Instant::now();
        let recorders = (0..loops).map(|_| Arc::new(Recorder::new(start, events))).collect();
        Self { start, recorders, window, writing: Mutex::default() }
    }

    pub(crate) fn recorders(&self) -> &[Arc<Recorder>] {
        &self.recorders
    }

    /// Writes the timeline to `path`, in place of what is there. It is written beside it first, so that a reader never
    /// sees half of it.
    ///
    /// # Errors
    ///
    /// As open(2), write(2) and rename(2).
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A device or a pipe is written to, not replaced.
        let is_file = fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        let beside = if is_file { partial(path) } else { path.to_owned() };
        let mut file = BufWriter::new(File::create(&beside)?);
        trace::write(&self.lanes(self.window, usize::MAX), &mut file)?;
        file.flush()?;
        if is_file { fs::rename(&beside, path) } else { Ok(()) }
    }

    /// The timeline, of the last `window` if that is shorter than the recording's own, and of so many events at most.
    pub(crate) fn timeline(&self, window: Option<Duration>, most: usize) -> Vec<u8> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let window = window.into_iter().chain(self.window).min();
        let mut json = Vec::new();
        // Writing to memory does not fail.
        let _ = trace::write(&self.lanes(window, most), &mut json);
        json
    }

    fn lanes(&self, window: Option<Duration>, most: usize) -> Vec<Lane> {
        let from = window.and_then(|window| self.start.elapsed().checked_sub(window));
        let most = (most / self.recorders.len().max(1)) as u64;
        let lanes = self.recorders.iter().map(|recorder| {
            let oldest = recorder.written().saturating_sub(most);
            let mut events = recorder.read(oldest);
            let skipped = events.partition_point(|one| from.is_some_and(|from| one.time < from));
            events.drain(..skipped);
            let lost = events.first().map_or_else(|| recorder.written(), |first| first.number);
            Lane { names: recorder.names(), events, lost }
        });
        lanes.collect()
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}
