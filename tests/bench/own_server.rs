//! Servers that `resound bench` starts itself, and Ctrl-C.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    File, bench,
    common::resound,
    output,
    servers::{self, Manner},
};

#[test]
fn a_server_of_its_own_is_started_watched_and_stopped() {
    let program = env!("CARGO_BIN_EXE_resound");
    let command = format!("{program} serve --listen frames://127.0.0.1:0");
    let run = bench("127.0.0.1:0", &["-z", "200ms", "-c", "2", "--server", &command]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.number("/server/cpu_us_per_frame") > 0.0
            && run.number("/server/peak_memory_bytes") > 0.0
    );
    assert_eq!(run.report["name"], "resound");

    let output = output(&["--server", &format!("{program} serve --listen nonsense"), "-z", "1s"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("ended") && stderr.contains("no protocol in"), "{stderr}");
}

#[test]
fn versus_measures_by_turns_and_shows_a_table() {
    let program = env!("CARGO_BIN_EXE_resound");
    let first = format!("{program} serve --listen frames://127.0.0.1:0");
    let second = format!("{program} serve --listen frames://127.0.0.1:{{port}}");
    let json = File::new("versus.json");
    let arguments = [
        "versus",
        "--server",
        &first,
        "--server",
        &second,
        "--rounds",
        "2",
        "-z",
        "100ms",
        "-c",
        "2",
        "--quiet",
        "--json",
        json.path(),
    ];
    let output = output(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text} {:?}", output.stderr);
    assert!(text.contains("| resound |") && text.contains("| resound#2 |"), "{text}");
    assert!(text.contains("resound#2 against resound:") && text.contains("CPU a frame"), "{text}");
    let reports: Vec<Value> = serde_json::from_slice(&fs::read(json.path()).unwrap()).unwrap();
    assert_eq!(reports.len(), 4);

    let compared = super::output(&["compare", json.path()]);
    let text = String::from_utf8(compared.stdout).unwrap();
    assert_eq!(compared.status.code(), Some(0), "{text} {:?}", compared.stderr);
    let path = json.path();
    assert!(text.contains(&format!("resound in {path} → resound#2 in {path}")), "{text}");
    assert!(text.contains("frames/s") && text.contains("p99"), "{text}");
    let both = super::output(&["compare", path, path]);
    let text = String::from_utf8(both.stdout).unwrap();
    assert_eq!((both.status.code(), text.matches('→').count()), (Some(0), 3 * 5), "{text}");

    // One report of one server has nothing to be compared with.
    fs::write(json.path(), serde_json::to_vec(&reports[0]).unwrap()).unwrap();
    let alone = super::output(&["compare", json.path()]);
    let stderr = String::from_utf8(alone.stderr).unwrap();
    assert_eq!(alone.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("give a second file"), "{stderr}");
}

#[test]
fn ctrl_c_ends_early_and_still_reports() {
    let address = servers::start(Manner::Echo).to_string();
    let mut child = resound()
        .args(["bench", &address, "-z", "1h", "-c", "2", "--warm-up", "0s", "--json", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    stderr.read_line(&mut first).unwrap();
    assert!(first.contains("frames/s"), "a plain line a second: {first}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // Read on, so that it is not held up by a full pipe.
    let rest = thread::spawn(move || stderr.lines().map_while(Result::ok).count());
    let output = child.wait_with_output().unwrap();
    rest.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ended_early"], true);
    assert!(report["frames"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn a_second_ctrl_c_ends_the_server_too() {
    let number = File::new("pid");
    let program = env!("CARGO_BIN_EXE_resound");
    let serve = format!("{program} serve --listen frames://127.0.0.1:0");
    // It is stopped for as long as it lasts, so that nothing but SIGKILL ends it.
    let server = format!("sh -c 'echo $$ > {}; exec {serve}'", number.path());
    let mut child = resound()
        .args(["bench", "--server", &server, "-z", "1h", "-c", "2", "--warm-up", "0s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.next().unwrap().unwrap().contains("frames/s"));
    let server = fs::read_to_string(number.path()).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(server).unwrap(), Signal::STOP).unwrap();
    let rest = thread::spawn(move || stderr.map_while(Result::ok).count());
    let patience = Instant::now() + Duration::from_secs(20);
    let status = loop {
        // Two that come at once may be one, so some more.
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < patience, "it goes on, and so does {server}");
        thread::yield_now();
    };
    assert_eq!(status.code(), Some(1));
    rest.join().unwrap();
    // Whether somebody reaps it here is not ours to say; it may be a zombie for good.
    while fs::read_to_string(format!("/proc/{server}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
    {
        thread::yield_now();
    }
}
