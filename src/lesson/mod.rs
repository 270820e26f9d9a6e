//! The classic mistakes of servers, each measured beside resound.
//!
//! A [`Lesson`] is a small server that is wrong in one way (`examples/lessons/`, compiled in as
//! [`servers`]), texts about the mistake, and a measurement. The measurement is a client of a server that was started as a
//! process of its own ([`Stage`](stage::Stage)): the wrong one, resound, or a student's. It gives [`figures`](figure), the
//! first of which has a bound that a right server keeps; so the same number shows the mistake, and that it is gone.

mod client;
mod crowd;
pub(crate) mod figure;
mod kernel;
pub(crate) mod lessons;
pub(crate) mod report;
mod segments;
mod servers;
mod source;
pub(crate) mod stage;

use std::{io, net::TcpListener};

use self::{figure::Figure, stage::Stage};

/// One mistake: the server that makes it, how it shows, and where it is done right.
#[derive(Debug)]
pub(crate) struct Lesson {
    /// As it is typed.
    pub(crate) name: &'static str,
    /// The mistake, in one line.
    pub(crate) title: &'static str,
    /// Why it happens, and what comes of it.
    pub(crate) story: &'static str,
    /// What the measurement does.
    pub(crate) method: &'static str,
    /// What a student may want to know before mending it.
    pub(crate) hint: &'static str,
    /// The path of the wrong server, and its text.
    pub(crate) file: &'static str,
    pub(crate) source: &'static str,
    /// Runs it; returns only with an error.
    pub(crate) serve: fn(&TcpListener) -> io::Result<()>,
    /// What it speaks, as the address for `resound check`: `frames://`, with the keys of its dialect.
    pub(crate) protocol: &'static str,
    /// Further arguments of `resound serve`.
    pub(crate) resound: &'static str,
    pub(crate) measure: fn(&Stage) -> Result<Vec<Figure>, String>,
    /// Where resound does it right: files and symbols, and the test that fails without them.
    pub(crate) right: &'static str,
    pub(crate) test: &'static str,
    /// The man pages, and what to look for in them.
    pub(crate) pages: &'static str,
    /// The cases of `resound check` that a server without the mistake passes.
    pub(crate) cases: &'static [&'static str],
}
