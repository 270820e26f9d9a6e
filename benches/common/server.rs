//! A server under test: a separate process on its own core, and the resources that it uses.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

use super::machine::{self, CLIENT_CORE, SERVER_CORE};
use super::peers::{self, Built, PORT, Peer};
use super::protocol::Protocol;

/// A JVM on a busy core is slow to say where it listens.
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Long, because it may have to wait for its core itself on a machine that others use.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
const SETTLE_STEP: Duration = Duration::from_millis(1);

/// A running server. It is killed when this goes.
#[derive(Debug)]
pub struct Server {
    pub peer: &'static Peer,
    pub protocol: Protocol,
    pub address: SocketAddr,
    child: Child,
    pid: Pid,
    processor_clock: ClockId,
}

impl Server {
    /// Starts `command`, which prints `listening on ADDRESS` once it accepts, or takes the place of `{port}` in it. Its
    /// standard error goes to a file beside the built peers.
    fn start(
        peer: &'static Peer,
        protocol: Protocol,
        command: &[String],
        logs: &Path,
    ) -> io::Result<Self> {
        let log = logs.join(format!("{}-{protocol}.log", peer.name));
        let port = if command.iter().any(|word| word.contains(PORT)) { free_port()? } else { 0 };
        let command: Vec<String> =
            command.iter().map(|word| word.replace(PORT, &port.to_string())).collect();
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other("an empty command"))?;
        // A child inherits where its parent's thread may run.
        machine::pin(SERVER_CORE)?;
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn();
        machine::pin(CLIENT_CORE)?;
        let mut child = started.map_err(|error| {
            io::Error::other(format!("{}: cannot run {program}: {error}", peer.name))
        })?;
        let address = match listening_address(&mut child, port) {
            Ok(address) => address,
            Err(error) => {
                stop(peer, &mut child);
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last = said.lines().last().unwrap_or_default();
                let log = log.display();
                return Err(io::Error::other(format!(
                    "{}: {error}: {last} (see {log})",
                    peer.name
                )));
            }
        };
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let processor_clock = clock_getcpuclockid(pid)?;
        Ok(Self { peer, protocol, address, child, pid, processor_clock })
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processor time of all its threads, ended ones too, by the scheduler's own clock: exact to the nanosecond,
    /// where `/proc/PID/stat` counts hundredths of a second.
    pub fn processor_time(&self) -> io::Result<Duration> {
        Ok(self.processor_clock.now()?.into())
    }

    /// The same, once the server has finished what it still had to do and all its threads sleep.
    pub fn settled_processor_time(&self) -> io::Result<Duration> {
        let limit = Instant::now() + SETTLE_LIMIT;
        let mut before = self.processor_time()?;
        loop {
            thread::sleep(SETTLE_STEP);
            let now = self.processor_time()?;
            if Instant::now() > limit || (now == before && self.sleeps()?) {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Whether no thread runs or waits for its core.
    fn sleeps(&self) -> io::Result<bool> {
        for task in fs::read_dir(self.proc().join("task"))? {
            // `PID (NAME) STATE ...`; a thread may end while its siblings are asked.
            let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else {
                continue;
            };
            if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stops it where it is, until it is resumed: what it is sent meanwhile it finds all at once.
    pub fn pause(&self) -> io::Result<()> {
        Ok(kill(self.pid, Signal::SIGSTOP)?)
    }

    pub fn resume(&self) -> io::Result<()> {
        Ok(kill(self.pid, Signal::SIGCONT)?)
    }

    /// Asks it to end and waits until it has. What watches it writes its findings meanwhile.
    pub fn terminate(mut self) -> io::Result<()> {
        kill(self.pid, Signal::SIGTERM)?;
        let limit = Instant::now() + STOP_LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > limit {
                return Err(io::Error::other(format!(
                    "{} does not end on SIGTERM",
                    self.peer.name
                )));
            }
            thread::sleep(SETTLE_STEP);
        }
        Ok(())
    }

    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid))
    }

    /// Resident memory in bytes, of its process and of all that descend from it.
    pub fn resident(&self) -> io::Result<u64> {
        let (mut sum, mut processes) = (0, vec![self.id()]);
        while let Some(id) = processes.pop() {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
            sum += field(&rollup, "Rss:") * 1024;
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
            processes.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(self.peer, &mut self.child);
    }
}

/// Kills it. One that runs other programs is asked to end first, so that it ends those.
fn stop(peer: &Peer, child: &mut Child) {
    // These fail only when the process is gone already.
    if let (true, Ok(pid)) = (peer.runs_others(), i32::try_from(child.id())) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let limit = Instant::now() + STOP_LIMIT;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < limit {
            thread::sleep(SETTLE_STEP);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The number after `name` at the start of a line; 0 when there is none.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// A port of 127.0.0.1 that nothing listens on.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until the child accepts connections on `port`; where that is 0, reads the child's first line. The thread goes on
/// reading, so that the child never blocks on a full pipe.
fn listening_address(child: &mut Child, port: u16) -> io::Result<SocketAddr> {
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
    let (sender, first_line) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Only the first is waited for.
            let _ = sender.send(line);
        }
    });
    let known = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let limit = Instant::now() + START_LIMIT;
    while port != 0 && Instant::now() < limit {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("ended ({status})")));
        }
        if TcpStream::connect(known).is_ok() {
            return Ok(known);
        }
        thread::sleep(SETTLE_STEP);
    }
    let line = first_line
        .recv_timeout(START_LIMIT)
        .map_err(|_| io::Error::other("did not say where it listens"))?;
    parse_announcement(&line)
        .ok_or_else(|| io::Error::other(format!("said {line:?} instead of where it listens")))
}

/// `listening on [PROTOCOL://]ADDRESS`
fn parse_announcement(line: &str) -> Option<SocketAddr> {
    let address = line.strip_prefix("listening on ")?;
    let address = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
    address.trim().parse().ok()
}

/// Builds and starts a server, or says why that cannot be done here. With `RESOUND_REQUIRE_PEERS=1` in the environment
/// nothing may be missing.
pub fn start(peer: &'static Peer, protocol: Protocol) -> io::Result<Option<Server>> {
    start_under(peer, protocol, &[])
}

/// The same, with the server run by another program, such as valgrind, which is given as command and arguments.
pub fn start_under(
    peer: &'static Peer,
    protocol: Protocol,
    watcher: &[String],
) -> io::Result<Option<Server>> {
    let logs = peers::directory()?.join("logs");
    let reason = match peer.build(protocol)? {
        Built::Command(command) => {
            let command = [watcher, command.as_slice()].concat();
            match Server::start(peer, protocol, &command, &logs) {
                Ok(server) => return Ok(Some(server)),
                Err(error) => format!("skipped: {error}"),
            }
        }
        Built::Missing(what) => format!("skipped: {}: {what} not installed", peer.name),
    };
    skip(reason)?;
    Ok(None)
}

/// Says what is left out; an error where nothing may be.
pub fn skip(reason: String) -> io::Result<()> {
    if std::env::var_os("RESOUND_REQUIRE_PEERS").is_some_and(|value| value == "1") {
        return Err(io::Error::other(reason));
    }
    eprintln!("{reason}");
    Ok(())
}
