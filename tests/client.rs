//! `resound client` against servers of the tests' own, right and wrong ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

mod common;

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    ops::{Deref, DerefMut},
    os::unix::net::UnixListener,
    path::PathBuf,
    process::Output,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use common::{
    PATIENCE, Random,
    client::{client, pipe},
    deserted,
    terminal::Terminal,
};

/// A server for one connection, which `serve` makes the most of.
struct Server<T> {
    address: String,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    fn start(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            serve(stream)
        });
        Self { address, thread }
    }

    fn result(self) -> T {
        self.thread.join().unwrap()
    }
}

/// Sends everything back until the client has finished; returns how many bytes that was.
fn echo(mut stream: TcpStream) -> u64 {
    let mut back = stream.try_clone().unwrap();
    io::copy(&mut stream, &mut back).unwrap()
}

/// Sends everything back, changed by `change`, which is given the offset as well.
fn echo_changed(mut stream: TcpStream, change: impl Fn(usize, u8) -> u8) {
    let mut block = vec![0; 64 << 10];
    let mut offset = 0;
    // The client may leave as soon as it sees the change.
    while let Ok(length @ 1..) = stream.read(&mut block) {
        for byte in &mut block[..length] {
            *byte = change(offset, *byte);
            offset += 1;
        }
        if stream.write_all(&block[..length]).is_err() {
            return;
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// It failed, and said so in these words.
fn assert_fails(output: &Output, says: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(says), "no {says:?} in {stderr}");
}

/// A folder of the test's own, removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("resound-client-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_input_comes_back_exactly_in_every_protocol() {
    for input in [
        &b""[..],
        b"\n",
        b"one\n",
        b"one\ntwo\n",
        b"\n\nafter two empty lines\n",
        b"no newline at the end",
        b"one\nno newline at the end",
        b"one\r\n\r\n",
        b"\0\xff\xfe\n\x80",
    ] {
        for arguments in [
            &[][..],
            &["--protocol", "lines"],
            &["--protocol", "raw"],
            &["--chunk", "1"],
            &["--chunk", "4"],
            &["--no-check"],
        ] {
            let server = Server::start(echo);
            let output = pipe(client(&server.address, arguments), input);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            assert_eq!(output.stdout, input, "{arguments:?}");
            assert_eq!(text(&output.stderr), "", "{arguments:?}");
            server.result();
        }
    }
}

#[test]
fn what_is_sent_for_lines_chunks_and_dialects() {
    let input = b"hello\n\nend";
    for (keys, arguments, sent) in [
        ("", &[][..], &b"\x05\0\0\0hello\0\0\0\0\x03\0\0\0end"[..]),
        (",length=u16be", &[], b"\0\x05hello\0\0\0\x03end"),
        (",preset=postgres", &[], b"\0\0\0\0\x09hello\0\0\0\0\x04\0\0\0\0\x07end"),
        (",length=varint", &["--chunk", "8"], b"\x08hello\n\ne\x02nd"),
        ("", &["--protocol", "lines"], b"hello\n\nend\n"),
        ("", &["--protocol", "raw"], b"hello\n\nend"),
    ] {
        let server = Server::start(|mut stream| {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            // A server that keeps everything until the end is slow, but echoes.
            stream.write_all(&received).unwrap();
            received
        });
        let output = pipe(client(&format!("{}{keys}", server.address), arguments), input);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(output.stdout, input);
        assert_eq!(server.result(), sent, "{keys} {arguments:?}");
    }
}

#[test]
fn addresses_with_a_protocol_and_unix_sockets() {
    for (protocol, keys) in [("frames", ",length=u8"), ("lines", ""), ("raw", "")] {
        let server = Server::start(echo);
        let address = format!("{protocol}://{}{keys}", server.address);
        assert_eq!(pipe(client(&address, &[]), b"hello\n").stdout, b"hello\n", "{address}");
        server.result();
    }
    let scratch = Scratch::new("unix");
    let path = scratch.0.join("socket");
    for prefix in ["unix:", "frames+unix://", "raw+unix://"] {
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut back = stream.try_clone().unwrap();
            io::copy(&mut stream, &mut back).unwrap();
        });
        let output = pipe(client(&format!("{prefix}{}", path.display()), &[]), b"hello\n");
        assert_eq!(output.stdout, b"hello\n", "{prefix}: {}", text(&output.stderr));
        server.join().unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_large_file_comes_back_in_little_memory() {
    const LENGTH: usize = 64 << 20;
    let scratch = Scratch::new("large");
    let (there, back) = (scratch.0.join("there"), scratch.0.join("back"));
    // Random enough that nothing shifted or repeated would compare equal.
    let piece = Random(5).bytes(1_000_003);
    let bytes: Vec<u8> = piece.iter().copied().cycle().take(LENGTH).collect();
    fs::write(&there, &bytes).unwrap();
    for arguments in [&["--chunk", "64KiB"][..], &["--chunk", "1000000"], &["--protocol", "raw"]] {
        let (tell_pid, pid) = mpsc::channel::<u32>();
        // Looks at the client when everything is back and it only waits for the connection to close.
        let server = Server::start(move |stream| {
            let closing = stream.try_clone().unwrap();
            let echoed = echo(stream);
            let status =
                fs::read_to_string(format!("/proc/{}/status", pid.recv().unwrap())).unwrap();
            drop(closing);
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
            (echoed, peak)
        });
        let mut command = client(&server.address, arguments);
        command.stdin(File::open(&there).unwrap()).stdout(File::create(&back).unwrap());
        let child = command.spawn().unwrap();
        tell_pid.send(child.id()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (echoed, peak) = server.result();
        assert!(echoed >= LENGTH as u64);
        assert!(peak < 32 << 10, "{peak} KiB for a file of 64 MiB");
        assert!(fs::read(&back).unwrap() == bytes, "{arguments:?}");
    }
}

#[test]
fn a_changed_byte_is_found_where_it_is() {
    // Frames of 100 bytes and 4 of head: byte 1,000 of the input is byte 1,044 of the connection.
    for (arguments, at, place) in [
        (&["--protocol", "raw"][..], 70_001, "at offset 70001 of the input"),
        (&["--protocol", "lines"], 70_001, "at offset 70001 of the input"),
        (&["--chunk", "100"], 1_044, "at offset 1000 of the input, in frame 11 "),
        (&["--chunk", "100"], 1_040, "in the head of frame 11, at its offset 0 "),
        (&["--chunk", "100"], 1_043, "in the head of frame 11, at its offset 3 "),
        (&["--chunk", "100"], 3, "in the head of frame 1, at its offset 3 "),
        // Lines of 9 bytes, as frames 13 long.
        (&[], 13 * 7 + 4 + 8, "at offset 78 of the input, in frame 8 "),
    ] {
        let server = Server::start(move |stream| {
            echo_changed(stream, |offset, byte| if offset == at { byte ^ 0x20 } else { byte });
        });
        let input = b"123456789\n".repeat(20_000);
        let output = pipe(client(&server.address, arguments), &input);
        assert_fails(&output, place);
        assert_fails(&output, ": sent 0x");
        assert!(input.starts_with(&output.stdout), "what was right is put out");
        server.result();
    }
}

#[test]
fn an_echo_that_ends_early_is_a_failure() {
    // Two frames of 9 bytes, with 4 of head each.
    for (kept, missing) in [(0, "26 bytes"), (1, "25 bytes"), (13, "13 bytes"), (25, "1 byte")] {
        let server = Server::start(move |mut stream| {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received[..kept]).unwrap();
        });
        let output = pipe(client(&server.address, &[]), b"123456789\n123456789\n");
        let says = format!("closed the connection while {missing} had not come back");
        assert_fails(&output, &says);
        server.result();
    }
}

#[test]
fn a_server_that_closes_first_is_a_failure() {
    let server = Server::start(|mut stream| {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).unwrap();
        stream.write_all(&frame).unwrap();
    });
    let mut child = client(&server.address, &[]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    // Standard input stays open, so only the server can have ended it.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.stdout, b"hello\n");
    assert_fails(&output, "closed the connection before the input ended");
    server.result();
}

#[test]
fn more_than_was_sent_is_a_failure() {
    let server = Server::start(|mut stream| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received.push(b'!');
        stream.write_all(&received).unwrap();
    });
    let output = pipe(client(&server.address, &["--protocol", "raw"]), b"hello");
    assert_eq!(output.stdout, b"hello");
    assert_fails(&output, "at offset 5 of the input (offsets count from 0): received 0x21 after");
    server.result();
}

#[test]
fn a_server_that_speaks_first_is_told_from_one_that_echoes_wrongly() {
    let server = Server::start(|mut stream| {
        stream.write_all(b"\x02\0\0\0hi").unwrap();
        io::copy(&mut stream, &mut io::sink()).is_ok()
    });
    let mut child = client(&server.address, &[]).spawn().unwrap();
    // Open, so that the banner comes before anything is sent.
    let stdin = child.stdin.take().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_fails(&output, "the server sent 0x02 before the client sent anything");
    assert!(text(&output.stderr).contains("add --no-check"), "{output:?}");
    server.result();

    let server = Server::start(|stream| echo_changed(stream, |_, byte| byte ^ 1));
    let output = pipe(client(&server.address, &[]), b"late\n");
    assert_fails(&output, "If the server sends a banner or does not echo");
    server.result();
}

#[test]
fn a_server_that_never_answers_does_not_hang_it() {
    let server = Server::start(|mut stream| io::copy(&mut stream, &mut io::sink()).is_ok());
    let arguments = ["--timeout", "300ms", "--chunk", "1MiB"];
    let output = pipe(client(&server.address, &arguments), &vec![b'x'; 64 << 20]);
    assert_fails(&output, "the server does not answer: no byte was sent or received for 300ms");
    server.result();
}

#[test]
fn a_server_that_never_reads_does_not_hang_it() {
    let (finish, finished) = mpsc::channel::<()>();
    let server = Server::start(move |_stream| finished.recv().is_err());
    // Without the check there is no window, and so nothing but the server to hold the sender back.
    let arguments = ["--timeout", "300ms", "--chunk", "1MiB", "--no-check"];
    let output = pipe(client(&server.address, &arguments), &vec![b'x'; 64 << 20]);
    assert_fails(&output, "the server does not read: no byte was sent or received for 300ms");
    drop(finish);
    server.result();
}

#[test]
fn a_quiet_input_is_nobodys_fault() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let (tell, told) = mpsc::channel();
    let server = Server::start(move |stream| {
        // For longer than the client's timeout nothing comes, neither bytes nor an end.
        stream.set_read_timeout(Some(TIMEOUT * 2)).unwrap();
        let kind = (&stream).read(&mut [0]).unwrap_err().kind();
        tell.send(()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        echo(stream);
        kind
    });
    let mut child = client(&server.address, &["--timeout", "2s"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    told.recv().unwrap();
    stdin.write_all(b"late\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(output.stdout, b"late\n");
    assert_eq!(server.result(), ErrorKind::WouldBlock);
}

#[test]
fn a_server_that_leaves_the_connection_open_has_echoed_all_the_same() {
    let (finish, finished) = mpsc::channel::<()>();
    let server = Server::start(move |stream| {
        let open = stream.try_clone().unwrap();
        echo(stream);
        let _ = finished.recv();
        drop(open);
    });
    let output = pipe(client(&server.address, &[]), b"hello\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(output.stdout, b"hello\n");
    drop(finish);
    server.result();
}

#[test]
fn a_reply_is_put_out_before_the_input_ends() {
    let server = Server::start(echo);
    let mut child = client(&server.address, &[]).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for line in [b"first\n", b"again\n"] {
        stdin.write_all(line).unwrap();
        let mut back = [0; 6];
        stdout.read_exact(&mut back).unwrap();
        assert_eq!(&back, line);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    server.result();
}

#[test]
fn other_answers_are_taken_without_the_check() {
    let upper = |stream: TcpStream| echo_changed(stream, |_, byte| byte.to_ascii_uppercase());
    let server = Server::start(upper);
    let output = pipe(client(&server.address, &["--no-check"]), b"hello\nworld");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(output.stdout, b"HELLO\nWORLD");
    server.result();

    let server = Server::start(upper);
    let output = pipe(client(&server.address, &[]), b"hello\n");
    assert_fails(&output, "sent 0x68, received 0x48. If the server does not echo, add --no-check");
    server.result();

    let server = Server::start(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let output = pipe(client(&server.address, &["--no-check"]), b"");
    assert_fails(&output, "the server sent an invalid frame after frame 0");
    server.result();
}

#[test]
fn the_command_for_the_uppercase_example_works() {
    let (_, command) = include_str!("../examples/uppercase.rs")
        .split_once("echo hello | cargo run -- client ")
        .unwrap();
    let words: Vec<&str> = command.lines().next().unwrap().split(' ').collect();
    let (_, flags) = words.split_last().expect("an address");
    let server = Server::start(|stream| echo_changed(stream, |_, byte| byte.to_ascii_uppercase()));
    let output = pipe(client(&server.address, flags), b"hello\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "HELLO\n");
    server.result();
}

#[test]
fn a_line_over_the_limit_is_named_and_those_before_it_come_back() {
    let server = Server::start(echo);
    let input = [&b"short\n"[..], &[b'x'; 256], b"\n"].concat();
    let output = pipe(client(&format!("{},length=u8", server.address), &[]), &input);
    assert_eq!(output.stdout, b"short\n");
    assert_fails(&output, "line 2 of the input cannot be sent as a frame: a payload of 256 bytes");
    server.result();
}

#[test]
fn who_closes_its_output_has_seen_enough() {
    let server = Server::start(|stream| echo_changed(stream, |_, byte| byte));
    let mut command = client(&server.address, &["--protocol", "raw"]);
    let (reader, writer) = io::pipe().unwrap();
    command.stdout(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    drop(reader);
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    server.result();
}

#[test]
fn nobody_there_is_told_with_the_remedy() {
    let (_socket, address) = deserted();
    let address = address.to_string();
    let output = pipe(client(&address, &[]), b"");
    assert_fails(&output, &format!("cannot connect to {address}: nothing listens there"));
    assert_fails(&output, "start a server with: resound serve");
    let output = pipe(client("unix:/nonexistent/socket", &[]), b"");
    assert_fails(&output, "cannot connect to /nonexistent/socket: there is no such socket");
}

/// The client on a pseudo-terminal.
struct Session {
    terminal: Terminal,
    scratch: Scratch,
}

impl Session {
    /// At the prompt; `None` where there is no pseudo-terminal.
    fn start(name: &str, address: &str) -> Option<Self> {
        let mut session = Self::connect(name, address)?;
        session.expect("> ");
        Some(session)
    }

    fn connect(name: &str, address: &str) -> Option<Self> {
        Self::with_timeout(name, address, "60s")
    }

    fn with_timeout(name: &str, address: &str, timeout: &str) -> Option<Self> {
        let scratch = Scratch::new(name);
        let mut client = client(address, &["--timeout", timeout]);
        client.env("XDG_STATE_HOME", &scratch.0);
        let mut terminal = Terminal::run(&client)?;
        terminal.expect(&format!("connected to {address}; exit, quit, q or Ctrl-D to end"));
        Some(Self { terminal, scratch })
    }

    fn expect_end(self, code: i32) {
        self.terminal.expect_end(code);
    }
}

impl Deref for Session {
    type Target = Terminal;

    fn deref(&self) -> &Terminal {
        &self.terminal
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Terminal {
        &mut self.terminal
    }
}

const UP: &str = "\x1b[A";

#[test]
fn on_a_terminal_lines_are_answered_and_remembered() {
    let server = Server::start(echo);
    let Some(mut terminal) = Session::start("remembered", &server.address) else { return };
    for (keys, line) in [("hello\r", "hello"), ("w\u{f6}rld\r", "w\u{f6}rld")] {
        terminal.press(keys);
        // Once as it is typed, once as it comes back.
        terminal.expect(line);
        terminal.expect(&format!("\n{line}\r\n"));
        terminal.expect("> ");
    }
    terminal.press(&format!("{UP}{UP}\r"));
    terminal.expect("\nhello\r\n");
    terminal.expect("> ");
    terminal.press("exit\r");
    let history = terminal.scratch.0.join("resound/history");
    let history = fs::read_to_string(history).unwrap();
    terminal.expect_end(0);
    assert_eq!(server.result(), 4 + 5 + 4 + 6 + 4 + 5);
    let lines: Vec<&str> = history.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["hello", "w\u{f6}rld", "hello"]);
}

/// What `echo` reads of these lines, each a frame.
fn framed(lines: &[&str]) -> u64 {
    lines.iter().map(|line| 4 + line.len() as u64).sum()
}

#[test]
fn on_a_terminal_each_of_many_pasted_lines_is_answered() {
    let server = Server::start(echo);
    let Some(mut terminal) = Session::start("pasted", &server.address) else { return };
    // More than one read of the prompt takes: 1,024 bytes.
    let lines: Vec<String> = (0..100).map(|number| format!("pasted line {number}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    terminal.press(&format!("{}\rexit\r", lines.join("\r")));
    for line in &lines {
        terminal.expect(&format!("\n{line}\r\n"));
    }
    terminal.expect_end(0);
    assert_eq!(server.result(), framed(&lines));
}

#[test]
fn on_a_terminal_lines_typed_before_the_reply_or_the_first_prompt_are_sent() {
    let (arrive, arrived) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let server = Server::start(move |stream| {
        // The first line has been entered, and its reply is waited for.
        let peeked = stream.peek(&mut [0]).unwrap();
        assert_eq!(peeked, 1);
        arrive.send(()).unwrap();
        released.recv().unwrap();
        echo(stream)
    });
    let Some(mut terminal) = Session::connect("ahead", &server.address) else { return };
    terminal.press("first\rsecond\r");
    arrived.recv().unwrap();
    terminal.press("third\rq\r");
    // The terminal itself shows what is typed while no prompt reads it.
    terminal.expect("third");
    release.send(()).unwrap();
    for line in ["first", "second", "third"] {
        terminal.expect(&format!("\n{line}\r\n"));
    }
    terminal.expect_end(0);
    assert_eq!(server.result(), framed(&["first", "second", "third"]));
}

#[test]
fn on_a_terminal_words_and_keys_leave() {
    for keys in ["exit\r", "quit\r", " q \r", "\x04", "\x03", "half a line\x03"] {
        let server = Server::start(echo);
        let Some(mut terminal) = Session::start("leave", &server.address) else { return };
        terminal.press(keys);
        terminal.expect_end(0);
        assert_eq!(server.result(), 0, "{keys:?} is not sent");
    }
}

#[test]
fn on_a_terminal_a_server_that_closes_is_told_at_once() {
    let (close, closed) = mpsc::channel::<()>();
    let server = Server::start(move |stream| {
        // Nothing is pressed: only the prompt waits.
        closed.recv().unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    });
    let Some(mut terminal) = Session::start("closed", &server.address) else { return };
    close.send(()).unwrap();
    terminal.expect("error: ");
    terminal.expect("the server closed the connection");
    terminal.expect_end(1);
    server.result();
}

#[test]
fn on_a_terminal_a_server_that_closes_before_the_prompt_is_told() {
    for _ in 0..5 {
        let server = Server::start(drop);
        let Some(mut terminal) = Session::connect("before", &server.address) else { return };
        terminal.expect("the server closed the connection");
        terminal.expect_end(1);
        server.result();
    }
}

#[test]
fn on_a_terminal_what_comes_unasked_is_shown_and_obeyed_by_nobody() {
    let (ask, asked) = mpsc::channel::<()>();
    let server = Server::start(move |mut stream| {
        asked.recv().unwrap();
        stream.write_all(b"\x09\0\0\0\x1b[2Jnews\xff").unwrap();
        echo(stream);
    });
    let Some(mut terminal) = Session::start("unasked", &server.address) else { return };
    ask.send(()).unwrap();
    terminal.expect("(received before anything was sent:)");
    terminal.expect("\\u{1b}[2Jnews\\xff");
    terminal.press("still there\r");
    terminal.expect("\nstill there\r\n");
    terminal.press("q\r");
    terminal.expect_end(0);
    server.result();
}

#[test]
fn on_a_terminal_a_missing_reply_is_told_and_the_prompt_comes_back() {
    let server = Server::start(|mut stream| io::copy(&mut stream, &mut io::sink()).unwrap());
    let Some(mut terminal) = Session::with_timeout("missing", &server.address, "500ms") else {
        return;
    };
    terminal.expect("> ");
    terminal.press("anyone?\r");
    terminal.expect("(no reply within 500ms; continue, or end with Ctrl-D)");
    terminal.expect("> ");
    terminal.press("q\r");
    terminal.expect_end(0);
    assert_eq!(server.result(), 4 + 7);
}
