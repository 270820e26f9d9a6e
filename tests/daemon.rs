//! The daemon as a child process on real sockets: what it promises when nothing is wrong but the network's pace.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::{Daemon, PATIENCE, Random, calls::Counted, eventually, frame, is_without_epoll, tool};
use rustix::process::Signal;

mod common;

/// Sends `bytes` in random pieces while it reads, until as much has come back or the peer closes.
fn echo_in_pieces(
    stream: &mut (impl Read + Send),
    mut writer: impl Write + Send,
    bytes: &[u8],
    seed: u64,
) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut random = Random(seed);
            let mut rest = bytes;
            while !rest.is_empty() {
                let most = if random.below(3) == 0 { 7 } else { 200_000 };
                let (piece, others) = rest.split_at((1 + random.below(most)).min(rest.len()));
                writer.write_all(piece).unwrap();
                rest = others;
            }
        });
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).unwrap();
        back
    })
}

fn random_frames(random: &mut Random, bytes: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    while stream.len() < bytes {
        let most = [1, 20, 2_000, 70_000, (1 << 20) + 1][random.below(5)];
        let length = random.below(most);
        stream.extend(frame(&random.bytes(length)));
    }
    stream
}

#[test]
fn many_clients_with_random_frames_in_random_pieces_get_every_byte_back() {
    let path = std::env::temp_dir().join(format!("resound-many-{}", std::process::id()));
    let unix = format!("frames+unix://{}", path.display());
    let daemon = Daemon::start(&["frames://127.0.0.1:0", "frames://[::]:0", &unix], &[]);
    let port_of_six = daemon.address(1).rsplit_once(':').unwrap().1;
    thread::scope(|scope| {
        for client in 0..16 {
            let daemon = &daemon;
            scope.spawn(move || {
                let sent = random_frames(&mut Random(client), 4 << 20);
                let back = match client % 4 {
                    0 => {
                        let mut stream = UnixStream::connect(daemon.address(2)).unwrap();
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        let writer = stream.try_clone().unwrap();
                        echo_in_pieces(&mut stream, writer, &sent, client)
                    }
                    kind => {
                        let address = match kind {
                            1 => daemon.address(0).to_owned(),
                            2 => format!("[::1]:{port_of_six}"),
                            _ => format!("127.0.0.1:{port_of_six}"),
                        };
                        let mut stream = TcpStream::connect(address).unwrap();
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        let writer = stream.try_clone().unwrap();
                        echo_in_pieces(&mut stream, writer, &sent, client)
                    }
                };
                assert!(back == sent, "client {client}");
            });
        }
    });
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    assert!(!path.exists(), "it cleans up");
}

#[test]
fn ten_thousand_connections_each_get_a_hundred_frames_back() {
    let daemon = Daemon::frames(&[]);
    let mut random = Random(7);
    // Fewer where the limit of open files is lower.
    let count = (common::descriptor_limit() - 1_000).min(10_000);
    let mut connections: Vec<TcpStream> = (0..count)
        .map(|connection| {
            let [high, low] = u16::try_from(connection / 500).unwrap().to_be_bytes();
            daemon.connect_from([127, std::process::id().to_le_bytes()[0].max(1), high, low + 1])
        })
        .collect();
    let mut back = Vec::new();
    for round in 0..10 {
        let frames: Vec<Vec<u8>> = connections
            .iter()
            .map(|_| (0..10).flat_map(|_| frame(&vec![round; random.below(300)])).collect())
            .collect();
        for (stream, frames) in connections.iter_mut().zip(&frames) {
            stream.write_all(frames).unwrap();
        }
        for (stream, frames) in connections.iter_mut().zip(&frames) {
            back.resize(frames.len(), 0);
            stream.read_exact(&mut back).unwrap();
            assert!(back == *frames);
        }
    }
    drop(connections);
    let ended = daemon.stop();
    let served = format!("{count} connections, {} frames", 100 * count);
    assert!(ended.stdout.contains(&served), "{ended:?}");
}

#[test]
fn the_tutorials_sticky_packet_client_runs_unchanged() {
    let Some(python) = tool("python3") else { return };
    let daemon = Daemon::frames(&[]);
    let (host, port) = daemon.address(0).rsplit_once(':').unwrap();
    let program = "
import socket, struct, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
for _ in range(20):
    message = b'Hello, Hello. How are you?'
    connection.send(struct.pack('<i', len(message)) + message)
reader = connection.makefile('rb')
for _ in range(20):
    length, = struct.unpack('<i', reader.read(4))
    print(reader.read(length).decode())
";
    let output = Command::new(python).args(["-c", program, host, port]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "Hello, Hello. How are you?\n".repeat(20));
}

#[test]
fn half_close_gets_every_whole_frame_then_fin() {
    let daemon = Daemon::frames(&[]);
    let whole = random_frames(&mut Random(3), 3 << 20);
    for cut in [0, 1, 3, 4, 7] {
        let mut stream = daemon.connect();
        let mut writer = stream.try_clone().unwrap();
        let sent = [&whole[..], &frame(b"1234")[..cut]].concat();
        let back = thread::scope(|scope| {
            scope.spawn(move || {
                writer.write_all(&sent).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            back
        });
        assert!(back == whole, "cut {cut}");
    }
    let ended = daemon.stop();
    assert!(ended.stdout.contains("4 frames cut short"), "{ended:?}");
}

#[test]
fn sigterm_under_load_loses_no_whole_frame_and_ends_in_order() {
    let daemon = Daemon::frames(&[]);
    let ready = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        let clients: Vec<_> = (0..20_u64)
            .map(|client| {
                let (mut stream, ready) = (daemon.connect(), &ready);
                scope.spawn(move || {
                    let mut random = Random(client);
                    let (mut sent, mut back) = (Vec::new(), Vec::new());
                    let mut buffer = vec![0; 1 << 16];
                    // One frame at a time, so that at the end at most one is on its way.
                    loop {
                        let length = random.below(5000);
                        let one = frame(&random.bytes(length));
                        let goal = sent.len() + one.len();
                        if stream.write_all(&one).is_err() {
                            break;
                        }
                        sent.extend(one);
                        while back.len() < goal {
                            match stream.read(&mut buffer) {
                                Ok(0) => return (sent, back),
                                Ok(count) => back.extend_from_slice(&buffer[..count]),
                                Err(error) => panic!("client {client}: {error}"),
                            }
                        }
                        ready.store(true, Ordering::Relaxed);
                    }
                    (sent, back)
                })
            })
            .collect();
        eventually("the load runs", || ready.load(Ordering::Relaxed));
        let ended = daemon.stop();
        for client in clients {
            let (sent, back) = client.join().unwrap();
            assert!(sent.starts_with(&back), "what came back is what was sent");
            let mut rest = &back[..];
            while let Some((head, behind)) = rest.split_first_chunk::<4>() {
                rest = &behind[u32::from_le_bytes(*head) as usize..];
            }
            assert!(rest.is_empty(), "it ends with a whole frame");
        }
        ended
    });
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("20 drained"), "{ended:?}");
}

#[test]
fn a_frame_that_has_begun_when_sigterm_comes_may_be_finished() {
    let mut daemon = Daemon::frames(&["--grace", "1h"]);
    let mut stream = daemon.connect();
    let hello = frame(b"hello");
    stream.write_all(&hello).unwrap();
    let mut back = [0; 9];
    stream.read_exact(&mut back).unwrap();
    stream.write_all(&hello[..6]).unwrap();
    daemon.signal(Signal::TERM);
    daemon.stops_listening();
    stream.write_all(&hello[6..]).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, hello);
    drop(stream);
    assert_eq!(daemon.wait().status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut daemon = Daemon::frames(&["--grace", "1h"]);
    let mut stream = daemon.connect();
    stream.write_all(&[9, 0]).unwrap();
    // The echo of another connection shows that the first bytes have been read, too.
    let mut other = daemon.connect();
    other.write_all(&frame(b"x")).unwrap();
    other.read_exact(&mut [0; 5]).unwrap();
    daemon.signal(Signal::TERM);
    daemon.stops_listening();
    daemon.signal(Signal::TERM);
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

#[test]
fn a_unix_socket_that_another_daemon_has_taken_over_is_left_alone() {
    let path = std::env::temp_dir().join(format!("resound-successor-{}", std::process::id()));
    let listen = format!("frames+unix://{}", path.display());
    let first = Daemon::start(&[&listen], &[]);
    std::fs::remove_file(&path).unwrap();
    let second = Daemon::start(&[&listen], &[]);
    assert!(first.stop().status.success());
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&frame(b"hello")).unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    drop(stream);
    assert!(second.stop().status.success());
    assert!(!path.exists(), "its own is removed");
}

#[test]
fn a_restart_has_its_port_at_once_although_old_connections_wait() {
    let address = format!("frames://{}", common::fixed_address());
    let mut daemon = Daemon::start(&[&address], &[]);
    let mut stream = daemon.connect();
    common::ping(&mut stream);
    daemon.signal(Signal::TERM);
    // The server's FIN comes first, so the server's end of the connection is the one in TIME_WAIT.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    drop(stream);
    assert!(daemon.wait().status.success());
    let next = Daemon::start(&[&address], &[]);
    common::ping(&mut next.connect());
}

#[test]
fn a_reader_that_does_not_read_is_not_buffered_for() {
    let daemon = Daemon::frames(&["--write-timeout", "off"]);
    let before = daemon.memory("VmRSS");
    let mut streams: Vec<TcpStream> = (0..8).map(|_| daemon.connect()).collect();
    let flood = frame(&vec![7; 100_000]);
    for stream in &mut streams {
        stream.set_nonblocking(true).unwrap();
    }
    // Until the kernel takes no more from any of them: back-pressure has reached the sender.
    let mut written = 0;
    let mut behind = vec![0; streams.len()];
    let mut quiet = 0;
    while quiet < 100 {
        let mut any = false;
        for (stream, behind) in streams.iter_mut().zip(&mut behind) {
            match stream.write(&flood[*behind..]) {
                Ok(count) => {
                    *behind = (*behind + count) % flood.len();
                    (written, any) = (written + count, true);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        quiet = if any { 0 } else { quiet + 1 };
        // Served in turn with them, so the daemon has had its chance to read more.
        let mut other = daemon.connect();
        other.write_all(&frame(b"ping")).unwrap();
        other.read_exact(&mut [0; 8]).unwrap();
        assert!(written < 4 << 30, "nothing stops the senders");
    }
    let grown = daemon.memory("VmRSS").saturating_sub(before);
    assert!(grown < 8 * 600, "{grown} KiB for eight peers that do not read");
}

#[test]
fn garbage_on_the_frames_port_is_named_in_the_log_and_counted() {
    let daemon = Daemon::frames(&["--log-level", "debug"]);
    for (garbage, looks_like) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"\xff\xff\xff\xffnegative", "4294967295"),
    ] {
        let mut stream = daemon.connect();
        let good = frame(b"good");
        stream.write_all(&[&good[..], garbage].concat()).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, good, "{looks_like}");
    }
    let ended = daemon.stop();
    for looks_like in ["HTTP", "TLS", "4294967295"] {
        assert!(ended.stderr.contains(looks_like), "{ended:?}");
    }
    assert!(ended.stdout.contains("3 refused"), "{ended:?}");
}

#[test]
fn one_refusal_a_second_is_logged_without_asking_for_more() {
    let daemon = Daemon::frames(&[]);
    for _ in 0..50 {
        let mut stream = daemon.connect();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    let ended = daemon.stop();
    let lines = ended.stderr.lines().filter(|line| line.contains("an HTTP request")).count();
    assert!((1..50).contains(&lines), "{lines} lines: {ended:?}");
}

#[test]
fn one_frame_at_a_time_costs_one_read_and_one_write_and_no_registration() {
    let Some(counted) = Counted::start("frames://127.0.0.1:0") else { return };
    let mut stream = counted.daemon.connect();
    let hello = frame(&[5; 64]);
    let mut back = [0; 68];
    for _ in 0..1000 {
        stream.write_all(&hello).unwrap();
        stream.read_exact(&mut back).unwrap();
    }
    drop(stream);
    let calls = counted.stop();
    // Beside them, each of five signal handlers tries once whether its descriptor is a socket.
    assert!((1000..=1005).contains(&calls.of("sendto")), "{calls:?}");
    assert!(calls.of("setsockopt") < 50, "the listener's options, and none for a frame: {calls:?}");
    if is_without_epoll("a short read ends the reading, and nothing is registered again") {
        return;
    }
    // A wake-up may come late for bytes that the one before it has read, so there may be more reads than frames,
    // but never more than wake-ups.
    assert!((1000..=calls.of("epoll_wait")).contains(&calls.of("recvfrom")), "{calls:?}");
    // The listener, the waker and the one connection, once each; and the listener once more when it is closed.
    assert!(calls.of("epoll_ctl") <= 4, "{calls:?}");
}
