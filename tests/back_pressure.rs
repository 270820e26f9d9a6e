//! Peers that take too much or too little: floods, short writes, readers that do not read.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    thread,
};

use common::{Beside, Daemon, PATIENCE, Random, frame, pinging_beside};
use socket2::SockRef;

mod common;

/// Sends `flood` again and again and receives all that comes back, 50 MB and more, until it is enough.
fn flood(mut stream: TcpStream, flood: &[u8], beside: &Beside) -> (u64, u64) {
    let mut reader = stream.try_clone().unwrap();
    thread::scope(|scope| {
        let received = scope.spawn(move || {
            let mut buffer = vec![0; 1 << 18];
            let mut received = 0;
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => return received,
                    count => received += count as u64,
                }
                beside.has_begun();
                if received > 50_000_000 {
                    beside.has_lasted();
                }
            }
        });
        let mut sent = 0;
        while !beside.is_enough() {
            stream.write_all(flood).unwrap();
            sent += flood.len() as u64;
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        (sent, received.join().unwrap())
    })
}

#[test]
fn a_firehose_does_not_hold_up_a_pinging_connection() {
    let daemon = Daemon::frames(&[]);
    let (sent, received) = pinging_beside(&daemon, |beside| {
        flood(daemon.connect(), &frame(&vec![7; 300_000]).repeat(4), beside)
    });
    assert_eq!(sent, received);
}

#[test]
fn a_million_frames_of_nothing_spend_the_budget_too() {
    let daemon = Daemon::frames(&[]);
    let million = frame(b"").repeat(1_000_000);
    let (sent, received) =
        pinging_beside(&daemon, |beside| flood(daemon.connect(), &million, beside));
    assert_eq!(sent, received);
}

#[test]
fn short_writes_to_a_small_window_keep_the_order() {
    let daemon = Daemon::frames(&[]);
    let mut random = Random(14);
    let sent: Vec<u8> = (0..300)
        .flat_map(|_| {
            let length = random.below(30_000);
            frame(&random.bytes(length))
        })
        .collect();
    // Before it connects, so that it is the window that is offered.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let address: std::net::SocketAddr = daemon.address(0).parse().unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let back = thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&sent).unwrap());
        let mut back = Vec::new();
        let mut buffer = [0; 1000];
        while back.len() < sent.len() {
            let most = 1 + random.below(buffer.len());
            let count = stream.read(&mut buffer[..most]).unwrap();
            assert!(count > 0, "it ends behind {} bytes", back.len());
            back.extend_from_slice(&buffer[..count]);
        }
        back
    });
    assert!(back == sent);
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

fn was_ended(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Sends until the kernel takes no more, or the daemon has ended the connection, while pings on another connection are
/// answered. Returns how much was sent.
fn fill(daemon: &Daemon, streams: &mut [TcpStream]) -> u64 {
    let flood = frame(&vec![7; 100_000]);
    let mut behind = vec![0; streams.len()];
    let mut sent = 0;
    let mut quiet = 0;
    while quiet < 50 {
        quiet += 1;
        for (stream, behind) in streams.iter_mut().zip(&mut behind) {
            match stream.write(&flood[*behind..]) {
                Ok(count) => {
                    *behind = (*behind + count) % flood.len();
                    sent += count as u64;
                    quiet = 0;
                }
                Err(error) => assert!(would_block(&error) || was_ended(&error), "{error}"),
            }
        }
        // Served in turn with them, so the daemon has had its chance to read more.
        common::ping(&mut daemon.connect());
        assert!(sent < 8 << 30, "nothing stops the senders");
    }
    sent
}

#[test]
fn readers_that_do_not_read_are_not_buffered_for_and_their_senders_block() {
    let daemon = Daemon::frames(&["--write-timeout", "off"]);
    common::ping(&mut daemon.connect());
    let before = daemon.memory("VmRSS");
    let mut streams: Vec<TcpStream> = (0..16).map(|_| daemon.connect()).collect();
    for stream in &streams {
        stream.set_nonblocking(true).unwrap();
        SockRef::from(stream).set_recv_buffer_size(4096).unwrap();
    }
    fill(&daemon, &mut streams);
    let is_open = |stream: &mut TcpStream| {
        stream.write(&[7]).map_or_else(|error| would_block(&error), |_| true)
    };
    assert!(streams.iter_mut().all(is_open));
    let grown = daemon.memory("VmRSS").saturating_sub(before);
    // A batch of replies each, and what the pool keeps.
    assert!(grown < 16 * 600 + 8_192, "{grown} KiB for 16 peers that do not read");
}

#[test]
fn a_reader_that_does_not_read_is_ended_after_the_write_timeout() {
    let daemon = Daemon::frames(&["--write-timeout", "300ms"]);
    let before = daemon.descriptors();
    let mut stream = daemon.connect();
    stream.set_nonblocking(true).unwrap();
    fill(&daemon, std::slice::from_mut(&mut stream));
    common::eventually("it is closed", || daemon.descriptors() == before);
    stream.set_nonblocking(false).unwrap();
    // All that it was sent before, then the end.
    let mut back = Vec::new();
    let end = stream.read_to_end(&mut back);
    assert!(end.is_ok() || was_ended(&end.unwrap_err()));
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 on write timeout"), "{ended:?}");
}

/// Row 51 of the fault table, for a peer that leaves no room.
#[test]
fn a_peer_that_leaves_no_room_for_the_user_timeout_is_given_up() {
    let daemon = Daemon::frames(&["--write-timeout", "off", "--user-timeout", "1s"]);
    let before = daemon.descriptors();
    let mut stream = daemon.connect();
    stream.set_nonblocking(true).unwrap();
    fill(&daemon, std::slice::from_mut(&mut stream));
    common::eventually("it is closed", || daemon.descriptors() == before);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 lost"), "{ended:?}");
}
