//! Two daemons behind a HAProxy that asks for `/readyz`: restarted one after the other, as an upgrade does it.

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    Load,
    common::{Daemon, PATIENCE, eventually, resound},
    proxy::HaProxy,
};

/// An address of loopback that no other process of these tests has, so that a port is free again after a restart.
fn own_address() -> String {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{low}", 100 + high)
}

/// How often the balancer asks, and how long a daemon goes on after it was told to stop.
#[derive(Clone, Copy)]
struct Pace {
    check: Duration,
    drain_delay: Duration,
}

/// Two daemons and the HAProxy in front of them.
struct Setup {
    pace: Pace,
    daemons: Vec<Daemon>,
    proxy: HaProxy,
    statistics: PathBuf,
}

/// A daemon, its port and its admin port.
const SERVERS: [(&str, u16, u16); 2] = [("one", 20_001, 20_901), ("two", 20_002, 20_902)];

fn start(server: usize, pace: Pace) -> Daemon {
    let (_, port, admin) = SERVERS[server];
    let address = own_address();
    let mut command = resound();
    command.args(["serve", "--listen", &format!("frames://{address}:{port}")]);
    command.args(["--admin", &format!("{address}:{admin}")]);
    command.args(["--drain-delay", &format!("{}ms", pace.drain_delay.as_millis())]);
    Daemon::spawn(command, 2)
}

impl Setup {
    fn new(pace: Pace) -> Option<Self> {
        let address = own_address();
        let name = format!("resound-balancer-{}", std::process::id());
        let statistics = std::env::temp_dir().join(name);
        let mut config = format!(
            "global\n stats socket {}\n\
             defaults\n mode tcp\n retries 0\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n\
             listen echo\n bind fd@0\n option httpchk GET /readyz\n\
             default-server check fall 1 rise 1 inter {}ms\n",
            statistics.display(),
            pace.check.as_millis(),
        );
        for (name, port, admin) in SERVERS {
            config.push_str(&format!(" server {name} {address}:{port} port {admin}\n"));
        }
        let daemons = vec![start(0, pace), start(1, pace)];
        let proxy = HaProxy::with_config("balancer", &config)?;
        let setup = Self { pace, daemons, proxy, statistics };
        eventually("its statistics can be read", || UnixStream::connect(&setup.statistics).is_ok());
        Some(setup)
    }

    /// What HAProxy says of a server, by the names of its columns.
    fn server(&self, server: usize) -> HashMap<String, String> {
        let mut stream = UnixStream::connect(&self.statistics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut rows = text.lines().map(|line| line.trim_start_matches("# ").split(','));
        let names = rows.next().unwrap();
        let mut row = rows.find(|row| row.clone().nth(1) == Some(SERVERS[server].0)).unwrap();
        names.map(|name| (name.to_owned(), row.next().unwrap_or_default().to_owned())).collect()
    }

    /// Stops a daemon and starts it again. False if HAProxy did not see in time that it was about to stop.
    fn restart(&mut self, server: usize) -> bool {
        let told = Instant::now();
        self.daemons[server].signal(Signal::TERM);
        eventually("HAProxy has left it", || {
            let state = self.server(server);
            state["status"].starts_with("DOWN") && state["scur"] == "0"
        });
        let was_in_time = told.elapsed() < self.pace.drain_delay;
        let ended = self.daemons[server].wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        self.daemons[server] = start(server, self.pace);
        let before = self.server(server)["stot"].clone();
        eventually("HAProxy has come back to it", || {
            let state = self.server(server);
            state["status"] == "UP" && state["stot"] != before
        });
        was_in_time
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.statistics);
    }
}

/// Restarts both under load. `None` where there is no HAProxy; false if this machine was too slow for the pace: HAProxy saw
/// a drain too late, or a daemon down that was not.
fn restart_both(pace: Pace) -> Option<bool> {
    let mut setup = Setup::new(pace)?;
    let through = setup.proxy.address.to_string();
    let load = Load::start(&[&through, "-c", "20", "--rate", "500", "--churn", "10"]);
    for server in [0, 1] {
        eventually("it has connections", || setup.server(server)["stot"] != "0");
    }
    let were_in_time = setup.restart(0) && setup.restart(1);
    let once = |server| setup.server(server)["chkdown"] == "1";
    if !were_in_time || !once(0) || !once(1) {
        return Some(false);
    }
    let report = load.end();
    assert!(report["frames"].as_u64().unwrap() > 0);
    assert_eq!(report["errors"], 0, "{}", report["errors_by_name"]);
    Some(true)
}

#[test]
fn a_restart_of_each_in_turn_is_seen_by_no_client() {
    for seconds in [3, 15, 60] {
        let drain_delay = Duration::from_secs(seconds);
        match restart_both(Pace { check: drain_delay / 20, drain_delay }) {
            Some(false) => println!("with a drain delay of {seconds} s HAProxy was too late"),
            Some(true) | None => return,
        }
    }
    panic!("HAProxy was always too late");
}
