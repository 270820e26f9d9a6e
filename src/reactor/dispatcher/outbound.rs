//! What the dispatcher does without a peer's request: connecting, sending, closing.

use std::{io, net::IpAddr, time::Duration};

use log::{Level, log_enabled};

use super::{Dispatcher, KnownPeer, drain::Drain};
use crate::{
    Peer, Reason, Token,
    protocol::{Output, Protocol},
    reactor::{connection::Connection, deadlines::Wait, net::Net, service::Lane},
    socket::endpoint::Endpoint,
};

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Speaks `protocol` on outbound connections: [`connect`](Self::connect) opens them.
    ///
    /// # Errors
    ///
    /// If there are 255 listeners and lanes already.
    pub fn outbound(&mut self, protocol: P) -> io::Result<Lane> {
        let lane = self.next_service()?;
        self.add_service(None, "outbound".to_owned(), protocol);
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
        if self.drain != Drain::NotBegun {
            return Err(io::Error::other("the reactor is stopping"));
        }
        if !self.limits.enter() {
            return Err(io::Error::other("max_connections are open"));
        }
        let begun = self.begin_to_connect(lane, endpoint, from);
        if begun.is_err() {
            self.limits.leave(self.own);
        }
        begun
    }

    fn begin_to_connect(
        &mut self,
        lane: Lane,
        endpoint: &Endpoint,
        from: Option<IpAddr>,
    ) -> io::Result<Token> {
        let mut stream = self.net.connect(endpoint, from)?;
        let token = self.next_token()?;
        self.net.register(&mut stream, token)?;
        let peer = match endpoint {
            Endpoint::Tcp(address) => Peer::Tcp(*address),
            Endpoint::Unix(_) => Peer::Unix,
        };
        let connection = Connection::connecting(stream, token.generation(), lane.0);
        self.insert(connection, Duration::ZERO);
        self.peers.insert(token, KnownPeer { peer, is_counted: false });
        self.waits.arm(token.key(), Wait::Write, self.net.now());
        Ok(token)
    }

    /// Checks whether the peer of `token` has answered.
    #[cold]
    pub(super) fn finish_connecting(&mut self, token: Token) {
        let Some(&KnownPeer { peer, .. }) = self.peers.get(token) else { return };
        self.visit(token, |connection, scratch, cx| connection.connect(&peer, scratch, cx));
        let is_connected = self.find(token).is_some_and(|connection| !connection.is_connecting());
        if is_connected && !log_enabled!(Level::Debug) {
            self.peers.remove(token);
        }
    }

    /// What the connections of `lane` speak.
    pub fn protocol_mut(&mut self, lane: Lane) -> &mut P {
        &mut self.services[usize::from(lane.0)].protocol
    }

    /// Sends on a connection what `speak` puts into the output, behind all that is owed there. Returns how many bytes
    /// are then owed; `None`, and `speak` is not called, where the connection is not open (any more, or yet). One whose
    /// peer has sent FIN is open while its protocol has asked for a call.
    ///
    /// A caller that speaks faster than the peer reads stops when much is owed, and goes on when the protocol is told
    /// that it has gone ([`Output::call_when_sent`]). What it sends regardless is held, up to the memory limit.
    pub fn speak(
        &mut self,
        token: Token,
        speak: impl FnOnce(&mut P, &mut Output),
    ) -> Option<usize> {
        if !self.find(token)?.may_speak() {
            return None;
        }
        self.visit(token, |connection, _, cx| {
            connection.speak(cx, |protocol, _, output| speak(protocol, output))
        });
        self.owed(token)
    }

    /// How many bytes the peer of an open connection has not taken yet. `None` where there is no such connection.
    pub fn owed(&self, token: Token) -> Option<usize> {
        Some(self.find(token)?.owed())
    }

    /// Closes a connection at once; what it owes is lost. Returns whether it was there. A protocol ends one in order by
    /// [`Next::Finish`](crate::protocol::Next::Finish).
    pub fn close(&mut self, token: Token) -> bool {
        let there = self.find(token).is_some();
        if there {
            self.remove(token, Reason::Closed);
        }
        there
    }
}
