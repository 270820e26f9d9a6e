//! Replacing the daemon while it runs: who asks for it, how the new process starts, and what becomes of the old one.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use log::{debug, info, warn};
use resound::{Endpoint, Listener, ListeningSocket, ReleasedListener, ReleasedSocket};
use rustix::{net::sockopt::socket_peercred, process::geteuid};

use super::{Failure, bind_error, systemd::notify::Notifier};
use crate::{
    common::units::Time,
    handover::{Channel, LoopHandle, Offered, Predecessor, Report, Role, Successor},
};

/// Tells a process that its standard input is the hand-over of the process that started it.
const VARIABLE: &str = "RESOUND_PREDECESSOR";
const STDIN: &str = "stdin";

/// How long a process that has given up may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Replacement")]
pub(crate) struct ReplaceArgs {
    /// Let a process that is started with --takeover have the listeners and connections, if it runs as the same user;
    /// SIGUSR2 and POST /replace need no such socket
    #[arg(long, env = "RESOUND_HANDOVER", hide_env_values = true, value_name = "unix:PATH")]
    #[arg(value_parser = unix_path)]
    handover: Option<PathBuf>,

    /// Take the listeners and connections over from the daemon that has --handover here, which then ends
    #[arg(long, env = "RESOUND_TAKEOVER", hide_env_values = true, value_name = "unix:PATH")]
    #[arg(value_parser = unix_path)]
    takeover: Option<PathBuf>,

    /// How long a new process may take for each step of a replacement before this one goes on without it
    #[arg(long, env = "RESOUND_REPLACE_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = Time(Duration::from_secs(10)))]
    replace_timeout: Time,
}

/// Parses `--handover` and `--takeover`.
fn unix_path(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err("not the path of a Unix socket; write one like unix:/run/resound/handover.sock"
            .to_owned()),
    }
}

impl ReplaceArgs {
    /// The conversation with the process that this one is to replace, if it is to replace any.
    pub(crate) fn predecessor(&self) -> Result<Option<Successor>, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::Failed(format!("cannot take over from the running daemon: {why}"))
        };
        let stream = if env::var_os(VARIABLE).is_some_and(|value| value == STDIN) {
            take_stdin().map_err(|error| failed(&error))?
        } else if let Some(path) = &self.takeover {
            UnixStream::connect(path).map_err(|error| {
                failed(&format!(
                    "connect to {}: {error}. Start that daemon with --handover unix:{}, or this one without --takeover",
                    path.display(),
                    path.display()
                ))
            })?
        } else {
            return Ok(None);
        };
        Successor::greet(stream).map(Some).map_err(|why| failed(&why))
    }

    /// Where successors connect: bound here, or claimed from the predecessor; then the index in its offer.
    pub(crate) fn port(
        &self,
        successor: Option<&mut Successor>,
    ) -> Result<(Option<HandoverPort>, Option<usize>), Failure> {
        let Some(path) = &self.handover else { return Ok((None, None)) };
        let asked = path.display().to_string();
        let claimed = successor.map(|successor| successor.claim(Role::Handover, &asked, &asked));
        if let Some([group, ..]) = claimed.as_deref() {
            return Ok((None, group.0.first().map(|(number, _)| *number)));
        }
        let endpoint = Endpoint::Unix(path.clone());
        let listener = Listener::bind(&endpoint, 16, false).map_err(|error| {
            let why = bind_error::explain(&endpoint, &error, "--handover");
            Failure::Failed(format!("cannot listen on --handover unix:{asked}: {why}"))
        })?;
        Ok((Some(HandoverPort::new(listener.into())), None))
    }

    /// The path of `--handover`, and how long each step may take.
    pub(crate) fn offer(&self) -> (Option<String>, Duration) {
        let path = self.handover.as_ref().map(|path| path.display().to_string());
        (path, self.replace_timeout.0)
    }
}

/// The socket that a predecessor has passed as standard input, in place of which /dev/null is put.
fn take_stdin() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(socket.into())
}

/// The program of this process, to be started again.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// By the path by which it was started: a new version that is put there later is found, which `/proc/self/exe` does
    /// not do. Has to be called while this process's own file is still there.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut words = env::args_os();
        let name = PathBuf::from(words.next().unwrap_or_default());
        let this = env::current_exe()?;
        let candidates: Vec<PathBuf> = if name.components().count() > 1 {
            vec![std::path::absolute(&name)?]
        } else {
            let path = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&path).map(|folder| folder.join(&name)).collect()
        };
        let found = candidates.into_iter().find(|candidate| is_same_file(candidate, &this));
        Ok(Self { path: found.unwrap_or(this), arguments: words.collect() })
    }

    /// Starts it with the same arguments, and with one end of a conversation as its standard input. Returns the other
    /// end.
    fn start(&self) -> Result<(Started, Channel), String> {
        let cannot = |error: io::Error| {
            format!("cannot start {}: {error}; put the program there again", self.path.display())
        };
        let (here, there) = UnixStream::pair().map_err(cannot)?;
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env(VARIABLE, STDIN)
            // It names this process, and the new one's number is not known yet (sd_watchdog_enabled(3)).
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(there)))
            .spawn()
            .map_err(cannot)?;
        info!("replacing: started {} as process {}", self.path.display(), child.id());
        let started = Started { child, path: self.path.clone() };
        Ok((started, Channel::new(here)))
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    of(one).is_some_and(|found| of(other) == Some(found))
}

/// A process that was to go on here.
struct Started {
    child: Child,
    path: PathBuf,
}

impl Started {
    /// Ends it, which has failed because of `why`. Returns the whole explanation.
    fn end(mut self, why: &str) -> String {
        let process = format!("{} as process {}", self.path.display(), self.child.id());
        let start = Instant::now();
        while start.elapsed() < LAST_WORDS {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Ok(Some(status)) => {
                    return format!(
                        "{why} ({process}: {status}; what it wrote to the log says more)"
                    );
                }
                Err(_) => break,
            }
        }
        // Both fail only where it has ended by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        format!("{why} ({process}; it was killed)")
    }
}

/// Where processes connect that are started with `--takeover`. The file is removed with this, unless a successor has it.
#[derive(Debug)]
pub(crate) struct HandoverPort {
    /// `None` once a successor has it.
    listener: Option<UnixListener>,
    is_inherited: bool,
    file: Option<(u64, u64)>,
}

impl HandoverPort {
    pub(crate) fn new(socket: ListeningSocket) -> Self {
        let ListeningSocket { socket, is_inherited, file } = socket;
        Self { listener: Some(socket.into()), is_inherited, file }
    }

    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// The next process that asks, if there is one. Others than this user's and root's are turned away.
    pub(crate) fn accept(&self) -> Option<UnixStream> {
        let (stream, _) = match self.listener.as_ref()?.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => {
                warn!("--handover: accept: {error}");
                return None;
            }
        };
        let peer = socket_peercred(&stream).ok()?;
        if peer.uid != geteuid() && !peer.uid.is_root() {
            warn!("--handover: turned process {:?} of user {:?} away", peer.pid, peer.uid);
            return None;
        }
        stream.set_nonblocking(false).ok()?;
        Some(stream)
    }

    fn copy(&self) -> Option<ReleasedListener> {
        let socket = self.listener.as_ref()?.as_fd().try_clone_to_owned().ok()?;
        let (is_inherited, file) = (self.is_inherited, self.file);
        let socket = ReleasedSocket::Listening(ListeningSocket { socket, is_inherited, file });
        Some(ReleasedListener { index: 0, socket })
    }
}

impl Drop for HandoverPort {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            let (is_inherited, file) = (self.is_inherited, self.file);
            let socket = ListeningSocket { socket: listener.into(), is_inherited, file };
            drop(Listener::try_from(socket));
        }
    }
}

/// How a replacement went on.
#[derive(Debug)]
pub(crate) enum Replacement {
    /// Another process has taken over.
    Done(Report),
    /// Nothing has changed, because of this.
    Failed(String),
    /// No connection is left here.
    Emptied,
}

/// What the main thread knows of replacements.
#[derive(Debug)]
pub(crate) struct Replacer {
    program: Program,
    port: Option<HandoverPort>,
    /// What the daemon serves, and its loops, the admin port's behind the others.
    offered: Vec<Offered>,
    loops: Vec<LoopHandle>,
    at_most: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    Replacing,
    Replaced(u32),
}

impl Replacer {
    pub(crate) const fn new(
        program: Program,
        port: Option<HandoverPort>,
        offered: Vec<Offered>,
        loops: Vec<LoopHandle>,
        at_most: Duration,
    ) -> Self {
        Self { program, port, offered, loops, at_most, state: State::Serving }
    }

    /// What to wait for: a process that asks. Nothing while a replacement is under way.
    pub(crate) fn port(&self) -> Option<BorrowedFd<'_>> {
        self.port.as_ref().filter(|_| self.state == State::Serving)?.as_fd()
    }

    /// The process that asks, if there is one.
    pub(crate) fn accept(&self) -> Option<UnixStream> {
        self.port.as_ref().filter(|_| self.state == State::Serving)?.accept()
    }

    /// Begins to hand over: to the process at the other end of `stream`, or to one that is started. `tell` is told how it
    /// goes on, from another thread.
    ///
    /// # Errors
    ///
    /// Why it cannot begin.
    pub(crate) fn begin(
        &mut self,
        stream: Option<UnixStream>,
        notifier: Notifier,
        tell: impl Fn(Replacement) + Send + 'static,
    ) -> Result<(), String> {
        match self.state {
            State::Serving => {}
            State::Replacing => return Err("a replacement is under way already".to_owned()),
            State::Replaced(pid) => {
                return Err(format!("process {pid} has replaced this one already"));
            }
        }
        if stream.is_none() && process::id() == 1 {
            return Err(
                "this is process 1: its end would end the container. Start another container that shares a \
                        volume, with --takeover"
                    .to_owned(),
            );
        }
        let predecessor = Predecessor {
            loops: self.loops.clone(),
            offered: self.offered.clone(),
            own: self.port.as_ref().and_then(HandoverPort::copy),
            at_most: self.at_most,
        };
        let program = self.program.clone();
        let run = move || hand_over(predecessor, &program, stream, &notifier, &tell);
        let thread = thread::Builder::new().name("replace".to_owned()).spawn(run);
        thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        self.state = State::Replacing;
        Ok(())
    }

    /// It has failed, and this process goes on.
    pub(crate) fn failed(&mut self) {
        self.state = State::Serving;
    }

    /// Another process has taken over, with the listeners.
    pub(crate) fn replaced(&mut self, pid: u32) {
        self.state = State::Replaced(pid);
        if let Some(port) = &mut self.port {
            port.listener = None;
        }
    }
}

/// The thread of a replacement.
fn hand_over(
    mut predecessor: Predecessor,
    program: &Program,
    stream: Option<UnixStream>,
    notifier: &Notifier,
    tell: &dyn Fn(Replacement),
) {
    let (started, mut channel) = match stream {
        Some(stream) => (None, Channel::new(stream)),
        None => match program.start() {
            Ok((started, channel)) => (Some(started), channel),
            Err(why) => return tell(Replacement::Failed(why)),
        },
    };
    match predecessor.hand_over(&mut channel, |pid| notifier.main_pid(pid)) {
        Ok(report) => {
            tell(Replacement::Done(report.clone()));
            predecessor.hand_over_rest(channel, &report);
            debug!("no connection is left");
            tell(Replacement::Emptied);
        }
        Err(why) => {
            drop(channel);
            let why = match started {
                Some(started) => started.end(&why),
                None => why,
            };
            tell(Replacement::Failed(why));
        }
    }
}
