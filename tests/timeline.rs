//! The timeline: what is recorded of the loops, as Chrome trace events, as a page, and in sentences.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    path::PathBuf,
};

use common::{Daemon, PATIENCE, eventually, frame, http_get, ping, reset, resound};
use rustix::process::Signal;
use serde_json::Value;
use socket2::SockRef;

mod common;

/// A file of this name in a folder of its own, which is not there yet.
fn fresh(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("timeline").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder.join("trace.json")
}

/// What a timeline says was done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    frames: u64,
    received: u64,
    sent: u64,
    opened: u64,
    closed: u64,
    threads: BTreeSet<u64>,
    flows: u64,
    not_kept: u64,
    /// The highest value of each counter.
    highest: HashMap<String, u64>,
    names: BTreeSet<String>,
}

/// Checks the structure of a timeline: times only grow, spans of a loop lie in each other, each beginning has its end.
fn check(json: &str) -> Done {
    let trace: Value = serde_json::from_str(json).unwrap();
    let mut done = Done {
        not_kept: trace["otherData"]["events_not_kept"].as_u64().unwrap(),
        ..Done::default()
    };
    let mut last = 0.0;
    // Where the beginning is not kept, no frame and no flow begins before the first span that is.
    let all = trace["traceEvents"].as_array().unwrap();
    let begins = |event: &&Value| ["X", "b", "s"].iter().any(|phase| event["ph"] == *phase);
    let first = all.iter().find(begins);
    assert!(done.not_kept == 0 || first.is_none_or(|first| first["ph"] == "X"), "{first:?}");
    let mut ends: HashMap<u64, Vec<f64>> = HashMap::new();
    let (mut begun, mut ids) = (HashMap::new(), BTreeSet::new());
    let (mut flows, mut ended_flows) = (HashMap::new(), BTreeSet::new());
    for event in all {
        let time = event["ts"].as_f64().unwrap();
        let (name, args) = (event["name"].as_str().unwrap(), &event["args"]);
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        assert!(time >= last, "{event} is behind one at {last}");
        last = time;
        let thread = event["tid"].as_u64().unwrap();
        match event["ph"].as_str().unwrap() {
            "M" => {
                if name == "thread_name" {
                    done.threads.insert(thread);
                }
            }
            "X" => {
                let end = time + event["dur"].as_f64().unwrap();
                let open = ends.entry(thread).or_default();
                // Times are whole nanoseconds.
                open.retain(|&end| end > time + 0.0005);
                assert!(open.iter().all(|&outer| end <= outer + 0.0005), "{event} in {open:?}");
                open.push(end);
                let bytes = args["bytes"].as_u64().unwrap_or_default();
                match name {
                    "read" => done.received += bytes,
                    "write" => done.sent += bytes,
                    "open" => done.opened += 1,
                    "close" => done.closed += 1,
                    _ => {}
                }
                done.names.insert(name.to_owned());
            }
            "b" => {
                done.frames += args["frames"].as_u64().unwrap();
                assert!(ids.insert(id.clone()), "two frames are {id}");
                begun.insert(id, name.to_owned());
            }
            "e" => assert_eq!(begun.remove(&id).as_deref(), Some(name), "{event}"),
            "s" => drop(flows.insert(id, time)),
            "f" => {
                assert!(flows[&id] <= time, "{event}");
                assert!(ended_flows.insert(id), "{event}");
            }
            "C" => {
                let value = args[name].as_u64().unwrap_or_else(|| {
                    // With several loops the track has the loop in its name.
                    args[name.split(" (").next().unwrap()].as_u64().unwrap()
                });
                let highest = done.highest.entry(name.to_owned()).or_default();
                *highest = value.max(*highest);
            }
            "i" => {
                assert_eq!(event["s"], "t");
                done.names.insert(name.to_owned());
            }
            other => panic!("phase {other}"),
        }
    }
    assert!(begun.is_empty(), "no end of {begun:?}");
    assert_eq!(flows.len(), ended_flows.len());
    done.flows = ended_flows.len() as u64;
    done
}

fn stats(daemon: &Daemon, admin: usize) -> Value {
    serde_json::from_str(&http_get(daemon.address(admin), "/stats", "").1).unwrap()
}

/// The timeline and `/stats`, once the timeline has the end of this many connections.
fn settled(daemon: &Daemon, admin: usize, closed: u64) -> (Done, Value) {
    let mut done = Done::default();
    eventually("all connections are closed, and that is recorded", || {
        let (code, json) = http_get(daemon.address(admin), "/timeline", "");
        assert_eq!(code, 200, "{json}");
        done = check(&json);
        done.closed == closed
    });
    (done, stats(daemon, admin))
}

fn assert_counts_are_the_same(done: &Done, stats: &Value) {
    assert_eq!(done.frames, stats["frames"].as_u64().unwrap());
    assert_eq!(done.received, stats["received_bytes"].as_u64().unwrap());
    assert_eq!(done.sent, stats["sent_bytes"].as_u64().unwrap());
    assert_eq!(done.opened, stats["connections"]["accepted"].as_u64().unwrap());
    let closed = stats["connections"]["closed"].as_object().unwrap();
    assert_eq!(done.closed, closed.values().map(|count| count.as_u64().unwrap()).sum::<u64>());
}

#[test]
fn spans_frames_and_counters_are_whole_and_count_what_stats_counts() {
    let file = fresh("counts");
    let mut command = resound();
    for listen in [
        "frames://127.0.0.1:0",
        "lines://127.0.0.1:0",
        "http://127.0.0.1:0",
        "frames://127.0.0.1:0,fault=slice=1+delay=1ms",
        "udp://127.0.0.1:0",
    ] {
        command.args(["--listen", listen]);
    }
    let mut whole = resound();
    whole.arg("serve").args(command.get_args()).args(["--admin", "127.0.0.1:0", "--record"]);
    let daemon = Daemon::spawn(
        {
            whole.arg(&file);
            whole
        },
        6,
    );
    let admin = 5;
    let connect = |index: usize| {
        let stream = TcpStream::connect(daemon.address(index)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    // A frame in two parts, then many frames in one write.
    let mut stream = daemon.connect();
    let hello = frame(b"hello");
    stream.write_all(&hello[..6]).unwrap();
    eventually("the first part is held", || {
        let list = http_get(daemon.address(admin), "/connections", "").1;
        list.contains("\"held_bytes\": 6")
    });
    stream.write_all(&hello[6..]).unwrap();
    stream.write_all(&frame(b"").repeat(100)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo).unwrap();
    assert_eq!(echo.len(), 409);
    // A frame so large that the kernel does not take the reply at once.
    let mut slow = daemon.connect();
    SockRef::from(&slow).set_recv_buffer_size(64 << 10).unwrap();
    let large = frame(&vec![7; 16 << 20]);
    slow.write_all(&large).unwrap();
    eventually("the reply is owed", || {
        let list: Value =
            serde_json::from_str(&http_get(daemon.address(admin), "/connections", "").1).unwrap();
        list["connections"][0]["owed_bytes"].as_u64().is_some_and(|owed| owed > 0)
    });
    let mut echo = vec![0; large.len()];
    slow.read_exact(&mut echo).unwrap();
    drop(slow);
    // A refused length, a reset, a line, a request, a reply byte by byte, a datagram.
    let mut refused = daemon.connect();
    refused.write_all(&[0xFF; 4]).unwrap();
    refused.read_to_end(&mut Vec::new()).unwrap();
    drop(refused);
    let mut lost = daemon.connect();
    ping(&mut lost);
    reset(lost);
    let mut line = connect(1);
    line.write_all(b"hello\n").unwrap();
    line.read_exact(&mut [0; 6]).unwrap();
    drop(line);
    http_get(daemon.address(2), "/", "");
    let mut sliced = connect(3);
    sliced.write_all(&hello).unwrap();
    sliced.read_exact(&mut [0; 9]).unwrap();
    drop(sliced);
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    datagrams.connect(daemon.address(4)).unwrap();
    datagrams.send(b"hello").unwrap();
    datagrams.recv(&mut [0; 5]).unwrap();

    let (mut done, mut stats) = settled(&daemon, admin, 7);
    // The client may have the datagram before the loop has noted that it sent it.
    eventually("the datagram is counted", || {
        (done, stats) = settled(&daemon, admin, 7);
        stats["frames"] == 107
    });
    eventually("the datagram is recorded", || {
        (done, stats) = settled(&daemon, admin, 7);
        done.frames == 107
    });
    assert_counts_are_the_same(&done, &stats);
    assert_eq!(done.threads, BTreeSet::from([1]));
    assert!(done.flows >= 6, "{done:?}");
    for name in
        ["poll", "accept", "open", "turn", "read", "protocol", "write", "close", "datagrams"]
    {
        assert!(done.names.contains(name), "no {name} in {done:?}");
    }
    assert_eq!(done.highest["held"].min(6), 6);
    assert!(done.highest["owed"] > 0, "{done:?}");
    assert!(done.highest["open"] >= 1, "{done:?}");

    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    let written = check(&fs::read_to_string(&file).unwrap());
    assert_counts_are_the_same(&written, &stats);
    assert_eq!(written.not_kept, 0);
    assert!(!file.with_extension("json.partial").exists());
}

#[test]
fn each_loop_is_a_thread_of_one_file_which_sigusr1_writes_too() {
    let file = fresh("threads");
    let daemon = Daemon::frames(&["--reactors", "3", "--record", file.to_str().unwrap()]);
    assert_eq!(check(&fs::read_to_string(&file).unwrap()).frames, 0, "it is there from the start");
    let mut streams: Vec<_> = (0..50).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    daemon.signal(Signal::USR1);
    // The last write may not be recorded yet, but its frame has begun.
    eventually("SIGUSR1 has written the file", || {
        check(&fs::read_to_string(&file).unwrap()).frames == 50
    });
    streams.iter_mut().for_each(ping);
    drop(streams);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("50 connections, 100 frames"), "{ended:?}");
    let done = check(&fs::read_to_string(&file).unwrap());
    assert_eq!((done.frames, done.opened, done.closed), (100, 50, 50));
    assert_eq!(done.threads, BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_small_ring_keeps_the_end_and_a_short_time_keeps_less() {
    let file = fresh("small");
    let path = file.to_str().unwrap();
    let daemon = Daemon::frames(&["--record", path, "--record-events", "1024"]);
    let mut stream = daemon.connect();
    (0..1000).for_each(|_| ping(&mut stream));
    drop(stream);
    daemon.stop();
    let done = check(&fs::read_to_string(&file).unwrap());
    // A frame has three events, and with those of its turn less than twenty. Over poll(2) a turn may have many frames.
    assert!(done.not_kept >= 3 * 1000 - 1024, "{done:?}");
    assert!((1024 / 20..=1024 / 3).contains(&done.frames), "{done:?}");
    assert_eq!((done.opened, done.closed), (0, 1));

    let daemon = Daemon::frames(&["--record", path, "--record-time", "1ns"]);
    ping(&mut daemon.connect());
    daemon.stop();
    let done = check(&fs::read_to_string(&file).unwrap());
    assert_eq!(done.frames, 0);
}

#[test]
fn without_record_there_is_no_timeline_and_wrong_arguments_say_what_to_write() {
    let daemon = Daemon::with_admin(&[]);
    let (code, body) = http_get(daemon.address(1), "/timeline", "");
    assert_eq!(code, 404);
    assert_eq!(body, "nothing is recorded: start the server with --record FILE\n");

    let file = fresh("arguments");
    let daemon = Daemon::with_admin(&["--record", file.to_str().unwrap()]);
    let (code, body) = http_get(daemon.address(1), "/timeline?seconds=0", "");
    assert_eq!((code, body.as_str()), (400, "seconds: write a number from 1 to 86400\n"));
    assert_eq!(http_get(daemon.address(1), "/timeline?seconds=3600", "").0, 200);

    for (arguments, code, says) in [
        (&["--record", "/nowhere/trace.json"][..], 1, "name a file in a folder that this user"),
        (&["--record", "t", "--record-events", "10"], 2, "from 1024 to 1048576"),
        (&["--record-events", "2048"], 2, "--record <FILE>"),
    ] {
        let output = resound()
            .args(["serve", "--listen", "frames://127.0.0.1:0"])
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}

#[test]
fn a_recording_becomes_a_page_beside_it() {
    let file = fresh("page");
    let daemon = Daemon::frames(&["--record", file.to_str().unwrap()]);
    ping(&mut daemon.connect());
    daemon.stop();
    let run = |arguments: &[&str]| {
        let output = resound().arg("timeline").args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (path, page) = (file.to_str().unwrap(), file.with_extension("html"));
    let (code, stdout, stderr) = run(&[path]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with(&format!("{}: ", page.display())), "{stdout}");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("\"name\":\"frame 0.0.1\""));
    assert!(!page.contains("http://") && !page.contains("https://"), "it loads nothing");
    let (code, stdout, _) = run(&[path, "--output", "-"]);
    assert_eq!((code, &stdout), (Some(0), &page));

    let (code, _, stderr) = run(&[path, "--output", path]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("name another file with --output"), "{stderr}");
    let (code, _, stderr) = run(&["/nowhere/trace.json"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cannot read /nowhere/trace.json"), "{stderr}");
    fs::write(&file, "{}").unwrap();
    let (code, _, stderr) = run(&[path]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("it should have Chrome trace events"), "{stderr}");
}

#[test]
fn what_happens_on_a_connection_is_said_in_sentences() {
    let daemon = Daemon::with_admin(&["--explain"]);
    let mut stream = daemon.connect();
    let peer = stream.local_addr().unwrap();
    let hello = frame(b"hello");
    for part in [&hello[..], &[&hello[..], &hello[..6]].concat(), &hello[6..]] {
        stream.write_all(part).unwrap();
        stream.read_exact(&mut [0; 9]).unwrap();
        // The turn that has replied is over: what comes next is not part of it.
        daemon.all_threads_wait();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let place = daemon.listening[0].clone();
    let ended = daemon.stop();
    let said: Vec<&str> =
        ended.stdout.lines().filter_map(|line| line.strip_prefix("0.1  ")).collect();
    assert_eq!(
        said,
        [
            &format!("{peer} has connected to {place}."),
            "9 bytes came. They are one whole frame of 5 bytes. It went back in one write. Nothing is left.",
            "15 bytes came. 9 of them are one whole frame of 5 bytes. It went back in one write. \
             6 bytes are left: the beginning of the next one, which waits for its rest.",
            "3 bytes came. With the 6 bytes that had come before they are one whole frame of 5 bytes. \
             It went back in one write. Nothing is left.",
            "The peer has sent FIN: it will send nothing more.",
            "Closed by the peer. In all 27 bytes came and 27 bytes went out, for 3 frames.",
        ],
        "{ended:?}"
    );
}
