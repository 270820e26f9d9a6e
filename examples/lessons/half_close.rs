//! Wrong on purpose: the end of what a client sends is taken for the end of the connection.
//!
//! `resound lesson half-close` measures it. By itself it runs with `cargo run --example half_close`.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpListener,
};

use mio::{Events, Interest, Poll, Token, net};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: net::TcpStream,
    owed: Vec<u8>,
}

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = net::TcpListener::from_std(listener.try_clone()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut connections) = (Events::with_capacity(1024), Slab::new());
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let key = event.token().0;
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
                continue;
            }
            // Wrong: FIN says that the client sends no more. It still reads, and waits for its
            // answers: to what was not read yet, and those that are owed.
            if event.is_read_closed() {
                connections.try_remove(key);
                continue;
            }

            if connections.get_mut(key).is_some_and(|one| !one.turn().unwrap_or(false)) {
                connections.remove(key);
            }
        }
    }
}

fn accept(from: &net::TcpListener, poll: &Poll, into: &mut Slab<Connection>) -> io::Result<()> {
    loop {
        match from.accept() {
            Ok((mut stream, _)) => {
                let entry = into.vacant_entry();
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                entry.insert(Connection { stream, owed: Vec::new() });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

impl Connection {
    /// Does what can be done without waiting. Returns whether the connection is still open.
    fn turn(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        while self.send()? {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.owed.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends what is owed, as far as the kernel takes it. Returns whether that was all.
    fn send(&mut self) -> io::Result<bool> {
        while !self.owed.is_empty() {
            match self.stream.write(&self.owed) {
                Ok(count) => drop(self.owed.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on raw://{}", listener.local_addr()?);
    serve(&listener)
}
