//! `resound bench ws://…`, against `resound serve` and against servers that answer otherwise.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use resound::protocol::websocket::{accept, mask};

use super::{bench, common::Daemon, http::Answer, until_errors, until_frames};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Starts a server; it lasts as long as the test process.
pub(crate) fn start(answer: Answer) -> String {
    start_for(usize::MAX, answer)
}

/// Starts a server that gives these answers on its first two connections only, as `servers::start_wrong_twice` does.
pub(crate) fn start_wrong_twice(answer: Answer) -> String {
    start_for(2, answer)
}

/// Starts a server that gives these answers on so many connections, and echoes on those after.
fn start_for(connections: usize, answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let echoed: Answer = |message, _| (echo(message), false);
            let answer = if number < connections { answer } else { echoed };
            thread::spawn(move || serve(&stream, answer));
        }
    });
    format!("ws://{address}/")
}

/// The lines of a request, up to the empty one.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|length| *length > 0)?;
    }
    Some(head)
}

/// The answer that accepts a handshake.
fn accepted(head: &str) -> String {
    assert!(head.starts_with("GET / HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{head}");
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap();
    let accept = accept(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        std::str::from_utf8(&accept).unwrap()
    )
}

/// Reads a client's frame: its first byte, and its payload without the mask.
fn frame(reader: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).ok()?;
    assert!(head[1] & 0x80 != 0, "a client masks every frame");
    let mut number = |bytes: usize| {
        let mut long = [0; 8];
        reader.read_exact(&mut long[8 - bytes..]).ok()?;
        Some(u64::from_be_bytes(long))
    };
    let length = match head[1] & 0x7F {
        126 => number(2)?,
        127 => number(8)?,
        short => short.into(),
    };
    let mut key = [0; 4];
    reader.read_exact(&mut key).ok()?;
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    reader.read_exact(&mut payload).ok()?;
    mask(key, &mut payload);
    Some((head[0], payload))
}

/// Serves one connection until either side ends it. The numbers in an answer's place are those of messages.
fn serve(stream: &TcpStream, answer: Answer) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let head = request(&mut reader)?;
    writer.write_all(accepted(&head).as_bytes()).ok()?;
    let mut number = 0;
    loop {
        let (first, payload) = frame(&mut reader)?;
        let (bytes, is_all) = match first & 0x0F {
            BINARY => answer(&payload, number),
            PONG => {
                assert_eq!(payload, b"are you there");
                PONGS.fetch_add(1, Relaxed);
                continue;
            }
            CLOSE => (of_server(FIN | CLOSE, &payload), true),
            other => panic!("opcode {other}"),
        };
        number += 1;
        writer.write_all(&bytes).ok()?;
        if is_all {
            stream.shutdown(Shutdown::Write).ok()?;
            // Reads on: to close with unread bytes would be a reset.
            while let Some((first, payload)) = frame(&mut reader) {
                if first == FIN | CLOSE && payload == AWAY {
                    CLOSES.fetch_add(1, Relaxed);
                }
            }
            return None;
        }
    }
}

/// Pongs that came, and Close frames with this code.
static PONGS: AtomicUsize = AtomicUsize::new(0);
static CLOSES: AtomicUsize = AtomicUsize::new(0);
const AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// A server's frame with this first byte.
pub(crate) fn of_server(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..=125), _) => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn echo(message: &[u8]) -> Vec<u8> {
    of_server(FIN | BINARY, message)
}

#[test]
fn every_load_comes_back_whole_from_the_ws_listener() {
    let socket = super::File::new("ws");
    let unix = format!("ws+unix://{}", socket.path());
    let daemon = Daemon::start(&["ws://127.0.0.1:0", &unix], &[]);
    let (tcp, unix) = (daemon.listening[0].as_str(), daemon.listening[1].as_str());
    for (place, more) in [
        (tcp, &["-c", "3"][..]),
        (tcp, &["-c", "3", "--depth", "16", "--size", "0-300:90%,200KiB:10%"]),
        (tcp, &["-c", "3", "--depth", "4", "--size", "0"]),
        (tcp, &["-c", "2", "--size", "65535:50%,65536:50%"]),
        (unix, &["-c", "2", "--rate", "2k", "--arrivals", "poisson"]),
        (tcp, &["-c", "4", "--churn", "3", "--depth", "2", "--threads", "2"]),
        (tcp, &["-c", "2", "--hold", "20"]),
    ] {
        let run = until_frames(|duration| {
            bench(place, &[&["-z", duration, "--timeout", "60s"], more].concat())
        });
        assert_eq!(run.code, Some(0), "{place} {more:?}: {run:?}");
        assert!(run.number("/errors") == 0.0 && run.number("/latency_us/count") > 0.0, "{run:?}");
    }
    // No handshake is accepted without its key, and no frame without a mask: a server that is strict would have told.
    let ended = daemon.stop();
    assert!(ended.status.success() && !ended.stdout.contains("refused"), "{ended:?}");
}

#[test]
fn fragments_are_echoes_and_pings_between_them_are_answered() {
    let address = start(|message, _| {
        let (one, two) = message.split_at(message.len() / 2);
        let frames = [
            of_server(BINARY, one),
            of_server(FIN | PING, b"are you there"),
            of_server(CONTINUATION, b""),
            of_server(FIN | PONG, b"unasked"),
            of_server(FIN | CONTINUATION, two),
        ];
        (frames.concat(), false)
    });
    let run = until_frames(|duration| {
        bench(&address, &["-z", duration, "-c", "2", "--depth", "4", "--timeout", "60s"])
    });
    assert_eq!((run.code, run.number("/errors")), (Some(0), 0.0), "{run:?}");
    assert!(run.number("/frames") > 0.0, "{run:?}");
    assert!(PONGS.load(Relaxed) > 0, "a ping must be answered");
}

#[test]
fn a_server_that_closes_is_answered_and_counted() {
    let address = start(|message, number| {
        let close = of_server(FIN | CLOSE, b"\x03\xe9going away");
        if number == 5 { ([echo(message), close].concat(), true) } else { (echo(message), false) }
    });
    let run = until_errors("CLOSED", 2.0, |duration| {
        bench(&address, &["-z", duration, "-c", "2", "--timeout", "60s"])
    });
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.errors("CLOSED") >= 2.0, "{run:?}");
    assert_eq!(run.errors("CLOSED"), run.number("/errors"), "nothing else: {run:?}");
    let answered = || CLOSES.load(Relaxed) > 0;
    super::common::eventually("the Close frame came back with its code", answered);
}

/// What a server answers to this request for an upgrade.
type HandshakeAnswer = fn(&str) -> String;

/// Starts a server that answers each handshake so.
fn start_shaking(answer: HandshakeAnswer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let head = request(&mut BufReader::new(&stream));
            let answer = answer(&head.unwrap_or_default());
            // The client may have given up.
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 100]);
        }
    });
    format!("ws://{address}")
}

#[test]
fn a_handshake_that_is_not_accepted_is_told_at_once_with_the_reason() {
    let answers: [(HandshakeAnswer, &str); 5] = [
        (
            |_| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "the handshake's answer is 404 Not Found, not 101",
        ),
        (|head| accepted(head).replace("Accept: ", "Accept: x"), "not the one of the key"),
        (|head| accepted(head).replace("Upgrade: websocket\r\n", ""), "no Upgrade: websocket"),
        (|_| "220 mail.example.org ESMTP\r\n".to_owned(), "is not HTTP"),
        (|_| String::new(), "closes connections before the handshake is complete"),
    ];
    for (answer, says) in answers {
        let run = bench(&start_shaking(answer), &["-z", "1h", "-c", "2"]);
        assert_eq!(run.code, Some(1), "{says}: {run:?}");
        assert!(
            run.stderr.contains("cannot connect to ws://") && run.stderr.contains(says),
            "{run:?}"
        );
    }
    let silent = super::servers::start(super::Manner::Silent);
    let run = bench(&format!("ws://{silent}"), &["-z", "1h", "-c", "2", "--timeout", "200ms"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("no answer for 200ms"), "{run:?}");
}
