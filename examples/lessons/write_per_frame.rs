//! Wrong on purpose: each frame is answered with a write of its own.
//!
//! `resound lesson write-per-frame` measures it. By itself it runs with `cargo run --example write_per_frame`.

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
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4 + LIMIT];
    let mut held = 0;
    loop {
        let count = stream.read(&mut buffer[held..])?;
        if count == 0 {
            return Ok(());
        }
        held += count;
        let mut start = 0;
        // Wrong: one read may bring a thousand frames, and then this loop writes a
        // thousand times. Each write is a system call and a segment; one of all that was
        // read costs as much as one of them.
        while let Some(length) = whole_frame(&buffer[start..held])? {
            stream.write_all(&buffer[start..start + length])?;
            start += length;
        }

        buffer.copy_within(start..held, 0);
        held -= start;
    }
}

/// The length of the first frame, if all of it is there.
fn whole_frame(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(&head) = bytes.first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes(head) as usize;
    if length > LIMIT {
        return Err(io::Error::other("a length over the limit"));
    }
    Ok((bytes.len() >= 4 + length).then_some(4 + length))
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on frames://{}", listener.local_addr()?);
    serve(&listener)
}
