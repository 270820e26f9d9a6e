//! Several processes that begin together, and one report of all: `--start-at`, `--go-file`, `resound bench merge`.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use serde_json::Value;

use super::{
    Run, base64_decoded, bench,
    common::{Daemon, eventually, resound},
    output,
    servers::{self, Manner},
};

/// A folder of one test's own, which goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("resound-machines-{}-{name}", std::process::id());
        let folder = Self(std::env::temp_dir().join(folder));
        fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Where it cannot be removed, nothing else depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts a load whose report goes to `json`.
fn start(address: &str, json: &str, more: &[&str]) -> Child {
    let mut command = resound();
    command.args(["bench", address, "--json", json, "--quiet", "--size", "60"]).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for a load to end, and reads its report.
fn ended(child: Child, json: &str) -> Run {
    let ended = child.wait_with_output().unwrap();
    let text = fs::read(json).unwrap_or_default();
    let report = serde_json::from_slice(&text).unwrap_or(Value::Null);
    let stderr = String::from_utf8(ended.stderr).unwrap();
    Run { code: ended.status.code(), report, stderr }
}

fn histogram(text: &str) -> Histogram<u64> {
    let bytes = base64_decoded(text);
    Deserializer::new().deserialize(&mut &bytes[..]).unwrap()
}

/// Each bucket that has values, with their number.
fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram
        .iter_recorded()
        .map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()))
        .collect()
}

/// All intervals of a log that `--hdr` has written, added.
fn of_log(path: &str, sum: &mut Histogram<u64>) {
    for entry in IntervalLogIterator::new(&fs::read(path).unwrap()) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            sum.add(histogram(interval.encoded_histogram())).unwrap();
        }
    }
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn four_processes_merged_are_one_histogram_of_all_their_values() {
    let folder = Folder::new("four");
    let daemon = Daemon::frames(&[]);
    // Time for four processes to start and to open their connections, on a slow machine too.
    let at = seconds_since_1970(SystemTime::now()) + 8.0;
    let at = format!("{at:.3}");
    let names = ["1", "2", "3", "4"];
    let json = names.map(|name| folder.path(&format!("{name}.json")));
    let logs = names.map(|name| folder.path(&format!("{name}.hlog")));
    let loads: Vec<Child> = json
        .iter()
        .zip(&logs)
        .map(|(json, log)| {
            let more = ["-c", "5", "-z", "1s", "--start-at", &at, "--hdr", log];
            start(daemon.address(0), json, &more)
        })
        .collect();
    let runs: Vec<Run> =
        loads.into_iter().zip(&json).map(|(load, json)| ended(load, json)).collect();
    for run in &runs {
        assert_eq!((run.code, run.number("/errors")), (Some(0), 0.0), "{run:?}");
        let began = run.number("/measured_from_s");
        let late = run.number("/late_s");
        let asked = at.parse::<f64>().unwrap() + run.number("/config/warm_up_s");
        // A process that had to wait for its core says so.
        assert!(began + 0.02 >= asked + late, "{began} {asked}: {run:?}");
        assert_eq!(late > 0.0, run.warnings().contains("later than --start-at"), "{run:?}");
        assert!(run.stderr.contains("ready: 5 connections open; the load begins at "), "{run:?}");
    }

    let (merged_json, merged_log) = (folder.path("all.json"), folder.path("all.hlog"));
    let mut arguments = vec!["merge", "--json", &merged_json, "--hdr", &merged_log];
    arguments.extend(json.iter().map(String::as_str));
    let output = output(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let merged: Value = serde_json::from_slice(&fs::read(&merged_json).unwrap()).unwrap();

    // The logs are another way to the same values.
    let mut all = Histogram::<u64>::new(3).unwrap();
    logs.iter().for_each(|log| of_log(log, &mut all));
    let one = histogram(merged["histograms"]["latency"].as_str().unwrap());
    assert_eq!(buckets(&one), buckets(&all));
    let mut of_windows = Histogram::<u64>::new(3).unwrap();
    of_log(&merged_log, &mut of_windows);
    assert_eq!(buckets(&of_windows), buckets(&all));
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999)] {
        let expected = all.value_at_quantile(quantile) as f64 / 1000.0;
        let found = merged["latency_us"][name].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-6, "{name}: {found}, {expected}");
    }
    let sum = |pointer: &str| runs.iter().map(|run| run.number(pointer)).sum::<f64>();
    for pointer in ["/frames", "/latency_us/count", "/errors", "/connections/opened"] {
        assert_eq!(merged.pointer(pointer).unwrap().as_f64(), Some(sum(pointer)), "{pointer}");
    }
    let rate = merged["frames_per_s"].as_f64().unwrap();
    assert!((rate / sum("/frames_per_s") - 1.0).abs() < 1e-9, "{rate}");
    let windows = merged["windows"].as_array().unwrap();
    let most = runs.iter().map(|run| run.report["windows"].as_array().unwrap().len()).max();
    assert_eq!(Some(windows.len()), most);
    assert_eq!(merged["parts"].as_array().unwrap().len(), 4);
    assert_eq!(merged["config"]["connections"], 20);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("20 connections, closed loop") && shown.contains("4 reports merged"));
    assert_eq!(shown.matches(".json\n").count(), 4, "{shown}");

    // A report of another time, as a machine with a wrong clock writes it.
    let mut wrong = runs[3].report.clone();
    for field in ["measured_from_s", "measured_to_s"] {
        wrong[field] = (wrong[field].as_f64().unwrap() + 7.0).into();
    }
    fs::write(&json[3], wrong.to_string()).unwrap();
    let output = super::output(&arguments);
    let shown = String::from_utf8(output.stdout).unwrap().replace(['\n', ' '], "");
    assert!(shown.contains("eithertheclocksdiffer"), "{shown}");
}

/// A server of the test's own that shows what was sent to it: it accepts `count` connections.
fn accept(listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let connections: Vec<TcpStream> = (0..count).map(|_| listener.accept().unwrap().0).collect();
    connections.iter().for_each(|one| one.set_nonblocking(true).unwrap());
    connections
}

#[test]
fn nothing_is_sent_between_the_ready_file_and_the_go_file() {
    let folder = Folder::new("barrier");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("raw://{}", listener.local_addr().unwrap());
    let (ready, go, json) = (folder.path("ready"), folder.path("go"), folder.path("run.json"));
    fs::write(&ready, "of an earlier run").unwrap();
    let more = [
        ["-c", "6", "-z", "3s"],
        ["--threads", "2", "--timeout", "60s"],
        ["--ready-file", &ready, "--go-file", &go],
    ];
    let load = start(&address, &json, &more.concat());
    let connections = accept(&listener, 6);
    let is_ready = || fs::read_to_string(&ready).is_ok_and(|text| text.starts_with("ready: 6 "));
    eventually("all connections are open", is_ready);
    let sent = |mut one: &TcpStream| match one.read(&mut [0; 100]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        other => panic!("nothing should come yet: {other:?}"),
    };
    assert!(!connections.iter().any(sent));
    for connection in connections {
        thread::spawn(move || {
            connection.set_nonblocking(false).unwrap();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = (&connection).read(&mut buffer) {
                (&connection).write_all(&buffer[..length]).unwrap();
            }
        });
    }
    fs::write(&go, "").unwrap();
    let run = ended(load, &json);
    assert_eq!((run.code, run.number("/errors")), (Some(0), 0.0), "{run:?}");
    assert!(run.number("/frames") > 0.0, "{run:?}");
    assert!(run.stderr.contains("the load begins when "), "with --quiet, too: {run:?}");

    let again = bench(&address, &["--go-file", &go]);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("exists already") && again.stderr.contains("remove it"));
}

#[test]
fn datagrams_wait_for_the_barrier_too() {
    let folder = Folder::new("datagrams");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let (ready, go, json) = (folder.path("ready"), folder.path("go"), folder.path("run.json"));
    let more = ["-c", "2", "-z", "3s", "--ready-file", &ready, "--go-file", &go];
    let load = start(&address, &json, &more);
    eventually("it is ready", || fs::exists(&ready).unwrap());
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if socket.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
    fs::write(&go, "").unwrap();
    let run = ended(load, &json);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.number("/frames") > 0.0, "{run:?}");
}

#[test]
fn a_load_that_waits_ends_with_the_signal() {
    let folder = Folder::new("signal");
    let address = servers::start(Manner::Echo).to_string();
    let ready = folder.path("ready");
    let more = ["--ready-file", &ready, "--start-at", "2100-01-01T00:00:00Z"];
    let load = start(&address, &folder.path("run.json"), &more);
    eventually("it is ready", || fs::exists(&ready).unwrap());
    let pid = rustix::process::Pid::from_child(&load);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = load.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("begins at 2100-01-01T00:00:00Z"), "{stderr}");
    assert!(stderr.contains("stopped before anything was measured"), "{stderr}");
}

/// The scripts of docs/many-machines.md that use ssh, with the test's server in place of the one there.
fn scripts(address: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/many-machines.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let blocks = blocks.filter(|block| block.contains("ssh"));
    blocks
        .map(|block| {
            assert!(block.contains("192.0.2.1:30000") && block.contains("-z 10s"), "{block}");
            block.replace("192.0.2.1:30000", address).replace("-z 10s", "-z 1s")
        })
        .collect()
}

#[test]
fn the_scripts_of_the_page_merge_what_four_hosts_have_measured() {
    let daemon = Daemon::frames(&[]);
    let address = daemon.address(0);
    let scripts = scripts(address);
    assert_eq!(scripts.len(), 2);
    for (index, script) in scripts.into_iter().enumerate() {
        let folder = Folder::new(&format!("ssh-{index}"));
        // All hosts are this one: the first word is the host, the others are a command for its shell.
        let ssh = folder.path("ssh");
        fs::write(&ssh, "#!/bin/sh\nshift\nexec sh -c \"$*\"\n").unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(env!("CARGO_BIN_EXE_resound"), folder.path("resound")).unwrap();
        let script = script.replace("/tmp/", &format!("{}/", folder.0.display()));
        let script = script.replace("30 seconds", "12 seconds");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", &script])
            .current_dir(&folder.0)
            .env("PATH", format!("{}:{path}", folder.0.display()))
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
        assert!(stdout.contains("1000 connections, closed loop"), "{stdout}");
        assert!(stdout.contains("4 reports merged"), "{stdout}");
        assert_eq!(stderr.matches("ready: 250 connections open").count(), 4, "{stderr}");
    }
}

#[test]
fn times_and_reports_that_make_no_sense_are_refused_with_the_remedy() {
    let folder = Folder::new("refused");
    let old = folder.path("old.json");
    let address = servers::start(Manner::Echo).to_string();
    let run = bench(&address, &["-z", "100ms", "-c", "1"]);
    let mut without = run.report.clone();
    without.as_object_mut().unwrap().remove("histograms");
    fs::write(&old, without.to_string()).unwrap();
    let rounds = folder.path("rounds.json");
    fs::write(&rounds, Value::from(vec![run.report.clone(), run.report]).to_string()).unwrap();
    let soon = Duration::from_secs(3600);
    let soon = seconds_since_1970(SystemTime::now() + soon).to_string();
    for (arguments, code, says) in [
        (&["--start-at", "12:00"][..], 2, "2030-01-31T18:00:00Z"),
        (&["--start-at", "2001-02-03T04:05:06Z"], 2, "give a time to come"),
        (&["--start-at", &soon, "--go-file", "x"], 2, "cannot be used with"),
        (&["--start-at", &soon, "--ramp", "p99<1s"], 2, "cannot be used with"),
        (&["merge", &old], 2, "2 values required"),
        (&["merge", &old, &old], 1, "are the same run"),
        (&["merge", &old, &rounds], 1, "one report each"),
        (&["merge", &old, "/nonexistent"], 1, "No such file"),
    ] {
        let output = output(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
}
