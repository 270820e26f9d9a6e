//! `resound answer`: a person at the server's terminal types the replies.
//!
//! The event loop runs in a thread of its own, and [`Heard`] tells the main thread of messages. Typed lines, or lines of
//! standard input, come from a third thread. The main thread waits for all of them in one channel, and sends replies
//! through the loop's [`Handle`].

mod conversation;
mod heard;

use std::{
    io::{self, BufRead, IsTerminal},
    process::ExitCode,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::Duration,
};

use ::log::debug;
use resound::{
    Config, ControlError, Endpoint, Handle, Reactor, Reason, Token,
    frame::FrameError,
    listen::{Address, Listen},
    protocol::{Protocol, Terms, fault::Units, websocket::text_message},
};

use self::{
    conversation::{Conversation, Order, Plain},
    heard::Heard,
};
use super::{
    Failure, bind_error, cannot,
    prompt::{Prompt, Typed},
};
use crate::common::{
    printable::printable,
    protocols::{self, Service},
    resolve, tls,
};

/// Answer by hand: each message is shown, and the line that you type is the reply
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = NOTES_AND_EXAMPLES)]
pub(crate) struct AnswerArgs {
    /// Where to listen: frames, lines, raw or ws, with the keys of serve's --listen
    #[arg(
        value_name = "PROTOCOL://ADDRESS[,KEY=VALUE]...",
        default_value = "frames://127.0.0.1:30000"
    )]
    listen: Listen,
}

macro_rules! examples {
    () => {
        "\
Examples:
  resound answer
  resound answer lines://127.0.0.1:7007
  resound answer lines+tls://127.0.0.1:7007,tls=self-signed,save-cert=echo.pem
  printf 'first reply\\nsecond reply\\n' | resound answer ws://127.0.0.1:8080"
    };
}

const EXAMPLES: &str = examples!();

const NOTES_AND_EXAMPLES: &str = concat!(
    "\
Each connection has a number, in the order in which they came. A typed line goes to the connection whose message came \
last. Begin it with @2 and a space to send the rest to connection 2 instead. @2 exit closes connection 2; exit, quit, \
q, Ctrl-D and Ctrl-C end the server, with FIN behind the last reply.

Away from a terminal each line of standard input is the reply to one message, in the order of the messages, and the \
server ends behind the last one. Replies are sent as frames, as lines, as lines without framing (raw), and as text \
messages (ws).

",
    examples!()
);

/// Events that may wait for the main thread. Then the loop waits too, and no peer is read.
const EVENTS: usize = 256;

/// How long the main thread waits for an event, if the loop has no room for a command.
const RETRY: Duration = Duration::from_millis(10);

/// What the main thread waits for.
#[derive(Debug)]
enum Event {
    Opened {
        connection: Token,
        peer: String,
    },
    Message {
        connection: Token,
        payload: Vec<u8>,
    },
    /// The peer has sent FIN.
    HalfClosed {
        connection: Token,
    },
    Closed {
        connection: Token,
        reason: Reason,
    },
    Typed(Typed),
    /// The loop has ended.
    Ended(io::Result<()>),
}

impl AnswerArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let (tell, inbox) = mpsc::sync_channel(EVENTS);
        let acceptor = tls::acceptor(&self.listen)
            .map_err(|error| Failure::Usage(format!("{}: {error}", self.listen)))?;
        let (protocol, units) = self.protocol(&tell).map_err(Failure::Usage)?;
        let protocol = match &acceptor {
            None => protocol,
            Some(acceptor) => tls::around(acceptor, protocol),
        };
        let mut reactor = Reactor::new(Config::default()).map_err(|e| cannot("start", &e))?;
        let endpoint = self.endpoint()?;
        let bound = reactor.listen(endpoint.clone(), protocol).map_err(|error| {
            self.cannot_listen(&bind_error::explain(&endpoint, &error, "the address"))
        })?;
        let handle = reactor.handle();
        let replies = Replies::start(&tell)?;
        let place = Listen { address: bound.into(), ..self.listen.clone() };
        if let Some(acceptor) = &acceptor {
            tls::announce(&self.listen, &place, acceptor).map_err(Failure::Failed)?;
        }
        if let Some(acceptor) = acceptor {
            tls::watch(vec![(place.to_string(), acceptor)])
                .map_err(|error| Failure::no_thread("the thread for certificates", &error))?;
        }
        println!("listening on {place}");
        if matches!(replies, Replies::Typed(_)) {
            println!("type replies; @2 TEXT goes to connection 2; exit or Ctrl-D to end");
        }
        let server = thread::Builder::new().name("loop".to_owned());
        server
            .spawn(move || {
                let ended = reactor.run();
                // This fails only if the main thread has ended.
                let _ = tell.send(Event::Ended(ended));
            })
            .map_err(|error| Failure::no_thread("the event loop", &error))?;
        let talk = Conversation::new(match replies {
            Replies::Typed(_) => Plain::Latest,
            Replies::Read(_) => Plain::Oldest,
        });
        Session { handle, units, replies, talk, is_ending: false }.run(&inbox)
    }

    fn protocol(
        &self,
        tell: &SyncSender<Event>,
    ) -> Result<(Box<dyn Protocol + Send>, Units), String> {
        let listen = &self.listen;
        let answered = ["frames", "lines", "raw", "ws"];
        if !answered.contains(&listen.protocol.as_str()) {
            return Err(format!(
                "{listen}: no replies can be typed for {}; there is {}",
                listen.protocol,
                answered.join(", ")
            ));
        }
        if let Some((key, _)) =
            listen.keys.iter().find(|(key, _)| ["fault", "reply"].contains(&key.as_str()))
        {
            return Err(format!(
                "{listen}: {key}= is for resound serve; here you type the replies"
            ));
        }
        if listen.tls && listen.keys.iter().any(|(key, _)| key == "proxy") {
            return Err(format!("{listen}: with TLS, proxy= is for resound serve only"));
        }
        let wrong = |error| format!("{listen}: {error}");
        let inside = inside(listen);
        let units = protocols::units(&inside).map_err(wrong)?;
        match protocols::service(&inside, &Terms::default()).map_err(wrong)? {
            Service::Connections(echo) => {
                Ok((Box::new(Heard::new(echo, units, tell.clone())), units))
            }
            Service::Datagrams(_) => {
                Err(format!("{listen}: no replies can be typed for datagrams"))
            }
        }
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        match &self.listen.address {
            Address::Ip(address) => Ok(Endpoint::Tcp(*address)),
            Address::Name { host, port } => resolve::look_up_to_listen(host, *port)
                .map(Endpoint::Tcp)
                .map_err(|error| self.cannot_listen(&error)),
            Address::Unix(path) => Ok(Endpoint::Unix(path.clone())),
            Address::Passed(_) => Err(Failure::Usage(format!(
                "{}: sockets are passed to resound serve only",
                self.listen
            ))),
        }
    }

    fn cannot_listen(&self, why: &str) -> Failure {
        Failure::Failed(format!("cannot listen on {}: {why}", self.listen))
    }
}

/// What is spoken inside TLS.
fn inside(listen: &Listen) -> Listen {
    let mut inside = listen.clone();
    if inside.tls {
        inside.tls = false;
        inside.keys.retain(|(key, _)| tls::KEYS.iter().all(|(of_tls, _)| of_tls != key));
    }
    inside
}

/// Where replies come from.
#[derive(Debug)]
enum Replies {
    Typed(Prompt),
    /// Standard input, whose thread reads a line for each message in this channel.
    Read(mpsc::Sender<()>),
}

impl Replies {
    fn start(tell: &SyncSender<Event>) -> Result<Self, Failure> {
        let tell = tell.clone();
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            return Prompt::new(move |typed| tell.send(Event::Typed(typed)).is_ok())
                .map(Self::Typed);
        }
        let (next, wanted) = mpsc::channel();
        thread::spawn(move || read_lines(&wanted, &tell));
        Ok(Self::Read(next))
    }

    /// Asks for the next line.
    fn ask(&mut self) {
        match self {
            Self::Typed(prompt) => prompt.show(),
            // This fails only behind the end of standard input.
            Self::Read(next) => drop(next.send(())),
        }
    }

    /// Shows whole lines.
    fn print(&mut self, lines: String) {
        match self {
            Self::Typed(prompt) => prompt.print(lines),
            Self::Read(_) => print!("{lines}"),
        }
    }
}

/// Reads a line of standard input for each message in `wanted`.
fn read_lines(wanted: &Receiver<()>, tell: &SyncSender<Event>) {
    let mut lines = io::stdin().lock().lines();
    while wanted.recv().is_ok() {
        let typed = match lines.next() {
            Some(Ok(line)) => Typed::Line(line),
            Some(Err(error)) => {
                debug!("standard input: {error}");
                Typed::Leave
            }
            None => Typed::Leave,
        };
        let is_last = matches!(typed, Typed::Leave);
        if tell.send(Event::Typed(typed)).is_err() || is_last {
            return;
        }
    }
}

/// The state of the main thread.
#[derive(Debug)]
struct Session {
    handle: Handle,
    units: Units,
    replies: Replies,
    talk: Conversation,
    is_ending: bool,
}

impl Session {
    fn run(mut self, inbox: &Receiver<Event>) -> Result<ExitCode, Failure> {
        let mut line = None;
        let mut is_asked = false;
        loop {
            if !self.is_ending && !is_asked && line.is_none() {
                self.replies.ask();
                is_asked = true;
            }
            match inbox.recv() {
                Ok(Event::Typed(typed)) => {
                    is_asked = false;
                    match typed {
                        Typed::Line(typed) => line = Some(typed),
                        Typed::Leave => self.end(),
                        Typed::NoPrompt(error) => {
                            return Err(Failure::Failed(format!("cannot prompt: {error}")));
                        }
                    }
                }
                Ok(Event::Ended(ended)) => {
                    return ended
                        .map(|()| ExitCode::SUCCESS)
                        .map_err(|error| cannot("run the event loop", &error));
                }
                Ok(event) => self.hear(event, inbox),
                Err(_) => return Err(Failure::Failed("the event loop panicked".to_owned())),
            }
            if self.talk.takes_line()
                && let Some(line) = line.take()
            {
                self.obey(&line, inbox);
            }
        }
    }

    fn end(&mut self) {
        if let Replies::Typed(prompt) = &mut self.replies {
            prompt.is_done();
        }
        self.is_ending = true;
        self.handle.stop();
    }

    /// Shows what has happened.
    fn hear(&mut self, event: Event, inbox: &Receiver<Event>) {
        let line = match event {
            Event::Opened { connection, peer } => {
                let number = self.talk.opened(connection);
                format!("[{number}] connected from {peer}\n")
            }
            Event::Message { connection, payload } => {
                let Some(number) = self.talk.heard(connection) else { return };
                let text = printable(&payload);
                format!("[{number}] {}\n", text.trim_end_matches(['\r', '\n']))
            }
            Event::HalfClosed { connection } => match self.talk.half_closed(connection) {
                Some((number, true)) => {
                    format!("[{number}] has sent FIN, and waits for the reply\n")
                }
                Some((_, false)) => return self.speak(connection, &[], true, inbox),
                None => return,
            },
            Event::Closed { connection, reason } => {
                let Some(number) = self.talk.closed(connection) else { return };
                format!("[{number}] closed {}\n", reason.as_str())
            }
            Event::Typed(_) | Event::Ended(_) => return,
        };
        self.replies.print(line);
    }

    /// Does what a line says.
    fn obey(&mut self, line: &str, inbox: &Receiver<Event>) {
        if let Replies::Typed(prompt) = &mut self.replies {
            prompt.is_done();
        }
        match self.talk.order(line) {
            Ok(Order::Leave) => self.end(),
            Ok(Order::Close(connection)) => self.speak(connection, &[], true, inbox),
            Ok(Order::Reply { to, text, last }) => match encode(text, self.units) {
                Ok(reply) => self.speak(to, &reply, last, inbox),
                Err(error) => self.replies.print(format!("(not sent: {error})\n")),
            },
            Err(why) => self.replies.print(format!("({why})\n")),
        }
    }

    /// Sends bytes on a connection, and ends it behind them if asked to.
    fn speak(&mut self, connection: Token, bytes: &[u8], finish: bool, inbox: &Receiver<Event>) {
        loop {
            let bytes = bytes.to_vec();
            let spoken = self.handle.speak(connection, move |out| {
                out.extend(&bytes);
                if finish {
                    out.finish();
                }
            });
            match spoken {
                // Whether the connection was still open then, its own event tells.
                Ok(_) | Err(ControlError::Ended) => return,
                Err(error) => debug!("{connection}: {error}"),
            }
            // The loop may be waiting for room in the channel itself.
            if let Ok(event) = inbox.recv_timeout(RETRY) {
                self.hear(event, inbox);
            }
        }
    }
}

/// A reply with this text.
fn encode(text: &str, units: Units) -> Result<Vec<u8>, FrameError> {
    let mut reply = Vec::new();
    match units {
        Units::Frames(dialect) => dialect.encode(text.as_bytes(), &mut reply)?,
        Units::WebSocket => text_message(text, &mut reply),
        Units::Lines | Units::Bytes | Units::Answers | Units::Datagrams => {
            reply.extend(text.bytes());
            reply.push(b'\n');
        }
    }
    Ok(reply)
}
