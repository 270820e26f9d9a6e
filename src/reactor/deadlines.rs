//! Deadlines in constant time: one first-in-first-out list for each class of timeout.
//!
//! All timeouts of one class have the same length, so the one that was armed last is due last. Arming appends to the list
//! of its class, and expiry looks at the front. Neither a heap nor a timer wheel is needed. The lists are threaded
//! through one `Vec` indexed by slab key. A timeout that changes does so for the whole list, which keeps its order.
//!
//! A connection has at most one deadline in each of two sets: what it waits for ([`Wait`]), and the unit that it has
//! begun to receive ([`Unit`]). The second goes on while the first changes: a peer that keeps a frame unfinished cannot
//! restart the frame's deadline by not reading for a while.

use std::{collections::BTreeSet, marker::PhantomData, time::Duration};

/// The kinds of deadline in one set. Each kind has its own timeout.
pub(crate) trait Class: Copy + Eq + 'static {
    /// Every class, each at its [`index`](Self::index).
    const ALL: &'static [Self];

    fn index(self) -> usize;
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The first byte of the next frame.
    Idle,
    /// The peer, which has to read what it is owed, or to answer a connection attempt.
    Write,
    /// The peer's FIN, on a connection that the server has ended.
    Linger,
}

impl Class for Wait {
    const ALL: &'static [Self] = &[Self::Idle, Self::Write, Self::Linger];

    fn index(self) -> usize {
        self as usize
    }
}

/// What a connection has begun to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// What comes before the first frame: a PROXY header, a WebSocket handshake, the head of the first request.
    Handshake,
    /// A frame, line, message or request.
    Frame,
}

impl Class for Unit {
    const ALL: &'static [Self] = &[Self::Handshake, Self::Frame];

    fn index(self) -> usize {
        self as usize
    }
}

/// No key: the ends of a list.
const NONE: u32 = u32::MAX;

/// In place of a previous key: the node is in [`List::odd`].
const ODD: u32 = u32::MAX - 1;

/// Added to all times: what was armed before the reactor's start, in another loop, has a time that is not negative.
const EARLIER: Duration = Duration::from_secs(1 << 32);

/// No class: the node is in no list.
const UNARMED: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Index of the class, or [`UNARMED`].
    class: u32,
    previous: u32,
    next: u32,
    /// When it was armed, [`EARLIER`] added. The deadline is the timeout of its class later, so that a timeout can change for all.
    since: Duration,
}

const UNARMED_NODE: Node =
    Node { class: UNARMED, previous: NONE, next: NONE, since: Duration::ZERO };

#[derive(Debug)]
struct List {
    timeout: Option<Duration>,
    first: u32,
    last: u32,
    /// Those that were armed earlier than the last one of the list, in another loop: when, and the key.
    odd: BTreeSet<(Duration, usize)>,
}

impl List {
    /// When a node of this list is due that was armed then; `None` where there is no limit any more.
    fn due(&self, since: Duration) -> Option<Duration> {
        Some(since.saturating_add(self.timeout?).saturating_sub(EARLIER))
    }
}

/// One set of deadlines, at most one for each connection. Times are since the reactor's start.
#[derive(Debug)]
pub(crate) struct Timers<C> {
    lists: Vec<List>,
    nodes: Vec<Node>,
    armed: usize,
    /// One bit for each class that has a limit.
    limited: u32,
    classes: PhantomData<C>,
}

impl<C: Class> Timers<C> {
    /// A set whose classes have the timeouts that `timeout` returns. A class without one is never armed.
    pub(crate) fn new(timeout: impl Fn(C) -> Option<Duration>) -> Self {
        let list = |class: &C| List {
            timeout: timeout(*class),
            first: NONE,
            last: NONE,
            odd: BTreeSet::new(),
        };
        let lists: Vec<List> = C::ALL.iter().map(list).collect();
        let bit = |(index, list): (usize, &List)| u32::from(list.timeout.is_some()) << index;
        let limited = lists.iter().enumerate().map(bit).sum();
        Self { lists, nodes: Vec::new(), armed: 0, limited, classes: PhantomData }
    }

    /// Changes the timeout of `class`, also for the keys that have a deadline of this class.
    pub(crate) fn set_timeout(&mut self, class: C, timeout: Option<Duration>) {
        self.lists[class.index()].timeout = timeout;
        let bit = 1 << class.index();
        self.limited = if timeout.is_some() { self.limited | bit } else { self.limited & !bit };
    }

    /// The class of `key`'s deadline, if it has one.
    #[inline(always)]
    pub(crate) fn armed(&self, key: usize) -> Option<C> {
        if self.armed == 0 {
            return None;
        }
        let node = self.nodes.get(key)?;
        C::ALL.get(node.class as usize).copied()
    }

    /// When `key` is due, if it is.
    pub(crate) fn deadline(&self, key: usize) -> Option<Duration> {
        let node = self.nodes.get(key)?;
        self.lists.get(node.class as usize)?.due(node.since)
    }

    /// Whether `class` has a limit.
    #[inline(always)]
    pub(crate) fn limits(&self, class: C) -> bool {
        self.limited >> class.index() & 1 != 0
    }

    /// Gives `key` a deadline of `class`, counted from `now`, in place of the one it had.
    #[expect(clippy::cast_possible_truncation, reason = "slab keys fit a token's 32 bits")]
    pub(crate) fn arm(&mut self, key: usize, class: C, now: Duration) {
        self.disarm(key);
        if !self.limits(class) {
            return;
        }
        if self.nodes.len() <= key {
            self.nodes.resize(key + 1, UNARMED_NODE);
        }
        let list = &mut self.lists[class.index()];
        let previous = std::mem::replace(&mut list.last, key as u32);
        match previous {
            NONE => list.first = key as u32,
            _ => self.nodes[previous as usize].next = key as u32,
        }
        let since = now.saturating_add(EARLIER);
        self.nodes[key] = Node { class: class.index() as u32, previous, next: NONE, since };
        self.armed += 1;
    }

    /// As [`arm`](Self::arm), with only this much `left` of the time.
    #[expect(clippy::cast_possible_truncation, reason = "there are few classes")]
    pub(crate) fn arm_rest(&mut self, key: usize, class: C, now: Duration, left: Duration) {
        self.arm(key, class, now);
        let timeout = self.lists[class.index()].timeout.unwrap_or_default();
        if timeout <= left {
            return;
        }
        self.disarm(key);
        let since = now.saturating_add(EARLIER).saturating_sub(timeout - left);
        self.nodes[key] = Node { class: class.index() as u32, previous: ODD, next: NONE, since };
        self.lists[class.index()].odd.insert((since, key));
        self.armed += 1;
    }

    /// Removes `key`'s deadline, if it has one.
    pub(crate) fn disarm(&mut self, key: usize) {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.class != UNARMED) else {
            return;
        };
        let Node { class, previous, next, since } = std::mem::replace(node, UNARMED_NODE);
        let list = &mut self.lists[class as usize];
        self.armed -= 1;
        if previous == ODD {
            list.odd.remove(&(since, key));
            return;
        }
        match previous {
            NONE => list.first = next,
            _ => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => list.last = previous,
            _ => self.nodes[next as usize].previous = previous,
        }
    }

    /// Gives back the memory behind the last key that has a deadline.
    pub(crate) fn trim(&mut self) {
        let used = self.nodes.iter().rposition(|node| node.class != UNARMED);
        self.nodes.truncate(used.map_or(0, |last| last + 1));
        if self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to_fit();
        }
    }

    /// The nearest deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        if self.armed == 0 {
            return None;
        }
        self.lists.iter().filter_map(|list| Some(self.front(list)?.0)).min()
    }

    /// What is due first in this list: when, and the key.
    fn front(&self, list: &List) -> Option<(Duration, usize)> {
        let first =
            self.nodes.get(list.first as usize).map(|node| (node.since, list.first as usize));
        let (since, key) = first.into_iter().chain(list.odd.first().copied()).min()?;
        Some((list.due(since)?, key))
    }

    /// Disarms and returns one key whose deadline has come.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<(usize, C)> {
        if self.armed == 0 {
            return None;
        }
        for &class in C::ALL {
            if let Some((due, key)) = self.front(&self.lists[class.index()])
                && due <= now
            {
                self.disarm(key);
                return Some((key, class));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn timers() -> Timers<Wait> {
        Timers::new(|class| match class {
            Wait::Idle => None,
            Wait::Write => Some(seconds(10)),
            Wait::Linger => Some(seconds(30)),
        })
    }

    #[test]
    fn due_keys_expire_in_order_and_others_do_not() {
        let mut timers = timers();
        timers.arm(5, Wait::Write, seconds(0));
        timers.arm(1, Wait::Write, seconds(3));
        timers.arm(9, Wait::Linger, seconds(0));
        assert_eq!(timers.next(), Some(seconds(10)));
        assert_eq!(timers.expire(seconds(9)), None);
        assert_eq!(timers.expire(seconds(13)), Some((5, Wait::Write)));
        assert_eq!(timers.expire(seconds(13)), Some((1, Wait::Write)));
        assert_eq!(timers.expire(seconds(13)), None);
        assert_eq!(timers.next(), Some(seconds(30)));
    }

    #[test]
    fn arming_again_moves_to_the_back_and_changes_class() {
        let mut timers = timers();
        timers.arm(0, Wait::Write, seconds(0));
        timers.arm(1, Wait::Write, seconds(1));
        timers.arm(0, Wait::Write, seconds(2));
        assert_eq!(timers.next(), Some(seconds(11)));
        timers.arm(1, Wait::Linger, seconds(4));
        assert_eq!(timers.armed(1), Some(Wait::Linger));
        assert_eq!(timers.expire(seconds(12)), Some((0, Wait::Write)));
        assert_eq!(timers.expire(seconds(34)), Some((1, Wait::Linger)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn what_is_left_of_a_time_expires_in_order_with_the_others() {
        let mut timers = timers();
        timers.arm(1, Wait::Write, seconds(0));
        timers.arm_rest(2, Wait::Write, seconds(0), seconds(4));
        timers.arm_rest(3, Wait::Linger, seconds(0), seconds(2));
        timers.arm_rest(4, Wait::Linger, seconds(0), seconds(99));
        timers.arm_rest(5, Wait::Idle, seconds(0), seconds(1));
        timers.arm_rest(6, Wait::Write, seconds(0), seconds(3));
        assert_eq!((timers.deadline(4), timers.deadline(5)), (Some(seconds(30)), None));
        assert_eq!(timers.next(), Some(seconds(2)));
        timers.disarm(6);
        assert_eq!(timers.expire(seconds(3)), Some((3, Wait::Linger)));
        assert_eq!(timers.armed(2), Some(Wait::Write));
        assert_eq!(timers.expire(seconds(4)), Some((2, Wait::Write)));
        assert_eq!(timers.expire(seconds(4)), None);
        assert_eq!(timers.expire(seconds(10)), Some((1, Wait::Write)));
        assert_eq!(timers.expire(seconds(30)), Some((4, Wait::Linger)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_class_without_limit_disarms() {
        let mut timers = timers();
        timers.arm(3, Wait::Write, seconds(0));
        timers.arm(3, Wait::Idle, seconds(0));
        assert_eq!((timers.next(), timers.armed(3)), (None, None));
    }

    #[test]
    fn the_memory_of_many_deadlines_is_given_back_though_one_remains() {
        let mut timers = timers();
        for key in 0..10_000 {
            timers.arm(key, Wait::Write, seconds(0));
        }
        for key in 1..10_000 {
            timers.disarm(key);
        }
        timers.trim();
        assert!(timers.nodes.capacity() < 100);
        assert_eq!(timers.expire(seconds(10)), Some((0, Wait::Write)));
    }

    #[test]
    fn against_a_sorted_model() {
        let mut timers = timers();
        let mut model: Vec<Option<Duration>> = vec![None; 32];
        let mut random = 12_345_u64;
        for step in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (key, now) = ((random >> 33) as usize % 32, seconds(step / 7));
            if random >> 60 < 5 {
                timers.disarm(key);
                model[key] = None;
            } else {
                let class = Wait::ALL[1 + (random >> 40) as usize % 2];
                timers.arm(key, class, now);
                model[key] = Some(now + timers.lists[class.index()].timeout.unwrap());
            }
            while let Some((key, _)) = timers.expire(now) {
                assert!(model[key].take().is_some_and(|deadline| deadline <= now));
            }
            assert_eq!(timers.next(), model.iter().flatten().min().copied());
        }
    }
}
