//! The client on a terminal: a prompt with a history; what the server sends is shown as soon as it arrives.
//!
//! Three threads and one channel: one thread waits at the prompt, one in `read`, and the main thread handles their
//! events. So a server that closes the connection is noticed while the prompt waits.

use std::{
    env, fs,
    io::{self, ErrorKind, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use log::debug;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{DefaultEditor, ExternalPrinter, config::Configurer, error::ReadlineError};

use super::wire::{Cut, Decoder, Encoder, Piece, Wire};
use crate::{
    cli::{Failure, socket::Socket},
    common::{printable::printable, units::TimeLimit},
};

const PROMPT: &str = "> ";

#[derive(Debug)]
enum Event {
    /// The user entered a line.
    Line(String),
    /// The user wants to end the session.
    Leave,
    /// The prompt does not work.
    NoPrompt(ReadlineError),
    /// The server sent an item or raw bytes.
    Reply { bytes: Vec<u8>, raw: bool },
    /// The server closed the connection, or it failed.
    Closed(String),
}

pub(super) fn run(
    wire: Wire,
    timeout: Option<Duration>,
    mut socket: Socket,
    server: &str,
) -> Result<ExitCode, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Failed(format!("cannot use the terminal: {error}"))
    };
    // rustyline changes these settings at each prompt. It cannot restore them if the process exits meanwhile.
    let terminal = tcgetattr(io::stdin()).map_err(|error| failed(&error))?;
    let mut editor = DefaultEditor::new().map_err(|error| failed(&error))?;
    editor.enable_bracketed_paste(false);
    // A terminal without line editing has no printer. Then replies are written directly.
    let printer = editor.create_external_printer().ok();
    let receiving = socket.try_clone().map_err(|error| failed(&error))?;
    if let Some(timeout) = timeout {
        socket.set_write_timeout(timeout).map_err(|error| failed(&error))?;
    }

    println!("connected to {server}; exit, quit, q or Ctrl-D to end");
    let (events, inbox) = mpsc::channel();
    let (turn, turns) = mpsc::channel();
    thread::spawn({
        let events = events.clone();
        move || prompt(editor, &turns, &events)
    });
    thread::spawn(move || receive(wire, receiving, &events));
    let mut session = Session {
        encoder: Encoder::new(wire, Cut::Lines),
        timeout,
        printer,
        owed: 0,
        prompting: false,
        untouched: true,
    };
    let outcome = session.run(&mut socket, &inbox, &turn);
    if session.prompting {
        restore(&terminal);
    }
    outcome
}

/// The state of the main thread.
#[derive(Debug)]
struct Session<P> {
    encoder: Encoder,
    timeout: Option<Duration>,
    printer: Option<P>,
    /// What is missing of the reply to the last line: one item, or the number of raw bytes sent.
    owed: usize,
    /// Whether the prompt is on the screen.
    prompting: bool,
    /// Nothing has been sent or received yet.
    untouched: bool,
}

impl<P: ExternalPrinter> Session<P> {
    fn run(
        &mut self,
        socket: &mut Socket,
        inbox: &Receiver<Event>,
        turn: &Sender<()>,
    ) -> Result<ExitCode, Failure> {
        loop {
            // The next prompt waits for the reply, so that it is shown below the reply.
            if !self.prompting && self.owed == 0 {
                self.prompting = turn.send(()).is_ok();
            }
            match self.next(inbox) {
                Ok(Event::Line(line)) => {
                    self.prompting = false;
                    self.send(&line, socket)?;
                }
                Ok(Event::Reply { bytes, raw }) => {
                    if std::mem::take(&mut self.untouched) {
                        self.show(b"(received before anything was sent:)");
                    }
                    self.show(&bytes);
                    self.owed = self.owed.saturating_sub(if raw { bytes.len() } else { 1 });
                }
                Ok(Event::Closed(why)) => return Err(Failure::Failed(why)),
                Ok(Event::Leave) => {
                    self.prompting = false;
                    return Ok(ExitCode::SUCCESS);
                }
                Ok(Event::NoPrompt(error)) => {
                    self.prompting = false;
                    return Err(Failure::Failed(format!("cannot prompt: {error}")));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let waited = TimeLimit(self.timeout);
                    println!("(no reply within {waited}; continue, or end with Ctrl-D)");
                    self.owed = 0;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(ExitCode::SUCCESS),
            }
        }
    }

    fn next(&self, inbox: &Receiver<Event>) -> Result<Event, RecvTimeoutError> {
        match self.timeout {
            Some(timeout) if self.owed > 0 => inbox.recv_timeout(timeout),
            _ => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn send(&mut self, line: &str, socket: &mut Socket) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        let wire = self.encoder.wire();
        if let Err(error) = self.encoder.push(format!("{line}\n").as_bytes(), &mut bytes) {
            println!("(not sent: {error})");
            return Ok(());
        }
        self.untouched = false;
        self.owed = if wire == Wire::Raw { bytes.len() } else { 1 };
        socket.write_all(&bytes).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Failed(format!(
                "the server does not read: nothing could be sent for {}",
                TimeLimit(self.timeout)
            )),
            _ => Failure::Failed(format!("cannot send: {error}")),
        })
    }

    fn show(&mut self, bytes: &[u8]) {
        let mut text = printable(bytes);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        match &mut self.printer {
            Some(printer) if self.prompting => {
                if let Err(error) = printer.print(text) {
                    debug!("cannot print above the prompt: {error}");
                }
            }
            _ => print!("{text}"),
        }
    }
}

/// Prompts for one line for each message in `turns`.
fn prompt(mut editor: DefaultEditor, turns: &Receiver<()>, events: &Sender<Event>) {
    let history = history_file();
    if let Some(file) = &history
        && let Err(error) = editor.load_history(file)
    {
        debug!("no history from {}: {error}", file.display());
    }
    while turns.recv().is_ok() {
        let event = match editor.readline(PROMPT) {
            Ok(line) if matches!(line.trim(), "exit" | "quit" | "q") => Event::Leave,
            Ok(line) => {
                // The history has no empty lines, and no line twice in a row.
                if editor.add_history_entry(&line).is_ok_and(|added| added)
                    && let Some(file) = &history
                    && let Err(error) = editor.append_history(file)
                {
                    debug!("no history to {}: {error}", file.display());
                }
                Event::Line(line)
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => Event::Leave,
            Err(error) => Event::NoPrompt(error),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// The place from the XDG base directory specification; `None` without a home directory.
fn history_file() -> Option<PathBuf> {
    let directory = env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?
        .join("resound");
    fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

/// Reads until the server closes the connection. Passes on whole items, or raw bytes as they arrive.
fn receive(wire: Wire, mut socket: Socket, events: &Sender<Event>) {
    let raw = wire == Wire::Raw;
    let mut decoder = Decoder::new(wire);
    let mut block = vec![0; 64 << 10];
    let mut item = Vec::new();
    let why = loop {
        let length = match socket.read(&mut block) {
            Ok(0) => break "the server closed the connection".to_owned(),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => break format!("the connection is lost: {error}"),
        };
        let mut gone = false;
        let decoded = decoder.push(&block[..length], |piece| match piece {
            Piece::Bytes(bytes) => item.extend_from_slice(bytes),
            Piece::End => gone |= events.send(reply(&mut item, raw)).is_err(),
        });
        if raw {
            gone = events.send(reply(&mut item, raw)).is_err();
        }
        if gone {
            return;
        }
        if let Err(error) = decoded {
            break format!(
                "the server sent an invalid frame: {error}. Check the dialect (keys in the \
                 address, or --protocol)"
            );
        }
    };
    // This fails only if the session has ended.
    let _ = events.send(Event::Closed(why));
}

fn reply(item: &mut Vec<u8>, raw: bool) -> Event {
    Event::Reply { bytes: std::mem::take(item), raw }
}

/// How long the prompt's thread may take to start its prompt, on a slow machine.
const ABOUT_TO_PROMPT: Duration = Duration::from_secs(1);

/// Restores the terminal's settings, below the prompt that is still shown.
fn restore(terminal: &Termios) {
    // If the server closes at once, the prompt may not have changed the settings yet. If they were restored before it
    // does, they would stay changed. A terminal without line editing is never changed.
    let start = Instant::now();
    while start.elapsed() < ABOUT_TO_PROMPT
        && tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes == terminal.local_modes)
    {
        thread::sleep(Duration::from_millis(1));
    }
    if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, terminal) {
        debug!("cannot restore the terminal: {error}");
    }
    println!();
}
