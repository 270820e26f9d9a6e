//! One connection between its records and the protocol inside.
//!
//! ```text
//!  input ── whole records ──▶ Session ── `plain` ──▶ the protocol inside
//!                                                       │ its output, and the start of `plain` where it echoes
//!  out ◀───────────────────── Session ◀─────────────────┘
//! ```
//!
//! What the peer does not take is held once. Bytes that are to be echoed stay in `plain` until `out` has room for them, and
//! only then they are encrypted. Records that are not decrypted yet stay in the connection's own input.

use log::debug;
use rustls::Error;

use super::{
    failure,
    handshakes::{Failure, Handshakes},
    plain::Plain,
    record,
    session::{Session, Stage},
};
use crate::{
    Ends, Token,
    protocol::{
        Ending, Next, Output, Protocol, Received, Refusal,
        schedule::{Pieces, Step},
    },
};

/// How many bytes are encrypted before the output is looked at again: as many as are in one record.
const SEALED_AT_ONCE: usize = 16 << 10;

/// About what rustls needs for a handshake, in bytes. It is counted until the handshake is complete, so that many that are
/// never completed are under the limit of memory.
const HANDSHAKE_MEMORY: usize = 4 << 10;

/// A connection whose first record has come.
#[derive(Debug)]
pub(super) struct Conversation {
    session: Session,
    /// What the protocol inside is told when the handshake is complete; `None` from then on.
    ends: Option<Ends>,
    plain: Plain,
    /// So many bytes at the start of `plain` are consumed, and go back.
    echo: usize,
    /// How many bytes of `plain` behind them the protocol was shown.
    seen: usize,
    /// What the protocol waits for.
    next: Next,
    phase: Phase,
    /// What the protocol has asked for, and the loop has not called yet.
    awaits_sent: bool,
    awaits_call: bool,
    /// Whether its output has a schedule.
    is_scheduled: bool,
    /// Whether the last byte of the input is handled, and was left there so that the loop asks again.
    is_held_back: bool,
    /// Memory that the protocol inside holds, and that of both as the loop was told.
    inner_holds: usize,
    told: usize,
}

/// Where a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer has sent `close_notify`, and not all that came before it is answered.
    PeerClosed,
    /// The protocol inside knows that nothing more comes. When it has no more to say, `close_notify` is sent.
    Closing,
    /// Nothing more is sent.
    Over,
}

/// What a call works with.
pub(super) struct Work<'a, P> {
    pub(super) token: Token,
    pub(super) inner: &'a mut P,
    /// What the protocol inside says.
    pub(super) said: &'a mut Output,
    /// Where records are decrypted.
    pub(super) scratch: &'a mut Vec<u8>,
    /// A buffer for decrypted bytes, which connections lend each other.
    pub(super) spare: &'a mut Vec<u8>,
    pub(super) handshakes: &'a Handshakes,
    pub(super) out: &'a mut Output,
    /// How many bytes of `out` are in its schedule, if there is one.
    pub(super) scheduled: usize,
    pub(super) frames: u64,
    /// Why the session failed, if it did.
    pub(super) failed: &'a mut Option<Error>,
}

impl<P: Protocol> Work<'_, P> {
    /// Whether the peer has to read before more is answered. A client's protocol bounds what it sends, and reads on.
    fn is_full(&self) -> bool {
        self.out.is_full() && !self.inner.reads_while_owed()
    }
}

/// How far the decrypted bytes are answered.
enum Answered {
    /// The protocol waits for more.
    Waits,
    /// The output is full.
    Full,
    /// The conversation is at its end.
    Over(Next),
}

impl Conversation {
    pub(super) fn new(session: Session, ends: Ends) -> Self {
        Self {
            session,
            ends: Some(ends),
            plain: Plain::default(),
            echo: 0,
            seen: 0,
            next: Next::Handshake { need: 0 },
            phase: Phase::Open,
            awaits_sent: false,
            awaits_call: false,
            is_scheduled: false,
            is_held_back: false,
            inner_holds: 0,
            told: 0,
        }
    }

    /// Whether it goes on with an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        self.session.is_resumed()
    }

    /// Whether the protocol inside knows of it.
    pub(super) const fn is_open(&self) -> bool {
        self.ends.is_none()
    }

    /// Whether nothing more is sent.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Handles the records in `input`.
    pub(super) fn receive(&mut self, input: &[u8], work: &mut Work<'_, impl Protocol>) -> Received {
        let mut rest = if std::mem::take(&mut self.is_held_back) { &input[1..] } else { input };
        self.plain.borrow(work.spare);
        let answered = self.receive_records(&mut rest, work);
        let (consumed, next) = match answered {
            Err(refusal) => {
                self.discard();
                self.phase = Phase::Over;
                (input.len(), Next::Refuse(refusal))
            }
            Ok(Answered::Over(next)) => (input.len(), next),
            Ok(Answered::Full) if rest.is_empty() => {
                self.is_held_back = true;
                (input.len() - 1, Next::Full)
            }
            Ok(Answered::Full) => (input.len() - rest.len(), Next::Full),
            Ok(Answered::Waits) => (input.len() - rest.len(), self.waits_for(rest)),
        };
        self.finish_call(work);
        Received::answered(consumed, work.frames, next)
    }

    fn receive_records(
        &mut self,
        rest: &mut &[u8],
        work: &mut Work<'_, impl Protocol>,
    ) -> Result<Answered, Refusal> {
        loop {
            match self.answer(work)? {
                Answered::Waits if self.phase == Phase::PeerClosed => {
                    return self.peer_has_closed(work);
                }
                Answered::Waits => {}
                answered => return Ok(answered),
            }
            if self.phase != Phase::Open {
                // Nothing counts behind close_notify.
                *rest = &[];
            }
            let (records, behind) = rest.split_at(record::whole(rest));
            if records.is_empty() {
                return Ok(Answered::Waits);
            }
            if work.is_full() {
                return Ok(Answered::Full);
            }
            *rest = behind;
            let plain = self.plain.appendable(self.next.need());
            let out = work.out.as_mut_vec();
            let received = self.session.receive(records, work.scratch, plain, out);
            let stage = received.map_err(|error| self.has_failed(error, work))?;
            if stage == Stage::PeerClosed {
                self.phase = Phase::PeerClosed;
                *rest = &[];
            }
            if stage != Stage::Handshake
                && let Some(ends) = self.ends.take()
            {
                self.open(&ends, work)?;
            }
        }
    }

    /// TLS has failed with the last records: the alert that tells the peer so is in the output.
    fn has_failed<P>(&self, error: Error, work: &mut Work<'_, P>) -> Refusal {
        let sent = failure::sent(&error, work.out.bytes());
        let and_sent = sent.map(|alert| format!("; sent the alert {alert}")).unwrap_or_default();
        debug!("{}: TLS: {error}{and_sent}", work.token);
        if !self.is_open() {
            work.handshakes.has_failed(failure::of_handshake(&error, sent));
        }
        let refusal = failure::refusal(&error, sent);
        *work.failed = Some(error);
        refusal
    }

    /// The handshake is complete: the protocol inside is told.
    fn open(&mut self, ends: &Ends, work: &mut Work<'_, impl Protocol>) -> Result<(), Refusal> {
        debug!("{}: {}", work.token, self.session.summary());
        work.handshakes.succeeded(self.session.is_resumed());
        let begins_with_handshake = work.inner.begins_with_handshake();
        self.next = if begins_with_handshake { Next::Handshake { need: 0 } } else { Next::Idle };
        work.said.clear();
        let opened = work.inner.opened(work.token, ends, work.said);
        self.pass_on(work)?;
        if opened.is_err() {
            self.close(work);
        }
        opened
    }

    /// Shows the protocol what is decrypted, and encrypts its answers.
    fn answer(&mut self, work: &mut Work<'_, impl Protocol>) -> Result<Answered, Refusal> {
        loop {
            self.seal_echo(work)?;
            if self.echo > 0 {
                return Ok(Answered::Full);
            }
            let length = self.plain.len();
            if self.ends.is_some() || length <= self.seen || length < self.next.need() {
                return Ok(Answered::Waits);
            }
            if work.is_full() {
                return Ok(Answered::Full);
            }
            work.said.clear();
            let received = work.inner.receive(work.token, self.plain.bytes(), self.seen, work.said);
            work.frames += received.frames;
            self.pass_on(work)?;
            if self.phase == Phase::Over {
                return Ok(Answered::Over(Next::Finish));
            }
            if received.echo {
                self.echo = received.consumed;
            } else {
                self.plain.consume(received.consumed);
            }
            let left = length - received.consumed;
            match received.next {
                Next::Full => (self.seen, self.next) = (0, Next::Idle),
                next @ (Next::Finish | Next::Refuse(_)) => {
                    self.seal_all_echo(work)?;
                    self.close(work);
                    return Ok(Answered::Over(next));
                }
                next => (self.seen, self.next) = (left, next),
            }
        }
    }

    /// What the connection waits for, with the start of a record that is not whole.
    fn waits_for(&self, rest: &[u8]) -> Next {
        let need = if rest.is_empty() { 0 } else { record::need(rest) };
        match self.next {
            Next::Idle if need == 0 => Next::Idle,
            Next::Handshake { .. } => Next::Handshake { need },
            _ => Next::Rest { need },
        }
    }

    /// The peer has sent `close_notify`, and all that came before it is answered.
    fn peer_has_closed(&mut self, work: &mut Work<'_, impl Protocol>) -> Result<Answered, Refusal> {
        if self.plain.len() > 0 || matches!(self.next, Next::Rest { .. }) {
            work.out.cut_short();
        }
        self.tell_of_end(work)?;
        Ok(if self.phase == Phase::Over {
            Answered::Over(Next::Finish)
        } else {
            // What the protocol still waits to send comes in a later call.
            self.next = Next::Idle;
            Answered::Waits
        })
    }

    /// Tells the protocol that nothing more comes; ends the conversation unless the protocol has more to send.
    fn tell_of_end(&mut self, work: &mut Work<'_, impl Protocol>) -> Result<(), Refusal> {
        self.phase = Phase::Closing;
        self.plain.clear();
        self.seen = 0;
        work.said.clear();
        if self.is_open() {
            work.inner.half_closed(work.token, work.said);
            self.pass_on(work)?;
        }
        self.close_if_done(work);
        Ok(())
    }

    /// The peer has sent FIN.
    pub(super) fn half_closed(&mut self, work: &mut Work<'_, impl Protocol>) {
        if self.phase == Phase::Open {
            let place = if self.is_open() { "without close_notify" } else { "in the handshake" };
            debug!("{}: the peer closed {place}", work.token);
            work.out.cut_short();
            if !self.is_open() {
                work.handshakes.has_failed(Failure::Silent);
            }
        }
        if matches!(self.phase, Phase::Open | Phase::PeerClosed) && self.seal_all_echo(work).is_ok()
        {
            let _ = self.tell_of_end(work);
        }
        self.finish_call(work);
    }

    /// The server is about to end it.
    pub(super) fn ending(&mut self, cause: Ending, work: &mut Work<'_, impl Protocol>) {
        // The loop has dropped all memory: what would be sent now would stand inside a reply.
        let is_inside_reply = cause == Ending::Memory && self.echo > 0;
        if self.phase != Phase::Over && !self.is_open() {
            work.handshakes.has_failed(Failure::Silent);
        }
        if self.phase != Phase::Over
            && self.is_open()
            && !is_inside_reply
            && self.seal_all_echo(work).is_ok()
        {
            work.said.clear();
            work.inner.ending(work.token, cause, work.said);
            if self.pass_on(work).is_ok() {
                self.close(work);
            }
        }
        self.phase = Phase::Over;
        self.discard();
        self.finish_call(work);
    }

    /// All output is sent.
    pub(super) fn sent(&mut self, work: &mut Work<'_, impl Protocol>) {
        if self.seal_echo(work).is_ok() && self.echo > 0 {
            work.out.call_when_sent();
        } else if std::mem::take(&mut self.awaits_sent) && self.phase != Phase::Over {
            work.said.clear();
            work.inner.sent(work.token, work.said);
            self.go_on(work);
        }
        self.finish_call(work);
    }

    /// It is the time that the protocol has asked for.
    pub(super) fn called(&mut self, work: &mut Work<'_, impl Protocol>) {
        if std::mem::take(&mut self.awaits_call)
            && self.phase != Phase::Over
            && self.seal_all_echo(work).is_ok()
        {
            work.said.clear();
            work.inner.called(work.token, work.said);
            self.go_on(work);
        }
        self.finish_call(work);
    }

    /// The program has put its own bytes into the output.
    pub(super) fn spoken(&mut self, work: &mut Work<'_, impl Protocol>) {
        work.said.clear();
        std::mem::swap(&mut work.said.bytes, &mut work.out.bytes);
        std::mem::swap(&mut work.said.requests, &mut work.out.requests);
        work.scheduled = 0;
        if self.is_open() && self.phase != Phase::Over {
            if self.seal_all_echo(work).is_ok() {
                self.go_on(work);
            }
        } else {
            debug!("{}: {} B are not sent: TLS is not open", work.token, work.said.bytes().len());
            work.said.clear();
        }
        self.finish_call(work);
    }

    /// Sends what the protocol has said, and `close_notify` if it was the last.
    fn go_on(&mut self, work: &mut Work<'_, impl Protocol>) {
        if self.pass_on(work).is_err() {
            return work.out.finish();
        }
        if self.phase == Phase::Closing && self.close_if_done(work) {
            work.out.finish();
        }
    }

    /// Encrypts bytes that go back until the output is full.
    fn seal_echo<P>(&mut self, work: &mut Work<'_, P>) -> Result<(), Refusal> {
        while self.echo > 0 && !work.out.is_full() {
            self.seal_some_echo(work)?;
        }
        Ok(())
    }

    /// Encrypts all bytes that go back.
    fn seal_all_echo<P>(&mut self, work: &mut Work<'_, P>) -> Result<(), Refusal> {
        while self.echo > 0 {
            self.seal_some_echo(work)?;
        }
        Ok(())
    }

    fn seal_some_echo<P>(&mut self, work: &mut Work<'_, P>) -> Result<(), Refusal> {
        let length = self.echo.min(SEALED_AT_ONCE);
        seal(&mut self.session, &self.plain.bytes()[..length], work)?;
        self.plain.consume(length);
        self.echo -= length;
        Ok(())
    }

    /// Encrypts what the protocol has said, and passes on what it has asked for.
    fn pass_on<P>(&mut self, work: &mut Work<'_, P>) -> Result<(), Refusal> {
        let mut steps = Vec::new();
        let mut is_to_finish = false;
        if let Some(requests) = work.said.take_requests() {
            steps = requests.steps;
            is_to_finish = requests.finish;
            if let Some(peer) = requests.peer {
                work.out.introduce(peer);
            }
            if requests.call_when_sent {
                self.awaits_sent = true;
                work.out.call_when_sent();
            }
            if let Some(delay) = requests.call_after {
                self.awaits_call = true;
                work.out.call_after(delay);
            }
            if requests.cut_short {
                work.out.cut_short();
            }
            self.inner_holds = requests.hold.unwrap_or(self.inner_holds);
        }
        let said = std::mem::take(work.said.as_mut_vec());
        let sealed = self.seal_in_steps(&said, steps, work);
        *work.said.as_mut_vec() = said;
        if work.said.is_oversized() {
            work.said.trim();
        }
        work.said.clear();
        sealed?;
        if is_to_finish {
            self.close(work);
            work.out.finish();
        }
        Ok(())
    }

    /// Encrypts `said`. Where it has a schedule, each step sends the records with its bytes.
    fn seal_in_steps<P>(
        &mut self,
        mut said: &[u8],
        steps: Vec<Step>,
        work: &mut Work<'_, P>,
    ) -> Result<(), Refusal> {
        if !steps.is_empty() {
            self.is_scheduled = true;
            schedule(Pieces::Any, work);
        }
        for step in steps {
            match step {
                Step::Send { bytes, pieces } => {
                    let (now, later) = said.split_at(bytes.min(said.len()));
                    seal(&mut self.session, now, work)?;
                    schedule(pieces, work);
                    said = later;
                }
                other => work.out.step(other),
            }
        }
        seal(&mut self.session, said, work)
    }

    /// The peer has closed: sends `close_notify` and ends the conversation, unless the protocol has more to send later.
    /// Returns whether it is over.
    fn close_if_done<P>(&mut self, work: &mut Work<'_, P>) -> bool {
        if !self.awaits_sent && !self.awaits_call {
            self.close(work);
            work.out.peer_closed();
        }
        self.phase == Phase::Over
    }

    /// Sends `close_notify`: nothing follows it.
    fn close<P>(&mut self, work: &mut Work<'_, P>) {
        if self.phase != Phase::Over && self.is_open() {
            // It fails only where nothing can be encrypted any more.
            let _ = self.session.close_notify(work.out.as_mut_vec());
        }
        self.phase = Phase::Over;
        self.discard();
    }

    fn discard(&mut self) {
        self.plain.clear();
        (self.echo, self.seen) = (0, 0);
    }

    /// Ends a call: gives memory back, tells the loop of what is left, and completes the schedule.
    fn finish_call<P>(&mut self, work: &mut Work<'_, P>) {
        if self.is_scheduled {
            schedule(Pieces::Any, work);
        }
        self.plain.give_back(work.spare);
        let handshake = if self.ends.is_some() { HANDSHAKE_MEMORY } else { 0 };
        let buffers = self.plain.capacity() + self.session.capacity();
        let holds = match self.phase {
            Phase::Over => 0,
            _ => buffers + self.inner_holds + handshake,
        };
        if holds != self.told {
            self.told = holds;
            work.out.hold(holds);
        }
    }
}

/// Encrypts `plain`.
fn seal<P>(session: &mut Session, plain: &[u8], work: &mut Work<'_, P>) -> Result<(), Refusal> {
    if plain.is_empty() {
        return Ok(());
    }
    session.seal(plain, work.out.as_mut_vec()).map_err(|error| {
        debug!("{}: TLS: {error}", work.token);
        let refusal = failure::refusal(&error, None);
        *work.failed = Some(error);
        refusal
    })
}

/// Adds a step for the bytes that are in no step yet.
fn schedule<P>(pieces: Pieces, work: &mut Work<'_, P>) {
    let bytes = work.out.bytes().len() - work.scheduled;
    if bytes > 0 {
        work.scheduled += bytes;
        work.out.step(Step::Send { bytes, pieces });
    }
}
