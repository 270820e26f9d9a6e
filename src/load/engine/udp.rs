//! One thread of the load over datagrams. They have no connection and no order, so each one has a number.

use std::{
    collections::{BTreeSet, VecDeque},
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::UdpSocket, unix::SourceFd};
use resound::{Endpoint, UdpConfig, plural::bytes};
use socket2::SockRef;

use super::{pace::Pace, refusal::why_not, timer::Timer, traffic::Discipline, worker::Job};
use crate::load::{
    check::{difference::Difference, fault::Fault},
    nanos::{Nanos, nanos},
    statistics::{
        control::Phase,
        outage::Outages,
        record::{Message, Recorder},
    },
    wire::{protocol::NUMBER, tape::Tape},
};

const EVENTS: usize = 1024;
const TIMER: Token = Token(usize::MAX);
const LONGEST_WAIT: Nanos = 20_000_000;

/// Datagrams of a socket that were given up and may still come late. Of earlier ones, none is called a duplicate.
const MOST_GIVEN_UP: usize = 65_536;

/// How long a run still listens when everything has come back, for datagrams that come twice.
const QUIET: Nanos = 50_000_000;
/// Datagrams may be lost: a server hangs when none came back for this many times the timeout.
const TIMEOUTS: u64 = 3;

/// Longer than any datagram.
const SCRATCH: usize = 64 << 10;

/// Whether mio polls with poll(2) instead of epoll.
const WITHOUT_EPOLL: bool = cfg!(mio_unsupported_force_poll_poll);

/// Runs until the plan is done.
pub(crate) fn run(job: Job) {
    let sender = job.sender.clone();
    if let Err(text) = Datagrams::new(job).and_then(Datagrams::work) {
        // This fails only if the whole run has failed.
        let _ = sender.send(Message::Failed(text));
    }
}

/// A datagram in flight.
#[derive(Debug, Clone, Copy)]
struct Sent {
    due: Nanos,
    at: Nanos,
    back: bool,
}

/// One socket.
#[derive(Debug)]
struct Flow {
    socket: UdpSocket,
    /// Where on the tape it began.
    first: usize,
    /// The number of the first in flight; those behind it count on from there.
    number: u64,
    in_flight: VecDeque<Sent>,
    missing: u32,
    /// The numbers of those that were given up.
    given_up: BTreeSet<u64>,
    /// Which of the earlier ones were given up is forgotten.
    forgotten: u64,
}

impl Flow {
    /// Remembers that a datagram was given up, in case it comes late.
    fn give_up(&mut self, number: u64) {
        self.given_up.insert(number);
        if self.given_up.len() > MOST_GIVEN_UP
            && let Some(first) = self.given_up.pop_first()
        {
            self.forgotten = first + 1;
        }
    }

    /// Whether a datagram with this number, which is not in flight, has come before.
    fn has_come(&mut self, number: u64) -> bool {
        !self.given_up.remove(&number) && number >= self.forgotten
    }
}

#[derive(Debug)]
struct Datagrams {
    job: Job,
    endpoint: SocketAddr,
    poll: Poll,
    timer: Timer,
    flows: Vec<Flow>,
    tape: Tape,
    recorder: Recorder,
    discipline: Discipline,
    pace: Option<Pace>,
    timeout: Nanos,
    next_flow: usize,
    next_expiry: Nanos,
    packet: Vec<u8>,
    sending: bool,
    any_back: bool,
    /// When something was last sent, and when something last came back, on any socket.
    sent: Nanos,
    answered: Nanos,
    outages: Outages,
}

impl Datagrams {
    fn new(job: Job) -> Result<Self, String> {
        let plan = &job.plan;
        let Endpoint::Tcp(endpoint) = plan.endpoint else {
            return Err("datagrams go to HOST:PORT".to_owned());
        };
        let cannot = |error: io::Error| format!("cannot set up the sockets: {error}");
        let poll = Poll::new().map_err(cannot)?;
        let timer = Timer::new().map_err(cannot)?;
        let descriptor = timer.as_fd().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&descriptor), TIMER, Interest::READABLE)
            .map_err(cannot)?;
        let tape = Tape::new(plan.wire(), &plan.sizes)?;
        let anywhere = match endpoint.ip() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let mut flows = Vec::new();
        for index in 0..plan.part(plan.connections, job.thread) {
            let socket = UdpSocket::bind(SocketAddr::new(anywhere, 0)).map_err(cannot)?;
            if let Some(size) = plan.send_buffer {
                SockRef::from(&socket).set_send_buffer_size(size.in_memory()).map_err(cannot)?;
            }
            socket.connect(endpoint).map_err(|error| why_not(&plan.endpoint, &error, plan))?;
            let mut flow = Flow {
                socket,
                first: index * 7919,
                number: 0,
                in_flight: VecDeque::new(),
                missing: 0,
                given_up: BTreeSet::new(),
                forgotten: 0,
            };
            poll.registry()
                .register(&mut flow.socket, Token(index), Interest::READABLE)
                .map_err(cannot)?;
            flows.push(flow);
        }
        let recorder = Recorder::new(job.control.clone(), job.sender.clone(), nanos(plan.window()));
        Ok(Self {
            endpoint,
            discipline: plan.discipline(tape.mean()),
            timeout: nanos(plan.timeout),
            poll,
            timer,
            flows,
            tape,
            recorder,
            pace: None,
            next_flow: 0,
            next_expiry: 0,
            packet: Vec::new(),
            sending: true,
            any_back: false,
            sent: 0,
            answered: 0,
            outages: Outages::default(),
            job,
        })
    }

    fn work(mut self) -> Result<(), String> {
        self.recorder.tell(Message::Filled { missing: 0 });
        let mut events = Events::with_capacity(EVENTS);
        let mut scratch = vec![0; SCRATCH];
        self.wait_until_let_go(&mut events, &mut scratch)?;
        let now = self.recorder.now();
        self.answered = now;
        let (plan, thread) = (self.job.plan.clone(), self.job.thread);
        match (self.discipline, plan.rate) {
            (Discipline::Open { .. }, Some(rate)) => {
                let rate = rate / f64::from(plan.threads);
                self.pace = Some(Pace::new(plan.arrivals, rate, now, thread, plan.threads));
            }
            (Discipline::Closed { depth } | Discipline::Open { most: depth }, _) => {
                for index in 0..self.flows.len() {
                    (0..depth).try_for_each(|_| self.send(index, now, now))?;
                }
            }
        }
        loop {
            let now = self.recorder.now();
            let in_flight = self.in_flight();
            if self.recorder.tick(now, in_flight) == Phase::After {
                break;
            }
            self.send_what_is_due(now)?;
            self.expire(now)?;
            self.turn(now, Nanos::MAX, &mut events, &mut scratch)?;
        }
        let end = self.recorder.control().end();
        self.sending = false;
        let pace = self.pace.take();
        let mut until = self.recorder.now() + QUIET;
        while self.in_flight() > 0 || self.recorder.now() < until {
            let now = self.recorder.now();
            if self.in_flight() > 0 {
                until = now + QUIET;
            }
            self.next_expiry = self.next_expiry.min(now);
            self.expire(now)?;
            self.turn(now, Nanos::MAX, &mut events, &mut scratch)?;
        }
        let mut unsent = 0;
        let now = self.recorder.now();
        for (due, frames) in pace.into_iter().flat_map(|pace| pace.left(end)) {
            // It would have been sent by now, had the others come back.
            self.recorder.unanswered(due, now, frames);
            unsent += frames;
        }
        self.recorder.finish(unsent, 0, self.outages.until(now));
        Ok(())
    }

    /// Sends nothing before the barrier lets it, or the run is stopped.
    fn wait_until_let_go(&mut self, events: &mut Events, scratch: &mut [u8]) -> Result<(), String> {
        loop {
            let now = self.recorder.now();
            let go = self.recorder.control().go();
            if now >= go || self.recorder.tick(now, 0) == Phase::After {
                return Ok(());
            }
            self.turn(now, go, events, scratch)?;
        }
    }

    fn in_flight(&self) -> u64 {
        self.flows.iter().map(|flow| u64::from(flow.missing)).sum()
    }

    /// Sends the next datagram of a socket, which was due at `due`.
    fn send(&mut self, index: usize, due: Nanos, now: Nanos) -> Result<(), String> {
        self.sent = now;
        let flow = &mut self.flows[index];
        let number = flow.number + flow.in_flight.len() as u64;
        datagram(&self.tape, flow.first, number, &mut self.packet);
        let sent = flow.socket.send(&self.packet);
        flow.in_flight.push_back(Sent { due, at: now, back: false });
        flow.missing += 1;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                // Lost before it left, as others are on the way: the timeout will tell.
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
                ErrorKind::ConnectionRefused => self.refused(index),
                _ => Err(format!("cannot send to {}: {error}", self.endpoint)),
            },
        }
    }

    /// The server's host answered that no socket is bound there.
    fn refused(&mut self, index: usize) -> Result<(), String> {
        if !self.any_back {
            let error = ErrorKind::ConnectionRefused.into();
            return Err(why_not(&self.job.plan.endpoint, &error, &self.job.plan));
        }
        self.recorder.fault(Fault::Refused, 1);
        self.outages.begin(Fault::Ended, self.answered);
        self.next_flow = index + 1;
        Ok(())
    }

    fn send_what_is_due(&mut self, now: Nanos) -> Result<(), String> {
        let (Some(mut pace), Discipline::Open { most }) = (self.pace.take(), self.discipline)
        else {
            return Ok(());
        };
        let mut tried = 0;
        while pace.next() <= now && tried < self.flows.len() {
            let index = self.next_flow % self.flows.len();
            self.next_flow = index + 1;
            if self.flows[index].missing >= most {
                tried += 1;
                continue;
            }
            tried = 0;
            if let Some(due) = pace.take(now) {
                self.recorder.lag(due, now);
                self.send(index, due, now)?;
            }
        }
        self.pace = Some(pace);
        Ok(())
    }

    /// Gives up datagrams that have not come back in time.
    fn expire(&mut self, now: Nanos) -> Result<(), String> {
        if now < self.next_expiry {
            return Ok(());
        }
        self.next_expiry = now + (self.timeout / 10).min(LONGEST_WAIT);
        for index in 0..self.flows.len() {
            let flow = &mut self.flows[index];
            let (mut lost, mut by_guard) = (0, 0);
            while let Some(first) = flow.in_flight.front()
                && (first.back || now.saturating_sub(first.at) >= self.timeout)
            {
                if !first.back {
                    lost += 1;
                    by_guard += u64::from(is_where_the_loop_guard_drops(flow.number));
                    self.recorder.unanswered(first.due, now, 1);
                    flow.give_up(flow.number);
                }
                flow.number += 1;
                flow.in_flight.pop_front();
            }
            flow.missing -= lost;
            self.recorder.fault(Fault::Timeout, lost.into());
            self.recorder.guard_losses(by_guard);
            let silence = now.saturating_sub(self.answered);
            if lost > 0 && self.sent >= self.answered && silence >= TIMEOUTS * self.timeout {
                self.outages.begin(Fault::Hung, self.answered);
            }
            self.replace(index, lost.into(), now)?;
        }
        Ok(())
    }

    /// Closed loop: sends one more for each that is no longer in flight.
    fn replace(&mut self, index: usize, times: u64, now: Nanos) -> Result<(), String> {
        if self.sending && matches!(self.discipline, Discipline::Closed { .. }) {
            return (0..times).try_for_each(|_| self.send(index, now, now));
        }
        Ok(())
    }

    /// Polls, until `latest` at most.
    fn turn(
        &mut self,
        now: Nanos,
        latest: Nanos,
        events: &mut Events,
        scratch: &mut [u8],
    ) -> Result<(), String> {
        let until = (now + LONGEST_WAIT).min(self.recorder.window_end().max(now + 1_000_000));
        let until = until.min(latest);
        let mut wait = Duration::from_nanos(until - now);
        if let Some(pace) = &self.pace {
            let due = Duration::from_nanos(pace.next().saturating_sub(now));
            if due < wait && (due.is_zero() || self.arm(due).is_err()) {
                wait = Duration::ZERO;
            }
        }
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(format!("cannot go on polling: {error}"));
            }
            _ => {}
        }
        for event in &*events {
            if event.token() != TIMER {
                let index = event.token().0;
                if WITHOUT_EPOLL && event.is_error() {
                    self.register_again(index)?;
                }
                self.receive(index, scratch)?;
            }
        }
        Ok(())
    }

    /// Ends a poll in `time` from now.
    fn arm(&self, time: Duration) -> io::Result<()> {
        self.timer.arm(time)?;
        if WITHOUT_EPOLL {
            // mio has reported the timer, and does not see that it is set again.
            let descriptor = self.timer.as_fd().as_raw_fd();
            let registry = self.poll.registry();
            registry.reregister(&mut SourceFd(&descriptor), TIMER, Interest::READABLE)?;
        }
        Ok(())
    }

    /// mio has forgotten a socket for which poll(2) has returned an error.
    fn register_again(&mut self, index: usize) -> Result<(), String> {
        let (registry, socket) = (self.poll.registry(), &mut self.flows[index].socket);
        // This only tells mio's socket, and fails.
        let _ = registry.deregister(socket);
        registry
            .register(socket, Token(index), Interest::READABLE)
            .map_err(|error| format!("cannot go on polling: {error}"))
    }

    /// Receives all datagrams that a socket has.
    fn receive(&mut self, index: usize, scratch: &mut [u8]) -> Result<(), String> {
        let now = self.recorder.now();
        let (mut back, mut bytes) = (0, 0);
        loop {
            match self.flows[index].socket.recv(scratch) {
                Ok(length) => {
                    back += self.take(index, &scratch[..length], now);
                    bytes += length;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    self.refused(index)?;
                }
                Err(error) => {
                    return Err(format!("cannot receive from {}: {error}", self.endpoint));
                }
            }
        }
        self.recorder.back(now, back, bytes);
        self.replace(index, back, now)
    }

    /// Handles one datagram; returns 1 if it was expected.
    fn take(&mut self, index: usize, received: &[u8], now: Nanos) -> u64 {
        let flow = &mut self.flows[index];
        self.any_back = true;
        self.answered = now;
        self.outages.answered(now);
        let Some(number) = received.first_chunk().map(|number| u64::from_le_bytes(*number)) else {
            let length = bytes(received.len());
            self.wrong(Fault::Truncated, || {
                format!("{length} came, less than a datagram's number")
            });
            return 0;
        };
        let place = number.checked_sub(flow.number).and_then(|place| usize::try_from(place).ok());
        let Some(place) = place else {
            // One that was given up arrives late, which is no error with datagrams.
            if flow.has_come(number) {
                self.wrong(Fault::Duplicate, || format!("datagram {number} came again"));
            }
            return 0;
        };
        let Some(sent) = flow.in_flight.get_mut(place) else {
            let what = || format!("datagram {number} came, and none with that number was sent");
            self.wrong(Fault::Mismatch, what);
            return 0;
        };
        if std::mem::replace(&mut sent.back, true) {
            self.wrong(Fault::Duplicate, || format!("datagram {number} came again"));
            return 0;
        }
        let due = sent.due;
        flow.missing -= 1;
        datagram(&self.tape, flow.first, number, &mut self.packet);
        if received == self.packet {
            self.recorder.latency(due, now, 1);
        } else {
            self.recorder.unanswered(due, now, 1);
            let difference = Difference::of_datagram(number, &self.packet, received);
            self.recorder.fault(difference.fault, 1);
            self.recorder.difference(|| difference.to_string());
        }
        let flow = &mut self.flows[index];
        while flow.in_flight.front().is_some_and(|first| first.back) {
            flow.number += 1;
            flow.in_flight.pop_front();
        }
        1
    }

    /// Counts a wrong datagram, with its description.
    fn wrong(&mut self, fault: Fault, what: impl FnOnce() -> String) {
        self.recorder.fault(fault, 1);
        self.recorder.difference(|| format!("{}: {}\n", fault.name(), what()));
    }
}

/// Whether the loop guard of `resound serve` drops the datagram with this number (they count from 0) of a socket. It
/// counts the datagrams that it receives, so this holds as long as none is lost on the way to it.
const fn is_where_the_loop_guard_drops(number: u64) -> bool {
    (number + 1).is_multiple_of(UdpConfig::LOOP_GUARD_PERIOD as u64)
}

/// Makes the datagram of that number: a frame of the tape, with the number in front.
fn datagram(tape: &Tape, first: usize, number: u64, packet: &mut Vec<u8>) {
    let index = first.wrapping_add(usize::try_from(number).unwrap_or(0));
    packet.clear();
    packet.extend_from_slice(tape.frame(index));
    packet[..NUMBER].copy_from_slice(&number.to_le_bytes());
}
