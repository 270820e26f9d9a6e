//! Datagrams: any size there and back, errors that are not fatal, and echoes that do not feed each other.

use std::{
    collections::{HashSet, VecDeque},
    io::{BufRead, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use common::{Daemon, PATIENCE, calls::Counted, eventually, is_without_epoll, tool};
use resound::{Config, Reactor, UdpConfig, protocol::Raw};
use rustix::process::Signal;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

mod common;

fn client(daemon: &Daemon) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(daemon.address(0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ping(socket: &UdpSocket, payload: &[u8]) {
    socket.send(payload).unwrap();
    let mut back = vec![0; 65_536];
    let count = socket.recv(&mut back).expect("an answer in time");
    assert!(back[..count] == *payload, "{count} of {} bytes", payload.len());
}

#[test]
fn datagrams_of_every_size_come_back_as_they_went() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let socket = client(&daemon);
    for length in [0, 1, 1_472, 1_473, 9_000, 65_506, 65_507] {
        let payload: Vec<u8> = (0..length).map(|i: usize| i.to_le_bytes()[0]).collect();
        ping(&socket, &payload);
    }
    let ended = daemon.stop();
    assert!(ended.stdout.contains(" 7 frames"), "{ended:?}");
}

#[test]
fn a_datagram_from_a_port_that_is_closed_again_is_not_fatal() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    daemon.pause();
    for _ in 0..50 {
        // No socket receives the answer, and ICMP reports that to its sender.
        client(&daemon).send(b"goodbye").unwrap();
    }
    daemon.resume();
    ping(&client(&daemon), b"hello");
    assert!(daemon.stop().status.success());
}

#[test]
fn datagrams_that_have_come_when_sigterm_comes_are_answered() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let socket = client(&daemon);
    SockRef::from(&socket).set_recv_buffer_size(1 << 20).unwrap();
    daemon.pause();
    // More than one turn answers, and fewer than the usual receive queue has room for.
    for number in 0..300_u16 {
        socket.send(&number.to_le_bytes()).unwrap();
    }
    daemon.signal(Signal::TERM);
    daemon.resume();
    let mut back = [0; 3];
    for number in 0..300_u16 {
        assert_eq!(socket.recv(&mut back).expect("an answer in time"), 2);
        assert_eq!(back[..2], number.to_le_bytes());
    }
}

#[test]
fn errors_of_receiving_and_sending_are_not_fatal() {
    for fault in ["recvmmsg:error=ECONNREFUSED:when=1..3", "sendto:error=EHOSTUNREACH:when=3..4"] {
        let Some(daemon) = Daemon::with_faults_on("udp://127.0.0.1:0", &[fault], &[]) else {
            return;
        };
        let socket = client(&daemon);
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        eventually("one comes back", || {
            socket.send(b"hello").unwrap();
            socket.recv(&mut [0; 16]).is_ok()
        });
        assert!(daemon.stop().status.success(), "{fault}");
    }
}

/// Sends datagrams of these lengths, each with its index as its content, before a daemon with `fault` in its system calls
/// starts on that socket, so that it finds them all at once. Returns the indices of those that come back, and how many
/// were dropped. `None` where strace is not installed.
fn exchange_at_once(fault: &str, lengths: &[usize]) -> Option<(Vec<usize>, u64)> {
    let strace = tool("strace")?;
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.local_addr().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let payload = |index: usize| vec![u8::try_from(index).unwrap(); lengths[index]];
    for index in 0..lengths.len() {
        socket.send(&payload(index)).unwrap();
    }
    let mut command = Command::new("sh");
    // As systemd passes sockets.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(strace);
    let call = fault.split(':').next().unwrap();
    let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
    // -D: the daemon is our child and strace its.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    command.args([env!("CARGO_BIN_EXE_resound"), "serve", "--listen", "udp://fd:3"]);
    command.stdin(OwnedFd::from(server));
    let daemon = Daemon::spawn(command, 1);
    socket.send(b"the last").unwrap();
    let mut back = [0; 100];
    let mut indices = Vec::new();
    loop {
        let length = socket.recv(&mut back).expect("an answer in time");
        if back[..length] == *b"the last" {
            break;
        }
        let index = usize::from(back[0]);
        assert_eq!(back[..length], payload(index), "{fault}");
        indices.push(index);
    }
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    let dropped = ["datagrams dropped", "datagram dropped"];
    let dropped = dropped.iter().map(|what| number_before(&ended.stdout, what)).sum();
    Some((indices, dropped))
}

const DIFFERENT: [usize; 5] = [1, 2, 3, 4, 5];
const EQUAL: [usize; 20] = [7; 20];

#[test]
fn what_the_kernel_has_no_room_to_send_leaves_when_there_is_room() {
    for (fault, lengths) in
        [("sendmmsg:error=EAGAIN:when=1", &DIFFERENT[..]), ("sendmsg:error=EAGAIN:when=1", &EQUAL)]
    {
        // Once: there is room in fact, so an event comes as soon as it is asked for, and no other one.
        let Some((indices, dropped)) = exchange_at_once(fault, lengths) else { return };
        assert_eq!((indices, dropped), ((0..lengths.len()).collect(), 0), "{fault}");
    }
}

#[test]
fn datagrams_that_cannot_leave_together_leave_one_by_one() {
    for error in ["EINVAL", "EIO", "EMSGSIZE", "EPERM"] {
        let fault = format!("sendmsg:error={error}");
        let Some((indices, dropped)) = exchange_at_once(&fault, &EQUAL) else { return };
        assert_eq!((indices, dropped), ((0..EQUAL.len()).collect(), 0), "{fault}");
    }
}

#[test]
fn an_error_of_one_datagram_of_many_loses_that_one() {
    let fault = "sendmmsg:error=EHOSTUNREACH:when=1";
    let Some((indices, dropped)) = exchange_at_once(fault, &DIFFERENT) else { return };
    assert_eq!((indices.len(), dropped), (DIFFERENT.len() - 1, 1), "{indices:?}");
    assert!(indices.is_sorted(), "{indices:?}");
}

#[test]
fn one_datagram_at_a_time_costs_one_receive_one_send_and_one_wait() {
    let Some(counted) = Counted::start("udp://127.0.0.1:0,loop-guard=off") else { return };
    let socket = client(&counted.daemon);
    (0..1000_u32).for_each(|number| ping(&socket, &number.to_le_bytes()));
    let calls = counted.stop();
    // Beside them, each of five signal handlers tries once whether its descriptor is a socket.
    assert!((1000..1100).contains(&calls.of("sendto")), "{calls:?}");
    assert_eq!(calls.of("sendmsg") + calls.of("sendmmsg"), 0, "{calls:?}");
    if is_without_epoll("a short batch ends the receiving") {
        return;
    }
    assert!((1000..1100).contains(&calls.of("recvmmsg")), "{calls:?}");
    // Sending wakes nobody. The other waits are for signals and timers.
    assert!(calls.of("epoll_wait") < 1100, "{calls:?}");
    assert!(calls.of("epoll_ctl") < 10, "nothing is registered again: {calls:?}");
}

/// A loop that serves `socket`, which the caller drives.
fn reactor_on(socket: UdpSocket) -> Reactor<Raw> {
    let mut reactor = Reactor::new(Config::default()).unwrap();
    reactor.adopt_udp(socket, &UdpConfig::default()).unwrap();
    reactor
}

#[test]
fn errors_among_the_datagrams_of_a_connected_socket_hold_up_none() {
    // Only sockets that are connected are told of ICMP errors (udp(7)). No other test uses the client's address, so its
    // port stays free.
    let client = UdpSocket::bind("127.77.7.1:0").unwrap();
    let address = client.local_addr().unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.connect(address).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let mut reactor = reactor_on(server.try_clone().unwrap());
    let stats = reactor.stats();
    // More than one batch. The answers to the first ones bring errors, and the others are behind these.
    (0..40_u8).for_each(|number| assert_eq!(client.send(&[number; 3]).unwrap(), 3));
    drop(client);
    server.send(b"to nobody").unwrap();
    eventually("an error comes", || server.take_error().unwrap().is_some());
    let received = || stats.total().received.value();
    let start = Instant::now();
    while received() < 3 * 40 && start.elapsed() < PATIENCE {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert_eq!(received(), 3 * 40);
    let client = UdpSocket::bind(address).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    client.send(b"again").unwrap();
    let start = Instant::now();
    let mut back = [0; 10];
    let answered = loop {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        match client.recv(&mut back) {
            Ok(length) => break length,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(start.elapsed() < PATIENCE, "no answer");
    };
    assert_eq!(&back[..answered], b"again");
}

/// Sends `payload` to `to` as if it came from `from`; whether that is allowed here.
fn forge(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> bool {
    let socket = match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) {
        Ok(socket) => socket,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("skipped: raw sockets are not permitted");
            assert!(std::env::var_os("RESOUND_REQUIRE_TOOLS").is_none(), "and they are required");
            return false;
        }
        Err(error) => panic!("{error}"),
    };
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram = Vec::new();
    for half in [from.port(), to.port(), length, 0] {
        datagram.extend(half.to_be_bytes());
    }
    datagram.extend(payload);
    socket.send_to(&datagram, &to.into()).unwrap();
    true
}

#[test]
fn two_echoes_do_not_feed_each_other() {
    let mut daemons = [0, 1].map(|_| Daemon::start(&["udp://127.0.0.1:0,rate=100"], &[]));
    let [one, other] = [0, 1].map(|at| daemons[at].address(0).parse().unwrap());
    let (report, dropped) = mpsc::channel();
    for daemon in &mut daemons {
        let (log, report) = (daemon.take_stderr(), report.clone());
        thread::spawn(move || {
            let lines = log.lines().map_while(Result::ok);
            lines
                .filter(|line| line.contains("dropped a datagram"))
                .try_for_each(|line| report.send(line))
        });
    }
    if !forge(one, other, b"round and round") {
        return;
    }
    dropped.recv_timeout(PATIENCE).expect("one of the two drops it");
    daemons.iter().for_each(|daemon| ping(&client(daemon), b"hello"));
    let summaries = daemons.map(|daemon| daemon.stop().stdout);
    for summary in &summaries {
        let frames = summary.split(", ").find_map(|part| part.strip_suffix(" frames")).unwrap();
        // The guard drops one of 1,009 if the rate limit has not ended the loop before.
        assert!(frames.parse::<u64>().unwrap() < 1_100, "they went on: {summaries:?}");
    }
    assert!(summaries.concat().contains("1 datagram dropped"), "{summaries:?}");
}

/// Connects two echoes: what one sends goes to the other, after a delay.
struct Relay {
    /// One socket for each echo, connected to it.
    sides: [UdpSocket; 2],
    delay: Duration,
    /// When to send, to which side, and what.
    delayed: VecDeque<(Instant, usize, Vec<u8>)>,
    forwarded: usize,
}

impl Relay {
    fn new(daemons: &[Daemon; 2], delay: Duration) -> Self {
        let sides = [0, 1].map(|side| client(&daemons[side]));
        Self { sides, delay, delayed: VecDeque::new(), forwarded: 0 }
    }

    /// Takes what has arrived, and sends what is due.
    fn turn(&mut self) {
        let mut buffer = [0; 64];
        for side in [0, 1] {
            self.sides[side].set_nonblocking(true).unwrap();
            while let Ok(length) = self.sides[side].recv(&mut buffer) {
                let due = Instant::now() + self.delay;
                self.delayed.push_back((due, 1 - side, buffer[..length].to_vec()));
            }
        }
        while let Some((due, side, payload)) = self.delayed.pop_front() {
            if due > Instant::now() {
                self.delayed.push_front((due, side, payload));
                break;
            }
            self.sides[side].send(&payload).unwrap();
            self.forwarded += 1;
        }
    }

    /// Starts a loop of this many datagrams, and forwards until none is left or `limit` have been forwarded. Returns how
    /// many were.
    fn run(mut self, daemons: &[Daemon; 2], in_flight: u8, limit: usize) -> usize {
        for number in 0..in_flight {
            self.sides[0].send(&[number]).unwrap();
        }
        let mut quiet_turns = 0;
        while self.forwarded < limit {
            let before = self.forwarded;
            self.turn();
            quiet_turns = if self.forwarded > before { 0 } else { quiet_turns + 1 };
            if self.delayed.is_empty() && quiet_turns > 100 {
                // Behind the answers to these, no other answer is left in an echo's queue.
                daemons.iter().for_each(|daemon| ping(&client(daemon), b"are you through"));
                self.turn();
                if self.delayed.is_empty() && self.forwarded == before {
                    break;
                }
            }
            if self.forwarded == before {
                // Leaves the processor to the echoes.
                thread::sleep(Duration::from_micros(20));
            }
        }
        self.forwarded
    }
}

/// One datagram in this many is dropped.
const PERIOD: usize = UdpConfig::LOOP_GUARD_PERIOD as usize;

#[test]
fn a_loop_ends_whatever_its_round_trip_time_and_number_in_flight() {
    for (milliseconds, in_flight) in [(0, 1), (0, 5), (1, 1), (1, 20), (2, 10)] {
        let daemons = [0, 1].map(|_| Daemon::start(&["udp://127.0.0.1:0"], &[]));
        let relay = Relay::new(&daemons, Duration::from_millis(milliseconds));
        // Each drop costs at most one period at one of the two, and each may have one begun.
        let limit = (usize::from(in_flight) + 2) * PERIOD;
        let forwarded = relay.run(&daemons, in_flight, limit);
        let ended = daemons.map(Daemon::stop);
        let case = format!("{in_flight} in flight, {milliseconds} ms: {forwarded} {ended:?}");
        assert!(forwarded < limit, "the loop goes on: {case}");
        let dropped = ended.iter().map(|ended| number_before(&ended.stdout, "of them by the loop"));
        assert_eq!(dropped.sum::<u64>(), u64::from(in_flight), "{case}");
        let warnings = ended.iter().map(|ended| ended.stderr.matches("loop guard").count());
        assert!(warnings.sum::<usize>() <= 2, "once for each source: {case}");
    }
}

#[test]
fn without_the_loop_guard_a_loop_goes_on() {
    let listen = "udp://127.0.0.1:0,rate=0,loop-guard=off";
    let daemons = [0, 1].map(|_| Daemon::start(&[listen], &[]));
    let relay = Relay::new(&daemons, Duration::ZERO);
    assert_eq!(relay.run(&daemons, 1, 5 * PERIOD), 5 * PERIOD);
}

/// The number in front of `what` in a daemon's summary; 0 if it is not there.
fn number_before(summary: &str, what: &str) -> u64 {
    let Some(end) = summary.find(what) else { return 0 };
    summary[..end].split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn a_client_that_never_pauses_loses_one_in_a_period_and_gets_the_rest() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0,rate=0"], &[]);
    let socket = client(&daemon);
    for number in 1..=3 * PERIOD {
        if number.is_multiple_of(PERIOD) {
            // No answer. The next ping checks that its own answer is the next to come.
            socket.send(&number.to_le_bytes()).unwrap();
        } else {
            ping(&socket, &number.to_le_bytes());
        }
    }
    let ended = daemon.stop();
    assert!(ended.stdout.contains("3 datagrams dropped, 3 of them by the loop guard"), "{ended:?}");
    assert_eq!(ended.stderr.matches("the loop guard drops one in 1009").count(), 1, "{ended:?}");
}

#[test]
fn a_client_that_sends_all_before_it_reads_gets_all_back_in_order() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let socket = client(&daemon);
    let sent: Vec<Vec<u8>> = (0..64_u8).map(|number| vec![number; usize::from(number)]).collect();
    sent.iter().for_each(|payload| assert_eq!(socket.send(payload).unwrap(), payload.len()));
    let mut buffer = [0; 100];
    for payload in &sent {
        let length = socket.recv(&mut buffer).expect("an answer in time");
        assert_eq!(buffer[..length], payload[..]);
    }
}

#[test]
fn a_client_that_sends_thousands_before_it_reads_holds_nobody_up() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0,rate=0,loop-guard=off"], &[]);
    let (socket, other) = (client(&daemon), client(&daemon));
    let payload = |number: u16| number.to_le_bytes().repeat(300);
    for number in 0..5_000 {
        socket.send(&payload(number)).unwrap();
        if number % 100 == 0 {
            ping(&other, b"hello");
        }
    }
    ping(&other, b"the last");
    // Its queue cannot hold all answers. What it does hold is right, and there once.
    socket.set_nonblocking(true).unwrap();
    let mut seen = HashSet::new();
    let mut buffer = [0; 1_000];
    while let Ok(length) = socket.recv(&mut buffer) {
        let number = u16::from_le_bytes([buffer[0], buffer[1]]);
        assert!(buffer[..length] == payload(number)[..], "number {number}");
        assert!(seen.insert(number), "{number} came twice");
    }
    assert!(!seen.is_empty());
    socket.set_nonblocking(false).unwrap();
    ping(&socket, b"now that there is room");
}

#[test]
fn privileged_ports_and_its_own_get_no_answer() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let to: SocketAddr = daemon.address(0).parse().unwrap();
    for port in [7, 17, 19, 1023, to.port()] {
        if !forge(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), to, b"echo") {
            return;
        }
    }
    ping(&client(&daemon), b"hello");
    let ended = daemon.stop();
    assert!(ended.stdout.contains(" 1 frame,"), "{ended:?}");
    assert!(ended.stdout.contains("5 datagrams dropped"), "{ended:?}");
}
