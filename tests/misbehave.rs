//! Faults on demand (`fault=`), each seen on real sockets: bytes, FIN or RST, segments, times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the report"
)]

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use common::{Daemon, PATIENCE, eventually, frame, ping, reset, resound};

#[path = "misbehave/connecting.rs"]
mod connecting;
#[path = "misbehave/datagrams.rs"]
mod datagrams;
#[path = "misbehave/http.rs"]
mod http;
#[path = "misbehave/recorded.rs"]
mod recorded;
#[path = "misbehave/runtime.rs"]
mod runtime;
#[path = "misbehave/segments.rs"]
mod segments;
#[path = "misbehave/websocket.rs"]
mod websocket;

/// A daemon with a listener for frames that has these keys, and one without.
fn with(keys: &str) -> Daemon {
    let faulty = format!("frames://127.0.0.1:0,{keys}");
    Daemon::start(&[&faulty, "frames://127.0.0.1:0"], &[])
}

/// Frames with these payloads, one behind the other.
fn frames(payloads: &[&[u8]]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| frame(payload)).collect()
}

/// How the other end has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// Everything up to the end.
fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, End) {
    let (mut all, mut part) = (Vec::new(), [0; 65_536]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => return (all, End::Fin),
            Ok(length) => all.extend(&part[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (all, End::Reset),
            Err(error) => panic!("{error} behind {} bytes", all.len()),
        }
    }
}

/// Connects to a listener that resets this connection. RST may come before connect(2) returns, which then tells of it.
fn is_reset_at_once(daemon: &Daemon) -> bool {
    match TcpStream::connect(daemon.address(0)) {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            read_to_end(&mut stream) == (Vec::new(), End::Reset)
        }
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Sends `input` and FIN to a listener with these keys; what comes back.
fn exchange(keys: &str, input: &[u8]) -> (Vec<u8>, End) {
    let daemon = with(keys);
    let mut stream = daemon.connect();
    stream.write_all(input).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream)
}

fn read_exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Fails if anything comes within a third of a second.
fn nothing_comes(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(333))).unwrap();
    let read = stream.read(&mut [0; 100]);
    assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

const ABC: [&[u8]; 3] = [b"one", b"second", b"third frame"];

#[test]
fn frames_are_dropped_doubled_and_swapped() {
    let [one, second, third] = ABC.map(frame);
    let input = frames(&ABC);
    for (keys, output) in [
        ("fault=none", [&one[..], &second, &third].concat()),
        ("fault=drop@0%", input.clone()),
        ("fault=drop@2", [&one[..], &third].concat()),
        ("fault=drop", Vec::new()),
        ("fault=dup@1..2", [&one[..], &one, &second, &second, &third].concat()),
        ("fault=swap@1", [&second[..], &one, &third].concat()),
        // There is no next one: it leaves when the client half-closes.
        ("fault=swap@3", input.clone()),
        ("fault=drop@1+dup@3", [&second[..], &third, &third].concat()),
        ("fault=truncate=5@2", [&one[..], &second[..5], &third].concat()),
        ("fault=drop@every=2#2", input.clone()),
        ("fault=drop@after=8", [&one[..], &second].concat()),
    ] {
        assert_eq!(exchange(keys, &input), (output, End::Fin), "{keys}");
    }
}

#[test]
fn content_is_damaged_where_the_plan_says_and_nowhere_else() {
    let [one, second, third] = ABC.map(frame);
    let input = frames(&ABC);
    let (output, _) = exchange("fault=corrupt=1bit@2,seed=7", &input);
    let bits: u32 = output.iter().zip(&input).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((output.len(), bits), (input.len(), 1));
    assert_eq!(
        (&output[..11], &output[17..]),
        ([&one[..], &second[..4]].concat().as_slice(), &third[..])
    );

    let (output, _) = exchange("fault=garbage=16@1,seed=7", &input);
    assert_eq!((&output[..7], &output[23..]), (&one[..], &input[7..]));

    for (length, head) in [
        ("+1", [7, 0, 0, 0]),
        ("-1", [5, 0, 0, 0]),
        ("zero", [0; 4]),
        ("max", [255, 255, 255, 127]),
        ("negative", [255; 4]),
    ] {
        let (output, _) = exchange(&format!("fault=length={length}@2"), &input);
        assert_eq!(output, [&one[..], &head, b"second", &third].concat(), "{length}");
    }
}

#[test]
fn exactly_so_many_bytes_come_before_fin_and_before_rst() {
    let input = frames(&ABC);
    for bytes in [0, 1, 7, 10, 99] {
        let come = 7 + bytes.min(10);
        for (kind, end) in [("fin", End::Fin), ("reset", End::Reset)] {
            let daemon = with(&format!("fault={kind}={bytes}@2"));
            let mut stream = daemon.connect();
            stream.write_all(&input).unwrap();
            let (output, ended) = read_to_end(&mut stream);
            assert_eq!((output, ended), (input[..come].to_vec(), end), "{kind}={bytes}");
        }
    }
}

/// More than the sockets hold: RST would destroy what has not been read, so it waits for that.
#[test]
fn a_reset_waits_until_a_slow_reader_has_acknowledged_everything_before() {
    let daemon = with("fault=reset=6MiB");
    let mut stream = daemon.connect();
    let input = frame(&vec![7; 8 << 20]);
    stream.write_all(&input).unwrap();
    // The first bytes are there, and the sockets are as full as they get.
    stream.peek(&mut [0]).unwrap();
    nothing_more_arrives(&stream);
    let (output, end) = read_to_end(&mut stream);
    assert_eq!((output.len(), end), (6 << 20, End::Reset));
    assert!(output == input[..6 << 20]);
}

/// Waits until the kernel has received nothing new for a while.
fn nothing_more_arrives(stream: &TcpStream) {
    let mut before = 0;
    eventually("the receive queue stops growing", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = segments::received(stream).bytes;
        std::mem::replace(&mut before, now) == now
    });
}

#[test]
fn connections_are_reset_or_delayed_as_they_begin_and_only_those_that_the_plan_names() {
    let daemon = with("fault=reset-on-accept#2+accept-delay=300ms#3");
    ping(&mut daemon.connect());
    assert!(is_reset_at_once(&daemon));
    let start = Instant::now();
    ping(&mut daemon.connect());
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < PATIENCE, "{waited:?}");
    ping(&mut daemon.connect());
}

#[test]
fn a_deaf_server_reads_nothing_and_a_mute_one_answers_nothing() {
    let daemon = with("fault=deaf");
    let mut stream = daemon.connect();
    stream.set_nonblocking(true).unwrap();
    let mut taken = 0;
    let blocked = loop {
        match stream.write(&[0; 65_536]) {
            Ok(bytes) => taken += bytes,
            Err(error) => break error,
        }
        assert!(taken < 256 << 20, "somebody reads");
    };
    assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
    // It can be ended by its client.
    stream.set_nonblocking(false).unwrap();
    drop(stream);
    drained(daemon);

    let daemon = with("fault=mute");
    let mut stream = daemon.connect();
    for _ in 0..64 {
        stream.write_all(&frame(&[0; 65_536])).unwrap();
    }
    nothing_comes(&mut stream);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), (Vec::new(), End::Fin));

    let daemon = with("fault=mute@3");
    let mut stream = daemon.connect();
    ping(&mut stream);
    ping(&mut stream);
    stream.write_all(&frame(b"ping")).unwrap();
    nothing_comes(&mut stream);
}

/// It stops in order although a client holds a connection that would wait for ever.
fn drained(daemon: Daemon) {
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_server_with_held_connections_stops_in_order() {
    for keys in ["fault=deaf", "fault=stall=3", "fault=mute"] {
        // It does not wait for the end of the grace time, or this test would take an hour.
        let faulty = format!("frames://127.0.0.1:0,{keys}");
        let daemon = Daemon::start(&[&faulty], &["--grace", "1h"]);
        let mut stream = daemon.connect();
        stream.write_all(&frame(b"hello")).unwrap();
        if keys == "fault=stall=3" {
            assert_eq!(read_exactly(&mut stream, 3), [5, 0, 0]);
        }
        drained(daemon);
    }
}

#[test]
fn a_frame_stops_at_a_byte_for_a_time_or_for_good() {
    let daemon = with("fault=stall=6@2");
    let mut stream = daemon.connect();
    ping(&mut stream);
    stream.write_all(&frames(&ABC)).unwrap();
    assert_eq!(read_exactly(&mut stream, 6), frame(b"one")[..6]);
    nothing_comes(&mut stream);
    // The rest never comes, also when the client gives up.
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream).0, b"");

    let daemon = with("fault=stall=6:300ms");
    let mut stream = daemon.connect();
    stream.write_all(&frame(b"hello")).unwrap();
    let start = Instant::now();
    assert_eq!(read_exactly(&mut stream, 6), frame(b"hello")[..6]);
    assert_eq!(read_exactly(&mut stream, 3), b"llo");
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
}

#[test]
fn a_frame_leaves_in_segments_of_the_length_asked_for() {
    let payload = [7; 1000];
    for (keys, least) in
        [("fault=slice=100", 11), ("fault=slice=1", 1004), ("fault=slice=10..20", 51)]
    {
        let daemon = with(keys);
        let mut stream = daemon.connect();
        stream.write_all(&frame(&payload)).unwrap();
        assert_eq!(read_exactly(&mut stream, 1004), frame(&payload));
        let found = segments::received(&stream);
        assert_eq!(found.bytes, 1004);
        // More only if the kernel retransmits on a loaded machine.
        assert!((least..2 * least).contains(&found.segments), "{keys}: {found:?}");
    }
    let daemon = with("fault=none");
    let mut stream = daemon.connect();
    stream.write_all(&frame(&payload)).unwrap();
    assert_eq!(read_exactly(&mut stream, 1004), frame(&payload));
    assert!(segments::received(&stream).segments <= 3);
}

#[test]
fn replies_wait_for_each_other_to_leave_in_one_write() {
    let daemon = with("fault=coalesce=3");
    let mut stream = daemon.connect();
    for _ in 0..2 {
        stream.write_all(&frame(b"ping")).unwrap();
        nothing_comes(&mut stream);
    }
    stream.write_all(&frame(b"ping")).unwrap();
    assert_eq!(
        read_exactly(&mut stream, 24),
        [frame(b"ping"), frame(b"ping"), frame(b"ping")].concat()
    );
    // One; two if the kernel retransmits on a loaded machine. Three writes would be three at least.
    assert!(segments::received(&stream).segments < 3);
    stream.write_all(&frame(b"last")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), (frame(b"last"), End::Fin));
}

#[test]
fn delays_are_as_long_as_asked_for_and_frames_that_came_together_are_delayed_together() {
    for (keys, least) in [
        ("fault=delay=300ms", 300),
        ("fault=delay=200ms..250ms", 200),
        ("fault=delay=normal:300ms:1us", 299),
        ("fault=delay=300ms@3", 300),
    ] {
        let daemon = with(keys);
        let mut stream = daemon.connect();
        let start = Instant::now();
        stream.write_all(&frames(&ABC)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut stream), (frames(&ABC), End::Fin), "{keys}");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(least) && waited < PATIENCE, "{keys}: {waited:?}");
    }
    // Beside it nobody waits.
    let daemon = with("fault=delay=1h");
    let mut slow = daemon.connect();
    slow.write_all(&frame(b"slow")).unwrap();
    let mut fast = TcpStream::connect(daemon.address(1)).unwrap();
    ping(&mut fast);
    drop((slow, fast));
    // Nor does the server wait for an hour before it stops: --grace is 10 s.
    drained(daemon);
}

/// FIN says only that the client sends no more, so its reply still comes; after RST nobody would get it.
#[test]
fn a_client_that_resets_while_its_reply_is_delayed_is_gone_at_once() {
    let daemon = with("fault=delay=1h");
    let before = daemon.descriptors();
    let mut stream = daemon.connect();
    stream.write_all(&frame(b"late")).unwrap();
    eventually("the frame is read", || {
        segments::received(&stream).unacknowledged == 0 && daemon.descriptors() > before
    });
    reset(stream);
    eventually("the connection is closed", || daemon.descriptors() == before);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 reset"), "{ended:?}");
}

#[test]
fn delays_come_from_a_file_of_samples() {
    let file = std::env::temp_dir().join(format!("resound-samples-{}", std::process::id()));
    std::fs::write(&file, "300ms\n301ms\n").unwrap();
    let daemon = with(&format!("fault=delay=file:{}", file.display()));
    let start = Instant::now();
    ping(&mut daemon.connect());
    assert!(start.elapsed() >= Duration::from_millis(300));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn bytes_leave_no_faster_than_the_rate() {
    for (keys, length, least) in [
        ("fault=rate=10000/s", 5000, 480),
        ("fault=rate=20/s", 10, 400),
        ("fault=slice=1000+rate=10000/s", 5000, 390),
    ] {
        let daemon = with(keys);
        let mut stream = daemon.connect();
        let sent = frame(&vec![7; length - 4]);
        stream.write_all(&sent).unwrap();
        let start = Instant::now();
        assert_eq!(read_exactly(&mut stream, length), sent);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(least) && took < PATIENCE, "{keys}: {took:?}");
    }
}

/// Without privileges: what the client sends is lost, and its kernel sends it again.
#[test]
fn lost_segments_are_retransmitted_and_a_black_hole_acknowledges_nothing() {
    let daemon = with("fault=loss=30%");
    let mut stream = daemon.connect();
    let start = Instant::now();
    let mut pings = 0;
    while segments::received(&stream).retransmitted == 0 {
        ping(&mut stream);
        pings += 1;
        assert!(start.elapsed() < PATIENCE, "{pings} pings, and no segment was lost");
    }

    let daemon = with("fault=blackhole@2");
    let mut stream = daemon.connect();
    ping(&mut stream);
    stream.write_all(&frame(b"last")).unwrap();
    eventually("the daemon has met its fault", || segments::received(&stream).unacknowledged == 0);
    // It was read and not answered; what follows is not even acknowledged.
    nothing_comes(&mut stream);
    stream.write_all(&frame(b"lost")).unwrap();
    eventually("it is sent again", || segments::received(&stream).retransmitted > 0);
    assert_eq!(segments::received(&stream).unacknowledged, 8);
    drained(daemon);
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_one_others() {
    let payloads: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number]).collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let input = frames(&payloads);
    let run =
        |seed: u64| exchange(&format!("fault=drop@30%+corrupt=1@10%+dup@5%,seed={seed}"), &input).0;
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
    assert!((400..900).contains(&first.len()), "{} of {} bytes", first.len(), input.len());
}

#[test]
fn the_seed_is_printed() {
    let daemon = with("fault=drop@50%,seed=42");
    let faulty = daemon.listening[0].clone();
    let ended = daemon.stop();
    assert!(
        ended.stdout.contains(&format!("faults on {faulty}: drop@50%, seed=42\n")),
        "{ended:?}"
    );
    let ended = with("fault=drop@50%").stop();
    let seed = ended.stdout.lines().find_map(|line| line.split_once("seed=")).unwrap().1;
    assert!(seed.parse::<u64>().is_ok(), "{seed}");
}

#[test]
fn a_correct_listener_beside_a_faulty_one_is_correct() {
    let daemon = with("fault=reset=2");
    let mut faulty = daemon.connect();
    faulty.write_all(&frame(b"hello")).unwrap();
    assert_eq!(read_to_end(&mut faulty), (vec![5, 0], End::Reset));
    let mut correct = TcpStream::connect(daemon.address(1)).unwrap();
    ping(&mut correct);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 by a fault"), "{ended:?}");
}

#[test]
fn every_protocol_has_its_frames() {
    const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let message = |text: &[u8]| [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0][..], text].concat();
    let messages = [HANDSHAKE.as_bytes(), &message(b"one"), &message(b"two")].concat();
    let request = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let requests = [request("one"), request("two"), request("three")].concat();
    for (listen, input, says, ends, end) in [
        ("lines://:0,fault=drop@2", &b"one\ntwo\r\nthree\n"[..], "", "one\nthree\n", End::Fin),
        ("lines://:0,fault=fin=2@2", b"one\ntwo\r\nthree\n", "", "one\ntw", End::Fin),
        ("raw://:0,fault=reset=5", b"hello world", "", "hello", End::Reset),
        ("raw://:0,fault=slice=2+fin=5", b"hello world", "", "hello", End::Fin),
        (
            "ws://:0,fault=fin=3@2",
            &messages,
            "HTTP/1.1 101",
            "\u{81}\u{3}one\u{81}\u{3}t",
            End::Fin,
        ),
        (
            "ws://:0,fault=dup@1+reset=0@2",
            &messages,
            "HTTP/1.1 101",
            "\u{81}\u{3}one\u{81}\u{3}one",
            End::Reset,
        ),
        (
            "http://:0,fault=drop@1+fin=9@3",
            requests.as_bytes(),
            "HTTP/1.1 200 OK",
            "two\rHTTP/1.1 ",
            End::Fin,
        ),
        (
            "http://:0,fault=length=+1@1+fin=0@2",
            requests.as_bytes(),
            "Content-Length: 4",
            "one",
            End::Fin,
        ),
        ("lines://:0,proxy=v1,fault=reset=1@1", b"PROXY UNKNOWN\r\none\n", "", "o", End::Reset),
    ] {
        let daemon = Daemon::start(&[listen], &[]);
        let mut stream = daemon.connect();
        stream.write_all(input).unwrap();
        if end == End::Fin {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let (output, ended) = read_to_end(&mut stream);
        // Latin-1, so that bytes can be written as characters.
        let text: String = output.iter().map(|&byte| char::from(byte)).collect();
        let text = text.replace("\r\n\r\n", "\r");
        assert_eq!(ended, end, "{listen}: {text:?}");
        assert!(text.contains(says), "{listen}: {text:?}");
        let text = text.replace("two\u{d}\n", "two");
        let tail = ends.replace("two\rHTTP", "twoHTTP");
        assert!(text.ends_with(&tail), "{listen}: {text:?} ends with {tail:?}");
    }
}

#[test]
fn loops_share_the_count_of_connections() {
    let faulty = "frames://127.0.0.1:0,fault=reset-on-accept#1..8";
    let daemon = Daemon::start(&[faulty], &["--reactors", "3"]);
    for ordinal in 1..=16 {
        if ordinal <= 8 {
            assert!(is_reset_at_once(&daemon), "connection {ordinal}");
        } else {
            ping(&mut daemon.connect());
        }
    }
}

/// They cost their bytes and one deadline each: next to no memory, and no time while they wait.
#[test]
fn thousands_of_delayed_replies_cost_their_bytes_and_a_timer_each() {
    const CONNECTIONS: usize = 10_000;
    let listen = "frames://127.0.0.1:0,fault=delay=1h";
    let daemon = Daemon::start(&[listen, "frames://127.0.0.1:0"], &["--idle-timeout", "off"]);
    let sources = (1_u8..=9).cycle();
    let mut streams: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS);
    let connect = |(_, source): (usize, u8)| daemon.connect_from([127, 0, 0, source]);
    streams.extend((0..CONNECTIONS).zip(sources).map(connect));
    ping(&mut TcpStream::connect(daemon.address(1)).unwrap());
    let before = daemon.memory("VmRSS");
    for stream in &mut streams {
        stream.write_all(&frame(&[7; 60])).unwrap();
    }
    // What was sent before this is handled before this is answered, by one loop.
    for _ in 0..10 {
        ping(&mut TcpStream::connect(daemon.address(1)).unwrap());
    }
    let grown = daemon.memory("VmRSS").saturating_sub(before) * 1024 / CONNECTIONS as u64;
    println!("{grown} bytes for each delayed reply of 64 bytes");
    assert!(grown < 2048, "{grown} bytes each");
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
        let behind: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        behind[11].parse::<u64>().unwrap() + behind[12].parse::<u64>().unwrap()
    };
    let (start, busy) = (Instant::now(), ticks());
    while start.elapsed() < Duration::from_millis(1500) {
        std::thread::sleep(Duration::from_millis(50));
    }
    // In hundredths of a second.
    assert!(ticks() - busy < 50, "it works while all wait");
    drop(streams);
}

#[test]
fn all_faults_are_listed_and_a_wrong_plan_is_explained() {
    let output = resound().arg("faults").output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    for name in [
        "slice",
        "coalesce",
        "delay",
        "rate",
        "stall",
        "drop",
        "dup",
        "swap",
        "corrupt",
        "length",
        "garbage",
        "refuse",
        "full-backlog",
        "status",
        "short-chunk",
        "drip",
        "close",
        "no-pong",
        "mask",
    ] {
        assert!(list.contains(&format!("\n  {name}")), "{name}");
    }
    let output = resound().args(["serve", "-l", "frames://:0,fault=reset"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(says.contains("reset needs a value: K, as in reset=7@2"), "{says}");
}
