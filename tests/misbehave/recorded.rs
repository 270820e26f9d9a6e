//! The journal of faults (`--fault-journal`), and its replay (`--replay`).

use std::{
    fs,
    io::Write,
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    End,
    common::{Daemon, PATIENCE, frame, ping, resound},
    frames, is_reset_at_once, read_to_end,
};

/// A file of one test, which goes with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let file = format!("resound-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(file))
    }

    pub(crate) fn with(name: &str, text: &str) -> Self {
        let file = Self::new(name);
        fs::write(&file.0, text).unwrap();
        file
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// What a client gets that sends fifty frames to this listener of the daemon, and FIN.
fn client(daemon: &Daemon, listener: usize) -> (Vec<u8>, End) {
    let payloads: Vec<Vec<u8>> = (0..50_u8).map(|number| vec![number; 3]).collect();
    let input = frames(&payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut stream = TcpStream::connect(daemon.address(listener)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&input).unwrap();
    // The server may have reset the connection already.
    let _ = stream.shutdown(Shutdown::Write);
    read_to_end(&mut stream)
}

/// What three clients of each of two listeners get, one after the other, and the journal.
fn recorded(name: &str, keys: [&str; 2], arguments: &[&str]) -> (Vec<(Vec<u8>, End)>, String) {
    let journal = Scratch::new(name);
    let listen = keys.map(|keys| format!("frames://127.0.0.1:0{keys}"));
    let listen = ["frames://127.0.0.1:0", &listen[0], &listen[1]];
    let daemon =
        Daemon::start(&listen, &[&["--fault-journal", journal.path()], arguments].concat());
    let got = (0..6).map(|index| client(&daemon, 1 + index % 2)).collect();
    // All of it is written when the daemon has ended.
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    (got, journal.text())
}

const PLANS: [&str; 2] = [
    ",fault=drop@20%+corrupt=1@30%+delay=1ms..3ms@5%+garbage=2@5%+reset=3@45#3",
    ",fault=dup@10%#50%+swap@5%+slice=1..3@10%+accept-delay=1ms#1+fin=4@40..50#2",
];

fn seeded(seed: u64) -> [String; 2] {
    PLANS.map(|plan| format!("{plan},seed={seed}"))
}

#[test]
fn one_seed_writes_one_journal_and_a_replay_gives_the_same_bytes_and_the_same_journal() {
    let run = |name: &str, seed: u64, arguments: &[&str]| {
        let [one, two] = seeded(seed);
        recorded(name, [&one, &two], arguments)
    };
    let (got, journal) = run("first", 7, &[]);
    assert_eq!(run("second", 7, &[]), (got.clone(), journal.clone()));
    // Also where several loops accept the connections.
    assert_eq!(run("loops", 7, &["--reactors", "3"]), (got.clone(), journal.clone()));
    assert_ne!(run("other", 8, &[]).1, journal);

    let file = Scratch::with("replayed", &journal);
    let replay = |arguments: &[&str]| {
        recorded("replay", ["", ""], &[&["--replay", file.path()], arguments].concat())
    };
    assert_eq!(replay(&[]), (got.clone(), journal.clone()));
    assert_eq!(replay(&["--reactors", "3"]), (got.clone(), journal.clone()));

    // The journal decides, and nothing else does: without its drops nothing is dropped.
    let rest: Vec<&str> = journal.lines().filter(|line| !line.contains("\"drop\"")).collect();
    let file = Scratch::with("shortened", &rest.join("\n"));
    let (less, _) = recorded("less", ["", ""], &["--replay", file.path()]);
    let count = |what: &str| {
        let of_first = |line: &&Value| line["listener"] == 2 && line["connection"] == 1;
        lines(&journal).iter().filter(of_first).filter(|line| line["fault"] == what).count()
    };
    assert!(count("drop") > 0);
    assert_eq!(got[0].0.len() - 2 * count("garbage=2"), 7 * (50 - count("drop")));
    assert_eq!(less[0].0.len() - 2 * count("garbage=2"), 7 * 50);
}

fn lines(journal: &str) -> Vec<Value> {
    journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_journal_says_what_happened_in_order_and_counts_the_retries() {
    let journal = Scratch::new("retries");
    let listen = "frames://127.0.0.1:0,fault=reset=3@12#1+reset-on-accept#2..3";
    let daemon = Daemon::start(&[listen], &["--fault-journal", journal.path()]);
    // A client that tries again until it has its answers.
    let (answered, end) = client(&daemon, 0);
    assert_eq!((answered.len(), end), (11 * 7 + 3, End::Reset));
    assert!(is_reset_at_once(&daemon) && is_reset_at_once(&daemon));
    assert_eq!(client(&daemon, 0).0.len(), 50 * 7);
    assert!(daemon.stop().status.success());
    let opened =
        |connection: u64| json!({"event": "opened", "listener": 1, "connection": connection});
    let fault = |connection: u64, frame: u64, byte: u64, fault: &str| json!({"event": "fault", "listener": 1, "connection": connection, "frame": frame, "byte": byte, "fault": fault});
    let expected = [
        opened(1),
        fault(1, 12, 80, "reset=3"),
        opened(2),
        fault(2, 0, 0, "reset-on-accept"),
        opened(3),
        fault(3, 0, 0, "reset-on-accept"),
        opened(4),
    ];
    assert_eq!(lines(&journal.text()), expected);
}

#[test]
fn times_are_in_the_journal_if_they_are_asked_for_and_a_replay_ignores_them() {
    let journal = Scratch::new("times");
    let arguments = ["--fault-journal", journal.path(), "--fault-journal-times"];
    let daemon = Daemon::start(&["frames://127.0.0.1:0,fault=delay=20ms@1..2"], &arguments);
    let mut stream = daemon.connect();
    ping(&mut stream);
    ping(&mut stream);
    drop(stream);
    assert!(daemon.stop().status.success());
    let text = journal.text();
    let lines = lines(&text);
    assert_eq!(lines.len(), 3, "{text}");
    for line in lines {
        // As in 2026-01-02T03:04:05.678901Z.
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && &time[10..11] == "T", "{text}");
    }
    let daemon = Daemon::start(&["frames://127.0.0.1:0"], &["--replay", journal.path()]);
    ping(&mut daemon.connect());
    let ended = daemon.stop();
    assert!(ended.stdout.contains(": replay of 2 faults\n"), "{ended:?}");
}

#[test]
fn files_that_are_wrong_end_the_start_with_the_cause_and_leave_the_journal_as_it_is() {
    let foreign = r#"{"event":"fault","listener":2,"connection":1,"frame":1,"fault":"drop"}"#;
    let foreign = Scratch::with("foreign", foreign);
    let bad = Scratch::with(
        "bad",
        r#"{"event":"fault","listener":1,"connection":1,"frame":1,"fault":"dr"}"#,
    );
    let head = r#"{"event":"fault","listener":1,"connection":1,"frame":1,"fault":"length=+1"}"#;
    let head = Scratch::with("head", head);
    let kept = Scratch::with("kept", "kept\n");
    let frames = "frames://127.0.0.1:0";
    for (listen, arguments, code, says) in [
        (frames, ["--replay", "/nowhere/journal"], 1, "--replay /nowhere/journal: No such file"),
        (frames, ["--replay", foreign.path()], 2, "faults for listener 2, which does not exist"),
        (frames, ["--replay", bad.path()], 1, "line 1: fault \"dr\": no fault \"dr\"; there is"),
        ("lines://127.0.0.1:0", ["--replay", head.path()], 2, "lines cannot have it"),
        ("udp://127.0.0.1:0", ["--replay", head.path()], 2, "datagrams cannot have it"),
        (
            "frames://:0,fault=drop",
            ["--replay", head.path()],
            2,
            "leave out fault=, seed= and client-faults=",
        ),
        (
            frames,
            ["--fault-journal", "/nowhere/journal"],
            1,
            "--fault-journal /nowhere/journal: No",
        ),
        (frames, ["--fault-journal-times", "--reactors=1"], 2, "--fault-journal <FILE>"),
    ] {
        let mut command = resound();
        command.args(["serve", "-l", listen]).args(arguments);
        if arguments[0] == "--replay" {
            command.args(["--fault-journal", kept.path()]);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
        assert_eq!(kept.text(), "kept\n", "{arguments:?}");
    }
}

#[test]
fn a_journal_that_cannot_be_written_is_a_failure_at_the_end() {
    let full = "/dev/full";
    assert!(Path::new(full).exists(), "Linux has it");
    let listen = "frames://127.0.0.1:0,fault=drop@2";
    let daemon = Daemon::start(&[listen], &["--fault-journal", full]);
    let mut stream = daemon.connect();
    ping(&mut stream);
    // It serves on.
    stream.write_all(&frame(b"dropped")).unwrap();
    ping(&mut stream);
    drop(stream);
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let says = "the journal of faults is not complete: it cannot be written: No space left";
    assert!(ended.stderr.contains(says), "{ended:?}");
}
