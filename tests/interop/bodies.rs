//! `http` and clients that send the whole of a large body before they read, alone and behind reverse proxies.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    common::{Daemon, tool},
    foreign, go, installed, python, run, source,
};

/// From less than any buffer to nearly the limit.
const LENGTHS: [&str; 4] = ["1", "100000", "3000000", "15728640"];

fn daemon() -> Daemon {
    Daemon::start(&["http://127.0.0.1:0"], &[])
}

fn url(daemon: &Daemon) -> String {
    format!("http://{}", daemon.address(0))
}

/// A program of ours under Node.js, without any package.
fn node(program: &str) -> Option<Command> {
    let mut command = foreign(tool("node")?);
    command.arg(source(program));
    Some(command)
}

/// That `client` gets `bodies` bodies back from each of `urls`.
fn assert_echoed(client: &dyn Fn() -> Option<Command>, urls: &[&str], bodies: usize) {
    for url in urls {
        let Some(mut client) = client() else { return };
        let printed = run(client.arg(url).args(LENGTHS));
        assert_eq!(printed, format!("{bodies} bodies\n"), "{url}");
    }
}

fn go_client() -> Option<Command> {
    let mut command = go("http_bodies.go")?;
    command.arg("client");
    Some(command)
}

fn python_clients() -> Option<Command> {
    python("requests", "http_bodies.py")
}

fn every_client_through(url: &str) {
    assert_echoed(&python_clients, &[url], 7 * LENGTHS.len());
    assert_echoed(&go_client, &[url], 2 * LENGTHS.len());
    assert_echoed(&|| node("http_bodies.js"), &[url], 4 * LENGTHS.len());
    let Some(curl) = tool("curl") else { return };
    let body = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("bodies-{}", url.rsplit(':').next().unwrap()));
    fs::write(&body, vec![b'x'; 3_000_000]).unwrap();
    for chunked in [&[][..], &["--header", "Transfer-Encoding: chunked"]] {
        let data = format!("@{}", body.display());
        let mut command = foreign(&curl);
        command.args(["--silent", "--show-error", "--noproxy", "*", "--data-binary", &data]);
        let back = run(command.args(chunked).arg(url));
        assert!(back.len() == 3_000_000, "{chunked:?}: {} bytes came back", back.len());
    }
    fs::remove_file(body).unwrap();
}

#[test]
fn clients_that_send_all_of_a_body_before_they_read_get_it_back() {
    let daemon = daemon();
    every_client_through(&url(&daemon));
    let ended = daemon.stop();
    assert!(!ended.stdout.contains("malformed"), "{ended:?}");
}

/// What is in front of the daemon; it ends with its test.
struct Proxy {
    child: Child,
    url: String,
    config: Option<PathBuf>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Go's ends with its standard input, as `go run` would leave it behind.
        drop(self.child.stdin.take());
        if self.config.is_some() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        self.config.iter().for_each(|config| drop(fs::remove_file(config)));
    }
}

fn go_proxy(daemon: &Daemon) -> Option<Proxy> {
    let mut command = go("http_bodies.go")?;
    command.arg("proxy").arg(url(daemon)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    Some(Proxy { child, url: url.trim().to_owned(), config: None })
}

fn caddy(daemon: &Daemon) -> Option<Proxy> {
    let program = installed("venv/bin/caddy", "Caddy")?.join("venv/bin/caddy");
    // It takes the listening socket as its standard input, so that no other can take the port before it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = serde_json::json!({
        "handler": "reverse_proxy",
        "upstreams": [{ "dial": daemon.address(0) }],
    });
    let server = serde_json::json!({
        "listen": ["fd/0"],
        "automatic_https": { "disable": true },
        "routes": [{ "handle": [upstream] }],
    });
    let text = serde_json::json!({
        "admin": { "disabled": true },
        "apps": { "http": { "servers": { "echo": server } } },
    });
    let config =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("caddy-{}.json", std::process::id()));
    fs::write(&config, text.to_string()).unwrap();
    let child = Command::new(program)
        .args(["run", "--config"])
        .arg(&config)
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Some(Proxy { child, url: format!("http://{address}"), config: Some(config) })
}

#[test]
fn behind_a_reverse_proxy_of_go() {
    let daemon = daemon();
    let Some(proxy) = go_proxy(&daemon) else { return };
    every_client_through(&proxy.url);
}

#[test]
fn behind_caddy() {
    let daemon = daemon();
    let Some(proxy) = caddy(&daemon) else { return };
    every_client_through(&proxy.url);
}
