//! Several event loops in one daemon: limits, draining and the summary hold across all of them.

use std::{
    io::{ErrorKind, Read, Write},
    net::UdpSocket,
    time::Duration,
};

use common::{Daemon, eventually, frame, resound};

mod common;

fn threads(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count()
}

#[test]
fn each_loop_serves_and_the_summary_is_of_all() {
    let daemon = Daemon::frames(&["--reactors", "4"]);
    eventually("there is a thread for each", || threads(&daemon) == 4);
    let hello = frame(b"hello");
    let mut streams: Vec<_> = (0..200).map(|_| daemon.connect()).collect();
    for _ in 0..5 {
        for stream in &mut streams {
            stream.write_all(&hello).unwrap();
        }
        for stream in &mut streams {
            let mut back = [0; 9];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back[..], hello);
        }
    }
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("200 connections, 1000 frames"), "{ended:?}");
    assert!(ended.stdout.contains("200 drained"), "{ended:?}");
}

#[test]
fn the_limit_of_connections_holds_for_all_together() {
    let daemon = Daemon::frames(&["--reactors", "2", "--max-connections", "10"]);
    let hello = frame(b"hello");
    let mut streams: Vec<_> = (0..60).map(|_| daemon.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&hello).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    // Those that are served are at most ten at any time; each that goes makes room for one that waits.
    let mut served = 0;
    eventually("all sixty are served", || {
        streams.retain_mut(|stream| match stream.read(&mut [0; 9]) {
            Ok(count) => {
                assert_eq!(count, 9);
                served += 1;
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                true
            }
        });
        let open = daemon.descriptors();
        assert!(open < 10 + 40, "{open} descriptors with at most 10 connections");
        streams.is_empty()
    });
    assert_eq!(served, 60);
}

#[test]
fn datagrams_are_answered_whichever_loop_they_come_to() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &["--reactors", "3"]);
    for number in 0..50_u8 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.send_to(&[number; 100], daemon.address(0)).unwrap();
        let mut back = [0; 200];
        assert_eq!(socket.recv(&mut back).unwrap(), 100);
        assert_eq!(back[..100], [number; 100]);
    }
}

#[test]
fn a_port_that_another_daemon_has_is_not_shared_with_it() {
    let daemon = Daemon::frames(&["--reactors", "2"]);
    let listen = &daemon.listening[0];
    let output = resound().args(["serve", "--reactors", "2", "--listen", listen]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("in use") && error.contains(listen), "{error}");
}

#[test]
fn what_several_loops_cannot_promise_is_a_mistake_of_the_command_line() {
    for (limit, number) in [("--max-connections", "2"), ("--max-connections-per-ip", "5")] {
        let output = resound().args(["serve", "--reactors", "3", limit, number]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(limit) && error.contains("--reactors"), "{error}");
    }
}
