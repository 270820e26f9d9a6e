//! The client on a terminal: a prompt with a history, and whatever the server sends as soon as it comes.
//!
//! Three threads and one channel: one waits at the prompt, one in `read`, and this one acts on what they
//! tell it. So a server that closes is noticed while the prompt waits.

use std::{
    env, fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use log::debug;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{
    DefaultEditor, ExternalPrinter, config::Configurer, error::ReadlineError,
};

use super::{
    socket::Socket,
    wire::{Cut, Decoder, Encoder, Piece, Wire},
};
use crate::cli::{Failure, units::Time};

const PROMPT: &str = "> ";

#[derive(Debug)]
enum Event {
    /// The person entered a line.
    Line(String),
    /// The person wants to leave.
    Leave,
    /// The prompt does not work.
    NoPrompt(ReadlineError),
    /// The server sent an item, or some raw bytes.
    Reply(Vec<u8>),
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
    // rustyline changes these while it prompts, and cannot change them back if we leave meanwhile.
    let terminal = tcgetattr(io::stdin()).map_err(|error| failed(&error))?;
    let mut editor = DefaultEditor::new().map_err(|error| failed(&error))?;
    editor.enable_bracketed_paste(false);
    // A terminal without line editing has none; then replies are simply written.
    let printer = editor.create_external_printer().ok();
    let receiving = socket.try_clone().map_err(|error| failed(&error))?;
    if let Some(timeout) = timeout {
        socket
            .set_write_timeout(timeout)
            .map_err(|error| failed(&error))?;
    }

    println!("connected to {server}; exit, quit, q or Ctrl-D to leave");
    let (events, inbox) = mpsc::channel();
    let (turn, turns) = mpsc::channel();
    thread::spawn({
        let events = events.clone();
        move || prompt(editor, &turns, &events)
    });
    thread::spawn(move || receive(wire, receiving, &events));
    let mut session = Session {
        wire,
        timeout,
        printer,
        owed: 0,
        prompting: false,
    };
    let outcome = session.run(&mut socket, &inbox, &turn);
    if session.prompting {
        restore(&terminal);
    }
    outcome
}
