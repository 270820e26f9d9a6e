//! `resound bench http://…`, against `resound serve` and against servers that answer otherwise.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use super::{
    bench,
    common::{Daemon, resound},
    until_errors,
};

/// What a server answers to a request with this body, the so manyth of its connection, and whether that was all.
pub(crate) type Answer = fn(&[u8], u32) -> (Vec<u8>, bool);

/// Starts a server; it lasts as long as the test process.
pub(crate) fn start(answer: Answer) -> String {
    start_for(usize::MAX, answer)
}

/// Starts a server that gives these answers on its first two connections only, as `servers::start_wrong_twice` does.
pub(crate) fn start_wrong_twice(answer: Answer) -> String {
    start_for(2, answer)
}

/// Starts a server that gives these answers on so many connections, and echoes on those after.
fn start_for(connections: usize, answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let echoed: Answer = |body, _| (echo(body), false);
            let answer = if number < connections { answer } else { echoed };
            thread::spawn(move || serve(&stream, answer));
        }
    });
    format!("http://{address}/")
}

/// Serves one connection until either side ends it.
fn serve(stream: &TcpStream, answer: Answer) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    for request in 0.. {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).ok().filter(|length| *length > 0)?;
        }
        assert!(head.starts_with("POST / HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
        let length = head.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).ok()?;
        let (bytes, is_all) = answer(&body, request);
        writer.write_all(&bytes).ok()?;
        if is_all {
            // Reads on: to close with unread bytes would be a reset.
            stream.shutdown(std::net::Shutdown::Write).ok()?;
            std::io::copy(&mut reader, &mut std::io::sink()).ok()?;
            return None;
        }
    }
    None
}

fn with_length(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

pub(crate) fn echo(body: &[u8]) -> Vec<u8> {
    with_length("200 OK", "", body)
}

#[test]
fn every_load_comes_back_whole_from_the_http_listener() {
    let socket = super::File::new("http");
    let daemon = Daemon::start(
        &["http://127.0.0.1:0", &format!("http+unix://{}", socket.path())],
        &["--tag", "served by {pid} for {peer}"],
    );
    let untagged = Daemon::start(&["http://127.0.0.1:0"], &[]);
    let (tagged, unix) = (daemon.listening[0].as_str(), daemon.listening[1].as_str());
    let untagged = untagged.listening[0].as_str();
    for (place, more) in [
        (untagged, &["-c", "3"][..]),
        (tagged, &["-c", "3", "--depth", "16", "--size", "0-300:90%,200KiB:10%"]),
        (tagged, &["-c", "3", "--depth", "4", "--size", "0"]),
        (unix, &["-c", "2", "--rate", "2k", "--arrivals", "poisson"]),
        (untagged, &["-c", "4", "--churn", "3", "--depth", "2", "--threads", "2"]),
        (tagged, &["-c", "2", "--hold", "20"]),
    ] {
        let run = bench(place, &[&["-z", "500ms", "--timeout", "60s"], more].concat());
        assert_eq!(run.code, Some(0), "{place} {more:?}: {run:?}");
        assert!(run.number("/errors") == 0.0 && run.number("/latency_us/count") > 0.0, "{run:?}");
    }
}

#[test]
fn chunked_answers_are_echoes_too() {
    let address = start(|body, _| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(40) {
            bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        (bytes, false)
    });
    let endless = bench(&address, &["-z", "1s", "-c", "2", "--timeout", "100ms"]);
    assert!(endless.errors("TIMEOUT") >= 2.0, "without a last chunk there is no end: {endless:?}");
    let address = start(|body, _| {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
        ([head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat(), false)
    });
    let run = bench(&address, &["-z", "500ms", "-c", "2", "--depth", "4"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.number("/errors") == 0.0 && run.number("/latency_us/count") > 0.0, "{run:?}");
}

#[test]
fn each_wrong_answer_has_its_name_and_is_shown() {
    let wrong: [(&str, Answer, &str, &str); 6] = [
        ("status", |_, _| (with_length("503 Busy", "", b"later\n"), false), "MISMATCH", "503 Busy"),
        (
            "byte",
            |body, request| {
                let mut body = body.to_vec();
                body[41] ^= u8::from(request == 7) << 4;
                (echo(&body), false)
            },
            "MISMATCH",
            "byte 41 of frame 7 (60 bytes)",
        ),
        (
            "page",
            |_, _| (echo(b"It works, and it has more than 60 bytes to say so to you, dear"), false),
            "MISMATCH",
            "bytes differ",
        ),
        ("shorter", |body, _| (echo(&body[..20]), false), "TRUNCATED", "20 bytes of the 60"),
        (
            "cut",
            |body, request| {
                let whole = echo(body);
                let cut = request == 3;
                (whole[..whole.len() - 9 * usize::from(cut)].to_vec(), cut)
            },
            "TRUNCATED",
            "",
        ),
        (
            "cut in its head",
            |body, request| {
                if request == 3 { (b"HTTP/1.1 200".to_vec(), true) } else { (echo(body), false) }
            },
            "TRUNCATED",
            "",
        ),
    ];
    for (what, answer, name, shown) in wrong {
        let run = until_errors(name, 2.0, |duration| {
            bench(&start_wrong_twice(answer), &["-z", duration, "-c", "2"])
        });
        assert_eq!(run.code, Some(1), "{what}: {run:?}");
        assert!(run.errors(name) >= 1.0, "{what}: {run:?}");
        assert_eq!(run.errors(name), run.number("/errors"), "nothing else: {run:?}");
        let difference = run.report["first_difference"].as_str().unwrap_or_default();
        assert!(difference.contains(shown), "{what}: {difference}");
    }
}

#[test]
fn connections_that_end_between_answers_are_counted() {
    let silently: Answer = |body, request| (echo(body), request == 5);
    let announced: Answer = |body, request| {
        let last = request == 5;
        let field = if last { "Connection: close\r\n" } else { "" };
        (with_length("200 OK", field, body), last)
    };
    for answer in [silently, announced] {
        let run = until_errors("CLOSED", 2.0, |duration| {
            bench(&start(answer), &["-z", duration, "-c", "2"])
        });
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.errors("CLOSED") >= 2.0, "{run:?}");
        assert_eq!(run.errors("CLOSED"), run.number("/errors"), "nothing else: {run:?}");
    }
    let run = bench(&start(announced), &["-z", "500ms", "-c", "2", "--churn", "6"]);
    assert_eq!((run.code, run.number("/errors")), (Some(0), 0.0), "its last is our last: {run:?}");
}

#[test]
fn a_server_of_ones_own_is_asked_for_over_http() {
    let program = resound().get_program().to_string_lossy().into_owned();
    let command = format!("{program} serve --listen http://127.0.0.1:{{port}} --listen raw://:0");
    let run = bench("http://:0", &["-z", "1s", "-c", "2", "--server", &command]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.number("/server/cpu_us_per_frame") > 0.0, "{run:?}");
}
