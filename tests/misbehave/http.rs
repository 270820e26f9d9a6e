//! Faults of HTTP answers.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use super::{Daemon, End, PATIENCE, read_exactly, read_to_end, segments};

fn request(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A connection to a listener with this fault, over which these bodies were sent.
fn send(fault: &str, bodies: &[&str]) -> (Daemon, TcpStream) {
    let daemon = Daemon::start(&[&format!("http://127.0.0.1:0,fault={fault}")], &[]);
    let mut stream = daemon.connect();
    let requests: String = bodies.iter().map(|body| request(body)).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    (daemon, stream)
}

/// Everything that comes back, and how it ends. The client sends FIN only where the server does not end it.
fn answers(fault: &str, bodies: &[&str], finish: bool) -> (String, End) {
    let (_daemon, mut stream) = send(fault, bodies);
    if finish {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let (bytes, end) = read_to_end(&mut stream);
    (String::from_utf8(bytes).unwrap(), end)
}

/// The head of the only answer, with its empty line, and what is behind it.
fn split(answer: &str) -> (&str, &str) {
    let end = answer.find("\r\n\r\n").unwrap() + 4;
    answer.split_at(end)
}

#[test]
fn an_answer_has_another_status_and_the_connection_goes_on() {
    let (all, end) = answers("status=503@2", &["one", "two", "three"], true);
    assert_eq!(end, End::Fin);
    let answers: Vec<&str> = all.split("HTTP/1.1 ").skip(1).collect();
    for (answer, status, body) in [
        (answers[0], "200 OK\r\n", "\r\n\r\none"),
        (answers[1], "503 Service Unavailable\r\n", "\r\n\r\ntwo"),
        (answers[2], "200 OK\r\n", "\r\n\r\nthree"),
    ] {
        assert!(answer.starts_with(status) && answer.ends_with(body), "{answer}");
    }
    let (all, _) = answers_of_one("status=204");
    let (head, body) = split(&all);
    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n") && body.is_empty(), "{all}");
    assert!(!head.contains("Content-Length"), "{all}");
}

fn answers_of_one(fault: &str) -> (String, End) {
    answers(fault, &["hello world"], true)
}

#[test]
fn a_chunk_ends_after_so_many_bytes_with_fin() {
    for (fault, rest) in [
        ("short-chunk=0", "b\r\n"),
        ("short-chunk=4", "b\r\nhell"),
        ("short-chunk=99", "b\r\nhello world"),
    ] {
        let (all, end) = answers(fault, &["hello world", "never answered"], false);
        let (head, body) = split(&all);
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
        assert!(!head.contains("Content-Length"), "{head}");
        assert_eq!((body, end), (rest, End::Fin), "{fault}");
    }
}

#[test]
fn a_head_drips_in_segments_of_one_byte_and_the_body_follows_at_once() {
    let start = Instant::now();
    let (_daemon, mut stream) = send("drip=500/s", &[&"x".repeat(1000)]);
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n") {
        all.extend(read_exactly(&mut stream, 1));
    }
    let (head, waited) = (all.len(), start.elapsed());
    // There is no pause in front of the first byte, and one between any two.
    let least = Duration::from_millis(2) * (head as u32 - 1);
    assert!(waited >= least && waited < PATIENCE, "{head} bytes came in {waited:?}");
    assert_eq!(read_exactly(&mut stream, 1000), [b'x'; 1000]);
    let segments = segments::received(&stream).segments as usize;
    // More only if the kernel retransmits on a loaded machine.
    assert!((head + 1..2 * head).contains(&segments), "{head} bytes in {segments} segments");
}

/// The client's choice, where the key allows it: the status line of each answer, and how long all took.
fn chosen(keys: &str, targets: &[&str]) -> (Vec<String>, Duration) {
    let daemon = Daemon::start(&[&format!("http://127.0.0.1:0{keys}")], &[]);
    let mut stream = daemon.connect();
    let start = Instant::now();
    for target in targets {
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let (bytes, end) = read_to_end(&mut stream);
    assert_eq!(end, End::Fin);
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    (lines.map(str::to_owned).collect(), start.elapsed())
}

#[test]
fn a_client_chooses_faults_by_the_path_only_where_the_key_allows_it() {
    let paths = ["/status/503", "/", "/delay/300ms", "/status/404?a=b"];
    let (lines, took) = chosen(",client-faults=on", &paths);
    assert_eq!(lines, ["503 Service Unavailable", "200 OK", "200 OK", "404 Not Found"]);
    assert!(took >= Duration::from_millis(300) && took < PATIENCE, "{took:?}");
    // Beside what the plan does.
    let (lines, _) = chosen(",client-faults=on,fault=status=500@2", &paths[..2]);
    assert_eq!(lines, ["503 Service Unavailable", "500 Internal Server Error"]);
    for keys in ["", ",client-faults=off", ",fault=none"] {
        let (lines, _) = chosen(keys, &["/status/503", "/delay/59s", "/drip"]);
        assert_eq!(lines, ["200 OK"; 3], "{keys}");
    }
}

#[test]
fn a_client_can_ask_for_nothing_without_bound() {
    for target in ["/delay/61s", "/delay/1h", "/status/100", "/status/1000", "/drip/0", "/delay/"] {
        let (lines, _) = chosen(",client-faults=on", &[target, "/never"]);
        assert_eq!(lines, ["400 Bad Request"], "{target}");
    }
}

#[test]
fn a_client_that_posts_chooses_faults_too() {
    let daemon = Daemon::start(&["http://127.0.0.1:0,client-faults=on"], &[]);
    let mut stream = daemon.connect();
    let body = "x".repeat(100_000);
    let head = format!("Host: x\r\nContent-Length: {}\r\n", body.len());
    write!(stream, "POST /status/500 HTTP/1.1\r\n{head}\r\n{body}").unwrap();
    write!(stream, "POST /drip/1000 HTTP/1.1\r\nExpect: 100-continue\r\n{head}\r\n{body}").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (bytes, end) = read_to_end(&mut stream);
    let text = String::from_utf8(bytes).unwrap();
    let answers: Vec<&str> = text.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!((answers.len(), end), (3, End::Fin));
    assert!(answers[0].starts_with("500 ") && answers[0].ends_with(&body));
    assert!(answers[1].starts_with("100 Continue"), "{}", answers[1]);
    assert!(answers[2].starts_with("200 OK") && answers[2].ends_with(&body));
}
