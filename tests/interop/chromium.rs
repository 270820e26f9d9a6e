//! `ws` from a page in headless Chromium.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    common::{Daemon, tool},
    source,
};

/// A browser, which ends with its test and takes its profile with it.
struct Browser {
    child: Child,
    profile: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

#[test]
fn a_page_sends_and_gets_a_thousand_messages() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::start(&["ws://127.0.0.1:0,banner=hello"], &[]);
    // Serves the page, and takes what it reports.
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let page = fs::read_to_string(source("websocket.html")).unwrap();
    let page = page.replace("WS_URL", &format!("ws://{}/", daemon.address(0)));
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chromium");
    let profile = profile.to_str().unwrap().to_owned();
    let child = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", &format!("--user-data-dir={profile}")])
        .arg(format!("http://{}/", site.local_addr().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _browser = Browser { child, profile };
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
        let body = if request.starts_with("GET / ") { page.as_str() } else { "" };
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
            assert_eq!(String::from_utf8_lossy(&report), "1000 messages");
            break;
        }
    }
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 connections, 1000 frames, "), "{ended:?}");
}
