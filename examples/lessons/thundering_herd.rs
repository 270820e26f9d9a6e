//! Wrong on purpose: several threads wait for one listener, and each connection wakes them all.
//!
//! `resound lesson thundering-herd` measures it. By itself it runs with `cargo run --example thundering_herd`.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpListener,
    thread,
};

use mio::{Events, Interest, Poll, Token, net};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

const THREADS: usize = 8;

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| run(listener))).collect();
        // They end only with an error.
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })
}

fn run(listener: &TcpListener) -> io::Result<()> {
    // Wrong: each thread's epoll instance waits for the same socket. A connection wakes
    // all of them, one gets it, and the others have been woken for nothing (epoll_ctl(2),
    // EPOLLEXCLUSIVE).
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
            } else if connections.get_mut(key).is_some_and(|stream| !turn(stream).unwrap_or(false))
            {
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
                let token = Token(entry.key());
                poll.registry().register(&mut stream, token, Interest::READABLE)?;
                entry.insert(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Echoes what has come, if it is not too much. Returns whether the connection is still open.
fn turn(stream: &mut net::TcpStream) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => stream.write_all(&buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on raw://{}", listener.local_addr()?);
    serve(&listener)
}
