//! The first server of every tutorial: it accepts a client, echoes what that one sends until it leaves, and accepts the
//! next.
//!
//! ```sh
//! cargo run --example blocking_echo
//! ```
//!
//! `docs/course.md` begins with it.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on raw://{}", listener.local_addr()?);
    loop {
        let (stream, client) = listener.accept()?;
        // One client's error is not the server's.
        if let Err(error) = echo(stream) {
            eprintln!("{client}: {error}");
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}
