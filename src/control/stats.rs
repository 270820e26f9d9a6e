//! What a loop counts, as a whole and for each listener.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    counter::Counter,
    histogram::{self, Histogram},
};
use crate::{
    Reason,
    plural::{Plural, bytes, connections, frames},
};

/// What a reactor has done: of the loop as a whole, and of each of its listeners. Counters start at 0 and only grow;
/// gauges say so.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stats {
    /// How often the loop has polled.
    pub turns: Counter,
    /// How long the loop was busy after a poll, in seconds. Empty unless [`Config::measure_turns`](crate::Config::measure_turns)
    /// is set.
    pub turn_durations: Histogram,
    /// Bytes of memory in the buffers of all connections now; a gauge.
    pub buffered: Counter,
    listeners: RwLock<Vec<Arc<ListenerStats>>>,
}

/// What was done at one listener, at one UDP socket, or on the outbound connections of one lane.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Where a listener was bound, as [`Endpoint`](crate::Endpoint) shows it; `udp://` and the address; or `outbound`.
    pub name: String,
    /// How often what happened there.
    pub counts: Counts,
    /// How long its connections were open, in seconds; each counts when it closes.
    pub connection_durations: Histogram,
    /// How many connections it accepted at a time, when it was told that some wait.
    pub accepts_per_wakeup: Histogram,
}

/// How often what happened at a listener, or at several.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Connections accepted, or opened by [`connect`](crate::Reactor::connect).
    pub opened: Counter,
    /// Connections that another loop or process had opened
    /// ([`Handle::adopt_connections`](crate::Handle::adopt_connections)).
    pub adopted: Counter,
    /// Connections that are open now; a gauge.
    pub open: Counter,
    /// Whole frames (lines, messages, requests, datagrams) received and answered.
    pub frames: Counter,
    /// Bytes received.
    pub received: Counter,
    /// Bytes sent.
    pub sent: Counter,
    /// Connections that the peer closed in the middle of a frame.
    pub truncated: Counter,
    /// Frames refused because their length is over the limit.
    pub too_long: Counter,
    /// Input refused because it is not valid in the listener's protocol.
    pub malformed: Counter,
    /// Peers refused because the protocol does not allow them ([`Refusal::NotAllowed`](crate::protocol::Refusal::NotAllowed)).
    pub not_allowed: Counter,
    /// UDP datagrams that were not answered.
    pub datagrams_dropped: Counter,
    /// Those of them that the loop guard dropped ([`UdpConfig::loop_guard`](crate::UdpConfig::loop_guard)).
    pub loop_guard_drops: Counter,
    /// How often accepting paused because there were no descriptors or no kernel memory left.
    pub accept_pauses: Counter,
    /// How often accepting waited because [`max_connections`](crate::Config::max_connections) were open.
    pub accept_waits: Counter,
    /// Connections closed as soon as they were accepted, because a limit was reached.
    pub refused: Counter,
    closed: [Counter; Reason::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            turns: Counter::default(),
            turn_durations: Histogram::new(&histogram::TURNS),
            buffered: Counter::default(),
            listeners: RwLock::default(),
        }
    }
}

impl Stats {
    /// Each listener, UDP socket and lane, in the order in which they were added.
    #[must_use]
    pub fn listeners(&self) -> Vec<Arc<ListenerStats>> {
        self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What all listeners have done together.
    #[must_use]
    pub fn total(&self) -> Counts {
        Counts::sum(self.listeners().iter().map(|listener| &listener.counts))
    }

    /// Counts for another listener.
    pub(crate) fn add_listener(&self, name: String) -> Arc<ListenerStats> {
        let listener = Arc::new(ListenerStats {
            name,
            counts: Counts::default(),
            connection_durations: Histogram::new(&histogram::CONNECTIONS),
            accepts_per_wakeup: Histogram::new(&histogram::ACCEPTS),
        });
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Arc::clone(&listener));
        listener
    }
}

impl Counts {
    /// Connections closed for `reason`.
    #[must_use]
    pub fn closed(&self, reason: Reason) -> u64 {
        self.closed[reason as usize].value()
    }

    /// Adds up what happened in several places.
    #[must_use]
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let sum = Self::default();
        for counts in all {
            for (total, counter) in sum.counters().zip(counts.counters()) {
                total.add(counter.value());
            }
        }
        sum
    }

    /// All numbers.
    fn counters(&self) -> impl Iterator<Item = &Counter> {
        let Self {
            opened,
            adopted,
            open,
            frames,
            received,
            sent,
            truncated,
            too_long,
            malformed,
            not_allowed,
            datagrams_dropped,
            loop_guard_drops,
            accept_pauses,
            accept_waits,
            refused,
            closed,
        } = self;
        let single = [
            opened,
            adopted,
            open,
            frames,
            received,
            sent,
            truncated,
            too_long,
            malformed,
            not_allowed,
            datagrams_dropped,
            loop_guard_drops,
            accept_pauses,
            accept_waits,
            refused,
        ];
        single.into_iter().chain(closed)
    }

    pub(crate) fn count_closed(&self, reason: Reason) {
        self.closed[reason as usize].add(1);
    }
}

impl fmt::Display for Counts {
    /// One line, for a summary at exit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}, {} received, {} sent",
            connections(self.opened.value()),
            frames(self.frames.value()),
            bytes(self.received.value()),
            bytes(self.sent.value()),
        )?;
        let closed = Reason::ALL.iter().map(|&reason| (reason.as_str(), self.closed(reason)));
        let counted = [
            (["frame cut short", "frames cut short"], &self.truncated),
            (["length over the limit", "lengths over the limit"], &self.too_long),
            (["malformed"; 2], &self.malformed),
            (["not allowed"; 2], &self.not_allowed),
            (["datagram dropped", "datagrams dropped"], &self.datagrams_dropped),
            (["of them by the loop guard"; 2], &self.loop_guard_drops),
            (["accept pause", "accept pauses"], &self.accept_pauses),
            (["wait for room", "waits for room"], &self.accept_waits),
            (["refused over a limit"; 2], &self.refused),
            (["taken over"; 2], &self.adopted),
        ];
        let counted = counted.map(|(words, counter)| Plural(counter.value(), words));
        let mut separator = "; closed: ";
        for (name, count) in closed.filter(|&(_, count)| count > 0) {
            write!(f, "{separator}{count} {name}")?;
            separator = ", ";
        }
        separator = "; ";
        for count in counted.into_iter().filter(|count| count.0 > 0) {
            write!(f, "{separator}{count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_of_every_number() {
        let (one, two) = (Counts::default(), Counts::default());
        for (index, counter) in (1..).zip(one.counters()) {
            counter.set(index);
        }
        two.frames.set(1000);
        two.count_closed(Reason::Idle);
        let sum = Counts::sum([&one, &two]);
        assert_eq!(sum.opened.value(), 1);
        assert_eq!(sum.frames.value(), 1004);
        assert_eq!(sum.closed(Reason::Idle), one.closed(Reason::Idle) + 1);
    }
}
