//! Signals: the first one ends a run early, the second one ends this process, and no server outlives it.

use std::{
    io::{self, Read},
    process::{self, Child, Command},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::common::signals;

/// Whether a stop was requested, and the servers that have to end with this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked_for: AtomicBool,
    /// Each leads a process group of its own, and is here until it is reaped: after that its number can be reused.
    servers: Mutex<Vec<Pid>>,
}

impl Stop {
    /// Handles SIGINT, SIGTERM and SIGHUP from now on; SIGHUP not under nohup(1).
    ///
    /// # Errors
    ///
    /// Where they cannot be caught.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let hang_up = (!signals::is_ignored(SIGHUP)).then_some(SIGHUP);
        let caught: Vec<i32> = [SIGINT, SIGTERM].into_iter().chain(hang_up).collect();
        let mut signals = signals::stream(&caught)?;
        let stop = Self::default();
        let watched = stop.clone();
        let watch = move || {
            while signals.read_exact(&mut [0]).is_ok() {
                if watched.0.asked_for.swap(true, Relaxed) {
                    watched.end_all();
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(stop)
    }

    pub(crate) fn is_asked_for(&self) -> bool {
        self.0.asked_for.load(Relaxed)
    }

    /// Starts a server that leads a process group of its own.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<Child> {
        // Held meanwhile, so that a second Ctrl-C cannot miss a server that is being started.
        let mut servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        servers.push(Pid::from_child(&child));
        Ok(child)
    }

    /// Kills the remaining processes of a server's group, and reaps the server.
    pub(crate) fn kill(&self, child: &mut Child) {
        let mut servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let leader = Pid::from_child(child);
        // Both fail only where nothing is left.
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = child.wait();
        servers.retain(|server| *server != leader);
    }

    fn end_all(&self) -> ! {
        let servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        for &server in servers.iter() {
            // It fails where all of the group has ended.
            let _ = kill_process_group(server, Signal::KILL);
        }
        process::exit(1);
    }
}
