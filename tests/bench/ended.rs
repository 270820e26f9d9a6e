//! Servers that end or hang under load: an error with a name, and no number that hides it.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Run,
    common::{Daemon, fixed_address, resound},
};

/// Loads `daemon`, and does `harm` to it after the first second; `harm` also gets the lines of progress from then on.
fn harmed(
    daemon: &Daemon,
    harm: impl FnOnce(&Daemon, &mut dyn Iterator<Item = String>),
    arguments: &[&str],
) -> Run {
    let mut child = resound()
        .args(["bench", &daemon.listening[0], "--warm-up", "0s", "--json", "-"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("frames/s")));
    harm(daemon, &mut lines);
    let rest = thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
    let output = child.wait_with_output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Run { code: output.status.code(), report, stderr: rest.join().unwrap() }
}

fn kill(daemon: &Daemon, _: &mut dyn Iterator<Item = String>) {
    daemon.signal(Signal::KILL);
}

fn pause(daemon: &Daemon, _: &mut dyn Iterator<Item = String>) {
    daemon.pause();
}

#[test]
fn a_server_that_was_killed_is_an_error_and_the_rate_says_for_how_long_it_was_down() {
    for more in [&["-c", "4"][..], &["-c", "4", "--threads", "2"], &["-c", "4", "--churn", "2"]] {
        let daemon = Daemon::frames(&[]);
        let run = harmed(&daemon, kill, &[&["-z", "5s"], more].concat());
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(run.errors("ENDED"), 1.0, "{run:?}");
        assert_eq!(run.errors("HUNG"), 0.0, "{run:?}");
        let down = run.number("/down_s");
        assert!(down > 0.0 && down < run.number("/duration_s"), "{run:?}");
        assert!(run.warnings().contains("the server was down for"), "{run:?}");
        assert!(run.stderr.contains("ENDED"), "{run:?}");
    }
}

#[test]
fn a_process_whose_number_was_given_ends_the_run_when_it_ends() {
    let daemon = Daemon::frames(&[]);
    let pid = daemon.pid().to_string();
    let run = harmed(&daemon, kill, &["-z", "1h", "-c", "4", "--server-pid", &pid]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.errors("ENDED"), 1.0, "{run:?}");
    assert_eq!(run.report["ended_early"], true, "{run:?}");
    assert!(run.warnings().contains("because the server ended"), "{run:?}");
}

#[test]
fn frames_that_were_due_while_the_server_was_down_count_in_every_percentile() {
    let daemon = Daemon::frames(&[]);
    let run = harmed(&daemon, kill, &["-z", "4s", "-c", "4", "--rate", "500"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let of = |name| run.number(&format!("/latency_us/{name}"));
    let down = run.number("/down_s");
    assert!(down > 0.0, "{run:?}");
    // All of the 2,000, answered or not.
    assert!((1_990.0..=2_000.0).contains(&of("count")), "{run:?}");
    // Those in the middle of the outage waited for half of it.
    let hidden = of("count") * (1.0 - down / 2.0 / 4.0);
    assert!(run.number("/unanswered") >= of("count") - hidden, "{run:?}");
    assert!(of("p99") > down * 0.9 * 1e6, "{run:?}");
}

#[test]
fn a_server_that_hangs_is_an_error_and_its_frames_count_with_the_time_waited() {
    for more in [&["--depth", "4"][..], &["--rate", "200"], &["--threads", "2"]] {
        let daemon = Daemon::frames(&[]);
        let arguments = ["-z", "5s", "-c", "4", "--timeout", "1s"];
        let run = harmed(&daemon, pause, &[&arguments, more].concat());
        daemon.resume();
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(run.errors("HUNG"), 1.0, "{run:?}");
        assert!(run.errors("TIMEOUT") >= 4.0, "{run:?}");
        assert!(run.number("/down_s") > 0.5, "{run:?}");
        assert!(run.number("/latency_us/max") >= 1e6, "{run:?}");
        assert!(run.number("/unanswered") >= 4.0, "{run:?}");
    }
}

#[test]
fn a_server_of_datagrams_that_was_killed_or_hangs_is_an_error_too() {
    for name in ["ENDED", "HUNG"] {
        let harm: fn(&Daemon, &mut dyn Iterator<Item = String>) =
            if name == "ENDED" { kill } else { pause };
        let daemon = Daemon::start(&["udp://127.0.0.1:0,rate=0"], &[]);
        let run = harmed(&daemon, harm, &["-z", "5s", "-c", "4", "--timeout", "1s"]);
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(run.errors(name), 1.0, "{run:?}");
        assert!(run.number("/unanswered") >= 4.0 && run.number("/down_s") > 0.0, "{run:?}");
    }
}

#[test]
fn a_server_that_comes_back_was_down_for_a_while() {
    let address = format!("frames://{}", fixed_address());
    let daemon = Daemon::start(&[&address], &[]);
    let mut next = None;
    let restart = |daemon: &Daemon, mut lines: &mut dyn Iterator<Item = String>| {
        daemon.signal(Signal::KILL);
        assert!(Iterator::any(&mut lines, |line| line.contains("REFUSED")));
        next = Some(Daemon::start(&[&address], &[]));
    };
    let run = harmed(&daemon, restart, &["-z", "8s", "-c", "4"]);
    assert_eq!((run.code, run.errors("ENDED")), (Some(1), 1.0), "{run:?}");
    let windows = run.report["windows"].as_array().unwrap();
    let down = run.number("/down_s");
    assert!(down > 0.0 && down < 7.0, "{run:?}");
    assert!(windows.last().unwrap()["frames_per_s"].as_f64() > Some(0.0), "{run:?}");
}
