//! The server that is watched while it is loaded: one that was started for the run, or one that runs already.

use std::{fmt, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{Server, procfs};

/// The processes of a server.
pub(crate) trait Watched: fmt::Debug {
    /// The numbers of those that have not ended.
    fn processes(&self) -> Vec<u32>;

    /// How the server has ended, if it has: `ended (exit status 1)`.
    fn ended(&self) -> Option<String>;
}

impl Watched for Server {
    fn processes(&self) -> Vec<u32> {
        Self::processes(self)
    }

    fn ended(&self) -> Option<String> {
        Self::ended(self)
    }
}

/// A server that this program has not started: a process, and those that descend from it.
#[derive(Debug)]
pub(crate) struct Running {
    number: u32,
    /// Refers to this process, even if its number is used again.
    process: OwnedFd,
}

impl Running {
    /// # Errors
    ///
    /// Text with the remedy: there is no such process.
    pub(crate) fn of(number: u32) -> Result<Self, String> {
        let remedy = "give the number of a process that runs, such as that of pidof(1)";
        i32::try_from(number)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| format!("--server-pid {number} is no process; {remedy}"))
            .and_then(|pid| {
                pidfd_open(pid, PidfdFlags::empty())
                    .map_err(|error| format!("--server-pid {number}: {error}; {remedy}"))
            })
            .map(|process| Self { number, process })
    }
}

impl Watched for Running {
    fn processes(&self) -> Vec<u32> {
        procfs::descendants(self.number)
    }

    /// The handle of a process is readable once the process has ended (`pidfd_open(2)`).
    fn ended(&self) -> Option<String> {
        let mut handles = [PollFd::new(&self.process, PollFlags::IN)];
        let has_ended = poll(&mut handles, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
        has_ended.then(|| "ended".to_owned())
    }
}
