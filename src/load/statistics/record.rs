//! The measurements of one thread, and their messages to the main thread, window by window.

use std::{
    fs,
    sync::{Arc, mpsc::Sender},
};

use hdrhistogram::Histogram;

use super::{
    control::{Control, Phase},
    outage::Outage,
};
use crate::load::{
    check::fault::{Fault, Faults},
    nanos::Nanos,
};

/// Significant digits of each latency.
const DIGITS: u8 = 3;

/// An empty histogram of nanoseconds, which grows as it must.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).unwrap_or_else(|error| unreachable!("{DIGITS} digits: {error}"))
}

/// Enters a time.
fn record(histogram: &mut Histogram<u64>, time: Nanos, times: u64) {
    // It grows as it must, so only a time that no 64 bits hold could fail.
    let _ = histogram.record_n(time.max(1), times);
}

/// How long TLS handshakes took, from the first byte sent until both sides may send.
#[derive(Debug, Clone)]
pub(crate) struct Handshakes {
    pub(crate) full: Histogram<u64>,
    pub(crate) resumed: Histogram<u64>,
    /// Those that were completed while it was measured.
    pub(crate) measured: u64,
}

impl Handshakes {
    pub(crate) fn new() -> Self {
        Self { full: histogram(), resumed: histogram(), measured: 0 }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn record(&mut self, took: Nanos, is_resumed: bool, is_measured: bool) {
        record(if is_resumed { &mut self.resumed } else { &mut self.full }, took, 1);
        self.measured += u64::from(is_measured);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // It fails only for values that the sum cannot hold, and the sum grows.
        let _ = self.full.add(&other.full);
        let _ = self.resumed.add(&other.resumed);
        self.measured += other.measured;
    }
}

/// The measurements of one window of time, in one thread.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// The window's number; what happens before the first belongs to that, what happens after the last to the last.
    pub(crate) index: usize,
    /// Frames that came back within the window, and their bytes.
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Of frames due within the time of measuring; of those that never came back, how long they were waited for.
    pub(crate) latency: Histogram<u64>,
    /// Among those, frames that never came back.
    pub(crate) unanswered: u64,
    /// The delay of sending that the client itself caused.
    pub(crate) lag: Histogram<u64>,
    /// From the first attempt to connect until it was done.
    pub(crate) connecting: Histogram<u64>,
    pub(crate) handshakes: Handshakes,
    pub(crate) faults: Faults,
    /// Churn: connections that had all their round trips.
    pub(crate) cycles: u64,
    /// Frames in flight at its end.
    pub(crate) in_flight: u64,
}

impl Window {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            frames: 0,
            bytes: 0,
            latency: histogram(),
            unanswered: 0,
            lag: histogram(),
            connecting: histogram(),
            handshakes: Handshakes::new(),
            faults: Faults::default(),
            cycles: 0,
            in_flight: 0,
        }
    }
}

/// A message from a thread to the main thread.
#[derive(Debug)]
pub(crate) enum Message {
    /// All its connections are open, or as many as ever will be.
    Filled {
        missing: usize,
    },
    Window(Box<Window>),
    /// The first wrong answer, with both sides.
    Difference(String),
    /// It is done.
    Done(Summary),
    /// It cannot go on; the text has the cause and the remedy.
    Failed(String),
}

/// Results that are known at the end only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// Of the CPU, while measuring.
    pub(crate) cpu: CpuTime,
    /// Frames that were due and never sent, because too many were in flight.
    pub(crate) unsent: u64,
    /// Idle connections that still echoed at the end.
    pub(crate) held: u64,
    /// UDP: losses at the positions where the loop guard of `resound serve` drops.
    pub(crate) guard_losses: u64,
    /// When the server did not answer this thread.
    pub(crate) outages: Vec<Outage>,
}

/// One thread's measurements.
#[derive(Debug)]
pub(crate) struct Recorder {
    control: Arc<Control>,
    sender: Sender<Message>,
    window: Window,
    /// In nanoseconds.
    window_length: Nanos,
    told_of_a_difference: bool,
    guard_losses: u64,
    cpu_at_start: Option<CpuTime>,
    cpu: Option<CpuTime>,
}

impl Recorder {
    pub(crate) fn new(
        control: Arc<Control>,
        sender: Sender<Message>,
        window_length: Nanos,
    ) -> Self {
        Self {
            control,
            sender,
            window: Window::new(0),
            window_length,
            told_of_a_difference: false,
            guard_losses: 0,
            cpu_at_start: None,
            cpu: None,
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.control.now()
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// `frames` of `bytes` together came back.
    pub(crate) fn back(&mut self, now: Nanos, frames: u64, bytes: usize) {
        if self.control.counts(now) {
            self.window.frames += frames;
            self.window.bytes += bytes as u64;
        }
    }

    /// `frames` came back that were due at `due`.
    pub(crate) fn latency(&mut self, due: Nanos, now: Nanos, frames: u64) {
        if self.control.counts(due) {
            record(&mut self.window.latency, now.saturating_sub(due), frames);
        }
    }

    /// `frames` that were due at `due` are given up at `now`: they count with the time they were waited for.
    pub(crate) fn unanswered(&mut self, due: Nanos, now: Nanos, frames: u64) {
        if self.control.counts(due) {
            self.window.unanswered += frames;
        }
        self.latency(due, now, frames);
    }

    /// A frame that was due at `due` was sent at `now`, late because of this program.
    pub(crate) fn lag(&mut self, due: Nanos, now: Nanos) {
        if self.control.counts(due) {
            record(&mut self.window.lag, now.saturating_sub(due), 1);
        }
    }

    pub(crate) fn connected(&mut self, began: Nanos, now: Nanos) {
        record(&mut self.window.connecting, now.saturating_sub(began), 1);
    }

    /// A TLS handshake is complete, and took so long.
    #[cfg(feature = "tls")]
    pub(crate) fn handshake(&mut self, took: Nanos, is_resumed: bool) {
        let is_measured = self.control.counts(self.now());
        self.window.handshakes.record(took, is_resumed, is_measured);
    }

    pub(crate) fn cycle(&mut self, now: Nanos) {
        if self.control.counts(now) {
            self.window.cycles += 1;
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault, times: u64) {
        self.window.faults.count(fault, times);
    }

    /// UDP: datagrams were lost where the loop guard of `resound serve` drops.
    pub(crate) const fn guard_losses(&mut self, losses: u64) {
        self.guard_losses += losses;
    }

    /// Hands on how the first wrong answer looked.
    pub(crate) fn difference(&mut self, show: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.told_of_a_difference, true) {
            self.tell(Message::Difference(show()));
        }
    }

    pub(crate) fn tell(&self, message: Message) {
        // The main thread is gone only if the whole run has failed.
        let _ = self.sender.send(message);
    }

    /// When the present window ends.
    pub(crate) fn window_end(&self) -> Nanos {
        let windows = (self.window.index as u64 + 1).saturating_mul(self.window_length);
        self.control.start().saturating_add(windows).min(self.control.end())
    }

    /// Hands on windows that are over; where the run stands.
    pub(crate) fn tick(&mut self, now: Nanos, in_flight: u64) -> Phase {
        let phase = self.control.phase(now);
        if phase >= Phase::Measuring && self.cpu_at_start.is_none() {
            self.cpu_at_start = Some(CpuTime::of_this_thread());
        }
        if phase == Phase::Measuring && now >= self.window_end() {
            let past = (now - self.control.start()) / self.window_length.max(1);
            let index = usize::try_from(past).unwrap_or(usize::MAX);
            self.hand_on(index, in_flight);
        }
        if phase == Phase::After
            && self.cpu.is_none()
            && let Some(before) = self.cpu_at_start
        {
            self.cpu = Some(CpuTime::of_this_thread().since(before));
        }
        phase
    }

    fn hand_on(&mut self, next: usize, in_flight: u64) {
        let mut window = std::mem::replace(&mut self.window, Window::new(next));
        window.in_flight = in_flight;
        self.tell(Message::Window(Box::new(window)));
    }

    /// Hands on the rest.
    pub(crate) fn finish(&mut self, unsent: u64, held: u64, outages: Vec<Outage>) {
        self.hand_on(0, 0);
        let guard_losses = self.guard_losses;
        let cpu = self.cpu.unwrap_or_default();
        let summary = Summary { cpu, unsent, held, guard_losses, outages };
        self.tell(Message::Done(summary));
    }
}

/// A thread's share of the CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// It ran.
    pub(crate) ran: Nanos,
    /// It could have run, and others had the CPU. 0 where the kernel does not count it.
    pub(crate) waited: Nanos,
}

impl CpuTime {
    /// Since the calling thread began.
    fn of_this_thread() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
        // Nanoseconds on a CPU, and nanoseconds of waiting for one (scheduler/sched-stats.rst).
        let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let waited = schedstat.split_whitespace().nth(1).and_then(|waited| waited.parse().ok());
        Self {
            ran: seconds.unwrap_or(0) * 1_000_000_000 + rest.unwrap_or(0),
            waited: waited.unwrap_or(0),
        }
    }

    const fn since(self, before: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(before.ran),
            waited: self.waited.saturating_sub(before.waited),
        }
    }
}
