//! How often a daemon makes each system call.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Daemon, Ended, tool};

/// A daemon whose system calls strace counts.
pub(crate) struct Counted {
    pub(crate) daemon: Daemon,
    table: PathBuf,
}

/// What strace has counted, and how the daemon ended.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) ended: Ended,
    table: String,
}

impl Counted {
    /// One that listens as `listen` says; `None` where strace is not installed.
    pub(crate) fn start(listen: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut command = Command::new(tool("strace")?);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("resound-strace-{}-{number}", std::process::id());
        let table = std::env::temp_dir().join(name);
        command.args(["-f", "-c", "-o"]).arg(&table).arg(env!("CARGO_BIN_EXE_resound"));
        command.args(["serve", "--listen", listen]);
        Some(Self { daemon: Daemon::spawn(command, 1), table })
    }

    /// Stops it with SIGTERM.
    pub(crate) fn stop(mut self) -> Calls {
        let children = format!("/proc/{0}/task/{0}/children", self.daemon.pid());
        let traced = std::fs::read_to_string(children).unwrap();
        let traced = traced.split_whitespace().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(traced).unwrap(), Signal::TERM).unwrap();
        let ended = self.daemon.wait();
        let table = std::fs::read_to_string(&self.table).unwrap();
        std::fs::remove_file(&self.table).unwrap();
        Calls { ended, table }
    }
}

impl Calls {
    /// How many calls of this name there were.
    pub(crate) fn of(&self, name: &str) -> usize {
        let mut lines = self.table.lines();
        let line = lines.find(|line| line.split_whitespace().last() == Some(name));
        line.map_or(0, |line| line.split_whitespace().nth(3).unwrap().parse().unwrap())
    }
}
