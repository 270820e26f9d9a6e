//! What is compared: the loads of each protocol.

use crate::common::protocol::Protocol;

/// A load on the servers of one protocol.
#[derive(Debug)]
pub struct Cell {
    pub name: &'static str,
    pub protocol: Protocol,
    /// Arguments of `resound bench`.
    pub load: &'static str,
    pub kind: Kind,
    /// Whether it is part of a `--quick` run.
    pub quick: bool,
}

/// What is done with the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It runs as it is.
    Plain,
    /// It runs at half the rate that the yardstick reaches with it; latencies count from when a frame was due.
    HalfPeak,
    /// It runs beside another load with these arguments. Latencies are its own, all else is the other's.
    Beside(&'static str),
}

impl Cell {
    const fn new(name: &'static str, protocol: Protocol, load: &'static str) -> Self {
        Self { name, protocol, load, kind: Kind::Plain, quick: false }
    }

    const fn beside(self, other: &'static str) -> Self {
        Self { kind: Kind::Beside(other), ..self }
    }

    const fn at_half_peak(self) -> Self {
        Self { kind: Kind::HalfPeak, ..self }
    }

    /// It is part of a `--quick` run.
    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    /// For a heading.
    pub fn describe(&self) -> String {
        let flags = match self.protocol.flags() {
            "" => String::new(),
            flags => format!(" {flags}"),
        };
        let load = format!("`resound bench {}:// {}{flags}`", self.protocol, self.load);
        match self.kind {
            Kind::Plain => load,
            Kind::HalfPeak => format!("{load} at `--rate` half of the yardstick's peak"),
            Kind::Beside(other) => {
                format!("latencies of {load} beside `{other}`, all else of the latter")
            }
        }
    }
}

/// One connection that sends little, whose answers heavy traffic on others must not delay.
const PING: &str = "-c 1 --size 64 --rate 500";

/// All of them, in the order of the tables.
pub static ALL: [Cell; 38] = [
    Cell::new("64B-50x1", Protocol::Frames, "-c 50 --depth 1 --size 64"),
    Cell::new("64B-10x1", Protocol::Frames, "-c 10 --depth 1 --size 64"),
    Cell::new("64B-1x1", Protocol::Frames, "-c 1 --depth 1 --size 64"),
    Cell::new("64B-1000x1", Protocol::Frames, "-c 1000 --depth 1 --size 64"),
    Cell::new("64B-50x64", Protocol::Frames, "-c 50 --depth 64 --size 64").quick(),
    Cell::new("64KiB-10x4", Protocol::Frames, "-c 10 --depth 4 --size 64KiB"),
    Cell::new("1MiB-10x1", Protocol::Frames, "-c 10 --depth 1 --size 1MiB"),
    Cell::new("churn", Protocol::Frames, "-c 50 --churn 1 --size 64").quick(),
    Cell::new("half-peak", Protocol::Frames, "-c 50 --size 64").at_half_peak(),
    // A send buffer that holds less than a frame: nothing is sent before the server has acknowledged the last part.
    Cell::new("small-send-buffer", Protocol::Frames, "-c 1 --size 100000 --sndbuf 5000"),
    Cell::new("ping-1MiB", Protocol::Frames, PING).beside("-c 10 --depth 4 --size 1MiB"),
    Cell::new("ping-8MiB", Protocol::Frames, PING).beside("-c 10 --depth 4 --size 8MiB"),
    Cell::new("raw-64B-50x1", Protocol::Raw, "-c 50 --depth 1 --size 64").quick(),
    Cell::new("lines-64B-50x1", Protocol::Lines, "-c 50 --depth 1 --size 64"),
    Cell::new("lines-64B-1000x1", Protocol::Lines, "-c 1000 --depth 1 --size 64"),
    Cell::new("lines-64B-50x64", Protocol::Lines, "-c 50 --depth 64 --size 64").quick(),
    Cell::new("lines-64KiB-10x4", Protocol::Lines, "-c 10 --depth 4 --size 64KiB"),
    Cell::new("lines-half-peak", Protocol::Lines, "-c 50 --size 64").at_half_peak(),
    Cell::new("udp-64B-1x1", Protocol::Udp, "-c 1 --depth 1 --size 64"),
    Cell::new("udp-64B-1x16", Protocol::Udp, "-c 1 --depth 16 --size 64").quick(),
    Cell::new("udp-64B-50x1", Protocol::Udp, "-c 50 --depth 1 --size 64"),
    // No more in flight than any receive queue holds: a datagram that finds no room is lost.
    Cell::new("udp-half-peak", Protocol::Udp, "-c 50 --depth 4 --size 64").at_half_peak(),
    Cell::new("tls-64B-50x1", Protocol::Tls, "-c 50 --depth 1 --size 64"),
    Cell::new("tls-64B-50x64", Protocol::Tls, "-c 50 --depth 64 --size 64").quick(),
    Cell::new("tls-64KiB-10x4", Protocol::Tls, "-c 10 --depth 4 --size 64KiB"),
    Cell::new("tls-full", Protocol::Tls, "-c 20 --churn 1 --size 64 --full-handshakes"),
    Cell::new("tls-resumed", Protocol::Tls, "-c 20 --churn 1 --size 64").quick(),
    Cell::new("tls-half-peak", Protocol::Tls, "-c 50 --size 64").at_half_peak(),
    Cell::new("http-64B-50x1", Protocol::Http, "-c 50 --depth 1 --size 64"),
    Cell::new("http-64B-1000x1", Protocol::Http, "-c 1000 --depth 1 --size 64"),
    Cell::new("http-64B-50x16", Protocol::Http, "-c 50 --depth 16 --size 64").quick(),
    Cell::new("http-64KiB-10x4", Protocol::Http, "-c 10 --depth 4 --size 64KiB"),
    Cell::new("http-half-peak", Protocol::Http, "-c 50 --size 64").at_half_peak(),
    Cell::new("ws-64B-50x1", Protocol::WebSocket, "-c 50 --depth 1 --size 64"),
    Cell::new("ws-64B-1000x1", Protocol::WebSocket, "-c 1000 --depth 1 --size 64"),
    Cell::new("ws-64B-50x64", Protocol::WebSocket, "-c 50 --depth 64 --size 64").quick(),
    Cell::new("ws-64KiB-10x4", Protocol::WebSocket, "-c 10 --depth 4 --size 64KiB"),
    Cell::new("ws-half-peak", Protocol::WebSocket, "-c 50 --size 64").at_half_peak(),
];
