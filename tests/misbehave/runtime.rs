//! Plans with names (`--faults`), plans that are changed at run time (`/faults`), and the counts of faults.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use serde_json::{Value, json};

use super::{
    End,
    common::{Daemon, PATIENCE, check_metrics, frame, ping, resound},
    frames, read_to_end,
    recorded::Scratch,
};

#[test]
fn plans_have_names() {
    let file = "# What we saw.\nflaky = \"drop@2\"\ncut = [\n  \"fin=3@4\", # in the third answer\n  \"dup@1\",\n]\n";
    let file = Scratch::with("named.toml", file);
    let listen = "frames://127.0.0.1:0,fault=flaky+cut";
    let daemon = Daemon::start(&[listen], &["--faults", file.path()]);
    let mut stream = daemon.connect();
    stream.write_all(&frames(&[b"one", b"two", b"three", b"four"])).unwrap();
    let (one, three, four) = (frame(b"one"), frame(b"three"), frame(b"four"));
    let expected = [&one[..], &one, &three, &four[..3]].concat();
    assert_eq!(read_to_end(&mut stream), (expected, End::Fin));
    let ended = daemon.stop();
    assert!(ended.stdout.contains(": drop@2+fin=3@4+dup@1, seed="), "{ended:?}");
    assert!(ended.stdout.contains("; faults: 1 drop, 1 dup, 1 fin\n"), "{ended:?}");
}

#[test]
fn names_that_are_wrong_end_the_start_with_the_cause() {
    let wrong = Scratch::with("wrong.toml", "flaky = \"resets=1\"\n");
    let right = Scratch::with("right.toml", "flaky = \"drop@1\"\n");
    for (listen, file, code, says) in [
        ("frames://:0", wrong.path(), 1, "flaky: fault \"resets=1\": no fault \"resets\""),
        ("frames://:0", "/nowhere/faults.toml", 1, "--faults /nowhere/faults.toml: No such file"),
        ("frames://:0,fault=flakey", right.path(), 2, "--faults has flaky"),
        ("raw://:0,fault=flaky", right.path(), 2, "fault \"drop@1\": raw bytes cannot have it"),
    ] {
        let output = resound().args(["serve", "-l", listen, "--faults", file]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{listen}: {stderr}");
        assert!(stderr.contains(says), "{listen}: {stderr}");
    }
}

/// A daemon with these listeners and an admin port.
fn with_admin(listen: &[&str], arguments: &[&str]) -> Daemon {
    let mut command = resound();
    command.arg("serve").args(listen.iter().flat_map(|listen| ["-l", listen])).args(arguments);
    command.args(["--admin", "127.0.0.1:0"]);
    Daemon::spawn(command, listen.len() + 1)
}

/// The status code and the body of the admin port's answer.
fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, String) {
    ask_as("application/json", daemon, method, path, body)
}

fn ask_as(kind: &str, daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, String) {
    let admin = daemon.address(daemon.listening.len() - 1);
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: {kind}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What a client gets that sends two frames and FIN.
fn two_frames(daemon: &Daemon) -> (Vec<u8>, End) {
    let mut stream = daemon.connect();
    stream.write_all(&frames(&[b"one", b"second"])).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream)
}

#[test]
fn a_plan_is_changed_in_all_loops_before_the_next_connection() {
    let file = Scratch::with("runtime.toml", "cut = \"fin=2@2\"\n");
    let listen = [
        "frames://127.0.0.1:0,fault=none,seed=7",
        "raw://127.0.0.1:0,fault=slice=1",
        "frames://127.0.0.1:0",
    ];
    let daemon = with_admin(&listen, &["--reactors", "3", "--faults", file.path()]);
    let [faulty, raw, correct] = [0, 1, 2].map(|index| daemon.listening[index].as_str());
    let put = |body: Value| ask(&daemon, "PUT", "/faults", &body.to_string());
    let whole = (frames(&[b"one", b"second"]), End::Fin);
    let mut old = daemon.connect();
    ping(&mut old);
    assert_eq!(two_frames(&daemon), whole);

    let (code, answer) = put(json!({"listener": faulty, "fault": "cut"}));
    assert_eq!(code, 200, "{answer}");
    let one = serde_json::from_str::<Value>(&answer).unwrap();
    let expected = json!({
        "listener": faulty, "fault": "fin=2@2", "seed": 7, "connections": 2, "happened": {},
    });
    assert_eq!(one, expected);
    // Whichever loop they reach.
    for _ in 0..9 {
        assert_eq!(two_frames(&daemon), (whole.0[..9].to_vec(), End::Fin));
    }
    // An open connection keeps its plan.
    ping(&mut old);

    // What is wrong is refused, and changes nothing.
    for (body, code, says) in [
        (json!({"listener": faulty, "fault": "fins=2"}), 400, "no fault \"fins\""),
        (json!({"listener": raw, "fault": "drop"}), 400, "raw bytes cannot have it"),
        (json!({"listener": faulty}), 400, "write {\"listener\""),
        (json!({"listener": faulty, "fault": "drop", "at": 1}), 400, "write {\"listener\""),
        (json!({"listener": faulty, "fault": "drop", "seed": -1}), 400, "seed: write a number"),
        (json!({"fault": "drop"}), 404, "listeners with fault=: frames://"),
        (json!({"listener": correct, "fault": "drop"}), 404, "start others with fault=none"),
        (json!(7), 400, "write {\"listener\""),
    ] {
        let (found, answer) = put(body.clone());
        assert_eq!(found, code, "{body}: {answer}");
        assert!(answer.contains(says), "{body}: {answer}");
    }
    let body = json!({"listener": faulty, "fault": "none"}).to_string();
    let (code, answer) = ask_as("text/plain", &daemon, "PUT", "/faults", &body);
    assert_eq!(code, 403, "a web page could send it: {answer}");
    assert_eq!(ask(&daemon, "POST", "/faults", &body).0, 405);
    let (code, listed) = ask(&daemon, "GET", "/faults", "");
    assert_eq!(code, 200, "{listed}");
    let expected = json!([
        {"listener": faulty, "fault": "fin=2@2", "seed": 7, "connections": 11, "happened": {"fin": 9}},
        {
            "listener": raw,
            "fault": "slice=1",
            "seed": serde_json::from_str::<Value>(&listed).unwrap()[1]["seed"],
            "connections": 0,
            "happened": {},
        },
    ]);
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), expected);

    assert_eq!(put(json!({"listener": faulty, "fault": "none", "seed": 8})).0, 200);
    assert_eq!(two_frames(&daemon), whole);
}

#[test]
fn faults_that_need_tcp_are_refused_on_a_unix_socket() {
    let socket = Scratch::new("faults.sock");
    let listen = format!("frames+unix://{},fault=none", socket.path());
    let daemon = with_admin(&[&listen], &[]);
    let (code, answer) = ask(&daemon, "PUT", "/faults", r#"{"fault": "reset=7"}"#);
    assert_eq!(code, 400, "{answer}");
    assert!(answer.contains("Unix sockets have neither segments nor RST"), "{answer}");
    assert_eq!(ask(&daemon, "PUT", "/faults", r#"{"fault": "fin=7"}"#).0, 200);
}

#[test]
fn faults_are_counted_by_listener_and_kind() {
    let daemon = with_admin(
        &["frames://127.0.0.1:0,fault=drop@1..2+fin=1@3", "frames://127.0.0.1:0"],
        &["--reactors", "2"],
    );
    for _ in 0..3 {
        let mut stream = daemon.connect();
        stream.write_all(&frames(&[b"one", b"two", b"three"])).unwrap();
        assert_eq!(read_to_end(&mut stream), (vec![5], End::Fin));
    }
    let (code, metrics) = ask(&daemon, "GET", "/metrics", "");
    assert_eq!(code, 200);
    let faulty = &daemon.listening[0];
    for (kind, count) in [("drop", 6), ("fin", 3), ("reset", 0)] {
        let sample =
            format!("resound_faults_total{{listener=\"{faulty}\",fault=\"{kind}\"}} {count}\n");
        assert!(metrics.contains(&sample), "{metrics}");
    }
    let correct = format!("resound_faults_total{{listener=\"{}\"", daemon.listening[1]);
    assert!(!metrics.contains(&correct), "{metrics}");
    let (_, stats) = ask(&daemon, "GET", "/stats", "");
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["listeners"][0]["faults"], json!({"drop": 6, "fin": 3}));
    assert_eq!(stats["listeners"][1].get("faults"), None);
    check_metrics(&metrics);
}
