//! A client: connects to an echo server, sends frames, and checks that each one comes back as it was sent.
//!
//! ```sh
//! resound serve &
//! cargo run --example client
//! ```
//!
//! It prints `127.0.0.1:30000: 1000 frames came back as they were sent`. If not, it says why and exits with 1.

use std::io;

use resound::{
    Config, Endpoint, Ends, Reactor, Reason, Token,
    frame::{Dialect, FrameError},
    protocol::{Framed, Handler, Refusal, Reply},
};

const FRAMES: usize = 1000;

/// This many frames are sent before the first reply arrives.
const IN_FLIGHT: usize = 16;

/// The progress of the connection.
#[derive(Default)]
struct Client {
    sent: usize,
    returned: usize,
    closed: Option<Reason>,
}

/// The payload of the frame with this number.
fn payload(number: usize) -> Vec<u8> {
    format!("frame {number} ").repeat(1 + number % 100).into_bytes()
}

impl Client {
    fn send(&mut self, reply: &mut Reply<'_>) -> Result<(), FrameError> {
        while self.sent < FRAMES && self.sent < self.returned + IN_FLIGHT {
            reply.frame(&payload(self.sent))?;
            self.sent += 1;
        }
        Ok(())
    }
}

impl Handler for Client {
    fn opened(&mut self, _: Token, _: &Ends, reply: &mut Reply<'_>) -> Result<(), Refusal> {
        Ok(self.send(reply)?)
    }

    fn frame(&mut self, _: Token, echo: &[u8], reply: &mut Reply<'_>) -> Result<(), FrameError> {
        if echo == payload(self.returned) {
            self.returned += 1;
        } else {
            reply.finish();
        }
        if self.returned == FRAMES {
            reply.finish();
        }
        self.send(reply)
    }

    // A client must go on reading while the server does not: the server stops reading until the client reads its replies.
    fn reads_while_owed(&self) -> bool {
        true
    }

    fn closed(&mut self, _: Token, reason: Reason) {
        self.closed = Some(reason);
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30000".to_owned());
    let server: Endpoint = address.parse()?;
    let mut reactor = Reactor::new(Config::default())?;
    let lane = reactor.outbound(Framed::new(Dialect::default(), Client::default()))?;
    reactor.connect(lane, &server, None)?;
    loop {
        reactor.turn(None)?;
        let client = reactor.protocol_mut(lane).handler();
        let Some(reason) = client.closed else { continue };
        if client.returned < FRAMES {
            let (returned, reason) = (client.returned, reason.as_str());
            let text = format!("{server}: closed {reason}; frame {returned} is missing or differs");
            return Err(io::Error::other(text));
        }
        println!("{server}: {FRAMES} frames came back as they were sent");
        return Ok(());
    }
}
