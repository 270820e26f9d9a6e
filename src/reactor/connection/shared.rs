//! What all connections of a loop share.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::pending::Pending;
use crate::{
    Peer, Token,
    control::stats::{Counts, Stats},
    memory::Pool,
    protocol::{Output, Refusal},
    reactor::{events::Events, limits::Limits, round::Round},
};

/// The most that one read or write moves, in bytes: a payload of 1 MiB with its head. The scratch is as long; its pages that no
/// read has reached use no memory.
pub(in crate::reactor) const MOST_AT_ONCE: usize = (1024 + 4) << 10;

/// A protocol's output is full from here on, in bytes.
const HIGH_WATER: usize = 256 << 10;

/// What a connection uses in its turn.
#[derive(Debug)]
pub(in crate::reactor) struct Context<'a, P> {
    pub(in crate::reactor) token: Token,
    pub(in crate::reactor) protocol: &'a mut P,
    /// Of the connection's listener.
    pub(in crate::reactor) counts: &'a Counts,
    pub(in crate::reactor) shared: &'a mut Shared,
}

impl<P> Context<'_, P> {
    /// Counts a refusal, and leaves it to the dispatcher to log.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::TooLong { .. } => &self.counts.too_long,
            Refusal::Malformed(_) => &self.counts.malformed,
            Refusal::NotAllowed(_) => &self.counts.not_allowed,
        };
        counter.add(1);
        self.shared.news.tell(|news| news.refused = Some(refusal));
    }
}

/// What all connections of a loop share.
#[derive(Debug)]
pub(in crate::reactor) struct Shared {
    pub(super) output: Output,
    pub(in crate::reactor) pool: Pool,
    pub(super) spare: Spare,
    pub(in crate::reactor) holders: Holders,
    pub(in crate::reactor) stats: Arc<Stats>,
    pub(in crate::reactor) events: Events,
    /// The reactor is stopping: a connection with nothing left to answer is finished.
    pub(in crate::reactor) draining: bool,
    pub(in crate::reactor) news: News,
    pub(in crate::reactor) round: Round,
    limits: Arc<Limits>,
}

impl Shared {
    pub(in crate::reactor) fn new(limits: Arc<Limits>) -> Self {
        Self {
            output: Output::new(HIGH_WATER),
            pool: Pool::new(Arc::clone(&limits.memory)),
            limits,
            spare: Spare::default(),
            holders: Holders::default(),
            stats: Arc::default(),
            events: Events::default(),
            draining: false,
            news: News::default(),
            round: Round::default(),
        }
    }

    /// Counts the address from a PROXY header, if connections are counted by address. Returns whether it is within its
    /// limit.
    pub(super) fn admit(&mut self, peer: Peer) -> bool {
        let introduced = match peer {
            Peer::Tcp(address) if self.limits.counts_addresses() => {
                if self.limits.enter_from(address.ip()) {
                    Introduced::Admitted { peer, is_counted: true }
                } else {
                    Introduced::Refused(peer)
                }
            }
            _ => Introduced::Admitted { peer, is_counted: false },
        };
        self.news.tell(|news| news.introduced = Some(introduced));
        matches!(introduced, Introduced::Admitted { .. })
    }

    /// Whether there is memory that may not be needed any more.
    pub(in crate::reactor) const fn keeps_any(&self) -> bool {
        self.pool.keeps_any() || self.output.is_oversized()
    }

    /// Shows in the gauge how much is lent.
    #[inline(always)]
    pub(in crate::reactor) fn show_lent(&self) {
        self.stats.buffered.set(self.pool.lent() as u64);
    }

    /// Returns memory that was not used since the last call.
    pub(in crate::reactor) fn trim(&mut self) {
        self.pool.trim_unused();
        self.spare = Spare::default();
        self.output.trim();
    }
}

/// What happened in a connection's turn besides its [`Outcome`](super::Outcome), for the dispatcher to handle.
#[derive(Debug, Default)]
pub(in crate::reactor) struct News {
    /// Whether the dispatcher has to look at the end of the turn: there is some, or somebody listens to events.
    pub(in crate::reactor) any: bool,
    pub(in crate::reactor) refused: Option<Refusal>,
    /// A PROXY header has given the peer's address.
    pub(in crate::reactor) introduced: Option<Introduced>,
    /// The peer has closed in the middle of something, says the protocol.
    pub(in crate::reactor) cut_short: bool,
    /// The protocol asks to be called after this time.
    pub(in crate::reactor) call_after: Option<Duration>,
    /// The schedule of the connection's output goes on after this time.
    pub(in crate::reactor) send_after: Option<Duration>,
}

/// The peer that a PROXY header has named.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) enum Introduced {
    /// Whether it is counted in the limit per address.
    Admitted { peer: Peer, is_counted: bool },
    /// Its address has as many connections as allowed.
    Refused(Peer),
}

impl News {
    pub(super) fn tell(&mut self, tell: impl FnOnce(&mut Self)) {
        self.any = true;
        tell(self);
    }
}

/// [`Pending`]s kept for the next connections that need one.
#[derive(Debug, Default)]
pub(super) struct Spare(
    #[expect(
        clippy::vec_box,
        reason = "the boxes are what is kept: connections hold them as such"
    )]
    Vec<Box<Pending>>,
);

impl Spare {
    const MOST: usize = 256;

    pub(super) fn take(&mut self) -> Box<Pending> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes back one that holds nothing.
    pub(super) fn put_back(&mut self, mut pending: Box<Pending>) {
        if self.0.len() < Self::MOST {
            *pending = Pending::default();
            self.0.push(pending);
        }
    }
}

/// The connections with large buffers, by size class. So the one that holds the most is found without a search.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Holders(BTreeSet<(u8, Token)>);

/// The size class of this many bytes: 0 below 64 KiB, then one for each power of two.
pub(super) fn size_class(bytes: usize) -> u8 {
    const SMALLEST: usize = 64 << 10;
    let power = (bytes / SMALLEST).checked_ilog2();
    power.map_or(0, |power| u8::try_from(power + 1).unwrap_or(u8::MAX))
}

impl Holders {
    pub(super) fn move_between(&mut self, from: u8, to: u8, token: Token) {
        if from > 0 {
            self.0.remove(&(from, token));
        }
        if to > 0 {
            self.0.insert((to, token));
        }
    }

    /// A connection of the largest class: none holds twice as much. `None` where no connection holds 64 KiB.
    pub(in crate::reactor) fn largest(&self) -> Option<Token> {
        self.0.last().map(|&(_, token)| token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_double() {
        for (bytes, class) in
            [(0, 0), (65_535, 0), (65_536, 1), (131_071, 1), (131_072, 2), (16 << 20, 9)]
        {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }
}
