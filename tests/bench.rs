//! `resound bench` as people run it, against servers that do right and servers that do wrong.

#[path = "bench/ended.rs"]
mod ended;
#[path = "bench/http.rs"]
mod http;
#[path = "bench/lies.rs"]
mod lies;
#[path = "bench/machines.rs"]
mod machines;
#[path = "bench/opening.rs"]
mod opening;
#[path = "bench/own_server.rs"]
mod own_server;
#[path = "bench/servers.rs"]
mod servers;
#[path = "bench/websocket.rs"]
mod websocket;

mod common;

use std::{path::PathBuf, process::Output, time::Duration};

use common::{Daemon, load::Run, resound};
use servers::{Manner, SIZE};

fn output(arguments: &[&str]) -> Output {
    resound().arg("bench").args(arguments).output().unwrap()
}

/// Runs a short load against `address`, and reads its report.
fn bench(address: &str, arguments: &[&str]) -> Run {
    let size: &[&str] = if arguments.contains(&"--size") { &[] } else { &["--size", SIZE] };
    Run::new(address, &[size, arguments].concat())
}

fn against(manner: Manner, arguments: &[&str]) -> Run {
    bench(&servers::start(manner).to_string(), arguments)
}

/// Repeats a run for longer and longer, until it has this many errors of this name: on a slow machine a short run may end
/// before the frame at which the server gets something wrong. `run` starts a server and loads it for as long as it is told.
fn until_errors(name: &str, errors: f64, run: impl Fn(&str) -> Run) -> Run {
    for duration in ["300ms", "2s", "10s"] {
        let run = run(duration);
        if run.errors(name) >= errors {
            return run;
        }
    }
    run("60s")
}

/// Repeats a run for longer and longer, until frames have come back in it: a machine with much else to do may let none come
/// back for half a second.
fn until_frames(run: impl Fn(&str) -> Run) -> Run {
    for duration in ["500ms", "2s", "10s"] {
        let run = run(duration);
        if run.report["frames"].as_u64() > Some(0) {
            return run;
        }
    }
    run("60s")
}

/// A file of one test's own, which goes when the test does.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("resound-bench-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A test that has failed may not have come to make it.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn an_echo_server_passes_and_every_field_is_there() {
    let run = against(Manner::Echo, &["-z", "1s", "-c", "4", "--fail-if", "errors>0"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.number("/schema"), 1.0);
    assert_eq!(run.number("/errors"), 0.0);
    let count = run.number("/latency_us/count");
    assert!(count > 0.0 && run.number("/frames") > 0.0 && run.number("/frames_per_s") > 0.0);
    assert!(run.number("/client_cpu_share") > 0.0);
    let of = |name| run.number(&format!("/latency_us/{name}"));
    let ordered = ["p50", "p90", "p99", "p99_9", "p99_99", "max"].map(of);
    assert!(ordered.is_sorted() && ordered[0] > 0.0 && of("mean") <= of("max"), "{run:?}");
    for name in [
        "TIMEOUT",
        "REFUSED",
        "RESET",
        "CLOSED",
        "MISMATCH",
        "TRUNCATED",
        "DROPPED",
        "REORDERED",
        "DUPLICATE",
        "SURPLUS",
        "UNREACHABLE",
        "TLS",
        "UNOPENED",
        "ENDED",
        "HUNG",
    ] {
        assert_eq!(run.errors(name), 0.0);
    }
    assert_eq!(run.number("/config/connections"), 4.0);
    assert!(!run.report["windows"].as_array().unwrap().is_empty());
    assert!(!run.report["distribution"].as_array().unwrap().is_empty());
    assert!(run.stderr.contains("p99.99"), "the report for people too: {}", run.stderr);
}

#[test]
fn frames_larger_than_the_send_buffer_go_in_parts_and_come_back_whole() {
    for (listen, size) in
        [("frames://127.0.0.1:0", "100000"), ("udp://127.0.0.1:0,rate=0,loop-guard=off", "1000")]
    {
        let daemon = Daemon::start(&[listen], &[]);
        let target = daemon.listening[0].split(',').next().unwrap();
        let run = until_frames(|time| {
            bench(target, &["-z", time, "-c", "1", "--size", size, "--sndbuf", "5000"])
        });
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(run.number("/config/sndbuf"), 5000.0, "{run:?}");
    }
}

#[test]
fn a_load_that_runs_into_the_loop_guard_is_told_so() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0,rate=0"], &[]);
    let target = daemon.listening[0].split(',').next().unwrap();
    let run = bench(target, &["-c", "1", "--depth", "8", "-z", "3s", "--timeout", "500ms"]);
    let guarded = run.number("/guard_losses");
    assert!(guarded > 0.0 && run.number("/errors_by_name/TIMEOUT") >= guarded, "{run:?}");
    assert!(run.stderr.contains("the loop guard of resound serve drops these"), "{run:?}");
}

#[test]
fn every_wire_dialect_and_mix_comes_back_whole() {
    let socket = File::new("socket");
    let daemon = Daemon::start(
        &[
            "frames://127.0.0.1:0",
            "frames://127.0.0.1:0,preset=postgres",
            "raw://127.0.0.1:0",
            "udp://127.0.0.1:0,rate=0,loop-guard=off",
            &format!("frames+unix://{},length=varint", socket.path()),
        ],
        &[],
    );
    for (index, keys, more) in [
        (0, "", &["-c", "3", "--size", "0-300:90%,200KiB:10%", "--depth", "5"][..]),
        (1, ",preset=postgres", &["-c", "3", "--rate", "2k", "--arrivals", "poisson"]),
        (2, "", &["--size", "1MiB", "--depth", "8", "-c", "2"]),
        (3, "", &["-c", "3", "--size", "8-1400", "--threads", "2"]),
        (4, ",length=varint", &["-c", "3", "--size", "100-200", "--threads", "2", "--depth", "3"]),
    ] {
        let place = daemon.listening[index].split(',').next().unwrap();
        let run = until_frames(|duration| {
            let arguments = [&["-z", duration, "--timeout", "60s"], more].concat();
            bench(&format!("{place}{keys}"), &arguments)
        });
        assert_eq!(run.code, Some(0), "{place}: {run:?}");
        assert!(run.number("/errors") == 0.0 && run.number("/latency_us/count") > 0.0, "{run:?}");
    }
}

#[test]
fn a_stall_shows_in_p99_of_an_open_loop() {
    let stall =
        Manner::Stall { after: Duration::from_millis(200), stall: Duration::from_millis(100) };
    // Long enough that the stall is within it also if its thread wakes up late.
    let run = against(stall, &["-z", "2s", "-c", "4", "--rate", "2k"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let p99 = run.number("/latency_us/p99");
    assert!(p99 > 50_000.0, "100 ms of 2 s must be in p99: {p99} µs");
    assert!(!run.warnings().contains("coordinated omission"), "{run:?}");
}

#[test]
fn a_stall_that_a_closed_loop_cannot_show_is_explained() {
    // A machine that is busy otherwise can stall both on its own; then it tries again.
    for _ in 0..10 {
        let stall =
            Manner::Stall { after: Duration::from_millis(200), stall: Duration::from_millis(300) };
        let run = against(stall, &["-z", "1s", "-c", "1"]);
        let (p99, max) = (run.number("/latency_us/p99"), run.number("/latency_us/max"));
        if p99 < 100_000.0 && max > 200_000.0 {
            assert!(run.warnings().contains("coordinated omission"), "{run:?}");
            assert!(run.warnings().contains("--rate"), "the remedy: {run:?}");
            return;
        }
    }
    panic!(
        "in none of ten runs the stall was what took longest, and one frame of a hundred took less than 100 ms"
    );
}

#[test]
fn one_wrong_byte_in_a_million_is_found_and_shown() {
    let byte = 1_000_003;
    let arguments = ["-c", "1", "--depth", "64", "--size", "4092", "--fail-if", "MISMATCH>0"];
    let run = until_errors("MISMATCH", 1.0, |duration| {
        against(Manner::Corrupt { byte }, &[&["-z", duration], &arguments[..]].concat())
    });
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.errors("MISMATCH") >= 1.0, "{run:?}");
    let shown = run.report["first_difference"].as_str().unwrap();
    let frame = byte / 4096;
    let within = byte % 4096;
    assert!(shown.contains(&format!("byte {byte} of the connection")), "{shown}");
    assert!(shown.contains(&format!("byte {within} of frame {frame} (4096 bytes)")), "{shown}");
    assert!(shown.contains("1 byte differs") && shown.contains("^^"), "{shown}");
}

#[test]
fn each_wrong_answer_has_its_name_and_exit_code_1() {
    for (manner, name) in [
        (Manner::Corrupt { byte: 1000 }, "MISMATCH"),
        (Manner::Truncate { byte: 1000 }, "TRUNCATED"),
        (Manner::Reorder { frame: 20 }, "REORDERED"),
        (Manner::CloseWithin { frames: 20 }, "TRUNCATED"),
    ] {
        let run = until_errors(name, 2.0, |duration| {
            let address = servers::start_wrong_twice(manner.clone()).to_string();
            bench(&address, &["-z", duration, "-c", "2", "--depth", "16"])
        });
        assert_eq!(run.code, Some(1), "{manner:?}: {run:?}");
        assert!(run.errors(name) >= 1.0, "{manner:?}: {run:?}");
        assert_eq!(run.errors(name), run.number("/errors"), "nothing else: {run:?}");
    }
}

#[test]
fn a_server_that_speaks_first_is_told_with_the_remedy() {
    let daemon = Daemon::start(&["raw://127.0.0.1:0"], &["--banner", "hello"]);
    let address = &daemon.listening[0];
    let run = until_errors("SURPLUS", 1.0, |duration| bench(address, &["-z", duration, "-c", "2"]));
    assert_eq!(run.code, Some(1), "{run:?}");
    let shown = run.report["first_difference"].as_str().unwrap();
    assert!(shown.contains("use a listener without one"), "{shown}");
}

#[test]
fn ends_that_come_too_early_are_counted_by_name() {
    for (manner, name) in
        [(Manner::Close { frames: 20 }, "CLOSED"), (Manner::Reset { frames: 20 }, "RESET")]
    {
        let run = until_errors(name, 2.0, |duration| {
            against(manner.clone(), &["-z", duration, "-c", "2"])
        });
        assert_eq!(run.code, Some(0), "{manner:?}: {run:?}");
        assert!(run.errors(name) >= 2.0, "{manner:?}: {run:?}");
    }
}

#[test]
fn no_answer_at_all_is_a_timeout_for_each_frame() {
    let run =
        against(Manner::Silent, &["-z", "1s", "-c", "3", "--depth", "2", "--timeout", "100ms"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.errors("TIMEOUT") >= 6.0, "{run:?}");
    assert_eq!(run.number("/latency_us/count"), run.number("/unanswered"), "{run:?}");
    assert!(run.number("/latency_us/p50") >= 100_000.0, "each waited for the timeout: {run:?}");
    assert!(run.warnings().contains("no frame came back"), "{run:?}");
    assert!(run.errors("HUNG") >= 1.0 && run.number("/down_s") > 0.0, "{run:?}");
}

#[test]
fn a_target_that_refuses_says_so_at_once() {
    let (_socket, unused) = common::deserted();
    let run = bench(&unused.to_string(), &["-z", "1h"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.stderr.contains("nothing listens there") && run.stderr.contains("resound serve"),
        "{run:?}"
    );
}

#[test]
fn wrong_words_exit_with_2_and_the_remedy() {
    for (arguments, says) in [
        (&["-c", "0"][..], "use at least 1, or --hold"),
        (&["--size", "9-1"], "the range runs backwards"),
        (&["--size", "1KiB", ":1,length=u8"], "over the limit of 255"),
        (&["--fail-if", "p98>1ms"], "nothing that is measured"),
        (&["--rate", "fast"], "50k"),
        (&["--arrivals", "poisson"], "--rate"),
        (&["gopher://:1"], "there is frames, lines, raw, http, ws, udp"),
        (&["raw://"], "has no port to connect to"),
        (&["udp://:1", "--churn", "3"], "datagrams have none"),
        (&["--hold", "100000000"], "ulimit -n"),
        (&["versus", "--server", "x"], "give --server 'CMD' twice"),
        (&["compare"], "compare"),
    ] {
        let output = output(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
}

#[test]
fn gates_exit_with_3_only_when_they_are_so() {
    let address = servers::start(Manner::Echo).to_string();
    let passed = bench(
        &address,
        &["-z", "500ms", "-c", "2", "--fail-if", "p99>1h", "--fail-if", "errors>0"],
    );
    assert_eq!(passed.code, Some(0), "{passed:?}");
    let failed = bench(&address, &["-z", "500ms", "-c", "2", "--fail-if", "rate<1000M"]);
    assert_eq!(failed.code, Some(3), "{failed:?}");
    assert!(failed.stderr.contains("--fail-if rate<1000M: the condition is met"), "{failed:?}");
}

#[test]
fn the_hdr_log_is_one_that_its_own_tools_read() {
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };
    let file = File::new("latencies.hlog");
    let run = against(Manner::Echo, &["-z", "1s", "-c", "2", "--hdr", file.path()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let log = std::fs::read(file.path()).unwrap();
    let mut count = 0;
    let mut highest = 0;
    for entry in IntervalLogIterator::new(&log) {
        let Ok(LogEntry::Interval(interval)) = entry else {
            assert!(entry.is_ok(), "{entry:?}");
            continue;
        };
        let bytes = base64_decoded(interval.encoded_histogram());
        let histogram: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        count += histogram.len();
        highest = highest.max(histogram.max());
    }
    assert_eq!(count as f64, run.number("/latency_us/count"));
    let max = run.number("/latency_us/max");
    assert!((highest as f64 / 1000.0 - max).abs() <= max / 500.0, "{highest} ns, {max} µs");
}

/// RFC 4648, without any leniency.
fn base64_decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|&letter| letter == character).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
        }
    }
    bytes
}

#[test]
fn compare_calls_the_same_noise_and_a_slowed_server_worse() {
    let (fast, slow) = (File::new("fast.json"), File::new("slow.json"));
    for (file, manner) in [(&fast, Manner::Echo), (&slow, Manner::Slow(Duration::from_millis(60)))]
    {
        let address = servers::start(manner).to_string();
        let arguments = [&address, "-z", "1s", "-c", "4", "--quiet", "--json", file.path()];
        let output = output(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let compared = |after: &File| {
        let output = output(&["compare", fast.path(), after.path()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let same = compared(&fast);
    assert_eq!(same.matches("noise:").count(), 3, "{same}");
    let slower = compared(&slow);
    assert!(slower.matches("worse:").count() >= 2, "{slower}");

    std::fs::write(slow.path(), "{\"schema\": 99}").unwrap();
    let output = output(&["compare", fast.path(), slow.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("has schema 99"));
}

#[test]
fn churn_opens_and_closes_and_nothing_is_lost() {
    let daemon = Daemon::frames(&[]);
    let run = bench(daemon.address(0), &["-z", "1s", "-c", "4", "--churn", "3", "--depth", "2"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.number("/errors"), 0.0, "{run:?}");
    assert!(
        run.number("/connections/cycles_per_s") > 0.0 && run.number("/connections/opened") > 4.0
    );
    let ended = daemon.stop();
    assert!(ended.status.success() && !ended.stdout.contains("cut short"), "{ended:?}");
}

#[test]
fn idle_connections_are_held_and_still_echo() {
    let daemon = Daemon::frames(&[]);
    let arguments = ["-z", "1s", "-c", "2", "--hold", "300", "--sources", "5", "--threads", "2"];
    let run = bench(daemon.address(0), &arguments);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.number("/connections/held"), 300.0, "{run:?}");
    assert_eq!(run.number("/connections/opened"), 302.0, "{run:?}");
}

#[test]
fn a_ramp_ends_at_a_knee() {
    // It takes 5 ms for each, so four connections with one frame in flight are good for 800 a second at most.
    let address = servers::start(Manner::Slow(Duration::from_millis(5))).to_string();
    let arguments = ["-z", "150ms", "-c", "4", "--depth", "1", "--rate", "50", "--ramp", "p50<1s"];
    let run = bench(&address, &arguments);
    assert_eq!(run.code, Some(0), "{run:?}");
    let steps = run.report["ramp"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["held"] == false), "{run:?}");
    assert!(
        steps.iter().all(|step| step["held"] == false || step["rate"].as_f64() < Some(900.0)),
        "{run:?}"
    );
}

#[test]
fn the_page_is_written_whole() {
    let file = File::new("report.html");
    let run = against(Manner::Echo, &["-z", "1s", "-c", "2", "--report", file.path()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let page = std::fs::read_to_string(file.path()).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</main>"));
    assert_eq!(page.matches("<svg").count(), 3);
}
