//! Several event loops in one daemon: limits, draining and the summary hold across all of them.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use common::{Daemon, POLL_CALL, eventually, frame, ping, resound, tool};

mod common;

/// How many event loops have a thread.
fn loops(daemon: &Daemon) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")));
    // A thread that ends meanwhile has no name any more.
    names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("reactor-"))).count()
}

#[test]
fn each_loop_serves_and_the_summary_is_of_all() {
    let daemon = Daemon::frames(&["--reactors", "4"]);
    // A thread sets its name itself, soon after it has started.
    eventually("there is a thread for each", || loops(&daemon) == 4);
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
    // At most ten connections are served at any time; each one that closes makes room for one in the backlog.
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

/// How many of these connections are echoed a frame; the others are refused.
fn served(streams: &mut [TcpStream]) -> usize {
    let is_served = |stream: &mut TcpStream| {
        // Refused already, perhaps: then reading says so.
        let _ = stream.write_all(&frame(b"hello"));
        stream.read_exact(&mut [0; 9]).is_ok()
    };
    streams.iter_mut().map(is_served).filter(|&served| served).count()
}

#[test]
fn no_loop_refuses_a_connection_while_another_has_room() {
    let limits = ["--max-connections", "12", "--overload", "refuse"];
    for _ in 0..5 {
        // A daemon of its own for each round: the connections of an earlier one, whose end a loop
        // has not seen yet, would count against the limit.
        let daemon = Daemon::frames(&[&["--reactors", "4"], &limits[..]].concat());
        let mut streams: Vec<_> = (0..12).map(|_| daemon.connect()).collect();
        assert_eq!(served(&mut streams), 12, "whichever loops they came to");
        let mut more: Vec<_> = (0..4).map(|_| daemon.connect()).collect();
        assert_eq!(served(&mut more), 0);
        drop(streams);
        eventually("there is room for all again", || {
            let mut all: Vec<_> = (0..12).map(|_| daemon.connect()).collect();
            served(&mut all) == 12
        });
    }
}

#[test]
fn connections_of_an_address_are_counted_in_all_loops_together() {
    let daemon = Daemon::frames(&["--reactors", "4", "--max-connections-per-ip", "5"]);
    let mut streams: Vec<_> = (0..40).map(|_| daemon.connect()).collect();
    assert_eq!(served(&mut streams), 5);
    ping(&mut daemon.connect_from([127, 0, 0, 9]));
}

/// The daemon as a user who may have this many threads, with these arguments.
///
/// The kernel does not hold root to `RLIMIT_NPROC` (getrlimit(2)), and counts the threads of a user together: this takes a
/// user number that no other process has. `None` where that is not possible.
fn with_threads(threads: u32, binary: &str) -> Option<Command> {
    let (prlimit, setpriv, unshare) = (tool("prlimit")?, tool("setpriv")?, tool("unshare")?);
    let limit = format!("--nproc={threads}:{threads}");
    let mut command = if rustix::process::getuid().is_root() {
        let user = 100_000 + std::process::id() % 50_000;
        let mut command = Command::new(prlimit);
        command.arg(limit).arg(setpriv);
        command.args([format!("--reuid={user}"), format!("--regid={user}")]).arg("--clear-groups");
        command
    } else {
        // In a new namespace the count begins at zero (user_namespaces(7)).
        let mut command = Command::new(unshare);
        command.arg("--user").arg(prlimit).arg(limit);
        command
    };
    command.arg(binary);
    Some(command)
}

#[test]
fn a_thread_that_cannot_be_started_ends_the_daemon_with_the_cause() {
    // Where any user may run it: the build's own folder may be private.
    let folder = std::env::temp_dir().join(format!("resound-threads-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let binary = folder.join("resound");
    fs::copy(env!("CARGO_BIN_EXE_resound"), &binary).unwrap();
    for (threads, which) in
        [(1, "the thread that writes to stderr"), (2, "to stdout"), (8, "the thread of reactor ")]
    {
        cannot_start(threads, which, &binary);
    }
    fs::remove_dir_all(&folder).unwrap();
}

fn cannot_start(threads: u32, which: &str, binary: &Path) {
    let Some(mut command) = with_threads(threads, binary.to_str().unwrap()) else { return };
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--reactors", "40"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_ended = || child.try_wait().unwrap().is_some();
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("it ends", is_ended);
    }));
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(waited.is_ok(), "it hangs: {error}");
    assert_eq!(output.status.code(), Some(1), "{error}");
    let error = error.lines().find(|line| line.starts_with("error: ")).expect(&error);
    for part in ["cannot start ", which, "Resource temporarily", "ulimit -u"] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "it never listened");
}

#[test]
fn a_loop_that_fails_ends_the_daemon_in_order_with_the_cause() {
    // strace counts each thread's calls: the loop whose connection keeps it polling fails, the others do not.
    let fault = format!("{POLL_CALL}:error=EBADF:when=50");
    let Some(mut daemon) = Daemon::with_faults(&[&fault], &["--reactors", "3"]) else { return };
    let mut streams: Vec<_> = (0..12).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    let hello = frame(b"hello");
    let mut failing = streams.pop().unwrap();
    // A poll may be enough for several of them.
    for _ in 0..10_000 {
        if failing.write_all(&hello).is_err() || failing.read_exact(&mut [0; 9]).is_err() {
            break;
        }
    }
    // Connections of the other loops end in order, which is with FIN; the failed one's are closed.
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).expect(&ended.stderr);
    for part in ["reactor ", "polling failed", "Bad file descriptor"] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    assert!(ended.stdout.contains("12 connections"), "{ended:?}");
    assert!(ended.stdout.contains(" drained"), "{ended:?}");
}
