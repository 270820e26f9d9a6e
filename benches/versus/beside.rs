//! A small load beside a heavy one: two processes of `resound bench` at once.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::bench::{self, Report};
use crate::common::peers;
use crate::common::server::Server;

/// How many times longer than other slices this one is: the small load has few frames a second.
const LONGER: u32 = 4;

/// How long both run before the small load is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(2);

/// Loads `server` with `heavy`, and measures `small` meanwhile. The report is that of `heavy` with the latencies of
/// `small`; the data are the report of `small`, with the other as `beside`.
pub fn run(
    server: &Server,
    small: &str,
    heavy: &str,
    duration: Duration,
) -> io::Result<(Report, Value)> {
    bench::until_frames(duration * LONGER, |duration| both(server, small, heavy, duration))
}

/// Both at once; `None` if no frame of one of them came back.
fn both(
    server: &Server,
    small: &str,
    heavy: &str,
    duration: Duration,
) -> io::Result<Option<(Report, Value)>> {
    let ready = peers::directory()?.join("heavy-load-is-ready");
    remove(&ready)?;
    let arguments = format!("{heavy} --warm-up 50ms -z 1h --ready-file {}", ready.display());
    let mut heavy = Running { child: Some(bench::command(server, &arguments).spawn()?) };
    let limit = Instant::now() + PATIENCE;
    while !ready.exists() {
        if Instant::now() > limit || heavy.has_ended()? {
            break;
        }
        thread::sleep(STEP);
    }
    let arguments =
        format!("{small} --warm-up {}ms -z {}ms", WARM_UP.as_millis(), duration.as_millis());
    let small = bench::command_under(at_real_time(), server, &arguments).output()?;
    let heavy = heavy.end()?;
    remove(&ready)?;
    let (report, beside) = bench::report(&heavy)?;
    let (small, mut json) = bench::report(&small)?;
    if report.frames == 0 || small.frames == 0 {
        return Ok(None);
    }
    json["beside"] = beside;
    Ok(Some((Report { latency_us: small.latency_us, ..report }, json)))
}

/// The load that runs until it is ended. It is killed when this goes.
struct Running {
    /// `None` once it was ended.
    child: Option<Child>,
}

impl Running {
    fn has_ended(&mut self) -> io::Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        })
    }

    /// Asks for its report, and waits for it.
    fn end(mut self) -> io::Result<Output> {
        let child = self.child.take().ok_or_else(|| io::Error::other("it has ended"))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        kill(pid, Signal::SIGINT)?;
        child.wait_with_output()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Either fails only when the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Both loads share a core. At real-time priority (chrt(1)) the small one does not wait for the other, so that its
/// latencies are the server's. Where that is not allowed, it runs without, and standard error says so.
fn at_real_time() -> &'static [&'static str] {
    static COMMAND: OnceLock<&[&str]> = OnceLock::new();
    COMMAND.get_or_init(|| {
        let mut trial = Command::new("chrt");
        trial.args(["-f", "1", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        if trial.status().is_ok_and(|status| status.success()) {
            return &["chrt", "-f", "1"];
        }
        eprintln!("no real-time priority for the small load (chrt -f 1): its latencies are partly the other load's");
        &[]
    })
}
