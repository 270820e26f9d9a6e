//! Clients whose handshakes and records have a mistake, over sockets, and a connection beside them that keeps pinging.
//!
//! ```text
//! RESOUND_SEEDS=100000 cargo test --test tls mutated              # minutes
//! RESOUND_SEED=77 cargo test --test tls mutated                   # one connection again
//! ```

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection};

use super::{keys, ping_tls, support};
use crate::common::{Daemon, PATIENCE, Random, eventually, frame, http_get, resound, seeds};

/// How many connections are made, unless `RESOUND_SEEDS` says it.
const CONNECTIONS: u64 = 2_000;

/// One connection in so many has no mistake.
const RIGHT: usize = 16;

/// The head of a record: type, version, length.
const HEAD: usize = 5;

/// What the client sends inside TLS: an echo of anything else is a fault.
const PAYLOAD: &[u8] = b"the one and only payload of this connection";

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Echoed,
    Ended,
}

/// Makes a mistake in what a client sends at once: one record or several.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    let count = 1 + random.below(bytes.len().min(64));
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[random.below(HEAD)] = random.below(256) as u8,
        // The type and the length of a handshake message, or the first bytes of what is encrypted.
        2 => bytes[HEAD + random.below(4)] = random.below(256) as u8,
        3 => bytes.truncate(at),
        4 => bytes.extend_from_within(..),
        5 => {
            let more = random.bytes(count);
            bytes.splice(at..at, more);
        }
        6 => {
            bytes.drain(at..bytes.len().min(at + count));
        }
        7 => {
            // A record of its own in front: of any type, with any content.
            let mut record = vec![20 + random.below(5) as u8, 3, 3, 0, count as u8];
            record.extend(random.bytes(count));
            bytes.splice(0..0, record);
        }
        _ => {
            let garbage = random.bytes(count);
            let end = bytes.len().min(at + count);
            bytes.splice(at..end, garbage);
        }
    }
}

/// Makes one connection, with a mistake in one of the things it sends if `flawed` says in which.
fn converse(
    address: &str,
    config: &Arc<ClientConfig>,
    mut flawed: Option<usize>,
    random: &mut Random,
) -> Outcome {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut tls: ClientConnection = support::tls(config, "localhost");
    tls.writer().write_all(&frame(PAYLOAD)).unwrap();
    let (expected, mut echo) = (frame(PAYLOAD), Vec::new());
    let mut has_finished = false;
    loop {
        while tls.wants_write() && !has_finished {
            let mut sent = Vec::new();
            tls.write_tls(&mut sent).unwrap();
            let is_flawed = flawed == Some(0);
            if is_flawed {
                mutate(&mut sent, random);
            }
            flawed = flawed.and_then(|left| left.checked_sub(1));
            // The server may have ended the connection.
            has_finished = stream.write_all(&sent).is_err();
            if is_flawed {
                // Nothing more comes, so the server need not wait for the rest of a record that has become longer.
                let _ = stream.shutdown(Shutdown::Write);
                has_finished = true;
            }
        }
        let received = match tls.read_tls(&mut stream) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server has not ended the connection in time")
            }
            received => received,
        };
        let is_over = !matches!(received, Ok(1..)) || tls.process_new_packets().is_err();
        // WouldBlock: there is nothing more by now.
        let _ = tls.reader().read_to_end(&mut echo);
        assert!(expected.starts_with(&echo), "an echo of what was not sent: {echo:?}");
        if echo == expected {
            return Outcome::Echoed;
        }
        if is_over {
            return Outcome::Ended;
        }
    }
}

#[test]
fn mutated_handshakes_and_records_end_their_own_connection_and_a_bystander_does_not_notice() {
    let (folder, authority) = (support::Folder::new("mutations"), support::Authority::new());
    let keys = keys(&authority, &folder, "server", &["localhost"]);
    let mut command = resound();
    command.args(["serve", "--listen", &format!("frames+tls://127.0.0.1:0,{keys}")]);
    command.args(["--admin", "127.0.0.1:0", "--log-level", "error"]);
    let mut daemon = Daemon::spawn(command, 2);
    let configs = [
        support::config(&authority),
        support::only_tls12(&authority),
        support::without_resumption(&authority),
    ]
    .map(Arc::new);
    let mut beside = support::connect(daemon.address(0), &configs[0]);
    ping_tls(&mut beside);

    let (mut right, mut ended) = (0, 0);
    let count = seeds::each(CONNECTIONS, "tls mutated", |seed| {
        let mut random = Random(seed);
        let config = &configs[random.below(configs.len())];
        // A client says three things: its hello, the end of the handshake, and a frame. The last two may be one.
        let flawed = (random.below(RIGHT) > 0).then(|| random.below(3));
        println!("a mistake in {flawed:?}");
        match converse(daemon.address(0), config, flawed, &mut random) {
            Outcome::Echoed => right += u64::from(flawed.is_none()),
            Outcome::Ended => {
                assert!(flawed.is_some(), "a client without a mistake got no echo");
                ended += 1;
            }
        }
        ping_tls(&mut beside);
    });
    // A mistake need not be one: the echo may have been on its way, or the third thing was never sent.
    assert!(count < CONNECTIONS || (right > count / 32 && ended > count / 2), "{right}, {ended}");
    let stats = || -> serde_json::Value {
        serde_json::from_str(&http_get(daemon.address(1), "/stats", "").1).unwrap()
    };
    eventually("only the bystander is left", || stats()["connections"]["open"] == 1);
    ping_tls(&mut beside);
    drop(beside);
    let mut said = String::new();
    let log = daemon.take_stderr();
    let over = daemon.stop();
    assert!(over.status.success(), "{over:?}");
    { log }.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "nothing here is an error of the server");
}
