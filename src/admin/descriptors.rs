//! File descriptors of this process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

/// How many are open in the process's table, or in the fullest one if there are others: the limit is one of each table.
/// `None` where /proc does not tell.
pub(super) fn open(others: &[PathBuf]) -> Option<u64> {
    let folders = others.iter().map(PathBuf::as_path).chain([Path::new("/proc/self/fd")]);
    folders.filter_map(count).max()
}

fn count(folder: &Path) -> Option<u64> {
    // proc_pid_fd(5): since Linux 6.2 it is the size of the directory. To count the entries takes a hundred times as long
    // where many are open.
    match fs::metadata(folder).ok()?.len() {
        0 => Some(fs::read_dir(folder).ok()?.count() as u64),
        count => Some(count),
    }
}

/// How many may be open; `None` without a limit.
pub(super) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
