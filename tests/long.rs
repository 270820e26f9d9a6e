//! Long frames, which the kernel moves from socket to socket.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    thread,
};

use common::{Daemon, Random, eventually, frame, ping, pinging_beside, reset};
use socket2::SockRef;

mod common;

/// Frames need not be very long.
const SPLICING: [&str; 2] = ["--splice-from", "96KiB"];

/// Writes `sent` and at the same time reads as much back.
fn exchange<'s, S: Sync>(stream: &'s S, sent: &[u8]) -> Vec<u8>
where
    &'s S: Read + Write,
{
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(sent).unwrap();
        });
        let (mut reader, mut back) = (stream, vec![0; sent.len()]);
        reader.read_exact(&mut back).unwrap();
        back
    })
}

/// Frames of up to 3 MB, most of them long, about 20 MB in all; the same for the same seed.
fn frames(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let material = random.bytes(3_000_000);
    let mut stream = Vec::new();
    while stream.len() < 20_000_000 {
        let most = [300, 300_000, 3_000_000][random.below(3)];
        let length = random.below(most);
        let start = random.below(material.len() - length);
        stream.extend(frame(&material[start..start + length]));
    }
    stream
}

#[test]
fn half_frames_are_held_in_none_of_its_memory_and_go_back_once_they_are_whole() {
    let daemon = Daemon::frames(&SPLICING);
    let mut streams: Vec<TcpStream> = (0..10).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    let (before, base) = (daemon.descriptors(), daemon.memory("VmRSS"));
    let sent = frame(&Random(1).bytes(1_000_000));
    let (half, rest) = sent.split_at(900_000);
    for stream in &mut streams {
        stream.write_all(half).unwrap();
    }
    eventually("each has a pipe", || daemon.descriptors() == before + 2 * streams.len());
    let mut back = vec![0; sent.len()];
    for stream in &mut streams {
        stream.write_all(rest).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert!(back == sent);
    }
    let grown = daemon.memory("VmHWM") - base;
    assert!(grown < 3 << 10, "{grown} KiB more for {} frames of 1 MB", streams.len());
    eventually("the pipes are closed", || daemon.descriptors() == before);
}

#[test]
fn more_of_them_than_there_are_pipes_go_back_as_they_came() {
    let daemon = Daemon::frames(&SPLICING);
    pinging_beside(&daemon, |_| {
        thread::scope(|scope| {
            for seed in 0..20 {
                let stream = daemon.connect();
                scope.spawn(move || {
                    let sent = frames(seed);
                    assert!(exchange(&stream, &sent) == sent, "seed {seed}");
                });
            }
        });
    });
}

#[test]
fn over_a_unix_socket_they_go_back_as_they_came() {
    let path = std::env::temp_dir().join(format!("resound-long-{}", std::process::id()));
    let daemon = Daemon::start(&[&format!("frames+unix://{}", path.display())], &SPLICING);
    let stream = UnixStream::connect(&path).unwrap();
    let sent = frames(1);
    assert!(exchange(&stream, &sent) == sent);
    drop(daemon);
}

#[test]
fn in_very_small_packets_they_go_back_as_they_came() {
    let daemon = Daemon::frames(&SPLICING);
    let mut stream = daemon.connect();
    stream.set_nodelay(true).unwrap();
    let mut random = Random(5);
    let sent = frame(&random.bytes(2_000_000));
    let mut beside = daemon.connect();
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let (packet, others) = rest.split_at((1 + random.below(2_000)).min(rest.len()));
        stream.write_all(packet).unwrap();
        rest = others;
        if random.below(20) == 0 {
            // By now the server has had its turn.
            ping(&mut beside);
        }
    }
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == sent);
}

#[test]
fn an_urgent_byte_inside_one_does_not_hold_it_up() {
    let daemon = Daemon::frames(&SPLICING);
    let mut stream = daemon.connect();
    let sent = frame(&Random(6).bytes(1_000_000));
    let mut beside = daemon.connect();
    for piece in sent.chunks(200_000) {
        stream.write_all(piece).unwrap();
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        ping(&mut beside);
    }
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == sent);
}

#[test]
fn an_urgent_byte_and_then_fin_do_not_cut_one_short() {
    let daemon = Daemon::frames(&SPLICING);
    let sent = frame(&Random(6).bytes(1_000_000));
    let mut beside = daemon.connect();
    for _ in 0..10 {
        let mut stream = daemon.connect();
        stream.write_all(&sent[..300_000]).unwrap();
        ping(&mut beside);
        daemon.pause();
        stream.write_all(&sent[300_000..310_000]).unwrap();
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(&sent[310_000..]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        daemon.resume();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == sent);
    }
}

#[test]
fn from_the_first_byte_on_heads_that_come_in_pieces_are_not_taken_for_frames() {
    for listen in ["frames://127.0.0.1:0", "frames://127.0.0.1:0,length=u64be,offset=5,max=1MiB"] {
        let daemon = Daemon::start(&[listen], &["--splice-from", "1"]);
        let mut stream = daemon.connect();
        let mut sent = if listen.contains("offset") { vec![9; 5] } else { Vec::new() };
        let length = 300_u64;
        match sent.len() {
            0 => sent.extend(300_u32.to_le_bytes()),
            _ => sent.extend(length.to_be_bytes()),
        }
        sent.extend(Random(9).bytes(300));
        let mut beside = daemon.connect();
        let hello = sent.clone();
        for byte in &sent {
            stream.write_all(&[*byte]).unwrap();
            // It has had its turn once this is back.
            beside.write_all(&hello).unwrap();
            beside.read_exact(&mut vec![0; hello.len()]).unwrap();
        }
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == sent, "{listen}");
    }
}

#[test]
fn fin_or_reset_inside_one_leaves_nothing_behind() {
    let daemon = Daemon::frames(&SPLICING);
    let before = daemon.descriptors();
    let half = frame(&Random(7).bytes(1_000_000))[..700_000].to_vec();
    pinging_beside(&daemon, |_| {
        for round in 0..20 {
            let mut stream = daemon.connect();
            stream.write_all(&half).unwrap();
            if round % 2 == 0 {
                reset(stream);
            } else {
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "none of it comes back");
            }
        }
    });
    eventually("sockets and pipes are closed", || daemon.descriptors() == before);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("10 frames cut short"), "{ended:?}");
}

#[test]
fn reset_while_one_is_owed_leaves_nothing_behind() {
    let daemon = Daemon::frames(&SPLICING);
    let mut beside = daemon.connect();
    ping(&mut beside);
    let before = daemon.descriptors();
    let long = frame(&Random(8).bytes(1_500_000));
    pinging_beside(&daemon, |_| {
        for _ in 0..10 {
            let mut stream = daemon.connect();
            stream.set_nonblocking(true).unwrap();
            SockRef::from(&stream).set_recv_buffer_size(100_000).unwrap();
            // More than the kernels hold: the server owes, has more to read, and cannot pay.
            let mut sent = 0;
            let mut send = || match stream.write(&long[sent % long.len()..]) {
                Ok(count) => {
                    sent += count;
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    false
                }
            };
            while send() {
                while send() {}
                ping(&mut beside);
            }
            reset(stream);
        }
    });
    eventually("sockets and pipes are closed", || daemon.descriptors() == before);
    ping(&mut beside);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("10 reset"), "{ended:?}");
}
