//! Behind a real HAProxy: who the peer is, by both versions of the PROXY protocol and without.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use socket2::{Domain, Socket, Type};

use crate::common::{Daemon, PATIENCE, tool};

/// A HAProxy, which listens on a port of its own.
pub(crate) struct HaProxy {
    child: Child,
    pub(crate) address: SocketAddr,
    config: PathBuf,
}

impl HaProxy {
    /// Forwards to `daemon` with these options of a server line.
    fn start(test: &str, daemon: &Daemon, options: &str) -> Option<Self> {
        let text = format!(
            "defaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n\
             listen echo\n bind fd@0\n server resound {} {options}\n",
            daemon.address(0)
        );
        Self::with_config(test, &text)
    }

    /// With a configuration that binds `fd@0`.
    pub(crate) fn with_config(test: &str, text: &str) -> Option<Self> {
        let program = tool("haproxy")
            .or_else(|| Some(PathBuf::from("/usr/sbin/haproxy")).filter(|path| path.exists()))?;
        let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("haproxy-{test}.cfg"));
        fs::write(&config, text).unwrap();
        // It takes the listening socket as its standard input, so that no other can take the port before it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let child = Command::new(program)
            // Not -q: it would close its standard input.
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, address, config })
    }

    /// A connection through it, from an address that no other connection has.
    fn connect(&self, source: [u8; 4]) -> (TcpStream, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = stream.local_addr().unwrap();
        (stream, address)
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
    }
}

/// The lines of a daemon's log, as they come.
fn log(daemon: &mut Daemon) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let lines = daemon.take_stderr().lines();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for a line that ends so.
fn expect_line(log: &mpsc::Receiver<String>, end: &str) {
    loop {
        let line = log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line ends in {end:?}"));
        if line.ends_with(end) {
            return;
        }
    }
}

#[test]
fn each_version_tells_the_real_peer_to_the_log_and_to_the_protocol() {
    for (test, mode, options) in [
        ("v1", "v1", "send-proxy"),
        ("v2", "v2", "send-proxy-v2"),
        ("any-v1", "any", "send-proxy"),
        ("any-v2", "any", "send-proxy-v2"),
        ("tlvs", "v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"),
    ] {
        let mut daemon = Daemon::start(
            &[&format!("lines://127.0.0.1:0,banner={{peer}}|{{local}},proxy={mode}")],
            &["--log-level", "debug"],
        );
        let log = log(&mut daemon);
        let Some(proxy) = HaProxy::start(test, &daemon, options) else { return };
        for source in [[127, 0, 0, 77], [127, 1, 2, 3]] {
            let (mut stream, address) = proxy.connect(source);
            stream.write_all(b"hello\n").unwrap();
            let mut reader = BufReader::new(stream);
            let (mut banner, mut line) = (String::new(), String::new());
            reader.read_line(&mut banner).unwrap();
            reader.read_line(&mut line).unwrap();
            let to = proxy.address;
            assert_eq!((banner, line.as_str()), (format!("{address}|{to}\n"), "hello\n"), "{test}");
            expect_line(&log, &format!("the peer is {address}"));
        }
    }
}

#[test]
fn the_real_peer_of_every_other_protocol() {
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    for (protocol, keys, sent) in [
        ("frames", "length=u8,banner={peer}", "\u{5}hello"),
        ("raw", "banner={peer}", "hello"),
        ("http", "tag={peer}", request),
        ("ws", "tag={peer}", upgrade),
    ] {
        let daemon = Daemon::start(&[&format!("{protocol}://127.0.0.1:0,proxy=v2,{keys}")], &[]);
        let Some(proxy) = HaProxy::start(protocol, &daemon, "send-proxy-v2") else { return };
        let (mut stream, address) = proxy.connect([127, 0, 0, 78]);
        stream.write_all(sent.as_bytes()).unwrap();
        let mut received = String::new();
        let mut piece = [0; 1000];
        while !received.contains(&address.to_string()) {
            let length = stream.read(&mut piece).unwrap();
            assert!(length > 0, "{protocol}: {received:?}");
            received.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }
}

#[test]
fn health_checks_are_answered_and_nobody_is_refused() {
    for (test, mode, options) in [
        ("check-v1", "v1", "send-proxy check inter 20ms check-send-proxy"),
        ("check-v2", "v2", "send-proxy-v2 check inter 20ms check-send-proxy"),
    ] {
        let mut daemon = Daemon::start(
            &[&format!("lines://127.0.0.1:0,proxy={mode}")],
            &["--log-level", "debug"],
        );
        let log = log(&mut daemon);
        let Some(proxy) = HaProxy::start(test, &daemon, options) else { return };
        for _ in 0..5 {
            expect_line(&log, "B received, 0 B sent, 0 frames");
        }
        let (mut stream, address) = proxy.connect([127, 0, 0, 79]);
        stream.write_all(b"hello\n").unwrap();
        let mut back = [0; 6];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello\n");
        expect_line(&log, &format!("the peer is {address}"));
        drop((stream, proxy));
        let ended = daemon.stop();
        assert!(!ended.stdout.contains("malformed"), "{test}: {ended:?}");
        assert!(!ended.stdout.contains("refused"), "{test}: {ended:?}");
    }
}

#[test]
fn without_the_key_a_header_is_bytes_and_with_it_no_header_is_refused() {
    let daemon = Daemon::start(&["lines://127.0.0.1:0"], &[]);
    let Some(proxy) = HaProxy::start("bytes", &daemon, "send-proxy") else { return };
    let (mut stream, address) = proxy.connect([127, 0, 0, 80]);
    stream.write_all(b"hello\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let (ip, port, to) = (address.ip(), address.port(), proxy.address);
    assert_eq!(line, format!("PROXY TCP4 {ip} {} {port} {}\r\n", to.ip(), to.port()));
    line.clear();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");

    let daemon = Daemon::start(&["lines://127.0.0.1:0,proxy=any"], &[]);
    let Some(proxy) = HaProxy::start("none", &daemon, "") else { return };
    let (mut stream, _) = proxy.connect([127, 0, 0, 81]);
    stream.write_all(b"hello\n").unwrap();
    let mut back = Vec::new();
    // HAProxy passes on the end as FIN or as RST.
    let _ = stream.read_to_end(&mut back);
    assert_eq!(back, b"");
    drop((stream, proxy));
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 malformed"), "{ended:?}");
}
