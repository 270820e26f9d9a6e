//! Faults on demand and the clients of others, which do what their documents say.

use std::{
    fs,
    io::Read,
    net::{TcpListener, TcpStream},
    process::Command,
};

use bytes::BytesMut;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use crate::{
    chromium::{Browser, Profile, reported},
    common::{Daemon, frame, tool},
    foreign, port, python, run, source,
};

fn with(listen: &str) -> Daemon {
    Daemon::start(&[listen], &[])
}

/// curl(1), EXIT CODES.
#[test]
fn curl_has_an_exit_code_for_each() {
    let Some(curl) = tool("curl") else { return };
    for (fault, code, means) in [
        ("reset=300", 56, "failure in receiving network data"),
        ("fin=300", 18, "partial file"),
        ("fin=0", 52, "the server did not reply anything"),
        ("length=negative", 8, "weird server reply"),
        ("mute", 28, "operation timeout"),
        ("deaf", 28, "operation timeout"),
        ("stall=300", 28, "operation timeout"),
        ("blackhole", 28, "operation timeout"),
        ("full-backlog", 28, "operation timeout"),
        ("drip=1/s", 28, "operation timeout"),
        ("length=+1", 28, "operation timeout"),
        ("refuse", 7, "failed to connect to host"),
        ("short-chunk=100", 18, "partial file"),
        ("short-chunk=1000", 18, "partial file"),
        ("status=503", 22, "an error of 400 or above, with --fail"),
        ("drip=10KiB/s", 0, "success"),
        ("slice=1", 0, "success"),
        ("delay=100ms+rate=100KiB/s", 0, "success"),
    ] {
        let daemon = with(&format!("http://127.0.0.1:0,fault={fault}"));
        let mut command = foreign(&curl);
        // Long enough that no loaded machine is the reason, where there is an end to be waited for.
        let at_most = if code == 28 { "3" } else { "60" };
        command.args([
            "-s",
            "-S",
            "--fail",
            "-o",
            "/dev/null",
            "--max-time",
            at_most,
            "--data-binary",
        ]);
        let body = "x".repeat(1000);
        let output = command.args([&body, &daemon.listening[0]]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{fault}: {means}: {output:?}");
    }
}

/// What the program says of the second frame of a listener with this fault.
fn said(program: impl FnOnce() -> Option<Command>, listen: &str, fault: &str) -> Option<String> {
    let mut program = program()?;
    let daemon = with(&format!("{listen},fault={fault}"));
    Some(run(program.arg(port(&daemon, 0))))
}

/// `gen_tcp:recv/3` and `inet:setopts/2`, `packet_size`.
#[test]
fn erlang_tells_closed_from_timeout_and_from_a_length_over_its_limit() {
    // The time is long where something must come, and short where nothing does.
    let (long, short) = ("100000", "1000");
    for (fault, says) in [
        ("reset=7@2", "{error,closed}"),
        ("fin=7@2", "{error,closed}"),
        ("length=max@2", "{error,emsgsize}"),
        ("length=+1@2", "{error,timeout}"),
        ("truncate=5@2", "{error,timeout}"),
        ("drop@2", "{error,timeout}"),
        ("slice=1@2", "{ok,<<\"second\">>}"),
    ] {
        let program = || {
            let mut program = foreign(tool("escript")?);
            let at_most = if says == "{error,timeout}" { short } else { long };
            program.arg(source("faulty.escript")).arg(at_most);
            Some(program)
        };
        let Some(said) = said(program, "frames://127.0.0.1:0,preset=erlang-4", fault) else {
            return;
        };
        assert_eq!(said.trim(), says, "{fault}");
    }
}

/// `IntNStringReceiver.lengthLimitExceeded`, and the reasons of `Protocol.connectionLost`.
#[test]
fn twisted_tells_done_from_lost_and_from_a_length_over_its_limit() {
    for (fault, says) in [
        ("fin=7@2", "ConnectionDone 7 left over"),
        ("reset=7@2", "ConnectionLost 7 left over"),
        ("length=max@2", "length 2147483647"),
        ("slice=1@2", "received second"),
    ] {
        let program = || python("twisted", "faulty_twisted.py");
        let Some(said) = said(program, "frames://127.0.0.1:0,preset=twisted-32", fault) else {
            return;
        };
        assert!(said.starts_with(says), "{fault}: {said}");
    }
}

/// Netty: `LengthFieldBasedFrameDecoder`, `TooLongFrameException`, `ReadTimeoutHandler`, `channelInactive`.
#[test]
fn netty_tells_a_reset_from_fin_from_a_timeout_and_from_a_length_over_its_limit() {
    let Some(java) = tool("java") else { return };
    let Some(jars) = crate::netty_jars() else { return };
    for (fault, says) in [
        ("reset=7@2", "reset"),
        ("fin=7@2", "inactive"),
        ("length=max@2", "TooLongFrameException"),
        ("length=negative@2", "TooLongFrameException"),
        ("length=+1@2", "ReadTimeoutException"),
        ("drop@2", "ReadTimeoutException"),
        ("slice=1@2", "frame second"),
    ] {
        // Long where something must come, and short where nothing does.
        let at_most = if says.contains("Timeout") { "1000" } else { "100000" };
        let program = || {
            let mut program = foreign(&java);
            // Debian's is older than this Java, and would warn about that.
            program.args(["-Dio.netty.noUnsafe=true", "-cp", &jars]);
            program.arg(source("FaultyNetty.java")).arg(at_most);
            Some(program)
        };
        let said = said(program, "frames://127.0.0.1:0,preset=netty", fault).unwrap();
        assert_eq!(said.trim(), says, "{fault}");
    }
}

/// The `CloseEvent` of the `WebSockets` standard (section 4): the code, and whether the connection was closed cleanly.
#[test]
fn a_page_is_told_the_code_with_which_a_websocket_closes() {
    let Some(chromium) = tool("chromium") else { return };
    // Messages, errors, the code, and whether it was clean.
    let cases = [
        ("close=1011@2", "1 0 1011 true"),
        ("close=4999@2", "1 0 4999 true"),
        ("close=none@2", "1 0 1005 true"),
        // The browser fails the connection, and fires an error: the code must not be sent (RFC 6455, section 7.4.1).
        ("close=1006@2", "1 1 1006 false"),
        // A server's frame must have none (section 5.1).
        ("mask@2", "1 1 1006 false"),
        ("fin=3@2", "1 0 1006 false"),
        ("reset=3@2", "1 0 1006 false"),
        ("length=max@2+fin=20@2", "1 0 1006 false"),
        ("slice=1", "2 0 4000 true"),
        ("none", "2 0 4000 true"),
    ];
    let listen = cases.map(|(fault, _)| format!("ws://127.0.0.1:0,fault={fault}"));
    let daemon = Daemon::start(&listen.each_ref().map(String::as_str), &[]);
    let addresses: Vec<String> =
        (0..cases.len()).map(|index| format!("ws://{}/", daemon.address(index))).collect();
    let page = fs::read_to_string(source("closes.html")).unwrap();
    let page = page.replace("ADDRESSES", &format!("{addresses:?}"));
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", site.local_addr().unwrap());
    let _browser = Browser::start(&chromium, Profile::new("chromium-closes"), &[address]);
    let said = reported(&site, &page);
    let expected = cases.map(|(fault, says)| format!("{fault}: {says}"));
    let said: Vec<String> = cases
        .iter()
        .zip(said.lines())
        .map(|((fault, _), said)| format!("{fault}: {said}"))
        .collect();
    assert_eq!(said, expected);
}

/// `LengthDelimitedCodec`: `decode_eof` fails if bytes are left, and `max_frame_length` limits a frame.
#[test]
fn tokio_util_finds_a_frame_cut_short_and_a_length_over_its_limit() {
    for (fault, says) in [
        ("fin=7@2", "bytes remaining on stream"),
        ("truncate=5@2+fin=5@2", "bytes remaining on stream"),
        ("length=max@2+fin=99@2", "frame size too big"),
        ("slice=1+fin=99@2", ""),
    ] {
        let daemon = with(&format!("frames://127.0.0.1:0,preset=tokio,fault={fault}"));
        let address = daemon.address(0).split(',').next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let frames: Vec<u8> = [&b"first"[..], b"second"]
            .iter()
            .flat_map(|payload| {
                let mut head = frame(payload);
                head[..4].reverse();
                head
            })
            .collect();
        std::io::Write::write_all(&mut stream, &frames).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        let mut codec = LengthDelimitedCodec::builder().max_frame_length(1_000_000).new_codec();
        let mut bytes = BytesMut::from(&back[..]);
        assert_eq!(codec.decode(&mut bytes).unwrap().unwrap(), b"first"[..]);
        let second = codec.decode_eof(&mut bytes);
        match second {
            Ok(second) => {
                assert_eq!((second.as_deref(), says), (Some(&b"second"[..]), ""), "{fault}");
            }
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{error}"),
        }
    }
}
