//! What the processes of a server have used so far, as proc(5) reports it.

use std::{collections::BTreeSet, fs, iter::Sum, time::Duration};

/// What a process, or a group of them, has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time of all threads, and of the child processes that have ended and were waited for.
    pub(crate) cpu: Duration,
    /// The most memory that was resident, in bytes. Of several processes the sum, whether or not they had it at the same
    /// time.
    pub(crate) peak_memory: u64,
    /// What is resident now, in bytes.
    pub(crate) memory: u64,
    /// What of that is the processes' own: neither code nor files, and shared with no other process.
    pub(crate) anonymous: u64,
    /// How often a thread stopped running, voluntarily or not.
    pub(crate) context_switches: u64,
    /// How often of that it did so voluntarily: it had to wait for something.
    pub(crate) sleeps: u64,
    /// Threads that run now.
    pub(crate) threads: u64,
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, usage| Self {
            cpu: sum.cpu + usage.cpu,
            peak_memory: sum.peak_memory + usage.peak_memory,
            memory: sum.memory + usage.memory,
            anonymous: sum.anonymous + usage.anonymous,
            context_switches: sum.context_switches + usage.context_switches,
            sleeps: sum.sleeps + usage.sleeps,
            threads: sum.threads + usage.threads,
        })
    }
}

/// Times in /proc/PID/stat are in units of 1/100 s: `USER_HZ`, part of the kernel's interface.
const TICK: Duration = Duration::from_millis(10);

/// The usage of process group `group`, if any process of it runs.
pub(crate) fn group_usage(group: u32) -> Option<Usage> {
    let members = members(group);
    (!members.is_empty()).then(|| usage_of(&members))
}

/// The usage of these processes. One that has ended is not counted.
pub(crate) fn usage_of(processes: &[u32]) -> Usage {
    processes.iter().copied().filter_map(usage).sum()
}

/// The processes of group `group` that have not ended.
pub(crate) fn members(group: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_member = |process: &u32| {
        let Some(stat) = Stat::read(*process) else { return false };
        stat.group == group && !matches!(stat.state, 'Z' | 'X')
    };
    processes.filter(is_member).collect()
}

/// The threads of these processes that run, or wait for a CPU to run on.
pub(crate) fn runnable(processes: &[u32]) -> BTreeSet<u32> {
    threads(processes).filter(|(_, state)| *state == 'R').map(|(thread, _)| thread).collect()
}

/// Whether all threads of these processes are stopped, as by SIGSTOP.
pub(crate) fn are_stopped(processes: &[u32]) -> bool {
    threads(processes).all(|(_, state)| state == 'T')
}

/// The threads of these processes, and the state of each.
fn threads(processes: &[u32]) -> impl Iterator<Item = (u32, char)> {
    let threads = processes.iter().filter_map(|process| {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
        let name = |task: fs::DirEntry| task.file_name().to_str()?.parse().ok();
        Some(tasks.flatten().filter_map(name).collect::<Vec<u32>>())
    });
    // A thread has a folder of its own, though none is listed (proc(5)).
    threads.flatten().filter_map(|thread| Some((thread, Stat::read(thread)?.state)))
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    group: u32,
    /// Of its threads, those that have ended included.
    own: Duration,
    /// Of its child processes that have ended and were waited for.
    children: Duration,
}

impl Stat {
    fn read(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// `4711 (name) S 1 4711 …`, where the name may contain anything, parentheses and spaces included.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            own: TICK * (ticks(11)? + ticks(12)?),
            children: TICK * (ticks(13)? + ticks(14)?),
        })
    }
}

/// The usage of `process`, if there is such a process.
fn usage(process: u32) -> Option<Usage> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let (mut nanos, mut sleeps, mut preemptions, mut threads) = (0, 0, 0, 0);
    for task in tasks.flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).ok();
        // Nanoseconds on a CPU come first (scheduler/sched-stats.rst).
        let schedstat = read("schedstat").unwrap_or_default();
        nanos += schedstat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0_u64);
        let status = read("status").unwrap_or_default();
        sleeps += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
        preemptions += field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
        threads += 1;
    }
    let stat = Stat::read(process)?;
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    Some(Usage {
        // The threads' sum is more precise, but lacks threads that have ended.
        cpu: Duration::from_nanos(nanos).max(stat.own) + stat.children,
        peak_memory: field(&status, "VmHWM")? * 1024,
        memory: field(&status, "VmRSS")? * 1024,
        anonymous: field(&status, "RssAnon")? * 1024,
        context_switches: sleeps + preemptions,
        sleeps,
        threads,
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
    fn a_stat_is_read_whatever_the_name_is() {
        let numbers = "4 0 -1 0 1 2 3 4 150 50 7 3 20 0 1";
        let stat = Stat::parse(&format!("12 (a) R (b) S 1 77 {numbers}")).unwrap();
        let time = Duration::from_millis;
        let expected = Stat { state: 'S', group: 77, own: time(2000), children: time(100) };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("12 (a) S 1"), None);
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
