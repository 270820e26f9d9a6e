//! `resound status` against running daemons.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
};

use common::{Daemon, frame, ping, resound, terminal::Terminal};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn status(arguments: &[&str]) -> Command {
    let mut command = resound();
    // The machine may be slow.
    command.args(["status", "--timeout", "120s"]).args(arguments).env_remove("NO_COLOR");
    command
}

fn run(arguments: &[&str]) -> Output {
    status(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it prints on standard error when it fails.
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running `resound status --watch`, which ends with its test.
struct Watch(Child);

impl Watch {
    fn start(arguments: &[&str]) -> (Self, BufReader<std::process::ChildStdout>) {
        let mut command = status(arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        (Self(child), stdout)
    }

    /// Its exit code and standard error.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.0.wait().unwrap().code(), text)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("resound-status-{name}-{}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may not have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn it_shows_rates_limits_listeners_connections_and_warnings() {
    // It warns that a frame may be longer than the memory for all.
    let daemon = Daemon::with_admin(&["--max-connections", "5", "--max-memory", "1MiB"]);
    let mut streams: Vec<TcpStream> = (0..4).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    let address = daemon.address(1);
    let text = stdout(&run(&[address]));
    let peer = streams[3].local_addr().unwrap().to_string();
    for part in [
        &format!("at {address}: serving, up "),
        &format!("process {}", daemon.pid()),
        "LIMIT ",
        &format!("\n{}", daemon.listening[0]),
        &peer,
        "CONNECTION ",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // It may be on two lines.
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("and --max-memory is 1MiB"), "{text}");
    let row = |name: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).split_whitespace().collect()
    };
    assert_eq!(row("frames")[2], "4");
    assert_eq!(row("received")[3..], ["32", "B"]);
    assert_eq!(row("frame"), ["frame", "timeout", "-", "1m", "0s", "-", "never"]);
    assert_eq!(row("connections"), ["connections", "4", "5", "80", "%", "never"]);
    assert!(!text.contains('\x1b'), "colours without a terminal: {text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn the_address_may_be_a_socket_and_come_from_the_environment_or_the_line_listening_on() {
    let socket = Scratch::new("socket");
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0"]);
    command.args(["--admin", &format!("unix:{}", socket.path())]);
    let daemon = Daemon::spawn(command, 2);
    let from_environment =
        status(&[]).env("RESOUND_ADMIN", format!("unix:{}", socket.path())).output().unwrap();
    for output in
        [run(&[&format!("unix:{}", socket.path())]), run(&[&daemon.listening[1]]), from_environment]
    {
        assert!(stdout(&output).contains(": serving, up "), "{output:?}");
    }
    let daemon = Daemon::with_admin(&[]);
    for address in [daemon.listening[1].clone(), format!("http://{}/", daemon.address(1))] {
        assert!(stdout(&run(&[&address])).contains(": serving, up "));
    }
}

#[test]
fn as_json_it_is_one_line_with_the_answers_of_four_paths() {
    let daemon = Daemon::with_admin(&[]);
    let mut stream = daemon.connect();
    ping(&mut stream);
    let text = stdout(&run(&["--json", daemon.address(1)]));
    assert_eq!(text.lines().count(), 1, "{text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["address"], daemon.address(1));
    assert_eq!(value["stats"]["frames"], 1);
    assert_eq!(value["limits"]["frame_timeout_seconds"], 60.0);
    assert_eq!(value["connections"]["total"], 1);
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(value["connections"]["connections"][0]["peer"], peer);
    assert_eq!(value["warnings"]["warnings"], Value::Array(Vec::new()));
}

#[test]
fn a_token_is_shown_from_its_file() {
    let (right, wrong) = (Scratch::new("right"), Scratch::new("wrong"));
    std::fs::write(&right.0, "0123456789abcdef\n").unwrap();
    std::fs::write(&wrong.0, "0123456789abcdeX\n").unwrap();
    let daemon = Daemon::with_admin(&["--admin-token-file", right.path()]);
    let address = daemon.address(1);
    assert!(failure(&run(&[address])).contains("give --token-file"));
    let refused = failure(&run(&["--token-file", wrong.path(), address]));
    assert!(refused.contains("this is not its token"), "{refused}");
    stdout(&run(&["--token-file", right.path(), address]));
    let output = status(&[address]).env("RESOUND_ADMIN_TOKEN_FILE", right.path()).output().unwrap();
    stdout(&output);
    let missing = failure(&run(&["--token-file", "/nonexistent", address]));
    assert!(missing.contains("--token-file /nonexistent: "), "{missing}");
}

#[test]
fn what_does_not_answer_as_an_admin_port_is_told_apart() {
    // Bound, and closed again: nothing listens there, unless another process takes the port at once.
    let socket = Scratch::new("nothing");
    let told = failure(&run(&[&format!("unix:{}", socket.path())]));
    assert!(told.contains("no such socket") && told.contains("--admin unix:PATH"), "{told}");
    // On a port that is bound without listen(2), connecting is refused.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap().to_string();
    let told = failure(&run(&[&address]));
    assert!(told.contains("nothing listens there; start the server with --admin"), "{told}");
    // The daemon's other listeners.
    let daemon = Daemon::start(&["frames://127.0.0.1:0", "http://127.0.0.1:0"], &[]);
    for (index, why) in [(0, "it does not speak HTTP"), (1, "its answer is not JSON")] {
        let told = failure(&run(&[daemon.address(index)]));
        assert!(told.contains("is not the admin port of resound") && told.contains(why), "{told}");
    }
    let output = run(&["nonsense:x"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn control_characters_in_an_answer_do_nothing_to_the_terminal() {
    let daemon = Daemon::with_admin(&[]);
    let _client = daemon.connect();
    // It hands the daemon's answers on with other names in them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let admin = daemon.address(1).to_owned();
    let proxy = thread::spawn(move || {
        // Four paths, twice.
        for _ in 0..8 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(&stream);
            while reader.read_line(&mut request).unwrap() > 2 {}
            let mut daemon = TcpStream::connect(&admin).unwrap();
            daemon.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            daemon.read_to_string(&mut answer).unwrap();
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let body = body.replace("frames://", r"\u001b[2J\u009b\u202e\n://");
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
        }
    });
    let text = stdout(&run(&[&address]));
    proxy.join().unwrap();
    assert!(text.contains(r"\u{1b}[2J\u{9b}\u{202e} ://"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
}

#[test]
fn without_a_terminal_watching_prints_blocks_until_a_signal() {
    let daemon = Daemon::with_admin(&[]);
    let (watch, stdout) = Watch::start(&["--watch=100ms", daemon.address(1)]);
    let mut lines = stdout.lines().map(Result::unwrap);
    for _ in 0..3 {
        assert!(lines.any(|line| line.contains(": serving, up ")));
    }
    kill_process(Pid::from_child(&watch.0), Signal::INT).unwrap();
    assert_eq!(watch.ended(), (Some(0), String::new()));

    let (watch, stdout) = Watch::start(&["--watch=100ms", "--json", daemon.address(1)]);
    for line in stdout.lines().take(3) {
        let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(value["stats"]["stage"], "serving");
    }
    // The reader has gone with its iterator: that is no failure.
    assert_eq!(watch.ended(), (Some(0), String::new()));
}

#[test]
fn watching_ends_with_1_when_the_daemon_is_gone() {
    let daemon = Daemon::with_admin(&[]);
    let (watch, stdout) = Watch::start(&["--watch=100ms", "--json", daemon.address(1)]);
    let mut lines = stdout.lines().map(Result::unwrap);
    assert!(lines.next().is_some());
    daemon.stop();
    // Until the end; what it does during the drain is not asked here.
    lines.for_each(drop);
    let (code, text) = watch.ended();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the server no longer answers: "), "{text}");
}

#[test]
fn on_a_terminal_it_is_drawn_in_place_until_q_or_ctrl_c() {
    let daemon = Daemon::with_admin(&[]);
    let mut stream = daemon.connect();
    stream.write_all(&frame(b"begun")[..6]).unwrap();
    for keys in ["q", "\x03", "\x04"] {
        let command = status(&["--watch=100ms", daemon.address(1)]);
        let Some(mut terminal) = Terminal::run(&command) else { return };
        // The other screen, without a cursor.
        terminal.expect("\x1b[?1049h\x1b[?25l");
        for _ in 0..3 {
            terminal.expect("\x1b[H\x1b[1mresound ");
        }
        terminal.press(keys);
        terminal.expect("\x1b[?25h\x1b[?1049l");
        terminal.expect_end(0);
    }
}

#[test]
fn on_a_terminal_it_fits_the_width_and_has_no_colors_with_no_color() {
    let daemon = Daemon::with_admin(&[]);
    let mut streams: Vec<TcpStream> = (0..20).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    let mut command = status(&[daemon.address(1)]);
    command.env("NO_COLOR", "1");
    let Some(mut terminal) = Terminal::run_behind("stty cols 50 rows 12", &command) else { return };
    terminal.expect("and 10 more, which have received less");
    terminal.expect("exit code 0\r\n");
    let (screen, _) = terminal.screen.split_once("exit code").unwrap();
    assert!(!screen.contains('\x1b'), "{screen:?}");
    let longest = screen.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
    assert!(longest <= 50, "{longest}: {screen}");
    // Watching draws no more lines than there are: it would scroll.
    let command = status(&["--watch=100ms", daemon.address(1)]);
    let Some(mut terminal) = Terminal::run_behind("stty cols 50 rows 12", &command) else { return };
    for _ in 0..2 {
        terminal.expect("\x1b[H");
    }
    let (_, drawn) = terminal.screen.split_once("\x1b[H").unwrap();
    let (drawn, _) = drawn.split_once("\x1b[H").unwrap();
    assert!(drawn.lines().count() <= 12, "{drawn:?}");
    terminal.press("q");
    terminal.expect_end(0);
}
