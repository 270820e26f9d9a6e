//! The client on a terminal: a prompt with a history; what the server sends is shown as soon as it arrives.
//!
//! Three threads and one channel: one thread waits at the prompt, one in `read`, and the main thread handles their
//! events. So a server that closes the connection is noticed while the prompt waits.

use std::{
    io::{ErrorKind, Read, Write},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use super::wire::{Cut, Decoder, Encoder, Piece, Wire};
use crate::{
    cli::{
        Failure,
        prompt::{Prompt, Typed},
    },
    common::{printable::printable, tls::Link, units::TimeLimit},
};

#[derive(Debug)]
enum Event {
    /// What the user did at the prompt.
    Typed(Typed),
    /// The server sent an item or raw bytes.
    Reply { bytes: Vec<u8>, raw: bool },
    /// The server closed the connection, or it failed.
    Closed(String),
}

pub(super) fn run(
    wire: Wire,
    timeout: Option<Duration>,
    link: Link,
    server: &str,
) -> Result<ExitCode, Failure> {
    let (events, inbox) = mpsc::channel();
    let typed = events.clone();
    let prompt = Prompt::new(move |what| typed.send(Event::Typed(what)).is_ok())?;
    let cannot = |error| Failure::Failed(format!("cannot use the connection: {error}"));
    let receiving = link.try_clone().map_err(cannot)?;
    link.socket().set_write_timeout(timeout).map_err(cannot)?;
    println!("connected to {server}; exit, quit, q or Ctrl-D to end");
    thread::spawn(move || receive(wire, receiving, &events));
    let encoder = Encoder::new(wire, Cut::Lines);
    Session { encoder, timeout, prompt, owed: 0, untouched: true }.run(&link, &inbox)
}

/// The state of the main thread.
#[derive(Debug)]
struct Session {
    encoder: Encoder,
    timeout: Option<Duration>,
    prompt: Prompt,
    /// What is missing of the reply to the last line: one item, or the number of raw bytes sent.
    owed: usize,
    /// Nothing has been sent or received yet.
    untouched: bool,
}

impl Session {
    fn run(&mut self, link: &Link, inbox: &Receiver<Event>) -> Result<ExitCode, Failure> {
        loop {
            // The next prompt waits for the reply, so that it is shown below the reply.
            if self.owed == 0 {
                self.prompt.show();
            }
            match self.next(inbox) {
                Ok(Event::Typed(typed)) => {
                    self.prompt.is_done();
                    match typed {
                        Typed::Line(line) => self.send(&line, link)?,
                        Typed::Leave => {
                            // It fails only where the server has ended the connection.
                            let _ = link.finish();
                            return Ok(ExitCode::SUCCESS);
                        }
                        Typed::NoPrompt(error) => {
                            return Err(Failure::Failed(format!("cannot prompt: {error}")));
                        }
                    }
                }
                Ok(Event::Reply { bytes, raw }) => {
                    if std::mem::take(&mut self.untouched) {
                        self.show(b"(received before anything was sent:)");
                    }
                    self.show(&bytes);
                    self.owed = self.owed.saturating_sub(if raw { bytes.len() } else { 1 });
                }
                Ok(Event::Closed(why)) => return Err(Failure::Failed(why)),
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

    fn send(&mut self, line: &str, mut link: &Link) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        let wire = self.encoder.wire();
        if let Err(error) = self.encoder.push(format!("{line}\n").as_bytes(), &mut bytes) {
            println!("(not sent: {error})");
            return Ok(());
        }
        self.untouched = false;
        self.owed = if wire == Wire::Raw { bytes.len() } else { 1 };
        let sent = link.write_all(&bytes).and_then(|()| link.flush());
        sent.map_err(|error| match error.kind() {
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
        self.prompt.print(text);
    }
}

/// Reads until the server closes the connection. Passes on whole items, or raw bytes as they arrive.
fn receive(wire: Wire, link: Link, events: &Sender<Event>) {
    let raw = wire == Wire::Raw;
    let mut decoder = Decoder::new(wire);
    let mut block = vec![0; 64 << 10];
    let mut item = Vec::new();
    let why = loop {
        let length = match { &link }.read(&mut block) {
            Ok(0) => break "the server closed the connection".to_owned(),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break error.to_string(),
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
