//! `lines` and `raw` from a shell and from Python.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    common::{Daemon, tool},
    foreign, port, run, source,
};

const LINES: &str = "hello\r\n\nworld\n\tGET / HTTP/1.1\r\n\u{e9}\u{0}\n";

/// Gives `command` that input, and returns all that it prints.
fn feed(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn netcat_gets_each_whole_line_back_and_no_half_one() {
    let Some(netcat) = tool("nc") else { return };
    let daemon = Daemon::start(&["lines://127.0.0.1:0", "raw://127.0.0.1:0"], &[]);
    for (listener, input, back) in [
        (0, LINES.to_owned(), LINES.to_owned()),
        (0, format!("{LINES}half"), LINES.to_owned()),
        (1, format!("{LINES}half"), format!("{LINES}half")),
    ] {
        let mut command = foreign(&netcat);
        command.args(["-N", "127.0.0.1", port(&daemon, listener)]);
        assert_eq!(feed(&mut command, &input), back);
    }
}

#[test]
fn socat_on_tcp_and_on_a_unix_socket() {
    let Some(socat) = tool("socat") else { return };
    let path = format!("{}/interop-lines.sock", env!("CARGO_TARGET_TMPDIR"));
    let unix = format!("lines+unix://{path}");
    let daemon = Daemon::start(&["lines://127.0.0.1:0", &unix], &["--banner", "from {peer}"]);
    for place in [format!("TCP:{}", daemon.address(0)), format!("UNIX-CONNECT:{path}")] {
        let back = feed(foreign(&socat).args(["-t", "60", "-", &place]), &LINES.repeat(1000));
        let (banner, back) = back.split_once('\n').unwrap();
        let peer = if place.starts_with("TCP") { "from 127.0.0.1:" } else { "from unix" };
        assert!(banner.starts_with(peer), "{banner}");
        assert!(back == LINES.repeat(1000));
    }
}

#[test]
fn python_streams() {
    let Some(python) = tool("python3") else { return };
    let daemon = Daemon::start(&["lines://127.0.0.1:0,max=100KiB"], &[]);
    let mut command = foreign(python);
    command.arg(source("lines.py")).args([port(&daemon, 0), "400", "102400"]);
    assert_eq!(run(&mut command), "400 lines\n");
    let ended = daemon.stop();
    assert!(ended.stdout.contains("2 connections, 401 frames, "), "{ended:?}");
    assert!(ended.stdout.contains("1 length over the limit"), "{ended:?}");
}
