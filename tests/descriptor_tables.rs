//! `--descriptor-tables own`: each event loop has a table of descriptors, and so a limit of open files, of its own.

use std::{
    io::{BufRead, Read, Write},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::Command,
    thread,
};

use common::{Daemon, PATIENCE, eventually, frame, http_get, ping, resound, sample, tool};
use nix::sched::{CloneFlags, unshare};
use rustix::process::Signal;
use support::{Folder, Running};

mod common;
#[path = "replace/support.rs"]
#[allow(dead_code, reason = "shared with tests/replace.rs")]
mod support;

const OWN: [&str; 4] = ["--reactors", "2", "--descriptor-tables", "own"];

/// Whether a thread may have a table of its own here. A test that needs it says so where not.
fn is_allowed() -> bool {
    let tried = thread::spawn(|| unshare(CloneFlags::CLONE_FILES)).join().unwrap();
    if let Err(error) = tried {
        println!("skipped: unshare(2) is refused here: {error}");
    }
    tried.is_ok()
}

/// `resound serve` with at most `limit` open files in a table.
fn limited(limit: usize) -> Option<Command> {
    let mut command = Command::new(tool("prlimit")?);
    command.arg(format!("--nofile={limit}:{limit}")).arg(env!("CARGO_BIN_EXE_resound"));
    command.arg("serve");
    Some(command)
}

/// What the log says first, up to how many connections there may be.
fn announced(daemon: &mut Daemon) -> (usize, String) {
    let mut log = daemon.take_stderr();
    let mut text = String::new();
    while !text.contains("at most ") {
        assert!(log.read_line(&mut text).unwrap() > 0, "nothing is announced: {text}");
    }
    // What comes later is read, too, so that it does not wait.
    thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let (_, announced) = text.split_once("at most ").unwrap();
    (announced.split(' ').next().unwrap().parse().unwrap(), text)
}

#[test]
fn two_loops_hold_more_connections_than_the_limit_of_open_files() {
    let limit = 512;
    let Some(mut command) = limited(limit).filter(|_| is_allowed()) else { return };
    command.args(["--listen", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(OWN);
    let mut daemon = Daemon::spawn(command, 2);
    let (announced, log) = announced(&mut daemon);
    assert!(log.contains("512 open files in each of 2 tables"), "{log}");
    assert!(announced > limit * 3 / 2 && announced < 2 * limit, "{announced}");
    // The kernel spreads them by their addresses: neither table is full, but for a chance that is never met.
    let mut streams: Vec<TcpStream> = (0..600).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    streams.iter_mut().for_each(ping);
    let metrics = http_get(daemon.address(1), "/metrics", "").1;
    assert_eq!(sample(&metrics, "process_max_fds"), 512.0);
    let open = sample(&metrics, "process_open_fds");
    assert!((300.0..=512.0).contains(&open), "{open} in the fullest table");
    assert!(daemon.descriptors() < 100, "none of them is in the first thread's table");
    // As connections close, others have room.
    drop(streams.split_off(10));
    let mut more: Vec<TcpStream> = (0..500).map(|_| daemon.connect()).collect();
    more.iter_mut().chain(&mut streams).for_each(ping);
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("1100 connections"), "{ended:?}");
    assert!(ended.stdout.contains("510 drained"), "{ended:?}");
}

#[test]
fn each_kind_of_listener_is_served_and_closed_at_the_end() {
    if !is_allowed() {
        return;
    }
    let folder = Folder::new("tables-kinds");
    let path = folder.path("socket");
    let unix = format!("frames+unix://{}", path.display());
    let arguments = ["--reactors", "3", "--descriptor-tables", "own", "--overload", "refuse"];
    let arguments = [&arguments[..], &["--grace", "60s"]].concat();
    let mut daemon =
        Daemon::start(&["frames://127.0.0.1:0", &unix, "udp://127.0.0.1:0"], &arguments);
    let mut streams: Vec<TcpStream> = (0..30).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    let mut local = UnixStream::connect(&path).unwrap();
    local.set_read_timeout(Some(PATIENCE)).unwrap();
    local.write_all(&frame(b"hello")).unwrap();
    let mut back = [0; 9];
    local.read_exact(&mut back).unwrap();
    assert_eq!(back[..], frame(b"hello"));
    for _ in 0..10 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"datagram", daemon.address(2)).unwrap();
        assert_eq!(socket.recv(&mut [0; 20]).unwrap(), 8);
    }
    // A connection with an unfinished frame lets the process go on when no table has a listener any more.
    let last = &mut streams[0];
    last.write_all(&frame(b"part")[..6]).unwrap();
    daemon.signal(Signal::TERM);
    daemon.stops_listening();
    last.write_all(&frame(b"part")[6..]).unwrap();
    let mut back = [0; 8];
    last.read_exact(&mut back).unwrap();
    assert_eq!(back[..], frame(b"part"));
    let ended = daemon.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert!(!path.exists(), "the file of its Unix socket is removed");
}

#[test]
fn a_listener_that_cannot_be_bound_ends_it_with_the_cause() {
    if !is_allowed() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("frames://{}", taken.local_addr().unwrap());
    let output = resound()
        .args(["serve", "--listen", "frames://127.0.0.1:0", "--listen", &listen])
        .args(OWN)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("in use") && error.contains(&listen), "{error}");
}

#[test]
fn where_the_system_refuses_other_tables_one_is_shared_and_the_log_says_so() {
    let Some(daemon) = Daemon::with_faults(&["unshare:error=EPERM"], &OWN) else { return };
    let mut streams: Vec<TcpStream> = (0..20).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    assert!(daemon.descriptors() > 20, "all are in one table");
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    let line = ended.stderr.lines().find(|line| line.contains("unshare(2)")).expect(&ended.stderr);
    assert!(line.contains("WARN") && line.contains("share one table of descriptors"), "{line}");
    assert!(!ended.stderr.contains("tables"), "its limit is the usual one: {}", ended.stderr);
}

/// Clients, half of which have sent a part of a frame.
fn clients(running: &Running, count: usize) -> Vec<TcpStream> {
    let mut streams: Vec<TcpStream> = (0..count).map(|_| running.connect(0)).collect();
    streams.iter_mut().for_each(ping);
    for stream in streams.iter_mut().step_by(2) {
        stream.write_all(&frame(b"part")[..6]).unwrap();
    }
    eventually("the parts have come", || {
        let held = |one: &serde_json::Value| one["held_bytes"] == 6;
        running.connections().into_iter().filter(held).count() == count.div_ceil(2)
    });
    streams
}

/// Sends the rest of the frames, which come back; and begins others.
fn go_on(streams: &mut [TcpStream]) {
    for stream in streams.iter_mut().step_by(2) {
        stream.write_all(&frame(b"part")[6..]).unwrap();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back[..], frame(b"part"));
        stream.write_all(&frame(b"part")[..6]).unwrap();
    }
    for stream in streams.iter_mut().skip(1).step_by(2) {
        ping(stream);
    }
}

#[test]
fn connections_go_on_in_processes_with_and_without_tables_of_their_own() {
    if !is_allowed() {
        return;
    }
    let folder = Folder::new("tables-takeover");
    let place = format!("unix:{}", folder.path("handover").display());
    let socket = format!("raw+unix://{}", folder.path("raw").display());
    let listen = ["frames://127.0.0.1:0", "udp://127.0.0.1:0", &socket];
    let both = ["--handover", &place, "--takeover", &place];
    let mut before = Running::start(&listen, &[&both[..2], &OWN].concat());
    let mut streams = clients(&before, 120);
    let one = ["--reactors", "1"];
    let three = ["--reactors", "3", "--descriptor-tables", "own"];
    for next in [&OWN[..], &one, &three, &OWN] {
        let after = Running::start(&listen, &[&both, next].concat());
        let ended = before.wait();
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.stdout.contains("120 handed over"), "{ended:?}");
        assert_eq!(after.connections().len(), 120);
        go_on(&mut streams);
        let mut new: Vec<TcpStream> = (0..10).map(|_| after.connect(0)).collect();
        new.iter_mut().for_each(ping);
        drop(new);
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
        datagrams.send_to(b"datagram", after.address(1)).unwrap();
        assert_eq!(datagrams.recv(&mut [0; 20]).unwrap(), 8);
        let mut local = UnixStream::connect(folder.path("raw")).unwrap();
        local.set_read_timeout(Some(PATIENCE)).unwrap();
        local.write_all(b"x").unwrap();
        local.read_exact(&mut [0; 1]).unwrap();
        drop(local);
        eventually("only those that stay are left", || after.connections().len() == 120);
        before = after;
    }
    // Unfinished frames would let it wait.
    drop(streams);
    before.stop();
    assert!(!folder.path("raw").exists());
}

#[test]
fn what_the_tables_of_a_new_process_have_no_room_for_stays_with_the_old_one() {
    let Some(mut command) = limited(64).filter(|_| is_allowed()) else { return };
    let folder = Folder::new("tables-room");
    let place = format!("unix:{}", folder.path("handover").display());
    let listen = ["frames://127.0.0.1:0"];
    let old = Running::start(&listen, &[&["--handover", &place], &OWN[..]].concat());
    let mut streams = clients(&old, 120);
    command.args(["--listen", listen[0], "--admin", "127.0.0.1:0", "--takeover", &place]).args(OWN);
    let new = Running::spawn(command, 1);
    // All of them are served, whichever process has them.
    go_on(&mut streams);
    eventually("some have been taken over", || new.connections().len() >= 10);
    let taken = new.connections().len();
    assert!(taken < 120, "all have been taken over");
    go_on(&mut streams);
    // Those that stay are handed over when others make room.
    drop(streams.split_off(10));
    let ended = old.wait();
    assert!(ended.status.success(), "{ended:?}");
    go_on(&mut streams);
    drop(streams);
    new.stop();
}
