//! Churn for a long time, and then everything is back where it began.
//!
//! ```sh
//! cargo bench --bench soak                                  # 20 s
//! RESOUND_SOAK_SECONDS=1800 cargo bench --bench soak        # half an hour
//! ```
//!
//! Six kinds of peers come and go: they ping, send large frames, half-close in the middle of one,
//! reset with replies under way, do not read, or leave a frame unfinished. At the end descriptors and resident
//! memory have to be what they were, and every connection that was opened closed and accounted for.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Daemon, Random, eventually, frame, ping, reset};

#[path = "../tests/common/mod.rs"]
mod common;

/// KiB that may stay behind, however long it ran: what the allocator does not give back.
const SLACK: u64 = 4 << 10;

/// Sends `sent` and receives what comes back, at once, up to FIN.
fn exchange(mut stream: TcpStream, sent: &[u8], whole: usize) {
    let mut writer = stream.try_clone().unwrap();
    let back = thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back
    });
    assert!(back == sent[..whole], "{} of {whole} bytes came back", back.len());
}

/// Sends until nothing more is taken.
fn fill(stream: &mut TcpStream, flood: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.write(flood) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // It was ended in the meantime: by a misframed length, by the memory limit.
            Err(_) => return,
        }
    }
}

/// One peer's life.
fn live(daemon: &Daemon, random: &mut Random, source: [u8; 4]) {
    let mut stream = daemon.connect_from(source);
    match random.below(6) {
        0 => (0..random.below(50)).for_each(|_| ping(&mut stream)),
        1 => {
            let length = random.below(4 << 20);
            let large = frame(&vec![7; length]);
            exchange(stream, &large, large.len());
        }
        2 => {
            let length = random.below(200_000);
            let mut sent = frame(&vec![8; length]).repeat(1 + random.below(5));
            let whole = sent.len();
            let cut = random.below(5 + length);
            sent.extend(&frame(&vec![9; length + 1])[..cut]);
            exchange(stream, &sent, whole);
        }
        3 => {
            fill(&mut stream, &frame(&[1; 60_000]));
            reset(stream);
        }
        4 => fill(&mut stream, &frame(&vec![2; 300_000])),
        _ => {
            let cut = 1 + random.below(100_000);
            stream.write_all(&frame(&[3; 100_000])[..cut]).unwrap();
        }
    }
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let seconds = std::env::var("RESOUND_SOAK_SECONDS");
    let seconds = seconds.map_or(if is_bench { 20 } else { 1 }, |text| text.parse().unwrap());
    let daemon = Daemon::frames(&["--write-timeout", "2s", "--max-memory", "64MiB"]);
    ping(&mut daemon.connect());
    let (descriptors, memory) = (daemon.descriptors(), daemon.memory("VmRSS"));

    let (is_over, lives) = (AtomicBool::new(false), AtomicU64::new(1));
    let start = Instant::now();
    thread::scope(|scope| {
        for worker in 0..8_u8 {
            let (daemon, is_over, lives) = (&daemon, &is_over, &lives);
            scope.spawn(move || {
                let mut random = Random(worker.into());
                while !is_over.load(Ordering::Relaxed) {
                    let hosts = u8::try_from(1 + random.below(250)).unwrap();
                    live(daemon, &mut random, [127, 9, worker, hosts]);
                    lives.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while start.elapsed() < Duration::from_secs(seconds) {
            ping(&mut daemon.connect());
            lives.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(20));
        }
        is_over.store(true, Ordering::Relaxed);
    });

    let (lives, peak) = (lives.into_inner(), daemon.memory("VmHWM"));
    println!("{lives} connections in {seconds} s; at most {peak} KiB resident, {memory} at first");
    assert!(peak < memory + (64 << 10) + (24 << 10), "over --max-memory");
    // The first connection may have been open still when they were counted.
    eventually("all descriptors are back", || daemon.descriptors() <= descriptors);
    eventually("memory is back", || daemon.memory("VmRSS") <= memory + SLACK);
    println!("{} KiB resident at the end", daemon.memory("VmRSS"));
    let ended = daemon.stop();
    print!("{}", ended.stdout);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains(&format!("{lives} connections")), "one was lost: {ended:?}");
    assert!(ended.stderr.contains("stopping: 0 connections"), "one stayed: {ended:?}");
}
