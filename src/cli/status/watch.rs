//! `resound status --watch`: a sample again and again, until the user or the server ends it.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Signal, getpid, kill_process},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};

use super::{
    APART, Form,
    http::AdminPort,
    sample::Sample,
    screen::{Screen, size},
};
use crate::{
    cli::{Failure, cannot},
    common::signals,
};

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The time is over.
    Time,
    /// A sample has been taken.
    Sample,
    /// The user wants to end it.
    End,
    /// The terminal has another size.
    Resize,
    /// Ctrl-Z.
    Suspend,
}

/// Takes samples in a thread of its own, so that Ctrl-C need not wait for a server that does not answer.
struct Sampler {
    asks: Sender<()>,
    taken: Receiver<Result<Sample, Failure>>,
    /// Receives a byte for each sample.
    ready: UnixStream,
}

impl Sampler {
    fn start(port: AdminPort) -> io::Result<Self> {
        let (asks, asked) = mpsc::channel();
        let (give, taken) = mpsc::channel();
        let (ready, mut tell) = UnixStream::pair()?;
        thread::Builder::new().name("status".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                if give.send(Sample::take(&port)).is_err() || tell.write_all(&[0]).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { asks, taken, ready })
    }
}

/// Where events come from.
struct Events {
    sampler: Sampler,
    ends: UnixStream,
    resizes: UnixStream,
    suspensions: UnixStream,
}

#[derive(Clone, Copy)]
enum Source {
    Stream(Event),
    Keys,
}

impl Events {
    fn catch(sampler: Sampler) -> io::Result<Self> {
        // Under nohup(1) the end of the terminal is no reason to end.
        let hang_up = if signals::is_ignored(SIGHUP) { None } else { Some(SIGHUP) };
        let ends: Vec<i32> = [SIGINT, SIGTERM].into_iter().chain(hang_up).collect();
        let ends = signals::stream(&ends)?;
        let resizes = signals::stream(&[SIGWINCH])?;
        let suspensions = signals::stream(&[SIGTSTP])?;
        Ok(Self { sampler, ends, resizes, suspensions })
    }

    /// Waits for the next event; `until` is when the time is over.
    fn wait(&self, has_keys: bool, until: Option<Instant>) -> io::Result<Event> {
        let stdin = io::stdin();
        let mut sources = vec![
            (Source::Stream(Event::End), self.ends.as_fd()),
            (Source::Stream(Event::Suspend), self.suspensions.as_fd()),
            (Source::Stream(Event::Resize), self.resizes.as_fd()),
            (Source::Stream(Event::Sample), self.sampler.ready.as_fd()),
        ];
        if has_keys {
            sources.push((Source::Keys, stdin.as_fd()));
        }
        loop {
            let mut fds: Vec<PollFd<'_>> = sources
                .iter()
                .map(|&(_, fd)| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(Event::Time),
                Err(Errno::INTR) => continue,
                polled => polled.map(drop)?,
            }
            let ready = fds.iter().position(|fd| !fd.revents().is_empty());
            let Some(&(source, fd)) = ready.and_then(|index| sources.get(index)) else { continue };
            let mut bytes = [0; 64];
            let length = rustix::io::read(fd, &mut bytes)?;
            match source {
                Source::Stream(event) => return Ok(event),
                // Also where the terminal is gone, and on Ctrl-D.
                Source::Keys
                    if length == 0 || bytes[..length].iter().any(|key| b"qQ\x04".contains(key)) =>
                {
                    return Ok(Event::End);
                }
                Source::Keys => {}
            }
        }
    }
}

/// Shows samples until the user ends it.
///
/// # Errors
///
/// When the server no longer answers.
pub(super) fn run(port: AdminPort, every: Duration, form: &Form) -> Result<ExitCode, Failure> {
    let failed = |error| cannot("watch", &error);
    let sampler = Sampler::start(port).map_err(failed)?;
    let events = Events::catch(sampler).map_err(failed)?;
    let draws = !form.is_json && io::stdout().is_terminal();
    let enter = || draws.then(Screen::enter).transpose().map_err(failed);
    let mut screen = enter()?;
    let (mut before, mut last) = (None, None);
    let mut next = ask(&events)?;
    loop {
        let has_keys = screen.as_ref().is_some_and(Screen::has_keys);
        match events.wait(has_keys, next).map_err(failed)? {
            Event::End => return Ok(ExitCode::SUCCESS),
            Event::Time => next = ask(&events)?,
            Event::Resize => {}
            Event::Suspend => {
                // It has the terminal as it was while it is stopped.
                drop(screen.take());
                kill_process(getpid(), Signal::STOP).map_err(|error| failed(error.into()))?;
                screen = enter()?;
            }
            Event::Sample => {
                before = last.take();
                let sample =
                    events.sampler.taken.recv().map_err(|_| gone("its thread has ended"))?;
                last = Some(match sample {
                    Err(failure) if before.is_some() => return Err(gone(&failure.to_string())),
                    sample => sample?,
                });
                // The first rates come soon.
                let pause = if before.is_none() { every.min(APART) } else { every };
                next = Some(Instant::now() + pause);
                if !draws
                    && let Some(now) = &last
                    && !write(form, now, before.as_ref())?
                {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        if let (Some(screen), Some(now)) = (&screen, &last) {
            let lines = form.lines(now, before.as_ref().unwrap_or(now));
            screen.draw(&lines, size().1).map_err(failed)?;
        }
    }
}

/// Asks for a sample; until it has been taken, there is no time to wait for.
fn ask(events: &Events) -> Result<Option<Instant>, Failure> {
    events.sampler.asks.send(()).map_err(|_| gone("its thread has ended"))?;
    Ok(None)
}

fn gone(why: &str) -> Failure {
    Failure::Failed(format!("the server no longer answers: {why}"))
}

/// Writes a block where there is no terminal; false where the reader has read enough.
fn write(form: &Form, now: &Sample, before: Option<&Sample>) -> Result<bool, Failure> {
    let text = match (form.is_json, before) {
        (true, _) => now.json(&form.address),
        (false, Some(before)) => form.text(now, before) + "\n",
        // Rates need two.
        (false, None) => return Ok(true),
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => {
            written.map(|()| true).map_err(|error| cannot("write to standard output", &error))
        }
    }
}
