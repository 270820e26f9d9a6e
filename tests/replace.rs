//! A daemon that is replaced while it runs: what its peers notice of it, which is nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the report"
)]

#[path = "common/mod.rs"]
mod common;
#[path = "replace/failures.rs"]
mod failures;
#[path = "replace/support.rs"]
mod support;
#[cfg(feature = "tls")]
#[path = "replace/tls.rs"]
mod tls;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    thread,
};

use common::{PATIENCE, eventually, frame, ping, resound};
use rustix::process::Signal;
use support::{Folder, Load, Running};

/// What a client sends before and after the replacement, and all that it receives.
struct Conversation {
    listen: &'static str,
    before: Vec<u8>,
    after: Vec<u8>,
    back: Vec<u8>,
}

impl Conversation {
    fn new(
        listen: &'static str,
        before: impl Into<Vec<u8>>,
        after: impl Into<Vec<u8>>,
        back: impl Into<Vec<u8>>,
    ) -> Self {
        Self { listen, before: before.into(), after: after.into(), back: back.into() }
    }
}

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked frame, whose mask changes nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

/// Conversations that are cut in the middle of something, in each protocol.
fn conversations() -> Vec<Conversation> {
    let chunked = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel";
    let text = "grüße".as_bytes();
    let long = masked(0x81, text);
    let framed = [frame(b"one"), frame(b"three")].concat();
    vec![
        Conversation::new("frames", &framed[..9], &framed[9..], &framed[..]),
        Conversation::new(
            "frames",
            frame(b"idle"),
            frame(b"again"),
            [frame(b"idle"), frame(b"again")].concat(),
        ),
        Conversation::new("frames", "", frame(b"first"), frame(b"first")),
        Conversation::new("raw", "be", "fore", "before"),
        Conversation::new("lines", "one\nhalf a l", "ine\r\n", "one\nhalf a line\r\n"),
        Conversation::new(
            "lines,proxy=v1",
            "PROXY TCP4 192.0.2.1 192.",
            "0.2.2 1 2\r\nhello\n",
            "hello\n",
        ),
        Conversation::new("lines,proxy=any", "PROXY UNKNOWN\r\nhel", "lo\n", "hello\n"),
        Conversation::new(
            "ws",
            &HANDSHAKE[..50],
            [&HANDSHAKE.as_bytes()[50..], &masked(0x82, b"x")].concat(),
            unmasked(0x82, b"x"),
        ),
        // Cut within the text, and within a character.
        Conversation::new(
            "ws",
            [HANDSHAKE.as_bytes(), &long[..9]].concat(),
            &long[9..],
            unmasked(0x81, text),
        ),
        Conversation::new("http", "GET /a HTT", "P/1.1\r\nHost: x\r\n\r\n", "requested: /a"),
        Conversation::new(
            "http",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel",
            "lo",
            "\r\n\r\nhello",
        ),
        Conversation::new("http", chunked, "lo\r\n0\r\n\r\n", "\r\n\r\nhello"),
        Conversation::new("http,body=stream", chunked, "lo\r\n0\r\n\r\n", "lo\r\n0\r\n\r\n"),
        Conversation::new(
            "http,tag={peer}",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            "\r\n",
            "X-Served-By: 127.0.0.1:",
        ),
    ]
}

#[test]
fn each_protocol_goes_on_in_the_middle_of_anything() {
    let conversations = conversations();
    let listen: Vec<String> = conversations
        .iter()
        .map(|Conversation { listen, .. }| match listen.split_once(',') {
            Some((protocol, keys)) => format!("{protocol}://127.0.0.1:0,{keys}"),
            None => format!("{listen}://127.0.0.1:0"),
        })
        .collect();
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let mut running = Running::start(&listen, &[]);
    let mut streams: Vec<TcpStream> =
        (0..listen.len()).map(|index| running.connect(index)).collect();
    let mut all = 0;
    for (stream, conversation) in streams.iter_mut().zip(&conversations) {
        stream.write_all(&conversation.before).unwrap();
        all += conversation.before.len() as u64;
    }
    eventually("all has been received", || {
        let connections = running.connections();
        let received = connections.iter().map(|one| one["received_bytes"].as_u64().unwrap());
        connections.len() == listen.len() && received.sum::<u64>() == all
    });
    let moved = running.replace();
    assert!(moved.contains(&format!("{} connections handed over", listen.len())), "{moved}");
    assert!(!moved.contains("not handed over"), "{moved}");
    for (stream, conversation) in streams.iter_mut().zip(&conversations) {
        let Conversation { listen, before, after, back } = conversation;
        stream.write_all(after).unwrap();
        let mut received = Vec::new();
        let is_there = |received: &[u8]| received.windows(back.len()).any(|window| window == back);
        while !is_there(&received) {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).unwrap();
            let shown = (String::from_utf8_lossy(before), String::from_utf8_lossy(&received));
            assert!(count > 0, "{listen}: it was closed: {shown:?}");
            received.extend(&piece[..count]);
        }
        if listen.starts_with("ws") || listen.starts_with("http") {
            continue;
        }
        assert_eq!(&received, back, "{listen}: nothing twice and nothing else");
    }
    let counted = running.connections();
    assert!(counted.iter().all(|one| one["received_bytes"].as_u64() > Some(0)), "{counted:?}");
}

/// Echoes that a peer does not read for a while are owed by the old process, and sent by the new one.
#[test]
fn what_is_owed_to_a_peer_that_does_not_read_comes_from_the_next() {
    for listen in ["frames", "raw", "lines", "frames+unix"] {
        let folder = Folder::new("owed");
        let path = folder.path("socket");
        let address = match listen {
            "frames+unix" => format!("{listen}://{}", path.display()),
            _ => format!("{listen}://127.0.0.1:0"),
        };
        let mut running = Running::start(&[&address], &[]);
        let unit = match listen {
            "lines" => [&[b'x'; 99_999][..], b"\n"].concat(),
            _ => frame(&[7; 99_996]),
        };
        let all = unit.repeat(300);
        let mut socket: Box<dyn Both> = match listen {
            "frames+unix" => Box::new(UnixStream::connect(&path).unwrap()),
            _ => Box::new(running.connect(0)),
        };
        let mut writer = socket.another();
        let bytes = all.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&bytes).unwrap();
            writer.finish();
        });
        eventually("much is owed", || {
            running.connections().iter().any(|one| one["owed_bytes"].as_u64() > Some(0))
        });
        for _ in 0..2 {
            running.replace();
        }
        let mut back = Vec::new();
        socket.read_to_end(&mut back).unwrap();
        assert!(back == all, "{listen}: {} bytes of {}", back.len(), all.len());
        writing.join().unwrap();
    }
}

/// A stream of either kind.
trait Both: Read + Write + Send {
    fn another(&self) -> Box<dyn Both>;
    fn finish(&mut self);
}

impl Both for TcpStream {
    fn another(&self) -> Box<dyn Both> {
        Box::new(self.try_clone().unwrap())
    }

    fn finish(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Both for UnixStream {
    fn another(&self) -> Box<dyn Both> {
        Box::new(self.try_clone().unwrap())
    }

    fn finish(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

#[test]
fn connections_in_the_backlog_are_served_by_the_next() {
    let mut running = Running::start(&["frames://127.0.0.1:0"], &["--max-connections", "1"]);
    let mut open = running.connect(0);
    ping(&mut open);
    let mut waiting: Vec<TcpStream> = (0..20).map(|_| running.connect(0)).collect();
    for stream in &mut waiting {
        stream.write_all(&frame(b"ping")).unwrap();
    }
    running.replace();
    ping(&mut open);
    drop(open);
    for mut stream in waiting {
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back[..], frame(b"ping"));
    }
}

#[test]
fn udp_and_unix_sockets_go_on_at_their_addresses() {
    let folder = Folder::new("sockets");
    let path = folder.path("frames");
    let unix = format!("frames+unix://{}", path.display());
    let mut running = Running::start(&["udp://127.0.0.1:0", &unix], &[]);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    udp.connect(running.address(0)).unwrap();
    let echo = |payload: &[u8]| {
        udp.send(payload).unwrap();
        let mut back = [0; 100];
        let length = udp.recv(&mut back).unwrap();
        assert_eq!(&back[..length], payload);
    };
    let mut stream = UnixStream::connect(&path).unwrap();
    let mut ping = |text: &[u8]| {
        stream.write_all(&frame(text)).unwrap();
        let mut back = vec![0; 4 + text.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, frame(text));
    };
    echo(b"one");
    ping(b"one");
    for _ in 0..2 {
        running.replace();
        echo(b"two");
        ping(b"two");
        UnixStream::connect(&path).expect("the file is still there");
    }
    running.stop();
    assert!(!path.exists(), "the last one removes it");
}

#[test]
fn a_websocket_message_of_which_frames_are_held_stays_until_it_is_whole() {
    let mut running = Running::start(&["ws://127.0.0.1:0"], &[]);
    let mut stream = running.connect(0);
    stream.write_all(HANDSHAKE.as_bytes()).unwrap();
    stream.write_all(&masked(0x01, b"first ")).unwrap();
    let sent = (HANDSHAKE.len() + masked(0x01, b"first ").len()) as u64;
    eventually("it has come", || {
        running.connections().iter().any(|one| one["received_bytes"].as_u64() == Some(sent))
    });
    let old = running.pid;
    let moved = running.replace();
    assert!(moved.contains("0 connections handed over"), "{moved}");
    assert!(moved.ends_with("not handed over yet: 1 connection\n"), "{moved}");
    assert!(running.connections().is_empty());
    assert!(support::is_running(old), "it still has a connection");

    stream.write_all(&masked(0x80, b"last")).unwrap();
    let want = [unmasked(0x01, b"first "), unmasked(0x80, b"last")].concat();
    let mut back = Vec::new();
    while !back.ends_with(&want) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        back.push(byte[0]);
    }
    // Between two messages it can be described.
    eventually("the new process has it", || running.connections().len() == 1);
    eventually("the old process ends", || !support::is_running(old));
    stream.write_all(&masked(0x82, b"more")).unwrap();
    let mut more = [0; 6];
    stream.read_exact(&mut more).unwrap();
    assert_eq!(more[..], unmasked(0x82, b"more"));
}

#[test]
fn it_is_replaced_again_and_again_under_load() {
    let own_tables = ["--reactors", "2", "--descriptor-tables", "own"];
    for arguments in [&["--reactors", "1"][..], &["--reactors", "2"], &own_tables] {
        let mut running = Running::start(&["frames://127.0.0.1:0"], arguments);
        let load = Load::start(running.address(0), 40);
        for round in 0..5 {
            let report = running.replace();
            println!("{report}");
            // Each connection has had an answer from this process.
            load.wait_for_all_pings();
            if round == 2 {
                let mut late = running.connect(0);
                ping(&mut late);
            }
        }
        load.stop();
        let stats = running.json("/stats");
        assert_eq!(stats["connections"]["refused"], 0);
    }
}

#[test]
fn sigusr2_replaces_it_and_the_service_manager_learns_the_new_process() {
    let folder = Folder::new("notify");
    let manager = UnixDatagram::bind(folder.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", folder.path("notify"));
    let mut daemon = common::Daemon::spawn(command, 1);
    assert!(next().starts_with("READY=1\n"));
    let mut stream = daemon.connect();
    ping(&mut stream);
    daemon.signal(Signal::USR2);
    let told = next();
    let pid = told.strip_prefix("MAINPID=").unwrap_or_else(|| panic!("{told}")).trim();
    let successor = support::Process::new(pid.parse().unwrap());
    assert!(next().starts_with("READY=1\n"), "from the new process, which is the main one by now");
    let old = daemon.pid();
    eventually("the old process ends", || !support::is_running(old));
    ping(&mut stream);
    successor.signal(Signal::TERM);
    assert!(next().starts_with("STOPPING=1\n"));
    drop(stream);
    let ended = daemon.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("closed: 1 handed over"), "{ended:?}");
    assert!(ended.stderr.contains("replaced by process"), "{ended:?}");
}

#[test]
fn the_journal_of_faults_goes_on_and_says_that_connections_are_counted_again() {
    let folder = Folder::new("journal");
    let journal = folder.path("journal");
    let arguments = ["--fault-journal", journal.to_str().unwrap()];
    let mut running = Running::start(&["frames://127.0.0.1:0,fault=fin=3@2"], &arguments);
    let text = || std::fs::read_to_string(&journal).unwrap();
    let served = |running: &Running, wanted: &str| {
        let mut stream = running.connect(0);
        ping(&mut stream);
        stream.write_all(&frame(b"second")).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [6, 0, 0]);
        eventually("the lines are written", || text() == wanted);
    };
    let opened = r#"{"event":"opened","listener":1,"connection":1}"#;
    let fault =
        r#"{"event":"fault","listener":1,"connection":1,"frame":2,"byte":11,"fault":"fin=3"}"#;
    let of_one = format!("{opened}\n{fault}\n");
    served(&running, &of_one);
    running.replace();
    served(&running, &format!("{of_one}{{\"event\":\"replaced\"}}\n{of_one}"));
    running.stop();
}

#[test]
fn a_process_that_is_started_by_hand_takes_over_through_a_socket() {
    let folder = Folder::new("takeover");
    let place = format!("unix:{}", folder.path("handover").display());
    let listen = ["frames://127.0.0.1:0"];
    let first = Running::start(&listen, &["--handover", &place]);
    let mut stream = first.connect(0);
    stream.write_all(&frame(b"ping")[..5]).unwrap();
    eventually("it has come", || {
        first.connections().iter().any(|one| one["held_bytes"].as_u64() == Some(5))
    });
    let both = ["--takeover", &place, "--handover", &place];
    let second = Running::start(&listen, &both);
    assert_eq!(second.address(0), first.address(0), "the same port");
    assert_eq!(second.admin(), first.admin());
    let ended = first.wait();
    assert!(ended.status.success(), "{ended:?}");
    stream.write_all(&frame(b"ping")[5..]).unwrap();
    let mut back = [0; 8];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back[..], frame(b"ping"));

    // The socket was handed over, too; and the next one may have more loops.
    let third = Running::start(&listen, &[&both[..], &["--reactors", "3"]].concat());
    assert!(second.wait().status.success());
    ping(&mut stream);
    let mut more: Vec<TcpStream> = (0..10).map(|_| third.connect(0)).collect();
    more.iter_mut().for_each(ping);

    // One with fewer loops, and one more listener, which it binds.
    let fourth = Running::start(&[listen[0], "raw://127.0.0.1:0"], &both);
    assert!(third.wait().status.success());
    ping(&mut stream);
    drop((stream, more));
    fourth.stop();
    let mut alone = resound();
    alone.args(["serve", "--listen", "frames://127.0.0.1:0", "--takeover", &place]);
    let output = alone.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("Start that daemon with --handover"), "{error}");
}

#[test]
fn connections_of_a_listener_with_another_protocol_stay_until_they_end() {
    let folder = Folder::new("other");
    let place = format!("unix:{}", folder.path("handover").display());
    let first = Running::start(&["frames://127.0.0.1:0"], &["--handover", &place]);
    let mut stream = first.connect(0);
    ping(&mut stream);
    let address: SocketAddr = first.address(0).parse().unwrap();
    let second = Running::start(&[&format!("raw://{address}")], &["--takeover", &place]);
    ping(&mut stream);
    assert!(second.connections().is_empty());
    let mut raw = TcpStream::connect(address).unwrap();
    raw.write_all(b"no frame").unwrap();
    let mut back = [0; 8];
    raw.set_read_timeout(Some(PATIENCE)).unwrap();
    raw.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"no frame");
    drop(stream);
    assert!(first.wait().status.success());
}
