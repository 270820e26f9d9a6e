//! `http` under curl and the load generators.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
};

use crate::{
    common::{Daemon, Random, tool},
    foreign, installed, run, source,
};

fn url(daemon: &Daemon) -> String {
    format!("http://{}", daemon.address(0))
}

/// A file of `bytes` under that name.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn curl_is_greeted_and_gets_its_body_back() {
    let Some(curl) = tool("curl") else { return };
    let daemon = Daemon::start(&["http://127.0.0.1:0,tag={pid}"], &[]);
    let url = url(&daemon);
    let curl = |arguments: &[&str]| {
        let mut command = foreign(&curl);
        command.args(["--silent", "--show-error", "--noproxy", "*"]).args(arguments);
        command.output().unwrap()
    };
    let greeting = curl(&["--include", &format!("{url}/a?b=c"), &format!("{url}/d")]);
    let greeting = String::from_utf8(greeting.stdout).unwrap();
    let tag = format!("\r\nX-Served-By: {}\r\n", daemon.pid());
    assert!(greeting.starts_with("HTTP/1.1 200 OK\r\n"), "{greeting}");
    assert!(greeting.contains("Hello, you've requested: /a\n"), "{greeting}");
    assert!(greeting.contains("Hello, you've requested: /d\n"), "{greeting}");
    assert_eq!(greeting.matches(&tag).count(), 2, "{greeting}");

    // So large that curl expects 100 Continue before it sends it.
    let body = Random(3).bytes(3 << 20);
    let path = file("curl-body", &body);
    let data = format!("@{}", path.display());
    for arguments in [
        &["--data-binary", &data][..],
        &["--data-binary", &data, "--header", "Transfer-Encoding: chunked"],
        &["--upload-file", &data[1..]],
        &["--upload-file", &data[1..], "--header", "Transfer-Encoding: chunked"],
        &["--data-binary", &data, "--header", "Expect: 100-continue"],
        &["--data-binary", &data, "--http1.0"],
    ] {
        let back = curl(&[arguments, &[&url]].concat());
        assert!(back.stdout == body, "{arguments:?}: {}", String::from_utf8_lossy(&back.stderr));
    }
    fs::remove_file(path).unwrap();

    // Two requests, one connection.
    let connects = curl(&["--write-out", "%{num_connects}", "--output", "/dev/null", &url, &url]);
    assert!(connects.stdout.ends_with(b"0"), "{connects:?}");
}

#[test]
fn curl_sees_what_is_refused() {
    let Some(curl) = tool("curl") else { return };
    let daemon = Daemon::start(&["http://127.0.0.1:0,max=1KiB"], &[]);
    let body = file("curl-large", &[b'x'; 1025]);
    let data = format!("@{}", body.display());
    let long = format!("Long: {}", "x".repeat(20_000));
    let path = format!("/{}", "x".repeat(20_000));
    for (status, path, arguments) in [
        ("413", "/", &["--data-binary", &data][..]),
        ("413", "/", &["--data-binary", &data, "--header", "Transfer-Encoding: chunked"]),
        ("431", "/", &["--header", &long]),
        ("414", &path, &[]),
        ("400", "/", &["--header", "Host:"]),
        ("400", "/", &["--header", "Content-Length: 1", "--header", "Transfer-Encoding: chunked"]),
        ("405", "/", &["--request", "TRACE"]),
        ("501", "/", &["--request", "BREW"]),
        ("417", "/", &["--data-binary", "x", "--header", "Expect: tea"]),
    ] {
        let mut command = foreign(&curl);
        command.args(["--silent", "--noproxy", "*", "--output", "/dev/null"]);
        command.args(["--write-out", "%{http_code}"]).args(arguments);
        assert_eq!(run(command.arg(url(&daemon) + path)), status, "{arguments:?}");
    }
    fs::remove_file(body).unwrap();
}

#[test]
fn a_request_that_takes_too_long_is_answered_408() {
    let daemon = Daemon::start(&["http://127.0.0.1:0"], &["--frame-timeout", "100ms"]);
    for part in ["GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"]
    {
        let mut stream = daemon.connect();
        stream.write_all(part.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    }
}

/// Runs a load generator against a fresh daemon, and returns what it printed and how many requests were answered.
fn load(program: &str, arguments: impl FnOnce(&str) -> Vec<String>) -> Option<(String, u64)> {
    let program = tool(program)?;
    let daemon = Daemon::start(&["http://127.0.0.1:0"], &[]);
    let printed = run(foreign(program).args(arguments(&url(&daemon))));
    let ended = daemon.stop();
    let answered = ended.stdout.split(" frames, ").next().unwrap().rsplit(' ').next().unwrap();
    assert!(!ended.stdout.contains("malformed"), "{ended:?}");
    Some((printed, answered.parse().unwrap()))
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn wrk_with_and_without_pipelining() {
    let plain = load("wrk", |url| words(&format!("--duration 1s --connections 20 {url}/")));
    let script = source("pipeline.lua");
    let pipelined = load("wrk", |url| {
        words(&format!("--duration 1s --connections 20 --script {} {url}/", script.display()))
    });
    for (printed, answered) in plain.into_iter().chain(pipelined) {
        assert!(!printed.contains("Socket errors"), "{printed}");
        assert!(!printed.contains("Non-2xx"), "{printed}");
        assert!(printed.contains(" requests in ") && answered > 100, "{printed}");
    }
}

#[test]
fn ab_that_keeps_its_connections_and_not() {
    let body = file("ab-body", &Random(4).bytes(5000));
    for options in
        ["-k".to_owned(), "-i".to_owned(), format!("-k -T text/plain -p {}", body.display())]
    {
        let done = load("ab", |url| words(&format!("-q -n 2000 -c 20 {options} {url}/")));
        let Some((printed, answered)) = done else { return };
        assert!(printed.contains("Complete requests:      2000"), "{printed}");
        assert!(printed.contains("Failed requests:        0"), "{printed}");
        assert!(!printed.contains("Non-2xx"), "{printed}");
        assert_eq!(answered, 2000);
    }
    fs::remove_file(body).unwrap();
}

#[test]
fn hey_gets_and_posts() {
    for options in ["", "-m POST -d hello", "-m PUT -d hello -disable-keepalive"] {
        let done = load("hey", |url| {
            words(format!("-n 2000 -c 20 {options} {url}/").replace("  ", " ").trim())
        });
        let Some((printed, answered)) = done else { return };
        assert!(printed.contains("[200]\t2000 responses"), "{printed}");
        assert_eq!(answered, 2000);
    }
}

#[test]
fn k6_checks_every_echo() {
    let Some(folder) = installed("venv/bin/k6", "k6") else { return };
    let daemon = Daemon::start(&["http://127.0.0.1:0", "ws://127.0.0.1:0"], &[]);
    let mut command = foreign(folder.join("venv/bin/k6"));
    command.args(["run", "--quiet", "--no-usage-report", "--vus", "10", "--iterations", "500"]);
    command.env("URL", url(&daemon)).env("WS_URL", format!("ws://{}", daemon.address(1)));
    // A failed check fails the run: the script says so.
    let printed = run(command.arg(source("k6.js")));
    assert!(printed.contains("100.00% 1500 out of 1500"), "{printed}");
    let ended = daemon.stop();
    assert!(ended.stdout.contains(" 1500 frames, "), "{ended:?}");
}
