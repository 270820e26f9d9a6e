//! One answer from each loop, within a time limit, without blocking.

use std::time::{Duration, Instant};

use resound::{Answer, ControlError, Handle, Summary};

use super::Observed;

/// How long a loop may take to answer before it counts as stuck.
pub(super) const AT_MOST: Duration = Duration::from_secs(5);

/// The summaries of all loops.
pub(super) struct Gather {
    start: Instant,
    loops: Vec<Progress>,
}

enum Progress {
    /// The queue was full: it is tried again.
    Unasked(Handle),
    Asked(Answer<Summary>),
    Done(Result<Summary, ControlError>),
}

impl Gather {
    pub(super) fn start(loops: &[Observed]) -> Self {
        let loops = loops.iter().map(|one| Progress::Unasked(one.handle.clone())).collect();
        Self { start: Instant::now(), loops }
    }

    /// What each loop has answered, once all have or the time is over.
    pub(super) fn poll(&mut self) -> Option<Vec<Result<Summary, ControlError>>> {
        let is_late = self.start.elapsed() > AT_MOST;
        for progress in &mut self.loops {
            if let Progress::Unasked(handle) = progress {
                match handle.summary() {
                    Ok(answer) => *progress = Progress::Asked(answer),
                    Err(ControlError::QueueFull) => {}
                    Err(error) => *progress = Progress::Done(Err(error)),
                }
            }
            if let Progress::Asked(answer) = progress
                && let Some(done) = answer.poll().transpose()
            {
                *progress = Progress::Done(done);
            }
        }
        let result = |progress: &Progress| match progress {
            Progress::Done(result) => Some(result.clone()),
            Progress::Unasked(_) | Progress::Asked(_) if is_late => {
                Some(Err(ControlError::NoAnswer(AT_MOST)))
            }
            Progress::Unasked(_) | Progress::Asked(_) => None,
        };
        self.loops.iter().map(result).collect()
    }
}
