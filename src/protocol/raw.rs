//! Everything back, as it comes: the Echo Protocol (RFC 862) over a stream.

use super::{
    Next, Output, Protocol, Received,
    fault::Units,
    identity::{greeted, line},
    key::{BANNER, REPLY},
    offer::Offer,
    reply::PieceReply,
};
use crate::{Ends, Token};

pub(super) const OFFER: Offer = Offer {
    name: "raw",
    about: "every byte comes back as it comes (RFC 862)",
    keys: &[BANNER, REPLY],
    units: |_| Ok(Units::Bytes),
    make: |terms| {
        let banner = terms.banner.as_ref();
        Ok(match terms.reply() {
            None => greeted(Raw, banner, line),
            Some(reply) => greeted(PieceReply(reply), banner, line),
        })
    },
};

/// Echoes every byte. It has no units, so it counts none and no frame timeout ever runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Protocol for Raw {
    fn receive(
        &mut self,
        _connection: Token,
        input: &[u8],
        _seen: usize,
        _out: &mut Output,
    ) -> Received {
        Received::echo(input.len(), 0, Next::Idle)
    }

    fn describe(&self, _: Token) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn restore(&mut self, _: Token, _: &Ends, state: &[u8]) -> bool {
        state.is_empty()
    }
}
