//! Connections and listeners that leave the loop, and those that come from another one, perhaps in another process.
//!
//! What is released is deregistered from the poll first. So it is neither read from nor written to, and no event comes
//! for it, until a loop has adopted it.

use std::io;

use log::{Level, log_enabled, warn};

use super::{Dispatcher, KnownPeer, Phase, listener_token};
use crate::{
    Ends, Peer, Reason, ReleasedConnection, ReleasedListener, ReleasedPage, ReleasedSocket, Token,
    control::command::{PAGE, RELEASED_BYTES, RELEASES},
    plural::and_more,
    protocol::Protocol,
    reactor::{
        connection::{Connection, NextTurn},
        events::Event,
        net::{Net, Stream},
        service::Accepting,
    },
};

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Takes a connection out of the loop; `None` if it is not there, still connecting, or its protocol cannot describe it
    /// now.
    pub fn release(&mut self, token: Token) -> Option<ReleasedConnection<N::Stream>> {
        let connection = self.find(token)?;
        if connection.is_connecting() {
            return None;
        }
        let listener = usize::from(connection.service);
        let protocol = self.services[listener].protocol.describe(token)?;
        let (key, now) = (token.key(), self.net.now());
        let left = |deadline: std::time::Duration| deadline.saturating_sub(now);
        let wait_left = self.waits.deadline(key).map(left);
        let unit_left = self.units.deadline(key).map(left);
        let call_left = self.calls.due(token).map(left);
        let excuse = self.excuses.get(&key).copied();
        let age = std::time::Duration::from_millis(100 * self.opened.age(key, now));
        let peer = self.peers.get(token).map(|known| known.peer);
        self.net.deregister(self.connections[key].stream_mut());
        let (socket, record) = self.part_from(token, Reason::Released, |connection, shared| {
            connection.release(token, shared)
        });
        let record = crate::Record {
            age,
            peer,
            wait_left,
            unit_left,
            call_left,
            excuse,
            protocol,
            ..record
        };
        Some(ReleasedConnection { socket, listener, record })
    }

    /// Puts a connection into the loop, which gives it a turn soon.
    ///
    /// # Errors
    ///
    /// As [`Net::register`]; `InvalidInput` if there is no such listener, `InvalidData` if its protocol does not understand
    /// the record. The connection is closed then.
    pub fn adopt(&mut self, released: ReleasedConnection<N::Stream>) -> io::Result<Token> {
        let ReleasedConnection { socket, listener, record } = released;
        let service = u8::try_from(listener).ok().filter(|_| listener < self.services.len());
        let service = service.ok_or(io::ErrorKind::InvalidInput)?;
        let token = self.next_token()?;
        let of_socket = socket.peer().unwrap_or(Peer::Unix);
        let at = &mut self.services[listener];
        let local = at.listener.as_ref().and_then(|listener| self.net.local(listener, &socket));
        let mut connection =
            Connection::adopted(socket, token.generation(), service, &record, &mut self.shared);
        let registered = self.net.register(connection.stream_mut(), token);
        let restored = registered.and_then(|()| {
            let ends = Ends::new(of_socket, local);
            let is_restored = at.protocol.restore(token, &ends, &record.protocol);
            let what = "its protocol does not understand what it was told of it";
            is_restored
                .then_some(())
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, what))
        });
        if let Err(error) = restored {
            connection.close(token, &mut self.shared);
            return Err(error);
        }
        let peer = match record.peer {
            None if at.protocol.introduces_peers() => None,
            known => Some(known.unwrap_or(of_socket)),
        };
        let opened = Event::Adopted { peer: peer.unwrap_or(of_socket), listener: service };
        self.shared.events.tell(token, opened);
        let address = match peer {
            Some(Peer::Tcp(address)) => Some(address.ip()),
            _ => None,
        };
        let is_counted = self.limits.counts_addresses() && address.is_some();
        address.into_iter().filter(|_| is_counted).for_each(|ip| self.limits.enter_over_from(ip));
        if let Some(peer) = peer.filter(|_| is_counted || log_enabled!(Level::Debug)) {
            self.peers.insert(token, KnownPeer { peer, is_counted });
        }
        self.limits.enter_over();
        let wait = connection.waits_for_first();
        let (unit, _) = connection.receives(connection.progress());
        connection.next_turn = NextTurn::Queue { more_behind: true };
        self.insert(connection, record.age);
        self.counts(listener).adopted.add(1);
        self.run_queue.push_back(token);
        let (key, now) = (token.key(), self.net.now());
        if let (Some(wait), Some(left)) = (wait, record.wait_left) {
            self.waits.arm_rest(key, wait, now, left);
        }
        if let (Some(unit), Some(left)) = (unit, record.unit_left) {
            self.units.arm_rest(key, unit, now, left);
        }
        if let Some(excuse) = record.excuse {
            self.excuses.insert(key, excuse);
        }
        if let Some(left) = record.call_left {
            self.calls.set(token, now.saturating_add(left));
        }
        self.shared.show_lent();
        Ok(token)
    }

    /// Releases connections of these listeners from slot `from` on, up to a message's worth of them.
    pub(super) fn release_page(&mut self, from: usize, listeners: &[usize]) -> ReleasedPage {
        let mut page = ReleasedPage { connections: Vec::new(), staying: 0, next: None };
        let end = from.saturating_add(PAGE).min(self.connections.capacity());
        let mut bytes = 0;
        for key in from..end {
            let Some(connection) = self.connections.get(key) else { continue };
            if page.connections.len() == RELEASES || bytes >= RELEASED_BYTES {
                page.next = Some(key);
                return page;
            }
            let token = connection.token(key);
            let may_go = self.phase() == Phase::Running
                && listeners.contains(&usize::from(connection.service));
            let released = if may_go { self.release(token) } else { None };
            let Some(ReleasedConnection { socket, listener, record }) = released else {
                page.staying += 1;
                continue;
            };
            bytes += record.held.len() + record.owed.len();
            match self.net.export(socket) {
                Ok(socket) => {
                    page.connections.push(ReleasedConnection { socket, listener, record });
                }
                Err(socket) => {
                    self.adopt_or_warn(ReleasedConnection { socket, listener, record });
                    page.staying += 1;
                }
            }
        }
        page.next = (end < self.connections.capacity()).then_some(end);
        page
    }

    /// Adopts connections, and returns how many.
    pub(super) fn adopt_all(&mut self, connections: Vec<ReleasedConnection>) -> usize {
        let mut adopted = 0;
        for ReleasedConnection { socket, listener, record } in connections {
            match self.net.import(socket) {
                Ok(socket) => {
                    let released = ReleasedConnection { socket, listener, record };
                    adopted += usize::from(self.adopt_or_warn(released));
                }
                Err(error) => self.warn_unadopted(listener, &error),
            }
        }
        adopted
    }

    fn adopt_or_warn(&mut self, released: ReleasedConnection<N::Stream>) -> bool {
        let listener = released.listener;
        let adopted = self.adopt(released);
        if let Err(error) = &adopted {
            self.warn_unadopted(listener, error);
        }
        adopted.is_ok()
    }

    fn warn_unadopted(&mut self, listener: usize, error: &io::Error) {
        if let Some(service) = self.services.get(listener) {
            service.stats.counts.count_closed(Reason::Unregistered);
        }
        if let Some(more) = self.warnings.unadopted.admit(self.net.now()) {
            warn!("closed a connection that was to be taken over: {error}{}", and_more(more));
        }
    }

    /// Releases all listeners and UDP sockets.
    pub(super) fn release_listeners(&mut self) -> Vec<ReleasedListener> {
        let mut released = Vec::new();
        for (index, service) in self.services.iter_mut().enumerate() {
            let Some(mut listener) = service.listener.take() else { continue };
            self.net.unlisten(&mut listener);
            service.accepting = Accepting::OnEvent;
            match self.net.export_listener(listener) {
                Ok(socket) => {
                    let socket = ReleasedSocket::Listening(socket);
                    released.push(ReleasedListener { index, socket });
                }
                Err(listener) => service.listener = Some(listener),
            }
        }
        released.extend(self.release_datagrams());
        released
    }

    /// Puts a listener or a UDP socket into its place.
    pub(super) fn adopt_listener(&mut self, released: ReleasedListener) -> io::Result<()> {
        let ReleasedListener { index, socket } = released;
        match socket {
            ReleasedSocket::Datagrams { socket, owed } => {
                let socket = self.net.import_datagrams(socket)?;
                self.adopt_datagrams(index, socket, owed)
            }
            ReleasedSocket::Listening(socket) => {
                let mut listener = self.net.import_listener(socket)?;
                let service = self.services.get_mut(index).ok_or(io::ErrorKind::InvalidInput)?;
                // Registering reports what waits already.
                self.net.listen(&mut listener, listener_token(index))?;
                service.listener = Some(listener);
                Ok(())
            }
        }
    }
}
