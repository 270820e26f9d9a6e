//! `resound answer`: what is typed, or read from standard input, is the reply.

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use common::{PATIENCE, resound, terminal::Terminal};

/// `resound answer` away from a terminal.
struct Answer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Answer {
    fn start(listen: &str) -> Self {
        let mut command = resound();
        command.args(["answer", listen]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut answer = Self { child, stdin, stdout, address: String::new() };
        let line = answer.line();
        let place = line.strip_prefix("listening on ").expect(&line);
        let address = place.split_once("://").unwrap().1;
        answer.address = address.split(',').next().unwrap().to_owned();
        answer
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn reply(&mut self, lines: &str) {
        self.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// What it prints behind the end of its input, and its exit code.
    fn end(mut self) -> (Vec<String>, Option<i32>) {
        self.stdin = None;
        let lines = self.stdout.by_ref().lines().map(Result::unwrap).collect();
        (lines, self.child.wait().unwrap().code())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn frame(payload: &str) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_le_bytes(), payload.as_bytes()].concat()
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(read.escape_ascii().to_string(), bytes.escape_ascii().to_string());
}

#[test]
fn lines_of_a_pipe_answer_the_messages_in_their_order() {
    let mut answer = Answer::start("frames://127.0.0.1:0");
    let mut one = answer.connect();
    let from = one.local_addr().unwrap();
    assert_eq!(answer.line(), format!("[1] connected from {from}"));
    let mut two = answer.connect();
    assert!(answer.line().starts_with("[2] connected from "));
    one.write_all(&frame("hello")).unwrap();
    assert_eq!(answer.line(), "[1] hello");
    // Two messages in one segment, and one that is not text.
    two.write_all(&[frame("left"), frame("right \x1b[2J")].concat()).unwrap();
    assert_eq!(answer.line(), "[2] left");
    assert_eq!(answer.line(), r"[2] right \u{1b}[2J");
    answer.reply("first\nsecond\n@1 besides\n\n");
    expect(&mut one, &[frame("first"), frame("besides")].concat());
    expect(&mut two, &[frame("second"), frame("")].concat());
    // Behind the last line it ends, with FIN behind the last reply.
    answer.reply("unused");
    one.write_all(&frame("more")).unwrap();
    assert_eq!(answer.line(), "[1] more");
    let (lines, code) = answer.end();
    expect(&mut one, &frame("unused"));
    assert_eq!(one.read(&mut [0]).unwrap(), 0);
    assert_eq!(two.read(&mut [0]).unwrap(), 0);
    assert_eq!((lines.len(), code), (2, Some(0)), "{lines:?}");
}

#[test]
fn each_protocol_has_replies_of_its_own() {
    let handshake = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let masked = |first: u8, text: &[u8]| {
        let head = [first, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        [&head[..], text].concat()
    };
    for (listen, sent, reply) in [
        ("frames://127.0.0.1:0,length=u8", b"\x05hello".to_vec(), &b"\x02hi"[..]),
        ("lines://127.0.0.1:0", b"hello\r\n".to_vec(), b"hi\n"),
        ("raw://127.0.0.1:0", b"hello".to_vec(), b"hi\n"),
        // A message in two fragments, with a ping between them, which is answered by itself.
        (
            "ws://127.0.0.1:0",
            [masked(0x01, b"hel"), masked(0x89, b"p"), masked(0x80, b"lo")].concat(),
            b"\x8a\x01p\x81\x02hi",
        ),
    ] {
        let mut answer = Answer::start(listen);
        let mut stream = answer.connect();
        answer.line();
        if listen.starts_with("ws") {
            stream.write_all(handshake).unwrap();
            let mut reader = BufReader::with_capacity(1, &stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
        }
        stream.write_all(&sent).unwrap();
        assert_eq!(answer.line(), "[1] hello", "{listen}");
        answer.reply("hi\n");
        expect(&mut stream, reply);
    }
}

#[test]
fn a_peer_that_has_sent_fin_gets_its_replies_and_then_fin() {
    let mut answer = Answer::start("lines://127.0.0.1:0");
    let mut stream = answer.connect();
    answer.line();
    stream.write_all(b"one\ntwo\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let lines = [answer.line(), answer.line(), answer.line()];
    assert_eq!(lines, ["[1] one", "[1] two", "[1] has sent FIN, and waits for the reply"]);
    answer.reply("first\nsecond\n");
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "first\nsecond\n");
    assert_eq!(answer.line(), "[1] closed at the protocol's end");
    // One that has said nothing is closed at once.
    let mut silent = answer.connect();
    assert!(answer.line().starts_with("[2] connected"));
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn on_a_terminal_a_line_goes_to_the_latest_sender_or_where_it_says() {
    let mut command = resound();
    command.args(["answer", "lines://127.0.0.1:0"]);
    let Some(mut terminal) = Terminal::run(&command) else { return };
    terminal.expect("listening on lines://");
    terminal.expect("\r\n");
    let address = terminal.screen.split("lines://").nth(1).unwrap();
    let address = address.split("\r\n").next().unwrap().to_owned();
    terminal.expect("> ");
    let mut one = connect(&address);
    terminal.expect("[1] connected from");
    let mut two = connect(&address);
    terminal.expect("[2] connected from");
    terminal.press("early\r");
    terminal.expect("(not sent: no message has come yet)");
    one.write_all(b"from one\n").unwrap();
    terminal.expect("[1] from one\r\n");
    two.write_all(b"from two\n").unwrap();
    terminal.expect("[2] from two\r\n");
    terminal.press("to two\r");
    expect(&mut two, b"to two\n");
    terminal.press("@1 to one\r");
    expect(&mut one, b"to one\n");
    terminal.press("@2 exit\r");
    assert_eq!(two.read(&mut [0]).unwrap(), 0);
    drop(two);
    terminal.expect("[2] closed at the protocol's end");
    terminal.press("exit\r");
    assert_eq!(one.read(&mut [0]).unwrap(), 0);
    drop(one);
    terminal.expect_end(0);
}

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command: Command = resound();
    command.arg("answer").args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_nobody_can_answer_is_refused() {
    for (listen, says) in [
        ("http://127.0.0.1:0", "no replies can be typed for http; there is frames, lines, raw, ws"),
        ("udp://127.0.0.1:0", "no replies can be typed for udp"),
        ("lines://127.0.0.1:0,fault=drop", "fault= is for resound serve"),
        ("lines://127.0.0.1:0,reply=x", "reply= is for resound serve"),
        ("lines://127.0.0.1:0,length=u8", "no key length for lines"),
        ("lines://fd:3", "sockets are passed to resound serve only"),
    ] {
        let (code, text) = refused(&[listen]);
        assert_eq!(code, Some(2), "{listen}: {text}");
        assert!(text.contains(says), "{listen}: {text}");
    }
    let other = Answer::start("raw://127.0.0.1:0");
    let (code, text) = refused(&[&format!("raw://{}", other.address)]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the address is in use"), "{text}");
}
