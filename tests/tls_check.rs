//! `resound check` over TLS: resound's own server, and servers that others wrote.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

#[path = "common/mod.rs"]
mod common;
#[path = "tls/servers.rs"]
mod servers;
#[path = "tls/support.rs"]
mod support;

use common::{Daemon, resound};
use serde_json::Value;
use servers::{Foreign, authority_file, local};
use support::{Authority, Folder};

/// The exit code, the report of a check with `--json`, and what was said besides.
fn check(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let all = [&["check", "--timeout", "60s", "--json"], arguments].concat();
    let output = resound().args(all).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), report, String::from_utf8(output.stderr).unwrap())
}

/// The names of the cases with this result.
fn names(report: &Value, result: &str) -> Vec<String> {
    let cases = report["cases"].as_array().unwrap_or_else(|| panic!("no cases in {report}"));
    let of_result = cases.iter().filter(|case| case["result"] == result);
    of_result.map(|case| case["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn resound_passes_in_every_protocol() {
    let folder = Folder::new("check-own");
    // What depends on the protocol. The rest is the same for all, and is checked with one of them.
    let some = ["echo", "segments", "limits", "half-close", "reset", "websocket", "http"];
    let some: Vec<&str> = some.iter().flat_map(|group| ["--only", *group]).collect();
    for (protocol, keys, only, least) in [
        ("frames+tls", "", &[][..], 40),
        ("lines+tls", ",max=64KiB", &some, 15),
        ("raw+tls", "", &some, 12),
        ("https", "", &some, 15),
        ("wss", "", &some, 20),
    ] {
        let ca = folder.path(&format!("{protocol}.pem"));
        let server = format!(
            "{} serve --listen {protocol}://127.0.0.1:0{keys},tls=self-signed,save-cert={}",
            env!("CARGO_BIN_EXE_resound"),
            ca.display()
        );
        let place = format!("{protocol}://{keys}");
        let arguments = ["--server", &server, &place, "--ca", ca.to_str().unwrap()];
        let (code, report, stderr) = check(&[&arguments, only].concat());
        assert_eq!(names(&report, "failed"), [""; 0], "{protocol}: {stderr}");
        assert_eq!(code, Some(0), "{protocol}: {stderr}");
        let passed = names(&report, "passed").len();
        assert!(passed >= least, "{protocol}: only {passed} cases: {stderr}");
    }
}

#[test]
fn resound_passes_on_a_unix_socket() {
    let folder = Folder::new("check-unix");
    let path = folder.path("socket");
    let place = format!("frames+tls+unix://{}", path.display());
    let _daemon = Daemon::start(&[&format!("{place},tls=self-signed")], &[]);
    let (code, report, stderr) = check(&[&place, "--insecure", "--only", "half-close"]);
    assert_eq!((code, names(&report, "failed").len()), (Some(0), 0), "{stderr}");
    assert!(names(&report, "passed").len() >= 4, "{stderr}");
    assert!(stderr.contains("warning: --insecure"), "{stderr}");
}

#[test]
fn servers_of_others_are_judged() {
    let (_folder, _, files, ca) = local("check-others");
    let Some(server) = Foreign::python(&files) else { return };
    let place = format!("raw+tls://{}", server.address);
    let (code, report, stderr) = check(&[&place, "--ca", &ca, "--only", "echo"]);
    assert_eq!((code, names(&report, "failed").len()), (Some(0), 0), "{stderr}");
    assert!(names(&report, "passed").len() >= 3, "{stderr}");
    // It ends each connection without close_notify.
    let Some(server) = Foreign::python_that_cuts(&files) else { return };
    let place = format!("raw+tls://{}", server.address);
    let case = "fin-behind-a-message";
    let (code, report, stderr) = check(&[&place, "--ca", &ca, "--only", case]);
    assert_eq!((code, names(&report, "failed")), (Some(1), vec![case.to_owned()]), "{stderr}");
    assert!(stderr.contains("FIN without close_notify"), "{stderr}");
}

#[test]
fn a_server_that_cannot_be_checked_is_told_once() {
    let (folder, authority) = (Folder::new("check-wrong"), Authority::new());
    let other = authority_file(&folder, &authority);
    let daemon =
        Daemon::start(&["raw+tls://127.0.0.1:0,tls=self-signed", "raw://127.0.0.1:0"], &[]);
    let place =
        |index: usize| format!("raw+tls://{}", daemon.address(index).split(',').next().unwrap());
    for (place, arguments, code, says) in [
        (place(0), &["--ca", &other][..], 1, "nobody who is trusted has signed"),
        (place(1), &["--insecure"], 1, "it echoes without TLS"),
        (place(0).replace("+tls", ""), &["--insecure"], 2, "--insecure is for TLS"),
        ("udp+tls://:1".to_owned(), &[], 2, "udp has no TLS"),
    ] {
        let (found, _, stderr) = check(&[&[&place[..]], arguments].concat());
        assert_eq!(found, Some(code), "{stderr}");
        assert_eq!(stderr.matches(says).count(), 1, "{stderr}");
    }
}

#[test]
fn an_urgent_byte_is_no_case_inside_tls() {
    for (place, is_listed) in [("raw://:1", true), ("raw+tls://:1", false)] {
        let output = resound().args(["check", place, "--list"]).output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        assert_eq!(list.contains("urgent-byte"), is_listed, "{place}: {list}");
    }
}
