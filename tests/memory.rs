//! What the worst that peers can do costs in memory, measured in the process, and that it is given back.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

use common::{Daemon, eventually, frame, ping};

mod common;

/// KiB that the process may have beside `--max-memory` and an idle daemon's: slab, timers, run queue, the pool's
/// odd pieces, the allocator's.
const SLACK: u64 = 24 << 10;

fn source(index: usize) -> [u8; 4] {
    [127, 2, u8::try_from(index / 250 % 250).unwrap(), u8::try_from(index % 250).unwrap() + 1]
}

fn connect(daemon: &Daemon, count: usize) -> Vec<TcpStream> {
    (0..count).map(|index| daemon.connect_from(source(index))).collect()
}

/// Sends what the other side takes without blocking.
fn offer(stream: &mut TcpStream, mut bytes: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) => {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                    ),
                    "{error}"
                );
                return;
            }
        }
    }
}

/// A daemon that has served, so that what serving needs once is there: also what each thread reserves as it starts,
/// for the allocator an arena of 64 MiB.
fn warm(arguments: &[&str]) -> (Daemon, u64) {
    let daemon = Daemon::frames(arguments);
    ping(&mut daemon.connect());
    daemon.all_threads_wait();
    let base = daemon.memory("VmRSS");
    (daemon, base)
}

fn falls_back(daemon: &Daemon, base: u64, slack: u64) {
    let mut last = 0;
    eventually("memory is given back", || {
        let now = daemon.memory("VmRSS");
        if now != last {
            println!("{now} KiB resident, {base} at first");
            last = now;
        }
        now <= base + slack
    });
}

#[test]
fn ten_thousand_bogus_heads_are_refused_before_anything_is_reserved() {
    let (daemon, base) = warm(&[]);
    for wave in 0..10 {
        let mut streams = connect(&daemon, 1_000);
        for (index, stream) in streams.iter_mut().enumerate() {
            let length = [u32::MAX, 1 << 31, (16 << 20) + 1][(wave + index) % 3];
            offer(stream, &length.to_le_bytes());
        }
    }
    ping(&mut daemon.connect());
    let peak = daemon.memory("VmHWM") - base;
    assert!(peak < 6 << 10, "{peak} KiB");
    let ended = daemon.stop();
    assert!(ended.stdout.contains("10000 lengths over the limit"), "{ended:?}");
}

#[test]
fn a_thousand_long_lengths_and_no_body_cost_next_to_nothing() {
    let (daemon, base) = warm(&[]);
    let base_reserved = daemon.memory("VmPeak");
    let mut streams = connect(&daemon, 1_000);
    let head = (16_u32 << 20).to_le_bytes();
    for bytes in [&head[..], b"a", b"b", b"c"] {
        for stream in &mut streams {
            stream.write_all(bytes).unwrap();
        }
        ping(&mut daemon.connect());
    }
    let grown = daemon.memory("VmHWM") - base;
    assert!(grown < 4 << 10, "{grown} KiB for a thousand peers that sent seven bytes");
    // What is reserved and not yet touched is not resident, but it is taken from the others' limit.
    let reserved = daemon.memory("VmPeak") - base_reserved;
    assert!(reserved < 16 << 10, "{reserved} KiB reserved, as much as one of them announced");
}

#[test]
fn a_large_frame_then_idle_gives_the_memory_back() {
    let (daemon, base) = warm(&["--max-frame", "64MiB"]);
    let large = frame(&vec![7; 64 << 20]);
    let mut streams = connect(&daemon, 3);
    for _ in 0..2 {
        for stream in &mut streams {
            let mut writer = stream.try_clone().unwrap();
            let mut back = vec![0; large.len()];
            std::thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&large).unwrap());
                stream.read_exact(&mut back).unwrap();
            });
            assert!(back == large);
        }
    }
    assert!(daemon.memory("VmHWM") > base + (60 << 10), "nothing was measured");
    // Pieces that are kept for the next taker, for a while.
    let middling = frame(&vec![8; 90_000]);
    let mut others = connect(&daemon, 40);
    for part in [&middling[..50_000], &middling[50_000..]] {
        for stream in &mut others {
            stream.write_all(part).unwrap();
        }
        ping(&mut daemon.connect());
    }
    for stream in &mut others {
        let mut back = vec![0; middling.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == middling);
    }
    falls_back(&daemon, base, 2 << 10);
    streams.iter_mut().for_each(ping);
}

/// Row 43 of the fault table.
#[test]
fn one_byte_held_after_a_long_line_does_not_keep_its_buffer() {
    const CONNECTIONS: usize = 20;
    let daemon = Daemon::start(&["lines://127.0.0.1:0"], &["--max-memory", "64MiB"]);
    let base = daemon.memory("VmRSS");
    let long = vec![b'x'; 15 << 20];
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| daemon.connect()).collect();
    for stream in &mut streams {
        // A line that is as good as finished, and then, again and again, the beginning of another.
        stream.write_all(&long).unwrap();
        let mut back = vec![0; long.len() + 1];
        std::thread::scope(|scope| {
            let mut writer = stream.try_clone().unwrap();
            scope.spawn(move || writer.write_all(b"\nx").unwrap());
            stream.read_exact(&mut back).unwrap();
        });
        assert!(back[..long.len()] == long && back[long.len()] == b'\n');
    }
    // With their buffers kept, the first five or so would have been ended by the memory limit.
    for stream in &mut streams {
        stream.write_all(b"\nx").unwrap();
        let mut back = [0; 2];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"x\n");
    }
    falls_back(&daemon, base, 18 << 10);
}

#[test]
fn max_memory_holds_under_everything_at_once_and_is_given_back() {
    let limit: u64 = 64 << 10;
    let (daemon, base) = warm(&["--max-memory", "64MiB", "--write-timeout", "off"]);
    let half = frame(&vec![7; 1 << 20])[..600_000].to_vec();
    let flood = frame(&vec![8; 1 << 20]).repeat(3);
    let mut half_frames = connect(&daemon, 1_000);
    let mut deaf = connect(&daemon, 1_000);
    for round in 0..10 {
        for (index, stream) in half_frames[round * 100..][..100].iter_mut().enumerate() {
            offer(stream, &half[..[600_000, 30_000, 3_000][index % 3]]);
        }
        for stream in &mut deaf[round * 100..][..100] {
            offer(stream, &flood);
        }
        for stream in &mut connect(&daemon, 1_000) {
            offer(stream, &u32::MAX.to_le_bytes());
        }
        // One that needs no memory is served.
        ping(&mut daemon.connect());
    }
    let peak = daemon.memory("VmHWM") - base;
    println!("{peak} KiB more than idle at the peak, with --max-memory {limit} KiB");
    assert!(peak <= limit + SLACK, "{peak} KiB");
    assert!(peak > limit / 2, "{peak} KiB: nothing was measured");
    drop((half_frames, deaf));
    // The scratch of 1 MiB has been used by now, and small buffers leave gaps in the heap.
    falls_back(&daemon, base, 4 << 10);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("at the memory limit"), "{ended:?}");
}

#[test]
fn whole_replies_reach_a_peer_that_the_memory_limit_ends() {
    let (daemon, _) = warm(&["--max-memory", "64KiB"]);
    let mut stream = daemon.connect();
    let good = frame(&[7; 1000]);
    // Of this frame less is sent than it has: were it whole, it could be answered before it is too much.
    let too_much = frame(&vec![8; 2 << 20]);
    stream.write_all(&[&good[..], &too_much[..150_000]].concat()).unwrap();
    // Still sending when it is ended: without lingering, RST would take the reply with it.
    offer(&mut stream, &vec![9; 1 << 20]);
    stream.set_nonblocking(false).unwrap();
    let mut back = vec![0; good.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, good);
    assert_eq!(stream.read(&mut back).unwrap(), 0, "FIN, not RST");
    stream.shutdown(Shutdown::Write).unwrap();
    drop(stream);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 at the memory limit"), "{ended:?}");
}
