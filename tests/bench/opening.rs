//! Opening connections to servers that accept slowly, or not all.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Output,
    thread,
    time::Duration,
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{
    Run, SIZE,
    common::{Daemon, resound, skip},
    output,
};

/// An echo server with a short backlog that accepts one connection each `pause`, and no more than `most`.
fn accept_slowly(pause: Duration, most: usize) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(4).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(most) {
            thread::Builder::new().stack_size(64 << 10).spawn(|| echo(stream.unwrap())).unwrap();
            // The slowness itself: no test waits for it.
            thread::sleep(pause);
        }
        // The others stay in the backlog.
        loop {
            thread::park();
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn bench(address: SocketAddr, arguments: &[&str]) -> Run {
    let address = address.to_string();
    let fixed = [&address, "--json", "-", "-z", "1s", "--warm-up", "0s", "--size", SIZE];
    let Output { status, stdout, stderr } = output(&[&fixed[..], arguments].concat());
    let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    Run { code: status.code(), report, stderr: String::from_utf8(stderr).unwrap() }
}

#[test]
fn connections_are_opened_as_fast_as_a_slow_server_accepts_them() {
    let server = accept_slowly(Duration::from_millis(25), usize::MAX);
    let run = bench(server, &["-c", "3", "--hold", "300", "--timeout", "60s"]);
    assert_eq!(run.number("/errors"), 0.0, "{} {}", run.report["errors_by_name"], run.stderr);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.number("/connections/held"), 300.0, "{run:?}");
    let progress = run.stderr.lines().find(|line| line.contains(" of 303 connections open, "));
    let progress = progress.unwrap_or_else(|| panic!("no progress in {run:?}"));
    assert!(progress.contains("/s, ") && progress.ends_with(" s left"), "{progress}");
}

#[test]
fn connections_that_are_not_accepted_are_an_error_with_a_name() {
    let server = accept_slowly(Duration::ZERO, 20);
    let run = bench(server, &["-c", "0", "--hold", "50", "--timeout", "3s"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.errors("UNOPENED"), 30.0, "{run:?}");
    assert!(run.number("/errors") >= 30.0, "{run:?}");
    assert!(run.warnings().contains("30 of 50 connections could not be opened"), "{run:?}");
    assert_eq!(run.number("/connections/held"), 20.0, "{run:?}");
}

/// A load in a process that may have this many files open.
fn within(limit: usize, address: &str, arguments: &[&str]) -> Run {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
    shell.arg(resound().get_program()).args(["bench", address, "--json", "-", "--quiet"]);
    let Output { status, stdout, stderr } =
        shell.args(["-z", "1s"]).args(arguments).output().unwrap();
    let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    Run { code: status.code(), report, stderr: String::from_utf8(stderr).unwrap() }
}

#[test]
fn each_thread_opens_as_many_connections_as_the_limit_allows() {
    let daemon = Daemon::frames(&[]);
    let arguments = ["-c", "4", "--hold", "596", "--timeout", "60s"];
    let run = within(200, daemon.address(0), &arguments);
    assert_eq!(run.code, Some(2), "one thread has one table: {run:?}");
    assert!(run.stderr.contains("the limit of 200 open files"), "{run:?}");
    if run.stderr.contains("raise it") && !run.stderr.contains("--threads") {
        return skip("unshare(2) is refused here");
    }
    let threads = [&arguments[..], &["--threads", "4"]].concat();
    let run = within(200, daemon.address(0), &threads);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.number("/connections/held"), 596.0, "{run:?}");
    assert_eq!(run.number("/errors"), 0.0, "{run:?}");
    let more = ["-c", "4", "--hold", "700", "--threads", "4"];
    let run = within(200, daemon.address(0), &more);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("ulimit -n 208") && run.stderr.contains("at most 672"), "{run:?}");
}
