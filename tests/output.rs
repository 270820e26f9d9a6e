//! Standard output and standard error without a reader: the daemon goes on serving, and stops on a signal.

use std::{
    io::{BufRead, ErrorKind, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use common::{Daemon, PATIENCE, eventually, frame, ping, resound};
use rustix::process::{Pid, Signal, kill_process};

mod common;

#[test]
fn a_log_that_nobody_reads_stops_neither_service_nor_the_end() {
    let mut daemon = Daemon::frames(&["--log-level", "trace"]);
    let mut log = daemon.take_stderr();
    let mut stream = daemon.connect();
    // At trace a ping is several lines: much more than a pipe holds.
    for _ in 0..2_000 {
        ping(&mut stream);
    }
    ping(&mut daemon.connect());
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("2 connections, 2001 frames"), "{ended:?}");
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    assert!(text.len() > 10_000, "what the pipe holds came before: {} bytes", text.len());
}

#[test]
fn lines_that_found_no_room_are_counted_in_the_log() {
    let mut daemon = Daemon::frames(&["--log-level", "trace"]);
    let log = daemon.take_stderr();
    let mut stream = daemon.connect();
    // Each ping is some 400 bytes of log: this is more than the pipe and the queue hold together.
    for _ in 0..20_000 {
        ping(&mut stream);
    }
    let is_found = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut found = None;
            for line in log.lines().map(Result::unwrap) {
                // Every line is whole.
                assert!(line.starts_with('[') && line.contains("] "), "{line}");
                if line.contains(" log lines dropped") {
                    found.get_or_insert(line);
                    is_found.store(true, Ordering::Relaxed);
                }
            }
            found
        });
        let start = Instant::now();
        while !is_found.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
            ping(&mut stream);
        }
        assert_eq!(daemon.stop().status.code(), Some(0));
        let report = reader.join().unwrap().expect("a count of dropped lines");
        assert!(report.contains(" WARN "), "{report}");
        let (count, _) = report.split_once(" log lines dropped").unwrap();
        let count: u64 = count.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(count > 0, "{report}");
    });
}

/// A socket pair whose first end takes no more, because the second was not read from.
fn full() -> (OwnedFd, UnixStream) {
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    loop {
        match writer.write(&[b'.'; 4096]) {
            Ok(count) => assert!(count > 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    writer.set_nonblocking(false).unwrap();
    (writer.into(), reader)
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("resound-output-{}-{name}", std::process::id()))
}

#[test]
fn neither_output_has_a_reader_and_it_serves_and_stops() {
    let path = socket("both");
    let ((stdout, _stdout_reader), (stderr, _stderr_reader)) = (full(), full());
    let mut command = resound();
    command.args(["serve", "--listen", &format!("frames+unix://{}", path.display())]);
    command.stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    let mut daemon = Killed(command.spawn().unwrap());
    drop(command);
    let mut stream = None;
    eventually("it listens", || {
        stream = UnixStream::connect(&path).ok();
        stream.is_some()
    });
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = frame(b"hello");
    stream.write_all(&hello).unwrap();
    let mut back = [0; 9];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back[..], hello);
    kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
    eventually("it ends", || daemon.0.try_wait().unwrap().is_some());
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn an_error_at_the_end_comes_behind_the_log_and_is_not_lost() {
    let mut command = resound();
    command.args(["serve", "--log-level", "trace", "--listen", "frames://192.0.2.1:1"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().rfind(|line| !line.is_empty()).unwrap();
    assert!(last.starts_with("error: cannot listen on frames://192.0.2.1:1: "), "{error}");
    assert!(error.starts_with('['), "the log comes first: {error}");
}

#[test]
fn an_error_at_the_end_does_not_wait_for_a_reader_for_ever() {
    let (stderr, _reader) = full();
    let mut command = resound();
    command.args(["serve", "--listen", "frames://192.0.2.1:1"]);
    let mut child = Killed(command.stderr(Stdio::from(stderr)).spawn().unwrap());
    drop(command);
    eventually("it ends", || child.0.try_wait().unwrap().is_some());
    assert_eq!(child.0.wait().unwrap().code(), Some(1));
}
