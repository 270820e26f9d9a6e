//! Servers that `resound bench` starts itself, and Ctrl-C.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    File, Run, bench,
    common::{Daemon, PATIENCE, eventually, resound, tool},
    output,
    servers::{self, Manner},
    until_frames,
};

#[test]
fn a_server_of_its_own_is_started_watched_and_stopped() {
    let program = env!("CARGO_BIN_EXE_resound");
    let command = format!("{program} serve --listen frames://127.0.0.1:0");
    let run = bench("127.0.0.1:0", &["-z", "1s", "-c", "2", "--server", &command]);
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

const PROGRAM: &str = env!("CARGO_BIN_EXE_resound");

/// Whether the process whose number is in `file` runs; one that has ended and that nothing has reaped does not.
fn runs(file: &File) -> bool {
    let process = fs::read_to_string(file.path()).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// Starts `command`, which runs bench, and waits until it shows a first result; what comes on standard error after
/// that is thrown away.
fn started(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let seen: Vec<String> = lines.by_ref().take_while(|line| !line.contains("frames/s")).collect();
    let rest = thread::spawn(move || lines.count());
    if rest.is_finished() {
        panic!("it ended instead: {seen:?}");
    }
    child
}

fn ended(child: Child) -> Run {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    Run { code: status.code(), report, stderr: String::from_utf8(stderr).unwrap() }
}

#[test]
fn the_address_may_be_left_to_the_server() {
    let serve = format!("{PROGRAM} serve --listen raw://127.0.0.1:0");
    let run = bench("raw://", &["-z", "500ms", "-c", "2", "--server", &serve]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let target = run.report["config"]["target"].as_str().unwrap();
    assert!(target.starts_with("raw://127.0.0.1:") && !target.ends_with(":0"), "{target}");
    let by_port = format!("{PROGRAM} serve --listen raw://127.0.0.1:{{port}}");
    for address in ["raw://", "raw://127.0.0.1:0"] {
        let output = output(&[
            "versus", "--server", &serve, "--server", &by_port, address, "--rounds", "2", "-z",
            "300ms", "-c", "2",
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn a_server_is_whatever_a_shell_runs() {
    for command in [
        format!("RESOUND_LISTEN=frames://127.0.0.1:0 {PROGRAM} serve"),
        format!("cd / && {PROGRAM} serve --listen frames://127.0.0.1:0"),
        format!("{PROGRAM} serve --listen frames://127.0.0.1:0 & wait"),
    ] {
        let run = bench("frames://", &["-z", "500ms", "-c", "2", "--server", &command]);
        assert_eq!(run.code, Some(0), "{command}: {run:?}");
        assert_eq!(run.report["name"], if command.ends_with("wait") { "wait" } else { "resound" });
    }
}

#[test]
fn all_processes_of_a_server_are_measured_and_ended() {
    let number = File::new("wrapped");
    let serve = format!("{PROGRAM} serve --listen frames://127.0.0.1:0");
    // Two shells around the server; neither of them passes SIGTERM on.
    let wrapped = format!("sh -c '{serve} & echo $! > {}; wait; true'; true", number.path());
    let run = bench("frames://", &["-z", "1s", "-c", "2", "--server", &wrapped]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!runs(&number), "the server has outlived its wrapper");
    let alone = bench("frames://", &["-z", "1s", "-c", "2", "--server", &serve]);
    let memory = |run: &Run| run.number("/server/peak_memory_bytes");
    assert!(memory(&run) > memory(&alone), "{run:?}");
    assert!(run.number("/server/cpu_us_per_frame") > 1.0, "{run:?}");
}

#[test]
fn a_server_that_runs_already_is_measured_by_its_number() {
    let daemon = Daemon::frames(&[]);
    let pid = daemon.pid().to_string();
    let address = &daemon.listening[0];
    let run = until_frames(|time| bench(address, &["-z", time, "-c", "2", "--server-pid", &pid]));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.number("/server/cpu_us_per_frame") > 0.0, "{run:?}");
    let peak = run.number("/server/peak_memory_bytes");
    assert!(peak > 0.0 && peak <= daemon.memory("VmHWM") as f64 * 1024.0, "{run:?}");

    // The largest number that a process can have is below 2^22 (proc(5), pid_max).
    for number in ["0", "4194304"] {
        let output = output(&[address, "--server-pid", number, "-z", "1s"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("--server-pid {number}")), "{stderr}");
    }
}

#[test]
fn sighup_ends_the_server_too() {
    let number = File::new("hung-up");
    let server =
        format!("echo $$ > {}; exec {PROGRAM} serve --listen frames://127.0.0.1:0", number.path());
    // Also where the tests themselves run under nohup(1).
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", PROGRAM]);
    command.args(["bench", "--server", &server, "frames://", "-z", "1h", "-c", "2", "--json", "-"]);
    let child = started(&mut command);
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    let run = ended(child);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.report["ended_early"], true);
    assert!(!runs(&number));
}

#[test]
fn under_nohup_sighup_changes_nothing() {
    let Some(nohup) = tool("nohup") else { return };
    let address = servers::start(Manner::Echo).to_string();
    let mut command = Command::new(nohup);
    command.args([
        PROGRAM,
        "bench",
        &address,
        "-z",
        "3s",
        "--warm-up",
        "0s",
        "-c",
        "2",
        "--json",
        "-",
    ]);
    let child = started(&mut command);
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    let run = ended(child);
    assert_eq!((run.code, &run.report["ended_early"]), (Some(0), &Value::Bool(false)), "{run:?}");
}

#[test]
fn a_server_that_ends_ends_the_run_with_its_status_and_its_last_words() {
    let trigger = File::new("trigger");
    let server = format!(
        "{PROGRAM} serve --listen frames://127.0.0.1:0 & \
         while [ ! -e {} ]; do sleep 0.1; done; kill -9 $!; echo last words >&2; exit 7",
        trigger.path()
    );
    let arguments =
        ["bench", "--server", &server, "frames://", "-z", "1h", "-c", "2", "--json", "-"];
    let child = started(resound().args(arguments).args(["--warm-up", "0s"]));
    fs::write(trigger.path(), "").unwrap();
    let run = ended(child);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.errors("ENDED"), 1.0, "{run:?}");
    assert_eq!(run.report["ended_early"], true);
    assert!(run.number("/frames") > 0.0 && run.number("/duration_s") < 1800.0, "{run:?}");
    let warnings = run.warnings();
    assert!(warnings.contains("exit status 7") && warnings.contains("last words"), "{run:?}");
}

#[test]
fn the_progress_line_is_not_wider_than_the_terminal() {
    let Some(script) = tool("script") else { return };
    let address = servers::start(Manner::Echo).to_string();
    let bench = format!("stty cols 40; {PROGRAM} bench {address} -z 2s -c 2 --json /dev/null");
    let output = Command::new(script).args(["-qec", &bench, "/dev/null"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.split("\r\x1b[K").filter_map(|line| line.split(['\r', '\n']).next());
    let lines: Vec<&str> = lines.filter(|line| line.contains("frames/s")).collect();
    assert!(!lines.is_empty(), "{text}");
    for line in lines {
        assert!(line.chars().count() < 40, "{line:?}");
    }
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
        "300ms",
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
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().contains("frames/s")), "a plain line a second");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // Read on, so that it is not held up by a full pipe.
    let rest = thread::spawn(move || stderr.map_while(Result::ok).count());
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
    assert!(stderr.any(|line| line.unwrap().contains("frames/s")));
    let server = fs::read_to_string(number.path()).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(server).unwrap(), Signal::STOP).unwrap();
    let rest = thread::spawn(move || stderr.map_while(Result::ok).count());
    let patience = Instant::now() + PATIENCE;
    let status = loop {
        // Two that come at once may be one, so some more.
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < patience, "it goes on, and so does {server}");
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(status.code(), Some(1));
    rest.join().unwrap();
    // It may stay a zombie if no process reaps it here.
    eventually("the server ends", || {
        fs::read_to_string(format!("/proc/{server}/stat"))
            .map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
    });
}
