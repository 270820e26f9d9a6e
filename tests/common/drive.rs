//! Drives a protocol as a connection does: keeps what is not consumed, shows it again with more behind it,
//! and holds the protocol to what its trait promises.
//!
//! Use it with `#[path = "common/drive.rs"] mod drive;`.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeSet;

use resound::{
    Ends, Peer, Reason, Token,
    protocol::{Next, Output, Protocol, Received},
};

/// What became of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Driven {
    /// All that went back to the peer, in order.
    pub(crate) sent: Vec<u8>,
    /// How many whole units the protocol counted.
    pub(crate) frames: u64,
    /// What was received and never consumed. If the protocol ended the conversation, that is whatever
    /// happened to have arrived, so then it is left out.
    pub(crate) rest: Vec<u8>,
    /// How the protocol ended the conversation, if it did: [`Next::Finish`] or [`Next::Refuse`].
    pub(crate) end: Option<Next>,
}

/// Shows `chunks`, one after the other, to one connection of `protocol`, whose output is full from
/// `high_water` bytes on and is emptied whenever the protocol says so.
pub(crate) fn drive<'b>(
    protocol: &mut impl Protocol,
    high_water: usize,
    chunks: impl IntoIterator<Item = &'b [u8]>,
) -> Driven {
    let connection = Token::new(7, 1);
    let mut out = Output::new(high_water);
    let mut driven = Driven { sent: Vec::new(), frames: 0, rest: Vec::new(), end: None };
    let opened = protocol.opened(connection, &Ends::new(Peer::Unix, None), &mut out);
    driven.end = opened.err().map(Next::Refuse);
    driven.sent.extend_from_slice(out.bytes());
    out.clear();

    let mut seen = 0;
    let mut need = 0;
    for chunk in chunks {
        driven.rest.extend_from_slice(chunk);
        while driven.end.is_none() && driven.rest.len() >= need && driven.rest.len() > seen {
            let Received { consumed, echo, frames, next, .. } =
                protocol.receive(connection, &driven.rest, seen, &mut out);
            driven.sent.extend_from_slice(out.bytes());
            if echo {
                driven.sent.extend_from_slice(&driven.rest[..consumed]);
            }
            driven.rest.drain(..consumed);
            driven.frames += frames;
            (seen, need) = (driven.rest.len(), 0);
            match next {
                Next::Idle => assert!(driven.rest.is_empty(), "idle, yet something has begun"),
                Next::Rest { need: 0 } | Next::Handshake { need: 0 } => {}
                Next::Rest { need: more } | Next::Handshake { need: more } => {
                    assert!(more > driven.rest.len(), "what is needed is there");
                    need = more;
                }
                Next::Full => {
                    assert!(out.is_full() || consumed > 0, "it stopped for nothing");
                    assert!(!driven.rest.is_empty(), "full with nothing more to answer");
                    seen = 0;
                }
                Next::Finish | Next::Refuse(_) => driven.end = Some(next),
                other => panic!("unknown: {other:?}"),
            }
            out.clear();
        }
    }
    protocol.closed(connection, Reason::PeerClosed);
    if driven.end.is_some() {
        driven.rest.clear();
    }
    driven
}

/// The pieces of `bytes` between the places that `cuts` name, in any order; places outside count from the
/// front again, and no piece is empty.
pub(crate) fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let places: BTreeSet<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    let mut pieces = Vec::with_capacity(places.len() + 1);
    let mut from = 0;
    for to in places.into_iter().chain([bytes.len()]) {
        if from < to {
            pieces.push(&bytes[from..to]);
            from = to;
        }
    }
    pieces
}
