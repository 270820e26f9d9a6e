//! What a server process has used so far, as /proc tells.

use std::{fs, time::Duration};

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory it ever had, in bytes.
    pub(crate) peak_memory: u64,
    /// What it has now, in bytes.
    pub(crate) memory: u64,
    /// Times that one of its threads stopped running, by itself or not.
    pub(crate) context_switches: u64,
}

/// The usage of process `pid`, if there is such a process.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let (mut nanos, mut context_switches) = (0, 0);
    for task in tasks.flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).ok();
        // Nanoseconds on a CPU come first (scheduler/sched-stats.rst); stat counts in hundredths of a second.
        let schedstat = read("schedstat").unwrap_or_default();
        nanos += schedstat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0_u64);
        let status = read("status").unwrap_or_default();
        context_switches += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
        context_switches += field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage {
        cpu: Duration::from_nanos(nanos),
        peak_memory: field(&status, "VmHWM")? * 1024,
        memory: field(&status, "VmRSS")? * 1024,
        context_switches,
    })
}

/// A line's number: `VmHWM:      4312 kB`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.peak_memory >= usage.memory && usage.memory > 0, "{usage:?}");
        assert!(usage.cpu > Duration::ZERO, "{usage:?}");
        assert_eq!(super::usage(u32::MAX), None);
    }

    #[test]
    fn fields_of_a_status() {
        let status = "Name:\tx\nVmHWM:\t    4312 kB\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(
            (field(status, "VmHWM"), field(status, "voluntary_ctxt_switches")),
            (Some(4312), Some(7))
        );
        assert_eq!(field(status, "Vm"), None);
    }
}
