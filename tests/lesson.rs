//! `resound lesson`: each mistake shows in the wrong server and not in resound, each by its number; a server of one's own is
//! measured; and what a lesson says to type does what it says.

mod common;

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Output},
};

use common::{Daemon, built_example, frame, is_without_epoll, resound};

/// What the tests are about that drive the wrong servers and `examples/event_loop.rs`.
const EDGES: &str = "servers that are written for its edges";

const PROGRAM: &str = env!("CARGO_BIN_EXE_resound");

/// The lessons whose mistake a case of `resound check` finds, too; the others cost time or memory, and answer right.
const FOUND_BY_CHECK: [&str; 8] = [
    "sticky-packets",
    "lost-edge",
    "short-write",
    "slow-reader",
    "unbounded-buffer",
    "half-close",
    "lost-reply",
    "emfile-spin",
];

const OTHERS: [&str; 5] = [
    "thread-per-connection",
    "delayed-ack",
    "small-send-buffer",
    "write-per-frame",
    "thundering-herd",
];

fn lesson(arguments: &[&str]) -> Output {
    resound().arg("lesson").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The numbers in the row that begins with `what`: those of the wrong server and of resound.
fn row(table: &str, what: &str) -> [u64; 2] {
    let line = table.lines().find(|line| line.starts_with(what));
    let line = line.unwrap_or_else(|| panic!("no row {what}: {table}"));
    let numbers = line[what.len()..].split_whitespace().map(|word| word.replace(',', ""));
    let numbers: Vec<u64> = numbers.map_while(|word| word.parse().ok()).collect();
    [numbers[0], numbers[1]]
}

#[test]
fn each_mistake_shows_in_the_wrong_server_and_not_in_resound() {
    if is_without_epoll(EDGES) {
        return;
    }
    let output = lesson(&["--all"]);
    let tables = text(&output);
    assert!(output.status.success(), "{output:?}\n{tables}");
    for name in FOUND_BY_CHECK.iter().chain(&OTHERS) {
        assert!(tables.contains(&format!("{name}: ")), "{name}: {tables}");
    }
    // What is the same on every machine.
    for (what, wrong, right) in [
        ("frames answered, of 10 in one segment", 1, 10),
        ("bytes that came back, of 4,096", 512, 4096),
        ("bytes left in the server's socket", 4096 - 512, 0),
        ("bytes that came after one byte more", 512, 1),
        ("round trips of the other, of 100", 0, 100),
        ("bytes that came back, of 65,536", 0, 65_536),
        ("connections that ended with RST, of 1", 1, 0),
    ] {
        assert_eq!(row(&tables, what), [wrong, right], "{what}: {tables}");
    }
    let [wrong, right] = row(&tables, "connections that were served");
    assert!(wrong == right && right >= 128, "{tables}");
}

/// The servers' commands: wrong, and right for the same protocol.
fn servers(name: &str) -> [String; 2] {
    let frames = ["sticky-packets", "lost-reply", "delayed-ack", "write-per-frame"];
    let (protocol, keys) =
        if frames.contains(&name) { ("frames", ",max=64KiB") } else { ("raw", "") };
    [
        format!("exec {PROGRAM} lesson {name} --serve 127.0.0.1:{{port}}"),
        format!("exec {PROGRAM} serve --listen {protocol}://127.0.0.1:{{port}}{keys}"),
    ]
}

#[test]
fn a_server_of_ones_own_is_measured_and_judged() {
    if is_without_epoll(EDGES) {
        return;
    }
    for name in ["sticky-packets", "half-close"] {
        let [wrong, right] = servers(name);
        let output = lesson(&[name, "--server", &wrong]);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        assert!(text(&output).contains("Your server makes the mistake"), "{name}: {output:?}");
        let output = lesson(&[name, "--server", &right]);
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        assert!(text(&output).contains("Your server does not make"), "{name}: {output:?}");
    }
}

/// The server in the commands that a lesson ends with.
const MINE: &str = "target/debug/examples/mine 127.0.0.1:{port}";

#[test]
fn check_finds_the_mistakes_that_change_what_comes_back() {
    if is_without_epoll(EDGES) {
        return;
    }
    for name in FOUND_BY_CHECK {
        let shown = text(&lesson(&[name])).replace("\\\n", "");
        let line = shown.lines().find(|line| line.starts_with("  resound check"));
        let line = line.unwrap_or_else(|| panic!("{name}: {shown}"));
        assert!(line.contains(MINE), "{line}");
        // A mistake is found when nothing comes for this long; what is right has more time.
        for (server, timeout, code) in servers(name)
            .iter()
            .zip(["2s", "60s"])
            .zip([1, 0])
            .map(|((server, timeout), code)| (server, timeout, code))
        {
            let program = format!("{PROGRAM} check --timeout {timeout}");
            let command = line.replacen("resound check", &program, 1).replace(MINE, server);
            let run = || Command::new("sh").args(["-c", &command]).output().unwrap();
            let mut output = run();
            // A client that is fast enough reads the reply that is lost otherwise, in `lost-reply`.
            for _ in 0..20 {
                if code == 0 || output.status.code() == Some(code) {
                    break;
                }
                output = run();
            }
            assert_eq!(output.status.code(), Some(code), "{name}: {command}: {output:?}");
        }
    }
}

#[test]
fn each_wrong_server_runs_as_an_example() {
    if is_without_epoll(EDGES) {
        return;
    }
    for name in FOUND_BY_CHECK.iter().chain(&OTHERS) {
        let mut command = Command::new(built_example(&name.replace('-', "_")));
        command.arg("127.0.0.1:0");
        let server = Daemon::spawn(command, 1);
        let mut stream = server.connect();
        stream.write_all(&frame(b"hello")).unwrap();
        let mut back = [0; 9];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back[..], frame(b"hello"), "{name}");
    }
}

/// What `examples/event_loop.rs` says of itself: it is right, except that it does not handle signals.
#[test]
fn the_event_loop_of_the_examples_passes_what_it_is_there_for() {
    if is_without_epoll(EDGES) {
        return;
    }
    let server = format!("exec {} 127.0.0.1:{{port}}", built_example("event_loop").display());
    let groups =
        ["echo", "segments", "half-close", "reset", "fairness", "connections", "resources"];
    let only = groups.iter().flat_map(|group| ["--only", group]);
    let mut command = resound();
    command.args(["check", "--server", &server, "raw://", "--timeout", "60s"]).args(only);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn what_resound_does_in_a_lesson_is_recorded_for_a_browser() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("lesson's-{}.json", std::process::id()));
    let output = lesson(&["lost-edge", "--record", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let trace: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    fs::remove_file(&file).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().any(|event| event["name"] == "read"), "{trace:#}");
}

#[test]
fn the_source_is_that_of_the_example() {
    let output = lesson(&["lost-edge", "--source"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lessons/lost_edge.rs");
    assert_eq!(text(&output), fs::read_to_string(path).unwrap());
}

#[test]
fn without_a_name_all_are_listed_and_a_wrong_name_is_told_them() {
    let list = text(&lesson(&[]));
    let wrong = lesson(&["nonsense"]);
    assert_eq!(wrong.status.code(), Some(2));
    let told = String::from_utf8(wrong.stderr).unwrap();
    for name in FOUND_BY_CHECK.iter().chain(&OTHERS) {
        assert!(list.contains(&format!("\n  {name} ")), "{name}: {list}");
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[test]
fn many_threads_are_no_more_than_the_limits_allow_and_the_lesson_says_so() {
    for (limit, code) in [(300, 0), (100, 1)] {
        let script = format!("ulimit -n {limit} && exec {PROGRAM} lesson thread-per-connection");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let told = text(&output) + &String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("the limit of open files, ulimit -n"), "{told}");
    }
}
