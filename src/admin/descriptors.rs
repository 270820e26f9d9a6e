//! File descriptors of this process.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// How many are open; `None` where /proc does not tell.
pub(super) fn open() -> Option<u64> {
    // proc_pid_fd(5): since Linux 6.2 it is the size of the directory. To count the entries takes a hundred times as long
    // where many are open.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        count => Some(count),
    }
}

/// How many may be open; `None` without a limit.
pub(super) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
