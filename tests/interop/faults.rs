//! Faults on demand and the clients of others, which do what their documents say.

use std::{io::Read, net::TcpStream, process::Command};

use bytes::BytesMut;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use crate::{
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
        ("slice=1", 0, "success"),
        ("delay=100ms+rate=100KiB/s", 0, "success"),
    ] {
        let daemon = with(&format!("http://127.0.0.1:0,fault={fault}"));
        let mut command = foreign(&curl);
        // Long enough that no loaded machine is the reason, where there is an end to be waited for.
        let at_most = if code == 28 { "3" } else { "60" };
        command.args(["-s", "-S", "-o", "/dev/null", "--max-time", at_most, "--data-binary"]);
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
