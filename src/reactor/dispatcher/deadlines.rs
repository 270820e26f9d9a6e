//! Everything that happens at a given time: timeouts, calls that protocols asked for, paused listeners, returning unused
//! memory, and the end of the grace time.

use std::time::Duration;

use super::{
    Dispatcher,
    drain::{Drain, Sweep},
};
use crate::{
    Excuse, Reason, Token,
    protocol::{Ending, Protocol},
    reactor::{
        connection::{Connection, Outcome},
        deadlines::{Unit, Wait},
        events::Event,
        net::{Net, Readiness},
        service::Accepting,
    },
};

/// How many timeouts, and how many calls, are handled between two polls.
const EXPIRIES_PER_ROUND: usize = 256;

/// How often memory is returned that was not used for this long.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// The nearest time at which there is something to do.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let paused = self.services.iter().filter_map(|service| match service.accepting {
            Accepting::Paused(until) => Some(until),
            _ => None,
        });
        let end = match self.drain {
            Drain::Until(end) => Some(end),
            Drain::NotBegun | Drain::Finished => None,
        };
        paused
            .chain(self.waits.next())
            .chain(self.units.next())
            .chain(self.calls.next())
            .chain(self.sends.next())
            .chain(self.next_trim)
            .chain(self.last_call)
            .chain(end)
            .min()
    }

    /// Handles what is due by now, one slice at a time, and the next slice of a drain.
    pub fn expire(&mut self) {
        if self.sweep.is_some() {
            self.sweep_on();
        }
        let Some(deadline) = self.next_deadline() else {
            return;
        };
        let now = self.net.now();
        if now < deadline {
            return;
        }
        for _ in 0..EXPIRIES_PER_ROUND {
            let Some((key, wait)) = self.waits.expire(now) else { break };
            self.time_out_wait(key, wait);
        }
        for _ in 0..EXPIRIES_PER_ROUND {
            let Some((key, unit)) = self.units.expire(now) else { break };
            self.time_out_unit(key, unit);
        }
        for _ in 0..EXPIRIES_PER_ROUND {
            let Some((token, _)) = self.calls.expire(now) else { break };
            self.shared.events.emit(token, || Event::Called);
            self.visit(token, |connection, _, cx| connection.call(cx));
        }
        for _ in 0..EXPIRIES_PER_ROUND {
            let Some((token, due)) = self.sends.expire(now) else { break };
            self.shared.events.emit(token, || Event::Called);
            self.connections[token.key()].wake_schedule();
            // The next time follows from this one, so that the lateness of a poll does not add up.
            self.sent_at = Some(due);
            self.turn(token, Readiness::ALL);
            self.sent_at = None;
        }
        for index in 0..self.services.len() {
            let accepting = self.services[index].accepting;
            if matches!(accepting, Accepting::Paused(until) if until <= now) {
                self.services[index].accepting = Accepting::OnEvent;
                self.accept(index);
            }
        }
        if self.next_trim.is_some_and(|due| due <= now) {
            self.trim_memory();
        }
        if self.last_call.is_some_and(|due| due <= now) {
            self.call_last();
        }
        if matches!(self.drain, Drain::Until(end) if end <= now) {
            self.cut_off();
        }
    }

    /// Arms the deadline of what a connection waits for now.
    #[inline(always)]
    pub(super) fn set_wait(&mut self, key: usize, wait: Option<Wait>, restarts: bool) {
        let wait = wait.filter(|&wait| self.waits.limits(wait));
        if self.waits.armed(key) != wait || (restarts && wait.is_some()) {
            match wait {
                Some(wait) => self.waits.arm(key, wait, self.net.now()),
                None => self.waits.disarm(key),
            }
        }
    }

    /// Arms the deadline of what a connection is in the middle of receiving.
    #[inline(always)]
    pub(super) fn set_unit(&mut self, token: Token, unit: Option<Unit>, restarts: bool) {
        let unit = unit.filter(|&unit| self.units.limits(unit));
        let changes = self.units.armed(token.key()) != unit || (restarts && unit.is_some());
        // With an excuse there may be no deadline, both while the frame goes on and when it is complete.
        if changes || !self.excuses.is_empty() {
            self.change_unit(token, unit, restarts);
        }
    }

    #[inline(never)]
    fn change_unit(&mut self, token: Token, unit: Option<Unit>, restarts: bool) {
        let key = token.key();
        let armed = self.units.armed(key);
        match (unit, self.excuses.get(&key)) {
            (Some(unit), Some(&excuse)) if !restarts => {
                // The same frame goes on, and its time was up once.
                let runs = armed == Some(unit);
                if runs || self.connections[key].keeps_peer_waiting() {
                    return;
                }
                if excuse == Excuse::UsedUp {
                    return self.end_unit(token, unit);
                }
                self.excuses.insert(key, Excuse::Used);
                self.units.arm(key, unit, self.net.now());
            }
            (unit, excuse) => {
                if excuse.is_some() {
                    self.excuses.remove(&key);
                }
                match unit {
                    Some(unit) if restarts || armed != Some(unit) => {
                        self.units.arm(key, unit, self.net.now());
                    }
                    Some(_) => {}
                    None => self.units.disarm(key),
                }
            }
        }
    }

    fn time_out_wait(&mut self, key: usize, wait: Wait) {
        let connection = &self.connections[key];
        let token = connection.token(key);
        self.shared.events.tell(token, Event::Expired(wait.into()));
        if wait == Wait::Linger {
            let reason = connection.ended_for().unwrap_or(Reason::Lost);
            return self.remove(token, reason);
        }
        if connection.is_half_closed() {
            // It has waited for the call long enough.
            self.calls.cancel(token);
        }
        let connection = &self.connections[key];
        if connection.is_connecting() {
            self.finish_connecting(token);
            if self.find(token).is_some_and(Connection::is_connecting) {
                self.remove(token, Reason::ConnectTimeout);
            }
            return;
        }
        self.visit(token, |connection, scratch, cx| {
            // What it waits for may have arrived in the kernel, with its event still to be handled.
            let before = connection.progress();
            let outcome = connection.turn_without_event(scratch, cx);
            let still_waits = connection.waits_for(before) == (Some(wait), false);
            if matches!(outcome, Outcome::Closed(_)) || !still_waits {
                return outcome;
            }
            match wait {
                Wait::Idle => connection.end(Reason::Idle, Ending::Idle, cx),
                Wait::Write | Wait::Linger => {
                    connection.abandon(Reason::SlowReader, cx.token, cx.shared);
                }
            }
            connection.turn_without_event(scratch, cx)
        });
    }

    fn time_out_unit(&mut self, key: usize, unit: Unit) {
        let token = self.connections[key].token(key);
        self.shared.events.tell(token, Event::Expired(unit.into()));
        let excuse = match self.excuses.get(&key) {
            Some(Excuse::Used) => Excuse::UsedUp,
            _ => Excuse::Waits,
        };
        self.excuses.insert(key, excuse);
        self.end_unit(token, unit);
    }

    /// Ends a connection whose time for `unit` is up, unless the kernel has received the rest of it, or more than a turn
    /// reads, or replies wait to be sent.
    fn end_unit(&mut self, token: Token, unit: Unit) {
        self.visit(token, |connection, scratch, cx| {
            let before = connection.progress();
            let outcome = connection.turn_without_event(scratch, cx);
            let still_begun = connection.receives(before) == (Some(unit), false);
            let is_waiting = matches!(outcome, Outcome::Wait);
            if !is_waiting || !still_begun || connection.owes() {
                return outcome;
            }
            let reason = match unit {
                Unit::Handshake => Reason::SlowHandshake,
                Unit::Frame => Reason::SlowFrame,
            };
            connection.end(reason, Ending::Unfinished, cx);
            connection.turn_without_event(scratch, cx)
        });
    }

    pub(super) fn schedule_trim(&mut self) {
        self.next_trim = Some(self.net.now() + TRIM_INTERVAL);
    }

    /// Returns memory that was not used for a while.
    fn trim_memory(&mut self) {
        self.shared.trim();
        self.waits.trim();
        self.units.trim();
        self.limits.trim();
        if self.connections.len() < self.connections.capacity() / 4 {
            self.connections.shrink_to_fit();
        }
        self.opened.trim(self.connections.capacity());
        self.run_queue.shrink_to(self.connections.len());
        self.excuses.shrink_to(self.excuses.len());
        self.next_trim = None;
        if self.shared.keeps_any() {
            self.schedule_trim();
        }
    }

    /// Ends the grace time.
    fn cut_off(&mut self) {
        if !matches!(self.sweep, Some(Sweep::CutOff { .. })) {
            self.begin_cut_off();
        }
    }
}
