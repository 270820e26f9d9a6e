//! A key-value store over frames. Each frame is a command, and its reply is a frame.
//!
//! ```sh
//! cargo run --example store
//! printf 'SET sky light blue\nGET sky\nDEL sky\nGET sky\n' | cargo run -- client --no-check 127.0.0.1:30004
//! ```
//!
//! The client prints `OK`, `VALUE light blue`, `OK` and `NONE`, each on a line. (`--no-check`, because a reply differs
//! from its command.)

use std::{collections::HashMap, io};

use resound::{
    Config, Endpoint, Reactor, Token,
    frame::{Dialect, FrameError},
    protocol::{Framed, Handler, Reply},
};

/// The most bytes that all keys and values may have together.
const CAPACITY: usize = 64 << 20;

/// What each entry counts as beside its bytes: about what the map needs for it.
const OVERHEAD: usize = 64;

/// All connections use the same entries.
#[derive(Default)]
struct Store {
    entries: HashMap<Vec<u8>, Vec<u8>>,
    size: usize,
}

impl Store {
    fn set(&mut self, key: &[u8], value: &[u8]) -> bool {
        let old = self.entries.get(key).map_or(0, |old| size(key, old));
        let new_size = self.size - old + size(key, value);
        if new_size > CAPACITY {
            return false;
        }
        self.entries.insert(key.to_vec(), value.to_vec());
        self.size = new_size;
        true
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let Some(value) = self.entries.remove(key) else { return false };
        self.size -= size(key, &value);
        true
    }
}

/// What an entry counts as.
const fn size(key: &[u8], value: &[u8]) -> usize {
    OVERHEAD + key.len() + value.len()
}

impl Handler for Store {
    fn frame(&mut self, _: Token, command: &[u8], reply: &mut Reply<'_>) -> Result<(), FrameError> {
        let mut words = command.splitn(3, |byte| *byte == b' ');
        match (words.next(), words.next(), words.next()) {
            (Some(b"GET"), Some(key), None) => match self.entries.get(key) {
                Some(value) => reply.build(|frame| {
                    frame.extend(b"VALUE ".iter().copied());
                    frame.extend(value.iter().copied());
                }),
                None => reply.frame(b"NONE"),
            },
            (Some(b"SET"), Some(key), Some(value)) => {
                let is_set = self.set(key, value);
                reply.frame(if is_set { b"OK" } else { b"FULL" })
            }
            (Some(b"DEL"), Some(key), None) => {
                let was_there = self.delete(key);
                reply.frame(if was_there { b"OK" } else { b"NONE" })
            }
            _ => reply.frame(b"ERROR: write GET key, SET key value, or DEL key"),
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30004".to_owned());
    let mut reactor = Reactor::new(Config::default())?;
    let store = Framed::new(Dialect::default(), Store::default());
    println!("listening on {}", reactor.listen(address.parse::<Endpoint>()?, store)?);
    reactor.run()
}
