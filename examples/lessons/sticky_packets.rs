//! Wrong on purpose: one read is taken for one message.
//!
//! `resound lesson sticky-packets` measures it. By itself it runs with `cargo run --example sticky_packets`.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        // An error ends this connection and no other.
        thread::spawn(move || answer(stream));
    }
}

/// Echoes frames: a length of four bytes, little-endian, then as many bytes.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Wrong: TCP has no messages. A read returns what has come: several frames, half
        // a frame, or one byte. This code answers the first frame of each read and
        // forgets the others; and where half a frame has come, it answers the rest of it
        // with whatever is in the buffer.
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let length = u32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        let end = buffer.len().min(4 + length as usize);
        stream.write_all(&buffer[..end])?;
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on frames://{}", listener.local_addr()?);
    serve(&listener)
}
