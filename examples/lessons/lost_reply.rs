//! Wrong on purpose: a connection is closed while bytes in it are unread, so the kernel sends RST.
//!
//! `resound lesson lost-reply` measures it. By itself it runs with `cargo run --example lost_reply`.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// The longest payload.
const LIMIT: usize = 64 << 10;

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        // An error ends this connection and no other.
        thread::spawn(move || answer(stream));
    }
}

/// Echoes frames: a length of four bytes, little-endian, then as many bytes.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = u32::from_le_bytes(head) as usize;
        if length > LIMIT {
            // Wrong: to close a socket in which unread bytes are is an abort: the kernel
            // sends RST (tcp(7)), and throws away what it had still to send. The replies
            // to the frames before this one were written, and they never arrive.
            return Ok(());
        }

        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        stream.write_all(&head)?;
        stream.write_all(&payload)?;
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on frames://{}", listener.local_addr()?);
    serve(&listener)
}
