//! TLS listeners of a real daemon, and rustls as the client: certificates, ends, memory, replacement.

#![cfg(feature = "tls")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the report"
)]

#[path = "common/mod.rs"]
mod common;
#[path = "tls/mutations.rs"]
mod mutations;
#[path = "tls/steps.rs"]
mod steps;
#[path = "tls/support.rs"]
mod support;

use std::{
    io::{BufRead, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::Arc,
};

use common::{
    Daemon, PATIENCE, check_metrics, descriptor_limit, eventually, frame, http_get, ping, resound,
};
use rustix::process::Signal;
use rustls::{HandshakeKind, ProtocolVersion, StreamOwned};
use support::{Authority, Folder, TlsStream, config, connect, tls};

/// One frame there and back.
fn ping_tls(stream: &mut TlsStream) {
    stream.write_all(&frame(b"ping")).unwrap();
    let mut back = [0; 8];
    stream.read_exact(&mut back).expect("an answer in time");
    assert_eq!(back[..], frame(b"ping"));
}

/// A certificate that `authority` has signed for these names, in `folder`: the keys of a listener with it.
fn keys(authority: &Authority, folder: &Folder, name: &str, names: &[&str]) -> String {
    let certificate = authority.sign(names);
    let (chain, key) = (folder.put(&format!("{name}.pem"), &certificate.pem), certificate.key_pem);
    let key = folder.put(&format!("{name}.key"), &key);
    format!("cert={},key={}", chain.display(), key.display())
}

#[test]
fn every_stream_protocol_has_it_over_tcp_and_unix_sockets() {
    let (folder, authority) = (Folder::new("protocols"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let path = folder.path("socket");
    let listen = [
        format!("frames+tls://127.0.0.1:0,{keys}"),
        format!("lines+tls://127.0.0.1:0,banner=welcome,{keys}"),
        format!("https://127.0.0.1:0,{keys}"),
        format!("wss://127.0.0.1:0,{keys}"),
        format!("raw+tls+unix://{},{keys}", path.display()),
    ];
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&listen, &[]);
    let config = Arc::new(config(&authority));
    let mut frames = connect(daemon.address(0), &config);
    ping_tls(&mut frames);
    assert!(daemon.listening[0].starts_with("frames+tls://"), "{:?}", daemon.listening);
    assert!(daemon.listening[2].starts_with("https://"), "{:?}", daemon.listening);

    let mut lines = connect(daemon.address(1), &config);
    lines.write_all(b"hello\n").unwrap();
    let mut back = [0; 14];
    lines.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"welcome\nhello\n");

    let mut http = connect(daemon.address(2), &config);
    http.write_all(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    )
    .unwrap();
    let mut answer = String::new();
    // It ends in close_notify: otherwise this is an error.
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");

    let mut websocket = connect(daemon.address(3), &config);
    websocket
        .write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        websocket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());

    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut raw = StreamOwned::new(tls(&config, "localhost"), stream);
    raw.write_all(b"anything").unwrap();
    let mut back = [0; 8];
    raw.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"anything");
    drop((frames, lines, websocket, raw));
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn half_close_gets_every_reply_and_then_close_notify() {
    let (folder, authority) = (Folder::new("half-close"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &[]);
    let mut stream = connect(daemon.address(0), &Arc::new(config(&authority)));
    // So little that the kernel holds it: this client reads only when it has sent everything.
    let sent = frame(&[7; 3000]).repeat(30);
    stream.write_all(&sent).unwrap();
    stream.conn.send_close_notify();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    let ended = daemon.stop();
    assert!(!ended.stdout.contains("cut short"), "{ended:?}");
    assert!(ended.stdout.contains("30 frames"), "{ended:?}");
    assert!(ended.stdout.contains("closed: 1 by the peer"), "{ended:?}");
}

#[test]
fn fin_without_close_notify_is_counted_as_a_truncation() {
    let (folder, authority) = (Folder::new("truncation"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &[]);
    let mut stream = connect(daemon.address(0), &Arc::new(config(&authority)));
    ping_tls(&mut stream);
    stream.sock.shutdown(Shutdown::Write).unwrap();
    // The server ends in order all the same.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let mut stream = connect(daemon.address(0), &Arc::new(config(&authority)));
    ping_tls(&mut stream);
    // The first half of a frame: counted once, and not twice.
    stream.write_all(&frame(b"half")[..6]).unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("2 frames cut short"), "{ended:?}");
}

#[test]
fn what_is_not_tls_is_named_in_the_log_and_a_bystander_does_not_notice() {
    let listen = "frames+tls://127.0.0.1:0,tls=self-signed";
    let mut daemon = Daemon::start(&[listen, "frames://127.0.0.1:0"], &["--log-level", "debug"]);
    let mut beside = TcpStream::connect(daemon.address(1)).unwrap();
    beside.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut log = daemon.take_stderr();
    for (sent, says) in [
        (&b"SSH-2.0-OpenSSH_9.9\r\n"[..], "not TLS: this looks like an SSH banner"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "not TLS: this looks like an HTTP request; use https://",
        ),
        // An alert in the middle of a message.
        (
            b"\x16\x03\x01\x00\x01\x01\x15\x03\x03\x00\x02\x02\x30",
            "the peer broke the rules of TLS",
        ),
    ] {
        let mut stream = daemon.connect();
        stream.write_all(sent).unwrap();
        ping(&mut beside);
        let mut line = String::new();
        while !line.contains(": refused: ") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "no line about {says}");
        }
        assert!(line.contains(says), "{line}");
    }
}

#[test]
fn a_self_signed_certificate_is_for_where_it_listens_and_is_told() {
    let folder = Folder::new("self-signed");
    let saved = folder.path("saved.pem");
    let listen = format!("frames+tls://127.0.0.1:0,tls=self-signed,save-cert={}", saved.display());
    let mut daemon = Daemon::start(&[&listen], &[]);
    let mut log = daemon.take_stderr();
    let mut line = String::new();
    while !line.contains("SHA-256") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "no fingerprint");
    }
    let config = Arc::new(support::trusting(&std::fs::read_to_string(&saved).unwrap()));
    for name in ["localhost", "127.0.0.1"] {
        let mut stream = support::connect_as(name, daemon.address(0), &config);
        ping_tls(&mut stream);
        let shown = support::fingerprint(&stream);
        assert!(line.trim().ends_with(&shown), "{line} {shown}");
    }
    let mut stranger = support::connect_as("example.org", daemon.address(0), &config);
    let error = stranger.write_all(b"x").unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[test]
fn clients_need_a_certificate_where_client_ca_says_so() {
    let (folder, authority, other) = (Folder::new("mutual"), Authority::new(), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let ca = folder.put("ca.pem", &authority.pem());
    let listen = format!("frames+tls://127.0.0.1:0,{keys},client-ca={}", ca.display());
    let mut daemon = Daemon::start(&[&listen], &["--log-level", "debug"]);
    let mut log = daemon.take_stderr();
    let mut known = connect(daemon.address(0), &Arc::new(authority.client(&authority)));
    ping_tls(&mut known);
    for (config, says) in [
        (config(&authority), "no client certificate, which client-ca= requires"),
        (authority.client(&other), "from no authority in client-ca= (unknown_ca)"),
    ] {
        let mut stream = connect(daemon.address(0), &Arc::new(config));
        // With TLS 1.3 the client's handshake is complete before the server has seen the certificate.
        let _ = stream.write_all(b"x");
        let error = stream.read(&mut [0]).unwrap_err().to_string();
        assert!(error.contains("alert"), "{error}");
        let mut line = String::new();
        while !line.contains(": refused: ") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "no line about {says}");
        }
        assert!(line.contains(says), "{line}");
    }
    ping_tls(&mut known);
    drop((known, log));
    let ended = daemon.stop();
    assert!(ended.stdout.contains("2 not allowed"), "{ended:?}");
}

#[test]
fn the_certificate_is_the_one_for_the_name_and_versions_and_alpn_are_as_told() {
    let (folder, authority) = (Folder::new("names"), Authority::new());
    let pairs = ["one.example", "two.example"].map(|name| {
        let certificate = authority.sign(&[name, "localhost"]);
        let chain = folder.put(&format!("{name}.pem"), &certificate.pem);
        let key = folder.put(&format!("{name}.key"), &certificate.key_pem);
        (chain.display().to_string(), key.display().to_string())
    });
    let [(chain1, key1), (chain2, key2)] = pairs;
    let listen = format!(
        "frames+tls://127.0.0.1:0,cert={chain1}+{chain2},key={key1}+{key2},min=1.3,alpn=echo/1+echo/2"
    );
    let daemon = Daemon::start(&[&listen], &[]);
    let mut alpn = config(&authority);
    alpn.alpn_protocols = vec![b"echo/2".to_vec(), b"other".to_vec()];
    let alpn = Arc::new(alpn);
    let mut shown = Vec::new();
    for name in ["one.example", "two.example", "localhost"] {
        let mut stream = support::connect_as(name, daemon.address(0), &alpn);
        ping_tls(&mut stream);
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"echo/2"[..]));
        assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        shown.push(support::fingerprint(&stream));
    }
    assert_ne!(shown[0], shown[1]);
    assert_eq!(shown[0], shown[2], "the first one for a name that both have");

    let old = Arc::new(support::only_tls12(&authority));
    let error = connect(daemon.address(0), &old).write_all(b"x").unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    let mut foreign = config(&authority);
    foreign.alpn_protocols = vec![b"h2".to_vec()];
    let error = connect(daemon.address(0), &Arc::new(foreign)).write_all(b"x").unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn tls_1_2_works_and_who_comes_back_is_resumed_in_both_versions() {
    let (folder, authority) = (Folder::new("versions"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let listen = format!("frames+tls://127.0.0.1:0,{keys}");
    let daemon = Daemon::start(&[&listen], &["--reactors", "2"]);
    for config in [config(&authority), support::only_tls12(&authority)] {
        let config = Arc::new(config);
        let kinds = [(); 3].map(|()| {
            let mut stream = connect(daemon.address(0), &config);
            ping_tls(&mut stream);
            stream.conn.handshake_kind()
        });
        let resumed = Some(HandshakeKind::Resumed);
        assert_eq!(kinds, [Some(HandshakeKind::Full), resumed, resumed]);
    }
}

#[test]
fn handshakes_are_counted_by_kind_and_failed_ones_by_their_alert() {
    let (folder, authority, other) = (Folder::new("counted"), Authority::new(), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let mut command = resound();
    let listen = format!("frames+tls://127.0.0.1:0,{keys}");
    command.args(["serve", "--listen", &listen, "--admin", "127.0.0.1:0", "--reactors", "2"]);
    command.args(["--log-level", "debug"]);
    let mut daemon = Daemon::spawn(command, 2);
    let mut log = daemon.take_stderr();
    let config = Arc::new(config(&authority));
    for _ in 0..3 {
        ping_tls(&mut connect(daemon.address(0), &config));
    }
    // One does not know the authority, one has no signature in common with the server, and one does not speak TLS.
    let mut stranger = connect(daemon.address(0), &Arc::new(support::config(&other)));
    assert!(stranger.write_all(b"x").is_err());
    let mut old = TcpStream::connect(daemon.address(0)).unwrap();
    old.write_all(&hello_without_extensions()).unwrap();
    let mut alert = [0; 7];
    old.read_exact(&mut alert).unwrap();
    assert_eq!(alert, *b"\x15\x03\x03\0\x02\x02\x28", "handshake_failure");
    let mut text = TcpStream::connect(daemon.address(0)).unwrap();
    text.write_all(b"hello, world\n").unwrap();
    text.read_to_end(&mut Vec::new()).unwrap();

    let name = &daemon.listening[0];
    let sample = |name: &str, labels: &str, count: u32| {
        format!(
            "resound_tls_{name}_total{{listener=\"{}\",{labels}}} {count}\n",
            daemon.listening[0]
        )
    };
    for sample in [
        sample("handshakes", "kind=\"full\"", 1),
        sample("handshakes", "kind=\"resumed\"", 2),
        sample("handshakes_failed", "alert=\"unknown_ca\",sender=\"client\"", 1),
        sample("handshakes_failed", "alert=\"handshake_failure\",sender=\"server\"", 1),
        sample("handshakes_failed", "alert=\"none\",sender=\"none\"", 1),
    ] {
        // The alert of a client that goes is handled when the server comes to it.
        eventually(&sample, || http_get(daemon.address(1), "/metrics", "").1.contains(&sample));
    }
    check_metrics(&http_get(daemon.address(1), "/metrics", "").1);
    let stats = http_get(daemon.address(1), "/stats", "").1;
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let listeners = stats["listeners"].as_array().unwrap();
    let handshakes = &listeners.iter().find(|one| one["name"] == **name).unwrap()["tls_handshakes"];
    assert_eq!((&handshakes["full"], &handshakes["resumed"]), (&1.into(), &2.into()), "{stats}");
    assert_eq!(handshakes["failed"].as_array().unwrap().len(), 3, "{stats}");

    let mut line = String::new();
    while !line.contains("sent the alert handshake_failure") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log does not name the alert");
    }
}

/// A `ClientHello` that does not say which signatures it understands.
fn hello_without_extensions() -> Vec<u8> {
    let version = [3, 3];
    let suites = [0xC0, 0x09];
    let body = [&version[..], &[7; 32], &[0], &[0, 2], &suites, &[1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[test]
fn certificates_are_read_again_when_they_change_and_bad_ones_change_nothing() {
    let (folder, authority) = (Folder::new("reload"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let mut daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &[]);
    let mut log = daemon.take_stderr();
    let mut wait_for = |what: &str| {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "no line about {what}");
        }
        line
    };
    let config = Arc::new(support::without_resumption(&authority));
    let mut before = connect(daemon.address(0), &config);
    ping_tls(&mut before);
    let first = support::fingerprint(&before);

    // Renamed into its place, so that no half of it is ever read.
    folder.replace("server.pem", "no certificate\n");
    let line = wait_for("the certificates have changed, and cannot be used");
    assert!(line.contains("server.pem: no certificate in PEM"), "{line}");
    let mut meanwhile = connect(daemon.address(0), &config);
    ping_tls(&mut meanwhile);
    assert_eq!(support::fingerprint(&meanwhile), first);

    let certificate = authority.sign(&["localhost"]);
    folder.replace("server.pem", &certificate.pem);
    // Not the key of it. (The message is the same however far the rest has come.)
    wait_for("cannot be used");
    folder.replace("server.key", &certificate.key_pem);
    wait_for("read the certificates again");
    let mut after = connect(daemon.address(0), &config);
    ping_tls(&mut after);
    assert_ne!(support::fingerprint(&after), first);
    ping_tls(&mut before);
}

/// Row 55 of the fault table.
#[test]
fn handshakes_that_are_never_finished_end_in_time_and_a_bystander_does_not_notice() {
    let (folder, authority) = (Folder::new("half-handshakes"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let listen = format!("frames+tls://127.0.0.1:0,{keys}");
    let arguments = ["--handshake-timeout", "2s", "--log-level", "warn"];
    let daemon = Daemon::start(&[&listen, "frames://127.0.0.1:0"], &arguments);
    let mut plain = TcpStream::connect(daemon.address(1)).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = Arc::new(config(&authority));
    let mut beside = connect(daemon.address(0), &config);
    ping_tls(&mut beside);
    let mut hello = Vec::new();
    tls(&config, "localhost").write_tls(&mut hello).unwrap();

    // This process and the daemon have one descriptor each for a connection, and others beside.
    let count = 10_000.min(descriptor_limit().saturating_sub(200) / 2);
    let mut waiting = Vec::new();
    for index in 0..count {
        let source = [127, 0, 0, 2 + (index % 100) as u8];
        let mut stream = daemon.connect_from(source);
        // Nothing, a part, or the whole of what a client says first.
        let part = [0, 100, hello.len()][index % 3];
        stream.write_all(&hello[..part]).unwrap();
        waiting.push(stream);
        if index % 100 == 0 {
            ping_tls(&mut beside);
            ping(&mut plain);
        }
    }
    for stream in &mut waiting {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
    ping_tls(&mut beside);
    ping(&mut plain);
    drop((beside, plain, waiting));
    let ended = daemon.stop();
    let closed = format!("{count} on handshake timeout");
    assert!(ended.stdout.contains(&closed), "{count} connections: {ended:?}");
}

/// What the server holds of a frame inside TLS counts as memory.
#[test]
fn what_is_decrypted_and_not_whole_counts_against_the_memory_limit() {
    let (folder, authority) = (Folder::new("memory"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let listen = format!("frames+tls://127.0.0.1:0,{keys}");
    let arguments = ["--max-memory", "8MiB", "--max-frame", "4MiB"];
    let mut daemon = Daemon::start(&[&listen], &arguments);
    drop(daemon.take_stderr());
    let config = Arc::new(config(&authority));
    let mut beside = connect(daemon.address(0), &config);
    ping_tls(&mut beside);
    let unfinished = &frame(&vec![1; 3 << 20])[..2 << 20];
    let mut holding = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(daemon.address(0), &config);
        // It may be ended while it sends.
        let _ = stream.write_all(unfinished);
        holding.push(stream);
        ping_tls(&mut beside);
    }
    drop(holding);
    ping_tls(&mut beside);
    drop(beside);
    let ended = daemon.stop();
    let (before, _) = ended.stdout.split_once(" at the memory limit").expect("some were ended");
    let count: u32 = before.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((3..8).contains(&count), "{ended:?}");
}

#[test]
fn sigterm_answers_what_has_come_and_ends_with_close_notify() {
    let (folder, authority) = (Folder::new("drain"), Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &["--grace", "60s"]);
    let config = Arc::new(config(&authority));
    let (mut idle, mut busy) =
        (connect(daemon.address(0), &config), connect(daemon.address(0), &config));
    ping_tls(&mut idle);
    ping_tls(&mut busy);
    busy.write_all(&frame(b"ping")[..5]).unwrap();
    // Records that are sent come to be read: the server has answered something that was sent behind them.
    ping_tls(&mut idle);
    daemon.signal(Signal::TERM);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    busy.write_all(&frame(b"ping")[5..]).unwrap();
    let mut back = Vec::new();
    busy.read_to_end(&mut back).unwrap();
    assert_eq!(back, frame(b"ping"));
    drop((idle, busy));
    let mut daemon = daemon;
    let ended = daemon.wait();
    assert!(ended.status.success() && ended.stdout.contains("2 drained"), "{ended:?}");
}

#[test]
fn wrong_keys_end_it_with_a_usage_error_that_says_what_is_right() {
    let (folder, authority, other) = (Folder::new("usage"), Authority::new(), Authority::new());
    let (one, two) = (authority.sign(&["localhost"]), other.sign(&["localhost"]));
    let (chain, key) = (folder.put("one.pem", &one.pem), folder.put("two.key", &two.key_pem));
    let mismatch = format!("raw+tls://:0,cert={},key={}", chain.display(), key.display());
    for (listen, says) in [
        ("raw+tls://:0", "TLS needs cert=FILE,key=FILE, or tls=self-signed"),
        ("raw+tls://:0,cert=/no/such,key=/no/such", "cert=/no/such: No such file"),
        ("udp+tls://:0", "udp has no TLS"),
        ("raw://:0,min=1.3", "min is for TLS: write raw+tls://"),
        (&mismatch, "not the key of the certificate in"),
    ] {
        let output = resound().args(["serve", "--listen", listen]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{listen}: {error}");
        // The message is wrapped to the width of the terminal.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&error).contains(&words(says)), "{listen}: {error}");
    }
}
