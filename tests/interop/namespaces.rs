//! Traffic between network namespaces that the test makes, for which it must be root.

use std::{
    io::{BufRead, Read, Write},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use crate::{
    common::{Daemon, PATIENCE, resound, skip, tool},
    foreign, port, run, source,
};

/// Network namespaces, which end with their test.
pub(crate) struct Namespaces {
    names: Vec<String>,
}

impl Namespaces {
    /// This many, each with a loopback device; `None` where that is not allowed.
    pub(crate) fn new(test: &str, count: usize) -> Option<Self> {
        tool("ip")?;
        let mut all = Self { names: Vec::new() };
        for index in 0..count {
            let name = format!("resound-{test}-{}-{index}", std::process::id());
            let output = ip(&["netns", "add", &name]);
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr);
                skip(&format!("ip netns add: {}", why.trim()));
                return None;
            }
            all.names.push(name);
            all.ip(index, &["link", "set", "lo", "up"]);
        }
        Some(all)
    }

    /// Runs `ip` in one of them.
    fn ip(&self, index: usize, arguments: &[&str]) {
        let output = ip(&[&["-n", &self.names[index]], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Connects the first, as `near`, with the second, as `far`, by a network of 1,500 bytes.
    fn link(&self, near: &str, far: &str) {
        let pair = "link add near mtu 1500 type veth peer far mtu 1500 netns";
        let pair: Vec<&str> = pair.split(' ').chain([self.names[1].as_str()]).collect();
        self.ip(0, &pair);
        for (index, device, address) in [(0, "near", near), (1, "far", far)] {
            self.ip(index, &["address", "add", address, "dev", device]);
            self.ip(index, &["link", "set", device, "up"]);
        }
    }

    /// `command`, to be run in one of them.
    pub(crate) fn within(&self, index: usize, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.names[index]]);
        inside.arg(command.get_program()).args(command.get_args());
        inside.env_remove("RESOUND_LISTEN");
        inside
    }

    fn daemon(&self, index: usize, listen: &str) -> Daemon {
        let mut command = resound();
        command.args(["serve", "--listen", listen]);
        Daemon::spawn(self.within(index, &command), 1)
    }

    /// Sends one datagram from an address that is not the sender's.
    fn forge(&self, index: usize, from: &str, to: &str) {
        let mut command = foreign("python3");
        command.arg(source("forge.py")).args([from, to]);
        run(&mut self.within(index, &command));
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Output {
    Command::new("ip").args(arguments).output().unwrap()
}

/// How many datagrams a daemon answered and dropped, by its last line.
fn counts(daemon: Daemon) -> (u64, u64) {
    let ended = daemon.stop();
    let words: Vec<&str> = ended.stdout.split_whitespace().collect();
    let number_before = |what: &str| {
        let pair = words.windows(2).find(|pair| pair[1].trim_end_matches([',', 's']) == what);
        pair.map_or(0, |pair| pair[0].parse().unwrap())
    };
    (number_before("frame"), number_before("datagram"))
}

#[test]
fn every_size_of_datagram_crosses_a_network_of_1500_bytes() {
    let Some(namespaces) = Namespaces::new("mtu", 2) else { return };
    namespaces.link("10.77.0.1/24", "10.77.0.2/24");
    let daemon = namespaces.daemon(0, "udp://10.77.0.1:0");
    let mut command = foreign("python3");
    command.arg(source("datagrams.py")).args(["10.77.0.1", port(&daemon, 0), "400", "65507"]);
    assert_eq!(run(&mut namespaces.within(1, &command)), "400 datagrams\n");
    assert_eq!(counts(daemon), (400, 0));
}

/// Row 51 of the fault table.
#[test]
fn a_host_that_vanishes_is_noticed_by_keepalive() {
    let Some(namespaces) = Namespaces::new("gone", 2) else { return };
    if tool("socat").is_none() {
        return;
    }
    namespaces.link("10.77.0.1/24", "10.77.0.2/24");
    let mut command = resound();
    command.args(["serve", "--listen", "lines://10.77.0.1:7001", "--keepalive", "1s"]);
    command.args(["--log-level", "debug"]);
    let mut daemon = Daemon::spawn(namespaces.within(0, &command), 1);
    let lost = one_says([&mut daemon], "closed lost");
    let mut client = foreign("socat");
    client.args(["-", "TCP:10.77.0.1:7001"]);
    let mut client = namespaces.within(1, &client);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    let mut echo = [0; 6];
    client.stdout.as_mut().unwrap().read_exact(&mut echo).unwrap();
    // Neither FIN nor RST can come from there now.
    namespaces.ip(1, &["link", "set", "far", "down"]);
    let noticed = lost.recv_timeout(PATIENCE);
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(noticed.is_ok());
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 connection") && ended.stdout.contains("1 lost"), "{ended:?}");
}

/// Waits for a line on standard error of one of the daemons.
fn one_says<const N: usize>(daemons: [&mut Daemon; N], what: &'static str) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    for daemon in daemons {
        let (lines, sender) = (daemon.take_stderr().lines(), sender.clone());
        thread::spawn(move || {
            let mut lines = lines.map_while(Result::ok);
            if lines.any(|line| line.contains(what)) {
                let _ = sender.send(());
            }
            // To the end, or the daemon could not write any more.
            lines.for_each(drop);
        });
    }
    receiver
}

#[test]
fn a_forged_loop_over_a_slow_link_ends() {
    let Some(namespaces) = Namespaces::new("slow", 3) else { return };
    let (Some(_), [_, _, relay]) = (tool("python3"), &namespaces.names[..]) else { return };
    for (index, address) in [(0, "10.77.0.1/24"), (1, "10.77.0.2/24")] {
        let far = format!("far{index}");
        let pair = ["link", "add", "near", "type", "veth", "peer", &far, "netns", relay];
        namespaces.ip(index, &pair);
        namespaces.ip(index, &["address", "add", address, "dev", "near"]);
        namespaces.ip(index, &["link", "set", "near", "up"]);
        namespaces.ip(2, &["link", "set", &far, "up"]);
    }
    let mut command = foreign("python3");
    command.arg(source("relay.py")).args(["far0", "far1", "0.001"]);
    let mut relay = namespaces.within(2, &command);
    let mut relay = relay.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    relay.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    // The rate limit alone would never drop one of a thousand datagrams a second.
    let mut one = namespaces.daemon(0, "udp://10.77.0.1:7001");
    let mut other = namespaces.daemon(1, "udp://10.77.0.2:7002");
    let guarded = one_says([&mut one, &mut other], "the loop guard drops");
    namespaces.forge(1, "10.77.0.2:7002", "10.77.0.1:7001");
    let ended = guarded.recv_timeout(PATIENCE);
    let ((answered, dropped), (others_answered, others_dropped)) = (counts(one), counts(other));
    drop(relay.stdin.take());
    assert!(relay.wait().unwrap().success());
    assert!(ended.is_ok(), "it goes on: {answered} and {others_answered} answers");
    assert_eq!(dropped + others_dropped, 1);
    assert!(answered < 1009 && others_answered < 1009, "{answered}, {others_answered}");
}

#[test]
fn a_forged_loop_of_two_daemons_dies() {
    let Some(namespaces) = Namespaces::new("loop", 1) else { return };
    let mut one = namespaces.daemon(0, "udp://127.0.0.1:7001,rate=10");
    let mut other = namespaces.daemon(0, "udp://127.0.0.2:7002,rate=10");
    let limited = one_says([&mut one, &mut other], "over the rate limit for one source");
    namespaces.forge(0, "127.0.0.2:7002", "127.0.0.1:7001");
    // It goes on until one of them receives more than its rate limit.
    limited.recv_timeout(PATIENCE).unwrap();
    let ((answered, dropped), (others_answered, others_dropped)) = (counts(one), counts(other));
    assert_eq!(dropped + others_dropped, 1);
    assert!(answered >= 10 && answered.abs_diff(others_answered) <= 1, "{answered}");
}

#[test]
fn a_loop_with_its_own_port_or_a_privileged_one_does_not_even_start() {
    let Some(namespaces) = Namespaces::new("port", 1) else { return };
    let one = namespaces.daemon(0, "udp://127.0.0.1:7001");
    let other = namespaces.daemon(0, "udp://127.0.0.2:7001");
    for from in ["127.0.0.2:7001", "127.0.0.2:7", "127.0.0.2:1023", "127.0.0.1:7001"] {
        namespaces.forge(0, from, "127.0.0.1:7001");
    }
    // Behind those four in the same queue.
    let mut command = foreign("python3");
    command.arg(source("datagrams.py")).args(["127.0.0.1", "7001", "10", "100"]);
    run(&mut namespaces.within(0, &command));
    assert_eq!(counts(one), (10, 4));
    assert_eq!(counts(other), (0, 0));
}
