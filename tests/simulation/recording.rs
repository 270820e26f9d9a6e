//! What a loop records must be what it does: compared with its counters and with its state after every step.

use std::{collections::HashMap, sync::Arc, time::Instant};

use resound::{Event, Recorded, Recorder, Token, inspect::Inspection};

use super::{budget::Moved, world::World};

/// Events that are kept: more than one step has.
const LENGTH: usize = 1 << 20;

/// What the events say so far.
#[derive(Debug)]
pub(crate) struct Recording {
    recorder: Arc<Recorder>,
    next: u64,
    /// Connections, and the bytes that they held and owed at the end of their last turn.
    open: HashMap<Token, Option<[u64; 2]>>,
    /// Whose turn it is, once it has done something.
    turn: Option<Token>,
    opened: u64,
    adopted: u64,
    closed: u64,
    frames: u64,
    received: u64,
    sent: u64,
    moved: Moved,
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self {
            recorder: Arc::new(Recorder::new(Instant::now(), LENGTH)),
            next: 0,
            open: HashMap::new(),
            turn: None,
            opened: 0,
            adopted: 0,
            closed: 0,
            frames: 0,
            received: 0,
            sent: 0,
            moved: Moved::default(),
        }
    }

    pub(crate) fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.recorder)
    }

    /// Takes the events of a step, and checks them.
    pub(crate) fn check(&mut self, world: &World) {
        for one in self.recorder.read(self.next) {
            assert_eq!(one.number, self.next, "events are lost");
            self.next += 1;
            self.add(&one);
        }
        assert_eq!(self.turn, None, "a turn has no end");
        let inspection = world.dispatcher.inspect();
        self.check_counts(world);
        self.check_connections(&inspection);
    }

    fn add(&mut self, one: &Recorded) {
        self.moved.add(one);
        let token = one.token;
        let is_connection = token.generation() > 0;
        match one.event {
            Event::Opened { .. } => {
                self.opened += 1;
                assert!(self.open.insert(token, None).is_none(), "{one:?} is open already");
                return;
            }
            Event::Adopted { .. } => {
                self.adopted += 1;
                assert!(self.open.insert(token, None).is_none(), "{one:?} is open already");
                return;
            }
            Event::Closed { .. } => {
                self.closed += 1;
                assert!(self.open.remove(&token).is_some(), "{one:?} is not open");
                self.turn.take_if(|turn| *turn == token);
                return;
            }
            // They may be about a connection that is gone.
            Event::Ready(_) | Event::Polled { .. } | Event::Commanded { .. } => {}
            _ if is_connection => assert!(self.open.contains_key(&token), "{one:?} is not open"),
            _ => {}
        }
        let is_of_a_turn = matches!(
            one.event,
            Event::Read { .. }
                | Event::ReadEof
                | Event::ReadBlocked
                | Event::Answered { .. }
                | Event::Wrote { .. }
                | Event::WriteBlocked { .. }
                | Event::Acknowledged
                | Event::BudgetSpent
                | Event::FinSent
        );
        if is_of_a_turn {
            assert_eq!(*self.turn.get_or_insert(token), token, "{one:?} in the turn of another");
        }
        match one.event {
            Event::Read { bytes, .. } | Event::Datagram { bytes, .. } => {
                self.received += u64::from(bytes);
            }
            Event::Answered { frames, .. } => self.frames += frames,
            Event::Wrote { bytes, of } => {
                assert!(u64::from(bytes) <= of, "{one:?}");
                self.sent += u64::from(bytes);
            }
            Event::DatagramSent { bytes } => {
                self.sent += u64::from(bytes);
                self.frames += 1;
            }
            Event::TurnEnded { held, owed, .. } if is_connection => {
                assert!(self.turn.take().is_none_or(|turn| turn == token), "{one:?}");
                self.open.insert(token, Some([held, owed]));
            }
            _ => {}
        }
    }

    fn check_counts(&self, world: &World) {
        let stats = world.dispatcher.stats().total();
        let counted = [&stats.opened, &stats.adopted, &stats.frames, &stats.received, &stats.sent];
        let recorded = [self.opened, self.adopted, self.frames, self.received, self.sent];
        assert_eq!(counted.map(resound::Counter::value), recorded);
        let open = self.opened + self.adopted - self.closed;
        assert_eq!(stats.open.value(), open, "connections that are open");
    }

    fn check_connections(&self, inspection: &Inspection) {
        assert_eq!(inspection.connections.len(), self.open.len());
        for connection in &inspection.connections {
            let last = self.open[&connection.token];
            // A connection that was ended for its memory, or adopted, has a turn to come.
            if let (Some(last), false) = (last, connection.queued) {
                let now = [connection.held as u64, connection.owed as u64];
                assert_eq!(last, now, "{connection:?}");
            }
        }
    }
}
