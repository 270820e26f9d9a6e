//! The fields that every answer of a listener has.

use super::{Clock, date::Date};
use crate::{Ends, Token, protocol::identity::Tag};

/// Lets pages of any origin read an answer, and all its fields (Fetch standard, section 3.3.3).
const ANY_ORIGIN: &[u8] = b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n";

/// What goes into every answer of a listener.
#[derive(Debug)]
pub(in crate::protocol) struct Common {
    date: Date,
    pub(in crate::protocol) tag: Option<Tag>,
    pub(in crate::protocol) cors: bool,
}

/// The same for one connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol) struct Always<'c> {
    date: &'c Date,
    /// The server's tag; empty if there is none.
    tag: &'c str,
    pub(super) cors: bool,
}

impl Common {
    pub(in crate::protocol) const fn new(clock: Clock, tag: Option<Tag>, cors: bool) -> Self {
        Self { date: Date::new(clock), tag, cors }
    }

    pub(in crate::protocol) const fn set_clock(&mut self, clock: Clock) {
        self.date = Date::new(clock);
    }

    /// What goes into the answers to `connection`.
    pub(in crate::protocol) fn to(&self, connection: Token) -> Always<'_> {
        let tag = self.tag.as_ref().map_or("", |tag| tag.text(connection));
        Always { date: &self.date, tag, cors: self.cors }
    }

    /// To be called by the protocol's [`opened`](crate::protocol::Protocol::opened).
    pub(in crate::protocol) fn opened(&mut self, connection: Token, ends: &Ends) {
        if let Some(tag) = &mut self.tag {
            tag.opened(connection, ends);
        }
    }

    /// What [`restore`](Self::restore) needs.
    pub(in crate::protocol) fn describe(&self, connection: Token) -> &str {
        self.tag.as_ref().map_or("", |tag| tag.describe(connection))
    }

    /// To be called by the protocol's [`restore`](crate::protocol::Protocol::restore).
    pub(in crate::protocol) fn restore(&mut self, connection: Token, tag_text: &str) {
        if let Some(tag) = &mut self.tag {
            tag.restore(connection, tag_text);
        }
    }

    /// To be called by the protocol's [`closed`](crate::protocol::Protocol::closed).
    pub(in crate::protocol) fn closed(&mut self, connection: Token) {
        if let Some(tag) = &mut self.tag {
            tag.closed(connection);
        }
    }
}

impl Always<'_> {
    /// Appends the fields.
    pub(in crate::protocol) fn write(self, out: &mut Vec<u8>) {
        self.date.write(out);
        if self.cors {
            out.extend_from_slice(ANY_ORIGIN);
        }
        self.write_tag(out);
    }

    /// Appends the field that says what answered, if there is one.
    pub(in crate::protocol) fn write_tag(self, out: &mut Vec<u8>) {
        if self.tag.is_empty() {
            return;
        }
        out.extend_from_slice(b"X-Served-By: ");
        out.extend_from_slice(self.tag.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
