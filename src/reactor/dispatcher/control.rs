//! What other threads ask of the loop ([`Commands`]), done between two turns.

use std::time::Duration;

use super::{Dispatcher, KnownPeer, drain::Drain};
use crate::{
    Token,
    control::{
        command::{self, Command, ConnectionInfo, ListenerInfo, PAGE, Page, Summary, WaitsFor},
        handle::{Commands, QUEUE},
    },
    protocol::Protocol,
    reactor::{
        connection::Connection,
        events::Event,
        net::{Net, Stream},
        service::Accepting,
    },
};

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Executes the commands that wait, up to a queue's worth. If there may be more, it asks to be called again.
    pub fn execute(&mut self, commands: &Commands) {
        let mut executed = 0;
        while executed < QUEUE
            && let Some(command) = commands.next()
        {
            self.execute_one(command);
            executed += 1;
        }
        if executed > 0 {
            let commands = u32::try_from(executed).unwrap_or(u32::MAX);
            self.shared.events.emit(Token::new(0, 0), || Event::Commanded { commands });
        }
        if executed == QUEUE {
            commands.wake();
        }
    }

    fn execute_one(&mut self, command: Command) {
        log::trace!("command: {command:?}");
        match command {
            Command::Summarize(reply) => reply.send(self.summary()),
            Command::List { from, reply } => reply.send(self.page(from)),
            Command::LookUp { tokens, reply } => {
                reply.send(tokens.into_iter().filter_map(|token| self.look_up(token)).collect());
            }
            Command::Close { token, reply } => reply.send(self.close(token)),
            Command::Change { changes, reply } => reply.send(self.change(&changes)),
            Command::Speak { token, speech, reply } => {
                reply.send(self.speak(token, |_, output| speech(output)));
            }
            Command::ReleaseConnections { from, listeners, reply } => {
                if let Err(page) = reply.offer(self.release_page(from, &listeners)) {
                    self.adopt_all(page.connections);
                }
            }
            Command::AdoptConnections { connections, reply } => {
                reply.send(self.adopt_all(connections));
            }
            Command::ReleaseListeners(reply) => {
                if let Err(listeners) = reply.offer(self.release_listeners()) {
                    for listener in listeners {
                        if let Err(error) = self.adopt_listener(listener) {
                            log::error!("a listener is lost: {error}");
                        }
                    }
                }
            }
            Command::AdoptListener { listener, reply } => {
                reply.send(self.adopt_listener(listener));
            }
        }
    }

    fn summary(&self) -> Summary {
        let listeners = self.services.iter().map(|service| ListenerInfo {
            name: service.name().to_owned(),
            accepting: match service.accepting {
                _ if service.listener.is_none() => command::Accepting::Closed,
                Accepting::OnEvent | Accepting::Queued => command::Accepting::Yes,
                Accepting::Full => command::Accepting::Full,
                Accepting::Paused(_) => command::Accepting::Paused,
            },
        });
        Summary {
            open: self.connections.len(),
            is_draining: self.drain != Drain::NotBegun,
            queued: self.run_queue.len(),
            listeners: listeners.collect(),
        }
    }

    fn page(&self, from: usize) -> Page {
        let end = from.saturating_add(PAGE).min(self.connections.capacity());
        let connections = (from..end)
            .filter_map(|key| Some(self.describe(key, self.connections.get(key)?)))
            .collect();
        Page { connections, next: (end < self.connections.capacity()).then_some(end) }
    }

    fn look_up(&self, token: Token) -> Option<ConnectionInfo> {
        let connection = self.find(token)?;
        let info = self.describe(token.key(), connection);
        let stream = connection.stream();
        let peer = info.peer.or_else(|| stream.peer());
        Some(ConnectionInfo { peer, tcp: stream.tcp_info(), ..info })
    }

    fn describe(&self, key: usize, connection: &Connection<N::Stream>) -> ConnectionInfo {
        let token = connection.token(key);
        let waits_for = connection.waits_for_now();
        let deadline = match waits_for {
            WaitsFor::RestOfFrame | WaitsFor::Handshake => self.units.deadline(key),
            WaitsFor::Frame | WaitsFor::Peer | WaitsFor::Fin => self.waits.deadline(key),
        };
        let now = self.net.now();
        ConnectionInfo {
            peer: self.peers.get(token).map(|&KnownPeer { peer, .. }| peer),
            age: Duration::from_millis(100 * self.opened.age(key, now)),
            time_left: deadline.map(|deadline| deadline.saturating_sub(now)),
            ..connection.describe(token)
        }
    }
}
