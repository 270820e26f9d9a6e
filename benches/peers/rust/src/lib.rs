//! What every Rust peer starts with: take ADDRESS, listen on it, say where.

#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::net::TcpListener;

use tokio::net::TcpStream;

/// A limit on frames, like the daemon's.
pub const FRAME_LIMIT: usize = 16 << 20;

/// Binds the address in the first argument and prints where it listens: the harness waits for that line.
pub fn listen() -> io::Result<TcpListener> {
    let address = std::env::args()
        .nth(1)
        .ok_or_else(|| io::Error::other("usage: PEER ADDRESS"))?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Runs `serve` for every connection, on one thread.
pub fn on_one_thread<F, S>(serve: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> S,
    S: Future<Output = io::Result<()>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = listen()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(serve(stream));
        }
    })
}
