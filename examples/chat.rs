//! A chat over lines: each line is sent to all other members. A member is a peer that is connected.
//!
//! ```sh
//! cargo run --example chat
//! nc 127.0.0.1 30003 # in two other terminals
//! ```
//!
//! It prints `listening on 127.0.0.1:30003`. A line typed in one terminal appears in the other one.
//!
//! A member that does not read is disconnected when more than 1 MiB waits to be sent to it. So the server holds no more
//! than that for each member, and no member can slow down the others.

use std::io;

use resound::{
    Config, Endpoint, Ends, Phase, Reactor, Reason, Token,
    protocol::{Next, Output, Protocol, Received, Refusal},
};

/// The longest line, in bytes.
const MAX: usize = 64 << 10;

/// A member is disconnected when more than this many bytes wait to be sent to it.
const MOST_OWED: usize = 1 << 20;

/// The members, and the lines that are still to be sent to them, each with its sender.
#[derive(Default)]
struct Chat {
    members: Vec<Token>,
    lines: Vec<(Token, Vec<u8>)>,
}

impl Protocol for Chat {
    fn opened(&mut self, connection: Token, _: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.members.push(connection);
        Ok(())
    }

    fn receive(&mut self, sender: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        let mut consumed = 0;
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            if line.len() > MAX {
                let (length, limit) = (line.len() as u64, MAX as u64);
                let refusal = Refusal::TooLong { length, limit, looks_like: None };
                return Received::answered(consumed, 0, Next::Refuse(refusal));
            }
            if !line.ends_with(b"\n") {
                return Received::answered(consumed, 0, Next::Rest { need: 0 });
            }
            self.lines.push((sender, line.to_vec()));
            consumed += line.len();
        }
        Received::answered(consumed, 0, Next::Idle)
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.members.retain(|member| *member != connection);
    }
}

/// Sends the lines that arrived in the last turn to the members.
fn pass_on(reactor: &mut Reactor<Chat>, address: &Endpoint) {
    let Some(chat) = reactor.protocol_at(address) else { return };
    let (members, lines) = (chat.members.clone(), std::mem::take(&mut chat.lines));
    for (sender, line) in lines {
        for &member in members.iter().filter(|member| **member != sender) {
            let owed = reactor.speak(member, |_, out| out.extend(&line));
            if owed.is_some_and(|owed| owed > MOST_OWED) {
                reactor.close(member);
            }
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30003".to_owned());
    let mut reactor = Reactor::new(Config::default())?;
    let address = reactor.listen(address.parse::<Endpoint>()?, Chat::default())?;
    println!("listening on {address}");
    while reactor.turn(None)? != Phase::Stopped {
        pass_on(&mut reactor, &address);
    }
    Ok(())
}
