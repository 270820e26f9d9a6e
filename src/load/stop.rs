//! Ctrl-C: the first one ends a run early, the second one ends this process, and no server outlives it.

use std::{
    io::{self, Read},
    process::{self, Child, Command, ExitStatus},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::common::signals;

/// Whether somebody has asked for the end, and the servers that have to end with us.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked_for: AtomicBool,
    /// Each leads a process group of its own, and is here until it is reaped: after that its number may be another's.
    servers: Mutex<Vec<Pid>>,
}

impl Stop {
    /// Listens to signals from now on.
    ///
    /// # Errors
    ///
    /// Where they cannot be caught.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let mut signals = signals::stream()?;
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
        // Held meanwhile, so that none is started behind the back of a second Ctrl-C.
        let mut servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        servers.push(Pid::from_child(&child));
        Ok(child)
    }

    /// How this server has ended, if it has.
    pub(crate) fn ended(&self, child: &mut Child) -> Option<ExitStatus> {
        let mut servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails where it has been reaped already.
        let status = child.try_wait().ok()??;
        servers.retain(|server| *server != Pid::from_child(child));
        Some(status)
    }

    fn end_all(&self) -> ! {
        let servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        for &server in servers.iter() {
            // It fails where it has ended by itself.
            let _ = kill_process_group(server, Signal::KILL);
        }
        process::exit(1);
    }
}
