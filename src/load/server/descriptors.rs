//! How many descriptors a running server may open: prlimit(2) on its processes.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// Leaves each of these processes room for `more` descriptors than it has now. Returns the limits before, to be
/// [restored](restore); nothing where they cannot be changed.
pub(crate) fn limit(processes: &[u32], more: u64) -> Vec<(u32, Rlimit)> {
    let limit = |&process: &u32| {
        let pid = Pid::from_raw(process.cast_signed())?;
        let current = Some(limit_with_room(process, more)?);
        // To lower and raise the soft limit needs no privilege as long as the hard one stays.
        let limit = Rlimit { current, maximum: hard_limit(process)? };
        Some((process, prlimit(Some(pid), Resource::Nofile, limit).ok()?))
    };
    processes.iter().filter_map(limit).collect()
}

pub(crate) fn restore(limits: &[(u32, Rlimit)]) {
    for (process, limit) in limits {
        // It fails where the process has ended.
        let pid = Pid::from_raw(process.cast_signed());
        let _ = prlimit(pid, Resource::Nofile, *limit);
    }
}

/// A process's hard limit of descriptors; `Some(None)` is no limit.
fn hard_limit(process: u32) -> Option<Option<u64>> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    Some(line.split_whitespace().nth(4)?.parse().ok())
}

/// The limit under which a process can open just `more` descriptors: it is not on their count but on the highest number,
/// and a new descriptor has the lowest number that is free.
fn limit_with_room(process: u32, more: u64) -> Option<u64> {
    let open = fs::read_dir(Path::new("/proc").join(process.to_string()).join("fd")).ok()?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(with_room(&numbers.collect(), more))
}

fn with_room(open: &BTreeSet<u64>, more: u64) -> u64 {
    let mut free = (0..).filter(|number| !open.contains(number));
    free.nth(usize::try_from(more).unwrap_or(usize::MAX)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_leaves_room_for_as_many_as_asked_for() {
        for (open, more, limit) in [
            (&[0, 1, 2][..], 0, 3),
            (&[0, 1, 2], 2, 5),
            (&[0, 1, 2, 4], 2, 6),
            (&[0, 1, 2, 100], 2, 5),
        ] {
            assert_eq!(with_room(&open.iter().copied().collect(), more), limit, "{open:?}");
        }
    }
}
