//! Connections with TLS stay in the process that has their keys, until they end; new ones come to the next process.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use self::certificates::{Authority, Folder, TlsStream, config, connect, fingerprint};
use crate::{
    common::{eventually, frame, ping},
    support::{Running, is_running},
};

#[path = "../tls/support.rs"]
mod certificates;

fn ping_tls(stream: &mut TlsStream) {
    stream.write_all(&frame(b"ping")).unwrap();
    let mut back = [0; 8];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back[..], frame(b"ping"));
}

#[test]
fn a_connection_with_tls_stays_until_it_ends_and_the_next_process_reads_the_certificates() {
    let (folder, authority) = (Folder::new("replace"), Authority::new());
    let put = |certificate: certificates::Certificate| {
        folder.put("server.key", &certificate.key_pem);
        folder.put("server.pem", &certificate.pem)
    };
    let chain = put(authority.sign(&["localhost"]));
    let key = folder.path("server.key");
    let listen = format!("frames+tls://127.0.0.1:0,cert={},key={}", chain.display(), key.display());
    let mut running = Running::start(&[&listen, "frames://127.0.0.1:0"], &[]);
    let config = Arc::new(config(&authority));
    let mut secret = connect(running.address(0), &config);
    ping_tls(&mut secret);
    let mut plain = running.connect(1);
    ping(&mut plain);
    // The first half of what a client says first: no keys are agreed upon, so it can move.
    let mut hello = Vec::new();
    certificates::tls(&config, "localhost").write_tls(&mut hello).unwrap();
    let mut beginning = running.connect(0);
    beginning.write_all(&hello[..hello.len() / 2]).unwrap();
    eventually("the half has been received", || {
        let connections = running.connections();
        connections.iter().any(|one| one["received_bytes"] == hello.len() as u64 / 2)
    });

    let before = running.pid;
    put(authority.sign(&["localhost"]));
    let report = running.replace();
    assert!(report.contains("2 connections handed over"), "{report}");
    assert!(report.contains("not handed over yet: 1 connection"), "{report}");
    ping_tls(&mut secret);
    ping(&mut plain);
    beginning.write_all(&hello[hello.len() / 2..]).unwrap();
    let mut record = [0; 5];
    beginning.read_exact(&mut record).unwrap();
    assert_eq!(record[..3], [22, 3, 3], "the server's answer to the whole of it");

    let mut after = connect(running.address(0), &config);
    ping_tls(&mut after);
    assert_ne!(fingerprint(&after), fingerprint(&secret));
    assert!(is_running(before), "it has a connection");
    ping_tls(&mut secret);
    drop(secret);
    eventually("the first process ends with its last connection", || !is_running(before));
    ping_tls(&mut after);
    drop((after, plain, beginning));
    running.stop();
}
