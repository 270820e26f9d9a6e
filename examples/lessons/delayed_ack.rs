//! Wrong on purpose: an answer leaves in two writes, and Nagle's algorithm holds the second one back.
//!
//! `resound lesson delayed-ack` measures it. By itself it runs with `cargo run --example delayed_ack`.

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
            return Ok(());
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        // Wrong: the first write leaves at once. The second is small, and the first is
        // not acknowledged yet, so Nagle's algorithm keeps it (tcp(7), TCP_NODELAY). The
        // client has only half an answer and nothing to send, so it delays its
        // acknowledgement: 40 ms on Linux.
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
