//! A daemon that is another process from time to time, and clients that do not notice.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{Daemon, Ended, PATIENCE, eventually, frame, resound};

/// A folder that is removed with what is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("resound-{}-replace-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that is not a child of the test, and cannot outlive it.
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self(pid)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.try_into().unwrap()).unwrap();
        // It may have ended.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Whether a process has not ended. One that nobody has waited for yet has.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// A daemon with an admin port: the first process, or one that has replaced it.
pub(crate) struct Running {
    pub(crate) daemon: Daemon,
    pub(crate) pid: u32,
    successor: Option<Process>,
}

impl Running {
    pub(crate) fn start(listen: &[&str], arguments: &[&str]) -> Self {
        let mut command = resound();
        command.arg("serve").args(listen.iter().flat_map(|listen| ["--listen", listen]));
        // However slow the machine is.
        command.args(["--admin", "127.0.0.1:0", "--replace-timeout", "120s"]).args(arguments);
        Self::spawn(command, listen.len())
    }

    /// Runs `command`, which becomes a daemon with that many listeners and an admin port.
    pub(crate) fn spawn(command: Command, listeners: usize) -> Self {
        let daemon = Daemon::spawn(command, listeners + 1);
        let pid = daemon.pid();
        Self { daemon, pid, successor: None }
    }

    pub(crate) fn address(&self, index: usize) -> &str {
        self.daemon.address(index)
    }

    pub(crate) fn admin(&self) -> &str {
        self.address(self.daemon.listening.len() - 1)
    }

    pub(crate) fn connect(&self, index: usize) -> TcpStream {
        connect(self.address(index))
    }

    /// Code and body of an answer of the admin port.
    pub(crate) fn ask(&self, method: &str, path: &str, fields: &str) -> (u16, String) {
        let mut stream = connect(self.admin());
        let host = self.admin();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}{fields}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let code = answer.split(' ').nth(1).expect("a status line").parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (code, body.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (code, body) = self.ask("GET", path, "");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn connections(&self) -> Vec<Value> {
        self.json("/connections?limit=256")["connections"].as_array().unwrap().clone()
    }

    /// Code and body of the answer to POST /replace.
    pub(crate) fn try_to_replace(&self) -> (u16, String) {
        self.ask("POST", "/replace", "\r\nContent-Type: application/json")
    }

    /// Replaces the daemon, and returns the report.
    pub(crate) fn replace(&mut self) -> String {
        let (code, report) = self.try_to_replace();
        assert_eq!(code, 200, "{report}");
        let pid = report.strip_prefix("replaced by process ").unwrap();
        self.pid = pid.split(':').next().unwrap().parse().unwrap();
        self.successor = Some(Process::new(self.pid));
        assert_eq!(self.json("/stats")["pid"], self.pid);
        report
    }

    /// Sends SIGTERM to the process that serves now, and waits until it has ended.
    pub(crate) fn stop(self) {
        match &self.successor {
            Some(process) => process.signal(Signal::TERM),
            None => self.daemon.signal(Signal::TERM),
        }
        eventually("it ends", || !is_running(self.pid));
    }

    /// Waits until the first process ends.
    pub(crate) fn wait(mut self) -> Ended {
        self.daemon.wait()
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connections that send one frame after the other.
pub(crate) struct Load {
    is_enough: Arc<AtomicBool>,
    clients: Vec<(Arc<AtomicU64>, JoinHandle<()>)>,
}

impl Load {
    pub(crate) fn start(address: &str, connections: usize) -> Self {
        let is_enough = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let pings = Arc::new(AtomicU64::new(0));
            let (count, is_enough) = (Arc::clone(&pings), Arc::clone(&is_enough));
            let mut stream = connect(address);
            let thread = thread::spawn(move || {
                let payload = number.to_string().repeat(1 + number * 50);
                let sent = frame(payload.as_bytes());
                let mut back = vec![0; sent.len()];
                while !is_enough.load(Relaxed) {
                    let (first, rest) = sent.split_at(number % sent.len());
                    stream.write_all(first).unwrap();
                    stream.write_all(rest).unwrap();
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, sent);
                    count.fetch_add(1, Relaxed);
                }
            });
            (pings, thread)
        };
        let clients = (0..connections).map(client).collect();
        let load = Self { is_enough, clients };
        load.wait_for_all_pings();
        load
    }

    /// Waits until each connection has sent a frame and received it.
    pub(crate) fn wait_for_all_pings(&self) {
        for (pings, thread) in &self.clients {
            // One may be on its way.
            let enough = pings.load(Relaxed) + 2;
            eventually("a ping is answered", || {
                assert!(!thread.is_finished(), "a connection has failed");
                pings.load(Relaxed) >= enough
            });
        }
    }

    /// Ends the load; fails if a connection did not get what it sent.
    pub(crate) fn stop(self) {
        self.is_enough.store(true, Relaxed);
        for (_, thread) in self.clients {
            thread.join().unwrap();
        }
    }
}
