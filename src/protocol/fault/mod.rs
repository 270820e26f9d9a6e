//! Faults on demand: what a server does wrong, at which frame of which connection.
//!
//! A [`Plan`] says it in text, `reset=7@2` for example: of the second frame that a connection sends, 7 bytes reach the
//! peer, and then RST. [`Faulty`] is a layer around a [`Protocol`](super::Protocol) that changes its replies as the plan
//! says. What concerns time, segments and the end of the connection becomes a schedule of its output, which the
//! connection carries out on the loop's timer.
//!
//! Every decision is a function of the seed, the ordinal of the connection, the ordinal of the frame and the fault, and
//! never of time. So the same clients in the same order get the same faults.

mod by_path;
mod content;
mod datagrams;
mod kind;
mod layer;
mod list;
mod plan;
mod recorded;
mod shared;
mod text;
mod units;

pub(crate) use by_path::by_path;
pub(crate) use datagrams::FaultyDatagrams;
pub use kind::{Damage, Delay, Kind, Length};
pub use layer::Faulty;
pub use list::{Entry, Group, KINDS, Samples};
pub use plan::{Fault, Hit, Plan, PlanError, Where, Who};
pub use recorded::Recorded;
pub use shared::{FaultEvent, Faults, Journal};
pub use text::{Share, Span};
pub use units::{Piece, Units};
