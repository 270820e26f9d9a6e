//! Reads what a server has used when measuring begins and when it ends.

use std::time::{Duration, Instant};

use super::{
    procfs::{self, Usage},
    watched::Watched,
};
use crate::load::{
    nanos::{Nanos, nanos},
    statistics::control::Control,
};

/// The processes of a server are found among all processes of the machine, which takes milliseconds. So they are looked
/// for this long before their use is read.
const AHEAD: Duration = Duration::from_millis(25);

/// The two samples of a run, at the beginning and at the end of the measurement.
#[derive(Debug)]
pub(crate) struct Sampler<'a> {
    server: Option<&'a dyn Watched>,
    samples: [Sample; 2],
}

#[derive(Debug)]
enum Sample {
    NotYet,
    /// These processes are to be read.
    Found(Vec<u32>),
    /// `None` if no process was left.
    Taken(Option<(Instant, Usage)>),
}

impl<'a> Sampler<'a> {
    pub(crate) const fn new(server: Option<&'a dyn Watched>) -> Self {
        Self { server, samples: [Sample::NotYet, Sample::NotYet] }
    }

    /// Does what is due: called often, and when measuring begins and ends.
    pub(crate) fn look(&mut self, now: Nanos, control: &Control) {
        let Some(server) = self.server else { return };
        let times = [control.start(), control.end()];
        for (sample, time) in self.samples.iter_mut().zip(times) {
            if matches!(sample, Sample::NotYet) && now.saturating_add(nanos(AHEAD)) >= time {
                *sample = Sample::Found(server.processes());
            }
            if let Sample::Found(processes) = sample
                && now >= time
            {
                *sample = Sample::Taken(procfs::usage_of(processes));
            }
        }
    }

    /// The time between the samples, and what the server had used at each of them.
    pub(crate) fn between(&self) -> Option<(Duration, [Usage; 2])> {
        let [Sample::Taken(Some((began, before))), Sample::Taken(Some((ended, after)))] =
            &self.samples
        else {
            return None;
        };
        Some((*ended - *began, [*before, *after]))
    }
}
