//! The alerts and the dashboard in `deploy/`: they ask for metrics that there are, and the alerts fire when they should.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{Daemon, http_get, resound, tool};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// All words that are names of metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("resound_") || word.starts_with("process_")).collect()
}

#[test]
fn every_metric_of_the_alerts_and_the_dashboard_is_there() {
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let daemon = Daemon::spawn(command, 2);
    let (code, exposition) = http_get(daemon.address(1), "/metrics", "");
    assert_eq!(code, 200);
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    let there: BTreeSet<&str> =
        samples.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    for file in ["prometheus/alerts.yml", "prometheus/alerts.test.yml", "grafana/resound.json"] {
        let text = fs::read_to_string(deploy(file)).unwrap();
        let named = metrics_in(&text);
        assert!(named.len() >= 10, "only {named:?} in {file}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}, which /metrics does not have");
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let text = |path| fs::read_to_string(deploy(path)).unwrap();
    let (alerts, tests) = (text("prometheus/alerts.yml"), text("prometheus/alerts.test.yml"));
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let begin = format!("alertname: {name}\n");
        let mut parts = tests.split(&begin).skip(1);
        let fires = parts.any(|part| part.lines().nth(1).map(str::trim) == Some("exp_alerts:"));
        assert!(fires, "no test in which {name} fires");
    }
}

#[test]
fn promtool_finds_the_alerts_right() {
    let Some(promtool) = tool("promtool") else { return };
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let mut command = Command::new(&promtool);
        command.args(arguments).current_dir(deploy("prometheus"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}
