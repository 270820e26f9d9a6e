//! `ws` with the libraries of Node.js and Python, and under the Autobahn test suite; and `resound bench` with their servers.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::{
    common::{Daemon, resound},
    foreign, installed, node, python, run,
};

#[test]
fn npm_ws_sends_a_thousand_messages() {
    let Some(mut program) = node("ws", "websocket.js") else { return };
    let daemon = Daemon::start(&["ws://127.0.0.1:0"], &["--banner", "{pid}"]);
    let pid = daemon.pid().to_string();
    let printed = run(program.args([&format!("ws://{}", daemon.address(0)), "1000", &pid]));
    assert_eq!(printed, "1000 messages\n");
    let ended = daemon.stop();
    assert!(ended.stdout.contains("2 connections, 1000 frames, "), "{ended:?}");
}

#[test]
fn npm_ws_sends_a_thousand_compressed_messages() {
    for deflate in ["on", "context"] {
        let Some(mut program) = node("ws", "websocket.js") else { return };
        let daemon =
            Daemon::start(&[&format!("ws://127.0.0.1:0,deflate={deflate}")], &["--banner", "hi"]);
        let address = format!("ws://{}", daemon.address(0));
        let printed = run(program.args([&address, "1000", "hi", "deflate"]));
        assert_eq!(printed, "1000 messages\n");
    }
}

/// It offers compression with windows of 12 bits.
#[test]
fn python_websockets_sends_a_thousand_compressed_messages() {
    let path = std::env::temp_dir().join(format!("resound-deflate-{}.sock", std::process::id()));
    let path = path.display().to_string();
    for deflate in ["on", "context"] {
        let Some(mut program) = python("websockets", "websocket.py") else { return };
        let tcp = format!("ws://127.0.0.1:0,max=1MiB,deflate={deflate}");
        let unix = format!("ws+unix://{path},max=1MiB,deflate={deflate}");
        let daemon = Daemon::start(&[&tcp, &unix], &[]);
        let address = format!("ws://{}", daemon.address(0));
        assert_eq!(run(program.args([&address, "1000", &path])), "1000 messages\n");
    }
}

#[test]
fn python_websockets_sends_a_thousand_messages() {
    let Some(mut program) = python("websockets", "websocket.py") else { return };
    let path = std::env::temp_dir().join(format!("resound-interop-{}.sock", std::process::id()));
    let path = path.display().to_string();
    let daemon =
        Daemon::start(&["ws://127.0.0.1:0,max=1MiB", &format!("ws+unix://{path},max=1MiB")], &[]);
    program.args([&format!("ws://{}", daemon.address(0)), "1000", &path]);
    assert_eq!(run(&mut program), "1000 messages\n");
}

/// Loads a server of others, which `resound bench` starts and ends.
fn load(server: &Command) {
    // The load ends the server with its process group, which timeout(1) would leave.
    let words = server.get_args().skip(1).map(|word| format!("'{}'", word.to_str().unwrap()));
    let server_command = words.collect::<Vec<_>>().join(" ");
    let variables: Vec<_> =
        server.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
    for more in [
        &["--size", "0-300:90%,70000:10%", "--depth", "4"][..],
        &["--size", "125:50%,126:50%", "--rate", "500"],
        &["--churn", "3"],
    ] {
        let mut bench = resound();
        bench.envs(variables.iter().copied()).args(["bench", "ws://", "--server", &server_command]);
        bench
            .args(["-c", "4", "-z", "1s", "--timeout", "60s", "--quiet", "--json", "-"])
            .args(more);
        let report: Value = serde_json::from_str(&run(&mut bench)).unwrap();
        assert_eq!(report["errors"], 0, "{more:?}: {}", report["first_difference"]);
        assert!(report["frames"].as_u64() > Some(0), "{more:?}: {report}");
    }
}

#[test]
fn resound_bench_loads_the_server_of_python_websockets() {
    let Some(server) = python("websockets", "websocket_echo.py") else { return };
    load(&server);
}

#[test]
fn resound_bench_loads_the_server_of_npm_ws() {
    let Some(server) = node("ws", "websocket_echo.js") else { return };
    load(&server);
}

/// All cases but those of compression; with what they take for passed.
#[test]
fn the_autobahn_test_suite() {
    let Some(results) = autobahn("ws://127.0.0.1:0", "autobahn", r#"["*"]"#, r#"["12.*", "13.*"]"#)
    else {
        return;
    };
    assert_eq!(results.len(), 301);
    check_without_compression(&results);
}

/// Without chapter 9, about speed, which takes minutes in this old Python's TLS.
#[cfg(feature = "tls")]
#[test]
fn the_autobahn_test_suite_inside_tls() {
    let cases = r#"["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]"#;
    let results = autobahn("wss://127.0.0.1:0,tls=self-signed", "autobahn-tls", cases, "[]");
    let Some(results) = results else { return };
    assert_eq!(results.len(), 247);
    check_without_compression(&results);
}

fn check_without_compression(results: &serde_json::Map<String, Value>) {
    for (case, result) in results {
        // A close code that the standard leaves open (7.1.6: a large message before the close; 7.13: codes over 4999).
        let informational = matches!(case.as_str(), "7.1.6" | "7.13.1" | "7.13.2");
        let wanted = if informational { "INFORMATIONAL" } else { "OK" };
        assert_eq!(result["behavior"], wanted, "case {case}: {result}");
        assert_eq!(result["behaviorClose"], wanted, "case {case}: {result}");
    }
}

/// Of each group of the cases of compression an empty message, one of 4 KiB and, once, one in fragments. All 216 take
/// minutes; docs/websocket.md says how to run them.
#[test]
fn the_autobahn_test_suite_with_compression() {
    let groups = (1..=5)
        .map(|group| format!("12.{group}"))
        .chain((1..=7).map(|group| format!("13.{group}")));
    let cases: Vec<_> = groups
        .flat_map(|group| [1, 6].map(|case| format!("{group}.{case}")))
        .chain(["12.1.11".into()])
        .collect();
    let Some(results) = autobahn(
        "ws://127.0.0.1:0,deflate=context",
        "autobahn-deflate",
        &format!("{cases:?}"),
        "[]",
    ) else {
        return;
    };
    assert_eq!(results.len(), cases.len());
    for (case, result) in &results {
        assert_eq!(result["behavior"], "OK", "case {case}: {result}");
        assert_eq!(result["behaviorClose"], "OK", "case {case}: {result}");
    }
}

/// Runs these of its cases against a listener. The results by case, if it is installed.
fn autobahn(
    listener: &str,
    name: &str,
    cases: &str,
    excluded: &str,
) -> Option<serde_json::Map<String, Value>> {
    /// Each run needs a processor, and has a time limit.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = installed("autobahn", "the Autobahn test suite")?;
    let suite = folder.join("autobahn");
    if suite.join("no-python2.7").exists() {
        // Not a failure where programs are required: `.ci/install-tools` has looked for one, and there is none to install.
        println!("skipped: Python 2.7 not installed, which the Autobahn test suite needs");
        return None;
    }
    let daemon = Daemon::start(&[listener], &[]);
    let reports = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let spec = reports.with_extension("json");
    let text = format!(
        r#"{{"outdir": {reports:?}, "servers": [{{"agent": "resound", "url": "{}"}}],
            "cases": {cases}, "exclude-cases": {excluded}, "exclude-agent-cases": {{}}}}"#,
        daemon.listening[0]
    );
    fs::write(&spec, text).unwrap();
    let mut command = foreign(suite.join("python2.7"));
    command.env("PYTHONPATH", &suite).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["-c", "from autobahntestsuite.wstest import run; run()"]);
    run(command.args(["--mode", "fuzzingclient", "--spec"]).arg(&spec));
    let index = fs::read_to_string(reports.join("index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    Some(index["resound"].as_object().unwrap().clone())
}
