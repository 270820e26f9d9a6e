//! Wrong on purpose: while a frame is unfinished, the kernel delays acknowledgements for a reply that cannot come yet.
//!
//! `resound lesson small-send-buffer` measures it. By itself it runs with `cargo run --example small_send_buffer`.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// The longest payload.
const LIMIT: usize = 1 << 20;

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
    let mut frame = Vec::new();
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = u32::from_le_bytes(head) as usize;
        if length > LIMIT {
            return Ok(());
        }
        frame.clear();
        frame.extend(head);
        frame.resize(4 + length, 0);
        // Wrong: this reads until the frame is whole, and nothing goes back meanwhile.
        // So the kernel delays the acknowledgement of what has come, by 40 ms on Linux
        // (tcp(7), TCP_QUICKACK). A client with a small send buffer keeps in it what is
        // not acknowledged. When the buffer is full, the rest of the frame waits.
        stream.read_exact(&mut frame[4..])?;
        stream.write_all(&frame)?;
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on frames://{}", listener.local_addr()?);
    serve(&listener)
}
