//! What is wrong with an echo, once a comparison has found that something is.
//!
//! ```text
//! MISMATCH: 1 byte differs of the 64 of this frame that came with it: byte 7529 of the connection, byte 41 of frame 117 (64 bytes)
//!   sent      000020 6f 63 3a 90 51 c0 12 77  9e e4 5d 00 1f aa 08 d3  oc:.Q..w..].....
//!   received  000020 6f 63 3a 90 51 c0 12 77  9e c4 5d 00 1f aa 08 d3  oc:.Q..w..].....
//!                                                ^^
//! ```

use std::fmt;

use resound::plural::{Plural, bytes};

use super::{echo::beginning, fault::Fault, tape::Tape};

/// So many bytes that are alike by chance is not to be expected.
const ENOUGH_TO_RECOGNISE: usize = 8;

/// Frames in flight that are looked through for one that came too early.
const FRAMES_TO_SEARCH: usize = 4096;

const ROW: usize = 16;

/// For what is wrong from a connection's first byte on.
const REMEDY: &str = "a banner is not read past, so aim at a listener without one";

/// The first difference between what was sent and what came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) fault: Fault,
    /// What it looks like.
    story: String,
    /// Bytes that came back before, on this connection.
    at: u64,
    frame: u64,
    within: usize,
    frame_length: usize,
    /// The rows around the difference: where in the frame they begin, and both sides.
    from: usize,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// A connection's stream where it stopped being an echo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) tape: &'a Tape,
    /// Where on the tape the last bytes that came should be.
    pub(crate) offset: usize,
    /// Those bytes; so many of them are right.
    pub(crate) received: &'a [u8],
    pub(crate) alike: usize,
    /// How many bytes, and how many frames, came before on this connection.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// How many frames are in flight.
    pub(crate) in_flight: usize,
}

impl Place<'_> {
    /// Says what is wrong.
    pub(crate) fn judge(&self) -> Difference {
        let tape = self.tape;
        let length = tape.bytes().len();
        let first = tape.index(self.offset);
        let wrong = (self.offset + self.alike) % length;
        let index = tape.index(wrong);
        let echo = tape.echo(index);
        let within = wrong - echo.start;
        let frame = &tape.bytes()[echo];
        // What came of this frame: the part that was right, then the rest of what was received.
        let mut came = frame[..within].to_vec();
        came.extend_from_slice(&self.received[self.alike..]);

        let (fault, story) = self.name(index, within, &came);
        let from = within.saturating_sub(ROW) / ROW * ROW;
        let upto = |bytes: &[u8]| bytes.len().min(from + 3 * ROW).max(from);
        let laps = (index + tape.frames() - first) % tape.frames();
        let first = self.bytes == 0 && self.alike == 0 && fault == Fault::Mismatch;
        let story = if first {
            format!("{story}, from the first on (if the server speaks first: {REMEDY})")
        } else {
            story
        };
        Difference {
            fault,
            story,
            at: self.bytes + self.alike as u64,
            frame: self.frames + laps as u64,
            within,
            frame_length: frame.len(),
            from,
            sent: frame[from..upto(frame)].to_vec(),
            received: came[from.min(came.len())..upto(&came).min(came.len())].to_vec(),
        }
    }

    fn name(&self, index: usize, within: usize, came: &[u8]) -> (Fault, String) {
        let echo = |index| &self.tape.bytes()[self.tape.echo(index)];
        let frame = echo(index);
        let wrong = &came[within..];
        for ahead in 1..self.in_flight.min(FRAMES_TO_SEARCH).min(self.tape.frames()) {
            let other = echo(index + ahead);
            let common = other.len().min(came.len());
            if common >= other.len().min(ENOUGH_TO_RECOGNISE) && came[..common] == other[..common] {
                return (Fault::Reordered, format!("the frame {ahead} later came in its place"));
            }
        }
        if wrong.len() >= ENOUGH_TO_RECOGNISE {
            // Does it go on further down, so that what is between is missing?
            let mut ahead = frame[within..].to_vec();
            (1..self.in_flight.clamp(2, 64)).for_each(|next| {
                ahead.extend_from_slice(echo(index + next));
            });
            if let Some(missing) = memchr::memmem::find(&ahead, &wrong[..ENOUGH_TO_RECOGNISE])
                && missing > 0
            {
                return (
                    Fault::Truncated,
                    Plural(missing, ["byte is missing", "bytes are missing"]).to_string(),
                );
            }
        }
        let common = wrong.len().min(frame.len() - within);
        let differ = wrong.iter().zip(&frame[within..]).filter(|(a, b)| a != b).count();
        let differ = Plural(differ, ["byte differs", "bytes differ"]);
        (Fault::Mismatch, format!("{differ} of the {common} of this frame that came with it"))
    }
}

/// What is said of `input` that came when nothing was in flight, behind so many bytes and frames of a connection.
pub(crate) fn unasked(bytes: u64, frames: u64, input: &[u8]) -> String {
    let name = Fault::Mismatch.name();
    let input = beginning(input);
    if bytes == 0 {
        return format!(
            "{name}: the server spoke first, before anything was sent; {REMEDY}. It begins\n{input}"
        );
    }
    format!("{name}: this came behind frame {frames}, and nothing was sent for it:\n{input}")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, story, at, frame, within, frame_length, .. } = self;
        writeln!(
            f,
            "{}: {story}: byte {at} of the connection, byte {within} of frame {frame} ({})",
            fault.name(),
            bytes(*frame_length)
        )?;
        for row in (0..self.sent.len().max(self.received.len())).step_by(ROW) {
            let place = self.from + row;
            self.row(f, "sent", place, &self.sent, row)?;
            self.row(f, "received", place, &self.received, row)?;
            if (place..place + ROW).contains(within) {
                let column = 3 * (within - place) + usize::from(within - place >= ROW / 2);
                writeln!(f, "{:width$}^^", "", width = 19 + column)?;
            }
        }
        Ok(())
    }
}

impl Difference {
    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        side: &str,
        place: usize,
        bytes: &[u8],
        row: usize,
    ) -> fmt::Result {
        write!(f, "  {side:<8}  {place:06x}")?;
        let bytes = bytes.get(row..bytes.len().min(row + ROW)).unwrap_or_default();
        for column in 0..ROW {
            let gap = if column == ROW / 2 { "  " } else { " " };
            match bytes.get(column) {
                Some(byte) => write!(f, "{gap}{byte:02x}")?,
                None => write!(f, "{gap}  ")?,
            }
        }
        let text = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
        writeln!(f, "  {}", bytes.iter().map(text).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use resound::frame::Dialect;

    use super::*;
    use crate::load::target::Wire;

    fn tape(sizes: &str) -> Tape {
        Tape::new(&Wire::Frames(Dialect::default()), &sizes.parse().unwrap()).unwrap()
    }

    /// What is said of `received` in place of the tape's first frames.
    fn judge(tape: &Tape, received: &[u8]) -> Difference {
        let alike = tape.follow(0, received).unwrap_err();
        Place { tape, offset: 0, received, alike, bytes: 1000, frames: 10, in_flight: 20 }.judge()
    }

    #[test]
    fn one_wrong_byte_is_shown_in_its_place() {
        let tape = tape("100");
        let mut received = tape.bytes()[..400].to_vec();
        received[104 + 41] ^= 0x20;
        let difference = judge(&tape, &received);
        assert_eq!(difference.fault, Fault::Mismatch);
        let shown = difference.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[0].contains("1 byte differs")
                && lines[0].contains("byte 1145 of the connection, byte 41 of frame 11 (104"),
            "{shown}"
        );
        let marker = lines.iter().position(|line| line.trim() == "^^").unwrap();
        let column = lines[marker].find("^^").unwrap();
        let byte = |line: &str| u8::from_str_radix(&line[column..column + 2], 16).unwrap();
        assert_eq!(byte(lines[marker - 1]), received[145], "{shown}");
        assert_eq!(byte(lines[marker - 2]), tape.bytes()[145], "{shown}");
    }

    #[test]
    fn missing_bytes_are_a_truncation_wherever_they_were() {
        let tape = tape("100");
        for (from, missing) in [(0, 4), (50, 1), (60, 44), (104, 104), (30, 200)] {
            let received = [&tape.bytes()[..from], &tape.bytes()[from + missing..1000]].concat();
            let difference = judge(&tape, &received);
            // A whole frame less is a frame too early as well.
            let expected = if missing % 104 == 0 && from % 104 == 0 {
                Fault::Reordered
            } else {
                Fault::Truncated
            };
            assert_eq!(difference.fault, expected, "{from}, {missing}: {difference}");
        }
    }

    #[test]
    fn frames_in_another_order_are_told_from_wrong_ones() {
        let tape = tape("1-90");
        let received = [tape.frame(0), tape.frame(2), tape.frame(1), tape.frame(3)].concat();
        let difference = judge(&tape, &received);
        assert_eq!(difference.fault, Fault::Reordered, "{difference}");
        assert!(difference.to_string().contains("the frame 1 later"), "{difference}");
    }

    #[test]
    fn what_is_wrong_from_the_first_byte_on_may_be_a_banner() {
        let tape = tape("100");
        let place = |bytes| Place {
            tape: &tape,
            offset: 0,
            received: b"\x05\0\0\0hello",
            alike: 0,
            bytes,
            frames: 0,
            in_flight: 1,
        };
        assert!(place(0).judge().to_string().contains("a listener without one"));
        assert!(!place(104).judge().to_string().contains("a listener without one"));
        let first = unasked(0, 0, b"220 hello\r\n");
        assert!(first.contains("spoke first") && first.contains("\n  220 hello\n"), "{first}");
        assert!(unasked(104, 1, b"x").contains("behind frame 1"));
    }

    #[test]
    fn a_single_wrong_byte_at_any_place_of_any_tape_is_a_mismatch() {
        for sizes in ["0", "1", "60", "3000"] {
            let tape = tape(sizes);
            for at in 0..tape.frame(0).len() {
                let mut received = tape.bytes()[..tape.frame(0).len() * 2].to_vec();
                received[at] = !received[at];
                let difference = judge(&tape, &received);
                assert_eq!(difference.fault, Fault::Mismatch, "{sizes} at {at}: {difference}");
            }
        }
    }
}
