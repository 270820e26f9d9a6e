//! Deadlines in constant time: one first-in-first-out list for each class of timeout.
//!
//! All timeouts of one class last equally long, so whoever is armed last is due last: arming appends to
//! its class's list, expiry looks at the front, and no heap and no wheel is needed. The lists are threaded
//! through one `Vec` indexed by slab key; a connection is in at most one of them, because it waits for at
//! most one thing at a time.

use std::time::Duration;

/// What a connection is waiting for, and so which limit applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The next frame's first byte.
    Idle,
    /// The rest of a frame that has begun.
    Frame,
    /// The peer to take what it is owed, or to answer to connecting.
    Write,
    /// The peer's end of a connection that the server has ended.
    Linger,
}

impl Class {
    const ALL: [Self; 4] = [Self::Idle, Self::Frame, Self::Write, Self::Linger];
}

/// No key: the ends of a list.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    class: Option<Class>,
    previous: u32,
    next: u32,
    deadline: Duration,
}

const UNARMED: Node = Node { class: None, previous: NONE, next: NONE, deadline: Duration::ZERO };

#[derive(Debug, Clone, Copy)]
struct List {
    timeout: Option<Duration>,
    first: u32,
    last: u32,
}

/// The deadlines of all connections. Times are since the reactor's start.
#[derive(Debug)]
pub(crate) struct Timers {
    lists: [List; 4],
    nodes: Vec<Node>,
    armed: usize,
}

impl Timers {
    /// Timers whose classes last as long as `timeout` says; a class without limit is never armed.
    pub(crate) fn new(timeout: impl Fn(Class) -> Option<Duration>) -> Self {
        let list = |class| List { timeout: timeout(class), first: NONE, last: NONE };
        Self { lists: Class::ALL.map(list), nodes: Vec::new(), armed: 0 }
    }

    /// Whether `key` has a deadline of `class`, or, for a class without limit, none at all.
    pub(crate) fn is_settled(&self, key: usize, class: Class) -> bool {
        let wanted = self.lists[class as usize].timeout.map(|_| class);
        let armed = if self.armed == 0 { None } else { self.nodes.get(key).and_then(|n| n.class) };
        wanted == armed
    }

    /// When `key` is due, if it is.
    pub(crate) fn deadline(&self, key: usize) -> Option<Duration> {
        self.nodes.get(key).filter(|node| node.class.is_some()).map(|node| node.deadline)
    }

    /// Whether `class` has a limit.
    pub(crate) const fn limits(&self, class: Class) -> bool {
        self.lists[class as usize].timeout.is_some()
    }

    /// Gives `key` a deadline of `class`, counted from `now`, in place of the one it had.
    #[expect(clippy::cast_possible_truncation, reason = "slab keys fit a token's 32 bits")]
    pub(crate) fn arm(&mut self, key: usize, class: Class, now: Duration) {
        self.disarm(key);
        let Some(timeout) = self.lists[class as usize].timeout else {
            return;
        };
        if self.nodes.len() <= key {
            self.nodes.resize(key + 1, UNARMED);
        }
        let list = &mut self.lists[class as usize];
        let previous = std::mem::replace(&mut list.last, key as u32);
        match previous {
            NONE => list.first = key as u32,
            _ => self.nodes[previous as usize].next = key as u32,
        }
        self.nodes[key] = Node {
            class: Some(class),
            previous,
            next: NONE,
            deadline: now.saturating_add(timeout),
        };
        self.armed += 1;
    }

    /// Takes `key`'s deadline away, if it has one.
    pub(crate) fn disarm(&mut self, key: usize) {
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        let Node { class: Some(class), previous, next, .. } = *node else {
            return;
        };
        *node = UNARMED;
        let list = &mut self.lists[class as usize];
        match previous {
            NONE => list.first = next,
            _ => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => list.last = previous,
            _ => self.nodes[next as usize].previous = previous,
        }
        self.armed -= 1;
    }

    /// Gives back the memory behind the last key that has a deadline.
    pub(crate) fn trim(&mut self) {
        let used = self.nodes.iter().rposition(|node| node.class.is_some());
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
        let front = |list: &List| self.nodes.get(list.first as usize).map(|node| node.deadline);
        self.lists.iter().filter_map(front).min()
    }

    /// Disarms and returns one key whose deadline has come.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<(usize, Class)> {
        for class in Class::ALL {
            let key = self.lists[class as usize].first as usize;
            if self.nodes.get(key).is_some_and(|node| node.deadline <= now) {
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

    fn timers() -> Timers {
        Timers::new(|class| match class {
            Class::Idle => None,
            Class::Frame => Some(seconds(10)),
            Class::Write => Some(seconds(30)),
            Class::Linger => Some(seconds(2)),
        })
    }

    #[test]
    fn those_due_expire_in_order_and_others_do_not() {
        let mut timers = timers();
        timers.arm(5, Class::Frame, seconds(0));
        timers.arm(1, Class::Frame, seconds(3));
        timers.arm(9, Class::Write, seconds(0));
        assert_eq!(timers.next(), Some(seconds(10)));
        assert_eq!(timers.expire(seconds(9)), None);
        assert_eq!(timers.expire(seconds(13)), Some((5, Class::Frame)));
        assert_eq!(timers.expire(seconds(13)), Some((1, Class::Frame)));
        assert_eq!(timers.expire(seconds(13)), None);
        assert_eq!(timers.next(), Some(seconds(30)));
    }

    #[test]
    fn arming_again_moves_to_the_back_and_changes_class() {
        let mut timers = timers();
        timers.arm(0, Class::Frame, seconds(0));
        timers.arm(1, Class::Frame, seconds(1));
        timers.arm(0, Class::Frame, seconds(2));
        assert_eq!(timers.next(), Some(seconds(11)));
        timers.arm(1, Class::Linger, seconds(4));
        assert!(timers.is_settled(1, Class::Linger) && !timers.is_settled(1, Class::Frame));
        assert_eq!(timers.expire(seconds(12)), Some((0, Class::Frame)));
        assert_eq!(timers.expire(seconds(12)), Some((1, Class::Linger)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_class_without_limit_disarms() {
        let mut timers = timers();
        timers.arm(3, Class::Frame, seconds(0));
        timers.arm(3, Class::Idle, seconds(0));
        assert_eq!(timers.next(), None);
        assert!(timers.is_settled(3, Class::Idle));
    }

    #[test]
    fn the_memory_of_many_deadlines_is_given_back_though_one_remains() {
        let mut timers = timers();
        for key in 0..10_000 {
            timers.arm(key, Class::Frame, seconds(0));
        }
        for key in 1..10_000 {
            timers.disarm(key);
        }
        timers.trim();
        assert!(timers.nodes.capacity() < 100);
        assert_eq!(timers.expire(seconds(10)), Some((0, Class::Frame)));
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
                let class = Class::ALL[1 + (random >> 40) as usize % 3];
                timers.arm(key, class, now);
                model[key] = Some(now + timers.lists[class as usize].timeout.unwrap());
            }
            while let Some((key, _)) = timers.expire(now) {
                assert!(model[key].take().is_some_and(|deadline| deadline <= now));
            }
            assert_eq!(timers.next(), model.iter().flatten().min().copied());
        }
    }
}
