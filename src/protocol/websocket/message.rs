//! The message that is coming in: its frames are checked as they come, and answered when it is whole.

use super::{
    Deflate,
    failure::Failure,
    frame::{self, Head, Opcode},
    utf8::Utf8,
};
use crate::{Token, protocol::Output};

/// Bytes that the frames of a fragmented message may take up in the input, beside twice the longest message.
const FRAMING: u32 = 64 << 10;

/// The message that is coming in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Message {
    kind: Kind,
    pub(super) compression: Compression,
    /// The state of its text so far.
    utf8: Utf8,
    /// Bytes of payload in its whole frames.
    length: u32,
    /// Bytes of payload of the frame that is not whole yet which `utf8` covers already.
    checked: u32,
    /// Bytes of its whole frames, and of control frames between them: they are checked and answered, and stay at the
    /// start of the input until the message is whole.
    pub(super) held: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// No message has begun, or only a part of its first frame has come.
    #[default]
    None,
    Text,
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Compression {
    /// Not agreed on.
    #[default]
    None,
    /// A message may be compressed. The one that is coming in is not, as far as is known.
    Possible,
    /// The message that is coming in is compressed.
    Used,
}

/// What messages of a connection are held to.
pub(super) struct Rules<'p> {
    pub(super) connection: Token,
    /// The longest message, without its compression.
    pub(super) max: u32,
    /// Compression was agreed on for none of the connections if this is `None`.
    pub(super) deflate: Option<&'p mut Deflate>,
}

/// The result of one look at the input.
pub(super) enum Turn {
    /// A control frame of this many bytes is consumed.
    Control(usize),
    /// A message in one frame of this many bytes is answered and consumed.
    Message(usize),
    /// A frame of a fragmented message, or within one, is held.
    Held,
    /// All frames of a fragmented message are held.
    Whole,
    /// The client has closed, with this many bytes.
    Closed(usize),
    /// It takes more bytes: the rest of the input must become this long, if that is known, or else 0.
    More { need: usize },
}

impl Compression {
    /// That of the next message.
    const fn next(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Possible | Self::Used => Self::Possible,
        }
    }
}

impl Message {
    /// No message has begun.
    pub(super) const fn none(compression: Compression) -> Self {
        Self { kind: Kind::None, compression, utf8: Utf8::NEW, length: 0, checked: 0, held: 0 }
    }

    /// The state behind this message.
    pub(super) const fn next(self) -> Self {
        Self::none(self.compression.next())
    }

    /// Takes the first frame in `input` that is not held already.
    pub(super) fn turn(
        &mut self,
        rules: Rules<'_>,
        all: &[u8],
        out: &mut Output,
    ) -> Result<Turn, Failure> {
        let held = self.held as usize;
        let (in_message, input) = (self.kind != Kind::None, &all[held..]);
        let may_compress = self.compression != Compression::None;
        let head = frame::head(input, in_message, may_compress).map_err(Failure::protocol)?;
        let Some(head) = head else { return Ok(Turn::More { need: 0 }) };
        if !head.opcode.is_control() {
            return self.data(rules, &head, all, out);
        }
        let whole = head.whole();
        let Some(masked) = input.get(head.length..whole) else {
            return Ok(Turn::More { need: held + whole });
        };
        match head.opcode {
            Opcode::Ping => {
                frame::write_head(true, Opcode::Pong, masked.len(), out.as_mut_vec());
                frame::unmask(masked, head.mask, out.as_mut_vec());
            }
            Opcode::Close => {
                let mut payload = [0; 125];
                let payload = &mut payload[..masked.len()];
                payload.copy_from_slice(masked);
                frame::apply(head.mask, payload);
                let code = close_code(payload)?;
                frame::write_head(true, Opcode::Close, code.len(), out.as_mut_vec());
                out.extend(code);
                return Ok(Turn::Closed(held + whole));
            }
            _ => {}
        }
        if in_message {
            self.hold(rules.max, whole)?;
            return Ok(Turn::Held);
        }
        Ok(Turn::Control(whole))
    }

    /// Takes a data frame, which comes in `all` behind the frames that are held.
    fn data(
        &mut self,
        rules: Rules<'_>,
        head: &Head,
        all: &[u8],
        out: &mut Output,
    ) -> Result<Turn, Failure> {
        let (held, input) = (self.held as usize, &all[self.held as usize..]);
        let in_message = self.kind != Kind::None;
        let compressed = head.compressed || self.compression == Compression::Used;
        let max = if compressed { longest_compressed(rules.max) } else { rules.max };
        let length = u64::from(self.length) + head.payload;
        if length > max.into() {
            return Err(Failure::too_long(length, max));
        }
        let is_text = head.opcode == Opcode::Text || self.kind == Kind::Text;
        // What is compressed is checked when all of it has come.
        let text = is_text && !compressed;
        let whole = head.whole();
        let checked = self.checked as usize;
        let Some(masked) = input.get(head.length..whole) else {
            if !text {
                return Ok(Turn::More { need: held + whole });
            }
            let unchecked = &input[head.length + checked..];
            check(&mut self.utf8, unchecked, head.mask, checked)?;
            // Less than the frame's payload, which the limit keeps to 32 bits.
            self.checked = u32::try_from(checked + unchecked.len()).unwrap_or(u32::MAX);
            return Ok(Turn::More { need: 0 });
        };
        if compressed
            && head.fin
            && let Some(deflate) = rules.deflate
        {
            deflate.check(rules.connection, &all[..held + whole], is_text, rules.max)?;
        }
        if head.fin && !in_message {
            self.echo(head, masked, text, out)?;
            *self = self.next();
            return Ok(Turn::Message(whole));
        }
        if text {
            check(&mut self.utf8, &masked[checked..], head.mask, checked)?;
            if head.fin && !self.utf8.is_complete() {
                return Err(Failure::TEXT);
            }
        }
        self.kind = if is_text { Kind::Text } else { Kind::Binary };
        if compressed {
            self.compression = Compression::Used;
        }
        self.length = u32::try_from(length).unwrap_or(u32::MAX);
        self.checked = 0;
        self.hold(max, whole)?;
        Ok(if head.fin { Turn::Whole } else { Turn::Held })
    }

    /// Holds another `whole` bytes of frames of a fragmented message.
    fn hold(&mut self, max: u32, whole: usize) -> Result<(), Failure> {
        let held = u64::from(self.held) + whole as u64;
        let longest = max.saturating_mul(2).saturating_add(FRAMING);
        self.held = u32::try_from(held).unwrap_or(u32::MAX);
        if held > longest.into() { Err(Failure::too_long(held, longest)) } else { Ok(()) }
    }

    /// Appends a message in one frame, and checks the text in it that has not been checked yet.
    fn echo(
        &mut self,
        head: &Head,
        masked: &[u8],
        text: bool,
        out: &mut Output,
    ) -> Result<(), Failure> {
        let before = out.bytes().len();
        head.write(masked.len(), out.as_mut_vec());
        let mut unchecked = out.bytes().len() + self.checked as usize;
        out.as_mut_vec().reserve(masked.len());
        // In pieces, each of which is checked while it is still in the nearest cache.
        for piece in masked.chunks(frame::PIECE) {
            frame::unmask(piece, head.mask, out.as_mut_vec());
            let fresh = out.bytes().get(unchecked..).unwrap_or_default();
            unchecked += fresh.len();
            if text && !self.utf8.push(fresh) {
                out.as_mut_vec().truncate(before);
                return Err(Failure::TEXT);
            }
        }
        if text && !self.utf8.is_complete() {
            out.as_mut_vec().truncate(before);
            return Err(Failure::TEXT);
        }
        Ok(())
    }
}

/// Appends the frame at the start of `input`, which was checked before; a control frame was answered then, and is left
/// out. Returns its length.
pub(super) fn send_back(input: &[u8], out: &mut Output) -> usize {
    let is_continuation = input[0] & 0x0F == Opcode::Continuation as u8;
    let Ok(Some(head)) = frame::head(input, is_continuation, true) else { return input.len() };
    let whole = head.whole().min(input.len());
    if !head.opcode.is_control() {
        let masked = &input[head.length..whole];
        head.write(masked.len(), out.as_mut_vec());
        frame::unmask(masked, head.mask, out.as_mut_vec());
    }
    whole
}

/// The longest that a message of `max` bytes can be when it is compressed: its bytes as literals of 9 bits each, or in
/// stored blocks (RFC 1951).
const fn longest_compressed(max: u32) -> u32 {
    max.saturating_add(max / 8).saturating_add(64)
}

/// Checks more of a masked text, which starts `offset` bytes into its frame's payload.
fn check(utf8: &mut Utf8, masked: &[u8], mut mask: [u8; 4], offset: usize) -> Result<(), Failure> {
    mask.rotate_left(offset % 4);
    let mut piece = [0; 1024];
    let is_text = masked.chunks(piece.len()).all(|masked| {
        let piece = &mut piece[..masked.len()];
        piece.copy_from_slice(masked);
        frame::apply(mask, piece);
        utf8.push(piece)
    });
    if is_text { Ok(()) } else { Err(Failure::TEXT) }
}

/// The code in a close frame's payload, which goes back: two bytes, or none (section 5.5.1).
fn close_code(payload: &[u8]) -> Result<&[u8], Failure> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(payload),
            _ => Err(Failure::protocol("half a close code")),
        };
    };
    // The codes of section 7.4.1, and later ones from the registry of section 11.7, without those that no close frame
    // may contain (1005, 1006, 1015). 3000 to 4999 are for libraries and for private use (7.4.2).
    if !matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Failure::protocol("a close code that must not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Failure::payload("a close reason that is not UTF-8"));
    }
    Ok(code)
}
