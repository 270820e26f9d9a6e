//! What the loop tells of itself: every [`Event`] goes through here once, to the log and to the recorder.

mod event;
mod recorder;

use std::sync::Arc;

use log::{Level, LevelFilter, log_enabled};

pub use self::{
    event::{Deadline, Doing, Event},
    recorder::{Recorded, Recorder},
};
use crate::{Token, control::stats::ListenerStats};

/// What the log calls the source of events.
const TARGET: &str = "resound::reactor";

/// Where the events of one loop go.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Whether events of level trace go anywhere. It is looked up once for each poll.
    is_on: bool,
    recorder: Option<Arc<Recorder>>,
    /// Listeners and UDP sockets, by their tokens.
    names: Vec<(Token, Arc<ListenerStats>)>,
}

impl Events {
    /// Tells of an event of level trace. This costs one branch if nobody listens.
    #[inline(always)]
    pub(super) fn emit(&self, token: Token, event: impl FnOnce() -> Event) {
        if self.is_on {
            self.tell(token, event());
        }
    }

    /// Tells of an event of any level.
    #[cold]
    #[inline(never)]
    pub(super) fn tell(&self, token: Token, event: Event) {
        let level = event.level();
        if log_enabled!(target: TARGET, level) {
            self.log(level, token, event);
        }
        if let Some(recorder) = &self.recorder {
            recorder.record(token, event);
        }
    }

    fn log(&self, level: Level, token: Token, event: Event) {
        match event {
            Event::Polled { .. } | Event::Commanded { .. } => {
                log::log!(target: TARGET, level, "{event}");
            }
            Event::Opened { listener, .. } | Event::Adopted { listener, .. } => {
                let listener = Token::new(listener.into(), 0);
                let known = self.names.iter().find(|(token, _)| *token == listener);
                let name = known.map_or("a listener", |(_, stats)| &stats.name);
                log::log!(target: TARGET, level, "{token}: {event} to {name}");
            }
            _ => log::log!(target: TARGET, level, "{token}: {event}"),
        }
    }

    /// Finds out whether anybody listens now, and returns it.
    pub(super) fn refresh(&mut self) -> bool {
        self.is_on = self.recorder.is_some() || log::max_level() == LevelFilter::Trace;
        self.is_on
    }

    /// Whether events of level trace go anywhere.
    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Keeps all events from now on in `recorder`.
    pub(super) fn record(&mut self, recorder: Arc<Recorder>) {
        for (token, stats) in &self.names {
            recorder.name(*token, Arc::clone(stats));
        }
        self.recorder = Some(recorder);
    }

    /// `stats` are those of the listener or UDP socket `token`.
    pub(super) fn name(&mut self, token: Token, stats: &Arc<ListenerStats>) {
        if let Some(recorder) = &self.recorder {
            recorder.name(token, Arc::clone(stats));
        }
        self.names.push((token, Arc::clone(stats)));
    }
}
