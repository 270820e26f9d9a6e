//! The admin port: what it tells, what it changes, and whom it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

#[path = "common/mod.rs"]
mod common;

use std::{
    io::{BufRead, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use common::{Daemon, PATIENCE, eventually, frame, ping, resound, sample};
use rustix::process::Signal;
use serde_json::Value;

/// A daemon of frames with an admin port, which is its second listener.
fn start(arguments: &[&str]) -> Daemon {
    Daemon::with_admin(arguments)
}

/// Status line, header and body of the answer to `request`, whose head lacks only its last line.
fn exchange(mut stream: impl Read + Write, request: &str, body: &str) -> (String, String) {
    let length = body.len();
    let whole = format!("{request}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(whole.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

fn open(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address(1)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Code and body of the answer.
fn ask(daemon: &Daemon, method: &str, path: &str, fields: &str, body: &str) -> (u16, String) {
    let host = daemon.address(1);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}{fields}");
    let (head, body) = exchange(open(daemon), &request, body);
    (code(&head), body)
}

fn code(head: &str) -> u16 {
    head.split(' ').nth(1).expect("a status line").parse().unwrap()
}

const JSON: &str = "\r\nContent-Type: application/json";

fn get(daemon: &Daemon, path: &str) -> (u16, String) {
    ask(daemon, "GET", path, "", "")
}

fn json(daemon: &Daemon, path: &str) -> Value {
    let (code, body) = get(daemon, path);
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn metrics_count_what_was_done_in_both_formats() {
    let daemon = start(&["--reactors", "2"]);
    let mut stream = daemon.connect();
    for _ in 0..3 {
        ping(&mut stream);
    }
    let listener = format!("listener=\"{}\"", daemon.listening[0]);
    let mut text = String::new();
    // The peer may have a reply before the loop has counted it.
    eventually("three replies are counted", || {
        text = get(&daemon, "/metrics").1;
        sample(&text, &format!("resound_sent_bytes_total{{{listener}}}")) == 24.0
    });
    let of_listener = |name: &str| sample(&text, &format!("{name}{{{listener}}}"));
    assert_eq!(of_listener("resound_frames_total"), 3.0);
    assert_eq!(of_listener("resound_received_bytes_total"), 24.0);
    assert_eq!(of_listener("resound_connections_accepted_total"), 1.0);
    let open = |index| {
        sample(&text, &format!("resound_connections_open{{{listener},reactor=\"{index}\"}}"))
    };
    assert_eq!(open(0) + open(1), 1.0);
    assert_eq!(sample(&text, "resound_stage{stage=\"serving\"}"), 1.0);
    assert!(sample(&text, "process_resident_memory_bytes") > 100_000.0);
    assert!(sample(&text, "process_open_fds") > 5.0);
    assert!(text.contains("# TYPE resound_frames_total counter\n") && !text.contains("# EOF"));

    let accept = "\r\nAccept: application/openmetrics-text; version=1.0.0";
    let host = daemon.address(1);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}{accept}");
    let (head, text) = exchange(open_at(host), &request, "");
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.contains("# TYPE resound_frames counter\n") && text.ends_with("# EOF\n"));
    drop(stream);
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn each_listener_is_counted_by_itself() {
    let mut command = resound();
    command.args(["serve", "--reactors", "2", "--admin", "127.0.0.1:0"]);
    for listen in ["frames://127.0.0.1:0", "raw://127.0.0.1:0", "udp://127.0.0.1:0"] {
        command.args(["--listen", listen]);
    }
    let daemon = Daemon::spawn(command, 4);
    let [frames, raw, udp] = [0, 1, 2].map(|index| daemon.listening[index].clone());
    let mut streams: Vec<TcpStream> = (0..3).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    let mut stream = open_at(daemon.address(1));
    stream.write_all(b"raw").unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"datagram", daemon.address(2)).unwrap();
    socket.recv(&mut [0; 8]).unwrap();
    let mut wrong = daemon.connect();
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    wrong.read_to_end(&mut Vec::new()).unwrap();
    drop(wrong);

    let admin = daemon.address(3);
    let get =
        |path| exchange(open_at(admin), &format!("GET {path} HTTP/1.1\r\nHost: {admin}"), "").1;
    let of = |text: &str, name: &str, listener: &str| {
        sample(text, &format!("{name}{{listener=\"{listener}\"}}"))
    };
    let mut text = String::new();
    let refused =
        format!("resound_connections_closed_total{{listener=\"{frames}\",reason=\"refused\"}}");
    // A loop counts a reply, a turn and the end of a connection after the peer has seen them, and while `/metrics` is written.
    eventually("the replies, the end of a connection and a turn are counted", || {
        text = get("/metrics");
        let of_each = |name| [&frames, &raw, &udp].map(|one| of(&text, name, one));
        let turns = |index| {
            sample(&text, &format!("resound_turn_duration_seconds_count{{reactor=\"{index}\"}}"))
        };
        of_each("resound_sent_bytes_total") == [24.0, 3.0, 8.0]
            && of_each("resound_frames_total") == [3.0, 0.0, 1.0]
            && sample(&text, &refused) == 1.0
            && of(&text, "resound_connection_duration_seconds_count", &frames) == 1.0
            && turns(0) + turns(1) >= 1.0
    });
    let value = |name: &str, listener: &str| of(&text, name, listener);
    for (listener, accepted) in [(&frames, 4.0), (&raw, 1.0), (&udp, 0.0)] {
        assert_eq!(value("resound_connections_accepted_total", listener), accepted, "{listener}");
    }
    assert_eq!(value("resound_connection_duration_seconds_count", &raw), 0.0);
    let bucket = |name: &str, listener: &str, bound: &str| {
        sample(&text, &format!("{name}_bucket{{listener=\"{listener}\",le=\"{bound}\"}}"))
    };
    assert_eq!(bucket("resound_connection_duration_seconds", &frames, "86400.0"), 1.0);
    assert_eq!(value("resound_accepts_per_wakeup_sum", &frames), 4.0);
    assert!(bucket("resound_accepts_per_wakeup", &frames, "64.0") >= 1.0);

    let stats: Value = serde_json::from_str(&get("/stats")).unwrap();
    assert_eq!(stats["connections"]["accepted"], 5);
    let names: Vec<&str> = stats["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, [&frames, &raw, &udp]);
    assert_eq!(stats["listeners"][0]["connections"]["open"], 3);
    assert_eq!(stats["listeners"][0]["connections"]["closed"]["refused"], 1);
    assert_eq!(stats["listeners"][0]["connection_duration_seconds"]["count"], 1);
    assert!(stats["turn_duration_seconds"]["sum"].as_f64().unwrap() > 0.0);
}

fn open_at(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let daemon = start(&[]);
    let (_, text) = get(&daemon, "/metrics");
    common::check_metrics(&text);
}

#[test]
fn connections_are_listed_and_closed_by_name() {
    let daemon = start(&["--reactors", "2"]);
    let mut streams: Vec<TcpStream> = (0..5).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    for _ in 0..3 {
        ping(&mut streams[2]);
    }
    streams[4].write_all(&frame(b"begun")[..6]).unwrap();
    eventually("the beginning of a frame is held", || {
        json(&daemon, "/connections?sort=held&limit=1")["connections"][0]["held_bytes"] == 6
    });
    let list = json(&daemon, "/connections?sort=frames&limit=2");
    assert_eq!(list["total"], 5);
    let connections = list["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 2);
    let busiest = &connections[0];
    assert_eq!(busiest["frames"], 4);
    assert_eq!(busiest["peer"], streams[2].local_addr().unwrap().to_string());
    assert_eq!((&busiest["state"], &busiest["waits_for"]), (&"open".into(), &"next frame".into()));
    let listener = daemon.listening[0].clone();
    assert_eq!(busiest["listener"], listener);
    assert!(busiest["rtt_seconds"].as_f64().unwrap() > 0.0, "{busiest}");
    assert!(busiest["retransmissions"].is_u64() && busiest["unsent_bytes"] == 0, "{busiest}");
    let escaped = listener.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(json(&daemon, &format!("/connections?listener={escaped}"))["total"], 5);
    assert_eq!(json(&daemon, "/connections?listener=frames://elsewhere:1")["total"], 0);

    let path = format!("/connections/{}/close", busiest["name"].as_str().unwrap());
    assert_eq!(ask(&daemon, "POST", &path, JSON, "").0, 200);
    assert_eq!(streams[2].read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(ask(&daemon, "POST", &path, JSON, "").0, 404);
    assert_eq!(json(&daemon, "/stats")["connections"]["closed"]["by the program"], 1);
    ping(&mut streams[0]);
    for (wrong, expected) in [
        ("/connections/x/close", 400),
        ("/connections/9.1.1/close", 404),
        ("/connections/0.1/close", 400),
    ] {
        assert_eq!(ask(&daemon, "POST", wrong, JSON, "").0, expected, "{wrong}");
    }
    for wrong in ["/connections?sort=size", "/connections?limit=0", "/connections?limit=1000"] {
        assert_eq!(get(&daemon, wrong).0, 400, "{wrong}");
    }
}

#[test]
fn a_drain_by_post_ends_it_in_order_and_does_not_wait_for_a_scraper() {
    let mut daemon = start(&["--grace", "60s"]);
    // It has asked once and keeps its connection; another one has sent half a request.
    let mut scraper = open(&daemon);
    scraper.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut half = open(&daemon);
    half.write_all(b"GET /metr").unwrap();
    let mut client = daemon.connect();
    ping(&mut client);
    assert_eq!(get(&daemon, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(ask(&daemon, "POST", "/drain", JSON, "{}").0, 202);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("1 connection, 1 frame"), "{ended:?}");
}

#[test]
fn during_the_drain_delay_it_accepts_and_is_not_ready() {
    // The delay is not over before the test is.
    let daemon = start(&["--drain-delay", "1h"]);
    ping(&mut daemon.connect());
    assert_eq!(get(&daemon, "/readyz").0, 200);
    daemon.signal(Signal::TERM);
    eventually("it is not ready", || get(&daemon, "/readyz").0 == 503);
    assert_eq!(get(&daemon, "/healthz").0, 200, "it is still healthy");
    let (_, metrics) = get(&daemon, "/metrics");
    assert_eq!(sample(&metrics, "resound_stage{stage=\"announced\"}"), 1.0);
    ping(&mut daemon.connect());
    drop(daemon);

    let mut daemon = start(&["--drain-delay", "10ms"]);
    daemon.signal(Signal::TERM);
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    for stage in ["about to stop", "the drain delay is over", "stopping:"] {
        assert!(ended.stderr.contains(stage), "{stage}: {}", ended.stderr);
    }
}

#[test]
fn the_last_warnings_are_told() {
    // A frame may be longer than the memory for all.
    let daemon = start(&["--max-memory", "1MiB"]);
    let told = json(&daemon, "/warnings");
    assert_eq!((&told["log_level"], &told["total"]), (&"info".into(), &1.into()));
    let warning = &told["warnings"][0];
    assert_eq!((&warning["level"], &warning["count"]), (&"warn".into(), &1.into()));
    assert_eq!(warning["target"], "resound::cli::serve");
    let message = warning["message"].as_str().unwrap();
    assert!(message.contains("--max-memory is 1MiB"), "{message}");
    assert!(warning["time"].as_str().unwrap().ends_with('Z'), "{warning}");
    assert_eq!(ask(&daemon, "PUT", "/log-level", JSON, r#"{"level": "off"}"#).0, 200);
    assert_eq!(json(&daemon, "/warnings")["log_level"], "off");
}

#[test]
fn the_page_comes_with_a_policy_and_needs_no_token() {
    let file = std::env::temp_dir().join(format!("resound-page-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let daemon = start(&["--admin-token-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}", daemon.address(1));
    let (head, body) = exchange(open(&daemon), &request, "");
    assert_eq!(code(&head), 200, "{head}");
    for field in [
        "Content-Type: text/html; charset=utf-8",
        "Content-Security-Policy: default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "X-Frame-Options: DENY",
        "X-Content-Type-Options: nosniff",
    ] {
        assert!(head.contains(field), "no {field} in {head}");
    }
    assert!(body.starts_with("<!doctype html>"), "{body}");
    for path in ["/page/main.js", "/page/style.css", "/page/icon.svg"] {
        assert_eq!(get(&daemon, path).0, 200, "{path}");
    }
    for path in ["/stats", "/connections", "/warnings", "/page/nothing.js"] {
        assert_eq!(get(&daemon, path).0, 401, "{path}");
    }
    assert_eq!(ask(&daemon, "POST", "/", JSON, "").0, 405);
}

#[test]
fn web_pages_are_refused() {
    let daemon = start(&[]);
    let host = daemon.address(1);
    let evil = "evil.example:30900";
    for (request, expected) in [
        // A host name that was made to resolve to loopback.
        (format!("GET /stats HTTP/1.1\r\nHost: {evil}"), 403),
        (format!("POST /drain HTTP/1.1\r\nHost: {evil}\r\nOrigin: http://{evil}{JSON}"), 403),
        // What a form or a simple fetch can send.
        (format!("POST /drain HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain"), 403),
        (format!("POST /drain HTTP/1.1\r\nHost: {host}"), 403),
        (format!("POST /drain HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{evil}{JSON}"), 403),
        (format!("POST /drain HTTP/1.1\r\nHost: {host}\r\nOrigin: null{JSON}"), 403),
        (format!("POST /drain HTTP/1.0{JSON}"), 403),
        // What browsers of today say of a page of another origin, also of one on another port.
        (format!("GET /stats HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site"), 403),
        (format!("GET /stats HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-site"), 403),
        (format!("GET /stats HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-origin"), 200),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate"
            ),
            200,
        ),
        // The preflight of a fetch with a JSON content type.
        (format!("OPTIONS /drain HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{evil}"), 403),
        (format!("GET /drain HTTP/1.1\r\nHost: {host}"), 405),
        (format!("PUT /drain HTTP/1.1\r\nHost: {host}{JSON}"), 405),
        (format!("GET /nothing HTTP/1.1\r\nHost: {host}"), 404),
        // HAProxy's check has no Host field.
        ("GET /readyz HTTP/1.0".to_owned(), 200),
        (format!("PUT /log-level HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}{JSON}"), 400),
    ] {
        let (head, body) = exchange(open(&daemon), &request, "");
        assert_eq!(code(&head), expected, "{request}: {body}");
        assert!(!head.contains("Access-Control"), "{head}");
    }
    assert_eq!(json(&daemon, "/stats")["stage"], "serving");
}

#[test]
fn beyond_loopback_a_token_is_required() {
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", "0.0.0.0:0"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--admin-token-file"), "{text}");

    let file = std::env::temp_dir().join(format!("resound-token-{}", std::process::id()));
    let path = file.to_str().unwrap();
    let serve = |admin: &str| {
        let mut command = resound();
        command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", admin]);
        command.args(["--admin-token-file", path]);
        command
    };
    std::fs::write(&file, "short\n").unwrap();
    let output = serve("127.0.0.1:0").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("16 letters"), "{text}");

    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let daemon = Daemon::spawn(serve("0.0.0.0:0"), 2);
    std::fs::remove_file(&file).unwrap();
    let address = daemon.address(1).replace("0.0.0.0", "127.0.0.1");
    let ask = |path: &str, field: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}{field}");
        code(&exchange(open_at(&address), &request, "").0)
    };
    assert_eq!(ask("/stats", ""), 401);
    assert_eq!(ask("/stats", "\r\nAuthorization: Bearer 0123456789abcdeX"), 401);
    assert_eq!(ask("/stats", "\r\nAuthorization: Basic 0123456789abcdef"), 401);
    assert_eq!(ask("/stats", "\r\nAuthorization: Bearer 0123456789abcdef"), 200);
    assert_eq!((ask("/healthz", ""), ask("/readyz", "")), (200, 200), "probes need none");
}

#[test]
fn a_client_that_closes_its_half_behind_the_request_gets_the_answer() {
    let daemon = start(&[]);
    for path in ["/healthz", "/readyz", "/connections", "/stats"] {
        let mut stream = open(&daemon);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

#[test]
fn it_is_not_ready_while_there_is_no_room_and_ready_again_at_once() {
    for overload in ["wait", "refuse"] {
        let daemon = start(&["--reactors", "2", "--max-connections", "2", "--overload", overload]);
        let mut one = daemon.connect();
        ping(&mut one);
        assert_eq!(get(&daemon, "/readyz").0, 200, "there is room for another one");
        let mut other = daemon.connect();
        ping(&mut other);
        let (code, why) = get(&daemon, "/readyz");
        assert_eq!(code, 503);
        assert_eq!(why, "2 connections are open, the limit of --max-connections\n");
        assert_eq!(get(&daemon, "/healthz").0, 200);
        drop(other);
        eventually("there is room again", || get(&daemon, "/readyz").0 == 200);
        ping(&mut one);
    }
}

#[test]
fn limits_change_while_it_runs() {
    let daemon = start(&["--reactors", "2", "--max-connections", "1", "--idle-timeout", "1h"]);
    let put = |body: &str| ask(&daemon, "PUT", "/limits", JSON, body);
    let before = json(&daemon, "/limits");
    assert_eq!(before["max_connections"], 1);
    assert_eq!(before["idle_timeout_seconds"], 3600.0);
    assert_eq!(before["max_connections_per_ip"], Value::Null);

    let mut first = daemon.connect();
    ping(&mut first);
    let mut waiting = daemon.connect();
    waiting.write_all(&frame(b"waits")).unwrap();
    let (code, body) = put(r#"{"max_connections": 2, "write_timeout_seconds": null}"#);
    assert_eq!(code, 200, "{body}");
    let mut echo = [0; 9];
    waiting.read_exact(&mut echo).unwrap();
    assert_eq!(echo[4..], *b"waits");
    assert_eq!(json(&daemon, "/limits")["write_timeout_seconds"], Value::Null);
    assert_eq!(json(&daemon, "/stats")["connections"]["limit"], 2);

    // What GET shows can be put back.
    assert_eq!(put(&before.to_string()).0, 200);
    assert_eq!(json(&daemon, "/limits"), before);
    ping(&mut first);
    ping(&mut waiting);

    assert_eq!(put(r#"{"idle_timeout_seconds": 0.05}"#).0, 200);
    assert_eq!(first.read(&mut [0; 1]).unwrap(), 0, "it is idle");

    for (wrong, what) in [
        ("", "JSON object"),
        ("[1]", "JSON object"),
        (
            r#"{"backlog": 5}"#,
            "backlog: it is not known, or cannot change; there is max_connections, ",
        ),
        (r#"{"max_connections": 0}"#, "max_connections: 0: write a number from 1 on"),
        (r#"{"max_connections": "5"}"#, "write a number"),
        (r#"{"max_connections": 4000000000}"#, "limit of open files"),
        (r#"{"max_memory_bytes": null}"#, "a number of bytes"),
        (r#"{"frame_timeout_seconds": -1}"#, "or null for no limit"),
        (r#"{"grace_seconds": 1e30}"#, "a number of seconds"),
        // None of the two changes.
        (r#"{"grace_seconds": 1, "max_connections": -1}"#, "write a number"),
    ] {
        let (code, body) = put(wrong);
        assert!(code == 400 && body.contains(what), "{wrong}: {body}");
    }
    assert_eq!(json(&daemon, "/limits")["grace_seconds"], before["grace_seconds"]);
    assert_eq!(ask(&daemon, "PUT", "/limits", "", "{}").0, 403, "no JSON content type");
    assert_eq!(ask(&daemon, "POST", "/limits", JSON, "{}").0, 405);
    let ended = daemon.stop();
    assert!(ended.stderr.contains(r#"admin: limits: {"max_connections": 2"#), "{}", ended.stderr);
}

#[test]
fn a_passed_socket_is_no_admin_port() {
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", "fd:web"]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--admin fd:web: the admin port binds its own socket"), "{text}");
}

#[test]
fn the_log_level_changes_while_it_runs() {
    for format in ["text", "json"] {
        the_log_level_changes_in(format);
    }
}

fn the_log_level_changes_in(format: &str) {
    let mut daemon = start(&["--log-format", format]);
    let put = |daemon: &Daemon, body: &str| ask(daemon, "PUT", "/log-level", JSON, body);
    assert_eq!(put(&daemon, r#"{"level": "debug"}"#).0, 200);
    for wrong in ["", "debug", "{}", r#"{"level": "loud"}"#, r#"{"level": 3}"#] {
        assert_eq!(put(&daemon, wrong).0, 400, "{wrong}");
    }
    let stderr = daemon.take_stderr();
    let stream = daemon.connect();
    let peer = stream.local_addr().unwrap().to_string();
    let found = stderr.lines().any(|line| {
        let line = line.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).is_ok(), format == "json", "{line}");
        line.contains("opened") && line.contains(&peer)
    });
    assert!(found, "no line of the connection");
}

#[test]
fn a_unix_socket_serves_it_too() {
    let path = std::env::temp_dir().join(format!("resound-admin-{}", std::process::id()));
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0"]);
    command.args(["--admin", &format!("unix:{}", path.display())]);
    let daemon = Daemon::spawn(command, 2);
    assert_eq!(daemon.listening[1], format!("admin+unix://{}", path.display()));
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (head, body) = exchange(stream, "GET /healthz HTTP/1.1\r\nHost: localhost", "");
    assert_eq!((code(&head), body.as_str()), (200, "ok\n"));
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert!(!path.exists());
}

/// A client has its pings answered all the time, each of them within a second but for one of a hundred.
#[test]
fn slow_huge_and_garbage_requests_do_not_disturb_the_loop() {
    let daemon = start(&["--max-connections", "2"]);
    common::pinging_beside(&daemon, |beside| {
        beside.has_begun();
        more_connections_than_it_holds(&daemon);
        let slow = thread::scope(|scope| {
            let slow = scope.spawn(|| one_byte_at_a_time(&daemon));
            huge_and_garbage_requests(&daemon);
            slow.join().unwrap()
        });
        assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
        beside.has_lasted();
    });
    // Admin connections have taken none of the two places.
    let mut both = [daemon.connect(), daemon.connect()];
    both.iter_mut().for_each(ping);
}

/// The surplus is closed, and when the others are gone there is room again.
fn more_connections_than_it_holds(daemon: &Daemon) {
    let mut slow: Vec<TcpStream> = (0..100).map(|_| open(daemon)).collect();
    for stream in &mut slow {
        // It may be closed already.
        let _ = stream.write_all(b"GET / HT");
    }
    let mut is_closed = |index: usize| {
        let end = slow[index].read(&mut [0; 1]).map_err(|error| error.kind());
        matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset))
    };
    assert!((70..100).all(&mut is_closed));
    drop(slow);
    eventually("there is room again", || {
        let mut stream = open(daemon);
        let _ = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 200")
    });
}

/// What it answers to a head that never ends, of which a byte comes now and then.
fn one_byte_at_a_time(daemon: &Daemon) -> String {
    let mut stream = open(daemon);
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = Vec::new();
    let mut block = [0; 1024];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return String::from_utf8(answer).unwrap(),
            Ok(length) => answer.extend_from_slice(&block[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // It may have been closed meanwhile.
                let _ = stream.write_all(b"x");
            }
            // A byte that came behind the answer.
            Err(_) => return String::from_utf8(answer).unwrap(),
        }
    }
}

fn huge_and_garbage_requests(daemon: &Daemon) {
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(2_000));
    let body = |length: usize| {
        let head =
            format!("PUT /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; length.min(1 << 20)]].concat()
    };
    for (garbage, expected) in [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01".to_vec(), "400"),
        ((0..=255).cycle().take(100_000).collect(), "400"),
        (body(99_999_999_999), "413"),
        (body((64 << 10) + 1), "413"),
        (long.into_bytes(), "431"),
        (many.into_bytes(), "431"),
    ] {
        let mut stream = open(daemon);
        // It answers and closes while this is written.
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(answer.split(' ').nth(1), Some(expected), "{answer}");
    }
}

#[test]
fn it_answers_while_the_loop_is_busy() {
    let daemon = start(&[]);
    common::pinging_beside(&daemon, |beside| {
        beside.has_begun();
        let mut answers = 0;
        while answers < 50 || !beside.is_enough() {
            for path in ["/metrics", "/stats", "/healthz", "/connections?limit=5"] {
                assert_eq!(get(&daemon, path).0, 200, "{path}");
            }
            answers += 1;
            beside.has_lasted();
            thread::sleep(Duration::ZERO);
        }
    });
}
