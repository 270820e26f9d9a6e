//! Output: sends replies without copying them, and keeps what the kernel does not take.

use std::io::{self, ErrorKind, IoSlice, Write};

use super::{
    Connection, Outcome,
    shared::{Context, MOST_AT_ONCE},
};
use crate::{
    Reason, Token,
    memory::{Buffer, Pool},
    protocol::{Output, Protocol, Received},
    reactor::{
        events::{Doing, Event, Events},
        net::Stream,
        round::MANY_BYTES,
    },
};

/// The replies to one batch of input, in the order in which they leave: output up to `split`, the echo of what was
/// held, the output behind `split`, the echo of what is fresh.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Replies<'a> {
    pub(super) split: usize,
    pub(super) held: Held,
    pub(super) fresh: &'a [u8],
}

/// How much of the held input is answered, and how much of that is echoed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    consumed: usize,
    echo: usize,
}

impl Held {
    pub(super) const fn of(received: Received) -> Self {
        let Received { consumed, echo, .. } = received;
        Self { consumed, echo: if echo { consumed } else { 0 } }
    }
}

impl<S: Stream> Connection<S> {
    /// Sends what `say` appends to the output, after what is still to be sent.
    pub(super) fn say<P: Protocol>(
        &mut self,
        cx: &mut Context<'_, P>,
        say: impl FnOnce(&mut P, Token, &mut Output),
    ) -> Outcome {
        cx.shared.output.clear();
        say(cx.protocol, cx.token, &mut cx.shared.output);
        self.note_requests(cx.shared);
        self.send_output(cx)
    }

    /// Sends what is in the output, after what is still to be sent, and ends the connection if it was refused meanwhile.
    pub(super) fn send_output(&mut self, cx: &mut Context<'_, impl Protocol>) -> Outcome {
        let is_ended = self.ended_for().is_some();
        if is_ended {
            self.end_input(self.state);
        }
        let sent = self.send(Replies::default(), cx);
        self.return_memory(cx.token, cx.shared);
        match sent {
            Ok(()) if self.wants_turn() || is_ended || self.is_ready_to_send() => {
                Outcome::Again { more_behind: true }
            }
            Ok(()) => Outcome::Wait,
            Err(reason) => Outcome::Closed(reason),
        }
    }

    /// Sends replies, behind what is owed. What the kernel does not take is owed.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        replies: Replies<'_>,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        if self.pending.is_some() || !cx.shared.output.bytes().is_empty() {
            return self.send_parts(replies, cx);
        }
        // Nearly always there is nothing but fresh input.
        let taken = match write(&mut self.stream, &cx.shared.events, cx.token, replies.fresh) {
            Ok(taken) => taken,
            Err(error) => return Err(self.lost(cx, Doing::Write, &error)),
        };
        self.count_sent(taken, cx);
        if taken < replies.fresh.len() {
            let pending = self.pending.insert(cx.shared.spare.take());
            cx.shared.pool.append(&mut pending.output, &replies.fresh[taken..], 0);
        }
        Ok(())
    }

    #[inline(never)]
    fn send_parts(
        &mut self,
        replies: Replies<'_>,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        let Replies { split, held, fresh } = replies;
        let shared = &mut *cx.shared;
        let (before, after) = shared.output.bytes().split_at(split);
        let held_echo =
            self.pending.as_ref().map_or(&[][..], |pending| &pending.input.bytes()[..held.echo]);
        let parts = [before, held_echo, after, fresh];
        let all = parts.iter().map(|part| part.len()).sum();
        let offered = usize::min(all, MOST_AT_ONCE);
        let is_scheduled = self.pending.as_ref().is_some_and(|pending| pending.schedule.is_some());
        let owes = self.owes();
        let taken = if owes {
            // Even if there is room by now; or it leaves as its schedule says.
            0
        } else {
            match write_parts(&mut self.stream, &shared.events, cx.token, parts, offered) {
                Ok(taken) => taken,
                Err(error) => return Err(self.lost(cx, Doing::Write, &error)),
            }
        };
        if taken < all || held.consumed > 0 {
            let pending = self.pending.get_or_insert_with(|| shared.spare.take());
            let (input, output) = (&mut pending.input, &mut pending.output);
            settle(input, output, taken, [before, after, fresh], held, &mut shared.pool);
        }
        if let Some(pending) = &mut self.pending {
            pending.is_unanswered &= taken == 0;
            if !owes {
                pending.is_cut = taken == offered;
            }
        }
        self.count_sent(taken, cx);
        if taken >= MANY_BYTES {
            self.wait_in_line(taken, cx.shared);
        }
        if is_scheduled {
            self.follow_schedule(cx)?;
        }
        Ok(())
    }

    /// Writes what is owed. Returns whether all of it was written.
    #[inline(never)]
    pub(super) fn flush(&mut self, cx: &mut Context<'_, impl Protocol>) -> Result<bool, Reason> {
        let Some(pending) = &mut self.pending else {
            return Ok(true);
        };
        if pending.schedule.is_some() {
            return self.follow_schedule(cx);
        }
        let owed = pending.output.bytes();
        let offered = &owed[..owed.len().min(MOST_AT_ONCE)];
        let taken = match write(&mut self.stream, &cx.shared.events, cx.token, offered) {
            Ok(taken) => taken,
            Err(error) => return Err(self.lost(cx, Doing::Write, &error)),
        };
        pending.is_cut = taken == offered.len();
        pending.output.consume(taken);
        pending.is_unanswered &= taken == 0;
        let all_sent = pending.output.is_empty();
        self.count_sent(taken, cx);
        if taken >= MANY_BYTES {
            self.wait_in_line(taken, cx.shared);
        }
        Ok(all_sent)
    }

    #[inline(always)]
    pub(super) fn count_sent<P>(&mut self, bytes: usize, cx: &Context<'_, P>) {
        self.sent += bytes as u64;
        cx.counts.sent.add(bytes as u64);
    }
}

/// Consumes what was answered of `input`, and makes what was not `taken` of the replies the output.
fn settle(
    input: &mut Buffer,
    output: &mut Buffer,
    mut taken: usize,
    [before, after, fresh]: [&[u8]; 3],
    held: Held,
    pool: &mut Pool,
) {
    let mut skip_taken = |length: usize| {
        let skipped = length.min(taken);
        taken -= skipped;
        skipped
    };
    pool.append(output, &before[skip_taken(before.len())..], 0);
    let held_taken = skip_taken(held.echo);
    if held_taken == held.echo {
        input.consume(held.consumed);
    } else if held.consumed == input.len() && output.is_empty() {
        // A long frame that was read behind its beginning is sent from there, without a copy.
        std::mem::swap(input, output);
        output.consume(held_taken);
    } else {
        pool.append(output, &input.bytes()[held_taken..held.echo], 0);
        input.consume(held.consumed);
    }
    pool.append(output, &after[skip_taken(after.len())..], 0);
    pool.append(output, &fresh[skip_taken(fresh.len())..], 0);
}

/// Writes `bytes` until all are written or the kernel takes no more. Returns how many were written.
#[inline(always)]
fn write(
    stream: &mut impl Write,
    events: &Events,
    token: Token,
    bytes: &[u8],
) -> io::Result<usize> {
    until_taken(events, token, bytes.len(), |taken| stream.write(&bytes[taken..]))
}

/// As [`write`], the first `all` bytes of `parts` in order.
fn write_parts(
    stream: &mut impl Write,
    events: &Events,
    token: Token,
    parts: [&[u8]; 4],
    all: usize,
) -> io::Result<usize> {
    let mut with_bytes = parts.iter().filter(|part| !part.is_empty());
    if let (Some(only), None) = (with_bytes.next(), with_bytes.next()) {
        // Nearly always. The kernel takes one piece with less work than a list of one.
        return write(stream, events, token, &only[..all]);
    }
    until_taken(events, token, all, |taken| stream.write_vectored(&between(taken, all, parts)))
}

/// Calls `write` with how much is `taken` until that is `all`, or until it would block.
///
/// It stops on `WouldBlock` only, never on a short write: only then a writable event will follow.
#[inline(always)]
fn until_taken(
    events: &Events,
    token: Token,
    all: usize,
    mut write: impl FnMut(usize) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut taken = 0;
    while taken < all {
        match write(taken) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                events.emit(token, || wrote(bytes, all - taken));
                taken += bytes;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                events.emit(token, || Event::WriteBlocked { left: (all - taken) as u64 });
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// The kernel has taken `bytes` of the `offered` ones.
pub(super) fn wrote(bytes: usize, offered: usize) -> Event {
    Event::Wrote { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), of: offered as u64 }
}

/// The first `all` bytes of `parts` without the first `taken` ones. Slices that are written are empty.
fn between(mut taken: usize, mut all: usize, parts: [&[u8]; 4]) -> [IoSlice<'_>; 4] {
    parts.map(|part| {
        let part = &part[..part.len().min(all)];
        all -= part.len();
        let skipped = taken.min(part.len());
        taken -= skipped;
        IoSlice::new(&part[skipped..])
    })
}
