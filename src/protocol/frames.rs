//! `frames`: sends each whole frame back, byte for byte.

use super::{
    Framed, Next, Output, Protocol, Received,
    fault::Units,
    identity::{Template, greeted},
    key::{BANNER, BadTerms, REPLY},
    offer::{Offer, Terms},
    reply::FrameReply,
    scanned::after,
};
use crate::{
    Ends, Token,
    frame::{self, Dialect, KeyError},
    plural::bytes,
};

pub(super) const OFFER: Offer = Offer {
    name: "frames",
    about: "each frame comes back whole: a length and that many bytes",
    keys: &[
        ("length", "how the length is written: u8, u16be, u32le (the default), varint ..."),
        ("offset", "bytes before the length"),
        ("adjust", "added to the length to give the bytes behind it; -4 where a u32 counts itself"),
        ("max", "the most bytes behind the length; default --max-frame"),
        ("preset", "all of these by a name, like kafka; see resound dialects"),
        BANNER,
        REPLY,
    ],
    units: |terms| Ok(Units::Frames(terms.dialect()?)),
    make: |terms| {
        let dialect = terms.dialect()?;
        check_length("banner", terms.banner.as_ref(), dialect)?;
        check_length("reply", terms.reply.as_ref(), dialect)?;
        // It fits: the shortest and the longest text were checked above.
        let wrap = move |text: &str, out: &mut Output| {
            let _ = dialect.encode(text.as_bytes(), out.as_mut_vec());
        };
        let banner = terms.banner.as_ref();
        Ok(match terms.reply() {
            None => greeted(Frames::new(dialect), banner, wrap),
            Some(reply) => greeted(Framed::new(dialect, FrameReply(reply)), banner, wrap),
        })
    },
};

/// Fails if the text of `template`, at its shortest or at its longest, is no frame of that dialect.
fn check_length(key: &str, template: Option<&Template>, dialect: Dialect) -> Result<(), BadTerms> {
    for length in template.into_iter().flat_map(Template::lengths) {
        dialect.encode_head(length as u64, &mut Vec::new()).map_err(|error| {
            BadTerms(format!("a {key} of {} is no frame here: {error}", bytes(length)))
        })?;
    }
    Ok(())
}

impl Terms {
    /// The dialect that `length`, `offset`, `adjust` and `preset` describe (see [`frame::Keys`]), with the limit of
    /// `max`, or else the preset's, or else `max_frame`.
    ///
    /// # Errors
    ///
    /// As [`frame::Keys`].
    pub fn dialect(&self) -> Result<Dialect, KeyError> {
        let mut keys = frame::Keys::default();
        let known = self.keys.iter().filter(|(key, _)| frame::Keys::NAMES.contains(&key.as_str()));
        known.clone().try_for_each(|(key, value)| keys.set(key, value))?;
        let has_preset = known.clone().any(|(key, _)| key == "preset");
        let max = if has_preset { self.max } else { self.max.or(Some(self.max_frame)) };
        max.into_iter().for_each(|max| keys.set_max(max));
        keys.dialect()
    }
}

/// Echoes every whole frame of one dialect.
///
/// An invalid length ends the connection after the frames before it are sent back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    dialect: Dialect,
}

impl Frames {
    /// Echoes the frames of that `dialect`.
    #[must_use]
    pub const fn new(dialect: Dialect) -> Self {
        Self { dialect }
    }
}

impl Protocol for Frames {
    fn receive(
        &mut self,
        _connection: Token,
        input: &[u8],
        _seen: usize,
        _out: &mut Output,
    ) -> Received {
        let scan = self.dialect.scan(input);
        let next = after(scan.rest, &input[scan.whole..], |need| Next::Rest { need });
        Received::echo(scan.whole, scan.frames, next)
    }

    fn describe(&self, _: Token) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn restore(&mut self, _: Token, _: &Ends, state: &[u8]) -> bool {
        state.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Refusal;

    #[test]
    fn frames_before_a_bad_length_go_back() {
        let input = b"\x02\0\0\0hi\0\0\0\0GET / HTTP/1.1\r\n\r\n";
        let received = Frames::default().receive(Token::new(0, 1), input, 0, &mut Output::new(0));
        assert_eq!((received.consumed, received.frames, received.echo), (10, 2, true));
        assert!(matches!(received.next, Next::Refuse(Refusal::TooLong { .. })));
    }
}
