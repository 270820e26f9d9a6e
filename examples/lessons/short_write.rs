//! Wrong on purpose: a short write is forgotten.
//!
//! `resound lesson short-write` measures it. By itself it runs with `cargo run --example short_write`.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpListener,
};

use mio::{Events, Interest, Poll, Token, net};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

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
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
                continue;
            }
            let key = event.token().0;
            let Some(stream) = connections.get_mut(key) else { continue };
            if !turn(stream).unwrap_or(false) {
                connections.remove(key);
            }
        }
    }
}

fn accept(from: &net::TcpListener, poll: &Poll, into: &mut Slab<net::TcpStream>) -> io::Result<()> {
    loop {
        match from.accept() {
            Ok((mut stream, _)) => {
                let entry = into.vacant_entry();
                let interest = Interest::READABLE;
                poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                entry.insert(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Echoes what has come. Returns whether the connection is still open.
fn turn(stream: &mut net::TcpStream) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => echo(stream, &buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

fn echo(stream: &mut net::TcpStream, bytes: &[u8]) -> io::Result<()> {
    // Wrong: write(2) returns how much the kernel has taken, and that may be less than it
    // was given, or nothing. The rest has to be kept, and sent when the socket is
    // writable again.
    match stream.write(bytes) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on raw://{}", listener.local_addr()?);
    serve(&listener)
}
