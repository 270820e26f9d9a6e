//! What the dispatcher does unasked by any peer: connecting outwards, speaking, closing.

use std::{io, net::IpAddr};

use super::{Dispatcher, Phase};
use crate::{
    Endpoint, Lane, Peer, Reason, Token,
    protocol::{Output, Protocol},
    reactor::connection::Connection,
    reactor::deadlines::Class,
    reactor::listening::Door,
    reactor::net::Net,
};

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Speaks `protocol` on connections that go out: [`connect`](Self::connect) opens them.
    ///
    /// # Errors
    ///
    /// If there are 255 listeners and lanes already.
    pub fn outbound(&mut self, protocol: P) -> io::Result<Lane> {
        let lane = self.next_door()?;
        self.doors.push(Door::new(None, protocol, "outbound".to_owned()));
        Ok(Lane(lane))
    }

    /// Begins to connect to `endpoint`, from the address `from` where that matters. The lane's protocol is told
    /// by [`Protocol::opened`] once the connection is there, or by [`Protocol::closed`] that it never will be.
    ///
    /// # Errors
    ///
    /// As [`Net::connect`]; `ConnectionRefused` may come at once, or later as
    /// [`Reason::ConnectRefused`]. Also if [`max_connections`](crate::Config::max_connections) are open, or the
    /// dispatcher is stopping.
    pub fn connect(
        &mut self,
        lane: Lane,
        endpoint: &Endpoint,
        from: Option<IpAddr>,
    ) -> io::Result<Token> {
        if self.phase != Phase::Running {
            return Err(io::Error::other("the reactor is stopping"));
        }
        if self.connections.len() >= self.config.max_connections {
            return Err(io::Error::other("max_connections are open"));
        }
        let mut stream = self.net.connect(endpoint, from)?;
        let token = self.next_token()?;
        self.net.register(&mut stream, token)?;
        let peer = match endpoint {
            Endpoint::Tcp(address) => Peer::Tcp(*address),
            Endpoint::Unix(_) => Peer::Unix,
        };
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let connection = Connection::connecting(stream, token.generation(), lane.0, peer);
        self.connections.insert(connection);
        self.shared.stats.open.set(self.connections.len() as u64);
        self.timers.arm(token.key(), Class::Write, self.net.now());
        Ok(token)
    }

    /// The name that the next connection will have.
    fn next_token(&self) -> io::Result<Token> {
        let key = u32::try_from(self.connections.vacant_key()).map_err(io::Error::other)?;
        Ok(Token::new(key, self.generation))
    }

    /// What the connections of `lane` speak.
    pub fn protocol_mut(&mut self, lane: Lane) -> &mut P {
        &mut self.doors[usize::from(lane.0)].protocol
    }

    /// Sends on a connection what `speak` puts into the output, behind all that is owed there. Returns whether it
    /// was asked: a connection that is not open (any more, or yet) is passed over.
    pub fn speak(&mut self, token: Token, speak: impl FnOnce(&mut P, &mut Output)) -> bool {
        let open = self.find(token).is_some_and(Connection::is_open);
        if open {
            self.with(token, |connection, protocol, _, shared| {
                connection.speak(token, shared, |output| speak(protocol, output))
            });
        }
        open
    }

    /// Closes a connection at once, with whatever it owes; whether it was there. To end one in good order is the
    /// protocol's to ask for, by [`Next::Finish`](crate::protocol::Next::Finish).
    pub fn close(&mut self, token: Token) -> bool {
        let there = self.find(token).is_some();
        if there {
            self.remove(token, Reason::Closed);
        }
        there
    }

    fn find(&self, token: Token) -> Option<&Connection<N::Stream>> {
        let connection = self.connections.get(token.key())?;
        (connection.generation() == token.generation()).then_some(connection)
    }
}
