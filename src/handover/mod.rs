//! Replacing a running daemon: the old process hands its listeners and connections over to the new one.
//!
//! The two talk over a Unix stream socket, in messages ([`channel`]) of JSON, bytes and descriptors (unix(7),
//! `SCM_RIGHTS`):
//!
//! ```text
//!   old process (predecessor.rs)                new process (successor.rs)
//!                    ◀── Hello ───────────────  version, pid
//!   what there is ── Offer ──────────────────▶  binds what is new, starts its loops
//!                    ◀── Ready ───────────────  which of it is wanted
//!   stops accepting ─ Listeners ─────────────▶  accepts
//!                    ◀── Serving ─────────────
//!   takes up to 250 connections out of a loop:
//!                    ── Connections ──────────▶  keeps them, reads nothing
//!                    ◀── Received ────────────
//!   closes its copies ─ Yours ───────────────▶  puts them into a loop
//!                    ◀── Adopted ─────────────
//!   ... until none is left that can be described ...
//!                    ── Done ─────────────────▶
//!                    ◀── Confirmed ───────────
//!   tells systemd the new pid ── Main ───────▶  says that it is ready
//!   ... Connections, now and then, until the last is gone ...
//! ```
//!
//! At any moment one process at most reads from a connection. Until `Yours` the old process has it and can take it back;
//! from then on it is the new one's. The old process keeps its listeners until `Confirmed`: if the new one fails before,
//! the old one accepts again, and no connection in a backlog is lost.

mod channel;
mod loop_handle;
mod message;
mod predecessor;
mod record;
mod successor;

pub(crate) use self::{
    channel::Channel,
    loop_handle::LoopHandle,
    message::{Offered, Role},
    predecessor::{Predecessor, Report},
    successor::{Claimed, Successor, Target},
};

/// The version of the messages, and of all that protocols describe. Two processes with different versions do not hand
/// over.
const VERSION: u32 = 2;
