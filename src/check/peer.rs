//! A client that follows a script: it sends, it expects, and each step is recorded. Every wait is bounded.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use resound::{Endpoint, plural::bytes};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    http::{self, Answer},
    script::{Script, shown},
    target::{Kind, Target},
    verdict::{Fail, Verdict},
    websocket::{self, Frame},
};
use crate::common::{tls::Link, units::Time};

/// A connection, or a socket for datagrams.
#[derive(Debug)]
pub(super) struct Peer {
    name: String,
    link: Link,
    target: Arc<Target>,
    timeout: Duration,
    script: Script,
    /// What has come and was not expected yet, from `start` on.
    inbox: Vec<u8>,
    start: usize,
    end: Option<End>,
    pings: u32,
    /// Where in its messages a flood has stopped.
    flooded: usize,
}

/// How a peer connects.
#[derive(Debug)]
pub(super) struct Dial<'d> {
    pub(super) target: &'d Arc<Target>,
    pub(super) timeout: Duration,
    pub(super) script: &'d Script,
    /// Whether the client takes little at a time.
    pub(super) is_small: bool,
}

/// How the server has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    /// FIN, and no `close_notify` before it.
    CutOff,
    Reset,
}

/// What came of waiting for bytes.
enum Came {
    Bytes,
    End(End),
    Nothing,
}

/// Bytes of one read: more than a datagram has.
const READ: usize = 128 << 10;

/// A receive buffer that is full soon.
const SMALL_BUFFER: usize = 4 << 10;

/// Bytes of a segment in an Ethernet frame.
const ETHERNET_SEGMENT: u32 = 1_460;

/// How long a write may make no progress until the server counts as one that reads no more.
const STALL: Duration = Duration::from_millis(300);

/// A message of a flood, and how much of a flood is written at once.
const FLOOD_MESSAGE: usize = 4 << 10;
const FLOOD_PIECE: usize = 64 << 10;

impl Peer {
    /// Connects, and completes the handshake if the protocol has one.
    pub(super) fn connect(name: &str, dial: &Dial<'_>) -> Result<Self, Fail> {
        let mut peer = Self::connect_only(name, dial)?;
        peer.greet()?;
        Ok(peer)
    }

    /// Connects, and sends nothing.
    pub(super) fn connect_only(name: &str, dial: &Dial<'_>) -> Result<Self, Fail> {
        let link = open(dial).map_err(|error| {
            dial.script.note(format!("{name} cannot connect: {error}"));
            Fail::wrong("the connection to be accepted", format!("cannot connect: {error}"))
        })?;
        if dial.target.kind != Kind::Udp {
            dial.script.sent(name, "connect".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            link,
            target: Arc::clone(dial.target),
            timeout: dial.timeout,
            script: dial.script.clone(),
            inbox: Vec::new(),
            start: 0,
            end: None,
            pings: 0,
            flooded: 0,
        })
    }

    /// Completes the handshakes, of TLS and of the protocol, if there are any: for a peer that only connected.
    pub(super) fn greet(&mut self) -> Verdict {
        self.secure()?;
        if self.target.kind == Kind::WebSocket { self.shake_hands() } else { Ok(()) }
    }

    /// Completes the handshake of TLS, if there is TLS.
    pub(super) fn secure(&mut self) -> Verdict {
        let Some(connector) = &self.target.connector else { return Ok(()) };
        let socket = self.link.socket().try_clone().map_err(not_duplicated)?;
        self.link = Link::secured(socket, Arc::clone(connector), "").map_err(|error| {
            self.script.note(format!("{}: {error}", self.name));
            Fail::wrong("the TLS handshake to be completed", error)
        })?;
        self.script.note(format!("{} and the server have completed the TLS handshake", self.name));
        Ok(())
    }

    fn shake_hands(&mut self) -> Verdict {
        self.send(&websocket::request(&self.target.place.host()))?;
        let expected = "the handshake to be accepted: 101, and the key's hash";
        let (status, head) = loop {
            let answer = http::answer(self.inbox(), self.end.is_some());
            match answer.map_err(|error| Fail::wrong(expected, error))? {
                Some(answer) => {
                    let head = self.inbox()[..answer.length].to_vec();
                    self.take(answer.length);
                    break (answer.status, String::from_utf8_lossy(&head).into_owned());
                }
                None => self.await_more(expected)?,
            }
        };
        let hash = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-accept").then(|| value.trim().to_owned())
        });
        match (status, hash.as_deref()) {
            (101, Some(websocket::ACCEPT)) => Ok(()),
            (101, hash) => {
                let got = format!("101, and Sec-WebSocket-Accept: {}", hash.unwrap_or("(absent)"));
                Err(Fail::wrong(expected, got))
            }
            (status, _) => Err(Fail::wrong(expected, format!("status {status}"))),
        }
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, sent: &[u8]) -> Verdict {
        self.script.sent(&self.name, shown(sent));
        write_all(&self.link, sent).map_err(|(written, error)| {
            let expected = format!("{} to be taken", bytes(sent.len() as u64));
            Fail::wrong(expected, self.not_taken(written, &error))
        })
    }

    fn not_taken(&self, written: usize, error: &io::Error) -> String {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("only {} taken in {}", bytes(written as u64), Time(self.timeout))
            }
            _ => format!("{error}, behind {}", bytes(written as u64)),
        }
    }

    pub(super) fn send_message(&mut self, payload: &[u8]) -> Verdict {
        self.send(&self.target.message(payload))
    }

    /// Sends one byte out of band: "urgent data".
    pub(super) fn send_urgent(&mut self, byte: u8) -> Verdict {
        self.script.sent(&self.name, format!("urgent byte {byte:02x}"));
        let sent = self.link.socket().send_out_of_band(&[byte]);
        sent.map(drop).map_err(|error| Fail::wrong("an urgent byte to be taken", error.to_string()))
    }

    /// Sends `sent` while it expects the messages that carry these payloads.
    pub(super) fn exchange(&mut self, sent: &[u8], payloads: &[Vec<u8>]) -> Verdict {
        self.while_sending(sent, |peer| {
            payloads.iter().try_for_each(|payload| peer.expect_message(payload))
        })
    }

    /// Runs `expect` while another thread sends `sent`. That not all of it was taken is no failure by itself.
    pub(super) fn while_sending(
        &mut self,
        sent: &[u8],
        expect: impl FnOnce(&mut Self) -> Verdict,
    ) -> Verdict {
        self.beside_writer(sent, |_| {}, expect)
    }

    /// As [`while_sending`](Self::while_sending), with FIN behind it.
    pub(super) fn while_sending_all(
        &mut self,
        sent: &[u8],
        expect: impl FnOnce(&mut Self) -> Verdict,
    ) -> Verdict {
        let script = self.script.clone();
        let name = self.name.clone();
        let finish = move |link: &Link| {
            script.sent(&name, "FIN".to_owned());
            let _ = link.finish();
        };
        self.beside_writer(sent, finish, expect)
    }

    fn beside_writer(
        &mut self,
        sent: &[u8],
        finish: impl FnOnce(&Link) + Send,
        expect: impl FnOnce(&mut Self) -> Verdict,
    ) -> Verdict {
        self.script.sent(&self.name, shown(sent));
        let link = self.link.try_clone().map_err(not_duplicated)?;
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                if write_all(&link, sent).is_ok() {
                    finish(&link);
                }
            });
            let verdict = expect(self);
            if verdict.is_err() {
                // So that the writer ends; it fails only if the connection has ended.
                let _ = self.link.socket().shutdown(Shutdown::Both);
            }
            let _ = writer.join();
            verdict
        })
    }

    /// Sends these messages again and again while it expects their echoes, until it is `enough`.
    pub(super) fn firehose(&mut self, payloads: &[Vec<u8>], enough: &AtomicBool) -> Verdict {
        let sent: Vec<u8> =
            payloads.iter().flat_map(|payload| self.target.message(payload)).collect();
        let link = self.link.try_clone().map_err(not_duplicated)?;
        let begun = AtomicU64::new(0);
        self.script.sent(&self.name, "messages without a pause".to_owned());
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                while !enough.load(Relaxed) {
                    begun.fetch_add(1, Relaxed);
                    if write_all(&link, &sent).is_err() {
                        break;
                    }
                }
            });
            let (mut done, mut verdict) = (0, Ok(()));
            while verdict.is_ok() {
                let has_ended = writer.is_finished();
                if done < begun.load(Relaxed) {
                    verdict = payloads.iter().try_for_each(|payload| self.expect_message(payload));
                    done += 1;
                } else if has_ended {
                    break;
                } else {
                    thread::yield_now();
                }
            }
            if verdict.is_err() {
                let _ = self.link.socket().shutdown(Shutdown::Both);
            }
            let _ = writer.join();
            verdict
        })
    }

    /// Sends messages and reads nothing, until the server takes no more or `most` bytes are taken. Returns how many were.
    pub(super) fn flood(&mut self, most: u64) -> u64 {
        let message = self.target.message(&self.target.fitted(vec![b'f'; FLOOD_MESSAGE]));
        let piece = message.repeat(FLOOD_PIECE.div_ceil(message.len()));
        self.script.sent(&self.name, "messages, until no more are taken".to_owned());
        // It cannot fail: the time is not zero.
        let _ = self.link.socket().set_write_timeout(Some(STALL));
        let (mut taken, mut at) = (0, self.flooded);
        while taken < most {
            match (&self.link).write(&piece[at..]) {
                Ok(count) => {
                    taken += count as u64;
                    at = (at + count) % piece.len();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = self.link.socket().set_write_timeout(Some(self.timeout));
        self.flooded = at;
        self.script.note(format!("{} of {}'s were taken", bytes(taken), self.name));
        taken
    }

    /// Sends a message and FIN in one segment, where there are segments: the server finds both at once.
    pub(super) fn send_message_with_fin(&mut self, payload: &[u8]) -> Verdict {
        let message = self.target.message(payload);
        self.script.sent(&self.name, shown(&message));
        // Held back until FIN goes with it (send(2)); other sockets know no such flag. What is not taken goes without it.
        let taken = match &self.link {
            Link::Plain(socket) => socket.send_with_flags(&message, libc::MSG_MORE).unwrap_or(0),
            Link::Tls(_) => 0,
        };
        if taken < message.len() {
            self.send(&message[taken..])?;
        }
        self.half_close()
    }

    /// Sends FIN.
    pub(super) fn half_close(&mut self) -> Verdict {
        self.script.sent(&self.name, "FIN".to_owned());
        // Where the server has closed already, what it sent says whether that was right.
        let _ = self.link.finish();
        Ok(())
    }

    /// Closes with RST. On a Unix socket, which has none, it closes.
    pub(super) fn reset(self) {
        self.script.sent(&self.name, "RST".to_owned());
        let _ = self.link.socket().set_linger(Some(Duration::ZERO));
    }

    /// Closes.
    pub(super) fn close(self) {
        self.script.sent(&self.name, "close".to_owned());
    }

    /// A message there and back.
    pub(super) fn ping(&mut self) -> Verdict {
        self.pings += 1;
        let payload = self.target.fitted(format!("ping {:04}", self.pings).into_bytes());
        self.send_message(&payload)?;
        self.expect_message(&payload)
    }

    pub(super) fn pings(&mut self, count: usize) -> Verdict {
        (0..count).try_for_each(|_| self.ping())
    }

    /// Expects the echo of the message with that payload.
    pub(super) fn expect_message(&mut self, payload: &[u8]) -> Verdict {
        match self.target.kind {
            Kind::Frames | Kind::Lines | Kind::Raw => {
                let message = self.target.message(payload);
                self.expect_bytes(&message)
            }
            Kind::Udp => self.expect_datagram(payload),
            Kind::WebSocket => {
                let expected = format!("a message of {}", shown(payload));
                let (_, data) = self.websocket_message(&expected)?;
                self.compare(&expected, payload, &data)
            }
            Kind::Http => {
                let expected = format!("an answer 200 with {}", shown(payload));
                let answer = self.answer(&expected)?;
                if answer.status != 200 {
                    return Err(Fail::wrong(expected, format!("status {}", answer.status)));
                }
                self.compare(&expected, payload, &answer.body)
            }
        }
    }

    /// Expects exactly these bytes next.
    pub(super) fn expect_bytes(&mut self, expected: &[u8]) -> Verdict {
        let mut alike = 0;
        loop {
            let come = &self.inbox()[..self.inbox().len().min(expected.len())];
            if come[alike..] != expected[alike..come.len()] {
                let got = differs(expected, come);
                return Err(Fail::wrong(shown(expected), got));
            }
            alike = come.len();
            if alike == expected.len() {
                self.take(alike);
                return Ok(());
            }
            match self.fill() {
                Came::Bytes => {}
                other => {
                    let behind = format!(" behind {alike} of them");
                    let behind = if alike > 0 { behind.as_str() } else { "" };
                    return Err(Fail::wrong(shown(expected), self.instead(&other) + behind));
                }
            }
        }
    }

    fn expect_datagram(&mut self, expected: &[u8]) -> Verdict {
        let text = format!("a datagram of {}", shown(expected));
        match self.fill() {
            Came::Bytes => {
                let come = std::mem::take(&mut self.inbox);
                self.compare(&text, expected, &come)
            }
            // An empty datagram reads as the end of a stream does.
            Came::End(End::Fin) => {
                self.end = None;
                self.compare(&text, expected, b"")
            }
            other => Err(Fail::wrong(text, self.instead(&other))),
        }
    }

    /// The next frame of WebSocket.
    pub(super) fn expect_frame(&mut self, expected: &str) -> Result<Frame, Fail> {
        loop {
            let found = Frame::read(self.inbox()).map_err(|error| Fail::wrong(expected, error))?;
            match found {
                Some((frame, length)) => {
                    self.take(length);
                    return Ok(frame);
                }
                None => self.await_more(expected)?,
            }
        }
    }

    /// The next message of WebSocket, and its opcode; its fragments are joined, and pings and pongs between them passed over.
    pub(super) fn websocket_message(&mut self, expected: &str) -> Result<(u8, Vec<u8>), Fail> {
        let (mut opcode, mut data) = (None, Vec::new());
        loop {
            let frame = self.expect_frame(expected)?;
            match (frame.opcode, opcode) {
                (websocket::PING | websocket::PONG, _) => continue,
                (websocket::TEXT | websocket::BINARY, None) => opcode = Some(frame.opcode),
                (websocket::CONTINUATION, Some(_)) => {}
                _ => return Err(Fail::wrong(expected, frame.described())),
            }
            data.extend_from_slice(&frame.payload);
            if let Some(opcode) = opcode.filter(|_| frame.last) {
                return Ok((opcode, data));
            }
        }
    }

    /// The next answer of HTTP that is final.
    fn answer(&mut self, expected: &str) -> Result<Answer, Fail> {
        loop {
            let answer = self.any_answer(expected)?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    /// The next answer of HTTP, which may be an interim one.
    pub(super) fn any_answer(&mut self, expected: &str) -> Result<Answer, Fail> {
        loop {
            let answer = http::answer(self.inbox(), self.end == Some(End::Fin));
            match answer.map_err(|error| Fail::wrong(expected, error))? {
                Some(answer) => {
                    self.take(answer.length);
                    return Ok(answer);
                }
                None => self.await_more(expected)?,
            }
        }
    }

    /// Expects FIN, and no byte before it.
    pub(super) fn expect_end(&mut self) -> Verdict {
        let expected = "FIN, and nothing before it";
        loop {
            if self.target.kind == Kind::WebSocket {
                self.pass_over_close(expected)?;
            }
            let is_websocket = self.target.kind == Kind::WebSocket;
            if !self.inbox().is_empty() && !is_websocket {
                return Err(Fail::wrong(expected, shown(self.inbox())));
            }
            match self.fill() {
                Came::Bytes => {}
                Came::End(End::Fin) if self.inbox().is_empty() => return Ok(()),
                Came::End(End::Fin) => return Err(Fail::wrong(expected, shown(self.inbox()))),
                other => return Err(Fail::wrong(expected, self.instead(&other))),
            }
        }
    }

    fn pass_over_close(&mut self, expected: &str) -> Verdict {
        while let Some((frame, length)) =
            Frame::read(self.inbox()).map_err(|error| Fail::wrong(expected, error))?
        {
            if frame.opcode != websocket::CLOSE {
                return Err(Fail::wrong(expected, frame.described()));
            }
            self.take(length);
        }
        Ok(())
    }

    /// Expects that the connection is ended, with FIN or with RST. Before that an HTTP server may say why, and a
    /// WebSocket server too.
    pub(super) fn expect_refusal(&mut self) -> Verdict {
        let expected = "the connection to be ended, and nothing echoed";
        loop {
            match self.target.kind {
                Kind::WebSocket => self.pass_over_close(expected)?,
                Kind::Http => {
                    let answer = http::answer(self.inbox(), self.end.is_some());
                    if let Some(answer) = answer.map_err(|error| Fail::wrong(expected, error))? {
                        if answer.status < 400 {
                            return Err(Fail::wrong(expected, format!("status {}", answer.status)));
                        }
                        // It may also keep the connection and discard the body (RFC 9110, section 15.5.14).
                        return Ok(());
                    }
                }
                _ if self.inbox().is_empty() => {}
                _ => return Err(Fail::wrong(expected, shown(self.inbox()))),
            }
            match self.fill() {
                Came::Bytes => {}
                Came::End(_) => return Ok(()),
                Came::Nothing => return Err(Fail::wrong(expected, self.instead(&Came::Nothing))),
            }
        }
    }

    /// Everything up to FIN.
    pub(super) fn rest(&mut self, expected: &str) -> Result<Vec<u8>, Fail> {
        loop {
            match self.fill() {
                Came::Bytes => {}
                Came::End(End::Fin) => return Ok(self.inbox().to_vec()),
                other => return Err(Fail::wrong(expected, self.instead(&other))),
            }
        }
    }

    /// Waits for the end, however it comes and whatever comes before it.
    pub(super) fn await_end(&mut self) -> Verdict {
        loop {
            self.take(self.inbox().len());
            match self.fill() {
                Came::Bytes => {}
                Came::End(_) => return Ok(()),
                Came::Nothing => {
                    let got = self.instead(&Came::Nothing);
                    return Err(Fail::wrong("the connection to be ended", got));
                }
            }
        }
    }

    /// Is served, or refused by the end of the connection; then closes.
    pub(super) fn is_served_or_refused(&mut self) -> Verdict {
        let served = self.greet().and_then(|()| self.ping());
        // Whoever was refused finds the connection ended, or cannot send any more.
        let is_refused = served.is_err() && (self.end.is_some() || self.await_end().is_ok());
        // Only now, so that a descriptor of the server's is free for the next one. It fails if it has ended.
        let _ = self.link.socket().shutdown(Shutdown::Both);
        if is_refused { Ok(()) } else { served }
    }

    /// Expects that nothing has come by now.
    pub(super) fn expect_nothing(&mut self, when: &str) -> Verdict {
        let expected = format!("nothing {when}");
        let mut piece = [0; 64];
        let set = |non_blocking| self.link.socket().set_nonblocking(non_blocking).is_ok();
        let read = if set(true) { (&self.link).read(&mut piece) } else { Ok(0) };
        set(false);
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.inbox().is_empty() => {
                Ok(())
            }
            Ok(0) => Err(Fail::wrong(expected, "the connection was ended")),
            Ok(count) => Err(Fail::wrong(expected, shown(&piece[..count]))),
            Err(error) => Err(Fail::wrong(expected, error.to_string())),
        }
    }

    /// The local address, as /proc/net/tcp writes ports: for a check of what the kernel still holds.
    pub(super) fn local_port(&self) -> Option<u16> {
        Some(self.link.socket().local_addr().ok()?.as_socket()?.port())
    }

    fn compare(&self, text: &str, expected: &[u8], come: &[u8]) -> Verdict {
        if come == expected {
            return Ok(());
        }
        Err(Fail::wrong(text, differs(expected, come)))
    }

    fn inbox(&self) -> &[u8] {
        &self.inbox[self.start..]
    }

    fn take(&mut self, count: usize) {
        self.start += count;
        if self.start == self.inbox.len() {
            self.inbox.clear();
            self.start = 0;
        }
    }

    /// Waits for more bytes; fails with `expected` if none come.
    fn await_more(&mut self, expected: &str) -> Verdict {
        match self.fill() {
            Came::Bytes => Ok(()),
            other => {
                let got = self.instead(&other);
                let partly = if self.inbox().is_empty() {
                    String::new()
                } else {
                    format!(" behind {}", shown(self.inbox()))
                };
                Err(Fail::wrong(expected, got + &partly))
            }
        }
    }

    fn fill(&mut self) -> Came {
        if let Some(end) = self.end {
            return Came::End(end);
        }
        if self.start > 0 {
            self.inbox.drain(..self.start);
            self.start = 0;
        }
        self.link.send_rest();
        let held = self.inbox.len();
        self.inbox.resize(held + READ, 0);
        let read = loop {
            match (&self.link).read(&mut self.inbox[held..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.inbox.truncate(held + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.ended(End::Fin),
            Ok(_) => {
                self.script.came(&self.name, shown(&self.inbox[held..]));
                Came::Bytes
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Came::Nothing
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.ended(End::CutOff),
            Err(_) => self.ended(End::Reset),
        }
    }

    fn ended(&mut self, end: End) -> Came {
        let what = match (self.target.kind, end) {
            (Kind::Udp, End::Fin) => "an empty datagram",
            (Kind::Udp, End::CutOff | End::Reset) => "port unreachable",
            (_, End::Fin) => "FIN",
            (_, End::CutOff) => CUT_OFF,
            (_, End::Reset) => "RST",
        };
        self.script.came(&self.name, what.to_owned());
        self.end = Some(end);
        Came::End(end)
    }

    /// What came instead of bytes, in words.
    fn instead(&self, came: &Came) -> String {
        match came {
            Came::Nothing => format!("nothing more for {}", Time(self.timeout)),
            Came::End(End::Fin) => "FIN".to_owned(),
            Came::End(End::CutOff) => CUT_OFF.to_owned(),
            Came::End(End::Reset) => "RST".to_owned(),
            Came::Bytes => "more bytes".to_owned(),
        }
    }
}

const CUT_OFF: &str = "FIN without close_notify";

fn not_duplicated(error: io::Error) -> Fail {
    Fail::Skipped(format!("a socket cannot be duplicated here: {error}"))
}

fn open(dial: &Dial<'_>) -> io::Result<Link> {
    let endpoint = dial.target.endpoint().map_err(io::Error::other)?;
    let (address, kind) = match (&endpoint, dial.target.kind) {
        (Endpoint::Tcp(address), Kind::Udp) => (SockAddr::from(*address), Type::DGRAM),
        (Endpoint::Tcp(address), _) => (SockAddr::from(*address), Type::STREAM),
        (Endpoint::Unix(path), _) => (SockAddr::unix(path)?, Type::STREAM),
    };
    let socket = Socket::new(address.domain(), kind, None)?;
    if dial.is_small {
        // Before the connection is made, so that the first window is small already.
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        if address.domain() != Domain::UNIX {
            // As over Ethernet. The kernel makes the server's send buffer as large as ten segments need at first, and on
            // loopback those have 64 KiB each.
            socket.set_tcp_mss(ETHERNET_SEGMENT)?;
        }
    }
    socket.set_read_timeout(Some(dial.timeout))?;
    socket.set_write_timeout(Some(dial.timeout))?;
    if address.domain() == Domain::UNIX || kind == Type::DGRAM {
        // Bounded by the write timeout (unix(7)).
        socket.connect(&address)?;
    } else {
        socket.connect_timeout(&address, dial.timeout)?;
        socket.set_tcp_nodelay(true)?;
    }
    Ok(Link::Plain(socket))
}

/// Writes all of `sent`, or says how much was written until it failed.
fn write_all(mut link: &Link, sent: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    // Once at least: a datagram can be empty.
    loop {
        match link.write(&sent[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
        if written == sent.len() {
            return link.flush().map_err(|error| (written, error));
        }
    }
}

/// Where `come` differs from `expected`.
fn differs(expected: &[u8], come: &[u8]) -> String {
    let alike = expected.iter().zip(come).take_while(|(one, other)| one == other).count();
    let place = match (expected.get(alike), come.get(alike)) {
        (Some(right), Some(wrong)) => {
            format!("byte {} is {wrong:02x} instead of {right:02x}", alike + 1)
        }
        (None, _) => format!("{} too many", bytes((come.len() - alike) as u64)),
        (_, None) => format!("{} missing", bytes((expected.len() - alike) as u64)),
    };
    format!("{}: {place}", shown(come))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_with_its_place() {
        assert_eq!(
            differs(b"abc", b"abd"),
            "3 bytes: 61 62 64 \"abd\": byte 3 is 64 instead of 63"
        );
        assert!(differs(b"abc", b"a").ends_with("2 bytes missing"));
        assert!(differs(b"a", b"abc").ends_with("2 bytes too many"));
    }
}
