//! A thread per connection and blocking calls from the standard library; no parsing.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;

/// What one thread reads at a time. On the heap, where pages never touched cost nothing.
const BUFFER: usize = 64 << 10;
const STACK: usize = 64 << 10;

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..got])?;
    }
}

fn main() -> io::Result<()> {
    let listener = resound_peers::listen()?;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || echo(stream))?;
    }
    Ok(())
}
