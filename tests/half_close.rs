//! Ends of all kinds: FIN with data, behind data, inside it; RST; and the byte that is out of band.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    thread,
};

use common::{Daemon, Random, eventually, frame, ping, pinging_beside, reset, tool};
use socket2::SockRef;

mod common;

fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    back
}

/// Data and FIN that come in the same wake-up, and, with luck, in every other order.
fn fin_with_data(daemon: &Daemon) {
    let hello = frame(&[7; 100]);
    for _ in 0..500 {
        let mut stream = daemon.connect();
        stream.write_all(&hello).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest_of(stream), hello);
    }
    daemon.pause();
    let streams: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut stream = daemon.connect();
            stream.write_all(&hello).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    daemon.resume();
    for stream in streams {
        assert_eq!(rest_of(stream), hello);
    }
    // Behind a part that was seen without it.
    for _ in 0..50 {
        let mut stream = daemon.connect();
        ping(&mut stream);
        daemon.pause();
        stream.write_all(&hello).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        daemon.resume();
        assert_eq!(rest_of(stream), hello);
    }
}

#[test]
fn fin_with_data_a_thousand_times_echoes_everything_then_fin() {
    fin_with_data(&Daemon::frames(&[]));
}

#[test]
fn fin_with_data_a_thousand_times_on_one_processor() {
    let Some(taskset) = tool("taskset") else { return };
    let mut command = Command::new(taskset);
    command.args(["--cpu-list", "0", env!("CARGO_BIN_EXE_resound"), "serve"]);
    command.args(["--listen", "frames://127.0.0.1:0"]);
    fin_with_data(&Daemon::spawn(command, 1));
}

/// This many bytes of frames, the same for the same seed.
fn frames(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let material = random.bytes(1 << 20);
    let mut stream = Vec::with_capacity(bytes + (1 << 20));
    while stream.len() < bytes {
        let length = random.below(300_000);
        let start = random.below(material.len() - length);
        stream.extend(frame(&material[start..start + length]));
    }
    stream
}

#[test]
fn fin_behind_100_mb_while_output_is_blocked_reaches_a_slow_reader_whole() {
    let daemon = Daemon::frames(&[]);
    let sent = frames(100_000_000, 16);
    let mut stream = daemon.connect();
    let mut writer = stream.try_clone().unwrap();
    let back = thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        // Between two reads the server is asked something else, so it has had its turn and owes again.
        let mut beside = daemon.connect();
        let mut back = Vec::with_capacity(sent.len());
        let mut buffer = vec![0; 50_000];
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => back.extend_from_slice(&buffer[..count]),
            }
            ping(&mut beside);
        }
        back
    });
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    let ended = daemon.stop();
    assert!(ended.stdout.contains("2 by the peer"), "{ended:?}");
}

#[test]
fn fin_inside_a_frame_at_every_offset_echoes_the_whole_ones() {
    let daemon = Daemon::frames(&["--log-level", "debug"]);
    let whole = frame(b"whole");
    let cut_short = frame(b"cut short");
    for cut in 0..cut_short.len() {
        let mut stream = daemon.connect();
        stream.write_all(&[&whole[..], &cut_short[..cut]].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest_of(stream), whole, "cut {cut}");
    }
    let ended = daemon.stop();
    assert!(ended.stdout.contains("12 frames cut short"), "{ended:?}");
    assert_eq!(ended.stderr.matches("closed inside a frame").count(), 12, "{ended:?}");
}

#[test]
fn reset_with_output_unsent_leaves_nothing_behind() {
    let daemon = Daemon::start(&["raw://127.0.0.1:0"], &[]);
    let before = daemon.descriptors();
    let connections = pinging_beside(&daemon, |beside| {
        let flood = vec![7; 1 << 20];
        let mut connections = 0;
        while !beside.is_enough() {
            let mut streams: Vec<TcpStream> = (0..40).map(|_| daemon.connect()).collect();
            for stream in &mut streams {
                stream.set_nonblocking(true).unwrap();
                // More than is taken back: the server owes, and cannot pay.
                while !matches!(stream.write(&flood), Err(error) if error.kind() == ErrorKind::WouldBlock)
                {
                }
            }
            beside.has_begun();
            connections += streams.len();
            streams.into_iter().for_each(reset);
            if connections >= 200 {
                beside.has_lasted();
            }
        }
        connections
    });
    eventually("all are closed again", || daemon.descriptors() == before);
    let ended = daemon.stop();
    assert!(ended.stdout.contains(&format!("{connections} reset")), "{ended:?}");
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_byte_out_of_band_stalls_nothing() {
    let daemon = Daemon::start(&["raw://127.0.0.1:0"], &[]);
    let mut stream = daemon.connect();
    for round in 0..20 {
        stream.write_all(b"abc").unwrap();
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(b"defgh").unwrap();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"abcdefgh", "round {round}");
    }
    for round in 0..20 {
        daemon.pause();
        stream.write_all(b"abc").unwrap();
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(b"defgh").unwrap();
        daemon.resume();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"abcdefgh", "round {round}, all at once");
    }
}
