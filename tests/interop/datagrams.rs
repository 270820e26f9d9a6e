//! `udp`, from socat and from Python: every size, and errors that are not fatal.

use std::{
    io::{Read, Write},
    net::UdpSocket,
    process::Stdio,
};

use crate::{
    common::{Daemon, PATIENCE, Random, tool},
    foreign, port, run, source,
};

fn socket(daemon: &Daemon) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(daemon.address(0)).unwrap();
    socket
}

fn echo(socket: &UdpSocket, sent: &[u8]) {
    let mut back = vec![0; 65_535];
    socket.send(sent).unwrap();
    let length = socket.recv(&mut back).unwrap();
    assert!(back[..length] == *sent, "{} B", sent.len());
}

#[test]
fn socat_sends_one_and_gets_it_back() {
    let Some(socat) = tool("socat") else { return };
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let mut command = foreign(socat);
    command.args(["-", &format!("UDP:{}", daemon.address(0))]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn python_sends_every_kind_of_size() {
    let Some(python) = tool("python3") else { return };
    let daemon = Daemon::start(&["udp://[::1]:0"], &[]);
    let mut command = foreign(python);
    command.arg(source("datagrams.py")).args(["::1", port(&daemon, 0), "400", "65507"]);
    assert_eq!(run(&mut command), "400 datagrams\n");
    let ended = daemon.stop();
    assert!(ended.stdout.contains(" 400 frames, "), "{ended:?}");
}

#[test]
fn from_nothing_to_the_longest() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let socket = socket(&daemon);
    let mut random = Random(1);
    for size in [0, 1, 2, 1471, 1472, 1473, 8192, 65_506, 65_507] {
        echo(&socket, &random.bytes(size));
    }
}

#[test]
fn an_icmp_error_is_not_fatal() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let other = socket(&daemon);
    for _ in 0..100 {
        // Gone before the echo arrives, most times, and the kernel says so to the daemon.
        socket(&daemon).send(b"are you there").unwrap();
        echo(&other, b"still here");
    }
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains(" 200 frames, "), "{ended:?}");
}

#[test]
fn over_the_rate_is_dropped_counted_and_said() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0,rate=100"], &[]);
    let socket = socket(&daemon);
    for _ in 0..1000 {
        socket.send(b"x").unwrap();
    }
    // From another source, and behind the thousand.
    echo(&self::socket(&daemon), b"y");
    let ended = daemon.stop();
    assert!(ended.stdout.contains(" datagrams dropped"), "{ended:?}");
    assert!(ended.stderr.contains("over the rate limit for one source"), "{ended:?}");
}
