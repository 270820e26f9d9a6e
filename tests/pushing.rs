//! Sending more than a peer reads: what is owed is told, and when it has gone; little is held.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::Duration,
};

use resound::{
    Config, Endpoint, Ends, Phase, Reactor, Reason, Token,
    frame::{Dialect, FrameError},
    protocol::{Framed, Handler, Next, Output, Protocol, Received, Refusal, Reply},
};

const REPLIES: u32 = 1_000;
static REPLY: [u8; 64 << 10] = [7; 64 << 10];

/// Answers each frame with a thousand of 64 KiB.
#[derive(Default)]
struct Many(HashMap<Token, u32>);

impl Handler for Many {
    fn frame(
        &mut self,
        connection: Token,
        _payload: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), FrameError> {
        *self.0.entry(connection).or_default() += REPLIES;
        self.sent(connection, reply);
        Ok(())
    }

    fn sent(&mut self, connection: Token, reply: &mut Reply<'_>) {
        let left = self.0.entry(connection).or_default();
        while *left > 0 {
            if reply.is_full() {
                return reply.call_when_sent();
            }
            reply.frame(&REPLY).unwrap();
            *left -= 1;
        }
    }

    fn closed(&mut self, connection: Token, _reason: Reason) {
        self.0.remove(&connection);
    }
}

fn connect(address: &Endpoint) -> TcpStream {
    let stream = TcpStream::connect(address.to_string()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Row 49 of the fault table, for the replies of a handler.
#[test]
fn many_replies_to_one_frame_are_held_back_while_the_peer_does_not_read() {
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let protocol = Framed::new(Dialect::default(), Many::default());
    let address = reactor.listen(([127, 0, 0, 1], 0), protocol).unwrap();
    let (handle, stats) = (reactor.handle(), reactor.stats());
    let server = thread::spawn(move || reactor.run());
    let mut stream = connect(&address);
    // Two frames at once: the second one's replies come behind the first one's. FIN stops nothing of it.
    stream.write_all(b"\x01\0\0\0a\x01\0\0\0b").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let expected = 2 * u64::from(REPLIES) * (4 + REPLY.len() as u64);
    let (mut received, mut most_held) = (0, 0);
    let mut part = vec![0; 1 << 20];
    loop {
        most_held = most_held.max(stats.buffered.value());
        match stream.read(&mut part).unwrap() {
            0 => break,
            count => received += count as u64,
        }
    }
    assert_eq!(received, expected);
    assert!(most_held < 1 << 20, "{most_held} bytes held");
    handle.stop();
    server.join().unwrap().unwrap();
}

/// Says when all has gone.
struct Pusher(mpsc::Sender<Token>);

impl Protocol for Pusher {
    fn opened(&mut self, connection: Token, _: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.0.send(connection).unwrap();
        Ok(())
    }

    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        Received::answered(input.len(), 0, Next::Idle)
    }

    fn sent(&mut self, connection: Token, _: &mut Output) {
        self.0.send(connection).unwrap();
    }
}

/// Row 49 of the fault table, for a program that speaks unasked.
#[test]
fn one_who_speaks_is_told_what_is_owed_and_when_it_has_gone() {
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let (sender, told) = mpsc::channel();
    let address = reactor.listen(([127, 0, 0, 1], 0), Pusher(sender)).unwrap();
    let mut stream = connect(&address);
    let turn = |reactor: &mut Reactor<Pusher>| {
        assert_eq!(reactor.turn(Some(Duration::from_millis(10))).unwrap(), Phase::Running);
    };
    let token = loop {
        turn(&mut reactor);
        if let Ok(token) = told.try_recv() {
            break token;
        }
    };
    let mut pushed = 0;
    let owed = loop {
        let say = |_: &mut Pusher, out: &mut Output| {
            out.extend(&REPLY);
            out.call_when_sent();
        };
        let owed = reactor.speak(token, say).unwrap();
        pushed += REPLY.len();
        turn(&mut reactor);
        if owed > 0 {
            break owed;
        }
        assert_eq!(told.try_recv(), Ok(token), "nothing is owed, and that is told");
    };
    assert!(owed <= REPLY.len());
    assert_eq!(reactor.owed(token), Some(owed));
    assert!(told.try_recv().is_err(), "it has not gone");
    let reader = thread::spawn(move || {
        let mut all = vec![0; pushed];
        stream.read_exact(&mut all).unwrap();
        (stream, all)
    });
    while told.try_recv() != Ok(token) {
        turn(&mut reactor);
    }
    assert_eq!(reactor.owed(token), Some(0));
    let (stream, all) = reader.join().unwrap();
    assert!(all.iter().all(|&byte| byte == 7));
    drop(stream);
    while reactor.owed(token).is_some() {
        turn(&mut reactor);
    }
    assert_eq!(reactor.speak(token, |_, _| panic!("it is gone")), None);
}

/// Calls for itself: answers each byte after the time that it says, in hundredths of a second.
struct Later;

impl Protocol for Later {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        out.call_after(Duration::from_millis(10 * u64::from(input[0])));
        Received::answered(input.len(), 1, Next::Idle)
    }

    fn called(&mut self, _: Token, out: &mut Output) {
        out.extend(b"now");
    }
}

#[test]
fn a_protocol_is_called_at_the_time_it_asked_for() {
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let address = reactor.listen(([127, 0, 0, 1], 0), Later).unwrap();
    let handle = reactor.handle();
    let server = thread::spawn(move || reactor.run());
    let start = std::time::Instant::now();
    let mut streams = [connect(&address), connect(&address), connect(&address)];
    for (stream, delay) in streams.iter_mut().zip([30, 1, 15]) {
        stream.write_all(&[delay]).unwrap();
    }
    for (stream, delay) in streams.iter_mut().zip([30, 1, 15]) {
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"now");
        assert!(start.elapsed() >= Duration::from_millis(10 * delay));
    }
    handle.stop();
    server.join().unwrap().unwrap();
}

/// Waits for replies from elsewhere when the peer has sent FIN, and says when that is and when all is over.
struct Patient(mpsc::Sender<Result<Token, Reason>>);

impl Protocol for Patient {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        Received::answered(input.len(), 0, Next::Idle)
    }

    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        out.call_after(Duration::from_secs(3600));
        self.0.send(Ok(connection)).unwrap();
    }

    fn closed(&mut self, _: Token, reason: Reason) {
        self.0.send(Err(reason)).unwrap();
    }
}

#[test]
fn a_peer_that_has_sent_fin_is_spoken_to_until_the_program_ends_the_connection() {
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let (tell, told) = mpsc::channel();
    let address = reactor.listen(([127, 0, 0, 1], 0), Patient(tell)).unwrap();
    let handle = reactor.handle();
    let server = thread::spawn(move || reactor.run());
    let mut stream = connect(&address);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let connection = told.recv().unwrap().unwrap();
    let patience = Duration::from_secs(60);
    for text in ["one ", "two "] {
        let spoken = handle.speak(connection, move |out| out.extend(text.as_bytes())).unwrap();
        assert_eq!(spoken.wait(patience), Ok(Some(0)));
    }
    let last = handle.speak(connection, |out| {
        out.extend(b"three");
        out.finish();
    });
    last.unwrap().wait(patience).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "one two three");
    assert_eq!(told.recv().unwrap(), Err(Reason::Finished));
    let spoken = handle.speak(connection, |out| out.extend(b"four")).unwrap();
    assert_eq!(spoken.wait(patience), Ok(None));
    handle.stop();
    server.join().unwrap().unwrap();
}
