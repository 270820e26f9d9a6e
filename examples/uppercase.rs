//! A server of one's own: each frame comes back in capitals.
//!
//! ```sh
//! cargo run --example uppercase
//! echo hello | cargo run -- client --no-check 127.0.0.1:30001
//! ```
//!
//! `--no-check`, because what comes back is not what was sent.

use std::io;

use resound::{
    Config, Endpoint, Reactor,
    frame::Dialect,
    protocol::{Framed, Reply},
};

fn main() -> io::Result<()> {
    let upper = Framed::new(Dialect::default(), |payload: &[u8], reply: &mut Reply<'_>| {
        reply.frame(&payload.to_ascii_uppercase())
    });
    let mut reactor = Reactor::new(Config::default())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30001".to_owned());
    let endpoint: Endpoint = address.parse()?;
    println!("listening on {}", reactor.listen(endpoint, upper)?);
    reactor.run()
}
