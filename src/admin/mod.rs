//! The admin port: what is asked and told over HTTP while the daemon runs.
//!
//! It is a reactor of its own in a thread of its own. It knows the daemon's loops by their handles and counters only, so
//! it answers while a loop is busy, and can tell that a loop is stuck.

mod access;
mod connections;
mod counted;
mod descriptors;
mod faults;
mod gather;
mod limits;
mod metrics;
mod page;
mod responses;
mod routes;
mod stats;
mod timeline;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use log::LevelFilter;
use resound::{
    Config, Endpoint, Handle, Limits, Overload, Reactor, Stats,
    listen::Listen,
    protocol::{
        fault::Faults,
        http::service::{HttpAnswer, HttpRequest, HttpService, Serve},
    },
};

pub(crate) use self::access::{Access, Token};
use crate::{
    common::{plans::NamedPlans, signals::Waker, tls::Acceptor, warnings::Warnings},
    timeline::recording::Recording,
};

/// Connections that the admin port holds at most; more are closed at once.
const MAX_CONNECTIONS: usize = 64;

/// Connections that wait to be accepted there.
const BACKLOG: u32 = 64;

/// Descriptors that the admin port may have open.
pub(crate) const DESCRIPTORS: u64 = Config::OWN_DESCRIPTORS + 1 + MAX_CONNECTIONS as u64;

/// How far the daemon is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// It serves.
    Serving,
    /// It still accepts, and `/readyz` says that it will stop.
    Announced,
    /// Its listeners are closed or about to be.
    Draining,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Serving, Self::Announced, Self::Draining];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Announced => "announced",
            Self::Draining => "draining",
        }
    }
}

/// What the main thread and the admin port tell each other.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    stage: AtomicU8,
    is_drain_requested: AtomicBool,
    replacement: Mutex<Replacement>,
    main_thread: Waker,
}

/// What POST /replace has asked for, by number, and what has come of it.
#[derive(Debug)]
struct Replacement {
    asked: u64,
    begun: u64,
    done: u64,
    outcome: Result<String, String>,
    /// Requests that wait for the outcome.
    waiting: usize,
}

impl Lifecycle {
    /// `main_thread` is woken when a drain is requested.
    pub(crate) const fn new(main_thread: Waker) -> Self {
        let (stage, is_drain_requested) =
            (AtomicU8::new(Stage::Serving as u8), AtomicBool::new(false));
        let outcome = Ok(String::new());
        let replacement = Replacement { asked: 0, begun: 0, done: 0, outcome, waiting: 0 };
        Self { stage, is_drain_requested, replacement: Mutex::new(replacement), main_thread }
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Relaxed))]
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    /// Asks the main thread to do what it does on SIGTERM.
    fn request_drain(&self) {
        self.is_drain_requested.store(true, Relaxed);
        self.main_thread.wake();
    }

    /// Asks the main thread to do what it does on SIGUSR2. Returns the number under which the
    /// [`outcome`](Self::outcome) will be.
    fn request_replacement(&self) -> u64 {
        let mut replacement = self.replacement();
        // One that is under way answers for all who ask meanwhile.
        if replacement.asked == replacement.done {
            replacement.asked += 1;
            self.main_thread.wake();
        }
        replacement.waiting += 1;
        replacement.asked
    }

    /// What came of the replacement of that number, once it is known. It is told once to each who asked.
    fn outcome(&self, number: u64) -> Option<Result<String, String>> {
        let mut replacement = self.replacement();
        if replacement.done < number {
            return None;
        }
        replacement.waiting = replacement.waiting.saturating_sub(1);
        Some(replacement.outcome.clone())
    }

    /// Whether a replacement has been asked for since the last call.
    pub(crate) fn take_replacement(&self) -> bool {
        let mut replacement = self.replacement();
        let is_new = replacement.begun < replacement.asked;
        replacement.begun = replacement.asked;
        is_new
    }

    /// Tells all who asked for a replacement what has come of it.
    pub(crate) fn replaced(&self, outcome: Result<String, String>) {
        let mut replacement = self.replacement();
        replacement.done = replacement.asked;
        replacement.outcome = outcome;
    }

    /// Whether some who asked for a replacement have not been told yet.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.replacement().waiting > 0
    }

    fn replacement(&self) -> MutexGuard<'_, Replacement> {
        self.replacement.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_drain_requested(&self) -> bool {
        self.is_drain_requested.load(Relaxed)
    }
}

/// One loop of the daemon, as another thread sees it.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) handle: Handle,
    pub(crate) stats: Arc<Stats>,
}

/// All that the admin port knows.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) loops: Vec<Observed>,
    /// The endpoint of each listener but UDP sockets, and how `listening on` shows it.
    pub(crate) listeners: Vec<(String, String)>,
    /// The listeners that have `fault=`.
    pub(crate) faulty: Vec<Faulty>,
    /// The listeners that have TLS, as `listening on` shows them.
    pub(crate) acceptors: Vec<(String, Arc<Acceptor>)>,
    /// The plans that have names.
    pub(crate) plans: NamedPlans,
    /// Of all loops together.
    pub(crate) limits: Arc<Limits>,
    /// How many connections the limit of open files has room for.
    pub(crate) connection_room: usize,
    /// The folders that list the descriptors of loops that have tables of their own.
    pub(crate) tables: Vec<PathBuf>,
    pub(crate) start: Instant,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) log: LogControl,
    /// With `--record`.
    pub(crate) recording: Option<Arc<Recording>>,
}

/// A listener that has `fault=`.
#[derive(Debug)]
pub(crate) struct Faulty {
    /// As `listening on` shows it.
    pub(crate) name: String,
    pub(crate) listen: Listen,
    pub(crate) faults: Arc<Faults>,
}

/// The daemon's log, as the admin port reads and changes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogControl {
    pub(crate) set_level: fn(LevelFilter),
    pub(crate) warnings: &'static Warnings,
}

impl Daemon {
    /// Memory of the connections' own buffers, in all loops.
    fn buffered(&self) -> u64 {
        self.loops.iter().map(|one| one.stats.buffered.value()).sum()
    }

    /// How `listening on` shows the listener at `endpoint`.
    fn listener<'l>(&'l self, endpoint: &'l str) -> &'l str {
        let found = self.listeners.iter().find(|(known, _)| known == endpoint);
        found.map_or(endpoint, |(_, shown)| shown)
    }
}

/// Checks who asks, and answers.
#[derive(Debug)]
pub(crate) struct Admin {
    access: Access,
    daemon: Arc<Daemon>,
}

impl HttpService for Admin {
    fn answer(&mut self, request: &HttpRequest<'_>) -> HttpAnswer {
        match self.access.check(request) {
            Ok(()) => routes::answer(&self.daemon, request),
            Err(refusal) => HttpAnswer::Now(refusal),
        }
    }
}

/// The loop of the admin port, bound and not yet serving.
#[derive(Debug)]
pub(crate) struct Port {
    reactor: Reactor<Serve<Admin>>,
    place: Place,
}

/// The socket of the admin port.
#[derive(Debug)]
enum Place {
    Bound(resound::Listener),
    /// It is still the predecessor's, and bound there.
    Awaited(Endpoint),
}

impl Port {
    /// Binds `endpoint`.
    ///
    /// # Errors
    ///
    /// As [`Reactor::new`] and [`resound::Listener::bind`].
    pub(crate) fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let listener = resound::Listener::bind(endpoint, BACKLOG, false)?;
        Self::new(Place::Bound(listener))
    }

    /// Keeps a place, the first one of its loop, for a socket that is bound to `endpoint` and adopted later.
    ///
    /// # Errors
    ///
    /// As [`Reactor::new`].
    pub(crate) fn reserve(endpoint: Endpoint) -> io::Result<Self> {
        Self::new(Place::Awaited(endpoint))
    }

    fn new(place: Place) -> io::Result<Self> {
        let config = Config {
            max_connections: MAX_CONNECTIONS,
            overload: Overload::Refuse,
            max_memory: 64 << 20,
            idle_timeout: Some(Duration::from_secs(120)),
            frame_timeout: Some(Duration::from_secs(10)),
            handshake_timeout: Some(Duration::from_secs(10)),
            write_timeout: Some(Duration::from_secs(10)),
            linger: Duration::from_millis(500),
            grace: Duration::from_millis(500),
            ..Config::default()
        };
        Ok(Self { reactor: Reactor::new(config)?, place })
    }

    /// Where it is bound, with the port that the kernel chose.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match &self.place {
            Place::Bound(listener) => listener.endpoint(),
            Place::Awaited(endpoint) => endpoint.clone(),
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.reactor.handle()
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    ///
    /// As [`Reactor::run`].
    pub(crate) fn run(mut self, access: Access, daemon: Arc<Daemon>) -> io::Result<()> {
        let protocol = Serve::new(Admin { access, daemon });
        match self.place {
            Place::Bound(listener) => drop(self.reactor.adopt(listener, protocol)?),
            Place::Awaited(endpoint) => drop(self.reactor.reserve(&endpoint, protocol)?),
        }
        self.reactor.run()
    }
}
