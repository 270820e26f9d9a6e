//! The load as a protocol: sends frames from the tape, compares what comes back, and measures latencies.
//!
//! Sending is a copy, checking is a comparison, and the clock is read once for all frames of a read. So the load needs
//! less time for a frame than any server.

use std::{collections::VecDeque, rc::Rc};

use resound::{
    Ends, Reason, Token,
    plural::bytes,
    protocol::{Next, Output, Protocol, Received, Refusal},
};

use super::opening::Opening;
use crate::load::{
    check::{
        answers::Answers,
        comparison::{Followed, How, Wrong},
        echo::Echo,
        evidence::{BUDGET, Evidence, PATIENCE},
        fault::Fault,
        messages::Messages,
    },
    nanos::Nanos,
    random::Random,
    statistics::record::Recorder,
    wire::{protocol::Wire, tape::Tape, websocket},
};

/// When a connection sends its next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discipline {
    /// When others have come back, to have this many in flight again.
    Closed { depth: u32 },
    /// When the worker tells it to; at most this many are in flight.
    Open { most: u32 },
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Busy,
    /// It echoes one frame when it is opened, which shows that the server has accepted it, and one at the very end.
    Idle,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    /// The handshake has not been answered.
    Greeting,
    Open,
    /// The last frame has come back, and the server has been told that the connection ends.
    Closing,
}

/// One connection.
#[derive(Debug)]
struct Flow {
    token: Token,
    role: Role,
    state: State,
    /// Idle: its first frame has not come back, so the server may not have accepted it.
    unproven: bool,
    /// It has been given up, or is done: its input is ignored.
    over: bool,
    /// When connecting began.
    began: Nanos,
    /// When the connection was there, and TLS had yet to be agreed upon.
    connected: Option<Nanos>,
    /// Where on the tape the next frame to be sent begins, and the next byte to come back is.
    send_at: usize,
    back_at: usize,
    /// Frames sent together, and when they were due.
    in_flight: VecDeque<(Nanos, u32)>,
    frames_in_flight: u32,
    echo: Echo,
    /// Since it received something wrong, until that is judged.
    evidence: Option<Box<Evidence>>,
    /// The wrong answer that it was given up for.
    wrong: Option<Fault>,
    /// When something came back, or was sent with nothing in flight.
    progress: Nanos,
    /// Bytes and frames that have come back.
    bytes: u64,
    frames: u64,
    /// Frames that it may still send, where it has a limited number.
    trips: Option<u64>,
    /// Whether it is in the list of those with room.
    listed: bool,
}

/// The protocol of all connections of a thread.
#[derive(Debug)]
pub(crate) struct Load {
    tape: Rc<Tape>,
    wire: Wire,
    /// For the keys of handshakes and of control frames.
    random: Random,
    pub(crate) recorder: Recorder,
    discipline: Discipline,
    /// Round trips of each connection, after which it is closed and another is opened.
    churn: Option<u64>,
    /// By slab key.
    flows: Vec<Option<Flow>>,
    /// Open loop: connections that may send.
    pub(crate) room: VecDeque<Token>,
    pub(crate) sending: bool,
    /// Connections that are gone, what they were for, and what was wrong.
    pub(crate) gone: Vec<(Role, Option<Fault>)>,
    /// Connections that have to be closed.
    pub(crate) condemned: Vec<Token>,
    /// Connections that are open.
    pub(crate) open: usize,
    /// Among those, idle ones whose first frame has not come back.
    pub(crate) unproven: usize,
    /// Frames in flight on all connections.
    pub(crate) in_flight: u64,
    opened: usize,
    /// Connections with evidence that is not judged yet, and how many bytes more may be kept as such.
    suspects: usize,
    budget: usize,
    /// Wrong answers so far.
    pub(crate) wrong_answers: u64,
    /// Why a handshake was not accepted: the first one.
    pub(crate) rejection: Option<String>,
    /// Bytes that were shown to this protocol.
    shown: u64,
    /// Bytes that came after a connection's FIN, which the reactor discards.
    thrown_away: u64,
    pub(crate) opening: Opening,
    /// How long the handshake of the connection took that was opened last.
    pub(crate) handshake: Option<Nanos>,
    /// When something was last sent, and when something last came back, on any connection.
    pub(crate) sent: Nanos,
    pub(crate) answered: Nanos,
    /// When the last connection was lost.
    pub(crate) lost: Nanos,
}

impl Load {
    pub(crate) fn new(
        wire: Wire,
        tape: Tape,
        recorder: Recorder,
        discipline: Discipline,
        churn: Option<u64>,
    ) -> Self {
        Self {
            tape: Rc::new(tape),
            wire,
            random: Random::new(0x6B65_7973),
            recorder,
            discipline,
            churn,
            flows: Vec::new(),
            room: VecDeque::new(),
            sending: false,
            gone: Vec::new(),
            condemned: Vec::new(),
            open: 0,
            unproven: 0,
            in_flight: 0,
            opened: 0,
            suspects: 0,
            budget: BUDGET,
            wrong_answers: 0,
            rejection: None,
            shown: 0,
            thrown_away: 0,
            opening: Opening::new(),
            handshake: None,
            sent: 0,
            answered: 0,
            lost: 0,
        }
    }

    /// Connections that were ever open.
    pub(crate) const fn opened(&self) -> usize {
        self.opened
    }

    /// A connection has begun to connect at `now`.
    pub(crate) fn connecting(&mut self, token: Token, role: Role, number: usize, now: Nanos) {
        if self.flows.len() <= token.key() {
            self.flows.resize_with(token.key() + 1, || None);
        }
        let start = self.tape.start(number.wrapping_mul(7919));
        self.flows[token.key()] = Some(Flow {
            token,
            role,
            state: State::Connecting,
            unproven: false,
            over: false,
            began: now,
            connected: None,
            send_at: start,
            back_at: start,
            in_flight: VecDeque::new(),
            frames_in_flight: 0,
            echo: match self.wire {
                Wire::Http { .. } => Echo::Answers(Answers::default()),
                _ => Echo::AsSent { in_flight: 0 },
            },
            evidence: None,
            wrong: None,
            progress: now,
            bytes: 0,
            frames: 0,
            trips: self.churn.filter(|_| role == Role::Busy),
            listed: false,
        });
    }

    /// The connection is there, and TLS has to be agreed upon before it is open.
    #[cfg(feature = "tls")]
    pub(crate) fn connected(&mut self, token: Token) {
        let now = self.recorder.now();
        if let Some(Some(flow)) = self.flows.get_mut(token.key()) {
            flow.connected = Some(now);
            self.recorder.connected(flow.began, now);
        }
    }

    /// Whether TLS is being agreed upon.
    #[cfg(feature = "tls")]
    pub(crate) fn is_shaking_hands(&self, token: Token) -> bool {
        let flow = self.flows.get(token.key()).and_then(Option::as_ref);
        flow.is_some_and(|flow| flow.connected.is_some() && flow.state == State::Connecting)
    }

    /// Whether any byte has come back.
    pub(crate) const fn has_heard(&self) -> bool {
        self.shown > 0
    }

    /// The open connections of a kind.
    pub(crate) fn tokens(&self, role: Role) -> Vec<Token> {
        let flows = self.flows.iter().flatten();
        flows
            .filter(|flow| flow.state == State::Open && flow.role == role)
            .map(|flow| flow.token)
            .collect()
    }

    /// Puts a connection's first frames into `out`.
    pub(crate) fn begin(&mut self, token: Token, out: &mut Output) {
        let Some(Some(flow)) = self.flows.get_mut(token.key()) else { return };
        if !flow.may_send() {
            return;
        }
        let now = self.recorder.now();
        self.sent = now;
        match (flow.role, self.discipline) {
            (Role::Idle, _) => self.in_flight += flow.send(&self.tape, 1, now, now, out),
            (Role::Busy, Discipline::Closed { depth }) => {
                self.in_flight += flow.send(&self.tape, depth, now, now, out);
            }
            (Role::Busy, Discipline::Open { .. }) => flow.list(&mut self.room),
        }
    }

    /// How many more frames a connection may send in an open loop.
    pub(crate) fn room_of(&self, token: Token) -> u32 {
        let flow = self.flows.get(token.key()).and_then(Option::as_ref);
        let Some(flow) = flow.filter(|flow| flow.token == token && flow.may_send()) else {
            return 0;
        };
        let Discipline::Open { most } = self.discipline else { return 0 };
        let trips = flow.trips.map_or(u32::MAX, |trips| u32::try_from(trips).unwrap_or(u32::MAX));
        most.saturating_sub(flow.frames_in_flight).min(trips)
    }

    /// Puts frames into `out` that were due at `times`; the connection goes back into the list if it has room.
    pub(crate) fn send(&mut self, token: Token, times: &[Nanos], now: Nanos, out: &mut Output) {
        self.sent = now;
        if let Some(Some(flow)) = self.flows.get_mut(token.key()) {
            for &due in times {
                self.in_flight += flow.send(&self.tape, 1, due, now, out);
            }
        }
    }

    /// Takes a connection from the list of those with room; it goes back with [`relist`](Self::relist).
    pub(crate) fn next_with_room(&mut self) -> Option<Token> {
        while let Some(token) = self.room.pop_front() {
            if let Some(Some(flow)) = self.flows.get_mut(token.key())
                && flow.token == token
            {
                flow.listed = false;
                if self.room_of(token) > 0 {
                    return Some(token);
                }
            }
        }
        None
    }

    pub(crate) fn relist(&mut self, token: Token) {
        if self.room_of(token) > 0
            && let Some(Some(flow)) = self.flows.get_mut(token.key())
        {
            flow.list(&mut self.room);
        }
    }

    /// Gives up connections on which nothing has come back for `timeout` although something should; whether there are
    /// any. One that waits to be accepted is given up when no other was accepted for as long either.
    pub(crate) fn expire(&mut self, now: Nanos, timeout: Nanos) -> bool {
        let before = self.condemned.len();
        let accepted = self.opening.last_progress();
        for flow in self.flows.iter_mut().flatten().filter(|flow| !flow.over) {
            let is_accepted = !flow.unproven && flow.state != State::Greeting;
            let since = if is_accepted { flow.progress } else { flow.progress.max(accepted) };
            let missing = match flow.state {
                State::Connecting => 0,
                State::Open => flow.frames_in_flight,
                State::Greeting | State::Closing => 1,
            };
            if missing > 0 && now.saturating_sub(since) >= timeout {
                flow.over = true;
                flow.wrong = (flow.state == State::Greeting).then_some(Fault::Timeout);
                self.recorder.fault(Fault::Timeout, missing.into());
                self.condemned.push(flow.token);
            }
        }
        self.condemned.len() > before
    }

    /// Whether a connection ended before it was opened only because the server accepts slowly: others were opened
    /// meanwhile.
    fn is_waiting(&self, reason: Reason, now: Nanos, began: Nanos) -> bool {
        let accepts = self.opening.last_progress() > began;
        reason == Reason::ConnectTimeout && !self.sending && accepts && now > began
    }

    /// Handles input that is not the echo of what was sent. Returns how many bytes were used.
    fn differs(&mut self, key: usize, input: &[u8], wrong: Wrong) -> usize {
        let now = self.recorder.now();
        // A wrong answer is one: the server does not hang.
        self.answered = now;
        let Some(Some(flow)) = self.flows.get_mut(key) else { return input.len() };
        match wrong.how {
            How::Differs { from, offset, alike } => {
                let frames = u32::try_from(wrong.frames).unwrap_or(u32::MAX);
                let before = (
                    flow.bytes + from as u64,
                    flow.frames + wrong.frames,
                    flow.frames_in_flight.saturating_sub(frames),
                );
                let place = (offset, alike);
                let evidence = Evidence::new(&self.tape, now, before, place, self.budget);
                self.budget -= evidence.limit;
                self.suspects += 1;
                flow.evidence = Some(Box::new(evidence));
                from + self.gather(key, &input[from..])
            }
            How::Otherwise(fault, story) => {
                let frames = flow.frames + wrong.frames;
                flow.over = true;
                flow.wrong = Some(fault);
                self.condemned.push(flow.token);
                self.wrong_answers += 1;
                self.recorder.fault(fault, 1);
                self.recorder.difference(|| format!("{}: frame {frames}: {story}", fault.name()));
                input.len()
            }
        }
    }

    /// Adds to the evidence of a wrong answer. Returns how many bytes were used.
    fn gather(&mut self, key: usize, input: &[u8]) -> usize {
        let Some(Some(flow)) = self.flows.get_mut(key) else { return input.len() };
        let Some(evidence) = &mut flow.evidence else { return input.len() };
        let consumed = flow.echo.gather(input, &mut evidence.received);
        if evidence.conclusion(&self.tape).is_some() {
            self.conclude(key);
        }
        consumed
    }

    /// Names the fault that the evidence shows, and gives the connection up.
    fn conclude(&mut self, key: usize) {
        let Some(Some(flow)) = self.flows.get_mut(key) else { return };
        let Some(evidence) = flow.evidence.take() else { return };
        flow.over = true;
        self.condemned.push(flow.token);
        self.suspects -= 1;
        self.budget += evidence.limit;
        self.wrong_answers += 1;
        let difference = evidence.judge(&self.tape);
        flow.wrong = Some(difference.fault);
        self.recorder.fault(difference.fault, 1);
        self.recorder.difference(|| difference.to_string());
    }

    /// Judges evidence for which the time is over.
    pub(crate) fn judge_overdue(&mut self, now: Nanos, timeout: Nanos) {
        if self.suspects == 0 {
            return;
        }
        let patience = PATIENCE.min(timeout);
        for key in 0..self.flows.len() {
            let evidence = self.flows[key].as_ref().and_then(|flow| flow.evidence.as_ref());
            if evidence.is_some_and(|evidence| now.saturating_sub(evidence.since) >= patience) {
                self.conclude(key);
            }
        }
    }

    /// Whether a connection has evidence that is not judged yet.
    pub(crate) const fn is_suspicious(&self) -> bool {
        self.suspects > 0
    }

    /// Counts bytes that came after the last frame of connections that have ended: those that the reactor `received` and
    /// did not show to this protocol.
    pub(crate) fn behind_the_end(&mut self, received: u64) {
        let thrown_away = received.saturating_sub(self.shown);
        let more = thrown_away.saturating_sub(self.thrown_away);
        if more > 0 {
            self.thrown_away = thrown_away;
            self.wrong_answers += 1;
            self.recorder.fault(Fault::Surplus, 1);
            self.recorder.difference(|| {
                let name = Fault::Surplus.name();
                format!("{name}: {} came behind the last frame of a connection\n", bytes(more))
            });
        }
    }

    /// A connection can be used: it sends its first frames, if it is to.
    fn established(&mut self, token: Token, out: &mut Output) {
        let now = self.recorder.now();
        let Some(Some(flow)) = self.flows.get_mut(token.key()) else { return };
        flow.state = State::Open;
        if flow.connected.is_none() {
            self.recorder.connected(flow.began, now);
        }
        self.open += 1;
        self.opened += 1;
        let is_idle = flow.role == Role::Idle;
        if is_idle {
            flow.unproven = true;
            self.unproven += 1;
        } else {
            self.opening.answered(now.saturating_sub(flow.began), now);
        }
        if is_idle || self.sending {
            self.begin(token, out);
        }
    }

    /// Reads the answer to a handshake. Returns its length, or what the reactor is told if there is nothing more to do.
    fn greeted(&mut self, token: Token, input: &[u8], out: &mut Output) -> Result<usize, Received> {
        let Some(Some(flow)) = self.flows.get_mut(token.key()) else { return Ok(0) };
        if flow.state != State::Greeting {
            return Ok(0);
        }
        match flow.echo.shake_hands(input) {
            Ok(Some(length)) => {
                self.established(token, out);
                Ok(length)
            }
            Ok(None) => Err(Received::answered(0, 0, Next::Rest { need: 0 })),
            Err(wrong) => {
                if let How::Otherwise(_, story) = &wrong.how {
                    self.rejection.get_or_insert_with(|| story.trim_end().to_owned());
                }
                let consumed = self.differs(token.key(), input, wrong);
                Err(Received::answered(consumed, 0, Next::Idle))
            }
        }
    }
}

impl Flow {
    /// Sends up to `frames` frames that were due at `due`; how many it was.
    fn send(&mut self, tape: &Tape, frames: u32, due: Nanos, now: Nanos, out: &mut Output) -> u64 {
        let left = self.trips.map_or(u32::MAX, |trips| u32::try_from(trips).unwrap_or(u32::MAX));
        let frames = frames.min(left);
        if frames == 0 {
            return 0;
        }
        if let Some(trips) = &mut self.trips {
            *trips -= u64::from(frames);
        }
        if self.frames_in_flight == 0 {
            self.progress = now;
        }
        let out = out.as_mut_vec();
        let before = out.len();
        self.send_at = tape.copy(self.send_at, usize::try_from(frames).unwrap_or(0), out);
        self.echo.sent(out.len() - before);
        self.frames_in_flight += frames;
        match self.in_flight.back_mut() {
            Some((last, count)) if *last == due => *count += frames,
            _ => self.in_flight.push_back((due, frames)),
        }
        frames.into()
    }

    /// Takes note of `frames` frames that came back.
    fn back(&mut self, frames: u64, now: Nanos, recorder: &mut Recorder) {
        let mut left = frames;
        while left > 0
            && let Some((due, count)) = self.in_flight.front_mut()
        {
            let these = left.min(u64::from(*count));
            recorder.latency(*due, now, these);
            left -= these;
            *count -= u32::try_from(these).unwrap_or(*count);
            if *count == 0 {
                self.in_flight.pop_front();
            }
        }
    }

    /// Whether the connection goes on.
    const fn may_send(&self) -> bool {
        !self.over && self.evidence.is_none()
    }

    /// Enters it into the list of those with room, once.
    fn list(&mut self, room: &mut VecDeque<Token>) {
        if !std::mem::replace(&mut self.listed, true) {
            room.push_back(self.token);
        }
    }
}

impl Protocol for Load {
    fn opened(&mut self, token: Token, _: &Ends, out: &mut Output) -> Result<(), Refusal> {
        let now = self.recorder.now();
        let Some(Some(flow)) = self.flows.get_mut(token.key()) else { return Ok(()) };
        if let Some(connected) = flow.connected {
            self.handshake = Some(now.saturating_sub(connected));
        }
        let Wire::Ws { host } = &self.wire else {
            self.established(token, out);
            return Ok(());
        };
        let (request, accept) = websocket::handshake(host, &mut self.random);
        out.as_mut_vec().extend_from_slice(request.as_bytes());
        flow.echo = Echo::Messages(Messages::new(accept));
        (flow.state, flow.progress) = (State::Greeting, now);
        Ok(())
    }

    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        let all = input.len();
        self.shown += (all - seen) as u64;
        let received = Received::answered;
        let key = token.key();
        let Some(Some(flow)) = self.flows.get_mut(key) else {
            return received(all, 0, Next::Finish);
        };
        if flow.over {
            return received(all, 0, Next::Idle);
        }
        let rest = |consumed| if consumed < all { Next::Rest { need: 0 } } else { Next::Idle };
        if flow.evidence.is_some() {
            let consumed = self.gather(key, input);
            return received(consumed, 0, rest(consumed));
        }
        let before = match self.greeted(token, input, out) {
            Ok(length) => length,
            Err(received) => return received,
        };
        let Some(Some(flow)) = self.flows.get_mut(key) else {
            return received(all, 0, Next::Finish);
        };
        let input = &input[before..];
        let followed = flow.echo.follow(&self.tape, flow.back_at, flow.frames_in_flight, input);
        let Followed { consumed, frames, next, last } = match followed {
            Ok(followed) => followed,
            Err(wrong) => {
                let consumed = before + self.differs(key, input, wrong);
                return received(consumed, 0, rest(consumed));
            }
        };
        let now = self.recorder.now();
        flow.back_at = next;
        flow.bytes += consumed as u64;
        flow.frames += frames;
        flow.progress = now;
        self.answered = now;
        if frames > 0 && std::mem::take(&mut flow.unproven) {
            self.unproven -= 1;
            self.opening.answered(now.saturating_sub(flow.began), now);
        }
        flow.back(frames, now, &mut self.recorder);
        self.recorder.back(now, frames, consumed);
        let consumed = before + consumed;
        let back = u32::try_from(frames).unwrap_or(u32::MAX);
        flow.frames_in_flight -= back;
        self.in_flight -= frames;
        if let Some((opcode, payload)) = flow.echo.owed()
            && flow.state == State::Open
        {
            websocket::control(opcode, &payload, &mut self.random, out.as_mut_vec());
        }
        let has_done_all = flow.trips == Some(0) && flow.frames_in_flight == 0;
        let is_websocket = matches!(flow.echo, Echo::Messages(_));
        if has_done_all && (!is_websocket || last) {
            flow.over = true;
            self.recorder.cycle(now);
            return received(consumed, frames, Next::Finish);
        }
        if last {
            flow.over = true;
            self.recorder.fault(Fault::Closed, 1);
            if is_websocket {
                return received(all, frames, Next::Finish);
            }
            self.condemned.push(token);
            return received(all, frames, Next::Idle);
        }
        if has_done_all && flow.state == State::Open {
            // The server answers with a Close frame of its own (RFC 6455, section 5.5.1), and is waited for.
            (flow.state, flow.progress) = (State::Closing, now);
            websocket::close(&mut self.random, out.as_mut_vec());
        }
        if self.sending && flow.role == Role::Busy && flow.state == State::Open {
            match self.discipline {
                // Half of them in one write: what is refilled one by one would arrive one by one, and then the
                // measured rate would be one of system calls, on both sides.
                Discipline::Closed { depth } if flow.frames_in_flight <= depth / 2 => {
                    let missing = depth - flow.frames_in_flight;
                    self.sent = now;
                    self.in_flight += flow.send(&self.tape, missing, now, now, out);
                }
                Discipline::Closed { .. } => {}
                Discipline::Open { .. } => flow.list(&mut self.room),
            }
        }
        received(consumed, frames, rest(consumed))
    }

    fn closed(&mut self, token: Token, reason: Reason) {
        // Nothing more comes that could make it certain.
        self.conclude(token.key());
        let Some(flow) = self.flows.get_mut(token.key()).and_then(Option::take) else { return };
        let now = self.recorder.now();
        self.in_flight -= u64::from(flow.frames_in_flight);
        for &(due, frames) in &flow.in_flight {
            self.recorder.unanswered(due, now, frames.into());
        }
        if matches!(flow.state, State::Open | State::Closing) {
            self.open -= 1;
            self.unproven -= usize::from(flow.unproven);
            self.lost = now;
        }
        let is_waiting = self.is_waiting(reason, now, flow.began);
        let fault = if flow.over {
            flow.wrong
        } else if is_waiting {
            self.opening.unanswered(now);
            None
        } else {
            let fault = Fault::of(reason, flow.echo.is_within(&self.tape, flow.back_at));
            self.recorder.fault(fault, 1);
            Some(fault)
        };
        self.gone.push((flow.role, fault));
    }

    fn reads_while_owed(&self) -> bool {
        true
    }
}
