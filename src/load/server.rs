//! A server that is started for the load, and ends with it.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use resound::{Endpoint, listen::Listen};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    procfs::{self, Usage},
    stop::Stop,
    target::{Target, Wire},
};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// How long it may take to end.
const STOP: Duration = Duration::from_secs(5);

const PROBE: Duration = Duration::from_millis(10);

/// Where its port goes in the command.
const PORT: &str = "{port}";

/// The last of a server's standard error that is kept, in lines.
const LINES_KEPT: usize = 20;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stop: Stop,
    /// The command's first word, without its path.
    pub(crate) name: String,
    pub(crate) target: Target,
}

impl Server {
    /// Runs `command` by the shell, and waits until it listens: where it says so (`listening on …`, on standard
    /// output), at the port that took the place of `{port}` in it, or at `target` if that address was `given`.
    ///
    /// # Errors
    ///
    /// Text: it cannot be run, it ends, it does not listen in time, or somebody else listens there already.
    pub(crate) fn start(
        command: &str,
        target: &Target,
        given: bool,
        stop: &Stop,
    ) -> Result<Self, String> {
        let mut target = target.clone();
        let mut line = command.to_owned();
        let known = given || line.contains(PORT);
        if line.contains(PORT) {
            let port = free_port().map_err(|error| format!("no port is free: {error}"))?;
            line = line.replace(PORT, &port.to_string());
            target = target.at(resound::listen::Address::Ip((Ipv4Addr::LOCALHOST, port).into()));
        }
        if known && answers(&target) {
            return Err(format!(
                "something listens at {target} already; stop it, or write {PORT} in the --server command where its port \
                 goes"
            ));
        }
        let mut command_line = Command::new("/bin/sh");
        command_line
            .args(["-c", &format!("exec {line}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: the server has to last until the report.
            .process_group(0);
        let mut child = stop
            .start(&mut command_line)
            .map_err(|error| format!("--server {command:?} cannot be run: {error}"))?;
        let said = listen_to(child.stdout.take());
        let complained = keep_last_lines(child.stderr.take());
        let mut server = Self { child, stop: stop.clone(), name: name(command), target };
        let deadline = Instant::now() + START;
        loop {
            if let Some(listen) =
                said.try_iter().find_map(|line| listening_on(&line, server.target.wire()))
            {
                server.target = server.target.at(listen.address);
                return Ok(server);
            }
            if known && answers(&server.target) {
                return Ok(server);
            }
            if let Some(status) = server.stop.ended(&mut server.child) {
                let text = complained.recv_timeout(PROBE * 20).unwrap_or_default();
                return Err(format!(
                    "--server {command:?} ended ({status}) instead of listening:\n{text}"
                ));
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

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Option<Usage> {
        procfs::usage(self.child.id())
    }
}

/// Whether somebody listens there.
fn answers(target: &Target) -> bool {
    match (target.wire(), target.endpoint()) {
        // A datagram's listener cannot be told from nobody without sending something.
        (Wire::Udp, _) | (_, Err(_)) => false,
        (_, Ok(Endpoint::Tcp(address))) => {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        }
        (_, Ok(Endpoint::Unix(path))) => UnixStream::connect(path).is_ok(),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = &mut self.child;
        if self.stop.ended(child).is_some() {
            return;
        }
        // What fails here fails because it has just ended.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        let deadline = Instant::now() + STOP;
        while self.stop.ended(child).is_none() && Instant::now() < deadline {
            thread::sleep(PROBE);
        }
        let _ = child.kill();
        let _ = child.wait();
        self.stop.ended(child);
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The name of a command: `/usr/bin/x -v` is `x`.
fn name(command: &str) -> String {
    let assignment = |word: &&str| word.contains('=');
    let program = command.split_whitespace().find(|word| !assignment(word)).unwrap_or(command);
    program.rsplit('/').next().unwrap_or(program).to_owned()
}

/// Where a line says that a server listens, if it is for what is spoken here.
fn listening_on(line: &str, wire: &Wire) -> Option<Listen> {
    let place: Listen = line.trim().strip_prefix("listening on ")?.parse().ok()?;
    (place.protocol == wire.name()).then_some(place)
}

/// Hands on the lines of a stream, and goes on reading when nobody wants them any more.
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

/// Keeps the last lines of a stream, and hands them on at its end.
fn keep_last_lines(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stream) = stream {
        thread::spawn(move || {
            let mut last = std::collections::VecDeque::new();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                last.push_back(line);
                if last.len() > LINES_KEPT {
                    last.pop_front();
                }
            }
            let _ = sender.send(Vec::from(last).join("\n"));
        });
    }
    receiver
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
        ] {
            assert_eq!(name(command), expected);
        }
    }

    #[test]
    fn the_line_for_what_is_spoken_tells_where() {
        let raw = Wire::Raw;
        assert_eq!(listening_on("listening on frames://127.0.0.1:4", &raw), None);
        let listen = listening_on("listening on raw://127.0.0.1:5\n", &raw).unwrap();
        assert_eq!(listen.to_string(), "raw://127.0.0.1:5");
        assert_eq!(listening_on("raw://127.0.0.1:5", &raw), None);
    }
}
