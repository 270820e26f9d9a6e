//! What the loops have counted, by listener.

use std::sync::Arc;

use resound::{Counts, Histogram, ListenerStats};

use super::Daemon;

/// One listener, in all loops that serve it.
pub(super) struct Listener {
    /// As `listening on` shows it.
    pub(super) name: String,
    /// Index of the loop, and what it has counted.
    pub(super) loops: Vec<(usize, Arc<ListenerStats>)>,
}

impl Listener {
    /// What all loops have counted together.
    pub(super) fn counts(&self) -> Counts {
        Counts::sum(self.loops.iter().map(|(_, stats)| &stats.counts))
    }

    /// The sum of a histogram of each loop.
    pub(super) fn histogram(&self, of: impl Fn(&ListenerStats) -> &Histogram) -> Option<Histogram> {
        Histogram::total(self.loops.iter().map(|(_, stats)| of(stats)))
    }
}

/// All listeners, in the order in which they were added.
pub(super) fn listeners(daemon: &Daemon) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for (index, one) in daemon.loops.iter().enumerate() {
        for stats in one.stats.listeners() {
            let name = daemon.listener(&stats.name);
            match listeners.iter_mut().find(|listener| listener.name == name) {
                Some(listener) => listener.loops.push((index, stats)),
                None => {
                    let name = name.to_owned();
                    listeners.push(Listener { name, loops: vec![(index, stats)] });
                }
            }
        }
    }
    listeners
}
