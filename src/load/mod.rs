//! The load generator: its engine, its checks, its statistics, its reports.
//!
//! The load is a protocol of the library on connections that go out, in the same reactor as a server's.

pub(crate) mod chart;
pub(crate) mod check;
pub(crate) mod comparison;
pub(crate) mod control;
mod diagnosis;
pub(crate) mod echo;
mod evidence;
pub(crate) mod fault;
pub(crate) mod gate;
pub(crate) mod hdr;
pub(crate) mod html;
pub(crate) mod http;
pub(crate) mod interval;
pub(crate) mod live;
pub(crate) mod nanos;
pub(crate) mod opening;
pub(crate) mod outage;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod procfs;
pub(crate) mod protocol;
pub(crate) mod ramp;
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod refusal;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod size;
pub(crate) mod stop;
pub(crate) mod tape;
pub(crate) mod target;
pub(crate) mod text;
pub(crate) mod timer;
pub(crate) mod traffic;
pub(crate) mod udp;
pub(crate) mod units;
pub(crate) mod warnings;
pub(crate) mod worker;
