//! Signals: which are caught, what each asks for, and how a thread waits for them.

use std::{
    fs,
    io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use log::debug;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionbio},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    flag, low_level,
};

/// Catches `signals`, and returns a stream that receives a byte for each; reading it blocks. The caller decides what
/// the second one does.
pub(crate) fn stream(signals: &[i32]) -> io::Result<UnixStream> {
    let (read_end, write_end) = UnixStream::pair()?;
    write_end.set_nonblocking(true)?;
    for &signal in signals {
        low_level::pipe::register(signal, write_end.try_clone()?)?;
    }
    Ok(read_end)
}

/// What the main thread of a daemon waits for: signals, and wake-ups from its other threads.
///
/// A signal handler may do little more than set a flag and write a byte to a descriptor (signal-safety(7)). So the flags
/// say what happened, and the byte ends the wait.
#[derive(Debug)]
pub(crate) struct Signals {
    wake_ups: PipeReader,
    waker: Waker,
    /// SIGTERM or SIGINT has come.
    terminate: Arc<AtomicBool>,
    /// SIGHUP has come.
    hang_up: Arc<AtomicBool>,
    /// SIGUSR1 has come since [`Signals::take_report`] was last called.
    report: Arc<AtomicBool>,
    /// SIGUSR2 has come since [`Signals::take_replace`] was last called.
    replace: Arc<AtomicBool>,
}

/// Ends [`Signals::wait`] from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<PipeWriter>);

impl Waker {
    pub(crate) fn wake(&self) {
        // It fails when the pipe is full: then the waiting thread has enough bytes to read.
        if let Err(error) = (&*self.0).write_all(&[0]) {
            debug!("wake the main thread: {error}");
        }
    }
}

impl Signals {
    /// No signal is caught yet.
    pub(crate) fn new() -> io::Result<Self> {
        let (wake_ups, write_end) = io::pipe()?;
        ioctl_fionbio(&write_end, true)?;
        Ok(Self {
            wake_ups,
            waker: Waker(Arc::new(write_end)),
            terminate: Arc::default(),
            hang_up: Arc::default(),
            report: Arc::default(),
            replace: Arc::default(),
        })
    }

    /// Catches the signals of a daemon from now on:
    ///
    /// - SIGTERM and SIGINT ask for a stop. The second of them ends the process at once, with exit code 1.
    /// - SIGHUP asks for a stop, too. It never ends the process at once: when a terminal is closed, both the kernel and
    ///   the shell send it. If it was ignored when the process started, as under nohup(1), it stays ignored.
    /// - SIGUSR1 asks for a report.
    /// - SIGUSR2 asks for a replacement.
    pub(crate) fn catch() -> io::Result<Self> {
        let signals = Self::new()?;
        // Handlers run in the order of registration. The first SIGTERM finds `terminate` false, and sets it.
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&signals.terminate))?;
            signals.register(signal, &signals.terminate)?;
        }
        if !is_ignored(SIGHUP) {
            signals.register(SIGHUP, &signals.hang_up)?;
        }
        signals.register(SIGUSR1, &signals.report)?;
        signals.register(SIGUSR2, &signals.replace)?;
        Ok(signals)
    }

    /// Lets `signal` set `flag` and then end the wait.
    fn register(&self, signal: i32, flag: &Arc<AtomicBool>) -> io::Result<()> {
        flag::register(signal, Arc::clone(flag))?;
        low_level::pipe::register(signal, self.waker.0.try_clone()?)?;
        Ok(())
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Blocks until a signal has come, [`Waker::wake`] has been called since the last wait, or `also` is readable; or for
    /// `at_most` so long. It may also return without any of these.
    ///
    /// # Errors
    ///
    /// As poll(2), and read(2) on a pipe whose other end is open.
    pub(crate) fn wait(
        &self,
        at_most: Option<Duration>,
        also: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        if at_most.is_some() || also.is_some() {
            let timeout = at_most.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
            let descriptors = [Some(self.wake_ups.as_fd()), also];
            let descriptors = descriptors.into_iter().flatten();
            let mut polled: Vec<PollFd<'_>> = descriptors
                .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
                .collect();
            match poll(&mut polled, timeout.as_ref()) {
                Err(Errno::INTR) => return Ok(()),
                result => result.map(drop)?,
            }
            if polled[0].revents().is_empty() {
                return Ok(());
            }
        }
        match (&self.wake_ups).read(&mut [0; 64]) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a signal has asked for a stop.
    pub(crate) fn is_stop_requested(&self) -> bool {
        self.terminate.load(Relaxed) || self.hang_up.load(Relaxed)
    }

    /// Whether a signal has asked for a replacement since the last call.
    pub(crate) fn take_replace(&self) -> bool {
        self.replace.swap(false, Relaxed)
    }

    /// Whether a signal has asked for a report since the last call.
    pub(crate) fn take_report(&self) -> bool {
        self.report.swap(false, Relaxed)
    }
}

/// Whether this process ignores `signal`, as its parent may have arranged (execve(2)).
pub(crate) fn is_ignored(signal: i32) -> bool {
    // proc_pid_status(5): a mask in hexadecimal, where bit 0 is signal 1.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
