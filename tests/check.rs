//! `resound check`: resound passes it in each protocol and dialect; a server with one mistake fails in the case for that
//! mistake, and for its own reason; the reports and the errors.

mod common;

#[path = "check/sweep.rs"]
mod sweep;
#[path = "check/talk.rs"]
mod talk;

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    process::Output,
    sync::Mutex,
    thread,
};

use common::resound;
use resound::frame::{Dialect, presets};
use serde_json::Value;
use sweep::{Codec, Mistake as M};
use talk::{Dgram, Web, Ws};

const PROGRAM: &str = env!("CARGO_BIN_EXE_resound");

/// How long a case waits in a test of what is right: nothing depends on it, and the machine may be slow.
const PATIENT: &str = "60s";

/// How long it waits in a test of what is wrong.
const IMPATIENT: &str = "3s";

fn check(arguments: &[&str]) -> Output {
    resound().arg("check").args(arguments).output().unwrap()
}

/// The report of a check with `--json`, and the exit code.
fn report(arguments: &[&str]) -> (Value, Option<i32>) {
    let output = check(&[arguments, &["--json"]].concat());
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
    (report, output.status.code())
}

fn cases(report: &Value) -> &[Value] {
    report["cases"].as_array().unwrap()
}

/// Fails unless all cases passed.
fn passes(arguments: &[&str]) {
    let (report, code) = report(&[arguments, &["--timeout", PATIENT]].concat());
    let others: Vec<String> = cases(&report)
        .iter()
        // What needs a server of its own is skipped without one.
        .filter(|case| arguments.contains(&"--server") || case["result"] != "skipped")
        .filter(|case| case["result"] != "passed")
        .map(|case| format!("{case:#}").replace("\\n", "\n"))
        .collect();
    assert!(others.is_empty() && code == Some(0), "{arguments:?}: {}", others.join("\n"));
    assert!(!cases(&report).is_empty());
}

/// How many dialects are checked at once: a check waits most of its time.
const AT_ONCE: usize = 6;

/// Starts resound with that listener, whose address is left out, and lets it pass all cases.
fn resound_passes(protocol: &str, keys: &str) {
    let serve = format!("{PROGRAM} serve --listen {protocol}://127.0.0.1:0{keys}");
    passes(&["--server", &serve, &format!("{protocol}://{keys}")]);
}

#[test]
fn resound_passes_all_for_frames() {
    resound_passes("frames", "");
}

#[test]
fn resound_passes_all_for_lines() {
    resound_passes("lines", ",max=60KiB");
}

#[test]
fn resound_passes_all_for_raw() {
    resound_passes("raw", "");
}

#[test]
fn resound_passes_all_for_websocket() {
    resound_passes("ws", ",max=60KiB");
}

#[test]
fn resound_passes_all_for_http() {
    resound_passes("http", ",max=60KiB");
}

#[test]
fn resound_passes_all_for_udp() {
    resound_passes("udp", "");
}

#[test]
fn resound_passes_all_on_unix_sockets() {
    let path = format!("{}/check-{}.sock", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let listen = format!("frames+unix://{path},max=64KiB");
    passes(&["--server", &format!("{PROGRAM} serve --listen {listen}"), &listen]);
}

#[test]
fn resound_passes_all_in_each_dialect() {
    let fields = [
        "length=u16le",
        "length=u24be",
        "length=u64le,adjust=-8",
        "length=varint,max=300",
        "length=u16be,adjust=4",
        "length=gob",
    ];
    let presets = presets().iter().map(|preset| format!("preset={}", preset.name));
    let keys = Mutex::new(presets.chain(fields.map(str::to_owned)));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = keys.lock().unwrap().next();
                    let Some(keys) = next else { return };
                    resound_passes("frames", &format!(",{keys}"));
                }
            });
        }
    });
}

/// The servers that the mistakes are made in are right without them.
#[test]
fn small_servers_without_a_mistake_pass() {
    let small = ",max=64KiB";
    let dialect = Dialect::default().with_max(64 << 10).unwrap();
    let frames = sweep::start(Codec::Frames(dialect), M::None);
    passes(&[&format!("frames://{frames}{small}")]);
    passes(&[&format!("lines://{}", sweep::start(Codec::Lines, M::None))]);
    let fast = ["echo", "segments", "limits", "websocket", "http"];
    let only: Vec<&str> = fast.iter().flat_map(|group| ["--only", group]).collect();
    for address in
        [format!("ws://{}", talk::websocket(Ws::None)), format!("http://{}", talk::web(Web::None))]
    {
        passes(&[&[address.as_str()], &only[..]].concat());
    }
}

/// A case, where its broken server listens, and a part of what was expected or of what came instead (or several,
/// if the server is fast or slow to do it).
type Broken = (&'static str, String, &'static str);

/// Fails unless each case fails at its server, for that reason.
fn each_fails(broken: &[Broken]) {
    thread::scope(|scope| {
        for (case, address, reason) in broken {
            scope.spawn(move || fails(case, &[address], reason));
        }
    });
}

fn fails(case: &str, arguments: &[&str], reason: &str) {
    let (report, code) = report(&[arguments, &["--only", case, "--timeout", IMPATIENT]].concat());
    let [found] = cases(&report) else { panic!("{case}: {report:#}") };
    let told = format!("expected {}; got {}", found["expected"], found["got"]);
    assert!(
        found["result"] == "failed" && reason.split('|').any(|reason| told.contains(reason)),
        "{case}: {told}: {found:#}"
    );
    assert!(found["diagram"].as_str().unwrap().contains("expected  "), "{found:#}");
    assert_eq!(code, Some(1));
}

/// The default dialect with a limit of 64 KiB.
fn frames(mistake: M) -> String {
    dialect(mistake, "length=u32le,max=65536")
}

fn dialect(mistake: M, keys: &str) -> String {
    let listen: resound::listen::Listen = format!("frames://:1,{keys}").parse().unwrap();
    let mut parsed = resound::frame::Keys::default();
    for (key, value) in &listen.keys {
        match key.as_str() {
            "max" => parsed.set_max(value.parse().unwrap()),
            _ => parsed.set(key, value).unwrap(),
        }
    }
    let address = sweep::start(Codec::Frames(parsed.dialect().unwrap()), mistake);
    format!("frames://{address},{keys}")
}

fn lines(mistake: M) -> String {
    format!("lines://{}", sweep::start(Codec::Lines, mistake))
}

fn at(protocol: &str, address: SocketAddr) -> String {
    format!("{protocol}://{address}")
}

const NOTHING: &str = "nothing more for 3s";

/// What a client finds that is not served: the whole server has ended, or it took others only.
const ENDED: &str = "cannot connect|FIN|RST|Broken pipe|reset by peer";

fn broken_payloads() -> Vec<Broken> {
    vec![
        ("one-message", frames(M::ChangesLetters), "byte 5 is 48 instead of 68"),
        ("empty-message", frames(M::EndsAtAnEmptyMessage), "FIN"),
        ("every-byte-value", frames(M::DecodesAsAscii), "is 3f instead of 80"),
        ("sizes-around-powers-of-two", frames(M::SpoilsLongerThan4096), "byte 4101 is"),
        ("largest-message", frames(M::LimitOffByOne), "FIN"),
        ("ping-pong", frames(M::HoldsOutputBack), NOTHING),
        ("line-ends", lines(M::ChangesLetters), "55 4e 49 58 0a"),
        (
            "bytes-before-the-length",
            dialect(M::ForgetsWhatIsBeforeTheLength, "preset=grpc"),
            "byte 1 is 00 instead of 41",
        ),
    ]
}

fn broken_segments() -> Vec<Broken> {
    vec![
        ("one-byte-at-a-time", frames(M::OneReadIsOneMessage), NOTHING),
        ("many-in-one-segment", frames(M::OneMessageARead), NOTHING),
        // RST, if the rest of the head has come before it closes.
        ("head-split-at-each-byte", frames(M::HeadInOneRead), "FIN|RST"),
        ("one-and-a-half", frames(M::OnlyWholeReads), NOTHING),
        ("end-and-beginning-together", frames(M::DropsTheRestOfARead), "FIN|nothing more"),
        ("thousands-in-flight", frames(M::LosesOneOfThousands), "instead of"),
        ("small-reader", frames(M::ForgetsShortWrites), "instead of|nothing more|missing"),
        ("urgent-byte", frames(M::UrgentInline), NOTHING),
    ]
}

fn broken_limits() -> Vec<Broken> {
    vec![
        ("over-the-limit", frames(M::NoLimit), NOTHING),
        // FIN, if it has read all that had come.
        ("answers-before-a-refusal", frames(M::ClosesWithAnswersOwed), "RST|FIN"),
        ("refusals-beside-a-client", frames(M::EndsAtABadLength), ENDED),
        ("negative-length", frames(M::NegativeIsNone), "ff ff ff ff"),
        ("length-below-its-head", dialect(M::TooSmallIsNone, "preset=postgres"), "00 00 00 00 00"),
        ("overlong-varint", dialect(M::WaitsForTheVarint, "length=varint"), NOTHING),
    ]
}

fn broken_ends() -> Vec<Broken> {
    vec![
        ("fin-at-once", frames(M::EndIsNoData), NOTHING),
        ("fin-behind-a-message", frames(M::AnswersAtTheNextRead), "FIN"),
        ("fin-after-an-answer", frames(M::EndIsNoData), NOTHING),
        ("fin-inside-a-head", frames(M::WaitsForTheHead), NOTHING),
        ("fin-inside-a-payload", frames(M::EchoesTheCutPart), "FIN, and nothing before it"),
        ("fin-inside-a-line", lines(M::WaitsForTheHead), NOTHING),
        ("fin-behind-much", frames(M::DropsOutputAtTheEnd), "FIN"),
        ("rst-at-once", frames(M::EndsAtAResetInTheBacklog), ENDED),
        ("rst-after-an-answer", frames(M::EndsAtReadErrors), ENDED),
        ("rst-inside-a-message", frames(M::EndsAtReadErrors), ENDED),
        ("rst-with-answers-unread", frames(M::EndsAtWriteErrors), ENDED),
        ("gone-before-the-answer", frames(M::EndsAtWriteErrors), ENDED),
    ]
}

fn broken_fairness() -> Vec<Broken> {
    vec![
        ("never-reads", frames(M::BlocksInWrite), NOTHING),
        ("bounded-output", frames(M::BuffersWithoutBound), "MiB were taken"),
        ("never-pauses", frames(M::StaysWithASender), NOTHING),
        ("waits-inside-a-message", frames(M::WaitsInsideAMessage), NOTHING),
        ("says-nothing", frames(M::GreetsTheSilent), "05 00 00 00 68 65 6c 6c 6f"),
        ("a-thousand-connections", frames(M::At500), ENDED),
        ("one-after-the-other", frames(M::LeaksSlots), "13 bytes"),
        ("all-at-once", at("frames", talk::one_accept_an_event()), NOTHING),
    ]
}

fn broken_talk() -> Vec<Broken> {
    let ws = |mistake| at("ws", talk::websocket(mistake));
    let web = |mistake| at("http", talk::web(mistake));
    let udp = |mistake| at("udp", talk::datagrams(mistake));
    vec![
        ("text-stays-text", ws(Ws::AllIsBinary), "binary of 7 bytes"),
        ("fragments", ws(Ws::FirstFragmentOnly), "missing"),
        ("ping-between-fragments", ws(Ws::NoPong), NOTHING),
        ("close-is-answered", ws(Ws::NoCloseFrame), "FIN"),
        ("frame-without-mask", ws(Ws::TakesUnmasked), "binary of 5 bytes"),
        ("text-that-is-not-utf-8", ws(Ws::TakesAnyBytesAsText), "text of 2 bytes"),
        ("reserved-opcode", ws(Ws::TakesAnyOpcode), "reserved opcode 3"),
        ("chunked-body", web(Web::ChunksAreTheBody), "byte 1 is 35 instead of 68"),
        ("expect-continue", web(Web::NoContinue), NOTHING),
        ("connection-close", web(Web::KeepsAlive), NOTHING),
        ("two-lengths", web(Web::TakesTheFirstLength), "status 200"),
        ("no-request-at-all", web(Web::WaitsForARequest), NOTHING),
        ("one-answer-each", udp(Dgram::JoinsTwo), "too many"),
        ("to-the-source", udp(Dgram::AnswersTheFirstSource), "nothing more for 3s|instead of"),
        ("source-is-gone", udp(Dgram::EndsAtAnError), "datagram"),
    ]
}

/// These are run as processes of their own.
fn broken_processes() -> Vec<(&'static str, M, &'static str)> {
    vec![
        ("idle-uses-no-cpu", M::Spins, "% of a CPU"),
        ("blocked-uses-no-cpu", M::SpinsWhileBlocked, "% of a CPU"),
        ("memory-follows-bytes", M::ReservesWhatIsAnnounced, "MiB more memory|nothing more"),
        (
            "out-of-descriptors",
            M::EndsOutOfDescriptors,
            "the server ended (exit status 1)|RST|FIN|cannot connect",
        ),
        ("descriptors-are-back", M::NeverAcceptsAgain, NOTHING),
        ("sigterm-in-flight", M::None, "RST"),
        ("sigterm-when-idle", M::None, NOTHING),
    ]
}

#[test]
fn mistakes_with_payloads_are_found() {
    each_fails(&broken_payloads());
}

#[test]
fn mistakes_with_segments_are_found() {
    each_fails(&broken_segments());
}

#[test]
fn mistakes_with_lengths_are_found() {
    each_fails(&broken_limits());
}

#[test]
fn mistakes_with_ends_and_resets_are_found() {
    each_fails(&broken_ends());
}

#[test]
fn mistakes_with_other_clients_are_found() {
    each_fails(&broken_fairness());
}

#[test]
fn mistakes_of_websocket_http_and_udp_are_found() {
    each_fails(&broken_talk());
    // The same cases over other protocols.
    each_fails(&[
        ("one-message", at("ws", talk::websocket(Ws::WrongHash)), "Sec-WebSocket-Accept"),
        ("largest-message", at("udp", talk::datagrams(Dgram::CutsAt1500)), "missing"),
        ("empty-message", at("udp", talk::datagrams(Dgram::SkipsEmpty)), NOTHING),
        ("fin-at-once", lines(M::EndIsNoData), NOTHING),
    ]);
}

const MISTAKES: [(&str, M); 6] = [
    ("none", M::None),
    ("spins", M::Spins),
    ("spins-while-blocked", M::SpinsWhileBlocked),
    ("reserves", M::ReservesWhatIsAnnounced),
    ("ends", M::EndsOutOfDescriptors),
    ("never-again", M::NeverAcceptsAgain),
];

/// The limit of those processes: long enough for memory to show.
const LIMIT: u64 = 4 << 20;

/// This is no test by itself: the next one runs it as a server.
#[test]
fn a_broken_process() {
    let (Ok(mistake), Ok(port)) = (std::env::var("BROKEN"), std::env::var("PORT")) else { return };
    let mistake = MISTAKES.iter().find(|(name, _)| *name == mistake).unwrap().1;
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    let dialect = Dialect::default().with_max(LIMIT).unwrap();
    sweep::Sweep::new(listener, Codec::Frames(dialect), mistake).run();
}

#[test]
fn mistakes_with_resources_and_signals_are_found() {
    let this = std::env::current_exe().unwrap();
    for (case, mistake, reason) in broken_processes() {
        let name = MISTAKES.iter().find(|(_, one)| *one == mistake).unwrap().0;
        let ignores = if case == "sigterm-when-idle" { "trap '' TERM; " } else { "" };
        let server = format!(
            "{ignores}BROKEN={name} PORT={{port}} exec {} --exact a_broken_process --nocapture",
            this.display()
        );
        fails(case, &["--server", &server, &format!("frames://,max={LIMIT}")], reason);
    }
}

/// The name and the scope in a line of `--list`, if it is the first of a case.
fn listed_case(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
    line.strip_suffix(')')?.split_once(" (")
}

/// docs/check.md has a row for each case, with the words of `--list`.
#[test]
fn the_document_has_each_case_as_it_is_listed() {
    let document = include_str!("../docs/check.md");
    let listed = String::from_utf8(check(&["--list"]).stdout).unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    let mut rows = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some((name, scope)) = listed_case(line) else { continue };
        let why = lines[index + 1].trim();
        let right = lines[index + 2].trim().strip_prefix("A correct server: ").unwrap();
        let row = format!("| `{name}` | {scope} | {why} | {right} |");
        assert!(document.contains(&row), "docs/check.md has no row: {row}");
        rows += 1;
    }
    let (_, section) = document.split_once("\n## The cases\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    assert_eq!(section.matches("\n| `").count(), rows, "there are rows for no case");
}

/// A case that no broken server is for could be one that never fails.
#[test]
fn each_case_has_a_server_that_fails_it() {
    let listed = String::from_utf8(check(&["--list"]).stdout).unwrap();
    let listed: BTreeSet<&str> =
        listed.lines().filter_map(listed_case).map(|(name, _)| name).collect();
    let broken = [
        broken_payloads(),
        broken_segments(),
        broken_limits(),
        broken_ends(),
        broken_fairness(),
        broken_talk(),
    ];
    let mut failed: BTreeSet<&str> = broken.iter().flatten().map(|(case, ..)| *case).collect();
    failed.extend(broken_processes().iter().map(|(case, ..)| *case));
    assert_eq!(listed, failed);
}

#[test]
fn a_failure_is_shown_as_a_sequence_of_steps() {
    let output = check(&[&frames(M::HoldsOutputBack), "--only", "ping-pong", "--timeout", "300ms"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "FAIL  echo/ping-pong\n",
        "why it matters: A server that buffers its output must flush it",
        "a correct server: Answers each of 200 messages",
        "ms  a         connect ──▶\n",
        "a         13 bytes: 09 00 00 00 70 69 6e 67 20 30 30 30… \"....ping 000\" ──▶\n",
        "expected  13 bytes: 09 00",
        "got       nothing more for 300ms\n",
        "1 case in ",
        "0 passed, 1 failed, 0 skipped",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn each_format_says_the_same() {
    let address = frames(M::EndIsNoData);
    let run = |format: &str| {
        let only = ["--only", "half-close", "--only", "resources", "--timeout", "300ms"];
        let output = check(&[&[address.as_str(), format], &only[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        let lines = String::from_utf8(output.stderr).unwrap();
        assert!(lines.contains("FAIL  half-close/fin-at-once"), "{lines}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&run("--json")).unwrap();
    let count = |result: &str| cases(&json).iter().filter(|case| case["result"] == result).count();
    let (failed, skipped) = (count("failed"), count("skipped"));
    assert!(
        failed >= 3 && skipped == 4 && count("passed") == cases(&json).len() - failed - skipped
    );
    assert_eq!(
        cases(&json).last().unwrap()["reason"].as_str().unwrap().split(',').next(),
        Some("needs --server")
    );

    let tap = run("--tap");
    let ok = tap.lines().filter(|line| line.starts_with("ok ")).count();
    let not_ok = tap.lines().filter(|line| line.starts_with("not ok ")).count();
    assert!(tap.starts_with(&format!("TAP version 14\n1..{}\n", cases(&json).len())), "{tap}");
    assert_eq!((ok, not_ok), (cases(&json).len() - failed, failed), "{tap}");
    assert_eq!(tap.matches(" # SKIP needs --server").count(), skipped, "{tap}");

    let junit = run("--junit");
    assert_eq!(junit.matches("<testcase ").count(), cases(&json).len(), "{junit}");
    assert_eq!(
        (junit.matches("<failure ").count(), junit.matches("<skipped ").count()),
        (failed, skipped)
    );
    assert!(junit.contains(&format!("failures=\"{failed}\" skipped=\"{skipped}\"")), "{junit}");
    if let Some(python) = common::tool("python3") {
        let parse =
            "import sys, xml.dom.minidom as x; print(x.parse(sys.stdin).documentElement.tagName)";
        let mut parser = std::process::Command::new(python)
            .args(["-c", parse])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut parser.stdin.take().unwrap(), junit.as_bytes()).unwrap();
        let output = parser.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"testsuite\n");
    }
}

#[test]
fn what_is_wrong_on_the_command_line_is_told_the_remedy() {
    for (arguments, says) in [
        (&["raw://"][..], "--server 'CMD'"),
        (&[":1", "--only", "limts"], "there are the groups echo, segments"),
        (
            &["raw://:1", "--only", "datagrams"],
            "none of --only datagrams applies to raw://127.0.0.1:1",
        ),
        (&["raw://:1,max=3"], "leave out all keys"),
        (&[":1", "--timeout", "0s"], "use a time like 5s"),
        (&[":1", "--tap", "--json"], "cannot be used with"),
    ] {
        let output = check(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = check(&[&at("raw", unused)]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("cannot connect"), "{stderr}");
}
