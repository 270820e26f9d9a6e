//! The layer around an echo that tells of each message instead of sending it back.

use std::{collections::HashMap, sync::mpsc::SyncSender, time::Duration};

use resound::{
    Ends, Reason, Token,
    protocol::{
        Ending, Output, Protocol, Received, Refusal,
        fault::{Piece, Units},
    },
};

use super::Event;

/// The final fragment of a WebSocket message (RFC 6455, section 5.2).
const FIN: u8 = 0x80;

/// How long a connection waits for the reply after the peer's FIN.
const REPLY_WITHIN: Duration = Duration::from_secs(60 * 60);

/// Takes the messages out of the replies of an echo. What is no message stays there: the answer to a WebSocket
/// handshake, pongs, refusals.
pub(super) struct Heard {
    echo: Box<dyn Protocol + Send>,
    units: Units,
    tell: SyncSender<Event>,
    /// The beginnings of WebSocket messages whose final fragment has not come.
    begun: HashMap<Token, Vec<u8>>,
}

impl Heard {
    pub(super) fn new(
        echo: Box<dyn Protocol + Send>,
        units: Units,
        tell: SyncSender<Event>,
    ) -> Self {
        Self { echo, units, tell, begun: HashMap::new() }
    }

    /// Waits for room: a loop that has nothing to do but to tell the user may wait for the user's terminal.
    fn tell(&self, event: Event) {
        // This fails only if the main thread has ended.
        let _ = self.tell.send(event);
    }

    /// Tells of the messages in `replies`, and returns the rest.
    fn take_messages(&mut self, connection: Token, replies: &[u8]) -> Vec<u8> {
        let mut others = Vec::new();
        let mut rest = replies;
        while !rest.is_empty() {
            let length = match self.units.first(rest, false) {
                Piece::Frame(length, payload) => {
                    self.take_frame(connection, rest[0], &rest[payload]);
                    length
                }
                Piece::Other(length) => {
                    others.extend(&rest[..length]);
                    length
                }
            };
            rest = &rest[length..];
        }
        others
    }

    fn take_frame(&mut self, connection: Token, first_byte: u8, payload: &[u8]) {
        let mut message = self.begun.remove(&connection).unwrap_or_default();
        message.extend(payload);
        if self.units == Units::WebSocket && first_byte & FIN == 0 {
            self.begun.insert(connection, message);
        } else {
            self.tell(Event::Message { connection, payload: message });
        }
    }
}

impl Protocol for Heard {
    fn opened(&mut self, connection: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        self.tell(Event::Opened { connection, peer: ends.peer.to_string() });
        self.echo.opened(connection, ends, out)
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let start = out.bytes().len();
        let received = self.echo.receive(connection, input, seen, out);
        let replies: Vec<u8> = match received.echo {
            true => input[..received.consumed].to_vec(),
            false => out.as_mut_vec().drain(start..).collect(),
        };
        let others = self.take_messages(connection, &replies);
        out.extend(&others);
        Received::answered(received.consumed, received.frames, received.next)
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        self.echo.ending(connection, cause, out);
    }

    fn sent(&mut self, connection: Token, out: &mut Output) {
        self.echo.sent(connection, out);
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        self.echo.called(connection, out);
    }

    fn spoken(&mut self, connection: Token, out: &mut Output) {
        self.echo.spoken(connection, out);
    }

    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        self.echo.half_closed(connection, out);
        // The reply is still to be typed.
        out.call_after(REPLY_WITHIN);
        self.tell(Event::HalfClosed { connection });
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        self.begun.remove(&connection);
        self.echo.closed(connection, reason);
        self.tell(Event::Closed { connection, reason });
    }

    fn begins_with_handshake(&self) -> bool {
        self.echo.begins_with_handshake()
    }

    fn introduces_peers(&self) -> bool {
        self.echo.introduces_peers()
    }
}
