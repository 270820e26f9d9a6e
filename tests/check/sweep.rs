//! A small server for frames and lines: one thread that looks at each of its connections by turns. It is right, or it makes one
//! [`Mistake`].

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use resound::frame::{Dialect, FrameError};
use socket2::SockRef;

/// What a server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    // Payloads.
    ChangesLetters,
    EndsAtAnEmptyMessage,
    DecodesAsAscii,
    SpoilsLongerThan4096,
    LimitOffByOne,
    HoldsOutputBack,
    ForgetsWhatIsBeforeTheLength,
    // Reads taken for messages.
    OneReadIsOneMessage,
    OneMessageARead,
    HeadInOneRead,
    OnlyWholeReads,
    DropsTheRestOfARead,
    LosesOneOfThousands,
    ForgetsShortWrites,
    UrgentInline,
    // Lengths.
    NoLimit,
    ClosesWithAnswersOwed,
    EndsAtABadLength,
    NegativeIsNone,
    TooSmallIsNone,
    WaitsForTheVarint,
    // The end of a stream.
    EndIsNoData,
    AnswersAtTheNextRead,
    WaitsForTheHead,
    EchoesTheCutPart,
    DropsOutputAtTheEnd,
    // Errors of one connection that end all.
    EndsAtAResetInTheBacklog,
    EndsAtReadErrors,
    EndsAtWriteErrors,
    // One connection that holds up all.
    BlocksInWrite,
    BuffersWithoutBound,
    StaysWithASender,
    WaitsInsideAMessage,
    GreetsTheSilent,
    // Accepting.
    At500,
    LeaksSlots,
    // Resources: these run as processes.
    Spins,
    SpinsWhileBlocked,
    ReservesWhatIsAnnounced,
    EndsOutOfDescriptors,
    NeverAcceptsAgain,
}

use Mistake as M;

/// How a message is found: its head and its whole length.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Codec {
    Frames(Dialect),
    Lines,
}

enum Found {
    Whole { head: usize, length: usize },
    Part,
    Bad,
}

impl Codec {
    fn find(self, input: &[u8], mistake: M) -> Found {
        let dialect = match self {
            Self::Frames(dialect) => dialect,
            Self::Lines => {
                return match input.iter().position(|byte| *byte == b'\n') {
                    Some(end) => Found::Whole { head: 0, length: end + 1 },
                    None => Found::Part,
                };
            }
        };
        match dialect.head(input) {
            Ok(Some(head)) if input.len() >= head.frame() => {
                if mistake == M::LimitOffByOne && head.payload as u64 == dialect.limit() {
                    return Found::Bad;
                }
                Found::Whole { head: head.size, length: head.frame() }
            }
            Ok(_) => Found::Part,
            Err(FrameError::TooLong { length, .. }) if mistake == M::NegativeIsNone => {
                let head = dialect.offset() + dialect.width().bytes().unwrap();
                if length > u64::from(u32::MAX >> 1) {
                    Found::Whole { head, length: head }
                } else {
                    Found::Bad
                }
            }
            Err(FrameError::TooShort { .. }) if mistake == M::TooSmallIsNone => {
                let head = dialect.offset() + dialect.width().bytes().unwrap();
                Found::Whole { head, length: head }
            }
            Err(FrameError::TooLong { .. }) if mistake == M::NoLimit => Found::Part,
            Err(FrameError::Overlong) if mistake == M::WaitsForTheVarint => Found::Part,
            Err(_) => Found::Bad,
        }
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Held back by some mistakes.
    held: Vec<u8>,
    messages: usize,
    reserved: Vec<u8>,
    last_heard: Instant,
    /// No more is read.
    ends: bool,
    /// It is over.
    gone: bool,
}

/// How much a turn reads, and how much output stops reading.
const TURN: usize = 64 << 10;

/// How long [`Mistake::StaysWithASender`] waits for more.
const STAY: Duration = Duration::from_secs(20);

/// Serves in a thread of its own, as long as the test process lasts.
pub(crate) fn start(codec: Codec, mistake: Mistake) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || Sweep::new(listener, codec, mistake).run());
    address
}

pub(crate) struct Sweep {
    listener: Option<TcpListener>,
    codec: Codec,
    mistake: Mistake,
    connections: Vec<Connection>,
    accepted: usize,
    messages: usize,
    /// The whole server has ended.
    over: bool,
}

impl Sweep {
    pub(crate) fn new(listener: TcpListener, codec: Codec, mistake: Mistake) -> Self {
        listener.set_nonblocking(true).unwrap();
        let listener = Some(listener);
        Self {
            listener,
            codec,
            mistake,
            connections: Vec::new(),
            accepted: 0,
            messages: 0,
            over: false,
        }
    }

    pub(crate) fn run(mut self) {
        while !self.over {
            let mut busy = self.accept();
            for index in 0..self.connections.len() {
                busy |= self.turn(index);
            }
            self.connections.retain(|connection| !connection.gone);
            let is_blocked =
                self.connections.iter().any(|connection| !connection.output.is_empty());
            let spins =
                self.mistake == M::Spins || self.mistake == M::SpinsWhileBlocked && is_blocked;
            if !busy && !spins {
                thread::sleep(Duration::from_millis(1));
            }
        }
        if std::env::var_os("BROKEN").is_some() {
            std::process::exit(1);
        }
    }

    fn accept(&mut self) -> bool {
        let Some(listener) = &self.listener else { return false };
        let mut any = false;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    any = true;
                    self.accepted += 1;
                    let is_full = self.mistake == M::At500 && self.connections.len() >= 500
                        || self.mistake == M::LeaksSlots && self.accepted > 100;
                    if is_full {
                        continue;
                    }
                    if self.mistake == M::EndsAtAResetInTheBacklog {
                        // Blocks until the first byte is there, or the reset. It serves nobody after that.
                        self.over |= stream.peek(&mut [0]).is_err();
                        if self.over {
                            return any;
                        }
                    }
                    stream.set_nodelay(true).unwrap_or_default();
                    stream.set_nonblocking(true).unwrap();
                    SockRef::from(&stream)
                        .set_out_of_band_inline(self.mistake == M::UrgentInline)
                        .unwrap();
                    self.connections.push(Connection {
                        stream,
                        input: Vec::new(),
                        output: Vec::new(),
                        held: Vec::new(),
                        messages: 0,
                        reserved: Vec::new(),
                        last_heard: Instant::now(),
                        ends: false,
                        gone: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return any,
                Err(_) if self.mistake == M::EndsOutOfDescriptors => {
                    self.over = true;
                    return any;
                }
                Err(_) if self.mistake == M::NeverAcceptsAgain => {
                    // What is in the backlog stays there.
                    std::mem::forget(self.listener.take());
                    return any;
                }
                Err(_) => {
                    thread::sleep(Duration::from_millis(20));
                    return any;
                }
            }
        }
    }

    /// Reads, answers and writes; returns whether anything happened.
    fn turn(&mut self, index: usize) -> bool {
        let mistake = self.mistake;
        let connection = &mut self.connections[index];
        let is_bounded = !matches!(mistake, M::BuffersWithoutBound | M::DropsOutputAtTheEnd);
        let mut busy = false;
        loop {
            if connection.ends || connection.gone {
                break;
            }
            if is_bounded && !connection.output.is_empty() {
                if mistake == M::StaysWithASender {
                    self.over |= connection.flush(mistake);
                    continue;
                }
                break;
            }
            let mut piece = [0; TURN];
            match connection.stream.read(&mut piece) {
                Ok(0) if mistake == M::EndIsNoData => break,
                Ok(0) if mistake == M::WaitsForTheHead && !connection.input.is_empty() => break,
                Ok(0) => {
                    if mistake == M::EchoesTheCutPart {
                        connection.output.append(&mut connection.input);
                    }
                    if mistake == M::DropsOutputAtTheEnd {
                        connection.output.clear();
                    }
                    (connection.ends, busy) = (true, true);
                }
                Ok(count) => {
                    busy = true;
                    connection.last_heard = Instant::now();
                    connection.output.append(&mut connection.held);
                    connection.input.extend_from_slice(&piece[..count]);
                    self.over |= connection.answer(self.codec, mistake, count, &mut self.messages);
                    if mistake == M::DropsOutputAtTheEnd {
                        // It reads on, so as to see the end early.
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let stays = mistake == M::StaysWithASender && connection.messages > 40
                        || mistake == M::WaitsInsideAMessage && !connection.input.is_empty();
                    if !stays || connection.last_heard.elapsed() > STAY {
                        break;
                    }
                }
                Err(_) => {
                    self.over |= mistake == M::EndsAtReadErrors;
                    connection.gone = true;
                }
            }
            let stays = matches!(mistake, M::StaysWithASender | M::WaitsInsideAMessage);
            self.over |= connection.flush(mistake);
            if !stays {
                break;
            }
        }
        if mistake == M::GreetsTheSilent && connection.messages == 0 && self.messages > 50 {
            connection.output.extend_from_slice(b"\x05\0\0\0hello");
            connection.messages = 1;
        }
        self.over |= connection.flush(mistake);
        connection.gone |= connection.ends && connection.output.is_empty();
        busy
    }
}

impl Connection {
    /// Answers the messages that are whole, the last of which came in a read of `count` bytes. Returns whether the whole
    /// server ends.
    fn answer(&mut self, codec: Codec, mistake: M, count: usize, all: &mut usize) -> bool {
        if mistake == M::HeadInOneRead && self.input.len() == count && count < 4 {
            self.gone = true;
        }
        let mut in_this_read = 0;
        loop {
            match codec.find(&self.input, mistake) {
                Found::Bad => {
                    if mistake != M::ClosesWithAnswersOwed {
                        // Read to the end, so that no RST destroys what is owed.
                        self.input.clear();
                    } else {
                        // It owes at least the last answer, however late it reads and however fast the client does.
                        self.output.clear();
                        self.gone = true;
                    }
                    self.refuse();
                    return mistake == M::EndsAtABadLength;
                }
                Found::Part => break,
                Found::Whole { head, length } => {
                    if mistake == M::OnlyWholeReads && length != self.input.len() {
                        break;
                    }
                    if mistake == M::OneReadIsOneMessage && self.input.len() != count {
                        break;
                    }
                    let mut message: Vec<u8> = self.input.drain(..length).collect();
                    (self.messages, in_this_read, *all) =
                        (self.messages + 1, in_this_read + 1, *all + 1);
                    self.reserved = Vec::new();
                    spoil(&mut message, head, mistake);
                    let is_lost = mistake == M::LosesOneOfThousands && self.messages == 2_000;
                    match mistake {
                        M::EndsAtAnEmptyMessage if head == length => self.ends = true,
                        M::HoldsOutputBack | M::AnswersAtTheNextRead | M::ClosesWithAnswersOwed => {
                            self.held.extend(message);
                        }
                        M::EndsAtWriteErrors => {
                            // A write for each, as a simple server does.
                            self.output.extend(message);
                            if self.flush(mistake) {
                                return true;
                            }
                        }
                        _ if is_lost => {}
                        _ => self.output.extend(message),
                    }
                    if mistake == M::OneMessageARead {
                        break;
                    }
                }
            }
        }
        if mistake == M::OneReadIsOneMessage
            || mistake == M::DropsTheRestOfARead && in_this_read > 0
        {
            self.input.clear();
        }
        if let (M::ReservesWhatIsAnnounced, Codec::Frames(dialect)) = (mistake, codec)
            && let Ok(Some(head)) = dialect.head(&self.input)
        {
            // A quarter of it is written to, which makes that resident.
            self.reserved = vec![1; head.payload / 4];
        }
        false
    }

    /// No more is read, and what is owed is sent.
    fn refuse(&mut self) {
        self.ends = true;
        let mut stream = self.stream.try_clone().unwrap();
        // What still comes is discarded for a while by a thread, as the server has closed its side by then.
        if !self.gone {
            thread::spawn(move || {
                let deadline = Instant::now() + Duration::from_secs(2);
                let mut piece = [0; TURN];
                while Instant::now() < deadline {
                    match stream.read(&mut piece) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            thread::sleep(Duration::from_millis(1));
                        }
                        Err(_) => break,
                    }
                }
            });
        }
    }

    /// Writes what it can; returns whether the whole server ends.
    fn flush(&mut self, mistake: M) -> bool {
        if mistake == M::BlocksInWrite && !self.output.is_empty() {
            self.stream.set_nonblocking(false).unwrap();
            let _ = self.stream.write_all(&self.output);
            self.stream.set_nonblocking(true).unwrap();
            self.output.clear();
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(_) if mistake == M::ForgetsShortWrites => self.output.clear(),
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if mistake == M::ForgetsShortWrites {
                        self.output.clear();
                    }
                    return false;
                }
                Err(_) => {
                    self.output.clear();
                    self.gone = true;
                    return mistake == M::EndsAtWriteErrors;
                }
            }
        }
        if self.ends && !self.gone {
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
        false
    }
}

fn spoil(message: &mut [u8], head: usize, mistake: M) {
    let payload = &mut message[head..];
    match mistake {
        M::ChangesLetters => payload.make_ascii_uppercase(),
        M::DecodesAsAscii => {
            payload.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        }
        M::SpoilsLongerThan4096 if payload.len() > 4096 => payload[4096] ^= 1,
        M::ForgetsWhatIsBeforeTheLength => message[0] = 0,
        _ => {}
    }
}
