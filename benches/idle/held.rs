//! The memory of idle connections that `resound bench` opens and holds: for protocols with a handshake of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::Duration;

use crate::common::bench;
use crate::common::peers;
use crate::common::server::Server;

const STEP: Duration = Duration::from_millis(10);

/// A file that is removed when this goes.
struct Mark(PathBuf);

impl Mark {
    fn new(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(format!("{}-{name}", std::process::id()));
        // What an earlier process of this number has left would be taken for a mark.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self(path)),
        }
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// Waits until the load has made it. False if the load has ended before.
    fn appears(&self, load: &mut Child) -> io::Result<bool> {
        while !self.0.exists() {
            if load.try_wait()?.is_some() {
                return Ok(false);
            }
            thread::sleep(STEP);
        }
        Ok(true)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // A load that failed has made none.
        let _ = fs::remove_file(&self.0);
    }
}

/// Resident memory without connections. The pages that a server touches for its first connections are not part of the cost
/// of the others.
pub fn warm(server: &Server) -> io::Result<u64> {
    hold(server, 1)?;
    server.settled_processor_time()?;
    server.resident()
}

/// Resident memory while so many connections are held after a round trip on each, beside one that is about to be busy. At
/// the end each of them has a round trip again.
pub fn hold(server: &Server, connections: usize) -> io::Result<u64> {
    let directory = peers::directory()?;
    let (ready, go) = (Mark::new(&directory, "ready")?, Mark::new(&directory, "go")?);
    let marks = format!("--ready-file {} --go-file {}", ready.path(), go.path());
    let load = format!("-c 1 --hold {connections} -z 50ms {marks}");
    let mut load = bench::command(server, &load).spawn()?;
    let mut resident = Ok(0);
    if ready.appears(&mut load)? {
        resident = server.settled_processor_time().and_then(|_| server.resident());
        fs::write(&go.0, "")?;
    }
    bench::report(&load.wait_with_output()?)?;
    resident
}
