//! Wrong on purpose: an error of accept(2) is taken for one that passes by itself.
//!
//! `resound lesson emfile-spin` measures it. By itself it runs with `cargo run --example emfile_spin`.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        // Wrong: without a free descriptor accept(2) fails with EMFILE, and the
        // connection stays in the backlog. So the next call fails at once as well, and
        // the next: a whole CPU does nothing else.
        let Ok((stream, _)) = listener.accept() else { continue };

        // A connection for which no thread can be started is closed.
        let _ = thread::Builder::new().spawn(move || answer(stream));
    }
}

/// Echoes every byte.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
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
