//! A table of descriptors for each thread: the limit on open files (`RLIMIT_NOFILE`) is one of a table, not of a process.
//!
//! The threads of a process share one table until one of them asks for its own with unshare(2) (`CLONE_FILES`), which begins as
//! a copy. So `N` threads can hold `N` times the limit, and they do not wait for each other when they open and close. A
//! descriptor that a thread opens from then on is unknown to the others: each must close its own.

use std::{io, thread};

use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread a table of its own.
///
/// # Errors
///
/// Where the system refuses it: container runtimes often forbid unshare(2).
pub(crate) fn own() -> io::Result<()> {
    unshare(CloneFlags::CLONE_FILES).map_err(io::Error::from)
}

/// Whether threads may have tables of their own: a thread tries it.
///
/// # Errors
///
/// As [`own`].
pub(crate) fn can_be_own() -> io::Result<()> {
    thread::spawn(own).join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::Path,
        sync::mpsc,
    };

    use super::*;

    /// Whether a descriptor in this folder of /proc is of the file.
    fn has(folder: &str, file: &Path) -> bool {
        let mut links = fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| link == file)
    }

    #[test]
    fn what_a_thread_with_its_own_table_opens_is_not_in_the_other() {
        if let Err(error) = can_be_own() {
            println!("skipped: unshare(2) is refused here: {error}");
            return;
        }
        let path = std::env::temp_dir().join(format!("resound-table-{}", std::process::id()));
        let (opened, is_open) = mpsc::channel();
        let (looked, may_close) = mpsc::channel::<()>();
        let file = path.clone();
        let thread = thread::spawn(move || {
            own().unwrap();
            let _open = File::create(&file).unwrap();
            opened.send(has("/proc/thread-self/fd", &file)).unwrap();
            // Until it has been looked for in the other.
            let _ = may_close.recv();
        });
        assert!(is_open.recv().unwrap(), "it is in its own");
        assert!(!has("/proc/thread-self/fd", &path));
        drop(looked);
        thread.join().unwrap();
        fs::remove_file(path).unwrap();
    }
}
