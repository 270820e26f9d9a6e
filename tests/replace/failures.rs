//! A replacement that fails: the old process goes on as if nothing had happened, and says why.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    common::{PATIENCE, eventually, frame, ping, resound},
    support::{Folder, Load, Running},
};

/// A daemon whose program is at `program`, where it can be replaced.
fn started_from(program: &Path, arguments: &[&str]) -> Running {
    fs::copy(env!("CARGO_BIN_EXE_resound"), program).unwrap();
    let mut command = Command::new(program);
    for (name, value) in resound().get_envs() {
        assert!(value.is_none(), "resound() only removes variables");
        command.env_remove(name);
    }
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(arguments);
    Running::spawn(command, 1)
}

/// Puts a script where the program was.
fn put_script(program: &Path, script: &str) {
    // The file of a program that runs cannot be written to, and it need not be: an upgrade puts another in its place.
    let new = program.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, program).unwrap();
}

#[test]
fn a_program_that_does_not_start_changes_nothing() {
    let folder = Folder::new("programs");
    let program = folder.path("resound");
    let mut running = started_from(&program, &["--replace-timeout", "120s"]);
    let load = Load::start(running.address(0), 10);
    let still_serves = |running: &Running| {
        load.wait_for_all_pings();
        let mut new = running.connect(0);
        ping(&mut new);
        assert_eq!(running.json("/stats")["pid"], running.daemon.pid());
        assert_eq!(running.ask("GET", "/readyz", ""), (200, "ready\n".to_owned()));
    };

    fs::remove_file(&program).unwrap();
    let (code, why) = running.try_to_replace();
    assert_eq!(code, 503, "{why}");
    assert!(why.contains("cannot start") && why.contains("put the program there"), "{why}");
    still_serves(&running);

    put_script(&program, "exit 3");
    let (code, why) = running.try_to_replace();
    assert_eq!(code, 503, "{why}");
    assert!(why.contains("ended before it was ready") && why.contains("exit status: 3"), "{why}");
    still_serves(&running);

    // Its first bytes are no message.
    put_script(&program, "printf 'HTTP/1.1 400 Bad Request\\r\\n\\r\\n' >&0; exec sleep 1000");
    let (code, why) = running.try_to_replace();
    assert_eq!(code, 503, "{why}");
    assert!(why.contains("no message of a hand-over"), "{why}");
    still_serves(&running);

    // The new version at last.
    let next = program.with_extension("next");
    fs::copy(env!("CARGO_BIN_EXE_resound"), &next).unwrap();
    fs::rename(&next, &program).unwrap();
    running.replace();
    load.wait_for_all_pings();
    load.stop();
}

#[test]
fn a_program_that_is_not_ready_in_time_is_ended_and_changes_nothing() {
    let folder = Folder::new("slow");
    let program = folder.path("resound");
    let running = started_from(&program, &["--replace-timeout", "100ms"]);
    let load = Load::start(running.address(0), 10);
    put_script(&program, "exec sleep 1000");
    for _ in 0..2 {
        let (code, why) = running.try_to_replace();
        assert_eq!(code, 503, "{why}");
        assert!(why.contains("did not answer within 100ms"), "{why}");
        assert!(why.contains("--replace-timeout") && why.contains("it was killed"), "{why}");
        load.wait_for_all_pings();
    }
    load.stop();
    running.stop();
}

#[test]
fn a_new_process_that_cannot_listen_says_why_and_changes_nothing() {
    let folder = Folder::new("taken");
    let place = format!("unix:{}", folder.path("handover").display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let running = Running::start(&["frames://127.0.0.1:0"], &["--handover", &place]);
    let load = Load::start(running.address(0), 10);
    let more = format!("raw://{}", taken.local_addr().unwrap());
    let mut command = resound();
    command.args(["serve", "-l", "frames://127.0.0.1:0", "-l", &more, "--takeover", &place]);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("cannot listen on {more}")), "{error}");
    load.wait_for_all_pings();
    load.stop();
    running.stop();
}

/// The new process, played by the test: it says what it likes, and stops when it likes.
struct Fake(UnixStream);

impl Fake {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn say(&mut self, message: &Value) {
        let json = message.to_string();
        let mut bytes = b"resound\n".to_vec();
        bytes.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
        bytes.extend([0; 12]);
        bytes.extend(json.as_bytes());
        self.0.write_all(&bytes).unwrap();
    }

    /// The next message. Descriptors that come with it are closed.
    fn hear(&mut self) -> Value {
        let mut head = [0; 24];
        self.0.read_exact(&mut head).unwrap();
        assert!(head.starts_with(b"resound\n"));
        let json = u32::from_le_bytes(head[8..12].try_into().unwrap());
        let bytes = u64::from_le_bytes(head[16..].try_into().unwrap());
        let mut message = vec![0; json as usize];
        self.0.read_exact(&mut message).unwrap();
        self.0.read_exact(&mut vec![0; usize::try_from(bytes).unwrap()]).unwrap();
        serde_json::from_slice(&message).unwrap()
    }

    fn hello(&mut self, version: u32) {
        let program = "9.9.9";
        self.say(&json!({"hello": {"version": version, "pid": 4_000_000, "program": program}}));
    }
}

/// How far the new process comes before it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Connected,
    Hello,
    Ready,
    Serving,
    /// Some connections have come, and it has not said so.
    Connections,
    /// It has been told that they are its own.
    Yours,
}

#[test]
fn a_new_process_that_dies_half_way_changes_nothing() {
    let folder = Folder::new("half");
    let path = folder.path("handover");
    let place = format!("unix:{}", path.display());
    let unix = format!("frames+unix://{}", folder.path("frames").display());
    let running = Running::start(&["frames://127.0.0.1:0", &unix], &["--handover", &place]);
    let load = Load::start(running.address(0), 20);
    for until in [Until::Connected, Until::Hello, Until::Ready, Until::Serving, Until::Connections]
    {
        let mut fake = Fake::connect(&path);
        come(&mut fake, until);
        drop(fake);
        load.wait_for_all_pings();
        let mut new = running.connect(0);
        ping(&mut new);
        UnixStream::connect(folder.path("frames"))
            .unwrap_or_else(|error| panic!("{until:?}: {error}"));
        // The next one may try at once.
        eventually("all listeners are back", || running.ask("GET", "/readyz", "").0 == 200);
    }
    load.stop();
    running.stop();
}

/// Goes on until then.
fn come(fake: &mut Fake, until: Until) {
    if until == Until::Connected {
        return;
    }
    fake.hello(2);
    let offer = fake.hear();
    let count = offer["offer"]["listeners"].as_array().unwrap().len();
    if until == Until::Hello {
        return;
    }
    let all: Vec<usize> = (0..count).collect();
    fake.say(&json!({"ready": {"takes": all, "connections": all}}));
    let listeners = fake.hear();
    assert_eq!(listeners["listeners"]["listeners"].as_array().unwrap().len(), count);
    if until == Until::Ready {
        return;
    }
    fake.say(&json!("serving"));
    if until == Until::Serving {
        return;
    }
    let connections = fake.hear();
    assert!(!connections["connections"]["connections"].as_array().unwrap().is_empty());
    if until == Until::Connections {
        return;
    }
    fake.say(&json!({"received": {"refused": []}}));
    assert_eq!(fake.hear(), json!("yours"));
}

/// From then on the connections are its own, and end with it: what it has read of them is not known.
#[test]
fn a_new_process_that_dies_with_connections_leaves_the_listeners_and_the_others() {
    let folder = Folder::new("dead");
    let path = folder.path("handover");
    let place = format!("unix:{}", path.display());
    let running = Running::start(&["frames://127.0.0.1:0"], &["--handover", &place]);
    // More than one slice.
    let mut streams: Vec<_> = (0..300).map(|_| running.connect(0)).collect();
    streams.iter_mut().for_each(ping);
    let mut fake = Fake::connect(&path);
    come(&mut fake, Until::Yours);
    drop(fake);
    let mut new = running.connect(0);
    ping(&mut new);
    let mut served = 0;
    for mut stream in streams {
        let mut back = [0; 8];
        let sent = stream.write_all(&frame(b"ping"));
        served += usize::from(sent.and_then(|()| stream.read_exact(&mut back)).is_ok());
    }
    assert_eq!(served, 300 - 250);
    running.stop();
}

#[test]
fn a_new_process_of_another_version_is_told_so() {
    let folder = Folder::new("version");
    let path = folder.path("handover");
    let place = format!("unix:{}", path.display());
    let running = Running::start(&["frames://127.0.0.1:0"], &["--handover", &place]);
    let load = Load::start(running.address(0), 10);
    let mut fake = Fake::connect(&path);
    fake.hello(99);
    let refused = fake.hear();
    let why = refused["refused"]["why"].as_str().unwrap();
    assert!(why.contains("resound 9.9.9") && why.contains("version 99"), "{why}");
    assert!(why.contains("restart the daemon instead"), "{why}");
    load.wait_for_all_pings();
    load.stop();
    running.stop();
}

#[test]
fn only_those_may_replace_it_who_may_use_the_admin_port() {
    let running = Running::start(&["frames://127.0.0.1:0"], &[]);
    let json = "\r\nContent-Type: application/json";
    for (method, fields, code) in [
        ("GET", "", 405),
        ("POST", "", 403),
        ("POST", "\r\nContent-Type: text/plain", 403),
        ("POST", &format!("{json}\r\nOrigin: http://evil.example"), 403),
    ] {
        let (answered, body) = running.ask(method, "/replace", fields);
        assert_eq!(answered, code, "{method}{fields}: {body}");
    }
    assert_eq!(running.json("/stats")["pid"], running.daemon.pid());
}
