//! tokio on one thread, no parsing: one shared read buffer, written back at once; what the kernel does not take is
//! copied and awaited.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const BUFFER: usize = 64 << 10;

/// One read and one write. The bytes that were read and not sent, or `None` at the end.
fn echo_once(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
    let got = match stream.try_read(buffer) {
        Ok(0) => return Ok(None),
        Ok(got) => got,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    let sent = match stream.try_write(&buffer[..got]) {
        Ok(sent) => sent,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    Ok(Some(buffer[sent..got].to_vec()))
}

async fn echo(mut stream: TcpStream, buffer: Rc<RefCell<Vec<u8>>>) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let Some(rest) = echo_once(&stream, &mut buffer.borrow_mut())? else {
            return Ok(());
        };
        if !rest.is_empty() {
            stream.write_all(&rest).await?;
        }
    }
}

fn main() -> io::Result<()> {
    let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
    resound_peers::on_one_thread(|stream| echo(stream, Rc::clone(&buffer)))
}
