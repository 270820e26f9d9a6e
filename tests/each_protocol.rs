//! What holds for every protocol alike, on real sockets: timeouts, limits, back-pressure, half-close, draining.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use common::{Daemon, MIO_PER_SOCKET, PATIENCE, Random, eventually, frame};
use rustix::process::Signal;

mod common;

/// What is sent, and what comes back.
type Exchange = (Vec<u8>, Vec<u8>);

/// One protocol as its clients speak it.
struct Speaker {
    name: &'static str,
    /// What a client sends before its first unit, and gets.
    opening: (&'static str, &'static str),
    /// A unit with that payload, and its echo.
    unit: fn(&[u8]) -> Exchange,
    /// Other ways to send that payload, in parts that are one unit together, and their echoes.
    in_parts: fn(&[u8]) -> Vec<Exchange>,
    /// Sent in the middle of a unit: how many bytes of one make half of it; 0 where there are no units.
    half: usize,
    /// The start of what the server sends last: to an idle connection, to one that does not finish its unit, to one whose
    /// unit is over the limit, to one that holds most at the memory limit, and when the server stops.
    idle: &'static [u8],
    unfinished: &'static [u8],
    too_long: &'static [u8],
    memory: &'static [u8],
    stopping: &'static [u8],
}

const SPEAKERS: &[Speaker] = &[
    Speaker {
        name: "frames",
        opening: ("", ""),
        unit: |payload| (frame(payload), frame(payload)),
        in_parts: |_| Vec::new(),
        half: 6,
        idle: b"",
        unfinished: b"",
        too_long: b"",
        memory: b"",
        stopping: b"",
    },
    Speaker {
        name: "raw",
        opening: ("", ""),
        unit: |payload| (payload.to_vec(), payload.to_vec()),
        in_parts: |_| Vec::new(),
        half: 0,
        idle: b"",
        unfinished: b"",
        too_long: b"",
        memory: b"",
        stopping: b"",
    },
    Speaker {
        name: "lines",
        opening: ("", ""),
        unit: |payload| {
            let mut line = payload.to_vec();
            line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            line.push(b'\n');
            (line.clone(), line)
        },
        in_parts: |_| Vec::new(),
        half: 6,
        idle: b"",
        unfinished: b"",
        too_long: b"",
        memory: b"",
        stopping: b"",
    },
    Speaker {
        name: "ws",
        opening: (UPGRADE, UPGRADED),
        unit: |payload| (binary(payload, Some([7, 77, 177, 27])), binary(payload, None)),
        in_parts: fragments,
        half: 10,
        // 1001, 1008, 1009, 1013: a close frame's opcode, its length, its code, its reason.
        idle: b"\x88\x1e\x03\xe9nothing for the idle timeout",
        unfinished: b"\x88\x2a\x03\xf0the message did not become whole in time",
        too_long: b"\x88\x30\x03\xf1a length of 1001 bytes, over the limit of 1000",
        memory: b"\x88\x34\x03\xf5the server is at its memory limit; try again later",
        stopping: b"\x88\x18\x03\xe9the server is stopping",
    },
    Speaker {
        name: "http",
        opening: ("", ""),
        unit: |body| {
            let length = body.len();
            let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
                 Content-Length: {length}\r\n{DATE_AND_CORS}\r\n"
            );
            ([request.as_bytes(), body].concat(), [response.as_bytes(), body].concat())
        },
        in_parts: chunks,
        half: 30,
        idle: b"",
        unfinished: b"HTTP/1.1 408 Request Timeout\r\n",
        too_long: b"HTTP/1.1 413 Content Too Large\r\n",
        memory: b"HTTP/1.1 503 Service Unavailable\r\n",
        stopping: b"",
    },
];

/// The fields that every HTTP answer has; see [`without_dates`].
const DATE_AND_CORS: &str = "Date: an IMF-fixdate of 29 letters,\r\n\
     Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n";

/// Replaces each date by the one in [`DATE_AND_CORS`], which is as long.
fn without_dates(bytes: &mut [u8]) {
    let (start, text) = (b"\r\nDate: ", &DATE_AND_CORS.as_bytes()[6..35]);
    let mut from = 0;
    while let Some(found) = bytes[from..].windows(start.len()).position(|window| window == start) {
        from += found + start.len();
        bytes[from..from + text.len()].copy_from_slice(text);
    }
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A request in chunks of all sizes, which are answered as one body.
fn chunks(body: &[u8]) -> Vec<Exchange> {
    let echo = ((SPEAKERS[4]).unit)(body).1;
    let in_chunks = |size: usize| {
        let mut request =
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(size) {
            request.extend(format!("{:x}\r\n", chunk.len()).bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        request
    };
    [100, 70_000, 3 << 20, body.len()].map(|size| (in_chunks(size), echo.clone())).to_vec()
}

/// A message in fragments, with a ping behind each, which is answered before the message: it need not wait.
fn fragments(payload: &[u8]) -> Vec<Exchange> {
    let in_fragments = |size: usize| {
        let (mut sent, mut pongs, mut echo) = (Vec::new(), Vec::new(), Vec::new());
        let last = payload.len().div_ceil(size) - 1;
        for (index, fragment) in payload.chunks(size).enumerate() {
            let first = if index == 0 { 2 } else { 0 } | if index == last { 0x80 } else { 0 };
            sent.extend(framed(first, fragment, Some([7, 77, 177, 27])));
            echo.extend(framed(first, fragment, None));
            if index < last {
                sent.extend(framed(0x89, b"ping", Some([1, 2, 3, 4])));
                pongs.extend(framed(0x8A, b"ping", None));
            }
        }
        (sent, [pongs, echo].concat())
    };
    [10_000, 1 << 20].map(in_fragments).to_vec()
}

/// A whole binary message in one frame, masked or not.
fn binary(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    framed(0x82, payload, mask)
}

/// A frame that begins with that byte.
fn framed(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let length = payload.len() as u64;
    let mut message = match length {
        0..126 => vec![first, masked | length.to_le_bytes()[0]],
        126..65_536 => [&[first, masked | 126], &length.to_be_bytes()[6..]].concat(),
        _ => [&[first, masked | 127], &length.to_be_bytes()[..]].concat(),
    };
    message.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    message.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    message
}

impl Speaker {
    fn daemon(&self, keys: &str, arguments: &[&str]) -> Daemon {
        // No test of a slow machine is ended by the time for a handshake.
        let arguments = [&["--handshake-timeout", "1h"], arguments].concat();
        Daemon::start(&[&format!("{}://127.0.0.1:0{keys}", self.name)], &arguments)
    }

    /// A connection on which the opening is over.
    fn connect(&self, daemon: &Daemon) -> TcpStream {
        let mut stream = daemon.connect();
        self.open(&mut stream);
        stream
    }

    fn open(&self, stream: &mut (impl Read + Write)) {
        exchange(stream, self.opening.0.as_bytes(), self.opening.1.as_bytes());
    }

    /// Sends units and gets them back.
    fn speak(&self, stream: &mut (impl Read + Write)) {
        for length in [1, 20, 900] {
            let (unit, echo) = (self.unit)(&Random(1).bytes(length));
            exchange(stream, &unit, &echo);
        }
    }
}

fn exchange(stream: &mut (impl Read + Write), sent: &[u8], want: &[u8]) {
    stream.write_all(sent).unwrap();
    let mut back = vec![0; want.len()];
    stream.read_exact(&mut back).unwrap();
    without_dates(&mut back);
    assert!(back == want, "{:?}", String::from_utf8_lossy(&back[..back.len().min(1000)]));
}

/// All that still comes, up to FIN.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    without_dates(&mut rest);
    rest
}

/// That what still comes begins so, and is nothing where nothing should come.
fn assert_last_words(name: &str, stream: &mut TcpStream, words: &[u8]) {
    let rest = rest(stream);
    let shown = String::from_utf8_lossy(&rest);
    assert!(rest.starts_with(words) && rest.is_empty() == words.is_empty(), "{name}: {shown}");
}

/// Runs `test` for each protocol at the same time.
fn for_each(test: impl Fn(&Speaker) + Sync) {
    thread::scope(|scope| {
        for speaker in SPEAKERS {
            let test = &test;
            scope.spawn(move || test(speaker));
        }
    });
}

#[test]
fn an_idle_connection_is_told_and_closed() {
    for_each(|speaker| {
        let daemon = speaker.daemon("", &["--idle-timeout", "100ms"]);
        // All of it is there when the daemon accepts the connection, or a slow test would be an idle peer.
        daemon.pause();
        let mut stream = daemon.connect();
        let (unit, echo) = (speaker.unit)(b"hello");
        stream.write_all(&[speaker.opening.0.as_bytes(), &unit].concat()).unwrap();
        daemon.resume();
        let mut back = vec![0; speaker.opening.1.len() + echo.len()];
        stream.read_exact(&mut back).unwrap();
        without_dates(&mut back);
        assert!(back == [speaker.opening.1.as_bytes(), &echo].concat(), "{}", speaker.name);
        assert_last_words(speaker.name, &mut stream, speaker.idle);
        // It closes first, so the server does not linger.
        drop(stream);
        let ended = daemon.stop();
        assert!(ended.stdout.contains("closed: 1 on idle timeout"), "{}: {ended:?}", speaker.name);
    });
}

#[test]
fn half_a_unit_is_told_and_closed_when_its_time_is_over() {
    for_each(|speaker| {
        if speaker.half == 0 {
            return;
        }
        let daemon = speaker.daemon("", &["--frame-timeout", "1s"]);
        let mut stream = speaker.connect(&daemon);
        speaker.speak(&mut stream);
        let (unit, _) = (speaker.unit)(b"this never comes");
        stream.write_all(&unit[..speaker.half]).unwrap();
        assert_last_words(speaker.name, &mut stream, speaker.unfinished);
        drop(stream);
        let ended = daemon.stop();
        assert!(ended.stdout.contains("1 on frame timeout"), "{}: {ended:?}", speaker.name);
    });
}

#[test]
fn the_connection_that_holds_most_is_told_at_the_memory_limit() {
    for speaker in SPEAKERS.iter().filter(|speaker| speaker.half > 0) {
        let daemon = speaker.daemon("", &["--max-memory", "1MiB"]);
        let mut other = speaker.connect(&daemon);
        let mut stream = speaker.connect(&daemon);
        speaker.speak(&mut stream);
        let (unit, _) = (speaker.unit)(&Random(6).bytes(4 << 20));
        stream.write_all(&unit[..3 << 20]).unwrap();
        assert_last_words(speaker.name, &mut stream, speaker.memory);
        speaker.speak(&mut other);
        drop((stream, other));
        let ended = daemon.stop();
        assert!(ended.stdout.contains("1 at the memory limit"), "{}: {ended:?}", speaker.name);
    }
}

/// What comes before the first unit has its own time limit, from accepting on.
#[test]
fn a_handshake_has_its_time() {
    let listen = [
        "ws://127.0.0.1:0",
        "http://127.0.0.1:0",
        "lines://127.0.0.1:0,proxy=v1",
        "ws://127.0.0.1:0,proxy=v1",
    ];
    let daemon = Daemon::start(&listen, &["--handshake-timeout", "5s", "--frame-timeout", "off"]);
    let timeout = "HTTP/1.1 408 Request Timeout\r\n";
    let begun = [
        (0, "", ""),
        (0, &UPGRADE[..40], timeout),
        (1, "", ""),
        (1, "\r\n", timeout),
        (1, "\r\nGET / HT", timeout),
        (2, "", ""),
        (2, "PROXY TC", ""),
        (3, "PROXY UNKNOWN\r\n", ""),
        (3, "PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n", timeout),
    ];
    let streams = begun.map(|(index, part, answer)| {
        let mut stream = TcpStream::connect(daemon.address(index)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(part.as_bytes()).unwrap();
        (stream, listen[index], answer)
    });
    for (mut stream, listen, answer) in streams {
        assert_last_words(listen, &mut stream, answer.as_bytes());
    }
    let ended = daemon.stop();
    let closed = format!("{} on handshake timeout", begun.len());
    assert!(ended.stdout.contains(&closed), "{ended:?}");
}

#[test]
fn bytes_that_drip_do_not_prolong_a_handshake() {
    for (listen, start, byte) in [
        ("ws://127.0.0.1:0", "GET / HTTP/1.1\r\nLong: ", b'x'),
        ("http://127.0.0.1:0", "GET / HTTP/1.1\r\nLong: ", b'x'),
        ("raw://127.0.0.1:0,proxy=v1", "PROXY UNKNOWN ", b'x'),
    ] {
        // Only one deadline can end it.
        let arguments = ["--handshake-timeout", "300ms", "--frame-timeout", "off"];
        let daemon = Daemon::start(&[listen], &arguments);
        let mut stream = daemon.connect();
        stream.write_all(start.as_bytes()).unwrap();
        // A byte now and then, few enough in all to stay below the limits on length.
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        for _ in 0..80 {
            match stream.read(&mut [0; 1000]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => break,
            }
            // It fails if the server has ended it meanwhile.
            let _ = stream.write(&[byte]);
        }
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = rest(&mut stream);
        drop(stream);
        let ended = daemon.stop();
        assert!(ended.stdout.contains("1 on handshake timeout"), "{listen}: {ended:?}");
    }
}

#[test]
fn a_unit_over_the_limit_is_told_and_refused_behind_those_before_it() {
    for speaker in SPEAKERS.iter().filter(|speaker| speaker.half > 0) {
        let daemon = speaker.daemon(",max=1000", &[]);
        let mut stream = speaker.connect(&daemon);
        speaker.speak(&mut stream);
        let (longest, echo) = (speaker.unit)(&[b'x'; 1000]);
        exchange(&mut stream, &longest, &echo);
        let (good, echo) = (speaker.unit)(b"good");
        let (too_long, _) = (speaker.unit)(&[b'x'; 1001]);
        stream.write_all(&[&good[..], &too_long, &[b'x'; 100_000]].concat()).unwrap();
        let rest = rest(&mut stream);
        let last = rest.strip_prefix(&echo[..]).unwrap();
        let shown = String::from_utf8_lossy(last);
        assert!(last.starts_with(speaker.too_long), "{}: {shown}", speaker.name);
        drop(stream);
        let ended = daemon.stop();
        assert!(ended.stdout.contains("1 refused; 1 length over the limit"), "{ended:?}");
    }
}

#[test]
fn whole_units_are_answered_before_a_half_closed_connection_ends() {
    for speaker in SPEAKERS {
        let daemon = speaker.daemon("", &[]);
        let mut stream = speaker.connect(&daemon);
        let (unit, echo) = (speaker.unit)(&Random(2).bytes(5000));
        let sent = [&unit.repeat(20)[..], &unit[..speaker.half]].concat();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(rest(&mut stream) == echo.repeat(20), "{}", speaker.name);
        let ended = daemon.stop();
        assert!(ended.stdout.contains("closed: 1 by the peer"), "{}: {ended:?}", speaker.name);
    }
}

#[test]
fn a_stopping_server_tells_the_idle_and_lets_the_others_finish() {
    for speaker in SPEAKERS {
        let mut daemon = speaker.daemon("", &["--grace", "1h"]);
        let mut idle = speaker.connect(&daemon);
        speaker.speak(&mut idle);
        let mut busy = speaker.connect(&daemon);
        let (unit, echo) = (speaker.unit)(b"I was not done");
        busy.write_all(&unit[..speaker.half]).unwrap();
        // Behind it, in the same loop.
        speaker.speak(&mut idle);
        daemon.signal(Signal::TERM);
        assert_last_words(speaker.name, &mut idle, speaker.stopping);
        if speaker.half > 0 {
            exchange(&mut busy, &unit[speaker.half..], &echo);
        }
        assert_last_words(speaker.name, &mut busy, speaker.stopping);
        drop((idle, busy));
        let ended = daemon.wait();
        assert!(ended.status.success(), "{}: {ended:?}", speaker.name);
        assert!(ended.stdout.contains("closed: 2 "), "{}: {ended:?}", speaker.name);
    }
}

#[test]
fn who_does_not_read_is_not_read_from_and_loses_nothing() {
    for speaker in SPEAKERS {
        let daemon = speaker.daemon("", &["--write-timeout", "off"]);
        let mut stream = speaker.connect(&daemon);
        let before = daemon.memory("VmRSS");
        let (unit, echo) = (speaker.unit)(&Random(3).bytes(10_000));
        let units = 6_000;
        stream.set_nonblocking(true).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let stuck = |writer: &mut TcpStream, bytes: &[u8]| {
            let mut at = 0;
            while at < bytes.len() {
                match writer.write(&bytes[at..]) {
                    Ok(count) => at += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            at
        };
        let all = unit.repeat(units);
        // Until nothing has moved for as long as it takes to ask a thousand times.
        let (mut sent, mut refusals) = (0, 0);
        while refusals < 1000 {
            let count = stuck(&mut writer, &all[sent..]);
            refusals = if count == 0 { refusals + 1 } else { 0 };
            sent += count;
            thread::yield_now();
        }
        assert!(sent < all.len(), "{}: the kernel held it all", speaker.name);
        let held = daemon.memory("VmRSS").saturating_sub(before);
        assert!(held < 8 << 10, "{}: {held} KiB", speaker.name);

        stream.set_nonblocking(false).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&all[sent..]).unwrap());
            let mut back = vec![0; echo.len()];
            for index in 0..units {
                stream.read_exact(&mut back).unwrap();
                without_dates(&mut back);
                assert!(back == echo, "{}: unit {index}", speaker.name);
            }
        });
    }
}

/// Most clients are half-duplex: they read nothing of an answer before they have sent all of their message.
#[test]
fn a_client_that_sends_all_of_a_message_before_it_reads_is_answered() {
    let payload = Random(5).bytes(15 << 20);
    for speaker in SPEAKERS.iter().filter(|speaker| speaker.half > 0) {
        let daemon = speaker.daemon("", &[]);
        let mut stream = speaker.connect(&daemon);
        let (unit, echo) = (speaker.unit)(&payload);
        for piece in [unit.len(), 10_000] {
            for piece in unit.chunks(piece) {
                stream.write_all(piece).unwrap();
            }
            exchange(&mut stream, b"", &echo);
        }
        for (unit, echo) in (speaker.in_parts)(&payload) {
            exchange(&mut stream, &unit, &echo);
        }
        // And what it held for that is not kept.
        speaker.speak(&mut stream);
    }
}

#[test]
fn who_takes_nothing_for_the_write_timeout_is_closed() {
    for speaker in SPEAKERS {
        let daemon = speaker.daemon("", &["--write-timeout", "200ms"]);
        let mut stream = speaker.connect(&daemon);
        let (unit, _) = (speaker.unit)(&Random(3).bytes(100_000));
        let all = unit.repeat(1000);
        // What comes behind the end is discarded for a while, or reset.
        let written = stream.write_all(&all);
        let ended = daemon.stop();
        let name = speaker.name;
        assert!(ended.stdout.contains("1 on write timeout"), "{name}: {written:?}, {ended:?}");
    }
}

#[test]
fn every_protocol_on_a_unix_socket_and_behind_a_proxy_header() {
    for speaker in SPEAKERS {
        // A short path: a socket's has room for 107 bytes.
        let name = format!("resound-each-{}-{}", std::process::id(), speaker.name);
        let path = std::env::temp_dir().join(name).display().to_string();
        let daemon = Daemon::start(
            &[
                &format!("{}+unix://{path}", speaker.name),
                &format!("{}+unix://{path}.proxy,proxy=v1", speaker.name),
            ],
            &[],
        );
        for (path, header) in
            [(path.clone(), ""), (path + ".proxy", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n")]
        {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(header.as_bytes()).unwrap();
            speaker.open(&mut stream);
            speaker.speak(&mut stream);
        }
        let ended = daemon.stop();
        assert!(ended.status.success(), "{}: {ended:?}", speaker.name);
    }
}

#[test]
fn banners_and_tags_come_first_and_from_the_environment_too() {
    let mut command = common::resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--listen", "raw://127.0.0.1:0"]);
    command.args(["--listen", "lines://127.0.0.1:0,banner=own"]);
    command.args(["--listen", "ws://127.0.0.1:0", "--listen", "http://127.0.0.1:0"]);
    command.env("RESOUND_BANNER", "hello, {peer}").env("RESOUND_TAG", "at {local}");
    let daemon = Daemon::spawn(command, 5);
    for index in 0..5 {
        let mut stream = TcpStream::connect(daemon.address(index)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (peer, local) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let banner = format!("hello, {peer}");
        let tag = format!("X-Served-By: at {local}\r\n\r\n");
        let (sent, want) = match index {
            0 => ("", frame(banner.as_bytes())),
            1 => ("", format!("{banner}\n").into_bytes()),
            2 => ("", b"own\n".to_vec()),
            3 => {
                let head = UPGRADED.strip_suffix("\r\n").unwrap().to_owned() + &tag;
                let mut message = binary(banner.as_bytes(), None);
                message[0] = 0x81;
                (UPGRADE, [head.as_bytes(), &message].concat())
            }
            _ => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
                            Content-Length: 27\r\n";
                let head = head.to_owned() + DATE_AND_CORS;
                let text = "Hello, you've requested: /\n";
                ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", format!("{head}{tag}{text}").into_bytes())
            }
        };
        exchange(&mut stream, sent.as_bytes(), &want);
    }
}

#[test]
fn a_reply_takes_the_place_of_each_echo() {
    for speaker in SPEAKERS.iter().filter(|speaker| speaker.name != "http") {
        let daemon = speaker.daemon(",reply=Hello%2C%20{peer}!", &[]);
        for _ in 0..2 {
            let mut stream = speaker.connect(&daemon);
            let text = format!("Hello, {}!", stream.local_addr().unwrap());
            let reply = match speaker.name {
                "frames" => frame(text.as_bytes()),
                "ws" => {
                    let mut message = binary(text.as_bytes(), None);
                    message[0] = 0x81;
                    message
                }
                _ => format!("{text}\n").into_bytes(),
            };
            let one = (speaker.unit)(b"hello");
            for (sent, _) in (speaker.in_parts)(b"hello").into_iter().chain([one.clone(), one]) {
                exchange(&mut stream, &sent, &reply);
            }
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(rest(&mut stream).is_empty(), "{}", speaker.name);
        }
        assert!(daemon.stop().status.success());
    }
}

#[test]
fn an_open_connection_that_has_nothing_to_do_owns_no_buffer() {
    // In KiB: less than the smallest buffer for each. The program's own pages do not count, which it loads as it needs them.
    let most = 250 + 500 * MIO_PER_SOCKET / 1024;
    for speaker in SPEAKERS {
        let daemon = speaker.daemon("", &[]);
        let before = daemon.memory("RssAnon");
        let streams: Vec<TcpStream> = (0..500)
            .map(|_| {
                let mut stream = speaker.connect(&daemon);
                speaker.speak(&mut stream);
                stream
            })
            .collect();
        let mut grown = 0;
        // What was borrowed is given back within a second or two.
        eventually("500 idle connections take little memory each", || {
            grown = daemon.memory("RssAnon").saturating_sub(before);
            grown < most
        });
        drop(streams);
    }
}
