//! What systemd and the daemon tell each other, with a test in the place of systemd: sockets that are passed at the start,
//! messages to `NOTIFY_SOCKET`, the units in `deploy/`.

mod common;

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Daemon, PATIENCE, eventually, frame, ping, resound, tool};
use rustix::process::Signal;

/// A folder of the test's own, removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("resound-systemd-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `resound serve`, with `socket` as descriptor 3 and once more for each further one of `names`, as systemd passes sockets.
fn activated(socket: impl Into<OwnedFd>, names: &str, arguments: &[&str]) -> Command {
    let count = names.split(':').count();
    let copies: String = (3..3 + count).map(|number| format!("{number}<&0 ")).collect();
    // The shell becomes the daemon, so that it knows the daemon's process id.
    let script = format!(
        "exec {copies}</dev/null; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names} exec \"$0\" serve \"$@\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(resound().get_program()).args(arguments);
    for (name, value) in resound().get_envs() {
        assert!(value.is_none());
        command.env_remove(name);
    }
    command.stdin(Stdio::from(socket.into()));
    command
}

/// A copy of a socket that stays open here, as systemd keeps those that it passes.
fn copy(socket: &TcpListener) -> TcpListener {
    socket.try_clone().unwrap()
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn echoed(mut stream: impl Read + Write) {
    let sent = frame(b"hello");
    stream.write_all(&sent).unwrap();
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, sent);
}

#[test]
fn passed_sockets_are_served_by_name_and_by_number() {
    for (listen, reactors, tables) in [
        ("frames://fd:web", "1", "shared"),
        ("frames://fd:3", "1", "shared"),
        ("frames://fd:web", "3", "shared"),
        ("frames://fd:web", "3", "own"),
    ] {
        let socket = listener();
        let address = socket.local_addr().unwrap();
        // It is blocking, as systemd passes it.
        let arguments = ["-l", listen, "--reactors", reactors, "--descriptor-tables", tables];
        let command = activated(copy(&socket), "web", &arguments);
        let daemon = Daemon::spawn(command, 1);
        assert_eq!(daemon.listening, [format!("frames://{address}")]);
        for _ in 0..20 {
            echoed(daemon.connect());
        }
        let ended = daemon.stop();
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.stdout.contains(" 20 connections, 20 frames"), "{ended:?}");
    }
}

#[test]
fn a_passed_unix_socket_keeps_its_path_and_a_passed_udp_socket_echoes() {
    let scratch = Scratch::new("kinds");
    let path = scratch.path("socket");
    let socket = UnixListener::bind(&path).unwrap();
    for _ in 0..2 {
        let command = activated(socket.try_clone().unwrap(), "s", &["-l", "frames://fd:s"]);
        let daemon = Daemon::spawn(command, 1);
        assert_eq!(daemon.listening, [format!("frames+unix://{}", path.display())]);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        echoed(stream);
        assert!(daemon.stop().status.success());
    }

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let command = activated(socket, "dgram", &["-l", "udp://fd:dgram", "--reactors", "2"]);
    let daemon = Daemon::spawn(command, 1);
    assert_eq!(daemon.listening, [format!("udp://{address}")]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hello", address).unwrap();
    let mut back = [0; 9];
    assert_eq!(client.recv(&mut back).unwrap(), 5);
    assert_eq!(&back[..5], b"hello");
    assert!(daemon.stop().status.success());
}

#[test]
fn a_passed_abstract_socket_is_named_with_an_at_sign() {
    let name = format!("resound-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixListener::bind_addr(&address).unwrap();
    let daemon = Daemon::spawn(activated(socket, "s", &["-l", "frames://fd:s"]), 1);
    assert_eq!(daemon.listening, [format!("frames+unix://@{name}")]);
    echoed(UnixStream::connect_addr(&address).unwrap());
    assert!(daemon.stop().status.success());
}

#[test]
fn all_sockets_of_one_name_are_served_and_those_without_a_listener_are_named() {
    let mut daemon = Daemon::spawn(activated(listener(), "a:a:b", &["-l", "lines://fd:a"]), 2);
    assert_eq!(daemon.listening[0], daemon.listening[1]);
    daemon.signal(Signal::TERM);
    let ended = daemon.wait();
    assert!(ended.status.success());
    assert!(ended.stderr.contains("that no --listen names: b (fd:5)"), "{}", ended.stderr);
}

/// Standard error of a daemon that does not start.
fn refused(mut command: Command) -> String {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
    error
}

#[test]
fn a_socket_that_cannot_be_served_is_named_with_what_it_is() {
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let peer = listener();
    let connected = TcpStream::connect(peer.local_addr().unwrap()).unwrap();
    for (socket, listen, says) in [
        (listener().into(), "frames://fd:c", "no socket c was passed; there is a (fd:3), b (fd:4)"),
        (listener().into(), "frames://fd:5", "no socket 5 was passed; there is a (fd:3), b (fd:4)"),
        (listener().into(), "udp://fd:a", "it is a listening TCP socket, not a UDP socket"),
        (
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            "frames://fd:a",
            "it is a UDP socket, not a listening TCP or Unix stream socket",
        ),
        (bound.into(), "raw://fd:a", "it is a TCP stream socket that does not listen"),
        (connected.into(), "raw://fd:a", "it is a connected TCP socket (from Accept=yes"),
        (UnixDatagram::unbound().unwrap().into(), "udp://fd:a", "it is a Unix datagram socket"),
        (
            fs::File::open("/dev/null").unwrap().into(),
            "raw://fd:b",
            "descriptor 4 (b) is not an open TCP, UDP or Unix socket",
        ),
    ] {
        let socket: OwnedFd = socket;
        let error = refused(activated(socket, "a:b", &["-l", listen]));
        let cause = format!("cannot listen on {listen}: ");
        assert!(error.contains(&cause) && error.contains(says), "{error}");
    }
    let twice = ["-l", "raw://fd:a", "-l", "lines://fd:3"];
    let error = refused(activated(listener(), "a:b", &twice));
    assert!(error.contains("the socket a (fd:3) has a listener already"), "{error}");
}

#[test]
fn sockets_for_another_process_are_not_touched() {
    let mut command = resound();
    command.args(["serve", "-l", "frames://fd:a"]);
    command.envs([("LISTEN_FDS", "1"), ("LISTEN_PID", "1"), ("LISTEN_FDNAMES", "a")]);
    let error = refused(command);
    assert!(error.contains("no socket was passed to this process"), "{error}");
}

/// What is queued while one daemon stops is served by the next, although the first runs for as long as it is owed a frame.
#[test]
fn connections_that_come_while_it_stops_are_left_to_the_next_daemon() {
    for reactors in ["1", "2"] {
        let socket = listener();
        let arguments = ["-l", "frames://fd:f", "--reactors", reactors, "--grace", "60s"];
        let mut first = Daemon::spawn(activated(copy(&socket), "f", &arguments), 1);
        let mut held = first.connect();
        ping(&mut held);
        held.write_all(&frame(b"half")[..6]).unwrap();
        // An inode number shows that a loop has closed its copy.
        let sockets = |daemon: &Daemon| {
            let folder = format!("/proc/{}/fd", daemon.pid());
            let links = fs::read_dir(folder)
                .unwrap()
                .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
            links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
        };
        first.signal(Signal::TERM);
        eventually("only the connection is left", || sockets(&first) == 1);
        let waiting: Vec<TcpStream> = (0..10).map(|_| first.connect()).collect();
        for mut stream in &waiting {
            stream.write_all(&frame(b"hello")).unwrap();
        }
        let second = Daemon::spawn(activated(copy(&socket), "f", &arguments), 1);
        for mut stream in waiting {
            let mut back = [0; 9];
            stream.read_exact(&mut back).expect("the next daemon answers");
            assert_eq!(back[..], frame(b"hello"));
        }
        held.write_all(&frame(b"half")[6..]).unwrap();
        let mut back = [0; 8];
        held.read_exact(&mut back).unwrap();
        assert_eq!(back[..], frame(b"half"));
        held.shutdown(Shutdown::Write).unwrap();
        assert!(first.wait().status.success());
        assert!(second.stop().stdout.contains(" 10 connections, 10 frames"));
    }
}

/// Row 37 of the fault table.
#[test]
fn a_restart_with_a_passed_socket_refuses_no_connection() {
    let socket = listener();
    let address = socket.local_addr().unwrap();
    let start = || Daemon::spawn(activated(copy(&socket), "f", &["-l", "frames://fd:f"]), 1);
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let count = || answered.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(address).expect("no connection is refused");
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut back = [0; 8];
                let echo =
                    stream.write_all(&frame(b"ping")).and_then(|()| stream.read_exact(&mut back));
                match echo {
                    Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
                    // A daemon that is told to stop between the connection and its frame says FIN, or RST to the frame.
                    Err(error) => assert!(
                        matches!(
                            error.kind(),
                            ErrorKind::UnexpectedEof
                                | ErrorKind::ConnectionReset
                                | ErrorKind::BrokenPipe
                        ),
                        "{error}"
                    ),
                }
            }
        });
        let mut daemon = start();
        for _ in 0..10 {
            let before = count();
            eventually("it answers", || count() > before + 5 || client.is_finished());
            assert!(daemon.stop().status.success());
            daemon = start();
        }
        let before = count();
        eventually("the last one answers", || count() > before + 5 || client.is_finished());
        is_over.store(true, Ordering::Relaxed);
        client.join().unwrap();
    });
}

/// Messages to the service manager, which is the test.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).expect("a message in time");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Throws away what has come.
    fn discard(&self) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut [0; 100]).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
    }

    /// The next message that is not for the watchdog.
    fn next_news(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|message| message != "WATCHDOG=1\n").unwrap()
    }
}

#[test]
fn readiness_and_the_end_are_told_at_a_path_and_at_an_abstract_name() {
    let scratch = Scratch::new("notify");
    let path = scratch.path("notify");
    let name = format!("resound-notify-{}", std::process::id());
    for (variable, address) in [
        (path.to_str().unwrap().to_owned(), SocketAddr::from_pathname(&path).unwrap()),
        (format!("@{name}"), SocketAddr::from_abstract_name(&name).unwrap()),
    ] {
        let manager = Manager::at(&address);
        let mut command = resound();
        command.args(["serve", "-l", "frames://127.0.0.1:0", "-l", "raw://127.0.0.1:0"]);
        command.args(["--reactors", "2"]).env("NOTIFY_SOCKET", variable);
        let mut daemon = Daemon::spawn(command, 2);
        let [frames, raw] = &daemon.listening[..] else { unreachable!() };
        let ready = format!("READY=1\nSTATUS=listening on {frames}; listening on {raw}\n");
        assert_eq!(manager.next(), ready);
        echoed(daemon.connect());
        daemon.signal(Signal::TERM);
        let stopping = manager.next();
        assert!(stopping.starts_with("STOPPING=1\nSTATUS=stopping: "), "{stopping}");
        assert!(daemon.wait().status.success());
    }
}

#[test]
fn a_daemon_that_does_not_start_is_never_ready_and_one_without_a_manager_says_so() {
    let scratch = Scratch::new("unready");
    let path = scratch.path("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let taken = listener();
    let listen = format!("frames://{}", taken.local_addr().unwrap());
    let mut command = resound();
    command.args(["serve", "-l", &listen]).env("NOTIFY_SOCKET", &path);
    refused(command);
    manager.0.set_nonblocking(true).unwrap();
    let nothing = manager.0.recv(&mut [0; 100]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);

    for (variable, says) in [
        (scratch.path("none").to_str().unwrap(), "cannot send READY=1 to the service manager"),
        ("vsock:2:1", "NOTIFY_SOCKET=vsock:2:1: neither an absolute path nor @ and a name"),
    ] {
        let mut command = resound();
        command.args(["serve", "-l", "frames://127.0.0.1:0"]).env("NOTIFY_SOCKET", variable);
        let ended = Daemon::spawn(command, 1).stop();
        assert!(ended.status.success() && ended.stderr.contains(says), "{}", ended.stderr);
    }
}

#[test]
fn the_watchdog_is_fed_while_nothing_happens_and_while_it_stops() {
    let scratch = Scratch::new("watchdog");
    let path = scratch.path("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = resound();
    command.args(["serve", "-l", "frames://127.0.0.1:0", "--reactors", "3", "--grace", "60s"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut daemon = Daemon::spawn(command, 1);
    assert!(manager.next().starts_with("READY=1\n"));
    for _ in 0..10 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }
    // One loop waits for a frame, and the others end.
    let mut held = daemon.connect();
    ping(&mut held);
    held.write_all(&frame(b"half")[..6]).unwrap();
    daemon.signal(Signal::TERM);
    assert!(manager.next_news().starts_with("STOPPING=1\n"));
    for _ in 0..10 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }
    drop(held);
    assert!(daemon.wait().status.success());
}

#[test]
fn a_stop_with_a_drain_delay_is_told_when_it_is_announced_and_when_it_begins() {
    let scratch = Scratch::new("delay");
    let path = scratch.path("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let start = |delay: &str| {
        let mut command = resound();
        command.args(["serve", "-l", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--reactors", "2", "--drain-delay", delay]);
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
        let daemon = Daemon::spawn(command, 2);
        let ready = manager.next();
        let admin = format!("; listening on {}\n", daemon.listening[1]);
        assert!(ready.starts_with("READY=1\n") && ready.ends_with(&admin), "{ready}");
        daemon.signal(Signal::TERM);
        let announced = manager.next_news();
        let status = format!("STOPPING=1\nSTATUS=about to stop in {delay}: ");
        assert!(announced.starts_with(&status), "{announced}");
        daemon
    };

    // The delay is not over before the test is.
    let mut daemon = start("1h");
    for _ in 0..10 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }
    echoed(daemon.connect());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().status.code(), Some(1), "the second signal ends it at once");
    manager.discard();

    let mut daemon = start("100ms");
    let stopping = manager.next_news();
    assert!(stopping.starts_with("STOPPING=1\nSTATUS=stopping: the drain delay"), "{stopping}");
    assert!(daemon.wait().status.success());
}

#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let scratch = Scratch::new("no-watchdog");
    let path = scratch.path("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = resound();
    command.args(["serve", "-l", "frames://127.0.0.1:0"]).env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let daemon = Daemon::spawn(command, 1);
    assert!(manager.next().starts_with("READY=1\n"));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        echoed(daemon.connect());
    }
    assert!(daemon.stop().status.success());
    assert!(manager.next().starts_with("STOPPING=1\n"));
}

#[test]
fn systemd_socket_activate_passes_several_sockets() {
    let Some(activate) = tool("systemd-socket-activate") else { return };
    let scratch = Scratch::new("activate");
    let paths = ["one", "two"].map(|name| scratch.path(name));
    let mut command = Command::new(activate);
    for path in &paths {
        command.arg("-l").arg(path);
    }
    command.arg("--fdname=one:two").arg(resound().get_program());
    command.args(["serve", "-l", "frames://fd:two", "-l", "lines://fd:one"]);
    // It starts the daemon when the first connection comes.
    let trigger = thread::spawn({
        let path = paths[1].clone();
        move || {
            let mut stream = None;
            eventually("it listens", || {
                stream = UnixStream::connect(&path).ok();
                stream.is_some()
            });
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            echoed(stream);
        }
    });
    let daemon = Daemon::spawn(command, 2);
    let [one, two] = paths.map(|path| path.display().to_string());
    assert_eq!(daemon.listening, [format!("frames+unix://{two}"), format!("lines+unix://{one}")]);
    trigger.join().unwrap();
    let mut lines = UnixStream::connect(one).unwrap();
    lines.write_all(b"hello\n").unwrap();
    let mut back = [0; 6];
    lines.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello\n");
    drop(lines);
    assert!(daemon.stop().status.success());
}

#[test]
fn the_units_are_verified() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    let scratch = Scratch::new("units");
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut command = Command::new(analyze);
    command.args(["verify", "--man=no", "--recursive-errors=no"]);
    for name in ["resound.service", "resound.socket"] {
        let unit = fs::read_to_string(deploy.join(name)).unwrap();
        // The binary has to be there.
        let binary = resound().get_program().to_str().unwrap().to_owned();
        let unit = unit.replace("ExecStart=resound ", &format!("ExecStart={binary} "));
        fs::write(scratch.path(name), unit).unwrap();
        command.arg(scratch.path(name));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let unit = fs::read_to_string(scratch.path("resound.service")).unwrap();
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nWatchdogSec="), "{unit}");
}
