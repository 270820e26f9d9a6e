//! Accepting: in bounded batches, within the limits, and on a timer where the kernel has run out of something.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use log::{Level, debug, log_enabled, warn};

use super::{Dispatcher, KnownPeer, listener_token};
use crate::{
    Counts, Ends, Peer, Reason, Token,
    plural::{and_more, connections},
    protocol::Protocol,
    reactor::{
        config::Overload,
        connection::{Connection, shared::Introduced},
        events::Event,
        net::Net,
        service::{self, Accepting, Remedy, Service},
    },
};

/// How many connections one turn accepts. Then other tokens get their turns.
const ACCEPTS_PER_TURN: usize = 64;

/// How accepting goes on after an attempt.
enum Attempt {
    /// Accept the next connection.
    Next,
    /// Stop for this turn. The listener's state gives the reason.
    Stop,
}

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Accepts the waiting connections, up to one turn's limit; then the listener queues for another turn.
    pub(super) fn accept(&mut self, index: usize) {
        let before = self.counts(index).opened.value();
        self.accept_batch(index);
        let service = &self.services[index];
        let accepted = service.stats.counts.opened.value() - before;
        service.stats.accepts_per_wakeup.record(accepted);
        let connections = u32::try_from(accepted).unwrap_or(u32::MAX);
        self.shared.events.emit(listener_token(index), || Event::Accepted { connections });
    }

    fn accept_batch(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.services[index].listener.is_none() {
                return;
            }
            let attempt = match self.config.overload {
                Overload::Wait => self.accept_within_limit(index),
                Overload::Refuse => self.accept_or_refuse(index),
            };
            match attempt {
                Attempt::Next => {}
                Attempt::Stop => return,
            }
        }
        self.queue_listener(index);
    }

    pub(super) fn counts(&self, index: usize) -> &Counts {
        &self.services[index].stats.counts
    }

    fn queue_listener(&mut self, index: usize) {
        self.services[index].accepting = Accepting::Queued;
        self.run_queue.push_back(listener_token(index));
    }

    /// Counts the next connection before it accepts it, so that one over the limit stays in the backlog.
    fn accept_within_limit(&mut self, index: usize) -> Attempt {
        if !self.limits.enter() {
            return self.await_room(index);
        }
        match self.accept_next(index) {
            Ok((stream, ends)) => {
                self.admit(index, stream, &ends);
                Attempt::Next
            }
            Err(error) => {
                self.limits.leave(self.own);
                self.accept_failed(index, &error)
            }
        }
    }

    /// Counts the next connection when it has accepted it. A loop that counted one before it knows whether there is one
    /// would make another loop refuse one for which there is room.
    fn accept_or_refuse(&mut self, index: usize) -> Attempt {
        match self.accept_next(index) {
            Ok((stream, ends)) => {
                if self.limits.enter() {
                    self.admit(index, stream, &ends);
                } else {
                    self.refuse(index, &ends.peer);
                }
                Attempt::Next
            }
            Err(error) => self.accept_failed(index, &error),
        }
    }

    fn accept_next(&mut self, index: usize) -> io::Result<(N::Stream, Ends)> {
        let listener = self.services[index].listener.as_ref().ok_or(ErrorKind::WouldBlock)?;
        let (stream, peer) = self.net.accept(listener)?;
        let local = self.net.local(listener, &stream);
        Ok((stream, Ends::new(peer, local)))
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error) -> Attempt {
        let name = self.services[index].name();
        match Remedy::of(error) {
            Remedy::AwaitEvent => Attempt::Stop,
            Remedy::TakeNext => {
                debug!("{name}: accept: {error}");
                Attempt::Next
            }
            Remedy::Pause(pause) => {
                let refuses = self.config.overload == Overload::Refuse;
                if refuses && service::is_out_of_descriptors(error) {
                    self.shed(index, error, pause)
                } else {
                    self.pause(index, error, pause)
                }
            }
        }
    }

    /// Stops accepting for a while.
    fn pause(&mut self, index: usize, error: &io::Error, pause: Duration) -> Attempt {
        let now = self.net.now();
        let service = &mut self.services[index];
        service.accepting = Accepting::Paused(now + pause);
        service.stats.counts.accept_pauses.add(1);
        if let Some(more) = self.warnings.paused.admit(now) {
            let name = service.name();
            warn!("{name}: accept: {error}; trying again every {pause:?}{}", and_more(more));
        }
        Attempt::Stop
    }

    /// Closes the next waiting connection, for which there is no descriptor.
    fn shed(&mut self, index: usize, error: &io::Error, pause: Duration) -> Attempt {
        let service = &self.services[index];
        let Some(listener) = &service.listener else { return Attempt::Stop };
        let name = service.name();
        match self.net.shed(listener) {
            Ok(()) => {
                service.stats.counts.refused.add(1);
                if let Some(more) = self.warnings.shed.admit(self.net.now()) {
                    warn!("{name}: accept: {error}; refused a connection{}", and_more(more));
                }
                Attempt::Next
            }
            // Without a descriptor, accept(2) does not check whether a connection waits.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Attempt::Stop,
            Err(_) => self.pause(index, error, pause),
        }
    }

    /// Stops accepting until a connection closes.
    fn await_room(&mut self, index: usize) -> Attempt {
        let service = &mut self.services[index];
        service.accepting = Accepting::Full;
        service.stats.counts.accept_waits.add(1);
        if let Some(more) = self.warnings.full.admit(self.net.now()) {
            let (name, limit) = (service.name(), connections(self.config.max_connections));
            warn!(
                "{name}: {limit} open, the limit of --max-connections; others wait in the backlog{}",
                and_more(more)
            );
        }
        if self.limits.await_room() {
            self.queue_listener(index);
        }
        Attempt::Stop
    }

    /// A connection over the limit was accepted, and is closed at once.
    fn refuse(&mut self, index: usize, peer: &Peer) {
        self.counts(index).refused.add(1);
        if let Some(more) = self.warnings.full.admit(self.net.now()) {
            let name = self.services[index].name();
            let limit = connections(self.config.max_connections);
            warn!(
                "{name}: refused {peer}: {limit} open, the limit of --max-connections{}",
                and_more(more)
            );
        }
    }

    /// Opens a new connection that is counted, or counts it off.
    fn admit(&mut self, index: usize, stream: N::Stream, ends: &Ends) {
        if !self.open(index, stream, ends) {
            self.limits.leave(self.own);
        }
    }

    /// Opens a new connection, unless a limit or the kernel forbids it. Returns whether it is open.
    fn open(&mut self, index: usize, stream: N::Stream, ends: &Ends) -> bool {
        let peer = ends.peer;
        let counted = match peer {
            Peer::Tcp(address)
                if self.limits.counts_addresses()
                    && !self.services[index].protocol.introduces_peers() =>
            {
                if !self.limits.enter_from(address.ip()) {
                    self.refuse_address(index, &peer);
                    return false;
                }
                Some(address.ip())
            }
            _ => None,
        };
        let token = match self.add(index, stream) {
            Ok(token) => token,
            Err(error) => {
                if let Some(address) = counted {
                    self.limits.leave_from(address);
                }
                self.registering_failed(index, &peer, &error);
                return false;
            }
        };
        let listener = u8::try_from(index).unwrap_or(u8::MAX);
        self.shared.events.tell(token, Event::Opened { peer, listener });
        let is_counted = counted.is_some();
        if is_counted || log_enabled!(Level::Debug) {
            self.peers.insert(token, KnownPeer { peer, is_counted });
        }
        self.counts(index).opened.add(1);
        self.visit(token, |connection, _, cx| connection.open(ends, cx));
        true
    }

    /// Adds a connection that was accepted, once the poll reports its events.
    fn add(&mut self, index: usize, stream: N::Stream) -> io::Result<Token> {
        let service = u8::try_from(index).map_err(io::Error::other)?;
        let token = self.next_token()?;
        let protocol = &self.services[index].protocol;
        let mut connection = Connection::accepted(stream, token.generation(), service, protocol);
        self.net.register(connection.stream_mut(), token)?;
        self.insert(connection, Duration::ZERO);
        Ok(token)
    }

    fn registering_failed(&mut self, index: usize, peer: &Peer, error: &io::Error) {
        self.counts(index).count_closed(Reason::Unregistered);
        if let Some(more) = self.warnings.unregistered.admit(self.net.now()) {
            let name = self.services[index].name();
            warn!("{name}: closed the connection from {peer}: register: {error}{}", and_more(more));
        }
    }

    /// The token of the next connection.
    pub(super) fn next_token(&self) -> io::Result<Token> {
        let key = u32::try_from(self.connections.vacant_key()).map_err(io::Error::other)?;
        Ok(Token::new(key, self.generation))
    }

    /// Adds a connection under [`next_token`](Self::next_token).
    /// It has been open for the time `age`.
    pub(super) fn insert(&mut self, connection: Connection<N::Stream>, age: Duration) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.counts(connection.service.into()).open.add(1);
        let key = self.connections.insert(connection);
        self.opened.open(key, self.net.now(), age);
    }

    fn refuse_address(&mut self, index: usize, peer: &Peer) {
        self.counts(index).refused.add(1);
        if let Some(more) = self.warnings.per_address.admit(self.net.now()) {
            let name = self.services[index].name();
            warn!(
                "{name}: refused {peer}: its address has as many connections as --max-connections-per-ip \
                 allows{}",
                and_more(more)
            );
        }
    }

    /// A proxy has told who the peer of `token` is.
    pub(super) fn introduce(&mut self, token: Token, introduced: Introduced) {
        match introduced {
            Introduced::Admitted { peer, is_counted } => {
                self.shared.events.tell(token, Event::Introduced { peer });
                let known = KnownPeer { peer, is_counted };
                let before = if is_counted || log_enabled!(Level::Debug) {
                    self.peers.insert(token, known)
                } else {
                    self.peers.remove(token)
                };
                // An earlier PROXY header gave another address.
                if let Some(KnownPeer { peer: Peer::Tcp(address), is_counted: true }) = before {
                    self.limits.leave_from(address.ip());
                }
            }
            Introduced::Refused(peer) => {
                if let Some(connection) = self.find(token) {
                    self.refuse_address(usize::from(connection.service), &peer);
                }
            }
        }
    }

    /// There may be room for one more connection.
    pub(super) fn reopen_full_listeners(&mut self) {
        for index in 0..self.services.len() {
            if self.services[index].accepting == Accepting::Full {
                self.queue_listener(index);
            }
        }
    }

    /// Another loop has made room where limits are shared.
    pub fn woken(&mut self) {
        let is_full = |service: &Service<_, _>| service.accepting == Accepting::Full;
        // If the room is taken already, it must be woken for the next.
        if self.services.iter().any(is_full) && self.limits.await_room() {
            self.reopen_full_listeners();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use super::*;
    use crate::{Config, Limits, net::Readiness, protocol::Raw, socket::stream::Socket};

    /// A kernel in which no connection waits. It notes how many connections are counted when accept(2) is called.
    struct NoneWaits {
        limits: Arc<Limits>,
        counted: Vec<usize>,
    }

    impl Net for NoneWaits {
        type Listener = ();
        type Stream = Socket;
        type DatagramSocket = Infallible;

        fn listen(&mut self, (): &mut (), _: Token) -> io::Result<()> {
            Ok(())
        }

        fn accept(&mut self, (): &()) -> io::Result<(Socket, Peer)> {
            self.counted.push(self.limits.open());
            Err(ErrorKind::WouldBlock.into())
        }

        fn register(&mut self, _: &mut Socket, _: Token) -> io::Result<()> {
            Ok(())
        }

        fn now(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Otherwise another loop would refuse a connection although there is room for it.
    #[test]
    fn a_loop_that_refuses_over_the_limit_counts_only_connections_that_it_has_accepted() {
        for (overload, counted) in [(Overload::Refuse, 0), (Overload::Wait, 1)] {
            let config = Config { overload, ..Config::default() };
            let limits = Arc::new(Limits::new(&config));
            let net = NoneWaits { limits: Arc::clone(&limits), counted: Vec::new() };
            let mut dispatcher = Dispatcher::sharing(net, config, Arc::clone(&limits));
            dispatcher.listen((), "test".to_owned(), Raw).unwrap();
            dispatcher.event(listener_token(0), Readiness::ALL);
            assert_eq!(dispatcher.net().counted, [counted], "{overload:?}");
            assert_eq!(limits.open(), 0);
        }
    }
}
