//! The measurements of a run: when they begin and end, how they are collected and compared.

pub(crate) mod control;
pub(crate) mod hdr;
pub(crate) mod interval;
pub(crate) mod outage;
pub(crate) mod record;
