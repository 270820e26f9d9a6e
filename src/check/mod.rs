//! The conformance suite for echo servers.
//!
//! A [`case`] is a short script: [`peer`]s connect to the server, send, and expect. Which protocols it applies to is data.
//! Each step goes into the case's [`script`], and a case that fails shows it as a sequence [`diagram`]. [`run`] goes
//! through the [`cases`] and tells each [`report`] what it found.

pub(crate) mod case;
pub(crate) mod cases;
mod diagram;
mod http;
mod peer;
pub(crate) mod report;
pub(crate) mod run;
mod scene;
mod script;
mod subject;
pub(crate) mod target;
mod verdict;
mod websocket;
