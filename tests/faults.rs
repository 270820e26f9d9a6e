//! System calls that fail: strace makes them, and the daemon goes on.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    time::Instant,
};

use common::{Daemon, POLL_CALL, is_without_epoll, ping};

mod common;

/// Whether the server has closed it, with FIN or RST.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn accept_out_of_something_pauses_and_tries_again() {
    for errno in ["ENFILE", "EMFILE", "ENOBUFS", "ENOMEM", "EPERM"] {
        let fault = format!("accept4:error={errno}:when=1..3");
        let Some(daemon) = Daemon::with_faults(&[&fault], &[]) else { return };
        ping(&mut daemon.connect());
        let ended = daemon.stop();
        assert!(ended.stdout.contains("3 accept pauses"), "{errno}: {ended:?}");
        assert_eq!(ended.stderr.matches("trying again every").count(), 1, "{errno}: {ended:?}");
    }
}

#[test]
fn accept_out_of_descriptors_for_long_is_logged_once_a_second_at_most() {
    let start = Instant::now();
    let faults = ["accept4:error=ENFILE:when=1..25"];
    let Some(daemon) = Daemon::with_faults(&faults, &[]) else { return };
    ping(&mut daemon.connect());
    let ended = daemon.stop();
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    let lines = ended.stderr.matches("trying again every").count();
    assert!((2..=seconds + 1).contains(&lines), "{lines} lines in {seconds} s: {ended:?}");
    assert!(ended.stdout.contains("25 accept pauses"), "{ended:?}");
}

#[test]
fn accept_of_a_connection_that_is_gone_takes_the_next() {
    for errno in ["ECONNABORTED", "EINTR", "EPROTO", "ENETDOWN"] {
        let fault = format!("accept4:error={errno}:when=1+2");
        let Some(daemon) = Daemon::with_faults(&[&fault], &[]) else { return };
        for _ in 0..5 {
            ping(&mut daemon.connect());
        }
        let ended = daemon.stop();
        assert!(ended.stdout.contains("5 connections"), "{errno}: {ended:?}");
        assert!(!ended.stdout.contains("accept pause"), "{errno}: {ended:?}");
    }
}

#[test]
fn registering_that_fails_ends_that_connection_alone() {
    if is_without_epoll("registering takes no system call there") {
        return;
    }
    // strace counts each thread's calls. The main thread registers the waker and the listener, so of three calls the
    // third is the loop's, for its third connection.
    let Some(daemon) = Daemon::with_faults(&["epoll_ctl:error=ENOSPC:when=3"], &[]) else { return };
    let mut streams = [daemon.connect(), daemon.connect()];
    streams.iter_mut().for_each(ping);
    let before = daemon.descriptors();
    assert!(is_closed(&mut daemon.connect()));
    assert_eq!(daemon.descriptors(), before);
    ping(&mut daemon.connect());
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 not registered"), "{ended:?}");
    assert!(ended.stderr.contains("register"), "{ended:?}");
}

#[test]
fn interrupted_polls_reads_and_writes_are_tried_again() {
    for call in [POLL_CALL, "recvfrom", "sendto"] {
        let fault = format!("{call}:error=EINTR:when=1+2");
        let Some(daemon) = Daemon::with_faults(&[&fault], &[]) else { return };
        let mut stream = daemon.connect();
        for _ in 0..50 {
            ping(&mut stream);
        }
        drop(stream);
        let ended = daemon.stop();
        assert!(ended.stdout.contains("1 connection, 50 frames"), "{call}: {ended:?}");
        assert!(ended.status.success(), "{call}: {ended:?}");
    }
}

#[test]
fn reading_that_fails_ends_that_connection_alone() {
    for errno in ["ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH"] {
        let fault = format!("recvfrom:error={errno}:when=1");
        let Some(daemon) = Daemon::with_faults(&[&fault], &[]) else { return };
        let mut stream = daemon.connect();
        std::io::Write::write_all(&mut stream, b"\x01\0\0\0x").unwrap();
        assert!(is_closed(&mut stream), "{errno}");
        let mut other = daemon.connect();
        ping(&mut other);
        drop((stream, other));
        let reason = if errno == "ECONNRESET" { "1 reset" } else { "1 lost" };
        let ended = daemon.stop();
        assert!(ended.stdout.contains(reason), "{errno}: {ended:?}");
    }
}

#[test]
fn writing_to_a_pipe_that_is_broken_raises_no_signal() {
    // strace counts each thread's calls. The main thread makes four, one for each signal handler, so the fifth is the
    // loop's, for its fifth answer.
    let faults = ["sendto:error=EPIPE:signal=SIGPIPE:when=5"];
    let Some(daemon) = Daemon::with_faults(&faults, &[]) else { return };
    let mut stream = daemon.connect();
    (0..4).for_each(|_| ping(&mut stream));
    std::io::Write::write_all(&mut stream, b"\x01\0\0\0x").unwrap();
    assert!(is_closed(&mut stream));
    ping(&mut daemon.connect());
    assert!(daemon.stop().status.success());
}
