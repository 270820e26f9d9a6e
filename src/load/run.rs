//! One run: starts the threads, sets the times of the measurement, collects their messages, and makes the report.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use hdrhistogram::Histogram;
use log::warn;

use super::{
    check::fault::Fault,
    engine::{plan::Plan, udp, worker},
    nanos::{Nanos, nanos, seconds},
    report::{
        self, Configuration, Connections, Histograms, Latency, Report, SCHEMA, ServerUsage,
        WindowReport, handshakes::HandshakeReport, live::Live, merge::Merged, microseconds,
        warnings,
    },
    server::{sampler::Sampler, stop::Stop, watched::Watched},
    statistics::{
        control::{Control, Phase},
        hdr,
        outage::{self, Outage},
        record::{self, CpuTime, Message, Summary, Window},
    },
    wire::protocol::Wire,
};
use crate::common::descriptor_table;

/// How often to check for a signal and for the beginning of a phase.
const TICK: Duration = Duration::from_millis(10);

/// How often it is looked whether a server that was started for the run is still there.
const LOOK: Duration = Duration::from_millis(100);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) report: Report,
    pub(crate) started: SystemTime,
    pub(crate) window: Duration,
    /// Latencies of each window, for `--hdr`.
    pub(crate) windows: Vec<Histogram<u64>>,
    /// When and how the server that was started for the run has ended, if it has.
    pub(crate) server_end: Option<String>,
}

impl From<Merged> for Outcome {
    fn from(merged: Merged) -> Self {
        let Merged { report, windows, window } = merged;
        let began = Duration::try_from_secs_f64(report.measured_from_s).unwrap_or_default();
        let started = SystemTime::UNIX_EPOCH + began;
        Self { report, started, window, windows, server_end: None }
    }
}

/// Runs `plan`, and watches `server` meanwhile, if its processes are known.
///
/// # Errors
///
/// Text with the cause and the remedy, where nothing could be measured.
pub(crate) fn run(
    plan: &Plan,
    name: &str,
    server: Option<&dyn Watched>,
    live: &mut Live,
    stop: &Stop,
) -> Result<Outcome, String> {
    let control = Arc::new(Control::new());
    if plan.barrier.waits() {
        control.hold_back();
    }
    let (sender, messages) = mpsc::channel();
    let shared = Arc::new(plan.clone());
    let work = if *plan.wire() == Wire::Udp { udp::run } else { worker::run };
    let mut threads = Vec::new();
    for thread in 0..plan.threads {
        let (plan, control, sender) = (Arc::clone(&shared), Arc::clone(&control), sender.clone());
        let job = worker::Job { plan, thread, control, sender };
        let own_table = shared.own_tables;
        let spawned = thread::Builder::new().name(format!("load-{thread}")).spawn(move || {
            if own_table && let Err(error) = descriptor_table::own() {
                // It was tried before. Where connections now lack room, opening them says so.
                warn!("load-{thread} shares the table of descriptors: unshare(2): {error}");
            }
            work(job);
        });
        threads.push(spawned.map_err(|error| format!("cannot start thread {thread}: {error}"))?);
    }
    drop(sender);
    let mut gathering = Gathering::new(plan, &control, server);
    let gathered = gathering.gather(&messages, live, stop);
    live.clear();
    if gathered.is_err() {
        // The run has failed, so the other threads need not finish.
        control.end_now();
        return gathered.map(|()| unreachable!("an error"));
    }
    for thread in threads {
        thread.join().map_err(|_| "a thread of the load has panicked".to_owned())?;
    }
    gathering.outcome(name)
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Threads are opening connections.
    Opening,
    /// All connections are open, and the barrier is waited for.
    Ready,
    Loading,
}

/// What the threads have reported so far.
#[derive(Debug)]
struct Gathering<'a> {
    plan: &'a Plan,
    control: &'a Control,
    server: Option<&'a dyn Watched>,
    sampler: Sampler<'a>,
    /// When measuring began and ended, by the system's clock.
    started: SystemTime,
    ended: Option<SystemTime>,
    windows: Vec<Window>,
    /// Windows handed on by each thread, whose sums are not shown yet.
    shown: usize,
    total: Histogram<u64>,
    summaries: Vec<Summary>,
    filled: u32,
    missing: usize,
    stage: Stage,
    /// By how much the load began later than `--start-at`.
    late: Duration,
    difference: Option<String>,
    stopped: bool,
    /// Whether measuring has begun.
    measuring: bool,
    /// When the server is looked after next, and how it has ended.
    next_look: Instant,
    server_end: Option<String>,
}

impl<'a> Gathering<'a> {
    fn new(plan: &'a Plan, control: &'a Control, server: Option<&'a dyn Watched>) -> Self {
        Self {
            plan,
            control,
            server,
            sampler: Sampler::new(server),
            started: SystemTime::now(),
            ended: None,
            windows: Vec::new(),
            shown: 0,
            total: record::histogram(),
            summaries: Vec::new(),
            filled: 0,
            missing: 0,
            stage: Stage::Opening,
            late: Duration::ZERO,
            difference: None,
            stopped: false,
            measuring: false,
            next_look: Instant::now(),
            server_end: None,
        }
    }

    /// Receives the threads' messages until all are done.
    fn gather(
        &mut self,
        messages: &Receiver<Message>,
        live: &mut Live,
        stop: &Stop,
    ) -> Result<(), String> {
        while self.summaries.len() < self.plan.threads as usize {
            match messages.recv_timeout(self.until_due()) {
                Ok(Message::Filled { missing }) => {
                    self.filled += 1;
                    self.missing += missing;
                    if self.filled == self.plan.threads {
                        self.ready(live)?;
                    }
                }
                Ok(Message::Window(window)) => self.window(*window),
                Ok(Message::Difference(difference)) => {
                    self.difference.get_or_insert(difference);
                }
                Ok(Message::Done(summary)) => self.summaries.push(summary),
                Ok(Message::Failed(text)) => return Err(text),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("a thread of the load has ended early".to_owned());
                }
            }
            self.begin_when_let_go();
            self.watch();
            self.look_after_server()?;
            self.show(live);
            if !self.stopped && stop.is_asked_for() {
                self.stopped = true;
                self.control.end_now();
            }
        }
        Ok(())
    }

    /// All connections are open: says so to whoever waits for it.
    fn ready(&mut self, live: &mut Live) -> Result<(), String> {
        self.stage = Stage::Ready;
        let open = self.plan.connections + self.plan.hold - self.missing;
        if let Some(line) = self.plan.barrier.ready(open)? {
            live.announce(&line);
        }
        Ok(())
    }

    /// Sets the times of the run, once the barrier lets it begin.
    fn begin_when_let_go(&mut self) {
        let now = self.control.now();
        if self.stage != Stage::Ready || self.stopped {
            return;
        }
        let Some((go, late)) = self.plan.barrier.begins(now) else { return };
        self.stage = Stage::Loading;
        self.late = late;
        if self.plan.barrier.waits() {
            self.control.let_go(go);
        }
        let start = go + nanos(self.plan.warm_up);
        self.control.measure(start, start + nanos(self.plan.duration));
    }

    /// Reads the clock and the server's usage when measuring begins and when it ends.
    fn watch(&mut self) {
        let now = self.control.now();
        self.sampler.look(now, self.control);
        let phase = self.control.phase(now);
        let due = [phase >= Phase::Measuring, phase == Phase::After];
        let ago = |time: Nanos| SystemTime::now() - Duration::from_nanos(now.saturating_sub(time));
        if due[0] && !self.measuring {
            self.measuring = true;
            self.started = ago(self.control.start());
        }
        if due[1] && self.ended.is_none() {
            self.ended = Some(ago(self.control.end()));
        }
    }

    /// How long messages may be waited for: until measuring begins or ends, or for a tick.
    fn until_due(&self) -> Duration {
        let now = self.control.now();
        let times = [self.control.start(), self.control.end()].into_iter();
        let next = times.filter(|time| *time > now).map(|time| Duration::from_nanos(time - now));
        next.fold(TICK, Duration::min)
    }

    /// Ends the run if the server has ended: nothing can be measured any more.
    fn look_after_server(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if now < self.next_look || self.server_end.is_some() {
            return Ok(());
        }
        self.next_look = now + LOOK;
        let Some(end) = self.server.and_then(Watched::ended) else { return Ok(()) };
        let since = self.control.now();
        if self.control.phase(since) == Phase::Before {
            return Err(format!("nothing could be measured, because the server {end}"));
        }
        let since = seconds(since.saturating_sub(self.control.start()));
        self.server_end =
            Some(format!("nothing was measured after {since:.2} s, because the server {end}"));
        self.stopped = true;
        self.control.end_now();
        Ok(())
    }

    /// Adds the window of one thread to those of the others.
    fn window(&mut self, window: Window) {
        // It fails only for values that the sum cannot hold, and the sum grows.
        let _ = self.total.add(&window.latency);
        while self.windows.len() <= window.index {
            self.windows.push(Window::new(self.windows.len()));
        }
        let sum = &mut self.windows[window.index];
        sum.frames += window.frames;
        sum.bytes += window.bytes;
        sum.faults += window.faults;
        sum.cycles += window.cycles;
        sum.in_flight += window.in_flight;
        sum.unanswered += window.unanswered;
        sum.handshakes.add(&window.handshakes);
        for (mine, theirs) in [
            (&mut sum.latency, &window.latency),
            (&mut sum.lag, &window.lag),
            (&mut sum.connecting, &window.connecting),
        ] {
            let _ = mine.add(theirs);
        }
    }

    /// Shows the last window that must be whole by now.
    fn show(&mut self, live: &mut Live) {
        let now = self.control.now();
        let start = self.control.start();
        match self.control.phase(now) {
            Phase::Before => match self.stage {
                Stage::Opening => live.filling(self.plan, self.control.open()),
                Stage::Ready => {}
                Stage::Loading => live.warming_up(self.plan),
            },
            Phase::Measuring | Phase::After => {
                let window = nanos(self.plan.window());
                // One tick later the threads have sent their messages.
                let past = now.saturating_sub(start + nanos(TICK)) / window.max(1);
                let past = usize::try_from(past).unwrap_or(usize::MAX).min(self.windows.len());
                if past > self.shown {
                    self.shown = past;
                    let share = seconds(now - start) / self.plan.duration.as_secs_f64();
                    live.window(&self.windows[past - 1], self.plan.window(), share);
                }
            }
        }
    }

    /// Makes the outcome.
    fn outcome(mut self, name: &str) -> Result<Outcome, String> {
        let measured = self.control.end().saturating_sub(self.control.start());
        if self.stopped && measured == 0 {
            return Err("stopped before anything was measured".to_owned());
        }
        let length = nanos(self.plan.window());
        let last = usize::try_from(measured.div_ceil(length.max(1))).unwrap_or(usize::MAX);
        self.windows.truncate(last.max(1));
        let report = self.report(name, measured);
        Ok(Outcome {
            report,
            started: self.started,
            window: self.plan.window(),
            windows: self.windows.into_iter().map(|window| window.latency).collect(),
            server_end: self.server_end,
        })
    }

    fn report(&self, name: &str, measured: Nanos) -> Report {
        let plan = self.plan;
        let duration_s = seconds(measured).max(1e-9);
        let mut all = Window::new(0);
        for window in &self.windows {
            all.frames += window.frames;
            all.bytes += window.bytes;
            all.cycles += window.cycles;
            all.faults += window.faults;
            all.unanswered += window.unanswered;
            let _ = all.lag.add(&window.lag);
            let _ = all.connecting.add(&window.connecting);
            all.handshakes.add(&window.handshakes);
        }
        let outages = outage::of_all(self.summaries.iter().map(|summary| &summary.outages[..]));
        outages.iter().for_each(|outage| all.faults.count(outage.fault, 1));
        all.faults.count(Fault::Unopened, self.missing as u64);
        if self.server_end.is_some() && all.faults.of(Fault::Ended) == 0 {
            all.faults.count(Fault::Ended, 1);
        }
        let most = |of: fn(&CpuTime) -> Nanos| {
            self.summaries.iter().map(|summary| of(&summary.cpu)).max().unwrap_or(0)
        };
        let mut report = Report {
            schema: SCHEMA,
            tool: concat!("resound ", env!("CARGO_PKG_VERSION")).to_owned(),
            name: name.to_owned(),
            started_at: since_1970(self.started).as_secs(),
            measured_from_s: since_1970(self.started).as_secs_f64(),
            measured_to_s: since_1970(self.ended.unwrap_or_else(SystemTime::now)).as_secs_f64(),
            late_s: self.late.as_secs_f64(),
            config: Configuration::from(plan),
            duration_s,
            ended_early: self.stopped,
            frames: all.frames,
            frames_per_s: all.frames as f64 / duration_s,
            megabytes_per_s: all.bytes as f64 / 1e6 / duration_s,
            latency_us: Latency::from(&self.total),
            unanswered: all.unanswered,
            down_s: self.down(&outages),
            errors: all.faults.total(),
            errors_by_name: report::by_name(&all.faults),
            first_difference: self.difference.clone(),
            unsent: self.summaries.iter().map(|summary| summary.unsent).sum(),
            guard_losses: self.summaries.iter().map(|summary| summary.guard_losses).sum(),
            send_lag_us: plan.rate.map(|_| Latency::from(&all.lag)),
            connections: Connections {
                opened: all.connecting.len(),
                connect_us: Latency::from(&all.connecting),
                cycles_per_s: all.cycles as f64 / duration_s,
                held: self.summaries.iter().map(|summary| summary.held).sum(),
            },
            handshakes: plan.tls.as_ref().map(|_| {
                HandshakeReport::new(&all.handshakes, all.handshakes.measured as f64 / duration_s)
            }),
            client_cpu_share: seconds(most(|cpu| cpu.ran)) / duration_s,
            client_wait_share: seconds(most(|cpu| cpu.waited)) / duration_s,
            server: self.server_usage(all.frames),
            windows: self.window_reports(measured),
            histograms: Some(self.histograms(&all)),
            parts: Vec::new(),
            distribution: report::distribution(&self.total),
            ramp: None,
            warnings: Vec::new(),
        };
        report.warnings = warnings::warnings(&report, self.missing);
        report.warnings.splice(0..0, self.server_end.clone());
        report
    }

    fn down(&self, outages: &[Outage]) -> f64 {
        seconds(outage::time_within(outages, self.control.start(), self.control.end()))
    }

    fn window_reports(&self, measured: Nanos) -> Vec<WindowReport> {
        let length = nanos(self.plan.window());
        let whole = usize::try_from(measured / length.max(1)).unwrap_or(usize::MAX);
        let reported = self.windows.iter().take(whole);
        reported
            .map(|window| WindowReport {
                start_s: seconds(window.index as u64 * length),
                frames_per_s: window.frames as f64 / seconds(length),
                p50_us: microseconds(window.latency.value_at_quantile(0.5)),
                p99_us: microseconds(window.latency.value_at_quantile(0.99)),
                max_us: microseconds(window.latency.max()),
                errors: window.faults.total(),
            })
            .collect()
    }

    fn histograms(&self, all: &Window) -> Histograms {
        Histograms {
            latency: hdr::encode(&self.total),
            windows: self.windows.iter().map(|window| hdr::encode(&window.latency)).collect(),
            window_s: self.plan.window().as_secs_f64(),
            connect: hdr::encode(&all.connecting),
            send_lag: self.plan.rate.map(|_| hdr::encode(&all.lag)),
        }
    }

    fn server_usage(&self, frames: u64) -> Option<ServerUsage> {
        let (time, [before, after]) = self.sampler.between()?;
        let cpu = after.cpu.saturating_sub(before.cpu);
        let connections = self.plan.connections + self.plan.hold;
        Some(ServerUsage {
            cpu_share: cpu.as_secs_f64() / time.as_secs_f64().max(1e-9),
            cpu_us_per_frame: cpu.as_secs_f64() * 1e6 / frames.max(1) as f64,
            peak_memory_bytes: after.peak_memory,
            memory_per_connection_bytes: after.memory as f64 / connections.max(1) as f64,
            context_switches: after.context_switches.saturating_sub(before.context_switches),
        })
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
