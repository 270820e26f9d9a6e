//! Small servers for WebSocket, HTTP and UDP, and one that uses edge-triggered readiness: each is right but for one mistake.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};

/// What a WebSocket server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ws {
    None,
    WrongHash,
    AllIsBinary,
    FirstFragmentOnly,
    NoPong,
    NoCloseFrame,
    TakesUnmasked,
    TakesAnyBytesAsText,
    TakesAnyOpcode,
}

/// What an HTTP server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Web {
    None,
    ChunksAreTheBody,
    NoContinue,
    KeepsAlive,
    TakesTheFirstLength,
    WaitsForARequest,
}

/// What a UDP server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dgram {
    JoinsTwo,
    AnswersTheFirstSource,
    EndsAtAnError,
    CutsAt1500,
    SkipsEmpty,
}

/// Serves each connection in a thread of its own.
fn each(serve: impl Fn(TcpStream) -> Option<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// What has come of a stream, read by need.
struct Reader {
    stream: TcpStream,
    held: VecDeque<u8>,
}

impl Reader {
    fn new(stream: TcpStream) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        Some(Self { stream, held: VecDeque::new() })
    }

    fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut piece = [0; 4096];
        while self.held.len() < count {
            match self.stream.read(&mut piece).ok()? {
                0 => return None,
                read => self.held.extend(&piece[..read]),
            }
        }
        Some(self.held.drain(..count).collect())
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.extend(self.bytes(1)?);
        }
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// A head's lines, without the first.
    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                _ if line.is_empty() => return Some(fields),
                Some((name, value)) => {
                    fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                None => return None,
            }
        }
    }
}

pub(crate) fn websocket(mistake: Ws) -> SocketAddr {
    each(move |stream| websocket_connection(stream, mistake))
}

fn websocket_connection(stream: TcpStream, mistake: Ws) -> Option<()> {
    let mut reader = Reader::new(stream)?;
    reader.line()?;
    let fields = reader.fields()?;
    let key = &fields.iter().find(|(name, _)| name == "sec-websocket-key")?.1;
    let guid = if mistake == Ws::WrongHash { "" } else { "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" };
    let hash = sha1_smol::Sha1::from(format!("{key}{guid}")).digest().bytes();
    let mut accept = [0; 28];
    STANDARD.encode_slice(hash, &mut accept).unwrap();
    let accept = std::str::from_utf8(&accept).unwrap();
    write!(
        reader.stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .ok()?;
    let (mut opcode, mut message) = (0, Vec::new());
    loop {
        let head = reader.bytes(2)?;
        let length = match head[1] & 0x7f {
            126 => usize::from(u16::from_be_bytes(reader.bytes(2)?.try_into().ok()?)),
            127 => usize::try_from(u64::from_be_bytes(reader.bytes(8)?.try_into().ok()?)).ok()?,
            short => usize::from(short),
        };
        let is_masked = head[1] & 0x80 != 0;
        if !is_masked && mistake != Ws::TakesUnmasked || length > 1 << 20 {
            return None;
        }
        let mask = if is_masked { reader.bytes(4)? } else { vec![0; 4] };
        let mut payload = reader.bytes(length)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let mut send = |opcode: u8, payload: &[u8]| {
            let mut frame = vec![0x80 | opcode];
            match u8::try_from(payload.len()) {
                Ok(short @ ..=125) => frame.push(short),
                _ => {
                    frame.push(127);
                    frame.extend((payload.len() as u64).to_be_bytes());
                }
            }
            frame.extend(payload);
            reader.stream.write_all(&frame).ok()
        };
        match head[0] & 0x0f {
            9 if mistake == Ws::NoPong => {}
            9 => send(10, &payload)?,
            8 if mistake == Ws::NoCloseFrame => return None,
            8 => return send(8, &payload),
            code @ 0..=2 => {
                if code != 0 {
                    (opcode, message) = (code, payload);
                } else if mistake != Ws::FirstFragmentOnly {
                    message.extend(payload);
                }
                if head[0] & 0x80 == 0 {
                    continue;
                }
                let is_text = std::str::from_utf8(&message).is_ok();
                if opcode == 1 && !is_text && mistake != Ws::TakesAnyBytesAsText {
                    return None;
                }
                send(if mistake == Ws::AllIsBinary { 2 } else { opcode }, &message)?;
            }
            other if mistake == Ws::TakesAnyOpcode => send(other, &payload)?,
            _ => return None,
        }
    }
}

pub(crate) fn web(mistake: Web) -> SocketAddr {
    each(move |stream| web_connection(stream, mistake))
}

fn web_connection(stream: TcpStream, mistake: Web) -> Option<()> {
    let mut reader = Reader::new(stream)?;
    loop {
        let line = reader.line()?;
        if !line.contains(" HTTP/1.1") {
            if mistake == Web::WaitsForARequest {
                continue;
            }
            return None;
        }
        let fields = reader.fields()?;
        let value = |name: &str| {
            fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
        };
        let mut lengths =
            fields.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
        let length = lengths.next();
        let none = "0".to_owned();
        let length = if mistake == Web::TakesTheFirstLength {
            length.map_or(0, |text| text.split(',').next().unwrap().trim().parse().unwrap_or(0))
        } else if lengths.next().is_some() {
            return None;
        } else {
            let is_number = |text: &&String| text.bytes().all(|byte| byte.is_ascii_digit());
            length.map(|text| Some(text).filter(is_number)).unwrap_or(Some(&none))?.parse().ok()?
        };
        if value("expect").is_some() && mistake != Web::NoContinue {
            reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let is_chunked = value("transfer-encoding").is_some();
        let mut body = Vec::new();
        if is_chunked {
            loop {
                let line = reader.line()?;
                let size = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
                let data = reader.bytes(size + 2)?;
                if mistake == Web::ChunksAreTheBody {
                    body.extend(format!("{line}\r\n").bytes());
                }
                body.extend(&data[..size]);
                if size == 0 {
                    break;
                }
            }
        } else {
            body = reader.bytes(length)?;
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        reader.stream.write_all(&[head.as_bytes(), &body].concat()).ok()?;
        if value("connection") == Some("close") && mistake != Web::KeepsAlive {
            return Some(());
        }
    }
}

pub(crate) fn datagrams(mistake: Dgram) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || datagram_loop(&socket, mistake));
    address
}

fn datagram_loop(socket: &UdpSocket, mistake: Dgram) -> Option<()> {
    let mut piece = vec![0; 1 << 16];
    let (mut first, mut held) = (None, Vec::new());
    loop {
        let (count, source) = socket.recv_from(&mut piece).ok()?;
        let mut answer = piece[..count].to_vec();
        let mut to = source;
        match mistake {
            Dgram::JoinsTwo if held.is_empty() && count > 7 => {
                held = answer;
                continue;
            }
            Dgram::JoinsTwo => answer = [std::mem::take(&mut held), answer].concat(),
            Dgram::AnswersTheFirstSource => to = *first.get_or_insert(source),
            Dgram::CutsAt1500 => answer.truncate(1_500),
            Dgram::SkipsEmpty if answer.is_empty() => continue,
            Dgram::EndsAtAnError => {
                // So that errors are reported to this socket; it ends at the first.
                socket.connect(source).ok()?;
                socket.send(&answer).ok()?;
                socket.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
                continue;
            }
            Dgram::SkipsEmpty => {}
        }
        socket.send_to(&answer, to).ok()?;
    }
}

/// Echoes frames; it accepts one connection at each edge of its listener, however many stand for it.
pub(crate) fn one_accept_an_event() -> SocketAddr {
    let mut poll = mio::Poll::new().unwrap();
    let mut listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    poll.registry().register(&mut listener, mio::Token(0), mio::Interest::READABLE).unwrap();
    thread::spawn(move || {
        let mut events = mio::Events::with_capacity(8);
        loop {
            poll.poll(&mut events, None).unwrap();
            if let Ok((stream, _)) = listener.accept() {
                let stream = TcpStream::from(stream);
                stream.set_nonblocking(false).unwrap();
                thread::spawn(move || echo(stream));
            }
            // So that several connections come before the next event.
            thread::sleep(Duration::from_millis(100));
        }
    });
    address
}

fn echo(mut stream: TcpStream) -> Option<()> {
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        stream.write_all(&piece[..count]).ok()?;
    }
}
