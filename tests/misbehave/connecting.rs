//! Faults of a listener: nobody can connect.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{Daemon, drained, ping, resound, with};

#[test]
fn a_listener_that_refuses_answers_each_syn_with_rst() {
    let daemon = with("fault=refuse");
    for _ in 0..3 {
        let error = TcpStream::connect(daemon.address(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    ping(&mut TcpStream::connect(daemon.address(1)).unwrap());
    drained(daemon);
}

#[test]
fn a_full_backlog_answers_no_syn_in_any_loop() {
    for loops in ["1", "3"] {
        let daemon = Daemon::start(
            &["frames://127.0.0.1:0,fault=full-backlog", "frames://127.0.0.1:0"],
            &["--reactors", loops],
        );
        let address: SocketAddr = daemon.address(0).parse().unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            let time = Duration::from_millis(300);
            let error = TcpStream::connect_timeout(&address, time).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(start.elapsed() >= time);
        }
        ping(&mut TcpStream::connect(daemon.address(1)).unwrap());
        drained(daemon);
    }
}

#[test]
fn it_is_said_what_happens_and_what_cannot() {
    let daemon = with("fault=refuse,seed=1");
    assert!(daemon.listening[0].starts_with("frames://127.0.0.1:"));
    let place = daemon.listening[0].clone();
    let ended = daemon.stop();
    assert!(ended.stdout.contains(&format!("faults on {place}: refuse, seed=1\n")), "{ended:?}");

    for (listen, says) in [
        ("frames://:0,fault=refuse+drop", "write fault=refuse alone"),
        ("frames://:0,fault=full-backlog#1", "concerns the whole listener"),
        ("udp://:0,fault=refuse", "datagrams cannot have it"),
        (
            "frames+unix:///tmp/x,fault=refuse",
            "Unix sockets have neither segments nor RST; use TCP",
        ),
        ("frames://:0,max=0,fault=refuse", "max=0"),
    ] {
        let output = resound().args(["serve", "-l", listen]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(says), "{listen}: {stderr}");
    }
}
