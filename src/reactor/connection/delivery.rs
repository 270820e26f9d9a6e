//! Output with a schedule: carries out the steps that a protocol has put beside its bytes.
//!
//! A connection with a schedule owes output, so it does not read. It waits for its timer, which the dispatcher keeps
//! ([`News::send_after`](super::shared::News)), or for room in the kernel. One without a schedule never gets here.

use std::{io::ErrorKind, time::Duration};

use super::{
    Connection, State,
    output::wrote,
    schedule::Progress,
    shared::{Context, MOST_AT_ONCE, Shared},
};
use crate::{
    Reason,
    protocol::{Protocol, schedule::Step},
    reactor::{
        events::{Doing, Event},
        net::Stream,
    },
};

/// How many pieces one turn sends. Then other connections get their turns.
const PIECES_PER_TURN: usize = 64;

/// How often a connection that is to be reset looks whether the peer has acknowledged everything.
const ACKNOWLEDGED_POLL: Duration = Duration::from_millis(1);

impl<S: Stream> Connection<S> {
    /// The timer has run out.
    pub(in crate::reactor) fn wake_schedule(&mut self) {
        if let Some(schedule) = self.pending.as_mut().and_then(|pending| pending.schedule.as_mut())
            && schedule.state == Progress::Armed
        {
            schedule.state = Progress::Ready;
            if matches!(schedule.steps.front(), Some(Step::Wait(_))) {
                schedule.steps.pop_front();
            }
        }
    }

    /// Forgets a schedule that waits for ever, and what is owed: the connection goes on, to its end.
    pub(super) fn release_held(&mut self) {
        if let Some(pending) = &mut self.pending
            && pending.schedule.as_ref().is_some_and(|schedule| schedule.state == Progress::Held)
        {
            pending.schedule = None;
            pending.output.clear();
        }
    }

    /// Carries out steps until one waits. Returns whether none is left, and nothing is owed.
    #[cold]
    pub(super) fn follow_schedule(
        &mut self,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<bool, Reason> {
        let mut left = PIECES_PER_TURN;
        let mut written = 0;
        loop {
            let Some(pending) = &mut self.pending else { return Ok(true) };
            let Some(schedule) = &mut pending.schedule else { return self.flush(cx) };
            if schedule.state == Progress::Armed {
                return Ok(false);
            }
            schedule.state = Progress::Ready;
            let Some(step) = schedule.steps.front_mut() else {
                pending.schedule = None;
                continue;
            };
            match step {
                Step::Send { bytes: 0, .. } => drop(schedule.steps.pop_front()),
                Step::Send { .. } if left == 0 || written >= MOST_AT_ONCE => return Ok(false),
                Step::Send { bytes, pieces } => {
                    left -= 1;
                    let (length, pause) = pieces.next(*bytes);
                    let piece = &pending.output.bytes()[..length.min(pending.output.len())];
                    let is_sliced = length < *bytes || pause > Duration::ZERO;
                    let result = match is_sliced {
                        true => self.stream.write_segment(piece),
                        false => self.stream.write(&piece[..piece.len().min(MOST_AT_ONCE)]),
                    };
                    let taken = match result {
                        Ok(0) => {
                            return Err(self.lost(cx, Doing::Write, &ErrorKind::WriteZero.into()));
                        }
                        Ok(taken) => taken,
                        Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            let left = *bytes as u64;
                            cx.shared.events.emit(cx.token, || Event::WriteBlocked { left });
                            schedule.state = Progress::Blocked;
                            return Ok(false);
                        }
                        Err(error) => return Err(self.lost(cx, Doing::Write, &error)),
                    };
                    cx.shared.events.emit(cx.token, || wrote(taken, *bytes));
                    *bytes -= taken;
                    written += taken;
                    if pause > Duration::ZERO {
                        schedule.steps.push_front(Step::Wait(pause));
                    }
                    pending.output.consume(taken);
                    pending.is_unanswered = false;
                    self.count_sent(taken, cx);
                }
                Step::Wait(time) => {
                    let time = *time;
                    return Ok(self.wait_for_timer(time, cx.shared));
                }
                Step::Lose(share) => {
                    if let Err(error) = self.stream.lose(*share) {
                        return Err(self.lost(cx, Doing::AttachFilter, &error));
                    }
                    schedule.steps.pop_front();
                }
                Step::Hold => {
                    schedule.state = Progress::Held;
                    if !self.stream.peer_has_closed() && !cx.shared.draining {
                        return Ok(false);
                    }
                    self.release_held();
                }
                Step::Finish => {
                    pending.schedule = None;
                    pending.output.clear();
                    if self.ended_for().is_none() {
                        self.end_input(State::Finishing(Reason::Fault));
                    }
                }
                Step::Reset => match self.stream.unacknowledged() {
                    Ok(bytes) if bytes > 0 => {
                        return Ok(self.wait_for_timer(ACKNOWLEDGED_POLL, cx.shared));
                    }
                    acknowledged => {
                        let reset = acknowledged.and_then(|_| self.stream.reset_on_close());
                        if let Err(error) = reset {
                            return Err(self.lost(cx, Doing::Reset, &error));
                        }
                        return Err(Reason::Fault);
                    }
                },
            }
        }
    }

    /// Asks for the timer. Returns false: the schedule is not done.
    fn wait_for_timer(&mut self, time: Duration, shared: &mut Shared) -> bool {
        if let Some(schedule) = self.pending.as_mut().and_then(|pending| pending.schedule.as_mut())
        {
            schedule.state = Progress::Armed;
        }
        shared.news.tell(|news| news.send_after = Some(time));
        false
    }
}
