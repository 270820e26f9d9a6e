//! What tests of the command share: a daemon as a child process that cannot outlive its test.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the report"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicU16, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};

pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod drive;
pub(crate) mod load;
pub(crate) mod seeds;
pub(crate) mod terminal;

/// How long a test waits before it fails; not how long anything should take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The command under test.
pub(crate) fn resound() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resound"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("RESOUND_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
    }
    command
}

/// A running `resound serve`.
pub(crate) struct Daemon {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: Option<BufReader<ChildStderr>>,
    /// What follows `listening on`, a line each: `frames://127.0.0.1:40123`.
    pub(crate) listening: Vec<String>,
}

/// How a daemon ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What came on standard output behind the `listening on` lines.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Daemon {
    /// Starts a daemon that listens as each of `listen` says, with these further arguments; returns when
    /// it accepts on all of them.
    pub(crate) fn start(listen: &[&str], arguments: &[&str]) -> Self {
        let mut command = resound();
        command.arg("serve").args(listen.iter().flat_map(|listen| ["--listen", listen]));
        command.args(arguments);
        Self::spawn(command, listen.len())
    }

    /// Frames on a free port of 127.0.0.1.
    pub(crate) fn frames(arguments: &[&str]) -> Self {
        Self::start(&["frames://127.0.0.1:0"], arguments)
    }

    /// Frames on a free port of 127.0.0.1, and an admin port, which is the second listener.
    pub(crate) fn with_admin(arguments: &[&str]) -> Self {
        let mut command = resound();
        command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(arguments);
        Self::spawn(command, 2)
    }

    /// Runs `command`, which becomes a daemon with that many listeners.
    pub(crate) fn spawn(mut command: Command, listeners: usize) -> Self {
        descriptor_limit();
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = child.stderr.take().map(BufReader::new);
        let mut daemon = Self { child, stdout, stderr, listening: Vec::new() };
        while daemon.listening.len() < listeners {
            let mut line = String::new();
            if daemon.stdout.read_line(&mut line).unwrap() == 0 {
                panic!("it ended instead of listening: {:?}", daemon.wait());
            }
            let (verb, place) = line.trim().split_once(" on ").expect("only such lines first");
            assert!(["listening", "refusing"].contains(&verb), "{line}");
            daemon.listening.push(place.to_owned());
        }
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `HOST:PORT` or path of its `index`th listener.
    pub(crate) fn address(&self, index: usize) -> &str {
        let place = &self.listening[index];
        place.split_once("://").map_or(place, |(_, address)| address)
    }

    /// A connection to its first listener, with timeouts.
    pub(crate) fn connect(&self) -> TcpStream {
        self.connect_from([127, 0, 0, 1])
    }

    /// As [`connect`](Self::connect), from this address: each address has its own ports, so that thousands of
    /// connections find a free one although many are in `TIME_WAIT`.
    pub(crate) fn connect_from(&self, source: [u8; 4]) -> TcpStream {
        let address: SocketAddr = self.address(0).parse().unwrap();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if address.is_ipv4() {
            socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        }
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until nothing listens any more at its first listener, a TCP port. A connection attempt would tell, too, but
    /// while it still listens that is one more connection.
    pub(crate) fn stops_listening(&self) {
        let address: SocketAddr = self.address(0).parse().unwrap();
        // The port and the state TCP_LISTEN, as /proc/net/tcp has them.
        let port = format!(":{:04X}", address.port());
        eventually("it no longer listens", || {
            let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
            !sockets.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                fields[1].ends_with(&port) && fields[3] == "0A"
            })
        });
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Frames on a free port, with these further arguments, and with faults in its system calls as strace's
    /// `inject=` describes them; `None` where strace is not installed.
    pub(crate) fn with_faults(faults: &[&str], arguments: &[&str]) -> Option<Self> {
        Self::with_faults_on("frames://127.0.0.1:0", faults, arguments)
    }

    /// As [`with_faults`](Self::with_faults), listening as `listen` says.
    pub(crate) fn with_faults_on(
        listen: &str,
        faults: &[&str],
        arguments: &[&str],
    ) -> Option<Self> {
        let mut command = Command::new(tool("strace")?);
        // -D: the daemon is our child and strace its, so that to kill the one ends the other.
        command.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
        for fault in faults {
            let call = fault.split(':').next().unwrap();
            command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={fault}")]);
        }
        command.args([env!("CARGO_BIN_EXE_resound"), "serve", "--listen", listen]);
        command.args(arguments);
        Some(Self::spawn(command, 1))
    }

    /// Stops it from running, so that what happens until [`resume`](Self::resume) happens at once to it.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        eventually("it is stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            state(&stat) == Some('T')
        });
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> Ended {
        let stderr = self.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).map(|_| text)
            })
        });
        let mut stdout = String::new();
        let (tell, told) = mpsc::channel::<()>();
        let is_late = thread::scope(|scope| {
            let child = &mut self.child;
            let watch = scope.spawn(move || {
                let is_late = told.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
                if is_late {
                    child.kill().unwrap();
                }
                is_late
            });
            self.stdout.read_to_string(&mut stdout).unwrap();
            drop(tell);
            watch.join().unwrap()
        });
        let stderr = stderr.map(|reader| reader.join().unwrap().unwrap()).unwrap_or_default();
        let ended = Ended { status: self.child.wait().unwrap(), stdout, stderr };
        assert!(!is_late, "it did not end: {ended:?}");
        ended
    }

    /// Takes standard error, to be read while the daemon runs.
    pub(crate) fn take_stderr(&mut self) -> BufReader<ChildStderr> {
        self.stderr.take().expect("it has not been taken")
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
        value.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until each of its threads has started and waits for something to do.
    pub(crate) fn all_threads_wait(&self) {
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("each thread waits", || {
            std::fs::read_dir(&tasks).unwrap().all(|task| {
                // One that has just ended has none.
                let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
                stat.is_ok_and(|stat| state(&stat) == Some('S'))
            })
        });
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

/// The state of a process or a thread, from its `stat` in `/proc` (`proc_pid_stat`(5)).
fn state(stat: &str) -> Option<char> {
    stat.rsplit(')').next()?.trim().chars().next()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds. It looks once a millisecond, and leaves the processor to what it waits for in between.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never came about: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Raises this process's limit of open files as far as it may, and returns it: often 1,024 of several thousand are
/// allowed at first. A daemon that is started later inherits it.
pub(crate) fn descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, raised).unwrap();
    }
    raised.current.map_or(usize::MAX, |most| usize::try_from(most).unwrap())
}

/// An address on loopback that a test can listen at, leave, and listen at again. Its port is outside the range from which
/// the kernel takes ports for connections and for port 0 (`ip_local_port_range`, ip(7)), so nobody gets it in between.
pub(crate) fn fixed_address() -> SocketAddr {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let end: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let count = end.saturating_sub(FIRST).max(1);
    // Tests in other processes begin elsewhere.
    let own = std::process::id() as u16;
    let begin = own.wrapping_mul(31).wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed));
    (0..count)
        .map(|step| FIRST + (begin % count + step) % count)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port below the kernel's own range")
}

/// An address on loopback at which nothing listens. It is bound to the socket, so nobody else gets it.
pub(crate) fn deserted() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Where `program` is installed. Where it is not, says that the test is skipped, and fails it if
/// `RESOUND_REQUIRE_TOOLS` is set.
pub(crate) fn tool(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{program} not installed"));
    }
    found
}

/// The system call that a loop waits in: mio can be built for poll(2) (CONTRIBUTING.md, Testing).
pub(crate) const POLL_CALL: &str =
    if cfg!(mio_unsupported_force_poll_poll) { "poll" } else { "epoll_wait" };

/// How many bytes mio itself keeps for each socket, at most: none with epoll.
pub(crate) const MIO_PER_SOCKET: u64 =
    if cfg!(mio_unsupported_force_poll_poll) { 1 << 10 } else { 0 };

/// Says that the rest of the test is about epoll itself, and whether that is not what mio uses here.
pub(crate) fn is_without_epoll(what: &str) -> bool {
    let is_without = cfg!(mio_unsupported_force_poll_poll);
    if is_without {
        println!("not checked over poll(2): {what}");
    }
    is_without
}

/// The value of a sample of `/metrics`, with its labels as they are written.
pub(crate) fn sample(metrics: &str, name: &str) -> f64 {
    let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

/// Fails if promtool finds something wrong with what `/metrics` answered; skipped without promtool.
pub(crate) fn check_metrics(text: &str) {
    let Some(promtool) = tool("promtool") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Says that the test is skipped and why; fails it if `RESOUND_REQUIRE_TOOLS` is set.
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
    assert!(
        std::env::var_os("RESOUND_REQUIRE_TOOLS").is_none(),
        "{why}, and RESOUND_REQUIRE_TOOLS is set"
    );
}

/// The status code and the body of what `address` answers to GET over HTTP/1.0, with these further header lines.
pub(crate) fn http_get(address: &str, path: &str, fields: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{fields}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Builds an example, which `cargo test` does only when it runs all tests.
pub(crate) fn built_example(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--example", name]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let program = Path::new(env!("CARGO_BIN_EXE_resound"));
    program.parent().unwrap().join("examples").join(name)
}

/// `payload` as a frame of the default dialect.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_le_bytes()[..], payload].concat()
}

/// One frame there and back.
pub(crate) fn ping(stream: &mut TcpStream) {
    let sent = frame(b"ping");
    stream.write_all(&sent).unwrap();
    let mut back = [0; 8];
    stream.read_exact(&mut back).expect("an answer in time");
    assert_eq!(back[..], sent);
}

/// Closes with RST instead of FIN.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// What a fault and the connection that pings beside it tell each other.
#[derive(Default)]
pub(crate) struct Beside {
    begun: AtomicBool,
    lasted: AtomicBool,
    enough: AtomicBool,
}

impl Beside {
    /// The fault is there: what is pinged from now on counts.
    pub(crate) fn has_begun(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// It has been there long enough, but goes on until [`is_enough`](Self::is_enough).
    pub(crate) fn has_lasted(&self) {
        self.lasted.store(true, Ordering::Relaxed);
    }

    /// Whether the pings are through.
    pub(crate) fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }
}

/// Tells the fault that it is enough, also where a ping fails.
struct Enough<'b>(&'b Beside);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::Relaxed);
    }
}

/// Runs `fault` until it has lasted while a connection beside it had its pings answered: a hundred at least, and 99 of
/// a hundred within a second, or within ten times what they took before on a machine that is busy with other things.
pub(crate) fn pinging_beside<T: Send>(
    daemon: &Daemon,
    fault: impl FnOnce(&Beside) -> T + Send,
) -> T {
    let mut stream = daemon.connect();
    let p99_of = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() * 99 / 100 - 1]
    };
    let mut timed_ping = || {
        let start = Instant::now();
        ping(&mut stream);
        start.elapsed()
    };
    let before = p99_of((0..200).map(|_| timed_ping()).collect());
    let beside = Beside::default();
    thread::scope(|scope| {
        let enough = Enough(&beside);
        let fault = scope.spawn(|| fault(&beside));
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed) || fault.is_finished();
        while !is(&beside.begun) {
            timed_ping();
        }
        let mut times = Vec::new();
        while times.len() < 100 || !is(&beside.lasted) {
            times.push(timed_ping());
        }
        let count = times.len();
        let p99 = p99_of(times);
        println!("{count} pings, 99 % of them within {p99:?}; before, within {before:?}");
        assert!(p99 < (10 * before).max(Duration::from_secs(1)), "pings were held up");
        drop(enough);
        fault.join().unwrap()
    })
}

/// A stream of numbers that is the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Any number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // splitmix64, by Sebastiano Vigna.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    /// This many bytes of any value.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}
