//! `resound bench` over TLS: against resound's own server, servers that others wrote, and servers that are wrong.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

#[path = "common/mod.rs"]
mod common;
#[path = "tls/servers.rs"]
mod servers;
#[path = "tls/support.rs"]
mod support;

use std::{cell::Cell, io::Read, net::TcpListener, thread};

use common::{Daemon, load::Run};
use servers::{Files, Foreign, local};
use support::{Authority, Folder};

/// Runs a load for longer and longer until it is `enough`: on a slow machine little happens in a short time.
fn until(enough: impl Fn(&Run) -> bool, address: &str, arguments: &[&str]) -> Run {
    for duration in ["500ms", "3s", "20s"] {
        let run = Run::new(address, &[arguments, &["-z", duration]].concat());
        if run.code != Some(0) || enough(&run) {
            return run;
        }
    }
    panic!("not enough in 20 s: {address} {arguments:?}")
}

/// Frames came back, all right.
fn assert_good(run: &Run) {
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.number("/errors"), 0.0, "{run:?}");
    assert!(run.number("/frames") > 0.0, "{run:?}");
}

/// It could not be measured, and it was said so in these words.
fn assert_fails(run: &Run, code: i32, says: &[&str]) {
    assert_eq!(run.code, Some(code), "{run:?}");
    for text in says {
        assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
    }
}

fn came(run: &Run) -> bool {
    run.number("/frames") > 0.0
}

#[test]
fn every_protocol_is_loaded_over_tcp_and_unix_sockets() {
    let (folder, _, files, ca) = local("bench-protocols");
    let keys = files.keys();
    let path = folder.path("socket");
    let listen = [
        format!("frames+tls://127.0.0.1:0,{keys}"),
        format!("lines+tls://127.0.0.1:0,min=1.3,{keys}"),
        format!("https://127.0.0.1:0,{keys}"),
        format!("raw+tls+unix://{},{keys}", path.display()),
        format!("wss://127.0.0.1:0,{keys}"),
    ];
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&listen, &[]);
    let place = |index: usize| {
        let scheme = daemon.listening[index].split("://").next().unwrap();
        format!("{scheme}://{}", daemon.address(index).split(',').next().unwrap())
    };
    for (index, load) in [
        (0, &["--depth", "16"][..]),
        (1, &["--hold", "5"]),
        (2, &["--depth", "4"]),
        (4, &["--depth", "2"]),
        (3, &["--size", "1-3000"]),
        (0, &["--rate", "500"]),
    ] {
        let run = until(came, &place(index), &[&["-c", "3", "--ca", &ca], load].concat());
        assert_good(&run);
        let idle = if load.contains(&"--hold") { 5.0 } else { 0.0 };
        assert_eq!(run.number("/connections/opened"), 3.0 + idle, "{run:?}");
        assert_eq!(run.handshakes("full") + run.handshakes("resumed"), 3.0 + idle, "{run:?}");
        assert!(run.number("/handshakes/full_us/p50") > 0.0, "{run:?}");
        assert!(run.stderr.contains("handshakes  "), "{}", run.stderr);
    }
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn more_in_flight_than_the_sockets_hold_does_not_make_both_wait_for_each_other() {
    let (_folder, _, files, ca) = local("bench-large");
    let keys = files.keys();
    let daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &[]);
    let place = format!("frames+tls://{}", daemon.address(0).split(',').next().unwrap());
    let load = ["-c", "2", "--depth", "8", "--size", "2MiB", "--timeout", "60s", "--ca", &ca];
    assert_good(&until(came, &place, &load));
}

#[test]
fn sessions_are_resumed_unless_full_handshakes_are_asked_for() {
    let (_folder, _, files, ca) = local("bench-churn");
    let keys = files.keys();
    let daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &[]);
    let place = format!("frames+tls://{}", daemon.address(0).split(',').next().unwrap());
    let churn = ["-c", "2", "--churn", "2", "--ca", &ca];
    let runs = Cell::new(0);
    let count = |is_enough: bool| {
        runs.set(runs.get() + 1);
        is_enough
    };
    let run = until(|run| count(run.handshakes("resumed") > 2.0), &place, &churn);
    assert_good(&run);
    assert!(run.handshakes("full") >= 1.0, "{run:?}");
    let all = run.handshakes("full") + run.handshakes("resumed");
    assert_eq!(run.number("/connections/opened"), all, "{run:?}");
    assert!(run.number("/handshakes/per_s") > 0.0, "{run:?}");
    let full = [&churn[..], &["--full-handshakes"]].concat();
    let run = until(|run| count(run.handshakes("full") > 2.0), &place, &full);
    assert_good(&run);
    assert_eq!(run.handshakes("resumed"), 0.0, "{run:?}");
    assert!(run.report.pointer("/config/full_handshakes").unwrap().as_bool().unwrap());
    let ended = daemon.stop();
    // The end of a run may find both of its connections in their handshake, and waits only for a while.
    let mut parts = ended.stdout.split([',', ';']);
    let cut_short = parts.find(|part| part.contains("cut short"));
    let cut_short =
        cut_short.map_or(0, |part| part.split_whitespace().next().unwrap().parse().unwrap());
    assert!(cut_short <= 2 * runs.get(), "each other one ended with close_notify: {ended:?}");
}

#[test]
fn servers_of_others_are_loaded() {
    let (_folder, _, files, ca) = local("bench-others");
    for (protocol, server) in [("raw", Foreign::socat(&files)), ("frames", Foreign::python(&files))]
    {
        let Some(server) = server else { continue };
        let place = format!("{protocol}+tls://{}", server.address);
        let load = ["-c", "2", "--depth", "3", "--size", "1-2000", "--timeout", "60s", "--ca", &ca];
        let run = until(came, &place, &load);
        assert_good(&run);
        assert_eq!(run.handshakes("full") + run.handshakes("resumed"), 2.0, "{run:?}");
    }
}

#[test]
fn what_a_server_gets_wrong_inside_tls_is_found() {
    let daemon =
        Daemon::start(&["frames+tls://127.0.0.1:0,tls=self-signed,fault=drop@50%,seed=1"], &[]);
    let place = format!("frames+tls://{}", daemon.address(0).split(',').next().unwrap());
    for duration in ["500ms", "3s", "20s"] {
        let load = ["-c", "1", "--depth", "8", "--insecure", "-z", duration];
        let run = Run::new(&place, &load);
        if run.number("/errors_by_name/DROPPED") > 0.0 {
            assert_eq!(run.code, Some(1), "{run:?}");
            assert!(run.stderr.contains("warning: --insecure"), "{}", run.stderr);
            return;
        }
    }
    panic!("no frame was missed");
}

#[test]
fn a_server_that_cannot_be_loaded_is_told_with_the_cause_and_the_remedy() {
    let (folder, authority, files, ca) = local("bench-wrong");
    let listen = [
        format!("raw+tls://127.0.0.1:0,{}", files.keys()),
        format!("raw+tls://127.0.0.1:0,client-ca={ca},{}", files.keys()),
        "raw://127.0.0.1:0".to_owned(),
        "http://127.0.0.1:0".to_owned(),
    ];
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&listen, &[]);
    let place =
        |index: usize| format!("raw+tls://{}", daemon.address(index).split(',').next().unwrap());
    let other = folder.put("other.pem", &Authority::new().pem());
    let other = other.to_str().unwrap();
    for (index, trust, says) in [
        (0, &["--ca", other][..], "nobody who is trusted has signed the server's certificate"),
        (0, &["--ca", &ca, "--sni", "example.org"], "and not for example.org"),
        (1, &["--ca", &ca], "the server wants a client certificate"),
        (2, &["--insecure"], "it echoes without TLS"),
        (3, &["--insecure"], "what it sent looks like an HTTP response"),
    ] {
        let run = Run::new(&place(index), &[&["-c", "2", "-z", "60s"], trust].concat());
        assert_fails(&run, 1, &[&format!("cannot connect to {}: ", place(index)), says]);
    }
    let own = Files::put(&folder, "own", &authority.sign(&["client"]));
    let shown = ["-c", "1", "--ca", &ca, "--cert", own.chain(), "--key", own.key()];
    assert_good(&until(came, &place(1), &shown));
}

#[test]
fn a_server_that_does_not_answer_the_handshake_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = thread::spawn(move || {
        let _ = listener.accept().unwrap().0.read_to_end(&mut Vec::new());
    });
    let place = format!("raw+tls://{address}");
    let run = Run::new(&place, &["-c", "1", "--insecure", "--timeout", "300ms", "-z", "60s"]);
    assert_fails(&run, 1, &["no answer to the TLS handshake within --timeout"]);
    silent.join().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closing = thread::spawn(move || listener.accept().unwrap().0.read_exact(&mut [0; 100]));
    let run = Run::new(&format!("raw+tls://{address}"), &["-c", "1", "--insecure", "-z", "60s"]);
    assert_fails(&run, 1, &["the server ended the connection in the TLS handshake"]);
    closing.join().unwrap().unwrap();
}

#[test]
fn a_server_that_is_started_for_the_load_may_make_the_certificate_then() {
    let folder = Folder::new("bench-server");
    let ca = folder.path("made.pem");
    let server = format!(
        "{} serve -l raw+tls://127.0.0.1:0,tls=self-signed,save-cert={}",
        env!("CARGO_BIN_EXE_resound"),
        ca.display()
    );
    let load = ["-c", "1", "--server", &server, "--ca", ca.to_str().unwrap()];
    assert_good(&until(came, "raw+tls://", &load));
}

#[test]
fn flags_for_tls_need_tls() {
    for (address, flag, says) in [
        (
            "raw://:1",
            &["--full-handshakes"][..],
            "--full-handshakes is for TLS, and raw://127.0.0.1:1 has none",
        ),
        ("raw://:1", &["--insecure"], "write raw+tls://127.0.0.1:1"),
        ("udp+tls://:1", &[], "udp has no TLS"),
    ] {
        assert_fails(&Run::new(address, flag), 2, &[says]);
    }
}
