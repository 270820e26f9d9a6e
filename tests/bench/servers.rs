//! Servers that echo, and servers that each get something wrong in a way of their own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, RwLock},
    thread,
    time::Duration,
};

use socket2::SockRef;

/// The frames that the tests send: 4 bytes of head, 60 of payload.
pub(crate) const FRAME: usize = 64;
pub(crate) const SIZE: &str = "60";

/// What a server does with each connection.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    Echo,
    /// No connection is answered for this long, once, when the connections together have had some frames.
    Stall {
        after: Duration,
        stall: Duration,
    },
    /// Each read is answered this much later.
    Slow(Duration),
    /// One bit of this byte of each connection is another.
    Corrupt {
        byte: usize,
    },
    /// This byte of each connection is left out.
    Truncate {
        byte: usize,
    },
    /// This frame of each connection does not come back.
    Drop {
        frame: usize,
    },
    /// This frame of each connection comes back twice.
    Repeat {
        frame: usize,
    },
    /// In front of this byte of each connection stand as many others.
    Insert {
        byte: usize,
        more: usize,
    },
    /// Each connection gets this many bytes more, when it has sent FIN.
    Parting {
        more: usize,
    },
    /// These two neighbours of each connection's frames change places.
    Reorder {
        frame: usize,
    },
    /// Ends after this many frames: in good order, in the middle of one, or with a reset.
    Close {
        frames: usize,
    },
    CloseWithin {
        frames: usize,
    },
    Reset {
        frames: usize,
    },
    /// Reads and says nothing.
    Silent,
}

/// Starts a server; it lasts as long as the test process.
pub(crate) fn start(manner: Manner) -> SocketAddr {
    start_for(usize::MAX, manner)
}

/// Starts a server that gets something wrong on its first two connections only. When a load of two connections ends,
/// what was wrong is long known: the end cannot come between a frame that is dropped and the one that shows it.
pub(crate) fn start_wrong_twice(manner: Manner) -> SocketAddr {
    start_for(2, manner)
}

/// Starts a server that does as told on so many connections, and only echoes on those after.
fn start_for(connections: usize, manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Arc::new(RwLock::new(()));
    thread::spawn(move || {
        let mut stall_begun = false;
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let manner = if number < connections { manner.clone() } else { Manner::Echo };
            let gate = Arc::clone(&gate);
            if let Manner::Stall { after, stall } = manner
                && !std::mem::replace(&mut stall_begun, true)
            {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    // The stall itself: no test waits for this.
                    thread::sleep(after);
                    let _closed = gate.write().unwrap();
                    thread::sleep(stall);
                });
            }
            thread::spawn(move || serve(stream, &manner, &gate));
        }
    });
    address
}

/// Serves one connection until either side ends it.
fn serve(mut stream: TcpStream, manner: &Manner, gate: &RwLock<()>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = vec![0; 64 << 10];
    let mut before = 0;
    let mut held = Vec::new();
    loop {
        let count = stream.read(&mut buffer).ok()?;
        if count == 0 {
            if let Manner::Parting { more } = manner {
                stream.write_all(&vec![b'!'; *more]).ok()?;
            }
            return None;
        }
        let mut bytes = buffer[..count].to_vec();
        let here = before..before + count;
        before += count;
        match manner {
            Manner::Echo => {}
            Manner::Stall { .. } => drop(gate.read().unwrap()),
            Manner::Slow(time) => thread::sleep(*time),
            Manner::Corrupt { byte } if here.contains(byte) => bytes[byte - here.start] ^= 0x10,
            Manner::Truncate { byte } if here.contains(byte) => {
                bytes.remove(byte - here.start);
            }
            Manner::Insert { byte, more } if here.contains(byte) => {
                let at = byte - here.start;
                bytes.splice(at..at, vec![b'!'; *more]);
            }
            Manner::Corrupt { .. }
            | Manner::Truncate { .. }
            | Manner::Insert { .. }
            | Manner::Parting { .. } => {}
            Manner::Drop { frame } | Manner::Repeat { frame } => {
                // Whole frames only, so that it is one frame that is dropped or repeated.
                held.extend_from_slice(&bytes);
                let begin = before - held.len();
                let whole = held.len() / FRAME * FRAME;
                bytes = held.drain(..whole).collect();
                if let Some(at) = (frame * FRAME).checked_sub(begin)
                    && at < whole
                {
                    let that = bytes[at..at + FRAME].to_vec();
                    let times = if matches!(manner, Manner::Drop { .. }) { 0 } else { 2 };
                    bytes.splice(at..at + FRAME, that.repeat(times));
                }
            }
            Manner::Reorder { frame } => {
                // All up to both frames is held until they are there.
                held.extend_from_slice(&bytes);
                let end = (frame + 2) * FRAME;
                if before < end {
                    bytes.clear();
                    let whole = held.len() / FRAME * FRAME;
                    let free = whole.min((frame * FRAME).saturating_sub(before - held.len()));
                    bytes.extend(held.drain(..free));
                } else {
                    let first = (frame * FRAME).checked_sub(before - held.len());
                    if let Some(first) = first {
                        let (one, two) = held[first..first + 2 * FRAME].split_at_mut(FRAME);
                        one.swap_with_slice(two);
                    }
                    bytes = std::mem::take(&mut held);
                }
            }
            Manner::Close { frames }
            | Manner::CloseWithin { frames }
            | Manner::Reset { frames }
                if before >= frames * FRAME =>
            {
                let keep = (frames * FRAME).saturating_sub(here.start).min(count);
                let more = if matches!(manner, Manner::CloseWithin { .. }) { FRAME / 2 } else { 0 };
                stream.write_all(&bytes[..(keep + more).min(count)]).ok()?;
                if matches!(manner, Manner::Reset { .. }) {
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()?;
                    return None;
                }
                // Reads on: to close with unread bytes would be a reset.
                stream.shutdown(std::net::Shutdown::Write).ok()?;
                while stream.read(&mut buffer).ok()? > 0 {}
                return None;
            }
            Manner::Close { .. } | Manner::CloseWithin { .. } | Manner::Reset { .. } => {}
            Manner::Silent => continue,
        }
        stream.write_all(&bytes).ok()?;
    }
}
