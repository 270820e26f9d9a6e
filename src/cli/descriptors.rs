//! File descriptors: one for each connection, and a few of the daemon's own.

use std::fs;

use log::{debug, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is taken for the number of open descriptors where it cannot be counted: the standard streams, those for signals,
/// and some that were inherited.
const USUALLY_OPEN: u64 = 16;

/// Raises this process's limit as far as it may without privileges, and returns it.
pub(crate) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            debug!("the descriptor limit stays as it is: {error}");
        }
    }
    // `None` is no limit at all.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many descriptors this process has open, inherited ones included.
pub(crate) fn count_open() -> u64 {
    // One of them is open for the listing itself.
    fs::read_dir("/proc/self/fd").map_or(USUALLY_OPEN, |listing| listing.count() as u64 - 1)
}

/// How many connections to hold at most, in all reactors together: what was asked for, or else what `limit` descriptors in
/// each of `tables` leave room for beside `own`.
pub(crate) fn max_connections(asked: Option<u64>, limit: u64, own: u64, tables: usize) -> usize {
    let room = limit.saturating_sub(own).max(1).saturating_mul(tables as u64);
    let connections = match asked {
        None => room,
        Some(asked) => {
            if asked > room {
                warn!(
                    "--max-connections {asked} is more than the limit of {} has room for: \
                     accepting will pause at about {room}. Raise the limit (ulimit -n, or LimitNOFILE= in a \
                     systemd unit), or lower --max-connections",
                    open_files(limit, tables)
                );
            }
            asked
        }
    };
    // A connection's name holds its slab key in 32 bits.
    let most = u64::from(u32::MAX);
    usize::try_from(connections.min(most)).unwrap_or(usize::MAX)
}

/// The limit, in words.
pub(crate) fn open_files(limit: u64, tables: usize) -> String {
    match tables {
        1 => format!("{limit} open files"),
        tables => format!("{limit} open files in each of {tables} tables"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_leaves_room_for_our_own() {
        for (asked, limit, own, expected) in [
            (None, 20_000, 20, 19_980),
            (None, 20, 15, 5),
            (None, 20, 20, 1),
            (None, 0, 20, 1),
            (None, u64::MAX, 20, u32::MAX as usize),
            (Some(5), 20_000, 20, 5),
            (Some(100), 20, 15, 100),
            (Some(u64::MAX), 20, 15, u32::MAX as usize),
        ] {
            assert_eq!(max_connections(asked, limit, own, 1), expected);
        }
        assert_eq!(max_connections(None, 20_000, 20, 3), 59_940);
        assert_eq!(max_connections(None, u64::MAX, 20, 3), u32::MAX as usize);
    }

    #[test]
    fn an_open_file_is_counted() {
        // Other tests open files meanwhile: it takes many to tell.
        let before = count_open();
        let files: Vec<_> = (0..500).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(count_open() >= before + 250);
        drop(files);
    }
}
