//! `resound client` over TLS: with resound's own server, with servers that others wrote, and with servers that are wrong.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

#[path = "common/mod.rs"]
mod common;
#[path = "tls/servers.rs"]
mod servers;
#[path = "tls/support.rs"]
mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use common::{
    Daemon, PATIENCE, Random,
    client::{client, pipe},
    resound,
    terminal::Terminal,
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use servers::{Files, Foreign, authority_file, local};
use support::{Authority, Folder};

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The output is the input, and nothing else was said.
fn assert_echo(output: &Output, input: &[u8]) {
    assert!(output.status.success(), "{}", stderr(output));
    assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());
    assert_eq!(stderr(output), "");
}

/// It failed with this exit code, and said so in these words.
fn assert_fails(output: &Output, code: i32, says: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    for text in says {
        assert!(stderr(output).contains(text), "no {text:?} in {}", stderr(output));
    }
}

/// A TLS server for one connection of the client.
struct Server {
    address: String,
    thread: JoinHandle<()>,
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

impl Server {
    fn start(authority: &Authority, serve: impl FnOnce(Stream) + Send + 'static) -> Self {
        let certificate = authority.sign(&["localhost"]);
        let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let session = ServerConnection::new(Arc::new(config)).unwrap();
            serve(StreamOwned::new(session, stream));
        });
        Self { address, thread }
    }

    fn end(self) {
        self.thread.join().unwrap();
    }
}

/// A server that speaks no TLS, for one connection.
fn plain(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || serve(listener.accept().unwrap().0));
    (address, thread)
}

#[test]
fn every_input_comes_back_exactly_over_tcp_and_unix_sockets() {
    let (folder, _, files, ca) = local("client-echo");
    let keys = files.keys();
    let path = folder.path("socket");
    let listen = [
        format!("frames+tls://127.0.0.1:0,{keys}"),
        format!("lines+tls://127.0.0.1:0,min=1.3,{keys}"),
        format!("raw+tls+unix://{},{keys}", path.display()),
    ];
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&listen, &[]);
    let places = [
        format!("frames+tls://{}", daemon.address(0)),
        format!("lines+tls://{}", daemon.address(1).replace("127.0.0.1", "localhost")),
        format!("raw+tls+unix://{}", path.display()),
    ];
    for place in &places {
        for input in [&b""[..], b"\n", b"one\n\ntwo\n", b"no newline at the end", b"\0\xff\n\x80"] {
            assert_echo(&pipe(client(place, &["--ca", &ca]), input), input);
        }
    }
    let ended = daemon.stop();
    assert!(!ended.stdout.contains("cut short"), "{ended:?}");
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_large_file_goes_both_ways_at_once() {
    let (_folder, _, files, ca) = local("client-large");
    let keys = files.keys();
    let daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &[]);
    let input = Random(1).bytes(20 << 20);
    let place = format!("frames+tls://{}", daemon.address(0));
    // Chunks that are larger than what the sockets hold: the server stops reading while it is not read from.
    for chunk in ["64KiB", "9MiB"] {
        assert_echo(&pipe(client(&place, &["--ca", &ca, "--chunk", chunk]), &input), &input);
    }
}

#[test]
fn keys_change_while_data_flows() {
    let (folder, authority) = (Folder::new("client-keys"), Authority::new());
    let ca = authority_file(&folder, &authority);
    let server = Server::start(&authority, |mut stream| {
        let mut block = [0; 1 << 15];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            // It asks the client to change its keys, too (RFC 8446, section 4.6.3).
            stream.conn.refresh_traffic_keys().unwrap();
            stream.write_all(&block[..length]).unwrap();
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    let input = Random(2).bytes(1 << 20);
    let place = format!("raw+tls://{}", server.address);
    assert_echo(&pipe(client(&place, &["--ca", &ca]), &input), &input);
    server.end();
}

#[test]
fn after_close_notify_of_the_client_the_rest_is_read() {
    let (folder, authority) = (Folder::new("client-half-close"), Authority::new());
    let ca = authority_file(&folder, &authority);
    let server = Server::start(&authority, |mut stream| {
        let mut received = Vec::new();
        // Its end is close_notify: FIN alone would be an error.
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&received).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    let input = Random(3).bytes(100_000);
    let place = format!("raw+tls://{}", server.address);
    assert_echo(&pipe(client(&place, &["--ca", &ca]), &input), &input);
    server.end();
}

#[test]
fn servers_of_others_are_understood() {
    let (_folder, _, files, ca) = local("client-others");
    for version in ["-tls1_2", "-tls1_3"] {
        let Some(server) = Foreign::openssl(&files, &["-rev", version]) else { continue };
        let place = format!("lines+tls://{}", server.address);
        let output = pipe(client(&place, &["--ca", &ca, "--no-check"]), b"hello\n");
        assert_eq!(output.stdout, b"olleh\n", "{version}: {}", stderr(&output));
        assert!(output.status.success(), "{version}: {}", stderr(&output));
    }
    if let Some(server) = Foreign::socat(&files) {
        let place = format!("raw+tls://{}", server.address);
        let input = Random(4).bytes(300_000);
        assert_echo(&pipe(client(&place, &["--ca", &ca]), &input), &input);
    }
    if let Some(server) = Foreign::python(&files) {
        let place = format!("frames+tls://{}", server.address);
        let input = Random(5).bytes(3_000_000);
        assert_echo(&pipe(client(&place, &["--ca", &ca, "--chunk", "100000"]), &input), &input);
    }
}

#[test]
fn a_certificate_that_is_not_trusted_not_for_the_name_or_not_valid_now_is_refused_with_the_remedy()
{
    let (folder, authority, files, ca) = local("client-trust");
    let expired = Files::put(&folder, "expired", &authority.sign_expired(&["localhost"]));
    let listen = [
        format!("raw+tls://127.0.0.1:0,{}", files.keys()),
        format!("raw+tls://127.0.0.1:0,{}", expired.keys()),
    ];
    let daemon = Daemon::start(&[&listen[0], &listen[1]], &[]);
    let place = |index| format!("raw+tls://{}", daemon.address(index));
    let other = folder.put("other.pem", &Authority::new().pem());
    let other = other.to_str().unwrap();
    let fails = |place: &str, arguments: &[&str], says: &[&str]| {
        assert_fails(&pipe(client(place, arguments), b"hello"), 1, says);
    };
    fails(&place(0), &["--ca", other], &["nobody who is trusted has signed", "with --ca FILE"]);
    fails(
        &place(0),
        &["--ca", &ca, "--sni", "example.org"],
        &["is for localhost, 127.0.0.1, and not for example.org", "--sni NAME"],
    );
    fails(
        &place(1).replace("127.0.0.1", "localhost"),
        &["--ca", &ca],
        &["has expired (Sat, 03 Feb 2001", "--insecure"],
    );
    // What the system trusts has not signed it, whatever that is.
    let mut command = client(&place(0), &[]);
    command.env("SSL_CERT_FILE", other);
    assert_fails(&pipe(command, b"hello"), 1, &["nobody who is trusted has signed"]);
    let mut command = client(&place(0), &[]);
    command.env("SSL_CERT_FILE", &ca);
    assert_echo(&pipe(command, b"hello"), b"hello");
    fails(&place(0), &["--ca", "/no/such"], &["ca=/no/such: No such file"]);
    fails(&place(0), &["--ca", &ca, "--sni", "a b"], &["\"a b\" is neither a host name nor"]);
    // The name decides, and the address does not.
    let daemon_at_ip = place(1);
    fails(&daemon_at_ip, &["--ca", &ca], &["127.0.0.1"]);
}

#[test]
fn with_insecure_any_certificate_will_do_and_a_warning_says_so() {
    let daemon = Daemon::start(&["raw+tls://127.0.0.1:0,tls=self-signed"], &[]);
    let place = format!("raw+tls://{}", daemon.address(0));
    let output = pipe(client(&place, &["--insecure", "--sni", "any.example"]), b"hello");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(output.stdout, b"hello");
    let warning = "warning: --insecure: any certificate is accepted";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
}

#[test]
fn a_certificate_that_is_itself_in_the_file_is_trusted_also_if_it_is_one_of_an_authority() {
    let (folder, authority) = (Folder::new("client-pinned"), Authority::new());
    // Made as in many instructions for servers.
    let Some(openssl) = common::tool("openssl") else { return };
    let (chain, key) = (folder.path("own.pem"), folder.path("own.key"));
    let mut command = Command::new(openssl);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    command.args([
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=CA:TRUE",
    ]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&chain);
    let made = command.stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let listen = format!("raw+tls://127.0.0.1:0,cert={},key={}", chain.display(), key.display());
    let daemon = Daemon::start(&[&listen], &[]);
    let place = format!("raw+tls://{}", daemon.address(0).replace("127.0.0.1", "localhost"));
    let chain = chain.to_str().unwrap();
    assert_echo(&pipe(client(&place, &["--ca", chain]), b"hello"), b"hello");
    let output = pipe(client(&place, &["--ca", chain, "--sni", "example.org"]), b"hello");
    assert_fails(&output, 1, &["is for localhost, and not for example.org"]);
    // Another authority does not help.
    let other = authority_file(&folder, &authority);
    assert_eq!(pipe(client(&place, &["--ca", &other]), b"hello").status.code(), Some(1));
}

#[test]
fn a_server_that_wants_a_certificate_gets_it_or_the_client_says_so() {
    let (folder, authority, files, ca) = local("client-mutual");
    let own = Files::put(&folder, "own", &authority.sign(&["client"]));
    let stranger = Files::put(&folder, "stranger", &Authority::new().sign(&["client"]));
    let listen = format!("raw+tls://127.0.0.1:0,client-ca={ca},{}", files.keys());
    let daemon = Daemon::start(&[&listen], &[]);
    let mut places = vec![format!("raw+tls://{}", daemon.address(0))];
    let wants = ["-rev", "-Verify", "1", "-verify_return_error", "-CAfile", &ca];
    let foreign: Vec<Foreign> = ["-tls1_2", "-tls1_3"]
        .iter()
        .filter_map(|version| Foreign::openssl(&files, &[&wants[..], &[version]].concat()))
        .collect();
    places.extend(foreign.iter().map(|server| format!("raw+tls://{}", server.address)));
    for place in &places {
        let output = pipe(client(place, &["--ca", &ca, "--no-check"]), b"abba\n");
        assert_fails(
            &output,
            1,
            &["the server wants a client certificate (TLS alert ", "with --cert FILE --key FILE"],
        );
        let shows = |files: &Files| {
            let arguments =
                ["--ca", &ca, "--no-check", "--cert", files.chain(), "--key", files.key()];
            pipe(client(place, &arguments), b"abba\n")
        };
        assert_fails(&shows(&stranger), 1, &["the server does not accept the client certificate"]);
        let output = shows(&own);
        assert_eq!(output.stdout, b"abba\n", "{place}: {}", stderr(&output));
    }
    let arguments = ["--ca", &ca, "--cert", own.chain(), "--key", stranger.key()];
    let output = pipe(client(&places[0], &arguments), b"");
    assert_fails(&output, 1, &["not the key of the certificate in"]);
}

#[test]
fn a_server_without_tls_is_told_from_one_that_does_not_answer() {
    let fails = |address: &str, timeout: &str, says: &str| {
        let place = format!("raw+tls://{address}");
        let output = pipe(client(&place, &["--insecure", "--timeout", timeout]), b"hello");
        assert_fails(&output, 1, &[&format!("cannot connect to {address}: "), says]);
    };
    let daemon = Daemon::start(&["raw://127.0.0.1:0", "http://127.0.0.1:0"], &[]);
    let says = "sent the TLS handshake of this client back: it echoes without TLS";
    fails(daemon.address(0), "60s", says);
    fails(daemon.address(1), "60s", "what it sent looks like an HTTP response");
    let (address, server) = plain(|mut stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
        // Until the client has seen enough.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    fails(&address, "60s", "does not speak TLS: what it sent looks like an SSH banner");
    server.join().unwrap();
    let (address, server) = plain(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    fails(&address, "100ms", "no answer to the TLS handshake within 100ms");
    server.join().unwrap();
    let (address, server) = plain(|mut stream| {
        stream.read_exact(&mut [0; 100]).unwrap();
    });
    fails(&address, "60s", "the server ended the connection in the TLS handshake");
    server.join().unwrap();
}

#[test]
fn fin_without_close_notify_is_told() {
    let (folder, authority) = (Folder::new("client-truncation"), Authority::new());
    let ca = authority_file(&folder, &authority);
    for (back, arguments, code, says) in [
        (
            5,
            &[][..],
            1,
            "without close_notify, as if it had been cut, while 5 bytes had not come back",
        ),
        (
            10,
            &[],
            0,
            "all came back, and then the server closed the connection without close_notify",
        ),
        (10, &["--no-check"], 1, "the 10 bytes that came may not be all"),
    ] {
        let server = Server::start(&authority, move |mut stream| {
            let mut received = [0; 10];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(&received[..back]).unwrap();
            // Until the client has sent close_notify, and so has seen the end of its input.
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            stream.sock.shutdown(Shutdown::Write).unwrap();
        });
        let place = format!("raw+tls://{}", server.address);
        let output = pipe(client(&place, &[&["--ca", &ca], arguments].concat()), b"0123456789");
        assert_fails(&output, code, &[says]);
        assert_eq!(output.stdout, b"0123456789"[..back]);
        server.end();
    }
}

#[test]
fn only_the_ciphers_that_are_asked_for_are_offered() {
    let (folder, authority) = (Folder::new("client-ciphers"), Authority::new());
    let (keys, ca) =
        (Files::local(&folder, &authority).keys(), authority_file(&folder, &authority));
    let listen = format!("raw+tls://127.0.0.1:0,min=1.3,{keys}");
    let mut daemon = Daemon::start(&[&listen], &["--log-level", "debug"]);
    let mut log = daemon.take_stderr();
    let place = format!("raw+tls://{}", daemon.address(0));
    let (aes_128, aes_256) = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384");
    for (names, logged) in [
        (&[aes_128][..], "TLS13_AES_128_GCM_SHA256"),
        (&[aes_256], "TLS13_AES_256_GCM_SHA384"),
        (&["TLS_CHACHA20_POLY1305_SHA256"], "TLS13_CHACHA20_POLY1305_SHA256"),
        // The server chooses.
        (&[aes_256, aes_128], "TLS13_AES_128_GCM_SHA256"),
        (&[], "TLS13_AES_128_GCM_SHA256"),
    ] {
        let ciphers = names.iter().flat_map(|name| ["--cipher", name]);
        let arguments: Vec<&str> = ["--ca", &ca].into_iter().chain(ciphers).collect();
        assert_echo(&pipe(client(&place, &arguments), b"hello"), b"hello");
        let mut line = String::new();
        while !line.contains(": TLSv1_3, ") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "no line about {names:?}");
        }
        assert!(line.contains(logged), "{line}");
    }
    let old = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let output = pipe(client(&place, &["--ca", &ca, "--cipher", old]), b"hello");
    assert_fails(&output, 1, &["alert"]);
    let output = pipe(client(&place, &["--ca", &ca, "--cipher", "AES"]), b"hello");
    assert_fails(&output, 1, &["cipher=AES is none of TLS_AES_128_GCM_SHA256, "]);
}

#[test]
fn flags_for_tls_need_tls() {
    for (arguments, says) in [
        (
            &["127.0.0.1:1", "--ca", "x"][..],
            "--ca is for TLS, and frames://127.0.0.1:1 has none; write frames+tls://127.0.0.1:1",
        ),
        (&["raw+unix:///x", "--insecure"], "write raw+tls+unix:///x"),
        (&["raw://:1", "--cipher", "x"], "--cipher is for TLS"),
        (&["raw+tls://:1", "--cert", "x"], "--key <FILE>"),
        (&["raw+tls://:1", "--ca", "x", "--insecure"], "cannot be used with"),
        (&["https://:1"], "the client does not support http"),
    ] {
        let output = resound().arg("client").args(arguments).output().unwrap();
        assert_fails(&output, 2, &[says]);
    }
}

#[test]
fn replies_are_typed_inside_tls() {
    let folder = Folder::new("client-answer");
    let ca = folder.path("made.pem");
    let listen = format!("lines+tls://127.0.0.1:0,tls=self-signed,save-cert={}", ca.display());
    let mut command = resound();
    command.args(["answer", &listen]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut answer = command.spawn().unwrap();
    answer.stdin.take().unwrap().write_all(b"yes\n").unwrap();
    let mut said = BufReader::new(answer.stdout.take().unwrap()).lines().map(Result::unwrap);
    let place = said.next().unwrap();
    let place = place.strip_prefix("listening on ").unwrap().split(',').next().unwrap();
    let output = pipe(client(place, &["--no-check", "--ca", ca.to_str().unwrap()]), b"anybody?\n");
    assert_eq!(output.stdout, b"yes\n", "{}", stderr(&output));
    assert!(said.any(|line| line == "[1] anybody?"));
    // Its standard input is at its end.
    assert!(answer.wait().unwrap().success());
    let output = resound().args(["answer", &format!("{listen},proxy=v1")]).output().unwrap();
    assert_fails(&output, 2, &["proxy= is for resound serve only"]);
}

#[test]
fn on_a_terminal_lines_are_answered_and_the_end_is_close_notify() {
    let (folder, _, files, ca) = local("client-terminal");
    let keys = files.keys();
    let daemon = Daemon::start(&[&format!("frames+tls://127.0.0.1:0,{keys}")], &[]);
    let place = format!("frames+tls://{}", daemon.address(0));
    let mut command = client(&place, &["--ca", &ca, "--timeout", "60s"]);
    command.env("XDG_STATE_HOME", folder.path("state"));
    let Some(mut terminal) = Terminal::run(&command) else { return };
    terminal.expect(&format!("connected to {}", daemon.address(0)));
    for line in ["hello", "again"] {
        terminal.expect("> ");
        terminal.press(&format!("{line}\r"));
        terminal.expect(&format!("\n{line}\r\n"));
    }
    terminal.press("exit\r");
    terminal.expect_end(0);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("2 frames"), "{ended:?}");
    assert!(!ended.stdout.contains("cut short"), "{ended:?}");
}

#[test]
fn on_a_terminal_a_connection_that_is_cut_is_told() {
    let (folder, authority) = (Folder::new("client-cut"), Authority::new());
    let ca = authority_file(&folder, &authority);
    let server = Server::start(&authority, |mut stream| {
        stream.read_exact(&mut [0; 9]).unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    let place = format!("frames+tls://{}", server.address);
    let mut command = client(&place, &["--ca", &ca, "--timeout", "60s"]);
    command.env("XDG_STATE_HOME", folder.path("state"));
    let Some(mut terminal) = Terminal::run(&command) else { return };
    terminal.expect("> ");
    terminal.press("hello\r");
    terminal.expect("closed the connection without close_notify");
    terminal.expect_end(1);
    server.end();
}
