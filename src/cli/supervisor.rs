//! The main thread of a daemon: it starts a thread for each event loop, and then waits for signals and for loops that
//! end.

use std::{
    any::Any,
    io,
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use log::{error, info, warn};
use resound::{
    Counts, Handle,
    protocol::fault::{Faults, KINDS},
};

use super::{
    Failure, cannot,
    new_loop::{Loop, NewLoop},
    record::RecordFile,
    replace::{Replacement, Replacer},
    systemd::{
        notify::Notifier,
        watchdog::{self, Watchdog},
    },
};
use crate::{
    admin::{Access, Daemon, Lifecycle, Observed, Port, Stage},
    common::{signals::Signals, table_thread::Table, units::Time},
    handover::LoopHandle,
};

/// How long the main thread waits for the admin port to answer who asked for a replacement.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Event loops, each in its own thread.
#[derive(Debug)]
pub(crate) struct Supervisor {
    signals: Signals,
    loops: Vec<Observed>,
    /// The table of descriptors of each loop, if that is not this thread's.
    tables: Vec<Option<Arc<Table>>>,
    admin: Option<(Handle, JoinHandle<()>)>,
    start: Instant,
    notifier: Notifier,
    /// If the service manager has one.
    watchdog: Option<Watchdog>,
    /// How the threads end.
    ended: mpsc::Receiver<Ended>,
    end: mpsc::Sender<Ended>,
    /// Loops that have not ended.
    running: usize,
    lifecycle: Arc<Lifecycle>,
    /// How long it goes on accepting once a stop has been asked for.
    drain_delay: Duration,
    /// When that time is over.
    drain_at: Option<Instant>,
    /// `None` where nothing can replace it: in tests.
    replacer: Option<Replacer>,
    /// If what the loops do is recorded.
    record: Option<RecordFile>,
    /// The faults of listeners, for the summary.
    faults: Vec<Arc<Faults>>,
    /// The first failure.
    failure: Option<Failure>,
}

/// A thread that has ended.
#[derive(Debug)]
enum Ended {
    /// The loop with that index.
    Loop(usize, Result<(), Failure>),
    /// The admin port failed. Otherwise it ends only when it is stopped.
    Admin(Failure),
    /// A replacement has gone on.
    Replacement(Replacement),
}

impl Supervisor {
    /// Starts a thread for each of `loops`; `notifier` is told how they are.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started. Then no loop runs any more.
    pub(crate) fn start(
        mut loops: Vec<NewLoop>,
        signals: Signals,
        notifier: Notifier,
        drain_delay: Duration,
    ) -> Result<Self, Failure> {
        let (end, ended) = mpsc::channel();
        let observe = |one: &mut NewLoop| {
            one.with(|one| Observed { handle: one.handle(), stats: one.stats() })
        };
        let observed = loops.iter_mut().map(observe).collect::<io::Result<_>>();
        let mut supervisor = Self {
            lifecycle: Arc::new(Lifecycle::new(signals.waker())),
            signals,
            loops: observed.map_err(|error| cannot("set up the event loop", &error))?,
            tables: loops.iter().map(NewLoop::table).collect(),
            admin: None,
            start: Instant::now(),
            notifier,
            watchdog: None,
            ended,
            end,
            running: 0,
            drain_delay,
            drain_at: None,
            replacer: None,
            record: None,
            faults: Vec::new(),
            failure: None,
        };
        for (index, one) in loops.into_iter().enumerate() {
            let (end, waker) = (supervisor.end.clone(), supervisor.signals.waker());
            let run = move |one| {
                // It fails when the supervisor is gone, and the process with it.
                let _ = end.send(Ended::Loop(index, run(index, one)));
                waker.wake();
            };
            match one.start(format!("reactor-{index}"), run) {
                Ok(()) => supervisor.running += 1,
                Err(error) => {
                    let what = format!("the thread of reactor {index}");
                    supervisor.fail(Failure::no_thread(&what, &error));
                    break;
                }
            }
        }
        if supervisor.failure.is_some() {
            supervisor.wait()?;
        }
        if let Some(timeout) = watchdog::timeout_from_env() {
            supervisor.watch(timeout);
        }
        Ok(supervisor)
    }

    /// Tells the service manager that all listeners are up; `status` names them.
    pub(crate) fn ready(&self, status: &str) {
        self.notifier.ready(status);
    }

    /// Feeds a watchdog that waits for `timeout` at most.
    fn watch(&mut self, timeout: Duration) {
        let loops = self.loops.iter().map(|one| (one.handle.clone(), Arc::clone(&one.stats)));
        self.watchdog = Some(Watchdog::new(timeout, loops));
    }

    /// What another thread may know of the loops, and tell the main thread.
    pub(crate) fn observed(&self) -> (Vec<Observed>, Arc<Lifecycle>, Instant) {
        (self.loops.clone(), Arc::clone(&self.lifecycle), self.start)
    }

    /// The loops, and behind them the admin port's.
    pub(crate) fn handles(&self) -> Vec<LoopHandle> {
        let admin = self.admin.iter().map(|(handle, _)| LoopHandle::new(handle.clone(), None));
        let loops = self.loops.iter().zip(&self.tables);
        loops
            .map(|(one, table)| LoopHandle::new(one.handle.clone(), table.clone()))
            .chain(admin)
            .collect()
    }

    /// The folders that list the descriptors of tables that are not this thread's.
    pub(crate) fn tables(&self) -> Vec<PathBuf> {
        self.tables.iter().flatten().map(|table| table.folder().to_owned()).collect()
    }

    /// Writes `file` when a signal asks for a report.
    pub(crate) fn record(&mut self, file: Option<RecordFile>) {
        self.record = file;
    }

    /// Lets `replacer` replace this process when that is asked for.
    pub(crate) fn replace_with(&mut self, replacer: Replacer) {
        self.replacer = Some(replacer);
    }

    /// Starts the thread of the admin port.
    ///
    /// # Errors
    ///
    /// If it cannot be started. Then no loop runs any more.
    pub(crate) fn serve_admin(
        &mut self,
        port: Port,
        access: Access,
        daemon: Daemon,
    ) -> Result<(), Failure> {
        let (end, waker, handle) = (self.end.clone(), self.signals.waker(), port.handle());
        let run = move || {
            let outcome = catch("the admin port", || port.run(access, Arc::new(daemon)));
            if let Err(failure) = outcome {
                let _ = end.send(Ended::Admin(failure));
                waker.wake();
            }
        };
        match thread::Builder::new().name("admin".to_owned()).spawn(run) {
            Ok(thread) => {
                self.admin = Some((handle, thread));
                Ok(())
            }
            Err(error) => {
                self.fail(Failure::no_thread("the thread of the admin port", &error));
                self.wait()
            }
        }
    }

    /// Waits until all loops have ended, which they do when a signal asks for it, or when one of them has ended.
    ///
    /// # Errors
    ///
    /// If a loop has failed.
    pub(crate) fn wait(&mut self) -> Result<(), Failure> {
        while self.running > 0 {
            let at_most = self.next_deadline();
            let port = self.replacer.as_ref().and_then(Replacer::port);
            self.signals.wait(at_most, port).map_err(|error| cannot("wait for signals", &error))?;
            while let Ok(ended) = self.ended.try_recv() {
                match ended {
                    Ended::Loop(index, outcome) => self.loop_ended(index, outcome),
                    Ended::Admin(failure) => self.fail(failure),
                    Ended::Replacement(replacement) => self.replacement(replacement),
                }
            }
            if self.signals.take_report() {
                info!("serving for {}", self.summary());
                self.record.iter().for_each(RecordFile::save_meanwhile);
            }
            if let Some(stream) = self.replacer.as_ref().and_then(Replacer::accept) {
                info!("replacing: another process asks for the listeners and connections");
                self.replace(Some(stream));
            }
            let is_asked = self.lifecycle.take_replacement();
            if self.signals.take_replace() || is_asked {
                self.replace(None);
            }
            if self.signals.is_stop_requested() {
                self.announce_stop("a signal asked for it");
            } else if self.lifecycle.is_drain_requested() {
                self.announce_stop("POST /drain asked for it");
            }
            if self.drain_at.is_some_and(|at| at <= Instant::now()) {
                info!("the drain delay is over");
                self.stop("stopping: the drain delay is over; open connections may finish");
            }
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.look(&self.notifier);
            }
        }
        if let Some((admin, thread)) = self.admin.take() {
            admin.stop();
            // A panic has been reported.
            let _ = thread.join();
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// How long until the watchdog looks at the loops or the drain delay is over.
    fn next_deadline(&self) -> Option<Duration> {
        let look = self.watchdog.as_ref().map(Watchdog::wait);
        let drain = self.drain_at.map(|at| at.saturating_duration_since(Instant::now()));
        look.into_iter().chain(drain).min()
    }

    /// Lets the process at the other end of `stream` go on in place of this one, or one that is started.
    fn replace(&mut self, stream: Option<UnixStream>) {
        let Some(replacer) = &mut self.replacer else { return };
        let (end, waker) = (self.end.clone(), self.signals.waker());
        let tell = move |replacement| {
            let _ = end.send(Ended::Replacement(replacement));
            waker.wake();
        };
        let begun = match self.lifecycle.stage() {
            Stage::Serving => replacer.begin(stream, self.notifier.clone(), tell),
            Stage::Announced | Stage::Draining => Err("this daemon is stopping".to_owned()),
        };
        if let Err(why) = begun {
            warn!("not replaced: {why}");
            self.lifecycle.replaced(Err(why));
        }
    }

    fn replacement(&mut self, replacement: Replacement) {
        let Some(replacer) = &mut self.replacer else { return };
        match replacement {
            Replacement::Failed(why) => {
                warn!("not replaced, and serving as before: {why}");
                replacer.failed();
                self.lifecycle.replaced(Err(why));
            }
            Replacement::Done(report) => {
                replacer.replaced(report.pid);
                // They are the new process's from now on.
                self.notifier = Notifier::default();
                self.watchdog = None;
                info!("{report}");
                self.lifecycle.replaced(Ok(report.to_string()));
                self.stop_admin();
            }
            Replacement::Emptied => self.stop("replaced"),
        }
    }

    /// Stops the admin port, whose listener another process has, once it has told who asked for that.
    fn stop_admin(&self) {
        let Some((admin, _)) = &self.admin else { return };
        let start = Instant::now();
        while self.lifecycle.is_waited_for() && start.elapsed() < LAST_ANSWERS {
            thread::sleep(Duration::from_millis(1));
        }
        admin.stop();
    }

    /// Notes that a loop has ended, which ends the others.
    fn loop_ended(&mut self, index: usize, outcome: Result<(), Failure>) {
        self.running -= 1;
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.forget(index);
        }
        match outcome {
            Ok(()) => self.stop("a loop has ended"),
            Err(failure) => self.fail(failure),
        }
    }

    /// How long it has been serving, and what all loops have done together.
    pub(crate) fn summary(&self) -> String {
        let totals: Vec<Counts> = self.loops.iter().map(|one| one.stats.total()).collect();
        let stats = Counts::sum(&totals);
        let mut summary = format!("{}: {stats}", Time::rounded(self.start.elapsed()));
        let mut separator = "; faults: ";
        for (index, entry) in KINDS.iter().enumerate() {
            let count: u64 = self.faults.iter().filter_map(|one| one.counts().nth(index)).sum();
            if count > 0 {
                summary.push_str(&format!("{separator}{count} {}", entry.name));
                separator = ", ";
            }
        }
        summary
    }

    /// Adds these faults to the summary.
    pub(crate) fn sum_up(&mut self, faults: Vec<Arc<Faults>>) {
        self.faults = faults;
    }

    /// Notes a failure, and stops the loops that still run: a daemon must not go on with some of its loops.
    fn fail(&mut self, failure: Failure) {
        error!("{failure}");
        let status = failure.to_string();
        self.failure.get_or_insert(failure);
        self.stop(&status);
    }

    /// Stops after the drain delay, because of `cause`: load balancers that ask `/readyz` meanwhile stop sending
    /// connections here.
    fn announce_stop(&mut self, cause: &str) {
        if self.lifecycle.stage() != Stage::Serving {
            return;
        }
        if self.drain_delay.is_zero() {
            return self.stop(&format!("stopping: {cause}; open connections may finish"));
        }
        let delay = Time(self.drain_delay);
        info!("about to stop: /readyz says 503, and connections are accepted for {delay} more");
        self.lifecycle.enter(Stage::Announced);
        self.notifier.stopping(&format!("about to stop in {delay}: {cause}"));
        self.drain_at = Instant::now().checked_add(self.drain_delay);
    }

    /// Asks all loops to stop, once: asking again would wake them for nothing. `why` is for the service manager.
    fn stop(&mut self, why: &str) {
        if self.lifecycle.stage() != Stage::Draining {
            self.drain_at = None;
            self.lifecycle.enter(Stage::Draining);
            self.notifier.stopping(why);
            self.loops.iter().for_each(|one| one.handle.stop());
        }
    }
}

/// Runs one loop until it ends, and closes what it has open.
fn run(index: usize, mut one: Loop) -> Result<(), Failure> {
    catch(&format!("reactor {index}"), move || one.run())
}

/// Runs a loop until it ends. Errors and panics are failures of `name`.
fn catch(name: &str, run: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    // After a panic the loop is in an unknown state. It is dropped with the closure, and not used again.
    let failure = match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => format!("{name} failed: polling failed: {error}"),
        Err(payload) => format!("{name} panicked: {}", message(&*payload)),
    };
    Err(Failure::Failed(failure))
}

/// The message of a panic.
fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        (None, None) => "no message",
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        time::Duration,
    };

    use resound::{
        Config, Token,
        protocol::{Frames, Output, Protocol, Received},
    };

    use super::*;

    /// A protocol with a bug.
    struct Panics;

    impl Protocol for Panics {
        fn receive(&mut self, _: Token, _: &[u8], _: usize, _: &mut Output) -> Received {
            panic!("this protocol panics at {} bytes", 1);
        }
    }

    /// A loop that speaks `protocol`, and a connection to it.
    fn served(protocol: Box<dyn Protocol + Send>) -> (Loop, TcpStream) {
        let mut one = Loop::new(Config::default()).unwrap();
        let bound = one.listen(([127, 0, 0, 1], 0), protocol).unwrap();
        let stream = TcpStream::connect(bound.to_string()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        (one, stream)
    }

    fn start(loops: Vec<Loop>) -> Supervisor {
        let (signals, notifier) = (Signals::new().unwrap(), Notifier::default());
        let loops = loops.into_iter().map(NewLoop::Sharing).collect();
        Supervisor::start(loops, signals, notifier, Duration::ZERO).unwrap()
    }

    #[test]
    fn a_protocol_that_panics_ends_all_loops_in_order_with_the_cause() {
        for panics in 0..3 {
            let (loops, mut streams): (Vec<Loop>, Vec<TcpStream>) = (0..3)
                .map(|index| {
                    served(if index == panics {
                        Box::new(Panics)
                    } else {
                        Box::new(Frames::default())
                    })
                })
                .unzip();
            let mut supervisor = start(loops);
            let mut failing = streams.remove(panics);
            for stream in &mut streams {
                stream.write_all(b"\x05\0\0\0hello").unwrap();
                stream.read_exact(&mut [0; 9]).unwrap();
            }
            failing.write_all(b"x").unwrap();
            let failure = supervisor.wait().expect_err("the panic is a failure").to_string();
            let expected = format!("reactor {panics} panicked: this protocol panics at 1 bytes");
            assert_eq!(failure, expected);
            // The other loops have ended, and are counted.
            for stream in &mut streams {
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            }
            let summary = supervisor.summary();
            assert!(summary.contains("3 connections, 2 frames"), "{summary}");
            assert!(summary.contains("2 drained"), "{summary}");
        }
    }

    #[test]
    fn a_loop_that_ends_unasked_ends_the_others() {
        let (one, mut stream) = served(Box::new(Frames::default()));
        let (other, mut other_stream) = served(Box::new(Frames::default()));
        let stop = one.handle();
        let mut supervisor = start(vec![one, other]);
        stop.stop();
        supervisor.wait().unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(other_stream.read(&mut [0; 1]).unwrap(), 0);
    }
}
