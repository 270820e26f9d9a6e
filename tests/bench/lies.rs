//! Servers that each tell one lie, over every wire: `resound bench` gives each its name and nothing else.

use std::{
    cell::RefCell,
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use super::{
    Run, bench,
    http::{self, Answer},
    servers::{self, FRAME, Manner},
    until_errors, websocket,
};

/// The run found this lie and no other error, and exits with 1 for it.
fn assert_is_named(run: &Run, name: &str, what: &str) {
    assert_eq!(run.code, Some(1), "{what}: {run:?}");
    assert!(run.errors(name) >= 1.0, "{what} is a {name}: {run:?}");
    assert_eq!(run.errors(name), run.number("/errors"), "{what}: nothing else: {run:?}");
    let shown = run.report["first_difference"].as_str().unwrap_or_default();
    assert!(shown.starts_with(name), "{what}: {shown}");
}

#[test]
fn each_lie_has_its_name_over_frames_lines_and_raw_bytes() {
    // A frame of each is 64 bytes.
    let wires = [("frames", "60"), ("lines", "63"), ("raw", "64")];
    thread::scope(|scope| {
        for (wire, size) in wires {
            for (manner, depth, name) in [
                (Manner::Drop { frame: 20 }, "16", "DROPPED"),
                (Manner::Repeat { frame: 20 }, "16", "DUPLICATE"),
                (Manner::Repeat { frame: 20 }, "1", "DUPLICATE"),
                (Manner::Reorder { frame: 20 }, "16", "REORDERED"),
                (Manner::Insert { byte: 20 * FRAME, more: 1 }, "16", "SURPLUS"),
                (Manner::Insert { byte: 20 * FRAME + 30, more: 5 }, "16", "SURPLUS"),
                (Manner::Truncate { byte: 1000 }, "16", "TRUNCATED"),
                (Manner::Corrupt { byte: 1000 }, "16", "MISMATCH"),
            ] {
                scope.spawn(move || {
                    let what = format!("{wire} {manner:?} at depth {depth}");
                    let run = until_errors(name, 2.0, |duration| {
                        let server = servers::start_wrong_twice(manner.clone());
                        let address = format!("{wire}://{server}");
                        bench(
                            &address,
                            &["-z", duration, "-c", "2", "--depth", depth, "--size", size],
                        )
                    });
                    assert_is_named(&run, name, &what);
                });
            }
        }
    });
}

/// The server's own faults (`fault=`), for which the listener is told the frame.
#[test]
fn each_fault_on_demand_has_its_name() {
    for (fault, depth, name) in [
        ("drop@3", "16", "DROPPED"),
        ("dup@3", "16", "DUPLICATE"),
        ("swap@3", "16", "REORDERED"),
        ("garbage=5@3", "16", "SURPLUS"),
        ("truncate=30@3", "16", "TRUNCATED"),
        ("corrupt=1bit@3", "16", "MISMATCH"),
        ("length=+1@3", "16", "MISMATCH"),
        ("fin=30@3", "1", "TRUNCATED"),
        ("fin=0@3", "1", "CLOSED"),
        ("reset=30@3", "1", "RESET"),
    ] {
        // On two connections only, as in `servers::start_wrong_twice`.
        let listen = format!("frames://127.0.0.1:0,fault={fault}#1..2,seed=7");
        let run = until_errors(name, 2.0, |duration| {
            let daemon = super::Daemon::start(&[&listen], &[]);
            bench(&daemon.listening[0], &["-z", duration, "-c", "2", "--depth", depth])
        });
        assert!(run.errors(name) >= 2.0, "{fault} is a {name}: {run:?}");
        let others = run.number("/errors") - run.errors(name);
        assert!(others <= 0.0, "{fault}: nothing else: {run:?}");
    }
    for fault in
        ["mute", "mute@3", "stall=30@3", "deaf", "deaf@3", "blackhole@3", "coalesce=2", "drop@3"]
    {
        let daemon = super::Daemon::start(&[&format!("frames://127.0.0.1:0,fault={fault}#1")], &[]);
        let address = &daemon.listening[0];
        let run = bench(address, &["-z", "2s", "-c", "4", "--timeout", "2s", "--size", "60"]);
        assert!(run.errors("TIMEOUT") >= 1.0, "{fault} is a TIMEOUT: {run:?}");
        assert_eq!(run.errors("TIMEOUT"), run.number("/errors"), "{fault}: nothing else: {run:?}");
    }
}

/// What only takes longer, or comes in other pieces, is no error.
#[test]
fn faults_that_a_client_need_not_notice_are_no_errors() {
    for (fault, depth) in [
        ("slice=7", "4"),
        ("coalesce=4", "16"),
        ("delay=1ms..5ms@10%", "4"),
        ("rate=1MiB/s", "4"),
        ("stall=30:20ms@3", "4"),
        ("accept-delay=20ms", "1"),
        ("loss=2%", "1"),
    ] {
        let daemon = super::Daemon::start(&[&format!("frames://127.0.0.1:0,fault={fault}")], &[]);
        let arguments = ["-z", "1s", "-c", "2", "--depth", depth, "--timeout", "60s"];
        let run = bench(&daemon.listening[0], &arguments);
        assert_eq!((run.code, run.number("/errors")), (Some(0), 0.0), "{fault}: {run:?}");
        assert!(run.number("/frames") > 0.0, "{fault}: {run:?}");
    }
}

/// A listener to which connecting fails, while the load runs and from the start.
#[test]
fn faults_of_connecting_have_their_names() {
    // The first connections are there before, and go on.
    let faulty = "frames://127.0.0.1:0,fault=reset-on-accept#3..4";
    let daemon = super::Daemon::start(&[faulty], &[]);
    let run = bench(&daemon.listening[0], &["-z", "2s", "-c", "2", "--churn", "50"]);
    assert!(run.errors("RESET") >= 1.0, "{run:?}");
    assert_eq!(run.errors("RESET"), run.number("/errors"), "nothing else: {run:?}");

    let arguments = ["-z", "1s", "-c", "2", "--timeout", "500ms"];
    for (fault, says) in [("refuse", "nothing listens there"), ("full-backlog", "no answer")] {
        let daemon = super::Daemon::start(&[&format!("frames://127.0.0.1:0,fault={fault}")], &[]);
        let run = bench(&daemon.listening[0], &arguments);
        assert_eq!(run.code, Some(1), "{fault}: {run:?}");
        assert!(run.stderr.contains(says), "{fault}: {run:?}");
    }
}

#[test]
fn each_fault_of_http_on_demand_has_its_name() {
    for (fault, name) in [
        ("status=503@3", "MISMATCH"),
        ("short-chunk=10@3", "TRUNCATED"),
        ("short-chunk=99@3", "TRUNCATED"),
        ("fin=0@3", "CLOSED"),
        ("length=-1@3", "TRUNCATED"),
    ] {
        let listen = format!("http://127.0.0.1:0,fault={fault}#1..2");
        let run = until_errors(name, 2.0, |duration| {
            let daemon = super::Daemon::start(&[&listen], &[]);
            bench(&daemon.listening[0], &["-z", duration, "-c", "2", "--timeout", "60s"])
        });
        assert!(run.errors(name) >= 2.0, "{fault} is a {name}: {run:?}");
        assert_eq!(run.number("/errors"), run.errors(name), "{fault}: nothing else: {run:?}");
    }
    let daemon = super::Daemon::start(&["http://127.0.0.1:0,fault=drip=100KiB/s"], &[]);
    let run = bench(&daemon.listening[0], &["-z", "1s", "-c", "2", "--timeout", "60s"]);
    assert_eq!((run.code, run.number("/errors")), (Some(0), 0.0), "only slow: {run:?}");
}

#[test]
fn each_fault_of_datagrams_on_demand_has_its_name() {
    for (fault, depth, name) in [
        ("drop@20", "1", "TIMEOUT"),
        ("dup@20", "1", "DUPLICATE"),
        ("truncate=30@20", "1", "TRUNCATED"),
        ("garbage=5@20", "1", "SURPLUS"),
        ("corrupt=9@20", "1", "MISMATCH"),
        ("swap@20", "8", "none"),
    ] {
        let listen = format!("udp://127.0.0.1:0,rate=0,loop-guard=off,fault={fault},seed=7");
        let run = |duration: &str| {
            let daemon = super::Daemon::start(&[&listen], &[]);
            // One that is lost or damaged is not answered. On a loaded machine others may be late, too.
            let arguments = ["-z", duration, "-c", "2", "--depth", depth, "--timeout", "500ms"];
            bench(&daemon.listening[0], &arguments)
        };
        let run = if name == "none" { run("1s") } else { until_errors(name, 1.0, run) };
        assert!(name == "none" || run.errors(name) >= 1.0, "{fault} is a {name}: {run:?}");
        let named = if name == "none" { 0.0 } else { run.errors(name) };
        let late = if name == "TIMEOUT" { 0.0 } else { run.errors("TIMEOUT") };
        assert_eq!(run.number("/errors"), named + late, "{fault}: nothing else: {run:?}");
    }
}

#[test]
fn bytes_behind_the_last_frame_of_a_connection_are_surplus() {
    let run = until_errors("SURPLUS", 1.0, |duration| {
        super::against(Manner::Parting { more: 3 }, &["-z", duration, "-c", "2", "--churn", "3"])
    });
    assert_is_named(&run, "SURPLUS", "bytes behind FIN");
    let shown = run.report["first_difference"].as_str().unwrap();
    assert!(shown.contains("behind the last frame"), "{shown}");
}

#[test]
fn bytes_before_anything_was_sent_are_surplus_and_bounded() {
    let daemon = super::Daemon::start(&["raw://127.0.0.1:0"], &["--banner", "hello"]);
    let run = bench(&daemon.listening[0], &["-z", "1s", "-c", "20"]);
    assert_is_named(&run, "SURPLUS", "a banner");
    // Each connection tries again after pauses of 100, 200, 400, 800 ms.
    assert!(run.number("/errors") <= 20.0 * 6.0, "{run:?}");
    assert!(run.warnings().contains("only after a pause"), "{run:?}");
}

thread_local! {
    /// An answer that is held back for the next one of the same connection.
    static HELD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn each_lie_has_its_name_over_http() {
    let swapped: Answer = |body, request| {
        let answer = http::echo(body);
        match request {
            5 => {
                HELD.set(answer);
                (Vec::new(), false)
            }
            6 => ([answer, HELD.take()].concat(), false),
            _ => (answer, false),
        }
    };
    let lies: [(&str, Answer, &str, &str); 7] = [
        (
            "an answer less",
            |body, request| (if request == 5 { Vec::new() } else { http::echo(body) }, false),
            "4",
            "DROPPED",
        ),
        ("two answers swapped", swapped, "4", "REORDERED"),
        (
            "an answer twice",
            |body, request| (http::echo(body).repeat(if request == 5 { 2 } else { 1 }), false),
            "4",
            "DUPLICATE",
        ),
        (
            "an answer twice, one at a time",
            |body, request| (http::echo(body).repeat(if request == 5 { 2 } else { 1 }), false),
            "1",
            "DUPLICATE",
        ),
        (
            "another answer",
            |body, request| {
                let more = if request == 5 { http::echo(b"and another thing") } else { Vec::new() };
                ([http::echo(body), more].concat(), false)
            },
            "1",
            "SURPLUS",
        ),
        ("a longer body", |body, _| (http::echo(&[body, b"!"].concat()), false), "4", "SURPLUS"),
        (
            "bytes behind an answer",
            |body, request| {
                let more: &[u8] = if request == 5 { b"!!" } else { b"" };
                ([&http::echo(body), more].concat(), false)
            },
            "4",
            "SURPLUS",
        ),
    ];
    thread::scope(|scope| {
        for (what, answer, depth, name) in lies {
            scope.spawn(move || {
                let run = until_errors(name, 2.0, |duration| {
                    let address = http::start_wrong_twice(answer);
                    bench(&address, &["-z", duration, "-c", "2", "--depth", depth])
                });
                assert_is_named(&run, name, what);
            });
        }
    });
}

/// A frame of WebSocket with an echo, an answer less or more, or with a part of it.
#[test]
fn each_lie_has_its_name_over_websocket() {
    use websocket::{BINARY, CONTINUATION, FIN, TEXT, echo, of_server};

    let swapped: Answer = |message, number| match number {
        5 => {
            HELD.set(echo(message));
            (Vec::new(), false)
        }
        6 => ([echo(message), HELD.take()].concat(), false),
        _ => (echo(message), false),
    };
    let twice: Answer =
        |message, number| (echo(message).repeat(if number == 5 { 2 } else { 1 }), false);
    let lies: [(&str, Answer, &str, &str); 13] = [
        (
            "a message less",
            |message, number| (if number == 5 { Vec::new() } else { echo(message) }, false),
            "4",
            "DROPPED",
        ),
        ("two messages swapped", swapped, "4", "REORDERED"),
        ("a message twice", twice, "4", "DUPLICATE"),
        ("a message twice, one at a time", twice, "1", "DUPLICATE"),
        (
            "another message",
            |message, number| {
                let more = if number == 5 { echo(b"and another thing") } else { Vec::new() };
                ([echo(message), more].concat(), false)
            },
            "1",
            "SURPLUS",
        ),
        ("a longer message", |message, _| (echo(&[message, b"!"].concat()), false), "4", "SURPLUS"),
        (
            "bytes behind a message",
            |message, number| {
                let more: &[u8] = if number == 5 { b"!!" } else { b"" };
                ([&echo(message), more].concat(), false)
            },
            "1",
            "SURPLUS",
        ),
        ("a shorter message", |message, _| (echo(&message[..20]), false), "4", "TRUNCATED"),
        (
            "a fragment less",
            |message, number| {
                let rest = if number == 5 { &message[40..] } else { &message[20..] };
                let first = of_server(BINARY, &message[..20]);
                ([first, of_server(FIN | CONTINUATION, rest)].concat(), false)
            },
            "4",
            "TRUNCATED",
        ),
        (
            "the end in the middle of a message",
            |message, number| {
                let cut = if number == 5 { 9 } else { 0 };
                let whole = echo(message);
                (whole[..whole.len() - cut].to_vec(), cut > 0)
            },
            "1",
            "TRUNCATED",
        ),
        (
            "another byte",
            |message, number| {
                let mut message = message.to_vec();
                message[41] ^= u8::from(number == 5) << 4;
                (echo(&message), false)
            },
            "4",
            "MISMATCH",
        ),
        ("text", |message, _| (of_server(FIN | TEXT, message), false), "4", "MISMATCH"),
        (
            "a reserved bit",
            |message, _| (of_server(FIN | 0x40 | 2, message), false),
            "4",
            "MISMATCH",
        ),
    ];
    thread::scope(|scope| {
        for (what, answer, depth, name) in lies {
            scope.spawn(move || {
                let run = until_errors(name, 2.0, |duration| {
                    let address = websocket::start_wrong_twice(answer);
                    bench(&address, &["-z", duration, "-c", "2", "--depth", depth])
                });
                assert_eq!(run.code, Some(1), "{what}: {run:?}");
                assert!(run.errors(name) >= 2.0, "{what} is a {name}: {run:?}");
                assert_eq!(
                    run.errors(name),
                    run.number("/errors"),
                    "{what}: nothing else: {run:?}"
                );
            });
        }
    });
}

#[test]
fn each_fault_of_websocket_on_demand_has_its_name() {
    for (fault, depth, name) in [
        ("drop@3", "16", "DROPPED"),
        ("dup@3", "16", "DUPLICATE"),
        ("swap@3", "16", "REORDERED"),
        ("garbage=5@3", "1", "SURPLUS"),
        ("truncate=30@3", "16", "TRUNCATED"),
        ("corrupt=1bit@3", "16", "MISMATCH"),
        ("fin=30@3", "1", "TRUNCATED"),
        ("fin=0@3", "1", "CLOSED"),
        ("reset=30@3", "1", "RESET"),
        ("close=1011@3", "1", "CLOSED"),
        ("mask@3", "1", "MISMATCH"),
    ] {
        let listen = format!("ws://127.0.0.1:0,fault={fault}#1..2,seed=7");
        let run = until_errors(name, 2.0, |duration| {
            let daemon = super::Daemon::start(&[&listen], &[]);
            bench(&daemon.listening[0], &["-z", duration, "-c", "2", "--depth", depth])
        });
        assert!(run.errors(name) >= 2.0, "{fault} is a {name}: {run:?}");
        assert_eq!(run.number("/errors"), run.errors(name), "{fault}: nothing else: {run:?}");
    }
    for fault in ["mute@3", "stall=30@3", "deaf@3", "drop@3"] {
        let run = until_errors("TIMEOUT", 1.0, |duration| {
            let daemon = super::Daemon::start(&[&format!("ws://127.0.0.1:0,fault={fault}#1")], &[]);
            bench(&daemon.listening[0], &["-z", duration, "-c", "4", "--timeout", "500ms"])
        });
        assert!(run.errors("TIMEOUT") >= 1.0, "{fault} is a TIMEOUT: {run:?}");
        // A machine with much else to do can hold up all connections, or a handshake, for as long.
        let held_up = run.errors("HUNG") + run.errors("UNOPENED");
        let expected = run.errors("TIMEOUT") + held_up;
        assert_eq!(run.number("/errors"), expected, "{fault}: nothing else: {run:?}");
    }
    for fault in ["slice=7", "coalesce=4", "delay=1ms..5ms@10%", "no-pong"] {
        let daemon = super::Daemon::start(&[&format!("ws://127.0.0.1:0,fault={fault}")], &[]);
        let arguments = ["-z", "1s", "-c", "2", "--depth", "4", "--timeout", "60s"];
        let run = bench(&daemon.listening[0], &arguments);
        assert_eq!((run.code, run.number("/errors")), (Some(0), 0.0), "{fault}: {run:?}");
        assert!(run.number("/frames") > 0.0, "{fault}: {run:?}");
    }
}

/// What a server sends back for a datagram, the so manyth of all.
type Echo = fn(&[u8], usize) -> Vec<Vec<u8>>;

/// Starts a server for datagrams; it lasts as long as the test process.
fn start(echo: Echo) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        for count in 0.. {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
            for datagram in echo(&buffer[..length], count) {
                if socket.send_to(&datagram, from).is_err() {
                    return;
                }
            }
        }
    });
    address
}

#[test]
fn each_lie_has_its_name_over_udp() {
    let lies: [(&str, Echo, &str); 6] = [
        ("a byte more", |bytes, _| vec![[bytes, b"!"].concat()], "SURPLUS"),
        ("a byte less", |bytes, _| vec![bytes[..bytes.len() - 1].to_vec()], "TRUNCATED"),
        ("all twice", |bytes, _| vec![bytes.to_vec(); 2], "DUPLICATE"),
        (
            "one twice",
            |bytes, count| vec![bytes.to_vec(); if count == 20 { 2 } else { 1 }],
            "DUPLICATE",
        ),
        (
            "another byte",
            |bytes, count| {
                let mut bytes = bytes.to_vec();
                bytes[41] ^= u8::from(count == 20);
                vec![bytes]
            },
            "MISMATCH",
        ),
        (
            "a number that was never sent",
            |bytes, count| {
                let mut other = bytes.to_vec();
                other[7] = 0x7F;
                let surplus = (count == 20).then_some(other);
                [bytes.to_vec()].into_iter().chain(surplus).collect()
            },
            "MISMATCH",
        ),
    ];
    thread::scope(|scope| {
        for (what, echo, name) in lies {
            for depth in ["1", "8"] {
                scope.spawn(move || {
                    let run = until_errors(name, 1.0, |duration| {
                        let address = format!("udp://{}", start(echo));
                        let arguments = ["-z", duration, "-c", "2", "--depth", depth];
                        bench(&address, &[&arguments[..], &["--timeout", "60s"]].concat())
                    });
                    assert_is_named(&run, name, &format!("{what} at depth {depth}"));
                });
            }
        }
    });
}

#[test]
fn a_datagram_that_comes_late_is_a_timeout_and_no_duplicate() {
    let late: Echo = |bytes, count| {
        if count == 20 {
            // The lateness itself: no test waits for this.
            thread::sleep(Duration::from_millis(300));
        }
        vec![bytes.to_vec()]
    };
    let run = until_errors("TIMEOUT", 1.0, |duration| {
        let address = format!("udp://{}", start(late));
        bench(&address, &["-z", duration, "-c", "1", "--timeout", "100ms"])
    });
    assert!(run.errors("TIMEOUT") >= 1.0, "{run:?}");
    assert_eq!(run.errors("TIMEOUT"), run.number("/errors"), "{run:?}");
    assert_eq!(run.code, Some(0), "{run:?}");
}
