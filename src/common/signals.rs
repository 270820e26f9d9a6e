//! SIGTERM and SIGINT: the first one asks for a clean stop, the second one ends the process at once.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag, low_level,
};

/// Catches the signals, and returns a stream that a byte comes from for each; reading it blocks. What the second one
/// does is up to whoever reads.
pub(crate) fn stream() -> io::Result<UnixStream> {
    let (read_end, write_end) = UnixStream::pair()?;
    write_end.set_nonblocking(true)?;
    for signal in [SIGTERM, SIGINT] {
        low_level::pipe::register(signal, write_end.try_clone()?)?;
    }
    Ok(read_end)
}

/// Catches the signals, and returns a stream that becomes readable when the first one arrives.
///
/// What a signal handler may do is next to nothing, but writing to a socket is allowed, and a poll can
/// wait for that along with everything else.
pub(crate) fn stop_stream() -> io::Result<UnixStream> {
    let read_end = stream()?;
    read_end.set_nonblocking(true)?;
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // Run in the order of registration: the first signal finds `stopping` false here, and sets it below.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    Ok(read_end)
}
