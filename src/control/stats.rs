//! Counters and gauges: one writer, any number of readers, and cheap for both.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    Reason,
    plural::{Plural, bytes, connections, frames},
};

/// A number that one thread writes and others may read.
///
/// With a single writer a plain load and store make an increment; no locked instruction is needed.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, amount: u64) {
        self.set(self.value().wrapping_add(amount));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

/// What a reactor has done. Counters start at 0 and only grow; gauges say so.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted, or opened by [`connect`](crate::Reactor::connect).
    pub opened: Counter,
    /// Connections open now; a gauge.
    pub open: Counter,
    /// Times that the loop has polled.
    pub turns: Counter,
    /// Whole frames (lines, messages, requests, datagrams) received and answered.
    pub frames: Counter,
    /// Bytes received.
    pub received: Counter,
    /// Bytes sent.
    pub sent: Counter,
    /// Bytes in connections' own buffers now; a gauge.
    pub buffered: Counter,
    /// Peers that closed in the middle of a frame.
    pub truncated: Counter,
    /// Frames refused because their length is over the limit.
    pub too_long: Counter,
    /// Input refused because it means nothing in the listener's protocol.
    pub malformed: Counter,
    /// Peers that a protocol did not allow ([`Refusal::NotAllowed`](crate::protocol::Refusal::NotAllowed)).
    pub not_allowed: Counter,
    /// UDP datagrams that got no answer.
    pub datagrams_dropped: Counter,
    /// Among them, those that the loop guard dropped ([`UdpConfig::loop_guard`](crate::UdpConfig::loop_guard)).
    pub loop_guard_drops: Counter,
    /// Times that accepting paused because descriptors or kernel memory ran out.
    pub accept_pauses: Counter,
    /// Times that accepting waited because `max_connections` were open.
    pub accept_waits: Counter,
    /// Connections closed as soon as they were accepted, because there was no room for them.
    pub refused: Counter,
    closed: [Counter; Reason::ALL.len()],
}

impl Stats {
    /// Connections closed for `reason`.
    #[must_use]
    pub fn closed(&self, reason: Reason) -> u64 {
        self.closed[reason as usize].value()
    }

    /// Adds up what several reactors have done.
    #[must_use]
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let sum = Self::default();
        for stats in all {
            for (total, counter) in sum.counters().zip(stats.counters()) {
                total.add(counter.value());
            }
        }
        sum
    }

    /// All numbers.
    fn counters(&self) -> impl Iterator<Item = &Counter> {
        let Self {
            opened,
            open,
            turns,
            frames,
            received,
            sent,
            buffered,
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
            open,
            turns,
            frames,
            received,
            sent,
            buffered,
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

impl fmt::Display for Stats {
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
        let (one, two) = (Stats::default(), Stats::default());
        for (index, counter) in (1..).zip(one.counters()) {
            counter.set(index);
        }
        two.frames.set(1000);
        two.count_closed(Reason::Idle);
        let sum = Stats::sum([&one, &two]);
        assert_eq!(sum.opened.value(), 1);
        assert_eq!(sum.frames.value(), 1004);
        assert_eq!(sum.closed(Reason::Idle), one.closed(Reason::Idle) + 1);
    }
}
