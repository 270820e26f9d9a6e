//! The command line: help, errors that name the flag, the value and the remedy, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

mod common;

use std::{
    fs,
    io::{BufRead, Read, Write},
    os::unix::net::UnixListener,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use common::{Daemon, frame, ping, resound, tool};

/// What a command said, and its exit code.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn say(arguments: &[&str]) -> Said {
    let mut command = resound();
    command.args(arguments);
    run(command)
}

/// A folder of the test's own, removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("resound-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the help says of a flag, up to the next one, wherever its lines are broken.
fn section(help: &str, flag: &str) -> String {
    let begins = |line: &&str| line.trim_start().starts_with('-');
    let mut lines =
        help.lines().skip_while(|line| !(begins(line) && line.contains(&format!("{flag} <"))));
    let first = lines.next().expect(flag);
    let rest = lines.take_while(|line| !begins(line)).flat_map(str::split_whitespace);
    first.split_whitespace().chain(rest).collect::<Vec<_>>().join(" ")
}

#[test]
fn help_shows_each_flag_with_its_variable_and_default() {
    let help = say(&["serve", "--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for (flag, default) in [
        ("--listen", "[default: frames://127.0.0.1:30000]"),
        ("--backlog", "[default: 4096]"),
        ("--grace", "[default: 10s]"),
        ("--max-connections", "[default: what the limit of open files allows]"),
        ("--max-frame", "[default: 16MiB]"),
        ("--max-memory", "[default: 1GiB]"),
        ("--idle-timeout", "[default: off]"),
        ("--frame-timeout", "[default: 1m]"),
        ("--handshake-timeout", "[default: 10s]"),
        ("--write-timeout", "[default: 1m]"),
        ("--keepalive", "[default: 5m]"),
        ("--user-timeout", "[default: off]"),
        ("--busy-poll", "[default: off]"),
        ("--log-level", "Without RUST_LOG it is info"),
    ] {
        let section = section(&help.stdout, flag);
        let variable = flag[2..].replace('-', "_").to_uppercase();
        for part in [&format!("[env: RESOUND_{variable}]"), default] {
            assert!(section.contains(part), "{flag}: no {part} in {section}");
        }
    }
    let words = section(&help.stdout, "--listen");
    for protocol in ["frames each frame", "length= ", "raw every byte"] {
        assert!(words.contains(protocol), "{protocol}");
    }
}

#[test]
fn help_of_all_and_of_each_ends_with_examples() {
    for arguments in
        [&["--help"][..], &["-h"], &["serve", "-h"], &["client", "-h"], &["dialects", "-h"]]
    {
        let help = say(arguments);
        assert_eq!(help.code, Some(0), "{arguments:?}");
        let examples = help.stdout.split_once("\nExamples:\n").expect("examples").1;
        assert!(examples.contains("  resound "), "{arguments:?}");
    }
    assert!(say(&["--version"]).stdout.starts_with("resound 0."));
}

#[test]
fn wrong_values_are_named_with_their_flag_and_what_would_be_right() {
    for (arguments, flag, remedy) in [
        (&["serve", "--max-frame", "lots"][..], "--max-frame", "like 64KiB, 16MiB"),
        (&["serve", "--max-frame", "-1"], "--max-frame", "like 64KiB, 16MiB"),
        (&["serve", "--max-frame", "2GiB"], "--max-frame", "write less, like 64MiB"),
        (&["serve", "--max-memory", "0"], "--max-memory", "at least 1 byte"),
        (&["serve", "--max-connections", "0"], "--max-connections", "at least 1"),
        (&["serve", "--max-connections", "many"], "--max-connections", "at least 1"),
        (&["serve", "--backlog", "1e3"], "--backlog", "like 4096"),
        (&["serve", "--idle-timeout", "30"], "--idle-timeout", "30s or 1m, or off"),
        (&["serve", "--frame-timeout", "soon"], "--frame-timeout", "30s or 1m, or off"),
        (&["serve", "--keepalive", "10h"], "--keepalive", "1s to 32767s"),
        (&["serve", "--write-timeout", "1 fortnight"], "--write-timeout", "30s or 1m, or off"),
        (&["serve", "--grace", "off"], "--grace", "30s or 1m"),
        (&["serve", "--log-level", "loud"], "--log-level", "like debug"),
        (&["serve", "--listen", "nope"], "--listen", "like frames://127.0.0.1:30000"),
        (&["serve", "--listen", ""], "--listen", "like frames://127.0.0.1:30000"),
        (&["serve", "--listen", "gopher://:1"], "--listen", "there is frames, raw"),
        (&["serve", "--listen", "frames://127.0.0.1"], "--listen", "like 127.0.0.1:30000"),
        (&["serve", "--listen", "frames://:99999"], "--listen", "from 0 to 65535"),
        (&["serve", "--listen", "frames://::1:7"], "--listen", "like [::1]:30000"),
        (&["serve", "--listen", "frames://:1,width=2"], "--listen", "there is length, offset"),
        (&["serve", "--listen", "frames://:1,length=u5"], "--listen", "one of u8, u16le"),
        (&["serve", "--listen", "frames://:1,max=big"], "--listen", "like 64KiB"),
        (&["serve", "--listen", "raw://:1,max=1"], "--listen", "there is banner, reply, proxy"),
        (&["client", "localhost"], "[ADDRESS]", "like localhost:30000"),
        (&["client", "ws://:1"], "[ADDRESS]", "it supports frames, lines, raw"),
        (&["client", "--chunk", "x"], "--chunk", "like 64KiB"),
        (&["client", "--timeout", "1"], "--timeout", "or off"),
        (&["client", "--protocol", "tls"], "--protocol", "possible values: frames, lines, raw"),
    ] {
        let value = arguments[arguments.len() - 1];
        let said = say(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        for part in [flag, value, remedy] {
            assert!(said.stderr.contains(part), "{arguments:?}: no {part:?} in {}", said.stderr);
        }
    }
}

#[test]
fn what_does_not_go_together_is_a_usage_error() {
    for (arguments, says) in [
        (&["client", "--chunk", "32MiB"][..], "over the limit of 16MiB"),
        (&["client", "--chunk", "1KiB", ":1,length=u8"], "over the limit of 255"),
        (&["client", "--chunk", "1KiB", "--protocol", "raw"], "leave --chunk out"),
        (&["client", "--protocol", "raw", "frames://:1"], "give one of the two"),
        (&["client", "--protocol", "raw", ":1,length=u8"], "only frames have keys"),
        (&["client", ":1,width=2"], "no key width"),
        (&["bench-mark"], "unrecognized subcommand"),
        (&["serve", "--max-size", "1"], "unexpected argument"),
        (&[], "Usage: resound"),
    ] {
        let said = say(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}");
        assert!(said.stderr.contains(says), "{arguments:?}: {}", said.stderr);
    }
}

#[test]
fn a_wrong_value_from_a_variable_names_the_variable() {
    for (variable, value) in [
        ("RESOUND_MAX_FRAME", "lots"),
        ("RESOUND_LISTEN", "frames://127.0.0.1:0 nope"),
        ("RESOUND_LOG_LEVEL", "loud"),
    ] {
        let mut command = resound();
        command.arg("serve").env(variable, value);
        let said = run(command);
        assert_eq!(said.code, Some(2), "{variable}");
        let tip = format!("comes from the environment variable {variable}");
        assert!(said.stderr.contains(&tip) && said.stderr.contains(value), "{}", said.stderr);
    }
    // The flag counts, so the flag is to blame.
    let mut command = resound();
    command.args(["serve", "--max-frame", "few"]).env("RESOUND_MAX_FRAME", "lots");
    let said = run(command);
    assert!(said.stderr.contains("'few'") && !said.stderr.contains("RESOUND_"), "{}", said.stderr);
}

#[test]
fn listeners_come_from_the_variable_and_flags_win() {
    let mut command = resound();
    command.arg("serve").env("RESOUND_LISTEN", " frames://127.0.0.1:0  raw://:0 ");
    let daemon = Daemon::spawn(command, 2);
    assert!(daemon.listening[0].starts_with("frames://127.0.0.1:"), "{:?}", daemon.listening);
    assert!(daemon.listening[1].starts_with("raw://127.0.0.1:"), "{:?}", daemon.listening);
    assert!(daemon.stop().status.success());

    let mut command = resound();
    command.args(["serve", "--listen", "raw://:0"]).env("RESOUND_LISTEN", "frames://:0");
    assert!(Daemon::spawn(command, 1).listening[0].starts_with("raw://"));
}

#[test]
fn each_listener_says_where_it_is_and_the_end_is_summed_up() {
    let scratch = Scratch::new("places");
    let path = scratch.path("socket");
    let daemon = Daemon::start(
        &["frames://localhost:0,length=u16be", "frames://[::1]:0", &format!("raw+unix://{path}")],
        &[],
    );
    assert!(daemon.listening[0].starts_with("frames://127.0.0.1:"), "{:?}", daemon.listening);
    assert!(daemon.listening[1].starts_with("frames://[::1]:"), "{:?}", daemon.listening);
    assert_eq!(daemon.listening[2], format!("raw+unix://{path}"));
    for listening in &daemon.listening {
        assert!(!listening.ends_with(":0") && !listening.contains(','), "{listening}");
    }
    let ended = daemon.stop();
    assert!(ended.status.success());
    assert!(ended.stdout.starts_with("served for "), "{}", ended.stdout);
    assert!(ended.stdout.contains(" 0 connections, 0 frames"), "{}", ended.stdout);
    assert!(!fs::exists(path).unwrap());
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_with_the_remedy() {
    let scratch = Scratch::new("refused");
    let first = Daemon::start(
        &["frames://127.0.0.1:0", &format!("raw+unix://{}", scratch.path("alive"))],
        &[],
    );
    let file = scratch.path("file");
    fs::write(&file, "precious").unwrap();
    let long = scratch.path(&"x".repeat(108));
    for (listen, says) in [
        (first.listening[0].clone(), "the address is in use. Stop what listens there"),
        (first.listening[1].clone(), "the socket is in use. Stop the server behind it"),
        // TEST-NET-1 (RFC 5737) is not assigned.
        ("frames://192.0.2.1:30000".into(), "192.0.2.1 is not an address of this machine"),
        (format!("frames+unix://{file}"), "it is not a socket. Move it away"),
        (format!("frames+unix://{long}"), "may have 107 bytes. Choose a shorter one"),
        (format!("frames+unix://{}", scratch.path("none/x")), "no such directory. Create it"),
        // RFC 2606 promises that there is none.
        ("frames://host.invalid:1".into(), "cannot be looked up"),
    ] {
        let said = say(&["serve", "--listen", &listen]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{listen}");
        let error = said.stderr.lines().find(|line| line.starts_with("error: ")).expect("an error");
        assert!(error.contains(&format!("cannot listen on {listen}: ")), "{error}");
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
    assert!(first.stop().status.success());
}

#[test]
fn a_socket_file_left_behind_is_taken_over() {
    let scratch = Scratch::new("stale");
    let path = scratch.path("socket");
    // std leaves the file behind, as a server that was killed does.
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::exists(&path).unwrap());
    let daemon = Daemon::start(&[&format!("frames+unix://{path}")], &[]);
    assert!(daemon.stop().status.success());
}

#[test]
fn the_log_level_is_the_flags_then_the_variables() {
    let logged = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = resound();
        command.args(["serve", "--listen", "frames://127.0.0.1:0"]).args(arguments);
        command.envs(variables.iter().copied());
        Daemon::spawn(command, 1).stop().stderr
    };
    for (arguments, variables, info, debug) in [
        (&[][..], &[][..], true, false),
        (&["--log-level", "debug"], &[("RUST_LOG", "off")], true, true),
        (&[], &[("RESOUND_LOG_LEVEL", "off"), ("RUST_LOG", "debug")], false, false),
        (&[], &[("RUST_LOG", "resound=debug")], true, true),
        (&["--log-level", "off"], &[], false, false),
    ] {
        let log = logged(arguments, variables);
        assert_eq!((log.contains("INFO"), log.contains("DEBUG")), (info, debug), "{log}");
    }
}

#[test]
fn as_many_connections_as_are_announced_fit() {
    let Some(prlimit) = tool("prlimit") else { return };
    for (limit, arguments) in [
        (20, &[][..]),
        (21, &["--overload", "refuse"]),
        (40, &["--listen", "raw://127.0.0.1:0", "--listen", "udp://127.0.0.1:0"]),
        (64, &["--reactors", "3"]),
        (64, &["--reactors", "2", "--overload", "refuse", "--listen", "lines://127.0.0.1:0"]),
        (256, &["--log-level", "debug"]),
        (1024, &[]),
    ] {
        let mut command = Command::new(&prlimit);
        command.arg(format!("--nofile={limit}:{limit}")).arg(env!("CARGO_BIN_EXE_resound"));
        command.args(["serve", "--listen", "frames://127.0.0.1:0"]).args(arguments);
        let listeners = 1 + arguments.iter().filter(|word| **word == "--listen").count();
        let mut daemon = Daemon::spawn(command, listeners);
        let mut log = daemon.take_stderr();
        let mut line = String::new();
        while !line.contains("at most ") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "nothing is announced");
        }
        let (_, announced) = line.split_once("at most ").unwrap();
        let announced: usize = announced.split(' ').next().unwrap().parse().unwrap();
        // Three for each reactor and one for each of its listeners, those of the process, and a few to spare.
        let reactors = if arguments.contains(&"--reactors") { 3 } else { 1 };
        assert!(announced + 12 + reactors * (8 + listeners) >= limit, "{limit}: only {announced}");
        // Loops share the limit, so it does not matter to which of them the kernel gives each connection.
        let mut streams: Vec<_> = (0..announced).map(|_| daemon.connect()).collect();
        streams.iter_mut().for_each(ping);
        // One more has no room.
        let mut surplus = daemon.connect();
        let _ = surplus.write_all(&frame(b"hello"));
        streams.iter_mut().for_each(ping);
        surplus.set_nonblocking(true).unwrap();
        assert!(surplus.read(&mut [0; 9]).map_or(true, |count| count == 0), "it is served");
        drop((streams, surplus));
        drop(log);
        let ended = daemon.stop();
        assert!(!ended.stdout.contains("accept pause"), "{limit} {arguments:?}: {ended:?}");
    }
}

#[test]
fn frames_that_do_not_fit_the_memory_are_warned_about() {
    let logged = |arguments: &[&str]| {
        let mut command = resound();
        command.arg("serve").args(arguments);
        Daemon::spawn(command, 1).stop().stderr
    };
    let frames = ["--listen", "frames://127.0.0.1:0"];
    for (arguments, warns) in [
        (&["--max-memory", "1MiB"][..], true),
        (&["--max-memory", "16MiB"], false),
        (&["--max-memory", "1MiB", "--max-frame", "64KiB"], false),
        (&["--max-frame", "1GiB"], false),
        (&["--max-frame", "1500MiB"], true),
    ] {
        let log = logged(&[&frames[..], arguments].concat());
        assert_eq!(log.contains("WARN"), warns, "{arguments:?}: {log}");
        if warns {
            assert!(log.contains("--max-memory") && log.contains("--max-frame"), "{log}");
        }
    }
}

#[test]
fn dialects_are_listed_with_their_bytes() {
    let said = say(&["dialects"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    for row in ["go-tutorial   u32le        0       0     16MiB", "[05 00 00 00] 68 65 6c 6c 6f"] {
        assert!(said.stdout.contains(row), "{}", said.stdout);
    }
}
