//! Converts the input to what is sent over the connection, and back.
//!
//! | protocol | what is sent | what is an item |
//! |---|---|---|
//! | frames | each line without its newline, or each `--chunk` bytes, as one frame | a frame |
//! | lines | the bytes unchanged; a newline is added if the last line has none | a line |
//! | raw | the bytes unchanged | nothing |
//!
//! Only `\n` ends a line: a `\r` before it, a zero byte and every other byte are part of the line. An empty line is a
//! frame of length zero. No line follows a `\n` at the end of the input.

use std::fmt;

use resound::frame::{Dialect, FrameError};

/// The protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Frames(Dialect),
    Lines,
    Raw,
}

/// How the input is cut into items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// By lines; in frames they have no newline.
    Lines,
    /// This many bytes each; the last one may be shorter.
    Chunks(usize),
}

/// Cuts input into items and appends them to a buffer in the form in which they are sent.
#[derive(Debug)]
pub(super) struct Encoder {
    wire: Wire,
    cut: Cut,
    /// The beginning of an incomplete item; empty unless the protocol is frames.
    part: Vec<u8>,
    /// Items encoded.
    items: u64,
    /// The input so far ends inside a line.
    within_line: bool,
}

/// An item that cannot be sent as a frame.
#[derive(Debug)]
pub(super) struct Unsendable {
    cut: Cut,
    /// Counted from 1.
    item: u64,
    error: FrameError,
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cut, item, error } = self;
        match cut {
            Cut::Lines => write!(
                f,
                "line {item} of the input cannot be sent as a frame: {error}; cut the input anywhere with \
                 --chunk 64KiB, or add max= to the address if the server accepts more"
            ),
            Cut::Chunks(_) => write!(
                f,
                "piece {item} of the input cannot be sent as a frame: {error}; choose another --chunk"
            ),
        }
    }
}

impl Encoder {
    pub(super) fn new(wire: Wire, cut: Cut) -> Self {
        Self { wire, cut, part: Vec::new(), items: 0, within_line: false }
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire
    }

    /// Appends the items that `input` completes to `out`.
    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let Wire::Frames(dialect) = self.wire else {
            if self.wire == Wire::Lines {
                self.items += memchr::memchr_iter(b'\n', input).count() as u64;
                self.within_line = input.last().map_or(self.within_line, |&last| last != b'\n');
            }
            out.extend_from_slice(input);
            return Ok(());
        };
        let mut rest = input;
        while let Some((item, behind)) = self.split(rest) {
            rest = behind;
            if self.part.is_empty() {
                self.frame(&dialect, item, out)?;
            } else {
                let mut whole = std::mem::take(&mut self.part);
                whole.extend_from_slice(item);
                self.frame(&dialect, &whole, out)?;
            }
        }
        self.part.extend_from_slice(rest);
        // Memory must not grow with an endless line.
        let most = dialect.limit();
        if self.part.len() as u64 > most {
            return Err(self
                .unsendable(FrameError::TooLong { length: self.part.len() as u64, limit: most }));
        }
        Ok(())
    }

    /// The rest of the current item and what follows it, if the item ends in `input`.
    fn split<'i>(&self, input: &'i [u8]) -> Option<(&'i [u8], &'i [u8])> {
        match self.cut {
            Cut::Lines => {
                let newline = memchr::memchr(b'\n', input)?;
                Some((&input[..newline], &input[newline + 1..]))
            }
            Cut::Chunks(length) => input.split_at_checked(length - self.part.len()),
        }
    }

    /// Ends the input: appends the last item. Returns the number, counted from 1, of an item that had no newline in the
    /// input.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<Option<u64>, Unsendable> {
        match self.wire {
            Wire::Frames(dialect) if !self.part.is_empty() => {
                let part = std::mem::take(&mut self.part);
                self.frame(&dialect, &part, out)?;
                Ok(Some(self.items))
            }
            Wire::Lines if self.within_line => {
                out.push(b'\n');
                Ok(Some(self.items + 1))
            }
            Wire::Frames(_) | Wire::Lines | Wire::Raw => Ok(None),
        }
    }

    fn frame(
        &mut self,
        dialect: &Dialect,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        dialect.encode(payload, out).map_err(|error| self.unsendable(error))?;
        self.items += 1;
        Ok(())
    }

    fn unsendable(&self, error: FrameError) -> Unsendable {
        Unsendable { cut: self.cut, item: self.items + 1, error }
    }
}

/// Splits what is received into items, in pieces of any size. Keeps one incomplete head at most.
#[derive(Debug)]
pub(super) struct Decoder {
    wire: Wire,
    /// The received part of a frame's head.
    head: Vec<u8>,
    /// Bytes missing of the current frame's payload.
    owed: Option<usize>,
}

/// A part of the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'w> {
    /// Bytes of an item, without its head or newline.
    Bytes(&'w [u8]),
    /// The item is complete.
    End,
}

impl Decoder {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, head: Vec::new(), owed: None }
    }

    /// How many bytes of a head have been received, if the input so far ends inside or before a head.
    pub(super) fn within_head(&self) -> Option<usize> {
        (matches!(self.wire, Wire::Frames(_)) && self.owed.is_none()).then_some(self.head.len())
    }

    /// Calls `show` with each part of `bytes`, which follow those of the last call.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        mut show: impl FnMut(Piece<'_>),
    ) -> Result<(), FrameError> {
        let dialect = match self.wire {
            Wire::Frames(dialect) => dialect,
            Wire::Raw => {
                show(Piece::Bytes(bytes));
                return Ok(());
            }
            Wire::Lines => {
                while let Some(newline) = memchr::memchr(b'\n', bytes) {
                    show(Piece::Bytes(&bytes[..newline]));
                    show(Piece::End);
                    bytes = &bytes[newline + 1..];
                }
                show(Piece::Bytes(bytes));
                return Ok(());
            }
        };
        loop {
            if let Some(owed) = self.owed {
                let (payload, behind) = bytes.split_at(owed.min(bytes.len()));
                show(Piece::Bytes(payload));
                bytes = behind;
                if payload.len() < owed {
                    self.owed = Some(owed - payload.len());
                    return Ok(());
                }
                self.owed = None;
                show(Piece::End);
            }
            // A head received in pieces is completed byte by byte, so its end is found without knowing its
            // length.
            if self.head.is_empty()
                && let Some(head) = dialect.head(bytes)?
            {
                bytes = &bytes[head.size..];
                self.owed = Some(head.payload);
                continue;
            }
            let Some((&first, behind)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = behind;
            self.head.push(first);
            if let Some(head) = dialect.head(&self.head)? {
                self.head.clear();
                self.owed = Some(head.payload);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use resound::frame::Width;

    use super::*;

    /// What is sent for `input`, given in pieces, and which item had no newline.
    fn encode(wire: Wire, cut: Cut, input: &[&[u8]]) -> (Vec<u8>, Option<u64>) {
        let mut encoder = Encoder::new(wire, cut);
        let mut out = Vec::new();
        for piece in input {
            encoder.push(piece, &mut out).unwrap();
        }
        let unterminated = encoder.finish(&mut out).unwrap();
        (out, unterminated)
    }

    const FRAMES: Wire = Wire::Frames(Dialect::new(Width::U8));

    #[test]
    fn lines_as_frames() {
        for (input, sent, unterminated) in [
            (&["a\nbc\n"][..], &b"\x01a\x02bc"[..], None),
            (&["a\nb", "c\n\n"], b"\x01a\x02bc\x00", None),
            (&["a\nb", "c"], b"\x01a\x02bc", Some(2)),
            (&["a\r\n\0"], b"\x02a\r\x01\0", Some(2)),
            (&["\n", "\n"], b"\x00\x00", None),
            (&[], b"", None),
        ] {
            let input: Vec<&[u8]> = input.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(encode(FRAMES, Cut::Lines, &input), (sent.to_vec(), unterminated));
        }
    }

    #[test]
    fn lines_as_lines_and_raw() {
        let lines = |input| encode(Wire::Lines, Cut::Lines, input);
        assert_eq!(lines(&[b"a\nb"]), (b"a\nb\n".to_vec(), Some(2)));
        assert_eq!(lines(&[b"a", b"\n"]), (b"a\n".to_vec(), None));
        assert_eq!(lines(&[b"a", b"b"]), (b"ab\n".to_vec(), Some(1)));
        assert_eq!(lines(&[]), (vec![], None));
        assert_eq!(encode(Wire::Raw, Cut::Lines, &[b"a\nb"]), (b"a\nb".to_vec(), None));
    }

    #[test]
    fn chunks_are_full_but_for_the_last() {
        let (sent, _) = encode(FRAMES, Cut::Chunks(3), &[b"ab", b"cdefg", b"", b"h"]);
        assert_eq!(sent, b"\x03abc\x03def\x02gh");
        let (sent, _) = encode(FRAMES, Cut::Chunks(3), &[b"abcdef"]);
        assert_eq!(sent, b"\x03abc\x03def");
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_its_end() {
        let mut encoder = Encoder::new(FRAMES, Cut::Lines);
        let mut out = Vec::new();
        encoder.push(b"short\n", &mut out).unwrap();
        let error = encoder.push(&[b'x'; 256], &mut out).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("line 2") && text.contains("255"), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_encoded_in_any_pieces_is_decoded_in_any_pieces(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300),
            piece in 1..50_usize,
            wire in prop_oneof![
                Just(Wire::Frames(Dialect::new(Width::U32Le))),
                Just(Wire::Frames(Dialect::new(Width::U16Be).with_offset(3))),
                Just(Wire::Lines),
                Just(Wire::Raw),
            ],
            cut in prop_oneof![Just(Cut::Lines), (1..70_usize).prop_map(Cut::Chunks)],
        ) {
            let (sent, unterminated) = encode(wire, cut, &input.chunks(piece).collect::<Vec<_>>());
            for piece in [1, piece, sent.len() + 1] {
                let mut decoder = Decoder::new(wire);
                let (mut back, mut items) = (Vec::new(), 0);
                for bytes in sent.chunks(piece) {
                    decoder.push(bytes, |piece| match piece {
                        Piece::Bytes(bytes) => back.extend_from_slice(bytes),
                        Piece::End => {
                            items += 1;
                            let newline = wire == Wire::Lines || cut == Cut::Lines;
                            if newline && unterminated != Some(items) {
                                back.push(b'\n');
                            }
                        }
                    }).unwrap();
                }
                prop_assert_eq!(&back, &input);
                prop_assert!(decoder.within_head().is_none_or(|bytes| bytes == 0));
            }
        }
    }
}
