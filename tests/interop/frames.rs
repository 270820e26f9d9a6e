//! Each framing dialect, with the implementation that it is named after: hundreds of frames of random sizes, which
//! the foreign program compares byte by byte.

use std::{
    io::{Read, Write},
    net::Shutdown,
    path::Path,
    process::Command,
    thread,
};

use bytes::{Bytes, BytesMut};
use resound::frame::Preset;
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use crate::{
    common::{Daemon, Random, skip, tool},
    foreign, go, node, port, python, run, source,
};

/// Frames that each program sends.
const COUNT: &str = "400";

/// Lets a program exchange its frames with a daemon that listens with these keys; `arguments` stand between the port and
/// the number of frames.
fn exchange(program: Option<Command>, keys: &str, arguments: &[&str]) {
    let Some(mut program) = program else { return };
    let daemon = Daemon::start(&[&format!("frames://127.0.0.1:0,{keys}")], &[]);
    let printed = run(program.arg(port(&daemon, 0)).args(arguments).arg(COUNT));
    assert_eq!(printed, format!("{COUNT} frames\n"));
    let ended = daemon.stop();
    assert!(ended.stdout.contains(&format!("1 connection, {COUNT} frames, ")), "{ended:?}");
}

#[test]
fn erlang_packets() {
    for width in ["1", "2", "4"] {
        let Some(escript) = tool("escript") else { return };
        let mut program = foreign(escript);
        program.arg(source("erlang.escript"));
        exchange(Some(program), &format!("preset=erlang-{width}"), &[width]);
    }
}

#[test]
fn twisted_string_receivers() {
    for bits in ["8", "16", "32"] {
        let program = python("twisted", "twisted_frames.py");
        exchange(program, &format!("preset=twisted-{bits}"), &[bits]);
    }
}

#[test]
fn netty_length_field_codecs() {
    let Some(java) = tool("java") else { return };
    let Some(jars) = crate::netty_jars() else { return };
    for (keys, arguments) in [
        ("preset=netty", ["big", "4", "false"]),
        ("length=u8", ["big", "1", "false"]),
        ("length=u16le", ["little", "2", "false"]),
        ("length=u24be", ["big", "3", "false"]),
        ("length=u32be,adjust=-4", ["big", "4", "true"]),
        ("length=u64le,adjust=-8", ["little", "8", "true"]),
    ] {
        let mut program = foreign(&java);
        // Debian's is older than this Java, and would warn about that.
        program.args(["-Dio.netty.noUnsafe=true", "-cp", &jars]).arg(source("Netty.java"));
        exchange(Some(program), keys, &arguments);
    }
}

#[test]
fn go_encoding_binary() {
    for (keys, dialect) in [
        ("preset=go-tutorial", "go-tutorial"),
        ("preset=dns", "be16"),
        ("length=u64be", "be64"),
        ("preset=protobuf", "uvarint"),
    ] {
        exchange(go("frames.go"), keys, &[dialect]);
    }
}

#[test]
fn npm_length_prefixes() {
    let Some(mut program) = node("length-prefixed-stream", "frames.js") else { return };
    let daemon = Daemon::start(&["frames://127.0.0.1:0,preset=protobuf"], &[]);
    let printed = run(program.args([port(&daemon, 0), "length-prefixed-stream", COUNT]));
    assert_eq!(printed, format!("{COUNT} frames\n"));
    for (keys, width) in [("length=u8", "1"), ("length=u16be", "2"), ("preset=tokio", "4")] {
        let Some(mut program) = node("frame-stream", "frames.js") else { return };
        let daemon = Daemon::start(&[&format!("frames://127.0.0.1:0,{keys}")], &[]);
        let printed = run(program.args([port(&daemon, 0), "frame-stream", COUNT, width]));
        assert_eq!(printed, format!("{COUNT} frames\n"));
    }
}

#[test]
fn protobuf_length_prefixed_messages() {
    exchange(python("google/protobuf", "protobuf_delimited.py"), "preset=protobuf", &[]);
}

#[test]
fn thrift_framed_transport() {
    exchange(python("thrift", "thrift_framed.py"), "preset=thrift", &[]);
}

#[test]
fn dns_messages_over_tcp() {
    exchange(python("dns", "dns_tcp.py"), "preset=dns", &[]);
}

#[test]
fn database_clients() {
    for (preset, package) in [("kafka", "kafka"), ("mongodb", "pymongo"), ("postgres", "pg8000")] {
        exchange(python(package, "databases.py"), &format!("preset={preset}"), &[preset]);
    }
}

/// One whose messages are as they are, one whose messages are compressed and have the flag of that in their head.
#[test]
fn grpc_messages() {
    for compression in ["identity", "gzip"] {
        exchange(node("@grpc/grpc-js", "grpc.js"), "preset=grpc", &[compression]);
    }
}

#[test]
fn jmeter_length_prefixed_tcp_client() {
    let Some(java) = tool("java") else { return };
    let folder = Path::new("/usr/share/jmeter");
    if !folder.join("lib/ext/ApacheJMeter_tcp.jar").exists() {
        return skip("jmeter-tcp not installed");
    }
    let jars = ["bin/*", "lib/*", "lib/ext/*"].map(|part| folder.join(part).display().to_string());
    let mut program = foreign(java);
    program.args(["-cp", &jars.join(":")]).arg(source("Jmeter.java"));
    program.arg(folder.join("bin/jmeter.properties"));
    exchange(Some(program), "preset=jmeter", &[]);
}

#[test]
fn scapy_bgp_messages() {
    exchange(python("scapy", "bgp.py"), "preset=bgp", &[]);
}

#[test]
fn presets_examples_are_what_the_protocols_own_libraries_write() {
    let Some(mut program) = python("thrift", "golden.py") else { return };
    let printed = run(&mut program);
    assert_eq!(printed.lines().count(), 10);
    for line in printed.lines() {
        let (name, written) = line.split_once(' ').unwrap();
        let preset: Preset = name.parse().unwrap();
        let example: String = preset.example().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, example, "{name}");
    }
}

/// A codec and the keys of a listener that says the same.
fn codecs() -> Vec<(LengthDelimitedCodec, &'static str)> {
    let builder = LengthDelimitedCodec::builder;
    vec![
        (LengthDelimitedCodec::new(), "preset=tokio"),
        (builder().length_field_length(1).new_codec(), "length=u8"),
        (builder().length_field_type::<u16>().little_endian().new_codec(), "length=u16le"),
        (builder().length_field_length(3).new_codec(), "length=u24be"),
        (builder().length_field_length(3).little_endian().new_codec(), "length=u24le"),
        (builder().length_field_type::<u64>().new_codec(), "length=u64be"),
        (builder().length_adjustment(-4).new_codec(), "length=u32be,adjust=-4"),
        (
            builder().length_field_length(2).length_adjustment(-2).little_endian().new_codec(),
            "length=u16le,adjust=-2",
        ),
    ]
}

#[test]
fn tokio_length_delimited_codec() {
    for (seed, (mut codec, keys)) in (0..).zip(codecs()) {
        let daemon = Daemon::start(&[&format!("frames://127.0.0.1:0,{keys}")], &[]);
        let most = match keys {
            "length=u8" => 256,
            _ if keys.contains("u16") => 65_534,
            _ => 200_000,
        };
        let mut random = Random(seed);
        let mut sent = Vec::new();
        let mut wire = BytesMut::new();
        for _ in 0..400 {
            let length = random.below(most);
            let payload = Bytes::from(random.bytes(length));
            codec.encode(payload.clone(), &mut wire).unwrap();
            sent.push(payload);
        }
        let mut stream = daemon.connect();
        let mut writer = stream.try_clone().unwrap();
        thread::spawn(move || {
            writer.write_all(&wire).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let (mut back, mut received) = (Vec::new(), BytesMut::new());
        let mut piece = vec![0; 100_000];
        loop {
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            received.extend_from_slice(&piece[..count]);
            while let Some(frame) = codec.decode(&mut received).unwrap() {
                back.push(frame.freeze());
            }
        }
        assert!(back == sent && received.is_empty(), "{keys}");
    }
}

#[test]
fn each_preset_echoes_its_own_documents_example() {
    for preset in resound::frame::presets() {
        let daemon = Daemon::start(&[&format!("frames://127.0.0.1:0,preset={}", preset.name)], &[]);
        let example = preset.example().repeat(100);
        let mut stream = daemon.connect();
        stream.write_all(&example).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == example, "{}", preset.name);
        let ended = daemon.stop();
        assert!(ended.stdout.contains("1 connection, 100 frames, "), "{ended:?}");
    }
}
