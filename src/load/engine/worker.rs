//! One thread of the load: a reactor, its connections, and when they are opened and send.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use resound::{Config, Lane, Reactor};

#[cfg(feature = "tls")]
use super::secured::Secured;
use super::{
    carrier::Carrier,
    pace::Pace,
    plan::Plan,
    refusal::why_not,
    timer::Timer,
    traffic::{Load, Role},
};
use crate::{
    common::units::Size,
    load::{
        check::fault::Fault,
        nanos::{Nanos, nanos, whole},
        statistics::{
            control::{Control, Phase},
            outage::Outages,
            record::{Message, Recorder},
        },
        wire::tape::Tape,
    },
};

/// How long after a failed connection the next one is tried.
const RETRY: Nanos = 50_000_000;

/// The pause after a wrong answer. It doubles each time there have been as many wrong answers as connections, so that a
/// server that is always wrong does not cause thousands of errors.
const RETRY_AFTER_WRONG: Nanos = 100_000_000;
const MOST_DOUBLINGS: u64 = 6;

/// How long a run still listens when everything has come back, for bytes that were not sent.
const QUIET: Nanos = 50_000_000;

/// Open loop: the most frames that are scheduled at once.
const MOST_AT_ONCE: u64 = 4096;

/// Nothing is waited for longer than this, so that a change of phase is seen.
const LONGEST_WAIT: Nanos = 20_000_000;

/// The parameters of one thread.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) thread: u32,
    pub(crate) control: Arc<Control>,
    pub(crate) sender: Sender<Message>,
}

/// Runs until the plan is done, and sends the results as messages.
pub(crate) fn run(job: Job) {
    let sender = job.sender.clone();
    let done = match job.plan.tls.clone() {
        None => Worker::new(job, |load| load).and_then(Worker::work),
        #[cfg(feature = "tls")]
        Some(tls) => Worker::new(job, |load| Secured::new(tls, load)).and_then(Worker::work),
        #[cfg(not(feature = "tls"))]
        Some(tls) => match *tls {},
    };
    if let Err(text) = done {
        // This fails only if the whole run has failed.
        let _ = sender.send(Message::Failed(text));
    }
}

/// How far a thread has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Connections are being opened.
    Opening,
    /// They are open, and the other threads or a barrier are waited for.
    Ready,
    Loading,
}

/// A connection that is to be opened.
#[derive(Debug, Clone, Copy)]
struct Vacancy {
    role: Role,
    not_before: Nanos,
}

#[derive(Debug)]
struct Worker<P> {
    plan: Arc<Plan>,
    thread: u32,
    reactor: Reactor<P>,
    lane: Lane,
    timer: Timer,
    timeout: Nanos,
    vacant: VecDeque<Vacancy>,
    /// Attempts to connect so far.
    attempts: usize,
    /// When the next one may be made.
    next_connect: Nanos,
    /// Connections that are being opened: connect(2) is not answered yet, or the first frame of an idle one.
    connecting: usize,
    /// Connections that there should be.
    wanted: usize,
    /// The number of open connections that the main thread was told last.
    told: usize,
    stage: Stage,
    outages: Outages,
    pace: Option<Pace>,
    times: Vec<Nanos>,
    /// Open loop: the last round left frames unsent because no connection had room.
    starved: bool,
    next_expiry: Nanos,
}

impl<P: Carrier> Worker<P> {
    fn new(job: Job, carry: impl FnOnce(Load) -> P) -> Result<Self, String> {
        let Job { plan, thread, control, sender } = job;
        let config = Config {
            max_connections: u32::MAX as usize,
            max_memory: usize::MAX >> 8,
            idle_timeout: None,
            frame_timeout: None,
            handshake_timeout: Some(plan.timeout),
            write_timeout: Some(plan.timeout),
            send_buffer: plan.send_buffer.map(Size::in_memory),
            ..Config::default()
        };
        let cannot = |error: io::Error| format!("cannot set up the event loop: {error}");
        let mut reactor = Reactor::new(config).map_err(cannot)?;
        let timer = Timer::new().map_err(cannot)?;
        reactor.wake_on(&timer).map_err(cannot)?;
        let tape = Tape::new(plan.wire(), &plan.sizes)?;
        let discipline = plan.discipline(tape.mean());
        let recorder = Recorder::new(control, sender, nanos(plan.window()));
        let load = Load::new(plan.wire().clone(), tape, recorder, discipline, plan.churn);
        let lane = reactor.outbound(carry(load)).map_err(cannot)?;
        let busy = plan.part(plan.connections, thread);
        let idle = plan.part(plan.hold, thread);
        let vacancy = |role| Vacancy { role, not_before: 0 };
        Ok(Self {
            vacant: std::iter::repeat_n(vacancy(Role::Idle), idle)
                .chain(std::iter::repeat_n(vacancy(Role::Busy), busy))
                .collect(),
            timeout: nanos(plan.timeout),
            plan,
            thread,
            reactor,
            lane,
            timer,
            attempts: 0,
            next_connect: 0,
            connecting: 0,
            wanted: busy + idle,
            told: 0,
            stage: Stage::Opening,
            outages: Outages::default(),
            pace: None,
            times: Vec::new(),
            starved: false,
            next_expiry: 0,
        })
    }

    fn load(&mut self) -> &mut Load {
        self.reactor.protocol_mut(self.lane).load()
    }

    fn now(&mut self) -> Nanos {
        self.load().recorder.now()
    }

    fn work(mut self) -> Result<(), String> {
        loop {
            let now = self.now();
            let load = self.load();
            let in_flight = load.in_flight;
            if load.recorder.tick(now, in_flight) == Phase::After {
                break;
            }
            self.connect(now)?;
            if self.stage == Stage::Opening {
                self.fill(now);
            }
            if self.stage == Stage::Ready {
                self.begin_when_let_go(now);
            }
            self.send_what_is_due(now);
            self.give_up(now);
            self.turn(now)?;
            self.behind_the_end();
            self.replace()?;
        }
        self.end()
    }

    /// Opens the missing connections, as fast as is allowed.
    fn connect(&mut self, now: Nanos) -> Result<(), String> {
        if self.vacant.is_empty() {
            return Ok(());
        }
        let open = self.served();
        self.connecting = self.wanted.saturating_sub(open + self.vacant.len());
        let at_once = self.load().opening.at_once();
        while self.connecting < at_once
            && now >= self.next_connect
            && let Some(vacancy) = self.vacant.front().copied()
            && vacancy.not_before <= now
        {
            self.vacant.pop_front();
            if let Some(rate) = self.plan.connect_rate {
                let interval = 1e9 / (rate / f64::from(self.plan.threads));
                // As if it had been in time, unless it was far from it.
                let due = self.next_connect.max(now.saturating_sub(100_000_000));
                self.next_connect = due + whole(interval);
            }
            let number = self.attempts * self.plan.threads as usize + self.thread as usize;
            self.attempts += 1;
            let source = self.plan.source(number);
            match self.reactor.connect(self.lane, &self.plan.endpoint, source) {
                Ok(token) => {
                    self.connecting += 1;
                    self.load().connecting(token, vacancy.role, number, now);
                }
                // A Unix socket's backlog is full: it will take others soon.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.vacate(Vacancy { not_before: now + 1_000_000, ..vacancy });
                    break;
                }
                Err(error) => self.failed(vacancy, &error, now)?,
            }
        }
        Ok(())
    }

    /// Connections on which the server answers, as far as is known.
    fn served(&mut self) -> usize {
        let load = self.load();
        load.open - load.unproven
    }

    /// Inserts it in the order of time, so that a paused connection does not delay others.
    fn vacate(&mut self, vacancy: Vacancy) {
        let place = self.vacant.partition_point(|other| other.not_before <= vacancy.not_before);
        self.vacant.insert(place, vacancy);
    }

    fn failed(&mut self, vacancy: Vacancy, error: &io::Error, now: Nanos) -> Result<(), String> {
        let fault = match error.kind() {
            // Of a Unix socket, also that the server has ended and removed it.
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Fault::Refused,
            ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied => {
                return Err(why_not(&self.plan.endpoint, error, &self.plan));
            }
            _ if error.raw_os_error() == Some(libc::EMFILE) => {
                return Err(why_not(&self.plan.endpoint, error, &self.plan));
            }
            _ => Fault::Unreachable,
        };
        if self.load().opened() == 0 {
            return Err(why_not(&self.plan.endpoint, error, &self.plan));
        }
        self.load().recorder.fault(fault, 1);
        self.not_opened(fault);
        self.vacate(Vacancy { not_before: now + RETRY, ..vacancy });
        Ok(())
    }

    /// An attempt to connect, or a connection, has failed in this way.
    fn not_opened(&mut self, fault: Fault) {
        let load = self.load();
        load.opening.failed();
        let lost = load.lost;
        let refused = matches!(fault, Fault::Refused | Fault::Unreachable);
        if load.open == 0 && refused && self.stage != Stage::Opening {
            self.outages.begin(Fault::Ended, lost);
        }
    }

    /// Replaces connections that are gone, and closes those whose time is over.
    fn replace(&mut self) -> Result<(), String> {
        let load = self.load();
        if load.condemned.is_empty() && load.gone.is_empty() {
            return Ok(());
        }
        let condemned = std::mem::take(&mut load.condemned);
        for token in condemned {
            self.reactor.close(token);
        }
        self.report_failure()?;
        let now = self.now();
        let slots = self.plan.part(self.plan.connections + self.plan.hold, self.thread) as u64;
        let load = self.load();
        let doublings = (load.wrong_answers / slots.max(1)).min(MOST_DOUBLINGS);
        let opened = load.opened();
        for (role, fault) in std::mem::take(&mut load.gone) {
            if opened == 0
                && let Some(fault) = fault
            {
                if let Some(story) = self.load().rejection.take() {
                    return Err(format!("cannot connect to {}: {story}", self.plan.target));
                }
                let kind = match fault {
                    Fault::Refused => ErrorKind::ConnectionRefused,
                    Fault::Timeout => ErrorKind::TimedOut,
                    Fault::Reset => ErrorKind::ConnectionReset,
                    Fault::Closed | Fault::Truncated => ErrorKind::UnexpectedEof,
                    _ => ErrorKind::HostUnreachable,
                };
                if let Some(hint) = self.reactor.protocol_mut(self.lane).hint() {
                    return Err(format!("cannot connect to {}: {hint}", self.plan.target));
                }
                return Err(why_not(&self.plan.endpoint, &kind.into(), &self.plan));
            }
            if let Some(fault) = fault {
                self.not_opened(fault);
            }
            let pause = match fault {
                Some(fault) if fault.is_wrong_answer() => RETRY_AFTER_WRONG << doublings,
                Some(_) => RETRY,
                None => 0,
            };
            let not_before = now + pause;
            self.vacate(Vacancy { role, not_before });
        }
        Ok(())
    }

    /// Reports that all connections are open, or that the others are given up.
    fn fill(&mut self, now: Nanos) {
        let open = self.served();
        let missing = self.wanted.saturating_sub(open);
        let interval = self.plan.connect_rate.map_or(0.0, |rate| 1e9 / rate);
        let interval = whole(interval * f64::from(self.plan.threads));
        let patience = self.timeout.saturating_add(interval);
        let told = std::mem::replace(&mut self.told, open);
        let load = self.load();
        load.recorder.control().opened(told, open);
        if !load.opening.is_over(open, missing, now, patience) {
            return;
        }
        self.stage = Stage::Ready;
        let all = self.vacant.len();
        self.vacant.retain(|vacancy| vacancy.role == Role::Busy);
        self.wanted -= all - self.vacant.len();
        let load = self.load();
        load.recorder.tell(Message::Filled { missing });
    }

    /// Fails if TLS does not work, and never has.
    fn report_failure(&mut self) -> Result<(), String> {
        let Some(failure) = self.reactor.protocol_mut(self.lane).failure() else { return Ok(()) };
        if !self.load().has_heard() {
            return Err(format!("cannot connect to {}: {failure}", self.plan.target));
        }
        self.load().recorder.difference(|| format!("{}: {failure}\n", Fault::Tls.name()));
        Ok(())
    }

    /// Sends the first frames, once the barrier lets them go.
    fn begin_when_let_go(&mut self, now: Nanos) {
        let load = self.load();
        if now < load.recorder.control().go() {
            return;
        }
        load.answered = now;
        load.sending = true;
        self.stage = Stage::Loading;
        for token in self.load().tokens(Role::Busy) {
            self.reactor.speak(token, |carrier, out| carrier.load().begin(token, out));
        }
        if let Some(rate) = self.plan.rate {
            let (thread, threads) = (self.thread, self.plan.threads);
            let rate = rate / f64::from(threads);
            self.pace = Some(Pace::new(self.plan.arrivals, rate, now, thread, threads));
        }
    }

    /// Open loop: sends what is due, spread over the connections with room, a write for each.
    fn send_what_is_due(&mut self, now: Nanos) {
        let Some(mut pace) = self.pace.take() else { return };
        let due = pace.due(now).min(MOST_AT_ONCE);
        let with_room = self.load().room.len().max(1) as u64;
        let each = due.div_ceil(with_room).max(1);
        let mut times = std::mem::take(&mut self.times);
        let starved = std::mem::take(&mut self.starved);
        while pace.next() <= now {
            let load = self.load();
            let Some(token) = load.next_with_room() else {
                self.starved = true;
                break;
            };
            let most = each.min(load.room_of(token).into());
            times.clear();
            times.extend((0..most).map_while(|_| pace.take(now)));
            if !starved {
                times.iter().for_each(|&due| load.recorder.lag(due, now));
            }
            self.reactor.speak(token, |carrier, out| carrier.load().send(token, &times, now, out));
            self.load().relist(token);
        }
        self.times = times;
        self.pace = Some(pace);
    }

    fn give_up(&mut self, now: Nanos) {
        if now >= self.next_expiry {
            self.next_expiry = now + (self.timeout / 10).min(LONGEST_WAIT);
            let timeout = self.timeout;
            self.load().judge_overdue(now, timeout);
            let load = self.load();
            let expired = load.expire(now, timeout);
            let (sent, answered) = (load.sent, load.answered);
            // A few frames that do not come back, while all others do, are no evidence that the server is behind.
            let all = sent >= answered && now.saturating_sub(answered) >= timeout;
            if self.stage == Stage::Loading && expired && all {
                self.outages.begin(Fault::Hung, answered);
            }
            self.outages.answered(answered);
        }
    }

    /// Counts bytes that came after the last frame of a connection. Only with churn connections end that way.
    fn behind_the_end(&mut self) {
        // Inside TLS nobody can tell them from the server's close_notify.
        if self.plan.churn.is_none() || self.plan.tls.is_some() {
            return;
        }
        let received = self.reactor.stats().total().received.value();
        self.load().behind_the_end(received);
    }

    /// Polls until something happens or the next thing is due.
    fn turn(&mut self, now: Nanos) -> Result<(), String> {
        let mut until = now + LONGEST_WAIT;
        let load = self.load();
        until = until.min(load.recorder.window_end().max(now));
        let has_room = !load.room.is_empty();
        let condemned = !load.condemned.is_empty();
        let at_once = load.opening.at_once();
        if let Some(vacancy) = self.vacant.front()
            && self.connecting < at_once
        {
            until = until.min(vacancy.not_before.max(self.next_connect));
        }
        if condemned {
            until = now;
        }
        if self.stage == Stage::Ready {
            until = until.min(self.load().recorder.control().go().max(now));
        }
        let mut wait = Duration::from_nanos(until.saturating_sub(now));
        if let Some(pace) = &self.pace
            && has_room
        {
            let due = Duration::from_nanos(pace.next().saturating_sub(now));
            if due < wait {
                // A poll counts in milliseconds, a timer in nanoseconds.
                wait = if due.is_zero() || self.timer.arm(due).is_err() {
                    Duration::ZERO
                } else {
                    wait
                };
            }
        }
        match self.reactor.turn(Some(wait)) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("cannot go on polling: {error}")),
        }
    }

    /// Waits for the frames in flight, and checks that idle connections still echo.
    fn end(mut self) -> Result<(), String> {
        let end = self.load().recorder.control().end();
        self.load().sending = false;
        self.wait_for_all()?;
        let mut unsent = 0;
        let now = self.now();
        if let Some(pace) = self.pace.take() {
            let recorder = &mut self.load().recorder;
            for (due, frames) in pace.left(end) {
                // It would have been sent by now, had the others come back.
                recorder.unanswered(due, now, frames);
                unsent += frames;
            }
        }
        let idle = self.load().tokens(Role::Idle);
        let held = idle.len();
        for chunk in idle.chunks(256) {
            for &token in chunk {
                self.reactor.speak(token, |carrier, out| carrier.load().begin(token, out));
            }
            self.wait_for_all()?;
        }
        self.listen_on()?;
        self.say_goodbye();
        let lost = held - self.load().tokens(Role::Idle).len().min(held);
        let outages = std::mem::take(&mut self.outages).until(now);
        self.load().recorder.finish(unsent, (held - lost) as u64, outages);
        Ok(())
    }

    /// Ends the open connections with `close_notify`, if there is TLS: otherwise the server would take them for cut.
    fn say_goodbye(&mut self) {
        if self.plan.tls.is_none() {
            return;
        }
        for role in [Role::Busy, Role::Idle] {
            for token in self.load().tokens(role) {
                self.reactor.speak(token, |_, out| out.finish());
            }
        }
    }

    /// Runs the reactor for a while longer, for bytes that the server sends with nothing in flight.
    fn listen_on(&mut self) -> Result<(), String> {
        let until = self.now() + QUIET;
        while self.now() < until {
            let left = Duration::from_nanos(until.saturating_sub(self.now()));
            self.reactor
                .turn(Some(left))
                .map_err(|error| format!("cannot go on polling: {error}"))?;
            self.behind_the_end();
        }
        self.wait_for_all()
    }

    /// Turns until nothing is in flight any more; what does not come back is counted as such.
    fn wait_for_all(&mut self) -> Result<(), String> {
        loop {
            let now = self.now();
            self.next_expiry = self.next_expiry.min(now);
            self.give_up(now);
            let condemned = std::mem::take(&mut self.load().condemned);
            for token in condemned {
                self.reactor.close(token);
            }
            let load = self.load();
            if load.in_flight == 0 && !load.is_suspicious() {
                return Ok(());
            }
            let wait = Duration::from_nanos((self.timeout / 10).clamp(1_000_000, LONGEST_WAIT));
            self.reactor
                .turn(Some(wait))
                .map_err(|error| format!("cannot go on polling: {error}"))?;
        }
    }
}
