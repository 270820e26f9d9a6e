//! TLS with the libraries and the programs of others, as clients, and under those that look for weaknesses.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CrlDistributionPoint, ExtendedKeyUsagePurpose, date_time_ymd};

use crate::{
    common::{Daemon, Ended, Random, skip, tool},
    foreign, installed, node, port, python, run, source,
    tls_support::{Authority, Folder},
};

/// A daemon with a certificate that its clients can verify.
struct Server {
    folder: Folder,
    authority: Authority,
    daemon: Daemon,
}

impl Server {
    /// Listens as each of `listen` says, where `CERT` stands for the keys that name the certificate, and `FOLDER` for a
    /// folder. Its log has a line for each handshake.
    fn start(name: &str, listen: &[&str], arguments: &[&str]) -> Self {
        let (folder, authority) = (Folder::new(name), Authority::new());
        folder.put("ca.pem", &authority.pem());
        let certificate = authority.sign_with(&["localhost", "127.0.0.1"], |params| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let day = Duration::from_secs(24 * 60 * 60);
            params.not_before = date_time_ymd(1970, 1, 1) + now - day;
            params.not_after = params.not_before + 90 * day;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let uris = vec!["http://localhost/none.crl".to_owned()];
            params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        });
        let chain = folder.put("server.pem", &certificate.pem);
        let key = folder.put("server.key", &certificate.key_pem);
        let keys = format!("cert={},key={}", chain.display(), key.display());
        let path = folder.path("").display().to_string();
        let listen: Vec<String> = listen
            .iter()
            .map(|listen| listen.replace("CERT", &keys).replace("FOLDER/", &path))
            .collect();
        let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
        // A client that loads its library when it has connected can take long on a busy machine.
        let always = ["--log-level", "debug", "--handshake-timeout", "120s"];
        let daemon = Daemon::start(&listen, &[&always, arguments].concat());
        Self { folder, authority, daemon }
    }

    /// The file with the certificate of the authority.
    fn ca(&self) -> PathBuf {
        self.folder.path("ca.pem")
    }

    /// Stops it, and asserts that all went well, with this many handshakes of each kind.
    fn stop_after(self, full: usize, resumed: usize) -> Ended {
        let ended = self.daemon.stop();
        assert_eq!(ended.stderr.matches(", full handshake").count(), full, "{ended:?}");
        assert_eq!(ended.stderr.matches(", resumed").count(), resumed, "{ended:?}");
        for wrong in ["cut short", "malformed", "not allowed", "reset", "protocol's end"] {
            assert!(!ended.stdout.contains(wrong), "{ended:?}");
        }
        ended
    }
}

/// How many frames a library sends, on two connections.
const COUNT: &str = "60";

/// The versions of TLS.
const BOTH: &[&str] = &["1.2", "1.3"];

/// Lets a library send frames of all sizes on two connections; in the versions in `resumes`, the second one resumes
/// the session of the first. Each ends in `close_notify` from both sides.
fn exchange(name: &str, keys: &str, resumes: &[&str], program: impl Fn() -> Option<Command>) {
    for version in BOTH {
        let Some(mut program) = program() else { return };
        let server = Server::start(name, &[&format!("frames+tls://127.0.0.1:0,CERT{keys}")], &[]);
        program.arg(port(&server.daemon, 0)).arg(server.ca()).args([version, COUNT]);
        assert_eq!(run(&mut program), format!("{COUNT} frames\n"), "TLS {version}");
        let resumed = usize::from(resumes.contains(version));
        let ended = server.stop_after(2 - resumed, resumed);
        assert!(ended.stdout.contains(&format!("2 connections, {COUNT} frames, ")), "{ended:?}");
        assert_eq!(ended.stderr.matches(&format!("TLSv1_{}, ", &version[2..])).count(), 2);
    }
}

#[test]
fn python_ssl() {
    exchange("python", "", BOTH, || {
        let mut command = foreign(tool("python3")?);
        command.arg(source("tls.py"));
        Some(command)
    });
}

#[test]
fn go_crypto_tls() {
    exchange("go", "", BOTH, || crate::go("tls.go"));
}

#[test]
fn node_tls() {
    exchange("node", "", BOTH, || {
        let mut command = foreign(tool("node")?);
        command.arg(source("tls.js"));
        Some(command)
    });
}

#[test]
fn java_ssl_socket() {
    exchange("java", "", BOTH, || {
        let mut command = foreign(tool("java")?);
        command.arg(source("Tls.java"));
        Some(command)
    });
}

#[test]
fn erlang_ssl() {
    exchange("erlang", ",preset=erlang-4", &[], || {
        let escript = tool("escript")?;
        let has_ssl = "halt(case code:lib_dir(ssl) of {error, _} -> 1; _ -> 0 end).";
        if !foreign(tool("erl")?).args(["-noshell", "-eval", has_ssl]).status().unwrap().success() {
            skip("erlang-ssl not installed");
            return None;
        }
        let mut command = foreign(escript);
        command.arg(source("tls.escript"));
        Some(command)
    });
}

/// Starts `command` with all its streams as pipes.
fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends lines through `child`, reads them back, and lets it end.
fn lines(mut child: Child, lines: &str) {
    let (mut input, sent) = (child.stdin.take().unwrap(), lines.to_owned());
    let writer = thread::spawn(move || {
        input.write_all(sent.as_bytes()).unwrap();
        input
    });
    let mut back = vec![0; lines.len()];
    let outcome = child.stdout.as_mut().unwrap().read_exact(&mut back);
    drop(writer.join().unwrap());
    let output = child.wait_with_output().unwrap();
    assert!(outcome.is_ok() && output.status.success(), "{outcome:?}, {output:?}");
    assert!(back == lines.as_bytes(), "changed: {output:?}");
}

/// `openssl s_client`, which trusts the authority of `server`.
fn s_client(openssl: &Path, server: &Server) -> Command {
    let mut command = foreign(openssl);
    command.args(["s_client", "-brief", "-verify_return_error", "-verify_hostname", "localhost"]);
    command.args(["-servername", "localhost", "-connect", server.daemon.address(0), "-CAfile"]);
    command.arg(server.ca());
    command
}

#[test]
fn openssl_resumes_sessions_in_both_versions_and_cuts_records_small() {
    let Some(openssl) = tool("openssl") else { return };
    let server = Server::start("openssl", &["lines+tls://127.0.0.1:0,CERT"], &[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = server.folder.path("session").display().to_string();
        let client =
            |arguments: &[&str]| start(s_client(&openssl, &server).arg(version).args(arguments));
        lines(client(&["-sess_out", &session]), "hello\n");
        lines(client(&["-sess_in", &session]), "hello\n");
        lines(client(&["-max_send_frag", "512"]), &format!("{}\n", "x".repeat(2000)).repeat(100));
    }
    let ended = server.stop_after(4, 2);
    assert!(ended.stdout.contains("6 connections, 204 frames, "), "{ended:?}");
}

/// The commands `K` and `k` of `s_client`: with the first one the server must change its keys, too.
#[test]
fn openssl_changes_its_keys() {
    let Some(openssl) = tool("openssl") else { return };
    let server = Server::start("keys", &["lines+tls://127.0.0.1:0,CERT"], &[]);
    let mut child = start(s_client(&openssl, &server).arg("-tls1_3"));
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    for command in ["K\n", "k\n", "K\n"] {
        input.write_all(b"before\n").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "before\n");
        input.write_all(command.as_bytes()).unwrap();
        assert!(told.any(|line| line.unwrap() == "KEYUPDATE"), "it has no such command");
    }
    input.write_all(b"after\n").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "after\n");
    drop(input);
    assert!(child.wait().unwrap().success());
    server.stop_after(1, 0);
}

#[test]
fn clients_show_the_certificate_that_client_ca_asks_for() {
    let Some(openssl) = tool("openssl") else { return };
    let Some(python) = tool("python3") else { return };
    let listen = "frames+tls://127.0.0.1:0,CERT,client-ca=FOLDER/ca.pem";
    let server = Server::start("mutual", &[listen], &[]);
    let certificate = server.authority.sign(&["client"]);
    let chain = server.folder.put("client.pem", &certificate.pem);
    let key = server.folder.put("client.key", &certificate.key_pem);
    for version in ["1.2", "1.3"] {
        let mut program = foreign(&python);
        program.arg(source("tls.py")).arg(port(&server.daemon, 0)).arg(server.ca());
        program.args([version, COUNT]).args([&chain, &key]);
        assert_eq!(run(&mut program), format!("{COUNT} frames\n"), "TLS {version}");
    }
    let mut child =
        start(s_client(&openssl, &server).arg("-cert").arg(&chain).arg("-key").arg(&key));
    child.stdin.as_mut().unwrap().write_all(b"\x05\0\0\0hello").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 9]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");

    // Its standard input stays open, so that it ends at the alert.
    let mut child = start(&mut s_client(&openssl, &server));
    let input = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(input);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("alert certificate required"), "{output:?}");
    let ended = server.daemon.stop();
    assert!(ended.stdout.contains("6 connections, 121 frames, "), "{ended:?}");
    assert!(ended.stdout.contains("1 not allowed"), "{ended:?}");
    assert!(ended.stderr.contains("no client certificate, which client-ca= requires"), "{ended:?}");
}

#[test]
fn gnutls_closes_one_half_and_resumes() {
    let Some(gnutls) = tool("gnutls-cli") else { return };
    for priority in ["NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"] {
        let server = Server::start("gnutls", &["lines+tls://127.0.0.1:0,CERT"], &[]);
        let mut command = foreign(&gnutls);
        command.args([
            "--logfile",
            "/dev/null",
            "--priority",
            priority,
            "--resume",
            "--x509cafile",
        ]);
        command.arg(server.ca()).args(["--port", port(&server.daemon, 0), "127.0.0.1"]);
        let mut child = start(&mut command);
        // At the end of its input it sends close_notify, and then reads until the server's.
        let sent = format!("{}\n", "x".repeat(70)).repeat(3000);
        let (mut input, to_send) = (child.stdin.take().unwrap(), sent.clone());
        let writer = thread::spawn(move || input.write_all(to_send.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "{output:?}");
        let back = String::from_utf8_lossy(&output.stdout);
        assert!(back.trim_start() == sent, "{} of {} bytes", back.len(), sent.len());
        let ended = server.stop_after(1, 1);
        assert!(ended.stdout.contains("2 connections, 3000 frames, "), "{ended:?}");
    }
}

#[test]
fn curl_agrees_on_http_1_1_and_gets_its_body_back() {
    let Some(curl) = tool("curl") else { return };
    let server = Server::start("curl", &["https://127.0.0.1:0,CERT"], &[]);
    let body = Random(7).bytes(3 << 20);
    let path = server.folder.path("body");
    std::fs::write(&path, &body).unwrap();
    let url = format!("https://{}", server.daemon.address(0));
    for version in ["1.2", "1.3"] {
        let mut command = foreign(&curl);
        command.args(["--silent", "--show-error", "--noproxy", "*", "--http2", "--cacert"]);
        command.arg(server.ca()).args(["--tls-max", version, "--data-binary"]);
        command
            .arg(format!("@{}", path.display()))
            .args(["--write-out", "%{stderr}%{http_version}"]);
        let Output { status, stdout, stderr } = command.arg(&url).output().unwrap();
        assert!(status.success() && stdout == body, "{}", String::from_utf8_lossy(&stderr));
        assert_eq!(stderr, b"1.1");
    }
    let ended = server.stop_after(2, 0);
    assert_eq!(ended.stderr.matches(", ALPN http/1.1").count(), 2, "{ended:?}");
}

#[test]
fn load_generators_over_https() {
    let requests = |arguments: &str| -> Option<String> {
        let mut words = arguments.split(' ');
        let program = tool(words.next()?)?;
        let server = Server::start("load", &["https://127.0.0.1:0,CERT"], &[]);
        let url = format!("https://{}/", server.daemon.address(0));
        Some(run(foreign(program).args(words).arg(url)))
    };
    if let Some(printed) = requests("h2load --h1 -n 2000 -c 20") {
        assert!(printed.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{printed}");
        assert!(printed.contains("2000 2xx, "), "{printed}");
    }
    if let Some(printed) = requests("wrk --duration 1s --connections 20") {
        assert!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "{printed}");
        let count = printed.split(" requests in ").next().unwrap().rsplit(' ').next().unwrap();
        assert!(count.parse::<u64>().unwrap() > 0, "{printed}");
    }
}

#[test]
fn websocket_libraries_over_wss() {
    let listen = ["wss://127.0.0.1:0,CERT,max=1MiB", "ws+unix://FOLDER/socket,max=1MiB"];
    if let Some(mut program) = node("ws", "websocket.js") {
        let server = Server::start("npm-ws", &["wss://127.0.0.1:0,CERT"], &["--banner", "{pid}"]);
        program.env("NODE_EXTRA_CA_CERTS", server.ca());
        let pid = server.daemon.pid().to_string();
        program.args([&format!("wss://{}", server.daemon.address(0)), "1000", &pid]);
        assert_eq!(run(&mut program), "1000 messages\n");
    }
    if let Some(mut program) = python("websockets", "websocket.py") {
        let server = Server::start("websockets", &listen, &[]);
        program.env("SSL_CERT_FILE", server.ca());
        program.args([&format!("wss://{}", server.daemon.address(0)), "1000"]);
        program.arg(server.folder.path("socket"));
        assert_eq!(run(&mut program), "1000 messages\n");
    }
}

#[test]
fn sslscan_finds_two_versions_and_no_weak_cipher() {
    let Some(sslscan) = tool("sslscan") else { return };
    let server = Server::start("sslscan", &["https://127.0.0.1:0,CERT"], &[]);
    let printed = run(foreign(sslscan).args(["--no-colour", server.daemon.address(0)]));
    let words: Vec<Vec<&str>> =
        printed.lines().map(|line| line.split_whitespace().collect()).collect();
    for (version, state) in [
        ("SSLv2", "disabled"),
        ("SSLv3", "disabled"),
        ("TLSv1.0", "disabled"),
        ("TLSv1.1", "disabled"),
        ("TLSv1.2", "enabled"),
        ("TLSv1.3", "enabled"),
    ] {
        assert!(words.contains(&vec![version, state]), "{version}: {printed}");
    }
    assert!(printed.contains("Session renegotiation not supported"), "{printed}");
    assert_eq!(printed.matches(" not vulnerable to heartbleed").count(), 2, "{printed}");
    let ciphers = words.iter().filter(|words| matches!(words[..], ["Preferred" | "Accepted", ..]));
    let ciphers: BTreeSet<&str> = ciphers.map(|words| words[4]).collect();
    assert_eq!(ciphers.len(), 6, "{printed}");
    for cipher in ciphers {
        let is_strong = cipher.contains("GCM_SHA")
            || cipher.contains("CHACHA20")
            || cipher.contains("-GCM-SHA");
        assert!(
            is_strong && (cipher.starts_with("TLS_") || cipher.starts_with("ECDHE-")),
            "{cipher}"
        );
    }
}

/// As Mozilla's configuration "intermediate" asks for: versions, ciphers, curves, certificate, and known weaknesses.
#[test]
fn sslyze_finds_nothing_against_mozillas_recommendation() {
    let library = |folder: &Path| folder.join("venv/bin/sslyze");
    let Some(folder) = installed("venv/bin/sslyze", "sslyze") else { return };
    let server = Server::start("sslyze", &["https://127.0.0.1:0,CERT"], &[]);
    let mut command = foreign(library(&folder));
    command.args(["--mozilla_config", "intermediate", "--certinfo_ca_file"]).arg(server.ca());
    // The exit code says whether it complies.
    let printed = run(command.arg(server.daemon.address(0)));
    assert!(printed.contains("OK - Compliant"), "{printed}");
    assert!(!printed.contains("Error when running"), "{printed}");
}
