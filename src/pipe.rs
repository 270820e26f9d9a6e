//! Pipes: where a long frame waits of which nobody needs to see the bytes.
//!
//! splice(2) moves the pages in which bytes have arrived from a socket into a pipe, and from there to a
//! socket: what goes back as it came is copied nowhere, in the kernel or out of it.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::{Errno, read, write},
    pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice},
};
use socket2::SockRef;

/// What a pipe is asked to hold, in bytes: one or two long frames, or else the most that anyone may have without
/// privileges (pipe(7)). The kernel counts pages, and pieces of pages: when bytes arrive in small packets,
/// a pipe is full with fewer.
const CAPACITIES: [usize; 2] = [4 << 20, 1 << 20];

/// Pipes that a loop has at any time, of two descriptors each. Long frames beyond these take the other way.
pub(crate) const MOST: u64 = 16;

/// A pipe, both ends, and how much is in it. It never blocks.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// A new pipe, as large as the kernel lets it be, up to 4 MiB.
    ///
    /// # Errors
    ///
    /// As pipe(2), when there are no more descriptors.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user who has many pipes already gets a smaller one.
        let granted = CAPACITIES.iter().find_map(|&size| fcntl_setpipe_size(&writer, size).ok());
        let capacity = granted.map_or_else(|| fcntl_getpipe_size(&writer), Ok)?;
        Ok(Self { reader, writer, capacity, held: 0 })
    }

    /// Bytes in it.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Appends as many of `bytes` as there is room for; how many.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room at all; as write(2).
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = write(&self.writer, bytes)?;
        self.held += count;
        Ok(count)
    }

    /// Takes as many bytes out as fit into `buffer` and are there; how many.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it is empty; as read(2).
    pub fn pull(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = read(&self.reader, buffer)?;
        self.held -= count;
        Ok(count)
    }

    /// Appends at most `most` bytes that have arrived at `socket`; how many, 0 at the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when no more have arrived; `StorageFull` when there is no room for what has, or when what comes next cannot go
    /// this way; as splice(2).
    pub fn fill_from(&mut self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        let fill = || splice(&socket, None, &self.writer, None, most, SpliceFlags::NONBLOCK);
        let mut filled = fill();
        if filled == Err(Errno::AGAIN) && self.held > 0 {
            // One error for two causes: the socket has nothing to give, or the pipe no room to take it.
            SockRef::from(&socket).peek(&mut [MaybeUninit::uninit()])?;
            // It has something to give; but perhaps only since it was asked first.
            filled = fill();
            if filled == Err(Errno::AGAIN) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let count = filled?;
        if count == 0 && SockRef::from(&socket).peek(&mut [MaybeUninit::uninit()])? > 0 {
            // Not the end: it cannot get past an urgent byte, which a read passes over.
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.held += count;
        Ok(count)
    }

    /// Sends what is in it to `socket`, as much as that takes; how much.
    ///
    /// A socket whose other end is gone raises SIGPIPE, too, which Rust's runtime ignores and a program in C may not.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it takes no more; as splice(2).
    pub fn empty_into(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let count = splice(&self.reader, None, &socket, None, self.held, SpliceFlags::NONBLOCK)?;
        self.held -= count;
        Ok(count)
    }
}

/// The pipes of a loop: made when they are wanted, kept for the next long frame.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// How much of a frame must be missing for it to be given one, in bytes; `None` where none ever is.
    from: Option<usize>,
    idle: Vec<Pipe>,
    lent: u64,
    in_demand: bool,
    /// The sockets here cannot do it.
    unsupported: bool,
}

impl Pipes {
    pub(crate) const fn new(from: Option<usize>) -> Self {
        Self { from, idle: Vec::new(), lent: 0, in_demand: false, unsupported: false }
    }

    /// One for a frame of which `beginning` bytes are there and `missing` ones are not, if that is worth it and there
    /// is one to be had; not one so small that the beginning takes half of it.
    pub(crate) fn take(&mut self, beginning: usize, missing: usize) -> Option<Pipe> {
        if self.from.is_none_or(|from| missing < from) || self.unsupported || self.lent == MOST {
            return None;
        }
        let pipe = self.idle.pop().or_else(|| Pipe::new().ok())?;
        if pipe.capacity < 2 * beginning {
            self.idle.push(pipe);
            return None;
        }
        self.lent += 1;
        self.in_demand = true;
        Some(pipe)
    }

    /// Takes one back; the next one must not find anything in it.
    pub(crate) fn put_back(&mut self, pipe: Pipe) {
        self.lent -= 1;
        if pipe.held() == 0 {
            self.idle.push(pipe);
        }
    }

    pub(crate) const fn give_up(&mut self) {
        self.unsupported = true;
    }

    pub(crate) const fn keeps_any(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Closes those that nobody has wanted since the last call.
    pub(crate) fn trim_unused(&mut self) {
        if !std::mem::take(&mut self.in_demand) {
            self.idle.clear();
        }
    }
}
