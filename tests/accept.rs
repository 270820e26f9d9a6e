//! Accepting when there are too many, too many at once, or none any more.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
};

use common::{Daemon, descriptor_limit, eventually, frame, ping, pinging_beside, reset, tool};

mod common;

/// What a refused connection gets: FIN, or RST where it had sent something.
fn is_refused(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("neither served nor refused: {error}"),
    }
}

#[test]
fn reset_before_accept_is_one_connection_that_failed() {
    let daemon = Daemon::frames(&[]);
    let before = daemon.descriptors();
    daemon.pause();
    for _ in 0..50 {
        reset(daemon.connect());
    }
    daemon.resume();
    ping(&mut daemon.connect());
    eventually("all are closed again", || daemon.descriptors() == before);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("50 reset"), "{ended:?}");
    assert!(ended.stdout.contains("51 connections"), "{ended:?}");
}

#[test]
fn more_than_max_connections_wait_until_there_is_room() {
    let daemon = Daemon::frames(&["--max-connections", "10"]);
    let before = daemon.descriptors();
    let mut streams: Vec<TcpStream> = (0..50).map(|_| daemon.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&frame(b"hello")).unwrap();
    }
    let mut back = [0; 9];
    for (index, mut stream) in streams.into_iter().enumerate() {
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back[..], frame(b"hello"), "{index}");
        assert!(daemon.descriptors() <= before + 10);
    }
    let ended = daemon.stop();
    assert!(ended.stdout.contains("50 connections"), "{ended:?}");
    assert!(ended.stdout.contains(" for room"), "{ended:?}");
    assert!(ended.stderr.contains("the limit of --max-connections"), "{ended:?}");
}

#[test]
fn more_than_max_connections_are_refused_where_that_is_the_policy() {
    let daemon = Daemon::frames(&["--max-connections", "10", "--overload", "refuse"]);
    let mut streams: Vec<TcpStream> = (0..10).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    for _ in 0..40 {
        assert!(is_refused(&mut daemon.connect()));
    }
    streams.iter_mut().for_each(ping);
    drop(streams.pop());
    eventually("there is room for one more", || {
        let mut stream = daemon.connect();
        let _ = stream.write_all(&frame(b"hello"));
        !is_refused(&mut stream)
    });
    let ended = daemon.stop();
    assert!(ended.stdout.contains("refused over a limit"), "{ended:?}");
    let warnings = ended.stderr.matches("the limit of --max-connections").count();
    assert!(warnings >= 1, "{ended:?}");
}

#[test]
fn more_than_max_connections_per_ip_are_refused_and_others_are_not() {
    let daemon = Daemon::frames(&["--max-connections-per-ip", "3"]);
    let mut streams: Vec<TcpStream> = (0..3).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    assert!(is_refused(&mut daemon.connect()));
    ping(&mut daemon.connect_from([127, 0, 0, 9]));
    drop(streams.pop());
    eventually("one that left makes room", || {
        let mut stream = daemon.connect();
        let _ = stream.write_all(&frame(b"hello"));
        !is_refused(&mut stream)
    });
    let ended = daemon.stop();
    assert!(ended.stdout.contains("refused over a limit"), "{ended:?}");
    assert!(ended.stderr.contains("--max-connections-per-ip"), "{ended:?}");
}

/// A connection that a proxy makes for a client at `address`.
fn connect_for(daemon: &Daemon, address: &str) -> TcpStream {
    let mut stream = daemon.connect();
    write!(stream, "PROXY TCP4 {address} 192.0.2.99 1000 2000\r\nhello\n").unwrap();
    stream
}

#[test]
fn connections_per_ip_are_counted_by_the_address_in_the_proxy_header() {
    let arguments = ["--max-connections-per-ip", "2"];
    let daemon = Daemon::start(&["lines://127.0.0.1:0,proxy=v1"], &arguments);
    let is_served = |stream: &mut TcpStream| {
        let mut back = [0; 6];
        stream.read_exact(&mut back).is_ok() && &back == b"hello\n"
    };
    // All come from the address of the proxy.
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"];
    let mut streams = addresses.map(|address| connect_for(&daemon, address));
    assert!(streams.iter_mut().all(is_served));
    assert!(!is_served(&mut connect_for(&daemon, "192.0.2.1")), "the third of one address");
    assert!(is_served(&mut connect_for(&daemon, "192.0.2.4")));
    drop(streams);
    eventually("one that left makes room", || is_served(&mut connect_for(&daemon, "192.0.2.1")));
    // A health check of the proxy itself has no address, and is not counted.
    let mut local: Vec<TcpStream> = (0..5).map(|_| daemon.connect()).collect();
    for stream in &mut local {
        stream.write_all(b"PROXY UNKNOWN\r\nhello\n").unwrap();
    }
    assert!(local.iter_mut().all(is_served));
    let ended = daemon.stop();
    assert!(ended.stderr.contains("--max-connections-per-ip"), "{ended:?}");
}

/// A daemon that may have 24 descriptors and thinks that it may have 1,000 connections.
fn poor_daemon(arguments: &[&str]) -> Option<Daemon> {
    let mut command = Command::new(tool("prlimit")?);
    command.args(["--nofile=24:24", env!("CARGO_BIN_EXE_resound"), "serve"]);
    command.args(["--listen", "frames://127.0.0.1:0", "--max-connections", "1000"]);
    command.args(arguments);
    Some(Daemon::spawn(command, 1))
}

#[test]
fn out_of_descriptors_those_who_wait_are_served_though_nobody_new_comes() {
    let Some(daemon) = poor_daemon(&[]) else { return };
    let mut streams: Vec<TcpStream> = (0..40).map(|_| daemon.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&frame(b"hello")).unwrap();
    }
    // No one new comes: those in the backlog are served as the first ones go.
    let mut back = [0; 9];
    for mut stream in streams {
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back[..], frame(b"hello"));
    }
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("40 connections"), "{ended:?}");
    assert!(ended.stdout.contains("accept pause"), "{ended:?}");
    assert!(ended.stderr.contains("Too many open files"), "{ended:?}");
}

#[test]
fn out_of_descriptors_load_is_shed_where_that_is_the_policy() {
    let Some(daemon) = poor_daemon(&["--overload", "refuse"]) else { return };
    let mut served = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut stream = daemon.connect();
        let _ = stream.write_all(&frame(b"hello"));
        if is_refused(&mut stream) {
            refused += 1;
        } else {
            served.push(stream);
        }
    }
    assert!(served.len() >= 5 && refused >= 5, "{} served, {refused} refused", served.len());
    served.iter_mut().for_each(ping);
    let ended = daemon.stop();
    assert!(ended.stdout.contains(&format!("{refused} refused over a limit")), "{ended:?}");
    assert!(!ended.stdout.contains("accept pause"), "{ended:?}");
}

#[test]
fn an_accept_storm_does_not_hold_up_a_pinging_connection() {
    let daemon = Daemon::frames(&[]);
    let before = daemon.descriptors();
    // Fewer where the limit of open files is lower.
    let most = (descriptor_limit() - 1_000).min(9_000);
    let enough = most / 2;
    let connected = pinging_beside(&daemon, |beside| {
        let mut streams = Vec::new();
        // 4,500 at once at least, in waves of 500 that all send.
        while !beside.is_enough() {
            let source = [127, 0, 1, u8::try_from(streams.len() / 500 % 250).unwrap() + 1];
            let mut stream = daemon.connect_from(source);
            stream.write_all(&frame(b"hello")).unwrap();
            streams.push(stream);
            match streams.len() {
                500 => beside.has_begun(),
                count if count == enough => beside.has_lasted(),
                count if count == most => drop(streams.drain(..most - enough)),
                _ => {}
            }
        }
        let mut back = [0; 9];
        for stream in &mut streams {
            stream.read_exact(&mut back).unwrap();
        }
        streams.len()
    });
    assert!(connected >= enough);
    eventually("all are closed again", || daemon.descriptors() == before);
}
