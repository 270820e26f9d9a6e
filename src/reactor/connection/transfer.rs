//! A connection that leaves its loop with all that it has, and one that goes on in another loop.

use super::{Connection, State, shared::Shared};
use crate::{
    Begun, ConnectionState, Reason, Record, Token, reactor::deadlines::Wait, reactor::net::Stream,
};

impl State {
    const fn of(record: &Record) -> Self {
        let reason = match record.ended_for {
            Some(reason) => reason,
            None => Reason::Finished,
        };
        match record.state {
            ConnectionState::Open | ConnectionState::Connecting => Self::Open(record.begun),
            ConnectionState::HalfClosed => Self::HalfClosed,
            ConnectionState::Finishing => Self::Finishing(reason),
            ConnectionState::Lingering => Self::Lingering(reason),
        }
    }
}

impl<S: Stream> Connection<S> {
    /// Takes it apart: its stream, and what it knows of itself. Deadlines, age, peer and what the protocol remembers are
    /// the dispatcher's to add. Its memory goes back to the pool.
    pub(in crate::reactor) fn release(mut self, token: Token, shared: &mut Shared) -> (S, Record) {
        let mut record = Record {
            state: self.state(),
            begun: match self.state {
                State::Open(begun) => begun,
                _ => Begun::Nothing,
            },
            ended_for: self.ended_for(),
            received: self.received,
            sent: self.sent,
            frames: self.frames,
            ..Record::default()
        };
        if let Some(pending) = &mut self.pending {
            record.held = pending.input.bytes().to_vec();
            record.owed = pending.output.bytes().to_vec();
            record.seen = pending.seen;
            record.need = pending.need;
            record.is_stopped = pending.stopped;
            record.call_when_sent = pending.call_when_sent;
        }
        self.forget(token, shared);
        (self.stream, record)
    }

    /// A connection that was [released](Self::release) with `record`, whose bytes it takes.
    pub(in crate::reactor) fn adopted(
        stream: S,
        generation: u32,
        service: u8,
        record: &Record,
        shared: &mut Shared,
    ) -> Self {
        let mut connection = Self::new(stream, generation, service, State::of(record));
        (connection.received, connection.sent) = (record.received, record.sent);
        connection.frames = record.frames;
        let held = if connection.is_open() { &record.held[..] } else { &[] };
        if !held.is_empty() || !record.owed.is_empty() || record.call_when_sent {
            let mut pending = shared.spare.take();
            shared.pool.append(&mut pending.input, held, 0);
            shared.pool.append(&mut pending.output, &record.owed, 0);
            pending.seen = record.seen.min(held.len());
            pending.need = record.need;
            pending.stopped = record.is_stopped && !held.is_empty();
            pending.call_when_sent = record.call_when_sent;
            connection.pending = Some(pending);
        }
        connection
    }

    /// What it waits for before its first turn in this loop.
    pub(in crate::reactor) fn waits_for_first(&self) -> Option<Wait> {
        self.waits_for(self.progress()).0
    }
}
