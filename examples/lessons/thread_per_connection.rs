//! Wrong on purpose, for many clients: a thread for each connection.
//!
//! `resound lesson thread-per-connection` measures it. By itself it runs with `cargo run --example thread_per_connection`.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        // Wrong, for many clients: a thread that waits for one client needs a stack, a
        // kernel stack and a place in the scheduler. 10,000 clients that say nothing are
        // 10,000 threads that wait.
        let thread = thread::Builder::new().spawn(move || answer(stream));
        if let Err(error) = thread {
            // The connection is closed.
            eprintln!("no thread for another connection: {error}");
        }
    }
}

/// Echoes every byte.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4 << 10];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on raw://{}", listener.local_addr()?);
    serve(&listener)
}
