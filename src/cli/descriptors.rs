//! File descriptors: one for each connection, and a few of our own.

use log::{debug, warn};
use resound::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Standard streams, the signal pipe; and some to spare for name lookups and the log.
const OWN: u64 = 24;

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

/// How many connections to hold at most, in all: what was asked for, or what `limit` descriptors leave room for
/// beside those of so many `reactors`, each with its own `listeners`.
pub(crate) fn max_connections(
    asked: Option<u64>,
    limit: u64,
    reactors: u64,
    listeners: u64,
) -> usize {
    let own = OWN + reactors * (Config::OWN_DESCRIPTORS + listeners);
    // Below twice our own need half of it is a better guess than nothing.
    let room = limit.saturating_sub(own).max(limit / 2).max(1);
    let connections = match asked {
        None => room,
        Some(asked) => {
            if asked > room {
                warn!(
                    "--max-connections {asked} is more than the limit of {limit} open files has room for: \
                     accepting will pause at about {room}. Raise the limit (ulimit -n, or LimitNOFILE= in a \
                     systemd unit) or ask for less"
                );
            }
            asked
        }
    };
    // A connection's name holds its slab key in 32 bits.
    let most = u64::from(u32::MAX);
    usize::try_from(connections.min(most)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_leaves_room_for_our_own() {
        for (asked, limit, reactors, listeners, expected) in [
            (None, 20_000, 1, 1, 19_935),
            (None, 20_000, 2, 1, 19_894),
            (None, 1024, 1, 3, 957),
            (None, 20, 1, 1, 10),
            (None, 0, 1, 1, 1),
            (None, u64::MAX, 1, 1, u32::MAX as usize),
            (Some(5), 20_000, 1, 1, 5),
            (Some(100), 20, 1, 1, 100),
            (Some(u64::MAX), 20, 1, 1, u32::MAX as usize),
        ] {
            assert_eq!(max_connections(asked, limit, reactors, listeners), expected);
        }
    }
}
