//! Stopping: accept no more, answer what was received, say goodbye, and cut off those who will not let go.

use std::mem;

use log::{info, warn};

use super::{Dispatcher, LAST_ACCEPT_BATCHES, Phase};
use crate::{
    Reason, Token,
    plural::connections,
    protocol::{Ending, Protocol},
    reactor::listening,
    reactor::net::{Net, Readiness},
};

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Stops accepting and finishes with everyone: whole frames that have come are answered, then the
    /// connection is closed. Those not finished after the grace time are cut off.
    pub fn stop(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        info!("stopping: {} to finish with", connections(self.connections.len()));
        for index in 0..self.doors.len() {
            // Closing a listener resets those in its backlog, who have been told that they are connected.
            for _ in 0..LAST_ACCEPT_BATCHES {
                self.accept(index);
                if self.doors[index].state != listening::State::Queued {
                    break;
                }
            }
            self.doors[index].listener = None;
        }
        let until = self.net.now().saturating_add(self.config.grace);
        self.phase = Phase::Draining { until };
        self.last_call = Some(until.saturating_sub(self.config.linger.min(self.config.grace / 2)));
        self.shared.draining = true;
        for (key, connection) in &mut self.connections {
            if !mem::replace(&mut connection.queued, true) {
                self.run_queue.push_back(connection.token(key));
            }
        }
        self.stop_if_done();
    }

    /// Ends everyone who is in the middle of something or sends without a pause: in good order, as long as there
    /// is time for that.
    pub(super) fn call_last(&mut self) {
        self.last_call = None;
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        let tokens: Vec<Token> = open.map(|(key, connection)| connection.token(key)).collect();
        warn!("the grace time is nearly over: ending {}", connections(tokens.len()));
        for token in tokens {
            self.with(token, |connection, protocol, scratch, shared| {
                connection.end(Reason::CutOff, Ending::Stopping, token, protocol, shared);
                connection.turn(token, Readiness::ALL, protocol, scratch, shared)
            });
        }
    }

    pub(super) fn cut_off(&mut self) {
        let all = self.connections.iter();
        let tokens: Vec<Token> = all.map(|(key, connection)| connection.token(key)).collect();
        warn!("the grace time is over: cutting off {}", connections(tokens.len()));
        for token in tokens {
            self.remove(token, Reason::CutOff);
        }
    }

    pub(super) fn stop_if_done(&mut self) {
        if self.phase != Phase::Running && self.connections.is_empty() {
            self.phase = Phase::Stopped;
        }
    }
}
