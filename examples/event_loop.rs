//! A whole event loop in a hundred lines: every byte comes back, on one thread, however many clients there are.
//!
//! ```sh
//! cargo run --example event_loop
//! resound check raw://127.0.0.1:30007
//! ```
//!
//! The servers in `examples/lessons/` are wrong in one way each; this one is right. What it leaves to the library: frames,
//! limits, timeouts, and an end in order at SIGTERM.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

/// Reads in one turn: after so many, other connections have theirs.
const READS: usize = 16;

/// How long to wait when no descriptor is free. Nothing reports that one is free again.
const PAUSE: Duration = Duration::from_millis(100);

struct Connection {
    stream: TcpStream,
    /// What was read and not yet sent back.
    owed: Vec<u8>,
}

/// What is to be done with a connection after its turn.
enum Next {
    /// Wait for an event: there is no more to read, or no more can be sent.
    Wait,
    /// Give it another turn: there may be more to read, and no event will say so.
    Again,
    Close,
}

impl Connection {
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<Next> {
        for _ in 0..READS {
            // A client that does not read is not read from. So what is owed is one buffer at most, and at the end of the
            // stream nothing is owed.
            if !self.send()? {
                return Ok(Next::Wait);
            }
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Close),
                Ok(count) => self.owed.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Next::Again)
    }

    /// Sends what is owed, as far as the kernel takes it. Returns whether that was all.
    fn send(&mut self) -> io::Result<bool> {
        while !self.owed.is_empty() {
            match self.stream.write(&self.owed) {
                Ok(count) => drop(self.owed.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Accepts all connections of the backlog. Returns whether there may be others, which wait for a descriptor.
fn accept(listener: &TcpListener, poll: &Poll, connections: &mut Slab<Connection>) -> bool {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                let entry = connections.vacant_entry();
                let both = Interest::READABLE | Interest::WRITABLE;
                if poll.registry().register(&mut stream, Token(entry.key()), both).is_ok() {
                    entry.insert(Connection { stream, owed: Vec::new() });
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // The client has gone.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => return true,
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30007".to_owned());
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut listener = TcpListener::bind(address)?;
    println!("listening on raw://{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut connections) = (Events::with_capacity(1024), Slab::<Connection>::new());
    let (mut run_queue, mut must_accept) = (VecDeque::new(), false);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let wait = match (run_queue.is_empty(), must_accept) {
            (false, _) => Some(Duration::ZERO),
            (true, true) => Some(PAUSE),
            (true, false) => None,
        };
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut turns: VecDeque<usize> = std::mem::take(&mut run_queue);
        for event in &events {
            match event.token() {
                LISTENER => must_accept = true,
                Token(key) => turns.push_back(key),
            }
        }
        // The key of a connection that has closed may be another one's by now. A turn without a reason does no harm.
        for key in turns {
            match connections.get_mut(key).map(|connection| connection.turn(&mut buffer)) {
                Some(Ok(Next::Again)) => run_queue.push_back(key),
                Some(Ok(Next::Close) | Err(_)) => drop(connections.remove(key)),
                Some(Ok(Next::Wait)) | None => {}
            }
        }
        if must_accept {
            must_accept = accept(&listener, &poll, &mut connections);
        }
    }
}
