//! The flight recorder: the last events of a loop, in a ring of fixed size.
//!
//! ```text
//!              written % length
//!                    │
//!  ┌─────┬─────┬─────▼─────┬─────┬─────┐      one record, five words of 64 bits:
//!  │  n-2│  n-1│ n-5 or n  │  n-4│  n-3│      time │ token │ event, packed in three
//!  └─────┴─────┴───────────┴─────┴─────┘
//! ```
//!
//! The loop writes; other threads read while it does, without a lock, also while the loop is stuck or after it has
//! panicked. Recording allocates nothing. The record that is being written and those that are overwritten during a
//! read are left out.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
            fence,
        },
    },
    time::{Duration, Instant},
};

use super::event::{Deadline, Doing, Event};
use crate::{
    Begun, ConnectionState, Peer, Reason, Token, control::stats::ListenerStats,
    reactor::net::Readiness,
};

const WORDS: usize = 5;

/// The last events of one loop: [`Reactor::record`](crate::Reactor::record).
pub struct Recorder {
    start: Instant,
    ring: Box<[[AtomicU64; WORDS]]>,
    /// How many events have been recorded; the next one gets this number.
    written: AtomicU64,
    /// Listeners and UDP sockets, by their tokens.
    names: RwLock<Vec<(Token, Arc<ListenerStats>)>>,
}

/// An event with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// How many events the loop has recorded before.
    pub number: u64,
    /// Since the start of the recorder.
    pub time: Duration,
    /// Whose event it is.
    pub token: Token,
    /// What happened.
    pub event: Event,
}

impl Recorder {
    /// Keeps the last `length` events (at least one), 40 bytes each. Times are counted from `start`: recorders that
    /// are to be compared get the same.
    #[must_use]
    pub fn new(start: Instant, length: usize) -> Self {
        let ring = (0..length.max(1)).map(|_| Default::default()).collect();
        Self { start, ring, written: AtomicU64::new(0), names: RwLock::default() }
    }

    /// Events recorded so far, with those that are not kept any more.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Acquire)
    }

    /// How many events are kept.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.ring.len()
    }

    /// The events from number `from` on that are still kept, oldest first.
    #[must_use]
    pub fn read(&self, from: u64) -> Vec<Recorded> {
        let end = self.written.load(Acquire);
        let length = self.ring.len() as u64;
        let first = from.max(end.saturating_sub(length));
        let mut words = Vec::with_capacity(usize::try_from(end.saturating_sub(first)).unwrap_or(0));
        for number in first..end {
            let slot = self.slot(number);
            words.push((number, std::array::from_fn::<_, WORDS, _>(|at| slot[at].load(Relaxed))));
        }
        // As in `record`: whoever has seen a word of event n sees here that n events were written before.
        fence(Acquire);
        let overwritten = (self.written.load(Relaxed) + 1).saturating_sub(length);
        let whole = words.into_iter().filter(|&(number, _)| number >= overwritten);
        whole.filter_map(|(number, words)| unpack(number, words)).collect()
    }

    /// The names of listeners and UDP sockets, as in [`ListenerStats::name`], by their tokens.
    #[must_use]
    pub fn names(&self) -> Vec<(Token, String)> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().map(|(token, stats)| (*token, stats.name.clone())).collect()
    }

    /// Keeps an event. Only one thread may do that at a time, or events are lost.
    pub(super) fn record(&self, token: Token, event: Event) {
        let time = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let [kind, one, two] = pack(event);
        let number = self.written.load(Relaxed);
        // A reader that sees one of the stores below also sees that `written` was `number`.
        fence(Release);
        let token = u64::from(token.generation()) << 32 | token.key() as u64;
        for (word, value) in self.slot(number).iter().zip([time, token, kind, one, two]) {
            word.store(value, Relaxed);
        }
        self.written.store(number + 1, Release);
    }

    pub(super) fn name(&self, token: Token, stats: Arc<ListenerStats>) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).push((token, stats));
    }

    #[expect(clippy::cast_possible_truncation, reason = "64-bit targets only")]
    fn slot(&self, number: u64) -> &[AtomicU64; WORDS] {
        &self.ring[number as usize % self.ring.len()]
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, written) = (self.length(), self.written());
        f.debug_struct("Recorder")
            .field("length", &length)
            .field("written", &written)
            .finish_non_exhaustive()
    }
}

const STATES: [ConnectionState; 5] = [
    ConnectionState::Connecting,
    ConnectionState::Open,
    ConnectionState::HalfClosed,
    ConnectionState::Finishing,
    ConnectionState::Lingering,
];

const BEGUN: [Begun; 3] = [Begun::Nothing, Begun::Handshake, Begun::Frame];

/// An event in three words. The lowest byte of the first is the number of its variant.
fn pack(event: Event) -> [u64; 3] {
    let flag = u64::from;
    match event {
        Event::Polled { events, open, queued } => [0, pair(events, open), queued.into()],
        Event::Commanded { commands } => [1, commands.into(), 0],
        Event::Ready(Readiness { readable, writable, more_behind }) => {
            [2, flag(readable) | flag(writable) << 1 | flag(more_behind) << 2, 0]
        }
        Event::Resumed => [3, 0, 0],
        Event::Expired(deadline) => [4, deadline as u64, 0],
        Event::Called => [5, 0, 0],
        Event::Accepted { connections } => [6, connections.into(), 0],
        Event::Opened { peer, listener } => pack_peer(7, peer, listener),
        Event::Connected { peer } => pack_peer(8, peer, 0),
        Event::Adopted { peer, listener } => pack_peer(9, peer, listener),
        Event::Introduced { peer } => pack_peer(10, peer, 0),
        Event::Read { bytes, room } => [11, pair(bytes, room), 0],
        Event::ReadEof => [12, 0, 0],
        Event::ReadBlocked => [13, 0, 0],
        Event::Answered { consumed, frames, begun } => [14 | (begun as u64) << 8, consumed, frames],
        Event::Wrote { bytes, of } => [15, bytes.into(), of],
        Event::WriteBlocked { left } => [16, left, 0],
        Event::BudgetSpent => [17, 0, 0],
        Event::FinSent => [18, 0, 0],
        Event::CutShort { held } => [19, held, 0],
        Event::Lost { doing, errno } => [20, doing as u64, errno.cast_unsigned().into()],
        Event::TurnEnded { state, begun, held, owed } => {
            [21 | (state as u64) << 8 | (begun as u64) << 16, held, owed]
        }
        Event::Closed { reason, received, sent, frames, .. } => {
            [22 | (reason as u64) << 8 | frames.min(MOST_FRAMES) << 16, received, sent]
        }
        Event::Datagram { source, bytes } => {
            let [kind, one, two] = pack_address(23, source, 0);
            [kind | u64::from(bytes.min(0xFFFF)) << 48, one, two]
        }
        Event::DatagramSent { bytes } => [24, bytes.into(), 0],
        Event::DatagramDropped => [25, 0, 0],
        Event::Acknowledged => [26, 0, 0],
    }
}

/// Frames of one connection that are counted in a record: 48 bits.
const MOST_FRAMES: u64 = (1 << 48) - 1;

fn unpack(number: u64, [time, token, kind, one, two]: [u64; WORDS]) -> Option<Recorded> {
    let byte = |at: u32| usize::from((kind >> (8 * at)).to_le_bytes()[0]);
    let listener = (kind >> 8).to_le_bytes()[0];
    let event = match byte(0) {
        0 => Event::Polled { events: low(one), open: high(one), queued: low(two) },
        1 => Event::Commanded { commands: low(one) },
        2 => Event::Ready(Readiness {
            readable: one & 1 > 0,
            writable: one & 2 > 0,
            more_behind: one & 4 > 0,
        }),
        3 => Event::Resumed,
        4 => Event::Expired(*Deadline::ALL.get(usize::try_from(one).ok()?)?),
        5 => Event::Called,
        6 => Event::Accepted { connections: low(one) },
        7 => Event::Opened { peer: unpack_peer(kind, one, two), listener },
        8 => Event::Connected { peer: unpack_peer(kind, one, two) },
        9 => Event::Adopted { peer: unpack_peer(kind, one, two), listener },
        10 => Event::Introduced { peer: unpack_peer(kind, one, two) },
        11 => Event::Read { bytes: low(one), room: high(one) },
        12 => Event::ReadEof,
        13 => Event::ReadBlocked,
        14 => Event::Answered { consumed: one, frames: two, begun: *BEGUN.get(byte(1))? },
        15 => Event::Wrote { bytes: low(one), of: two },
        16 => Event::WriteBlocked { left: one },
        17 => Event::BudgetSpent,
        18 => Event::FinSent,
        19 => Event::CutShort { held: one },
        20 => Event::Lost {
            doing: *Doing::ALL.get(usize::try_from(one).ok()?)?,
            errno: low(two).cast_signed(),
        },
        21 => Event::TurnEnded {
            state: *STATES.get(byte(1))?,
            begun: *BEGUN.get(byte(2))?,
            held: one,
            owed: two,
        },
        22 => Event::Closed {
            reason: *Reason::ALL.get(byte(1))?,
            received: one,
            sent: two,
            frames: kind >> 16,
            peer: None,
        },
        23 => {
            let Peer::Tcp(source) = unpack_peer(kind & MOST_FRAMES, one, two) else { return None };
            Event::Datagram { source, bytes: low(kind >> 48) }
        }
        24 => Event::DatagramSent { bytes: low(one) },
        25 => Event::DatagramDropped,
        26 => Event::Acknowledged,
        _ => return None,
    };
    let (token, time) = (Token::new(low(token), high(token)), Duration::from_nanos(time));
    Some(Recorded { number, time, token, event })
}

/// In the first word: the variant, the listener (8 bits), the port (16 bits), the family (4, 6, or 0 for none). The other
/// two are the address.
fn pack_peer(variant: u64, peer: Peer, listener: u8) -> [u64; 3] {
    match peer {
        Peer::Tcp(address) => pack_address(variant, address, listener),
        Peer::Unix => [variant | u64::from(listener) << 8, 0, 0],
    }
}

fn pack_address(variant: u64, address: SocketAddr, listener: u8) -> [u64; 3] {
    let kind = variant | u64::from(listener) << 8 | u64::from(address.port()) << 16;
    match address.ip() {
        IpAddr::V4(ip) => [kind | 4 << 32, ip.to_bits().into(), 0],
        IpAddr::V6(ip) => {
            let bits = ip.to_bits().to_be_bytes();
            let half = |at: usize| {
                bits[at..at + 8].iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
            };
            [kind | 6 << 32, half(0), half(8)]
        }
    }
}

fn unpack_peer(kind: u64, one: u64, two: u64) -> Peer {
    let port = u16::try_from(kind >> 16 & 0xFFFF).unwrap_or_default();
    let ip = match kind >> 32 & 0xFF {
        4 => IpAddr::V4(Ipv4Addr::from_bits(low(one))),
        6 => IpAddr::V6(Ipv6Addr::from_bits(u128::from(one) << 64 | u128::from(two))),
        _ => return Peer::Unix,
    };
    Peer::Tcp(SocketAddr::new(ip, port))
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[expect(clippy::cast_possible_truncation, reason = "the upper half is another number")]
const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    low(word >> 32)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn every_event() -> Vec<Event> {
        let four: SocketAddr = "192.0.2.7:65535".parse().unwrap();
        let six: SocketAddr = "[2001:db8:1:2:3:4:5:6]:1".parse().unwrap();
        let mut all = vec![
            Event::Polled { events: 1, open: u32::MAX, queued: 3 },
            Event::Commanded { commands: 64 },
            Event::Resumed,
            Event::Called,
            Event::Accepted { connections: 64 },
            Event::Connected { peer: Peer::Tcp(six) },
            Event::Introduced { peer: Peer::Tcp(four) },
            Event::Read { bytes: 15, room: 1_052_672 },
            Event::ReadEof,
            Event::ReadBlocked,
            Event::Wrote { bytes: u32::MAX, of: u64::MAX },
            Event::WriteBlocked { left: u64::MAX },
            Event::BudgetSpent,
            Event::FinSent,
            Event::CutShort { held: 7 },
            Event::Datagram { source: four, bytes: 65_507 },
            Event::Datagram { source: six, bytes: 0 },
            Event::DatagramSent { bytes: 7 },
            Event::DatagramDropped,
            Event::Acknowledged,
        ];
        for bits in 0..8 {
            let [readable, writable, more_behind] = [1, 2, 4].map(|bit| bits & bit > 0);
            all.push(Event::Ready(Readiness { readable, writable, more_behind }));
        }
        all.extend(Deadline::ALL.map(Event::Expired));
        all.extend(Doing::ALL.map(|doing| Event::Lost { doing, errno: 104 }));
        for peer in [Peer::Tcp(four), Peer::Tcp(six), Peer::Unix] {
            all.push(Event::Opened { peer, listener: 254 });
            all.push(Event::Adopted { peer, listener: 1 });
        }
        for begun in BEGUN {
            all.push(Event::Answered { consumed: 1 << 40, frames: 1 << 33, begun });
            all.extend(STATES.map(|state| Event::TurnEnded {
                state,
                begun,
                held: 1 << 35,
                owed: 9,
            }));
        }
        for &reason in Reason::ALL {
            let (received, sent, frames) = (u64::MAX, 2, MOST_FRAMES);
            all.push(Event::Closed { reason, received, sent, frames, peer: None });
        }
        all
    }

    #[test]
    fn every_event_comes_back_as_it_was_recorded() {
        let all = every_event();
        let recorder = Recorder::new(Instant::now(), all.len());
        let token = Token::new(u32::MAX - 1, u32::MAX);
        for &event in &all {
            recorder.record(token, event);
        }
        let read = recorder.read(0);
        assert_eq!(read.iter().map(|one| one.event).collect::<Vec<_>>(), all[1..]);
        assert!(read.iter().all(|one| one.token == token));
        assert!(read.is_sorted_by_key(|one| (one.time, one.number)));
    }

    #[test]
    fn the_last_ones_are_kept_without_the_oldest_which_may_be_overwritten_meanwhile() {
        let recorder = Recorder::new(Instant::now(), 4);
        assert!(recorder.read(0).is_empty());
        for commands in 0..10 {
            recorder.record(Token::new(0, 0), Event::Commanded { commands });
        }
        let numbers = |from| recorder.read(from).iter().map(|one| one.number).collect::<Vec<_>>();
        assert_eq!(numbers(0), [7, 8, 9]);
        assert_eq!(numbers(9), [9]);
        assert_eq!(numbers(10), []);
        assert_eq!(numbers(99), []);
        assert_eq!(recorder.written(), 10);
    }

    /// Each event has its number in all its fields, so a record of two halves would show.
    #[test]
    fn a_reader_sees_only_whole_records_while_the_loop_writes() {
        const EVENTS: u32 = 200_000;
        let recorder = Recorder::new(Instant::now(), 64);
        let read = thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..EVENTS {
                    let token = Token::new(number, number);
                    let (held, owed) = (number.into(), number.into());
                    let (state, begun) = (ConnectionState::Open, Begun::Frame);
                    recorder.record(token, Event::TurnEnded { state, begun, held, owed });
                }
            });
            let mut read = 0_u64;
            loop {
                let is_last = recorder.written() == EVENTS.into();
                for one in recorder.read(0) {
                    let number = u32::try_from(one.number).unwrap();
                    assert_eq!(one.token, Token::new(number, number));
                    let Event::TurnEnded { held, owed, .. } = one.event else { unreachable!() };
                    assert_eq!((held, owed), (one.number, one.number));
                    read += 1;
                }
                if is_last {
                    return read;
                }
            }
        });
        assert!(read >= 63, "{read}");
    }
}
