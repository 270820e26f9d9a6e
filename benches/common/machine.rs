//! The machine the servers are compared on: its cores, and how far apart they are just now.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Where every server runs.
pub const SERVER_CORE: usize = 0;
/// Where the load generator runs.
pub const CLIENT_CORE: usize = 1;

/// Keeps the calling thread, and what it starts from now on, on one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).map_err(|error| {
        io::Error::other(format!(
            "cannot run on core {core} ({error}): servers and load each need a core of their own, so two at least"
        ))
    })
}

/// How far the two cores are from each other.
///
/// A hypervisor moves virtual CPUs between physical ones. Whether the two share a cache at the moment moves results
/// by a third, so only slices taken in the same place are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Near,
    Far,
}

impl Place {
    /// Between the two, on every machine seen so far: 80 ns within a shared cache, 360 ns across.
    const FAR_FROM: Duration = Duration::from_nanos(180);

    pub fn of(round_trip: Duration) -> Self {
        if round_trip < Self::FAR_FROM { Self::Near } else { Self::Far }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// One word alone in its cache line (two lines, because they are fetched in pairs).
#[repr(align(128))]
struct Line(AtomicU64);

const ROUND_TRIPS: u64 = 100;
const BATCHES: u64 = 21;

/// The time in which a cache line goes from one core to the other and back: the median of some batches.
pub fn cache_line_round_trip() -> io::Result<Duration> {
    let ping = Line(AtomicU64::new(0));
    let pong = Line(AtomicU64::new(0));
    let last = ROUND_TRIPS * BATCHES;
    thread::scope(|scope| {
        let far_side = scope.spawn(|| {
            let pinned = pin(SERVER_CORE);
            for turn in 1..=last {
                while ping.0.load(Ordering::Acquire) != turn {
                    std::hint::spin_loop();
                }
                pong.0.store(turn, Ordering::Release);
            }
            pinned
        });
        let mut batches = Vec::new();
        let mut started = Instant::now();
        for turn in 1..=last {
            ping.0.store(turn, Ordering::Release);
            while pong.0.load(Ordering::Acquire) != turn {
                std::hint::spin_loop();
            }
            if turn % ROUND_TRIPS == 0 {
                batches.push(started.elapsed());
                started = Instant::now();
            }
        }
        far_side.join().map_err(|_| io::Error::other("the cache line measurement panicked"))??;
        batches.sort_unstable();
        let median = batches[batches.len() / 2];
        Ok(median / u32::try_from(ROUND_TRIPS).map_err(io::Error::other)?)
    })
}

/// How long the calling thread could have run in its life while others had its core.
pub fn waited_for_core() -> io::Result<Duration> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let waited = times.split_whitespace().nth(1).and_then(|time| time.parse().ok());
    Ok(Duration::from_nanos(waited.unwrap_or(0)))
}

/// The processor's name, for the heading of a report.
pub fn processor() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, Linux {}", kernel.trim())
}
