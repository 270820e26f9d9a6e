//! Headless Chromium: `ws` and `http` from a page, and the native messages of an extension.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    common::{Daemon, tool},
    port, source,
};

/// What Chromium calls the extension that has the `key` of `programs/native_messaging/manifest.json`: the first half of
/// that key's SHA-256, with the letters a to p for its digits.
const EXTENSION: &str = "acfebcodlagjjpfkadpmjnkmeimlpjbj";

/// A folder for what the browser keeps, which goes with its test.
pub(crate) struct Profile(PathBuf);

impl Profile {
    pub(crate) fn new(name: &str) -> Self {
        // A browser does not start where another one has its profile, as that of another run of the tests.
        let name = format!("{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The browser, about to be started without a window.
pub(crate) fn headless(program: &Path, profile: &Profile) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
        .args(["--disable-component-update", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.0.display()))
        .stderr(Stdio::null());
    command
}

/// A browser, which ends with its test, before its profile does.
pub(crate) struct Browser {
    child: Child,
    _profile: Profile,
}

impl Browser {
    pub(crate) fn start(program: &Path, profile: Profile, arguments: &[String]) -> Self {
        let child =
            headless(program, &profile).args(arguments).stdout(Stdio::null()).spawn().unwrap();
        Self { child, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves `page` until `/report` gets a POST, and returns its body.
pub(crate) fn reported(site: &TcpListener, page: &str) -> String {
    loop {
        let (mut stream, _) = site.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut request, mut length) = (String::new(), 0);
        if reader.read_line(&mut request).unwrap() == 0 {
            continue; // One that the browser opened in advance and had no use for.
        }
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(("content-length", value)) = line.to_lowercase().split_once(": ") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let body = if request.starts_with("GET / ") { page } else { "" };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        if request.starts_with("POST /report ") {
            let mut report = vec![0; length];
            reader.read_exact(&mut report).unwrap();
            return String::from_utf8(report).unwrap();
        }
    }
}

#[test]
fn a_page_sends_and_gets_a_thousand_messages() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::start(&["ws://127.0.0.1:0,banner=hello"], &[]);
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let page = fs::read_to_string(source("websocket.html")).unwrap();
    let page = page.replace("WS_URL", &format!("ws://{}/", daemon.address(0)));
    let address = format!("http://{}/", site.local_addr().unwrap());
    let _browser = Browser::start(&chromium, Profile::new("chromium-page"), &[address]);
    assert_eq!(reported(&site, &page), "1000 messages");
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 connection, 1000 frames, "), "{ended:?}");
}

#[test]
fn a_page_of_another_origin_fetches() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon =
        Daemon::start(&["http://127.0.0.1:0,tag=resound", "http://127.0.0.1:0,cors=off"], &[]);
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let page = fs::read_to_string(source("fetch.html")).unwrap();
    let page = page.replace("HTTP_URL", &format!("http://{}", daemon.address(0)));
    let page = page.replace("CLOSED_URL", &format!("http://{}", daemon.address(1)));
    let address = format!("http://{}/", site.local_addr().unwrap());
    let _browser = Browser::start(&chromium, Profile::new("chromium-fetch"), &[address]);
    assert_eq!(reported(&site, &page), "6 bodies");
}

/// The native host is the daemon, behind a program that hands on what the browser writes to it and reads from it.
#[test]
fn an_extension_sends_and_gets_native_messages() {
    let Some(chromium) = tool("chromium") else { return };
    let Some(socat) = tool("socat") else { return };
    let daemon = Daemon::start(&["frames://127.0.0.1:0,preset=chrome"], &[]);
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let profile = Profile::new("chromium-extension");

    let extension = profile.0.join("extension");
    fs::create_dir_all(&extension).unwrap();
    fs::copy(source("native_messaging/manifest.json"), extension.join("manifest.json")).unwrap();
    let worker = fs::read_to_string(source("native_messaging/worker.js")).unwrap();
    let report = format!("http://{}/report", site.local_addr().unwrap());
    fs::write(extension.join("worker.js"), worker.replace("REPORT_URL", &report)).unwrap();

    let host = profile.0.join("host");
    let script =
        format!("#!/bin/sh\nexec '{}' - TCP:127.0.0.1:{}\n", socat.display(), port(&daemon, 0));
    fs::write(&host, script).unwrap();
    fs::set_permissions(&host, fs::Permissions::from_mode(0o755)).unwrap();
    let hosts = profile.0.join("NativeMessagingHosts");
    fs::create_dir_all(&hosts).unwrap();
    let manifest = serde_json::json!({
        "name": "resound",
        "description": "an echo",
        "path": host,
        "type": "stdio",
        "allowed_origins": [format!("chrome-extension://{EXTENSION}/")],
    });
    fs::write(hosts.join("resound.json"), manifest.to_string()).unwrap();

    let load = format!("--load-extension={}", extension.display());
    let _browser = Browser::start(&chromium, profile, &[load, "about:blank".to_owned()]);
    assert_eq!(reported(&site, ""), "400 frames");
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 connection, 400 frames, "), "{ended:?}");
}
