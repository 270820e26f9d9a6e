//! In place of `deflate.rs` if this crate is built without its feature `deflate`: nothing is agreed on.

use super::failure::Failure;
use crate::{
    Token,
    protocol::{Output, http::head::Problem, key::BadTerms, offer::Terms},
};

/// No listener has it.
#[derive(Debug)]
pub(super) enum Deflate {}

/// No handshake has it.
#[derive(Debug)]
pub(super) enum Agreed {}

impl Agreed {
    pub(super) fn write(&self, _: &mut Vec<u8>) {
        match *self {}
    }
}

impl Deflate {
    pub(super) const fn asked(_: &Terms) -> Result<Option<Self>, BadTerms> {
        Ok(None)
    }

    pub(super) fn agree(&self, _: &[&[u8]]) -> Result<Option<Agreed>, Problem> {
        match *self {}
    }

    pub(super) fn opened(&mut self, _: Token, _: &Agreed, _: &mut Output) {
        match *self {}
    }

    pub(super) fn check(&mut self, _: Token, _: &[u8], _: bool, _: u32) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn keeps_state_of(&self, _: Token) -> bool {
        match *self {}
    }

    pub(super) fn closed(&mut self, _: Token) {
        match *self {}
    }
}
