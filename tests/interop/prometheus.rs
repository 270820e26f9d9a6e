//! Debian's Prometheus scrapes the daemon under load, evaluates the alerts and answers the queries of the dashboard.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    Load,
    common::{Daemon, eventually, http_get, resound, tool},
};

/// A Prometheus that scrapes one daemon, with its data.
struct Prometheus {
    child: Child,
    address: String,
    folder: PathBuf,
}

impl Prometheus {
    /// With the alerts of `deploy/`.
    fn start(program: &Path, folder: PathBuf, target: &str, token: &Path) -> Self {
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
        let config = serde_json::json!({
            "global": { "scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms" },
            "rule_files": [alerts],
            "scrape_configs": [{
                "job_name": "resound",
                "authorization": { "credentials_file": token },
                "static_configs": [{ "targets": [target] }],
            }],
        });
        // JSON is YAML too.
        let path = folder.join("prometheus.yml");
        fs::write(&path, config.to_string()).unwrap();
        let mut child = Command::new(program)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        let mut log = String::new();
        loop {
            let Some(line) = lines.next() else { panic!("it ended: {log}") };
            let line = line.unwrap();
            if let Some((_, behind)) = line.split_once("msg=\"Listening on\" address=") {
                address = Some(behind.to_owned());
            }
            if line.contains("Server is ready to receive web requests") {
                break;
            }
            log.push_str(&line);
        }
        thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("where it listens"), folder }
    }

    /// What its API says.
    fn api(&self, path: &str) -> Value {
        let (code, body) = http_get(&self.address, &format!("/api/v1/{path}"), "");
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str::<Value>(&body).unwrap()["data"].clone()
    }

    /// The samples that a query has now.
    fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        self.api(&format!("query?query={escaped}"))["result"].as_array().unwrap().clone()
    }

    /// The value of a query with one sample at most; 0 without any.
    fn value(&self, query: &str) -> f64 {
        let samples = self.query(query);
        assert!(samples.len() <= 1, "{samples:?}");
        samples.first().map_or(0.0, |sample| sample["value"][1].as_str().unwrap().parse().unwrap())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The queries of the dashboard, as Grafana sends them for one job and one instance.
fn dashboard() -> Vec<String> {
    let text = include_str!("../../deploy/grafana/resound.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .map(|query| query.replace("$job", "resound").replace("$instance", ".+"))
        .map(|query| query.replace("$__rate_interval", "1m"))
        .collect();
    assert!(queries.len() >= 20 && queries.iter().all(|query| !query.contains('$')), "{queries:?}");
    queries
}

#[test]
fn it_scrapes_under_load_and_the_alerts_and_the_dashboard_have_what_they_ask_for() {
    let Some(program) = tool("prometheus") else { return };
    let folder = std::env::temp_dir().join(format!("resound-prometheus-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let token = folder.join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.arg("--admin-token-file").arg(&token);
    let daemon = Daemon::spawn(command, 2);
    let prometheus = Prometheus::start(&program, folder, daemon.address(1), &token);

    // The load goes on until it was scraped twenty times.
    let load = Load::start(&[daemon.address(0), "-c", "20", "--rate", "500"]);
    eventually("twenty scrapes under load", || {
        prometheus.value("count_over_time((resound_connections_open == 20)[1h:250ms])") >= 20.0
    });
    let report = load.end();
    let own = || {
        let field = "Authorization: Bearer 0123456789abcdef\r\n";
        let (_, exposition) = http_get(daemon.address(1), "/metrics", field);
        let samples = exposition.lines().filter(|line| line.starts_with("resound_frames_total"));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    let frames = report["frames"].as_f64().unwrap();
    assert!(frames > 0.0 && own() >= frames, "{frames} frames came back");
    eventually("all frames are in a scrape", || {
        prometheus.value("sum(resound_frames_total)") == own()
    });
    // A scrape that takes too long on a busy machine leaves a gap.
    for query in dashboard() {
        eventually(&query, || !prometheus.query(&query).is_empty());
    }
    let rules = || prometheus.api("rules")["groups"][0]["rules"].as_array().unwrap().clone();
    eventually("all alerts are evaluated", || rules().iter().all(|rule| rule["health"] == "ok"));
    assert!(rules().len() >= 10);
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}");
    assert!(firing.is_empty(), "{firing:?}");
}
