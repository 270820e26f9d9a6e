//! Draining: accepts the connections in the backlog and then no more, answers what was received, ends the connections
//! in order, and closes the unfinished ones when the grace time is over. All of it happens in slices.

use std::time::Duration;

use log::{info, warn};

use super::Dispatcher;
use crate::{
    Reason, Token,
    plural::connections,
    protocol::{Ending, Protocol},
    reactor::{
        net::{Net, Readiness},
        service::Accepting,
    },
};

/// How many connections are handled between two polls.
const SLICE: usize = 256;

/// Batches that each listener still accepts when the reactor stops: a full backlog of the largest usual size. As many
/// turns are left for each UDP socket.
const LAST_BATCHES: usize = 64;

/// Whether the reactor is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    NotBegun,
    /// Until this time at most, on the clock of [`Net::now`]: then the grace time is over.
    Until(Duration),
    /// No connection is left, and it accepts none.
    Finished,
}

/// What is done to one listener or connection after the other, nearly always for a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sweep {
    /// Accepting what waits at each listener, and closing the listeners: a listener that closes resets the connections in
    /// its backlog, whose peers have been told that they are connected. Also answering the datagrams that have come.
    Backlog { batches_left: usize },
    /// Closing the connections with no partial frame and nothing left to send, from this slab key on.
    LetGo { next: usize },
    /// Ending the others in order shortly before the grace time is over.
    LastCall { next: usize },
    /// Closing the remaining connections when the grace time is over.
    CutOff { next: usize },
    /// Before a drain: arming deadlines for which there was no limit before.
    Arm { next: usize },
}

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Stops accepting and finishes all connections: whole frames that have come are answered, then the connection is
    /// closed. Those not finished after the grace time are closed then.
    pub fn stop(&mut self) {
        if self.drain != Drain::NotBegun {
            return;
        }
        info!("stopping: {} to finish", connections(self.connections.len()));
        let end = self.net.now().saturating_add(self.config.grace);
        self.drain = Drain::Until(end);
        self.last_call = Some(end.saturating_sub(self.config.linger.min(self.config.grace / 2)));
        self.shared.draining = true;
        self.leave_inherited_listeners();
        self.sweep = Some(Sweep::Backlog { batches_left: LAST_BATCHES });
        self.queue_datagrams();
    }

    /// Accepts nothing more where another process has the listener open too: what waits there is that one's to serve.
    fn leave_inherited_listeners(&mut self) {
        for service in &mut self.services {
            if service.listener.as_ref().is_some_and(|listener| self.net.is_inherited(listener)) {
                service.accepting = Accepting::OnEvent;
                service.close_listener(&mut self.net);
            }
        }
    }

    /// Does the next slice.
    pub(super) fn sweep_on(&mut self) {
        self.sweep = match self.sweep {
            Some(Sweep::Backlog { batches_left }) => self.accept_last(batches_left),
            Some(Sweep::LetGo { next }) => self
                .for_slice(next, |dispatcher, token| dispatcher.turn(token, Readiness::ALL))
                .map(|next| Sweep::LetGo { next }),
            Some(Sweep::LastCall { next }) => {
                self.for_slice(next, Self::end_at_last_call).map(|next| Sweep::LastCall { next })
            }
            Some(Sweep::CutOff { next }) => self
                .for_slice(next, |dispatcher, token| dispatcher.remove(token, Reason::CutOff))
                .map(|next| Sweep::CutOff { next }),
            Some(Sweep::Arm { next }) => {
                self.for_slice(next, Self::arm).map(|next| Sweep::Arm { next })
            }
            None => None,
        };
        self.stop_if_done();
    }

    /// Accepts another batch at each listener, and closes those at which no connection waits any more. UDP sockets have
    /// their turns in the same rounds, on the run queue.
    fn accept_last(&mut self, batches_left: usize) -> Option<Sweep> {
        for index in 0..self.services.len() {
            if self.services[index].accepting == Accepting::OnEvent {
                self.accept(index);
            }
            let service = &mut self.services[index];
            if batches_left == 0 || service.accepting != Accepting::Queued {
                service.accepting = Accepting::OnEvent;
                service.close_listener(&mut self.net);
            }
        }
        let is_accepting = self.services.iter().any(|service| service.listener.is_some());
        let is_answering = self.is_answering_datagrams() && batches_left > 0;
        Some(if is_accepting || is_answering {
            Sweep::Backlog { batches_left: batches_left.saturating_sub(1) }
        } else {
            Sweep::LetGo { next: 0 }
        })
    }

    /// Calls `act` for each connection in the slice from slab key `next` on. Returns where the next slice begins, if
    /// there is one.
    fn for_slice(&mut self, next: usize, act: impl Fn(&mut Self, Token)) -> Option<usize> {
        let end = (next + SLICE).min(self.connections.capacity());
        for key in next..end {
            if let Some(connection) = self.connections.get(key) {
                act(self, connection.token(key));
            }
        }
        (end < self.connections.capacity()).then_some(end)
    }

    /// Ends the connections that have a partial frame, or whose peers send without a pause, while there is time to do it
    /// in order.
    pub(super) fn call_last(&mut self) {
        self.last_call = None;
        warn!("the grace time is nearly over: ending {}", connections(self.connections.len()));
        self.sweep = Some(Sweep::LastCall { next: 0 });
    }

    fn end_at_last_call(&mut self, token: Token) {
        self.visit(token, |connection, scratch, cx| {
            if connection.is_open() {
                connection.end(Reason::CutOff, Ending::Stopping, cx);
            }
            connection.turn_without_event(scratch, cx)
        });
    }

    pub(super) fn begin_cut_off(&mut self) {
        self.last_call = None;
        warn!("the grace time is over: closing {}", connections(self.connections.len()));
        self.close_listeners();
        self.sweep = Some(Sweep::CutOff { next: 0 });
    }

    fn close_listeners(&mut self) {
        for service in &mut self.services {
            service.close_listener(&mut self.net);
        }
    }

    pub(super) fn stop_if_done(&mut self) {
        let is_accepting = matches!(self.sweep, Some(Sweep::Backlog { .. }));
        if self.drain != Drain::NotBegun && !is_accepting && self.connections.is_empty() {
            self.drain = Drain::Finished;
            self.sweep = None;
        }
    }
}
