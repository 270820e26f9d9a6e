//! The layer between rustls' own client and a protocol, without sockets: records cut and joined in every way, ends, memory.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use proptest::prelude::*;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::*;
use crate::{
    Peer,
    frame::Dialect,
    protocol::{Framed, Frames, PerConnection, Raw, Reply, Terms, offers, proxy},
};

const CONNECTION: Token = Token::new(3, 1);

/// The output of a loop is full from here on.
const LOOP_HIGH_WATER: usize = 256 << 10;

fn acceptor() -> Arc<Acceptor> {
    Arc::new(Acceptor::new(TlsTerms::default()).unwrap())
}

fn client_config(acceptor: &Acceptor) -> ClientConfig {
    let pem = &acceptor.self_signed().unwrap().pem;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn client(config: ClientConfig) -> ClientConnection {
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// A protocol as a loop drives it.
struct Server<P> {
    protocol: P,
    out: Output,
    /// Received and not consumed; how much of it was shown, and how much must be there.
    input: Vec<u8>,
    seen: usize,
    need: usize,
    is_stopped: bool,
    awaits_sent: bool,
    /// For the peer, which has not taken it yet.
    owed: Vec<u8>,
    next: Next,
    frames: u64,
    /// As told by [`Output::hold`].
    holds: usize,
    cut_short: usize,
    finished: bool,
}

impl<P: Protocol> Server<P> {
    fn new(mut protocol: P) -> Self {
        let mut out = Output::new(LOOP_HIGH_WATER);
        protocol.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
        Self {
            protocol,
            out,
            input: Vec::new(),
            seen: 0,
            need: 0,
            is_stopped: false,
            awaits_sent: false,
            owed: Vec::new(),
            next: Next::Idle,
            frames: 0,
            holds: 0,
            cut_short: 0,
            finished: false,
        }
    }

    /// The end of a call: its output is owed.
    fn settle(&mut self) {
        if let Some(requests) = self.out.take_requests() {
            self.awaits_sent |= requests.call_when_sent;
            self.holds = requests.hold.unwrap_or(self.holds);
            self.cut_short += usize::from(requests.cut_short);
            self.finished |= requests.finish;
        }
        self.owed.extend_from_slice(self.out.bytes());
        self.out.clear();
    }

    fn is_over(&self) -> bool {
        self.finished || matches!(self.next, Next::Finish | Next::Refuse(_))
    }

    /// Bytes have come.
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.proceed();
    }

    /// Shows the protocol what is there until it waits. It owes output only at the end.
    fn proceed(&mut self) {
        while !self.is_over() && self.owed.is_empty() {
            if self.awaits_sent {
                self.awaits_sent = false;
                self.protocol.sent(CONNECTION, &mut self.out);
                self.settle();
                continue;
            }
            let is_news = self.input.len() > self.seen && self.input.len() >= self.need;
            if self.input.is_empty() || !(self.is_stopped || is_news) {
                return;
            }
            let seen = if self.is_stopped { 0 } else { self.seen };
            let received = self.protocol.receive(CONNECTION, &self.input, seen, &mut self.out);
            assert!(!received.echo, "ciphertext never goes back");
            self.input.drain(..received.consumed);
            self.frames += received.frames;
            self.next = received.next;
            self.is_stopped = received.next == Next::Full && !self.input.is_empty();
            assert_eq!(self.is_stopped, received.next == Next::Full, "full with nothing left");
            (self.seen, self.need) = (self.input.len(), received.next.need());
            self.settle();
        }
    }

    /// The peer takes up to `most` bytes.
    fn take(&mut self, most: usize) -> Vec<u8> {
        let rest = self.owed.split_off(most.min(self.owed.len()));
        let taken = std::mem::replace(&mut self.owed, rest);
        self.proceed();
        taken
    }
}

/// What the client wants to send.
fn ciphertext(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Lets the client have all that the server sends; appends what is in it to `plain`.
fn deliver<P: Protocol>(
    server: &mut Server<P>,
    client: &mut ClientConnection,
    plain: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    loop {
        let bytes = server.take(10_000);
        if bytes.is_empty() {
            return Ok(());
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = client.reader().read(&mut piece) {
                plain.extend_from_slice(&piece[..read]);
            }
        }
    }
}

fn shake_hands<P: Protocol>(server: &mut Server<P>, client: &mut ClientConnection) -> Vec<u8> {
    let mut plain = Vec::new();
    while client.is_handshaking() || client.wants_write() {
        let bytes = ciphertext(client);
        server.receive(&bytes);
        deliver(server, client, &mut plain).unwrap();
    }
    plain
}

/// A server with `protocol` inside TLS, and its client, after the handshake.
fn connected<P: Protocol>(protocol: P) -> (Server<Tls<P>>, ClientConnection) {
    let acceptor = acceptor();
    let mut client = client(client_config(&acceptor));
    let mut server = Server::new(Tls::new(acceptor, protocol));
    let plain = shake_hands(&mut server, &mut client);
    assert_eq!(plain, b"");
    (server, client)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_le_bytes()[..], payload].concat()
}

/// What is sent to each protocol.
fn conversation(name: &str) -> Vec<u8> {
    match name {
        "frames" => [frame(b"hello"), frame(b""), frame(&[7; 3000])].concat(),
        "lines" => [&b"one\ntwo\r\n"[..], &[b'x'; 3000], b"\n"].concat(),
        "ws" => {
            let head =
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
            [&head[..], b"\x82\x82\0\0\0\0hi", b"\x89\x80\0\0\0\0"].concat()
        }
        "http" => b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\n\
            Content-Length: 5\r\n\r\nhello"
            .to_vec(),
        _ => b"anything".repeat(300),
    }
}

#[test]
fn every_protocol_answers_as_without_tls_whatever_the_records_and_the_reads() {
    for offer in offers() {
        let sent = conversation(offer.name);
        let terms = || Terms { clock: || std::time::UNIX_EPOCH, ..Terms::default() };
        let mut bare = Server::new(offer.protocol(&terms()).unwrap());
        // A protocol that echoes says so, instead of appending: TLS around it must not.
        let mut want = Vec::new();
        let received = bare.protocol.receive(CONNECTION, &sent, 0, &mut bare.out);
        want.extend_from_slice(bare.out.bytes());
        if received.echo {
            want.extend_from_slice(&sent[..received.consumed]);
        }
        assert_eq!(received.consumed, sent.len(), "{}", offer.name);
        for record in [1, 100, 16 << 10] {
            for read in [1, 50, 1 << 20] {
                let (mut server, mut client) = connected(offer.protocol(&terms()).unwrap());
                let mut plain = Vec::new();
                for piece in sent.chunks(record) {
                    client.writer().write_all(piece).unwrap();
                    for bytes in ciphertext(&mut client).chunks(read) {
                        server.receive(bytes);
                        deliver(&mut server, &mut client, &mut plain).unwrap();
                    }
                }
                let what = format!("{}: records of {record}, reads of {read}", offer.name);
                if offer.name == "raw" {
                    assert_eq!(plain, sent, "{what}");
                } else {
                    assert_eq!(plain, want, "{what}");
                }
                assert_eq!(server.frames, received.frames, "{what}");
                assert_eq!((server.holds, server.input.len()), (0, 0), "{what}");
            }
        }
    }
}

#[test]
fn keys_can_change_in_the_middle_of_a_frame() {
    let (mut server, mut client) = connected(Frames::default());
    let sent = frame(&[9; 5000]);
    let mut plain = Vec::new();
    for piece in sent.chunks(1000) {
        client.writer().write_all(piece).unwrap();
        client.refresh_traffic_keys().unwrap();
        let bytes = ciphertext(&mut client);
        server.receive(&bytes);
        deliver(&mut server, &mut client, &mut plain).unwrap();
    }
    assert_eq!(plain, sent);
}

#[test]
fn close_notify_is_answered_with_all_replies_and_close_notify() {
    let (mut server, mut client) = connected(Frames::default());
    let sent = frame(&[1; 700_000]);
    client.set_buffer_limit(None);
    client.writer().write_all(&sent).unwrap();
    client.send_close_notify();
    let bytes = ciphertext(&mut client);
    server.receive(&bytes);
    let mut plain = Vec::new();
    deliver(&mut server, &mut client, &mut plain).unwrap();
    assert!(plain == sent, "{} of {} bytes", plain.len(), sent.len());
    assert_eq!((server.next, server.cut_short), (Next::Finish, 0));
    let mut none = [0];
    // Otherwise this is an error: an end without close_notify.
    assert_eq!(client.reader().read(&mut none).unwrap(), 0);
}

#[test]
fn a_close_notify_inside_a_frame_is_counted() {
    let (mut server, mut client) = connected(Frames::default());
    client.writer().write_all(&frame(b"hello")[..6]).unwrap();
    client.send_close_notify();
    let bytes = ciphertext(&mut client);
    server.receive(&bytes);
    assert_eq!((server.next, server.cut_short, server.holds), (Next::Finish, 1, 0));
}

#[test]
fn an_end_without_close_notify_is_counted_and_what_came_is_answered() {
    let (mut server, mut client) = connected(Frames::default());
    client.writer().write_all(&[frame(b"whole"), frame(b"cut")[..5].to_vec()].concat()).unwrap();
    let bytes = ciphertext(&mut client);
    server.receive(&bytes);
    assert!(matches!(server.next, Next::Rest { need: 0 }));
    assert!(server.holds >= 5, "{} bytes are held", server.holds);
    server.protocol.half_closed(CONNECTION, &mut server.out);
    server.settle();
    let mut plain = Vec::new();
    deliver(&mut server, &mut client, &mut plain).unwrap();
    assert_eq!(plain, frame(b"whole"));
    assert_eq!((server.cut_short, server.holds), (1, 0));
    assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "close_notify");
}

#[test]
fn a_reader_that_is_slow_makes_the_server_hold_a_reply_once() {
    const LENGTH: usize = 8 << 20;
    let (mut server, mut client) = connected(Frames::default());
    client.set_buffer_limit(None);
    let sent = frame(&vec![5; LENGTH]);
    client.writer().write_all(&sent).unwrap();
    for bytes in ciphertext(&mut client).chunks(1 << 20) {
        server.receive(bytes);
    }
    // What is owed and what is held are the reply, and little more; and both shrink as the peer reads.
    let mut left = sent.len();
    let mut plain = Vec::new();
    while !server.owed.is_empty() {
        assert!(server.owed.len() < 2 * LOOP_HIGH_WATER, "{} bytes are owed", server.owed.len());
        assert!(server.holds <= LENGTH + LENGTH / 4, "{} bytes are held", server.holds);
        assert!(server.holds <= 4 * left.max(HIGH_WATER), "{} for {left}", server.holds);
        let bytes = server.take(100_000);
        left = left.saturating_sub(bytes.len());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
            let mut piece = [0; 1 << 16];
            while let Ok(read @ 1..) = client.reader().read(&mut piece) {
                plain.extend_from_slice(&piece[..read]);
            }
        }
    }
    assert!(plain == sent, "{} of {} bytes", plain.len(), sent.len());
    assert_eq!((server.holds, server.input.len(), server.frames), (0, 0, 1));
}

#[test]
fn replies_of_a_handler_wait_while_the_peer_does_not_read() {
    let many = Framed::new(Dialect::default(), |payload: &[u8], reply: &mut Reply<'_>| {
        reply.frame(&payload.repeat(10))
    });
    let (mut server, mut client) = connected(many);
    client.set_buffer_limit(None);
    let count = 300;
    client.writer().write_all(&frame(&[3; 1000]).repeat(count)).unwrap();
    let bytes = ciphertext(&mut client);
    server.receive(&bytes);
    assert!(server.owed.len() < 3 * LOOP_HIGH_WATER, "{} bytes are owed", server.owed.len());
    let mut plain = Vec::new();
    deliver(&mut server, &mut client, &mut plain).unwrap();
    assert!(plain == frame(&[3; 10_000]).repeat(count));
}

#[test]
fn the_last_words_of_a_protocol_come_before_close_notify() {
    /// Says something whenever it may.
    struct Talker;
    impl Protocol for Talker {
        fn opened(&mut self, _: Token, _: &Ends, out: &mut Output) -> Result<(), Refusal> {
            out.extend(b"hello,");
            out.call_when_sent();
            Ok(())
        }
        fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
            Received::answered(input.len(), 0, Next::Idle)
        }
        fn sent(&mut self, _: Token, out: &mut Output) {
            out.extend(b"sent,");
        }
        fn called(&mut self, _: Token, out: &mut Output) {
            out.extend(b"called,");
        }
        fn half_closed(&mut self, _: Token, out: &mut Output) {
            out.extend(b"half-closed,");
            out.call_after(std::time::Duration::ZERO);
        }
        fn ending(&mut self, _: Token, _: Ending, out: &mut Output) {
            out.extend(b"ending");
        }
    }
    let talk = || {
        let acceptor = acceptor();
        let mut client = client(client_config(&acceptor));
        let mut server = Server::new(Tls::new(acceptor, Talker));
        let plain = shake_hands(&mut server, &mut client);
        (server, client, plain)
    };

    // The peer closes: a call that was asked for is waited for.
    let (mut server, mut client, mut plain) = talk();
    client.send_close_notify();
    let bytes = ciphertext(&mut client);
    server.receive(&bytes);
    assert!(!server.is_over());
    server.protocol.called(CONNECTION, &mut server.out);
    server.settle();
    assert!(server.is_over());
    deliver(&mut server, &mut client, &mut plain).unwrap();
    assert_eq!(String::from_utf8_lossy(&plain), "hello,sent,half-closed,called,");
    assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "close_notify");

    // The server closes.
    let (mut server, mut client, mut plain) = talk();
    server.protocol.ending(CONNECTION, Ending::Stopping, &mut server.out);
    server.settle();
    deliver(&mut server, &mut client, &mut plain).unwrap();
    assert_eq!(String::from_utf8_lossy(&plain), "hello,sent,ending");
    assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "close_notify");
}

#[test]
fn what_a_program_says_is_encrypted_behind_what_is_owed() {
    let (mut server, mut client) = connected(Raw);
    server.out.extend(b"news");
    server.out.finish();
    server.protocol.spoken(CONNECTION, &mut server.out);
    server.settle();
    assert!(server.finished);
    let mut plain = Vec::new();
    deliver(&mut server, &mut client, &mut plain).unwrap();
    assert_eq!(plain, b"news");
    assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "close_notify");

    // Nothing of it goes out in plain text before the handshake is complete.
    let mut server = Server::new(Tls::new(acceptor(), Raw));
    server.out.extend(b"news");
    server.protocol.spoken(CONNECTION, &mut server.out);
    assert_eq!(server.out.bytes(), b"");
}

#[test]
fn a_handshake_counts_as_memory_until_it_is_complete() {
    let acceptor = acceptor();
    let mut client = client(client_config(&acceptor));
    let mut server = Server::new(Tls::new(acceptor, Raw));
    let hello = ciphertext(&mut client);
    server.receive(&hello[..hello.len() - 1]);
    assert_eq!((server.input.len(), server.holds), (hello.len() - 1, 0));
    assert_eq!(server.next, Next::Handshake { need: hello.len() });
    server.receive(&hello[hello.len() - 1..]);
    assert_eq!((server.next, server.holds > 0), (Next::Handshake { need: 0 }, true));
    deliver(&mut server, &mut client, &mut Vec::new()).unwrap();
    shake_hands(&mut server, &mut client);
    assert_eq!((server.next, server.holds), (Next::Idle, 0));
}

#[test]
fn a_client_hello_in_records_of_one_byte_is_understood_and_counted() {
    let acceptor = acceptor();
    let mut client = client(client_config(&acceptor));
    let mut server = Server::new(Tls::new(acceptor, Raw));
    let hello = ciphertext(&mut client);
    let (head, message) = hello.split_at(record::HEAD);
    for (index, byte) in message.iter().enumerate() {
        assert!(index == 0 || server.holds > index, "{} after {index}", server.holds);
        server.receive(&[head[0], head[1], head[2], 0, 1, *byte]);
    }
    deliver(&mut server, &mut client, &mut Vec::new()).unwrap();
    shake_hands(&mut server, &mut client);
    assert_eq!((server.next, server.holds), (Next::Idle, 0));
}

#[test]
fn who_comes_back_is_resumed_and_early_data_is_not_accepted() {
    let acceptor = acceptor();
    let mut config = client_config(&acceptor);
    config.enable_early_data = true;
    let kinds = [(); 2].map(|()| {
        let mut client = client(config.clone());
        assert!(client.early_data().is_none());
        let mut server = Server::new(Tls::new(Arc::clone(&acceptor), Raw));
        shake_hands(&mut server, &mut client);
        client.handshake_kind()
    });
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}

#[test]
fn what_is_not_tls_is_refused_and_named() {
    for (input, says, answer) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "an HTTP request", "400 Bad Request"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "an SSH banner", ""),
        (b"hello, world\n", "text", ""),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 5 6\r\n", "a PROXY protocol header", ""),
        (b"\0\0\0\x05hello", "no handshake in front", ""),
        (b"\x16\x03\x01\x48\x01\x01", "decode_error", "\x15"),
        (b"\x16\x03\x01\x00\x04\x63\0\0\0", "TLS", "\x15"),
    ] {
        let mut server = Server::new(Tls::new(acceptor(), Raw));
        server.receive(input);
        let Next::Refuse(refusal) = server.next else { panic!("{:?}", server.next) };
        assert!(refusal.to_string().contains(says), "{refusal}");
        let sent = String::from_utf8_lossy(&server.owed);
        assert!(sent.contains(answer) && sent.is_empty() == answer.is_empty(), "{sent:?}");
        if answer.starts_with("400") {
            let (head, body) = sent.split_once("\r\n\r\n").unwrap();
            assert!(
                head.ends_with(&format!("Length: {}\r\nConnection: close", body.len())),
                "{sent}"
            );
        }
    }
}

#[test]
fn a_client_that_does_not_know_the_certificate_says_so_and_its_alert_is_named() {
    let mut client = client(client_config(&acceptor()));
    let mut server = Server::new(Tls::new(acceptor(), Raw));
    let hello = ciphertext(&mut client);
    server.receive(&hello);
    assert!(deliver(&mut server, &mut client, &mut Vec::new()).is_err());
    let alert = ciphertext(&mut client);
    server.receive(&alert);
    let Next::Refuse(refusal) = server.next else { panic!("{:?}", server.next) };
    let text = refusal.to_string();
    // A certificate that has the name of another one, and another key.
    assert!(text.contains("alert decrypt_error") || text.contains("alert unknown_ca"), "{text}");
}

#[test]
fn a_record_that_is_damaged_ends_the_connection_with_an_alert() {
    let (mut server, mut client) = connected(Raw);
    client.writer().write_all(b"hello").unwrap();
    let mut bytes = ciphertext(&mut client);
    *bytes.last_mut().unwrap() ^= 1;
    server.receive(&bytes);
    let Next::Refuse(refusal) = server.next else { panic!("{:?}", server.next) };
    assert!(refusal.to_string().contains("bad_record_mac"), "{refusal}");
    let error = deliver(&mut server, &mut client, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[test]
fn only_a_connection_without_a_session_can_be_described() {
    let acceptor = acceptor();
    let mut client = client(client_config(&acceptor));
    let mut server = Server::new(Tls::new(Arc::clone(&acceptor), Raw));
    let hello = ciphertext(&mut client);
    server.receive(&hello[..100]);
    let state = server.protocol.describe(CONNECTION).unwrap();
    // It goes on with the bytes that it holds in another process.
    let mut other = Server::new(Tls::new(acceptor, Raw));
    assert!(other.protocol.restore(CONNECTION, &Ends::new(Peer::Unix, None), &state));
    other.receive(&hello);
    deliver(&mut other, &mut client, &mut Vec::new()).unwrap();
    shake_hands(&mut other, &mut client);
    assert_eq!(other.protocol.describe(CONNECTION), None);
}

#[test]
fn a_proxy_header_comes_before_tls_and_faults_happen_inside() {
    let acceptor = acceptor();
    let terms = Terms {
        proxy: Some(proxy::Mode::Any),
        faults: Some(Arc::new(super::super::fault::Faults::new("dup@2".parse().unwrap()))),
        tls: Some(Arc::clone(&acceptor)),
        ..Terms::default()
    };
    let protocol = crate::protocol::offer("lines").unwrap().protocol(&terms).unwrap();
    let mut server = Server::new(protocol);
    let mut client = client(client_config(&acceptor));
    server.receive(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n");
    shake_hands(&mut server, &mut client);
    client.writer().write_all(b"one\ntwo\nthree\n").unwrap();
    let bytes = ciphertext(&mut client);
    server.receive(&bytes);
    let mut plain = Vec::new();
    deliver(&mut server, &mut client, &mut plain).unwrap();
    assert_eq!(String::from_utf8_lossy(&plain), "one\ntwo\ntwo\nthree\n");
}

/// Counts the calls that a protocol gets.
struct Counted(PerConnection<usize>);

impl Protocol for Counted {
    fn opened(&mut self, connection: Token, _: &Ends, _: &mut Output) -> Result<(), Refusal> {
        assert_eq!(self.0.insert(connection, 0), None, "opened once");
        Ok(())
    }

    fn receive(&mut self, connection: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        *self.0.get_mut(connection).expect("opened before") += input.len();
        Received::echo(input.len(), 1, Next::Idle)
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        assert!(self.0.remove(connection).is_some(), "only what was opened is closed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Bytes are changed, left out and put in, in the handshake and behind it.
    #[test]
    fn damaged_handshakes_and_records_do_no_harm(
        damage in prop::collection::vec((0_usize..3, 0_usize..2000, any::<u8>()), 0..4),
        cut in 1_usize..2000,
        after_handshake in any::<bool>(),
    ) {
        let acceptor = acceptor();
        let mut client = client(client_config(&acceptor));
        let mut server = Server::new(Tls::new(acceptor, Counted(PerConnection::new())));
        if after_handshake {
            shake_hands(&mut server, &mut client);
            client.writer().write_all(&[1; 1000]).unwrap();
        }
        for _ in 0..4 {
            let mut bytes = ciphertext(&mut client);
            for &(kind, at, value) in &damage {
                let at = at % (bytes.len() + 1);
                match kind {
                    0 if at < bytes.len() => bytes[at] = value,
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    _ => bytes.insert(at, value),
                }
            }
            for piece in bytes.chunks(cut) {
                if !server.is_over() {
                    server.receive(piece);
                }
            }
            if deliver(&mut server, &mut client, &mut Vec::new()).is_err() || server.is_over() {
                break;
            }
        }
        if !server.is_over() {
            server.protocol.half_closed(CONNECTION, &mut server.out);
            server.settle();
        }
        prop_assert_eq!(server.holds, 0);
        server.protocol.closed(CONNECTION, Reason::PeerClosed);
        prop_assert!(server.protocol.inner.0.is_empty());
    }
}
