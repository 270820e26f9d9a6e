//! A server that is started for the load, and ends with it.
//!
//! All processes that the command starts are one process group, which is measured and ended as a whole. Its leader, the
//! shell, is not reaped before the group has ended, so that the group's number cannot be reused.

pub(crate) mod descriptors;
pub(crate) mod procfs;
pub(crate) mod sampler;
pub(crate) mod sockets;
pub(crate) mod stop;
pub(crate) mod watched;

use std::{
    collections::{BTreeSet, VecDeque},
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use resound::{
    Endpoint,
    listen::{Address, Listen},
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use self::{procfs::Usage, stop::Stop};
use crate::common::place::Place;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// How long it may take to end.
const STOP: Duration = Duration::from_secs(5);

const PROBE: Duration = Duration::from_millis(10);

/// The placeholder for the port in the command.
const PORT: &str = "{port}";

/// The last of a server's standard error that is kept, in lines.
const LINES_KEPT: usize = 20;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    leader: Child,
    stop: Stop,
    complaints: LastLines,
    /// The program's name, without its path.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) place: Place,
}

impl Server {
    /// Runs `command` in a shell, and waits until it listens: where it says so (`listening on …`, on standard
    /// output), at the port that took the place of `{port}` in it, or at `place` if that address was `given`.
    ///
    /// # Errors
    ///
    /// Text: it cannot be run, it ends, it does not listen in time, or something listens there already.
    pub(crate) fn start(
        command: &str,
        place: &Place,
        given: bool,
        stop: &Stop,
    ) -> Result<Self, String> {
        let mut place = place.clone();
        let mut line = command.to_owned();
        let known = given || line.contains(PORT);
        if line.contains(PORT) {
            let port = free_port().map_err(|error| format!("no port is free: {error}"))?;
            line = line.replace(PORT, &port.to_string());
            place = place.at(Address::Ip((Ipv4Addr::LOCALHOST, port).into()));
        }
        if known && answers(&place) {
            return Err(format!(
                "something listens at {place} already; stop it, or write {PORT} in the --server command where its port \
                 goes"
            ));
        }
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: the server has to last until the report.
            .process_group(0);
        let mut leader = stop
            .start(&mut shell)
            .map_err(|error| format!("--server {command:?} cannot be run: {error}"))?;
        let said = listen_to(leader.stdout.take());
        let complaints = LastLines::of(leader.stderr.take());
        let mut server =
            Self { leader, stop: stop.clone(), complaints, name: name(command), place };
        let deadline = Instant::now() + START;
        loop {
            if let Some(listen) =
                said.try_iter().find_map(|line| listening_on(&line, server.place.protocol()))
            {
                server.place = server.place.at(listen.address);
                return Ok(server);
            }
            if known && answers(&server.place) {
                return Ok(server);
            }
            if let Some(end) = server.ended() {
                return Err(format!(
                    "--server {command:?} does not listen and stay in the foreground: it {end}"
                ));
            }
            if stop.is_asked_for() {
                return Err(format!("stopped before --server {command:?} listened"));
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "--server {command:?} does not say where it listens; write {PORT} in the command where its port goes, or \
                     give the ADDRESS where it listens"
                ));
            }
            thread::sleep(PROBE);
        }
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.leader)
    }

    /// The numbers of its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        procfs::members(self.leader.id())
    }

    /// Its threads that run, or wait for a CPU to run on.
    pub(crate) fn runnable(&self) -> BTreeSet<u32> {
        procfs::runnable(&self.processes())
    }

    /// Sends a signal to all its processes.
    pub(crate) fn signal(&self, signal: Signal) {
        // It fails only where all of them have ended.
        let _ = kill_process_group(self.group(), signal);
    }

    /// What its processes have used so far.
    pub(crate) fn usage(&self) -> Option<Usage> {
        procfs::usage_of(&self.processes()).map(|(_, usage)| usage)
    }

    /// How it has ended, if no process of it is left: `ended (exit status 1)`, and the last lines of its standard
    /// error.
    pub(crate) fn ended(&self) -> Option<String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.group()), options).ok()??;
        if !self.processes().is_empty() {
            return None;
        }
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown status".to_owned(),
        };
        let last_lines = self.complaints.at_the_end();
        let separator = if last_lines.is_empty() { "" } else { ":\n" };
        Some(format!("ended ({how}){separator}{last_lines}"))
    }
}

/// Whether a server listens there.
fn answers(place: &Place) -> bool {
    match (place.protocol(), place.endpoint()) {
        // Whether a datagram socket is bound there cannot be seen without sending.
        ("udp", _) | (_, Err(_)) => false,
        (_, Ok(Endpoint::Tcp(address))) => {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        }
        (_, Ok(Endpoint::Unix(path))) => UnixStream::connect(path).is_ok(),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP;
        while !self.processes().is_empty() && Instant::now() < deadline {
            thread::sleep(PROBE);
        }
        self.stop.kill(&mut self.leader);
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The name of the last program that a command line runs: `cd x && RUST_LOG=off ./srv -v` is `srv`.
fn name(command: &str) -> String {
    let last = command.split(['&', ';', '|']).rfind(|part| !part.trim().is_empty());
    let prefix = |word: &&str| word.contains('=') || matches!(*word, "exec" | "env");
    let mut words = last.unwrap_or(command).split_whitespace();
    let program = words.find(|word| !prefix(word)).unwrap_or(command);
    program.rsplit('/').next().unwrap_or(program).to_owned()
}

/// Where a line says that a server listens, if it is for what is spoken here.
fn listening_on(line: &str, protocol: &str) -> Option<Listen> {
    let listen: Listen = line.trim().strip_prefix("listening on ")?.parse().ok()?;
    (listen.protocol == protocol).then_some(listen)
}

/// Passes on the lines of a stream. Reads on even when the receiver is gone, so that the server does not block.
fn listen_to(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stream) = stream {
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

/// The last lines of a stream, which a thread reads to its end.
#[derive(Debug)]
struct LastLines {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Closed at the stream's end.
    end: mpsc::Receiver<()>,
}

impl LastLines {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, end) = mpsc::channel();
        let kept = Arc::clone(&lines);
        let keep = move |stream| {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut lines = kept.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push_back(line);
                if lines.len() > LINES_KEPT {
                    lines.pop_front();
                }
            }
            drop(sender);
        };
        if let Some(stream) = stream {
            thread::spawn(move || keep(stream));
        }
        Self { lines, end }
    }

    /// All of them, once the stream has ended; where another process still has it open, those so far.
    fn at_the_end(&self) -> String {
        let _ = self.end.recv_timeout(PROBE * 20);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands() {
        for (command, expected) in [
            ("resound serve", "resound"),
            ("/usr/bin/socat TCP-LISTEN:1 -", "socat"),
            ("RUST_LOG=off ./target/x --a=b", "x"),
            ("cd y && exec ./z; ", "z"),
        ] {
            assert_eq!(name(command), expected);
        }
    }

    #[test]
    fn the_line_for_what_is_spoken_tells_where() {
        assert_eq!(listening_on("listening on frames://127.0.0.1:4", "raw"), None);
        let listen = listening_on("listening on raw://127.0.0.1:5\n", "raw").unwrap();
        assert_eq!(listen.to_string(), "raw://127.0.0.1:5");
        assert_eq!(listening_on("raw://127.0.0.1:5", "raw"), None);
    }
}
