//! Which datagrams get no answer, so that two echoes cannot keep each other busy for ever.
//!
//! A UDP source address proves nothing. If one forged datagram seems to come from another echo, both
//! echoes answer it for ever (CERT CA-1996-01, CVE-2024-2169). Four rules end such loops:
//!
//! - Privileged source ports get no answer: echo (7), quote of the day (17) and character generator (19) use them.
//! - The socket's own port number gets no answer: the same service may run there on another host.
//! - Each source has a rate limit. A loop with a round trip of microseconds exceeds it.
//! - The loop guard drops every 1,009th datagram of a source that never pauses. This ends a loop with any round-trip
//!   time: nobody sends a datagram of the loop again, so each drop removes one of those in flight for good. With `k`
//!   datagrams in flight the loop ends after `k` drops. A client that is not a loop goes on after a loss.
//!
//! The cost of the loop guard: a source that sends more than 1,008 datagrams, and never pauses between two of them for
//! five minutes, loses one in 1,009 (0.1 %).

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    time::Duration,
};

use crate::UdpConfig;

/// Slots for sources. Sources whose hash is the same share a slot: one rate limit and one count.
const SLOTS: usize = 4096;

/// How far ahead of its rate a source may be.
const BURST: Duration = Duration::from_secs(1);

/// After this long without a datagram the loop guard counts from 0 again. It is longer than any round trip: a datagram
/// is at most two minutes under way in each direction (the maximum segment lifetime of RFC 9293, section 3.4.1).
const PAUSE: Duration = Duration::from_secs(300);

/// Why a datagram gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    PrivilegedPort,
    OwnPort,
    Rate,
    Loop {
        /// Whether the source had lost none to the loop guard since its last pause.
        first: bool,
    },
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrivilegedPort => f.write_str("the source port is below 1024"),
            Self::OwnPort => f.write_str("the source port is the same as the local port"),
            Self::Rate => f.write_str("over the rate limit for one source"),
            Self::Loop { .. } => write!(
                f,
                "the loop guard drops one in {} from a source that does not pause",
                UdpConfig::LOOP_GUARD_PERIOD
            ),
        }
    }
}

/// Decides for each datagram whether it gets an answer, in bounded memory.
#[derive(Debug)]
pub(crate) struct Guard {
    local_port: u16,
    /// Time between two datagrams of one source at its rate limit; zero for no limit.
    interval: Duration,
    loop_guard: bool,
    /// Empty if neither the rate limit nor the loop guard is on.
    slots: Vec<Slot>,
    /// With random keys: otherwise a sender could choose sources that share another's slot.
    hasher: RandomState,
}

/// What is known about a source.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Rate limit, by the generic cell rate algorithm (ITU-T I.371): when the source is on its rate again.
    on_rate_at: Duration,
    last: Duration,
    /// Datagrams since the last pause or the last drop.
    count: u32,
    /// Whether the loop guard has dropped one since the last pause.
    has_lost: bool,
}

impl Guard {
    pub(crate) fn new(local_port: u16, config: &UdpConfig) -> Self {
        let is_needed = config.rate > 0 || config.loop_guard;
        Self {
            local_port,
            interval: Duration::from_secs(1).checked_div(config.rate).unwrap_or_default(),
            loop_guard: config.loop_guard,
            slots: vec![Slot::default(); if is_needed { SLOTS } else { 0 }],
            hasher: RandomState::new(),
        }
    }

    /// Why a datagram that has come from `source` gets no answer; `None` if it gets one.
    pub(crate) fn objection(&mut self, source: SocketAddr, now: Duration) -> Option<Objection> {
        match source.port() {
            0..1024 => return Some(Objection::PrivilegedPort),
            port if port == self.local_port => return Some(Objection::OwnPort),
            _ => {}
        }
        if self.slots.is_empty() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let index = self.hasher.hash_one(source) as usize % SLOTS;
        let slot = self.slots.get_mut(index)?;
        if self.loop_guard
            && let Some(objection) = slot.loop_guard(now)
        {
            return Some(objection);
        }
        (!slot.is_within(self.interval, now)).then_some(Objection::Rate)
    }
}

impl Slot {
    fn loop_guard(&mut self, now: Duration) -> Option<Objection> {
        if now.saturating_sub(self.last) >= PAUSE {
            self.count = 0;
            self.has_lost = false;
        }
        self.last = now;
        self.count += 1;
        if self.count < UdpConfig::LOOP_GUARD_PERIOD {
            return None;
        }
        self.count = 0;
        let first = !std::mem::replace(&mut self.has_lost, true);
        Some(Objection::Loop { first })
    }

    fn is_within(&mut self, interval: Duration, now: Duration) -> bool {
        let on_rate_at = self.on_rate_at.max(now);
        if on_rate_at > now + BURST {
            return false;
        }
        self.on_rate_at = on_rate_at + interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cmp::Reverse,
        collections::{BinaryHeap, HashMap},
        net::{IpAddr, Ipv4Addr},
    };

    use super::*;

    const PERIOD: u64 = UdpConfig::LOOP_GUARD_PERIOD as u64;

    const fn source(port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port)
    }

    fn guard(rate: u32, loop_guard: bool) -> Guard {
        Guard::new(7001, &UdpConfig { rate, loop_guard, faults: None })
    }

    /// Runs a loop of `in_flight` datagrams between two echoes until none is left, or `limit` have been received. Returns
    /// how many were received and when the loop ended.
    fn run_loop(
        guards: &mut [Guard; 2],
        round_trip: Duration,
        in_flight: u32,
        limit: u64,
    ) -> (u64, Duration) {
        // Each datagram: when it arrives, and where. They do not arrive all at once.
        let spread = round_trip / in_flight;
        let mut flying: BinaryHeap<Reverse<(Duration, usize)>> =
            (0..in_flight).map(|index| Reverse((spread * index, 0))).collect();
        let (mut received, mut last) = (0, Duration::ZERO);
        while let Some(Reverse((now, at))) = flying.pop() {
            received += 1;
            last = now;
            assert!(
                received <= limit,
                "{in_flight} in flight, {round_trip:?}: {} left",
                flying.len()
            );
            if guards[at].objection(source(5000), now).is_none() {
                flying.push(Reverse((now + round_trip / 2, 1 - at)));
            }
        }
        (received, last)
    }

    #[test]
    fn a_loop_ends_at_any_round_trip_time_and_with_any_number_in_flight() {
        for micros in [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 240_000_000] {
            for in_flight in [1, 2, 3, 10, 100, 1_000] {
                let round_trip = Duration::from_micros(micros);
                for rate in [0, 10_000] {
                    let mut guards = [guard(rate, true), guard(rate, true)];
                    // Each drop costs at most one period at one of the two, and each may have one begun.
                    let limit = (u64::from(in_flight) + 2) * PERIOD;
                    run_loop(&mut guards, round_trip, in_flight, limit);
                }
            }
        }
    }

    #[test]
    fn a_loop_with_an_echo_that_drops_nothing_ends_too() {
        for in_flight in [1, 100] {
            let mut guards = [guard(10_000, true), guard(0, false)];
            let limit = 2 * (u64::from(in_flight) + 1) * PERIOD;
            run_loop(&mut guards, Duration::from_millis(2), in_flight, limit);
        }
    }

    #[test]
    fn a_loop_of_two_milliseconds_is_over_in_two_seconds() {
        let mut guards = [guard(10_000, true), guard(10_000, true)];
        let (received, end) = run_loop(&mut guards, Duration::from_millis(2), 1, u64::MAX);
        assert_eq!(received, 2 * PERIOD - 1);
        assert!(end < Duration::from_secs(3), "{end:?}");
    }

    #[test]
    fn a_loop_ends_beside_a_client_in_the_same_slot() {
        // The client's datagrams come between those of the loop in a fixed pattern. If the period had a factor in common
        // with the pattern's length, all drops could be the client's.
        for client in 1..50 {
            let mut slot = Slot::default();
            let mut drops =
                |count: u64| (0..count).filter(|_| slot.loop_guard(PAUSE).is_some()).count() > 0;
            let mut rounds = 0..PERIOD;
            let end = rounds.find(|_| {
                drops(client);
                drops(1)
            });
            assert!(end.is_some(), "{client} of the client for each of the loop");
        }
    }

    #[test]
    fn a_source_loses_one_in_a_period_and_only_while_it_does_not_pause() {
        let mut guard = guard(0, true);
        let mut now = Duration::ZERO;
        let mut send = |count: u64, gap: Duration| -> Vec<u64> {
            let lost = (1..=count).filter(|_| {
                now += gap;
                guard.objection(source(5000), now).is_some()
            });
            lost.collect()
        };
        let second = Duration::from_secs(1);
        assert_eq!(send(PERIOD - 1, second), [0; 0]);
        assert_eq!(send(3 * PERIOD, second), [1, 1 + PERIOD, 1 + 2 * PERIOD]);
        // After a pause it counts from 0 again.
        assert_eq!(send(1, PAUSE), [0; 0]);
        assert_eq!(send(PERIOD - 2, second), [0; 0]);
        assert_eq!(send(1, second), [1]);
        assert_eq!(send(10 * PERIOD, PAUSE), [0; 0], "one that pauses between any two loses none");
    }

    #[test]
    fn the_first_loss_since_a_pause_says_so() {
        let mut slot = Slot::default();
        let mut losses = |from: u64| -> Vec<bool> {
            let found = (0..2 * PERIOD).filter_map(|index| {
                match slot.loop_guard(Duration::from_secs(from + index))? {
                    Objection::Loop { first } => Some(first),
                    other => panic!("{other:?}"),
                }
            });
            found.collect()
        };
        assert_eq!(losses(1_000), [true, false]);
        assert_eq!(losses(1_000 + 2 * PERIOD), [false, false]);
        assert_eq!(losses(100_000), [true, false]);
    }

    #[test]
    fn without_the_loop_guard_nothing_is_lost() {
        for rate in [0, 10_000] {
            let mut guard = guard(rate, false);
            let times = (1..10 * PERIOD).map(Duration::from_millis);
            let mut answered = times.map(|now| guard.objection(source(5000), now).is_none());
            assert!(answered.all(|answered| answered), "rate {rate}");
        }
    }

    #[test]
    fn a_burst_of_a_second_passes_and_then_the_rate_does() {
        let mut guard = guard(100, false);
        let mut allowed =
            |now| (0..1000).filter(|_| guard.objection(source(5000), now).is_none()).count();
        assert_eq!(allowed(Duration::ZERO), 101);
        assert_eq!(allowed(Duration::from_millis(500)), 50);
        assert_eq!(allowed(Duration::from_secs(60)), 101);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut guard = guard(0, false);
        assert!((0..100_000).all(|_| guard.objection(source(5000), Duration::ZERO).is_none()));
    }

    #[test]
    fn privileged_ports_and_its_own_get_no_answer() {
        let mut objections = HashMap::new();
        for port in [0, 7, 19, 1023, 7001, 1024] {
            objections.insert(port, guard(0, false).objection(source(port), Duration::ZERO));
        }
        for port in [0, 7, 19, 1023] {
            assert_eq!(objections[&port], Some(Objection::PrivilegedPort), "port {port}");
        }
        assert_eq!(objections[&7001], Some(Objection::OwnPort));
        assert_eq!(objections[&1024], None);
    }

    #[test]
    fn the_period_is_prime() {
        assert!(
            (2..PERIOD)
                .take_while(|factor| factor * factor <= PERIOD)
                .all(|factor| !PERIOD.is_multiple_of(factor))
        );
    }
}
