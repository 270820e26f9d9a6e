//! A broadcast: each line of standard input goes to all connected peers. The loop runs in a thread of its own, and
//! the main thread sends through its `Handle`.
//!
//! ```sh
//! cargo run --example broadcast
//! nc 127.0.0.1 30004 # in other terminals
//! ```
//!
//! It prints `listening on 127.0.0.1:30004`. Type lines; the end of the input (Ctrl-D) stops it.
//!
//! Lines are skipped for a peer that is owed more than 256 KiB, so that the server holds no more than that for each peer,
//! and no peer slows down the others. A peer that reads again is told how many lines it has missed.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, BufRead},
    thread,
    time::Duration,
};

use resound::{
    Answer, Config, ControlError, Endpoint, Ends, Handle, Reactor, Token,
    protocol::{Next, Output, Protocol, Received, Refusal},
};

/// Lines are skipped for a peer that is owed more than this many bytes.
const MOST_OWED: usize = 256 << 10;

/// Commands that wait for their answers at most: half of what the queue of the loop has room for.
const AT_ONCE: usize = 32;

/// How long the loop may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Greets, and ignores what the peer sends.
struct Listeners;

impl Protocol for Listeners {
    fn opened(&mut self, _: Token, _: &Ends, out: &mut Output) -> Result<(), Refusal> {
        out.extend(b"welcome\n");
        Ok(())
    }

    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        Received::answered(input.len(), 0, Next::Idle)
    }
}

/// Sends lines to all connections of a running loop.
struct Broadcast {
    handle: Handle,
    /// How many lines were skipped for each peer that does not read.
    skipped: HashMap<Token, u64>,
}

impl Broadcast {
    fn send(&mut self, line: &str) -> Result<(), ControlError> {
        let mut before = std::mem::take(&mut self.skipped);
        let mut answers: VecDeque<Answer<Option<usize>>> = VecDeque::new();
        let mut from = Some(0);
        while let Some(first) = from {
            let page = self.handle.connections(first)?.wait(PATIENCE)?;
            from = page.next;
            for connection in page.connections {
                let token = connection.token;
                let missed = before.remove(&token).unwrap_or(0);
                if connection.owed > MOST_OWED {
                    if missed == 0 {
                        eprintln!("{token} does not read: it is owed {} bytes", connection.owed);
                    }
                    self.skipped.insert(token, missed + 1);
                    continue;
                }
                let text = match missed {
                    0 => format!("{line}\n"),
                    missed => format!("({missed} lines skipped)\n{line}\n"),
                };
                if answers.len() == AT_ONCE
                    && let Some(oldest) = answers.pop_front()
                {
                    oldest.wait(PATIENCE)?;
                }
                answers
                    .push_back(self.handle.speak(token, move |out| out.extend(text.as_bytes()))?);
            }
        }
        for answer in answers {
            answer.wait(PATIENCE)?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30004".to_owned());
    // As many as the limit of open files allows.
    let config = Config { max_connections: u32::MAX as usize, ..Config::default() };
    let mut reactor = Reactor::new(config)?;
    let address = reactor.listen(address.parse::<Endpoint>()?, Listeners)?;
    let handle = reactor.handle();
    let server = thread::spawn(move || reactor.run());
    println!("listening on {address}");
    let mut broadcast = Broadcast { handle: handle.clone(), skipped: HashMap::new() };
    for line in io::stdin().lock().lines() {
        broadcast.send(&line?)?;
    }
    handle.stop();
    server.join().map_err(|_| "the loop panicked")??;
    Ok(())
}
