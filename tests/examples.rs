//! Each example, run as a program: it does what the comment at its head says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use common::{Daemon, PATIENCE, built_example, frame};

mod common;

/// An example that serves.
fn serving(name: &str) -> Daemon {
    let mut command = Command::new(built_example(name));
    command.arg("127.0.0.1:0");
    Daemon::spawn(command, 1)
}

/// Sends `payload` as a frame, and reads the reply.
fn ask(stream: &mut TcpStream, payload: &[u8]) -> Vec<u8> {
    stream.write_all(&frame(payload)).unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut reply = vec![0; u32::from_le_bytes(head) as usize];
    stream.read_exact(&mut reply).unwrap();
    reply
}

#[test]
fn uppercase_answers_in_capitals() {
    let example = serving("uppercase");
    assert_eq!(ask(&mut example.connect(), b"hello"), b"HELLO");
}

#[test]
fn json_rpc_multiplies() {
    let example = serving("json_rpc");
    let mut stream = example.connect();
    let request = r#"{"method": "Arith.Multiply", "params": [{"A": 7, "B": 8}], "id": 1}"#;
    writeln!(stream, "{request}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert_eq!(answer, "{\"error\":null,\"id\":1,\"result\":56}\n");
}

/// What Go's client sends for `Arith.Multiply` of 7 and 8: the type of the request, the request, the type of the arguments,
/// the arguments.
const GOB_CALL: &[u8] = b"\x2f\xff\x81\x03\x01\x01\x07Request\x01\xff\x82\x00\x01\x02\
    \x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x00\x00\
    \x13\xff\x82\x01\x0eArith.Multiply\x00\
    \x1e\xff\x83\x03\x01\x01\x04Args\x01\xff\x84\x00\x01\x02\
    \x01\x01A\x01\x04\x00\x01\x01B\x01\x04\x00\x00\x00\
    \x07\xff\x84\x01\x0e\x01\x10\x00";

#[test]
fn gob_rpc_multiplies_and_ends_a_connection_that_sends_something_else() {
    let example = serving("gob_rpc");
    let mut stream = example.connect();
    stream.write_all(GOB_CALL).unwrap();
    // The type of the response, which Go's server defines alike but for its number; the response; 56.
    let answer = b"\x3a\xff\x81\x03\x01\x01\x08Response\x01\xff\x82\x00\x01\x03\
        \x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x01\x05Error\x01\x0c\x00\x00\x00\
        \x13\xff\x82\x01\x0eArith.Multiply\x00\x03\x04\x00\x70";
    let mut back = vec![0; answer.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back.escape_ascii().to_string(), answer.escape_ascii().to_string());

    for wrong in [
        // A type that ends too soon, a value of a type that is not defined, an argument's number of nine bytes.
        &b"\x05\xff\x81\x03\x01\x01"[..],
        b"\x03\xff\x90\x01",
        &[&GOB_CALL[..GOB_CALL.len() - 8], b"\x05\xff\x84\x01\xf7\x01"].concat(),
    ] {
        let mut stream = example.connect();
        stream.write_all(wrong).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }
}

#[test]
fn store_remembers_what_was_set_on_another_connection() {
    let example = serving("store");
    let mut streams = [example.connect(), example.connect()];
    for (index, command, reply) in [
        (0, &b"GET sky"[..], &b"NONE"[..]),
        (0, b"SET sky light blue", b"OK"),
        (1, b"GET sky", b"VALUE light blue"),
        (1, b"SET sky ", b"OK"),
        (0, b"GET sky", b"VALUE "),
        (0, b"DEL sky", b"OK"),
        (1, b"DEL sky", b"NONE"),
        (1, b"GET sky", b"NONE"),
        (1, b"HELLO", b"ERROR: write GET key, SET key value, or DEL key"),
    ] {
        assert_eq!(ask(&mut streams[index], command), reply, "{}", command.escape_ascii());
    }
}

#[test]
fn store_does_not_grow_without_end() {
    let example = serving("store");
    let mut stream = example.connect();
    let value = "v".repeat(15 << 20);
    let mut set = |key: u32| ask(&mut stream, format!("SET {key} {value}").as_bytes());
    for key in 0..4 {
        assert_eq!(set(key), b"OK");
    }
    assert_eq!(set(4), b"FULL");
    assert_eq!(set(3), b"OK", "the same again needs no more room");
    assert_eq!(ask(&mut stream, b"DEL 0"), b"OK");
    let set = ask(&mut stream, format!("SET 4 {value}").as_bytes());
    assert_eq!(set, b"OK");
}

#[test]
fn chat_sends_each_line_to_all_others_and_not_back() {
    let example = serving("chat");
    // They are accepted in this order, so all are members when the last one speaks.
    let mut members: Vec<BufReader<TcpStream>> =
        (0..3).map(|_| BufReader::new(example.connect())).collect();
    members[2].get_mut().write_all(b"hello\nthis is ").unwrap();
    members[2].get_mut().write_all(b"a chat\n").unwrap();
    let mut read = |index: usize| {
        let mut line = String::new();
        members[index].read_line(&mut line).unwrap();
        line
    };
    for index in 0..2 {
        assert_eq!((read(index), read(index)), ("hello\n".into(), "this is a chat\n".into()));
    }
    members[0].get_mut().write_all(b"welcome\n").unwrap();
    let mut line = String::new();
    members[2].read_line(&mut line).unwrap();
    assert_eq!(line, "welcome\n", "not what it said itself");
}

#[test]
fn chat_disconnects_a_member_that_does_not_read_and_nobody_else() {
    const LINES: usize = 2_000;
    let example = serving("chat");
    let (mut deaf, mut reader, mut speaker) =
        (example.connect(), example.connect(), example.connect());
    let line = [&[b'x'; 32 << 10][..], b"\n"].concat();
    let expected = LINES * line.len();
    // Speaks on when the reader has read a line, so that the reader is never the slow one.
    let mut received = vec![0; line.len()];
    for _ in 0..LINES {
        speaker.write_all(&line).unwrap();
        reader.read_exact(&mut received).unwrap();
        assert!(received == line);
    }
    let mut got = 0;
    // An end of the stream, or a reset: what it was owed is lost.
    while let Ok(count @ 1..) = deaf.read(&mut received) {
        got += count;
    }
    assert!(got < expected, "it was owed at most 1 MiB, yet has received all {got} bytes");
    // Its end comes before the last line, so the others go on without it.
    reader.write_all(b"bye\n").unwrap();
    let mut bye = [0; 4];
    speaker.read_exact(&mut bye).unwrap();
    assert_eq!(&bye, b"bye\n");
}

/// The example that broadcasts what is written to its standard input.
struct Broadcast {
    child: Child,
    address: String,
    stderr: Receiver<String>,
}

impl Broadcast {
    fn start() -> Self {
        let mut child = Command::new(built_example("broadcast"))
            .arg("127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let (send, stderr) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, address, stderr }
    }

    /// A peer that has been greeted, so what is said from now on goes to it, too.
    fn join(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        assert_eq!(line(&mut stream), "welcome\n");
        stream
    }

    fn say(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

#[test]
fn broadcast_sends_each_line_to_all_and_ends_with_its_input() {
    let mut example = Broadcast::start();
    // More than commands fit the queue of the loop.
    let mut peers: Vec<_> = (0..100).map(|_| example.join()).collect();
    example.say("hello");
    example.say("all");
    for peer in &mut peers {
        assert_eq!((line(peer), line(peer)), ("hello\n".into(), "all\n".into()));
    }
    drop(example.child.stdin.take());
    for peer in &mut peers {
        assert_eq!(line(peer), "", "the loop drains");
    }
    assert!(example.child.wait().unwrap().success());
}

#[test]
fn broadcast_skips_lines_for_a_peer_that_does_not_read_and_tells_it_later() {
    let mut example = Broadcast::start();
    let (mut deaf, mut reader) = (example.join(), example.join());
    let text = "x".repeat(32 << 10);
    let message = loop {
        example.say(&text);
        // The next line is said when this one is here, so that the reader is never the slow one.
        assert!(line(&mut reader).trim_end() == text);
        if let Ok(message) = example.stderr.try_recv() {
            break message;
        }
    };
    assert!(message.contains("does not read: it is owed"), "{message}");
    let hears_again = thread::spawn(move || {
        loop {
            let line = line(&mut deaf);
            assert!(!line.is_empty(), "it was closed");
            if line.ends_with(" lines skipped)\n") {
                return line;
            }
        }
    });
    while !hears_again.is_finished() {
        example.say(&text);
        assert!(line(&mut reader).trim_end() == text);
    }
    assert!(hears_again.join().unwrap().starts_with('('));
}

#[test]
fn client_says_that_all_frames_came_back() {
    let daemon = Daemon::frames(&[]);
    let address = daemon.address(0);
    let output = Command::new(built_example("client")).arg(address).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("{address}: 1000 frames came back as they were sent\n"));
    assert!(output.status.success());
}

#[test]
fn client_fails_where_a_frame_does_not_come_back_as_it_was_sent() {
    let example = serving("uppercase");
    let output = Command::new(built_example("client")).arg(example.address(0)).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("frame 0 is missing or differs"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn client_fails_where_nothing_listens() {
    let (_socket, address) = common::deserted();
    let output = Command::new(built_example("client")).arg(address.to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
