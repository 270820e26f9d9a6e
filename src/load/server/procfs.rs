//! What the processes of a server have used so far, as proc(5) reports it.

use std::{
    collections::BTreeSet,
    fs,
    iter::Sum,
    time::{Duration, Instant},
};

use nix::{time::clock_getcpuclockid, unistd::Pid};

/// What a process, or a group of them, has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time of all threads, those that have ended included, and of the child processes that have ended and were waited
    /// for.
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

/// The usage of these processes, and when their CPU time was read. One that has ended is not counted; `None` if all have.
pub(crate) fn usage_of(processes: &[u32]) -> Option<(Instant, Usage)> {
    let cpu: Vec<Duration> = processes.iter().map(|process| cpu_time(*process)).collect();
    let read = Instant::now();
    let usages = processes.iter().zip(cpu).filter_map(|(process, cpu)| usage(*process, cpu));
    let usages: Vec<Usage> = usages.collect();
    (!usages.is_empty()).then(|| (read, usages.into_iter().sum()))
}

/// The processes of group `group` that have not ended.
pub(crate) fn members(group: u32) -> Vec<u32> {
    let of_the_group = |(process, stat): (u32, Stat)| (stat.group == group).then_some(process);
    living().filter_map(of_the_group).collect()
}

/// Process `root` and all that descend from it and have not ended.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let living: Vec<(u32, Stat)> = living().collect();
    let mut found: Vec<u32> =
        living.iter().map(|(process, _)| *process).filter(|process| *process == root).collect();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = living.iter().filter(|(_, stat)| stat.parent == parent);
        found.extend(children.map(|(process, _)| *process));
        next += 1;
    }
    found
}

/// All processes of the machine that have not ended.
fn living() -> impl Iterator<Item = (u32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let stats = processes.filter_map(|process| Some((process, Stat::read(process)?)));
    stats.filter(|(_, stat)| !matches!(stat.state, 'Z' | 'X'))
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
    parent: u32,
    group: u32,
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
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            children: TICK * (ticks(13)? + ticks(14)?),
        })
    }
}

/// The CPU time of all threads of `process` (`clock_getcpuclockid(3)`). A thread that is running was last counted at the
/// system's last clock tick.
fn cpu_time(process: u32) -> Duration {
    let clock =
        i32::try_from(process).ok().and_then(|pid| clock_getcpuclockid(Pid::from_raw(pid)).ok());
    clock.and_then(|clock| clock.now().ok()).map_or(Duration::ZERO, Duration::from)
}

/// The usage of `process`, of which the CPU time is known; `None` if it has ended.
fn usage(process: u32, cpu: Duration) -> Option<Usage> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let (mut sleeps, mut preemptions, mut threads) = (0, 0, 0);
    for task in tasks.flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        sleeps += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
        preemptions += field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
        threads += 1;
    }
    let stat = Stat::read(process)?;
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    Some(Usage {
        cpu: cpu + stat.children,
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
    use std::{
        process::{Command, Stdio},
        thread,
    };

    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let (_, usage) = usage_of(&[std::process::id()]).unwrap();
        assert!(usage.peak_memory >= usage.memory && usage.memory > 0, "{usage:?}");
        assert!(usage.cpu > Duration::ZERO, "{usage:?}");
        assert_eq!(usage_of(&[u32::MAX]), None);
    }

    #[test]
    fn descendants_are_found_until_they_end() {
        let mut shell = Command::new("sh");
        // The shell waits for the one that it starts: `cat` is not its last command.
        let mut shell = shell.args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while descendants(shell.id()).len() < 2 {
            assert!(Instant::now() < deadline, "{:?}", descendants(shell.id()));
            thread::sleep(Duration::from_millis(5));
        }
        let found = descendants(shell.id());
        let all = descendants(std::process::id());
        assert!(found[0] == shell.id() && found.iter().all(|one| all.contains(one)), "{all:?}");
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(descendants(shell.id()).is_empty());
    }

    #[test]
    fn a_stat_is_read_whatever_the_name_is() {
        let numbers = "4 0 -1 0 1 2 3 4 150 50 7 3 20 0 1";
        let stat = Stat::parse(&format!("12 (a) R (b) S 1 77 {numbers}")).unwrap();
        let time = Duration::from_millis;
        let expected = Stat { state: 'S', parent: 1, group: 77, children: time(100) };
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
