//! A standard stream behind a queue: a separate thread writes, so that no other thread waits for the reader.
//!
//! A write to a pipe or a terminal blocks while its reader does not read. An event loop must not block, nor the thread
//! that handles signals.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    process::ExitCode,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use log::Level;

use super::{
    Failure, cannot,
    format::{self, Format},
};

/// Bytes that may wait to be written; while these are written, as many again may come.
const CAPACITY: usize = 4 << 20;

/// What an empty buffer may keep, in bytes: enough for an ordinary second of log.
const KEPT: usize = 64 << 10;

/// How long [`Output::flush`] waits for the reader at most.
const FLUSH_AT_MOST: Duration = Duration::from_secs(2);

/// When to try again to write to a non-blocking stream that takes nothing now.
const RETRY: Duration = Duration::from_millis(10);

/// Writes lines to a stream without ever waiting for it. Lines for which there is no room are dropped and counted; the
/// count is reported in the stream as soon as its reader goes on.
#[derive(Debug, Clone)]
pub(crate) struct Output(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The queue has something in it.
    filled: Condvar,
    /// Nothing is queued or being written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<u8>,
    /// Lines dropped since the thread last took the queue.
    dropped: u64,
    /// The thread is writing what it took from the queue.
    is_writing: bool,
}

impl Output {
    /// Starts the thread `name`, which writes the log to `stream`; its own line, for those that it dropped, has this
    /// format.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn start(
        name: &str,
        format: Format,
        stream: impl Write + Send + 'static,
    ) -> Result<Self, Failure> {
        Self::start_with(name, stream, move |dropped| dropped_line(dropped, format))
    }

    /// Starts the thread `name`, which writes to `stream`. `tell_dropped` makes the line that says how many were dropped.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn start_with(
        name: &str,
        stream: impl Write + Send + 'static,
        tell_dropped: impl Fn(u64) -> String + Send + 'static,
    ) -> Result<Self, Failure> {
        let output = Self(Arc::default());
        let shared = Arc::clone(&output.0);
        match thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || shared.write_to(stream, tell_dropped))
        {
            Ok(_) => Ok(output),
            Err(error) => {
                Err(Failure::no_thread(&format!("the thread that writes to {name}"), &error))
            }
        }
    }

    /// Queues a line, or drops it if there is no room.
    pub(crate) fn push_line(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.queue.len() + line.len() > CAPACITY {
            state.dropped += 1;
        } else {
            self.0.push(state, line);
        }
    }

    /// Queues `text` even if there is no room: for a few short messages that must not be lost.
    pub(crate) fn say(&self, text: &str) {
        self.0.push(self.0.lock(), text.as_bytes());
    }

    /// Waits until everything is written, but not for ever: what a reader has not taken after two seconds is lost.
    /// Returns whether everything is written.
    pub(crate) fn flush(&self) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.queue.is_empty();
        let waited = self.0.emptied.wait_timeout_while(self.0.lock(), FLUSH_AT_MOST, is_busy);
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }
}

/// One write is one line.
impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// It is held for a copy of a line or a swap, never during a write.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut state: MutexGuard<'_, State>, bytes: &[u8]) {
        // The thread looks at the queue after each write: there is no need to wake it while it writes.
        let is_idle = state.queue.is_empty() && !state.is_writing;
        state.queue.extend_from_slice(bytes);
        drop(state);
        if is_idle {
            self.filled.notify_one();
        }
    }

    /// The thread's loop, which ends with the process.
    fn write_to(&self, mut stream: impl Write, tell_dropped: impl Fn(u64) -> String) {
        let mut batch = Vec::new();
        loop {
            let dropped = self.take(&mut batch);
            write(&mut stream, &batch);
            if dropped > 0 {
                write(&mut stream, tell_dropped(dropped).as_bytes());
            }
            batch.clear();
            batch.shrink_to(KEPT);
        }
    }

    /// Waits for something to write, and takes it; returns how many lines were dropped behind it.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        state.is_writing = false;
        if state.queue.is_empty() {
            self.emptied.notify_all();
        }
        let filled = self.filled.wait_while(state, |state| state.queue.is_empty());
        let mut state = filled.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        mem::swap(batch, &mut state.queue);
        mem::take(&mut state.dropped)
    }
}

/// In the form of the log's other lines, which the logger cannot make here: it would queue this one behind them.
fn dropped_line(dropped: u64, format: Format) -> String {
    let module = module_path!();
    let message = format!("{dropped} log lines dropped: the reader of this log is too slow");
    match format {
        Format::Json => format::json(Level::Warn, module, &message),
        Format::Text => {
            let time = humantime::format_rfc3339_micros(SystemTime::now());
            format!("[{time} WARN  {module}] {message}\n")
        }
    }
}

/// Writes all of `bytes`, for as long as it takes. The daemon goes on if the reader is gone.
fn write(stream: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A process that shares the terminal or pipe with this one may have made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(_) => return,
        }
    }
    // It fails as writing does.
    let _ = stream.flush();
}

/// Writes `text` to standard output. A reader that has read enough is no failure.
pub(crate) fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(cannot("write to standard output", &error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// A stream that takes a write for each permit, and passes on what was written.
    struct Gated {
        permits: Receiver<()>,
        written: Sender<Vec<u8>>,
        refusals: Vec<ErrorKind>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(refusal) = self.refusals.pop() {
                return Err(refusal.into());
            }
            self.permits.recv().map_err(|_| ErrorKind::BrokenPipe)?;
            // Short, so that a line needs several.
            let count = bytes.len().min(100_000);
            self.written.send(bytes[..count].to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(refusals: &[ErrorKind]) -> (Output, Sender<()>, Receiver<Vec<u8>>) {
        let (permit, permits) = mpsc::channel();
        let (written, read) = mpsc::channel();
        let refusals = refusals.to_vec();
        let output =
            Output::start("gated", Format::Text, Gated { permits, written, refusals }).unwrap();
        (output, permit, read)
    }

    #[test]
    fn lines_beyond_the_capacity_are_dropped_and_counted_and_the_others_are_whole() {
        let (mut output, permit, read) = gated(&[]);
        let line = |number: u64| format!("{number:01023}\n");
        let count = 3 * CAPACITY as u64 / 1024;
        for number in 0..count {
            output.write_all(line(number).as_bytes()).unwrap();
        }
        output.say("error: this one is not dropped\n");
        let (mut text, mut kept, mut dropped) = (String::new(), 0, 0);
        while kept + dropped < count {
            permit.send(()).unwrap();
            text.push_str(std::str::from_utf8(&read.recv().unwrap()).unwrap());
            while let Some((line, rest)) = text.split_once('\n') {
                if let Some((report, _)) = line.split_once(" log lines dropped") {
                    dropped += report.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
                } else if !line.starts_with("error: ") {
                    assert_eq!(line.parse::<u64>().unwrap(), kept, "in order, none twice");
                    kept += 1;
                }
                text = rest.to_owned();
            }
        }
        assert!(dropped >= count / 3 - 1, "{dropped} of {count} were dropped");
        assert!(kept >= count / 3, "{kept} of {count} were kept");
    }

    #[test]
    fn a_flush_waits_for_all_and_gives_up_on_a_reader_that_is_stuck() {
        let (mut output, permit, read) = gated(&[]);
        output.write_all(b"stuck\n").unwrap();
        assert!(!Output::flush(&output), "nothing was written");
        assert!(read.try_recv().is_err());
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        output.say("the last\n");
        assert!(Output::flush(&output));
        let written: Vec<u8> = read.try_iter().flatten().collect();
        assert_eq!(written, b"stuck\nthe last\n");
    }

    #[test]
    fn a_stream_that_is_non_blocking_is_tried_again() {
        let (output, permit, read) = gated(&[ErrorKind::Interrupted, ErrorKind::WouldBlock]);
        permit.send(()).unwrap();
        output.say("hello\n");
        assert_eq!(read.recv().unwrap(), b"hello\n");
    }

    #[test]
    fn a_reader_that_is_gone_stops_nothing() {
        let (output, permit, read) = gated(&[]);
        drop((permit, read));
        for _ in 0..10 {
            output.say("hello\n");
            output.flush();
        }
        let state = output.0.lock();
        assert!(state.queue.is_empty() && state.dropped == 0);
    }
}
