//! What this machine allows.

use std::{fs, path::Path};

/// The most bytes that the kernel keeps to send on a TCP socket, and of those that have come (tcp(7), `tcp_wmem` and
/// `tcp_rmem`).
pub(super) fn send_buffer() -> u64 {
    largest("/proc/sys/net/ipv4/tcp_wmem")
}

pub(super) fn receive_buffer() -> u64 {
    largest("/proc/sys/net/ipv4/tcp_rmem")
}

/// The last of three numbers; the kernel's usual one where it does not tell.
fn largest(file: &str) -> u64 {
    let numbers = fs::read_to_string(file).unwrap_or_default();
    numbers.split_whitespace().nth(2).and_then(|most| most.parse().ok()).unwrap_or(6 << 20)
}

/// As many connections as the lesson about threads wants.
const MANY: u64 = 10_000;

/// Descriptors of a process that are no connections.
const OWN_DESCRIPTORS: u64 = 64;

/// What a thread takes of the machine: its kernel stack, what it touches of its own stack, and both ends of a connection.
const BYTES_EACH: u64 = 64 << 10;

/// Mappings of one thread: its stack and its signal stack, each with a guard page.
const MAPPINGS_EACH: u64 = 4;

/// How many connections with a thread each are possible here, 10,000 at most, without taking more than half of what is free;
/// and what does not allow 10,000.
pub(super) fn most_connections(descriptors: u64) -> (u64, Option<&'static str>) {
    let half = |free: Option<u64>| free.map_or(MANY, |free| free / 2);
    let limits = [
        (descriptors.saturating_sub(OWN_DESCRIPTORS), "the limit of open files, ulimit -n"),
        (half(free_threads()), "/proc/sys/kernel/threads-max"),
        (half(number("/proc/sys/kernel/pid_max")), "/proc/sys/kernel/pid_max"),
        (half(user_threads()), "the limit of processes, ulimit -u"),
        (half(cgroup_threads()), "pids.max of the cgroup"),
        (
            half(number("/proc/sys/vm/max_map_count")) / MAPPINGS_EACH * 2,
            "/proc/sys/vm/max_map_count",
        ),
        (half(free_memory()) / BYTES_EACH, "the free memory"),
        (half(ports()), "/proc/sys/net/ipv4/ip_local_port_range"),
    ];
    let (most, why) = limits.into_iter().min_by_key(|(most, _)| *most).unwrap_or((MANY, ""));
    if most < MANY { (most, Some(why)) } else { (MANY, None) }
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn free_threads() -> Option<u64> {
    let most = number("/proc/sys/kernel/threads-max")?;
    Some(most.saturating_sub(all_threads()?))
}

/// Those that exist: `0.20 0.18 0.12 1/80 11206` (proc(5), loadavg).
fn all_threads() -> Option<u64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// The limit is on all threads of a user, and does not hold for root. How many this user has is not told; all threads are
/// no fewer.
fn user_threads() -> Option<u64> {
    use rustix::process::{Resource, geteuid, getrlimit};
    if geteuid().is_root() {
        return None;
    }
    Some(getrlimit(Resource::Nproc).current?.saturating_sub(all_threads()?))
}

/// What is free in the cgroup of this process, version 2, and those around it.
fn cgroup_threads() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folder = root.join(own);
    let around = folder.ancestors().take_while(|folder| folder.starts_with(root));
    let free = |folder: &Path| {
        let read = |name: &str| number(folder.join(name).to_str()?);
        Some(read("pids.max")?.saturating_sub(read("pids.current")?))
    };
    around.filter_map(free).min()
}

fn free_memory() -> Option<u64> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Those from which the kernel takes one for each connection.
fn ports() -> Option<u64> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let (first, last) = range.trim().split_once(char::is_whitespace)?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.trim().parse().ok()?);
    Some(last.saturating_sub(first) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_the_reason_that_is_named() {
        let (most, why) = most_connections(OWN_DESCRIPTORS + 5);
        assert_eq!((most, why), (5, Some("the limit of open files, ulimit -n")));
        assert!(most_connections(u64::MAX).0 <= MANY);
    }

    #[test]
    fn the_kernel_tells_what_is_free() {
        assert!(free_memory().unwrap() > 1 << 20);
        assert!(free_threads().unwrap() > 0);
        assert!(ports().unwrap() > 0);
        assert!(send_buffer() > 4096 && receive_buffer() > 4096);
    }
}
