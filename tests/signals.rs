//! Signals: draining with peers that never pause and peers that never finish, and what each signal does.

use std::{
    io::{BufRead, Read, Write},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Daemon, eventually, frame, ping};
use rustix::{param::clock_ticks_per_second, process::Signal};

mod common;

/// The CPU time that a process has used.
fn cpu_time(daemon: &Daemon) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // proc_pid_stat(5): the name in brackets is field 2, utime field 14, stime field 15.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
}

#[test]
fn a_drain_that_waits_uses_no_cpu() {
    for reactors in ["1", "3"] {
        let mut daemon = Daemon::frames(&["--grace", "1h", "--reactors", reactors]);
        let mut stream = daemon.connect();
        ping(&mut stream);
        let half = frame(b"half");
        stream.write_all(&half[..6]).unwrap();
        daemon.signal(Signal::TERM);
        daemon.stops_listening();
        let (start, before) = (Instant::now(), cpu_time(&daemon));
        // This is the measurement itself: a loop that spins uses all of a CPU, or its share of a loaded one.
        let measured = Duration::from_secs(2);
        thread::sleep(measured);
        let used = cpu_time(&daemon) - before;
        assert!(used < measured / 20, "{used:?} of CPU time in {:?}", start.elapsed());
        stream.write_all(&half[6..]).unwrap();
        let ended = daemon.wait();
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[test]
fn a_loop_that_polls_busily_does_so_for_as_long_as_it_was_told() {
    let mut daemon = Daemon::frames(&["--busy-poll", "1h"]);
    ping(&mut daemon.connect());
    // A loop that sleeps between events would never use so much.
    eventually("it polls on", || cpu_time(&daemon) > Duration::from_millis(200));
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().status.success());

    let daemon = Daemon::frames(&["--busy-poll", "50us"]);
    let mut stream = daemon.connect();
    (0..100).for_each(|_| ping(&mut stream));
    let before = cpu_time(&daemon);
    // This is the measurement itself, as above.
    let measured = Duration::from_secs(2);
    thread::sleep(measured);
    let used = cpu_time(&daemon) - before;
    assert!(used < measured / 20, "{used:?} of CPU time after {measured:?}");
    ping(&mut stream);
}

#[test]
fn sighup_drains_as_sigterm_does() {
    // A shell that loses its terminal sends SIGHUP, and so does the kernel: the second one does not count.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_resound"), "serve"]);
    command.args(["--listen", "frames://127.0.0.1:0", "--grace", "1h"]);
    let mut daemon = Daemon::spawn(command, 1);
    let mut stream = daemon.connect();
    ping(&mut stream);
    let hello = frame(b"hello");
    stream.write_all(&hello[..6]).unwrap();
    daemon.signal(Signal::HUP);
    daemon.stops_listening();
    daemon.signal(Signal::HUP);
    stream.write_all(&hello[6..]).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, hello);
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("1 drained"), "{ended:?}");
}

/// Sends SIGUSR1, and waits for the line with the summary.
fn summary(daemon: &Daemon, log: &mut impl BufRead) -> String {
    daemon.signal(Signal::USR1);
    let mut lines = log.lines().map(Result::unwrap);
    lines.find(|line| line.contains("serving for ")).expect("the summary")
}

#[test]
fn sighup_stays_ignored_under_nohup() {
    let mut command = Command::new("env");
    command.args(["--ignore-signal=HUP", env!("CARGO_BIN_EXE_resound"), "serve"]);
    command.args(["--listen", "frames://127.0.0.1:0"]);
    let mut daemon = Daemon::spawn(command, 1);
    let mut stream = daemon.connect();
    daemon.signal(Signal::HUP);
    // The answer to SIGUSR1 shows that signals sent before it have been handled.
    let mut log = daemon.take_stderr();
    summary(&daemon, &mut log);
    ping(&mut stream);
    ping(&mut daemon.connect());
    let ended = daemon.stop();
    assert!(ended.stdout.contains("2 connections, 2 frames"), "{ended:?}");
}

#[test]
fn sigusr1_logs_the_summary_of_all_loops_and_service_goes_on() {
    let mut daemon = Daemon::frames(&["--reactors", "3"]);
    let mut streams: Vec<_> = (0..50).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    // A client may have its reply before the loop has counted the bytes.
    daemon.all_threads_wait();
    let mut log = daemon.take_stderr();
    let line = summary(&daemon, &mut log);
    assert!(
        line.contains("50 connections, 50 frames, 400 bytes received, 400 bytes sent"),
        "{line}"
    );
    streams.iter_mut().for_each(ping);
    let line = summary(&daemon, &mut log);
    assert!(line.contains("50 connections, 100 frames"), "{line}");
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[test]
fn a_sender_that_never_pauses_is_ended_in_good_order_within_the_grace_time() {
    // It is ended after two seconds, and the reader has as long to take what it is owed.
    let mut daemon = Daemon::frames(&["--grace", "4s"]);
    let mut stream = daemon.connect();
    let mut writer = stream.try_clone().unwrap();
    // Each write ends inside a frame: it is never between two when all that came is read.
    let flood = frame(&vec![7; 1 << 20]);
    let (begin, end) = flood.split_at(flood.len() / 2);
    let end_and_begin = [end, begin].concat();
    let (runs, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            // It goes on until RST: FIN does not stop it.
            writer.write_all(begin).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                if writer.write_all(&end_and_begin).is_err() {
                    break;
                }
            }
        });
        let reader = scope.spawn(|| {
            let mut buffer = vec![0; 1 << 20];
            let mut received = 0;
            loop {
                match stream.read(&mut buffer).expect("FIN comes first, then RST") {
                    0 => break,
                    count => received += count,
                }
                runs.store(true, Ordering::Relaxed);
            }
            received
        });
        eventually("the flood runs", || runs.load(Ordering::Relaxed));
        daemon.signal(Signal::TERM);
        let ended = daemon.wait();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.status.success(), "{ended:?}");
        reader.join().unwrap()
    });
    assert_eq!(received % flood.len(), 0, "it ends with a whole frame");
}

#[test]
fn a_frame_that_is_never_finished_is_closed_after_the_grace_time() {
    let mut daemon = Daemon::frames(&["--grace", "1s"]);
    let mut stream = daemon.connect();
    ping(&mut stream);
    stream.write_all(&frame(b"half")[..6]).unwrap();
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    let ended = daemon.wait();
    assert!(start.elapsed() >= Duration::from_millis(400), "it had some of its time");
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("1 at the end of the grace time"), "{ended:?}");
}

#[test]
fn idle_connections_are_closed_at_once() {
    let mut daemon = Daemon::frames(&["--grace", "1h"]);
    let mut streams: Vec<_> = (0..100).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    daemon.signal(Signal::TERM);
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
    let ended = daemon.wait();
    assert!(ended.stdout.contains("100 drained"), "{ended:?}");
}

#[test]
fn connections_in_the_backlog_are_answered_too() {
    let mut daemon = Daemon::frames(&[]);
    daemon.pause();
    let hello = frame(b"hello");
    let streams: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = daemon.connect();
            stream.write_all(&hello).unwrap();
            stream
        })
        .collect();
    daemon.signal(Signal::TERM);
    daemon.resume();
    for mut stream in streams {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, hello);
    }
    let ended = daemon.wait();
    assert!(ended.stdout.contains("500 drained"), "{ended:?}");
}
