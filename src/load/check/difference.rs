//! Describes a wrong echo, once a comparison has found one.
//!
//! ```text
//! MISMATCH: 1 byte differs of the 64 of this frame that came with it: byte 7529 of the connection, byte 41 of frame 117 (64 bytes)
//!   sent      000020 6f 63 3a 90 51 c0 12 77  9e e4 5d 00 1f aa 08 d3  oc:.Q..w..].....
//!   received  000020 6f 63 3a 90 51 c0 12 77  9e c4 5d 00 1f aa 08 d3  oc:.Q..w..].....
//!                                                ^^
//! ```

use std::fmt;

use resound::plural::{Plural, bytes};

use super::{
    comparison::beginning,
    diagnosis::{Case, Verdict},
    fault::Fault,
};
use crate::load::wire::tape::Tape;

const ROW: usize = 16;

/// For a difference at a connection's first byte.
const REMEDY: &str = "a banner is not skipped, so use a listener without one";

/// The first difference between what was sent and what came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) fault: Fault,
    /// More bytes cannot change the name.
    pub(crate) is_final: bool,
    /// What is wrong, in words.
    story: String,
    shown: Shown,
}

/// The bytes that are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Rows(Rows),
    /// Input with nothing in flight.
    Input(Vec<u8>),
}

/// Both sides around the difference.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rows {
    /// Such as `byte 41 of frame 117`.
    place: String,
    within: usize,
    frame_length: usize,
    /// The offset in the frame of the first row.
    from: usize,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// The position in a connection's stream at which it differs from what was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) tape: &'a Tape,
    /// Where on the tape the received bytes should be.
    pub(crate) offset: usize,
    /// The received bytes; the first `alike` are right.
    pub(crate) received: &'a [u8],
    pub(crate) alike: usize,
    /// Bytes and frames received before on this connection.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// Frames in flight at that time.
    pub(crate) in_flight: usize,
}

impl Place<'_> {
    /// Names the fault and describes it.
    pub(crate) fn judge(&self) -> Difference {
        let tape = self.tape;
        let length = tape.bytes().len();
        let first = tape.index(self.offset);
        let wrong = (self.offset + self.alike) % length;
        let index = tape.index(wrong);
        let echo = tape.echo(index);
        let within = wrong.saturating_sub(echo.start);
        let frame = &tape.bytes()[echo];
        // The received part of this frame: the bytes that are right, then all the rest.
        let mut came = frame[..within].to_vec();
        came.extend_from_slice(&self.received[self.alike..]);

        let whole = (index + tape.frames() - first) % tape.frames();
        let number = self.frames + whole as u64;
        let sent = self.in_flight.saturating_sub(whole);
        let case = Case { tape, index, number, sent, came: &came, within };
        let Verdict { fault, story, is_final } = case.verdict();

        let may_be_a_banner = matches!(fault, Fault::Mismatch | Fault::Surplus);
        let story = match self.bytes + self.alike as u64 {
            0 if may_be_a_banner && sent > 0 => {
                format!("{story}, from the first byte on (if the server speaks first: {REMEDY})")
            }
            0 if may_be_a_banner => {
                format!("the server spoke first, before anything was sent; {REMEDY}")
            }
            _ => story,
        };
        let shown = if sent == 0 {
            Shown::Input(came)
        } else {
            let from = within.saturating_sub(ROW) / ROW * ROW;
            Shown::Rows(Rows {
                place: format!(
                    "byte {} of the connection, byte {within} of frame {number}",
                    self.bytes + self.alike as u64
                ),
                within,
                frame_length: frame.len(),
                from,
                sent: part(frame, from),
                received: part(&came, from),
            })
        };
        Difference { fault, is_final, story, shown }
    }
}

/// Up to three rows of `bytes`, from `from` on.
fn part(bytes: &[u8], from: usize) -> Vec<u8> {
    bytes[from.min(bytes.len())..bytes.len().min(from + 3 * ROW)].to_vec()
}

impl Difference {
    /// For datagram `number`, which differs from the one sent.
    pub(crate) fn of_datagram(number: u64, sent: &[u8], received: &[u8]) -> Self {
        let pairs = || sent.iter().zip(received);
        let within = pairs().take_while(|(one, other)| one == other).count();
        let (fault, story) = if within == sent.len() {
            let more = received.len() - within;
            (Fault::Surplus, format!("{} came behind those sent", bytes(more)))
        } else if within == received.len() {
            let missing = Plural(sent.len() - within, ["byte is missing", "bytes are missing"]);
            (Fault::Truncated, missing.to_string())
        } else {
            let differ = pairs().filter(|(one, other)| one != other).count();
            let differ = Plural(differ, ["byte differs", "bytes differ"]);
            let common = sent.len().min(received.len());
            (Fault::Mismatch, format!("{differ} of the {common} that came"))
        };
        let from = within.saturating_sub(ROW) / ROW * ROW;
        let shown = Shown::Rows(Rows {
            place: format!("byte {within} of datagram {number}"),
            within,
            frame_length: sent.len(),
            from,
            sent: part(sent, from),
            received: part(received, from),
        });
        Self { fault, is_final: true, story, shown }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, story, shown, .. } = self;
        write!(f, "{}: {story}", fault.name())?;
        match shown {
            Shown::Rows(rows) => rows.fmt(f),
            Shown::Input(input) if input.is_empty() => f.write_str("\n"),
            Shown::Input(input) => write!(f, ". It begins\n{}", beginning(input)),
        }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, within, frame_length, .. } = self;
        writeln!(f, ": {place} ({})", bytes(*frame_length))?;
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

impl Rows {
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
    use crate::load::wire::protocol::Wire;

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
            let is_whole = missing % 104 == 0 && from % 104 == 0;
            let expected = if is_whole { Fault::Dropped } else { Fault::Truncated };
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
        let unasked =
            |bytes, input| Place { received: input, in_flight: 0, ..place(bytes) }.judge();
        let first = unasked(0, b"220 hello\r\n");
        assert_eq!(first.fault, Fault::Surplus);
        let shown = first.to_string();
        assert!(shown.contains("spoke first") && shown.contains("\n  220 hello\n"), "{shown}");
        let behind = unasked(104, b"x").to_string();
        assert!(behind.starts_with("SURPLUS: 1 byte came with no frame in flight"), "{behind}");
    }

    #[test]
    fn datagrams_that_are_longer_shorter_or_other_have_their_names() {
        let sent = b"0123456789";
        for (received, fault, says) in [
            (&b"0123456789x"[..], Fault::Surplus, "1 byte came behind those sent: byte 10 of"),
            (b"01234567", Fault::Truncated, "2 bytes are missing: byte 8 of datagram 3 (10 bytes)"),
            (b"01x345x789", Fault::Mismatch, "2 bytes differ of the 10 that came: byte 2 of"),
            (b"01x3", Fault::Mismatch, "1 byte differs of the 4 that came"),
        ] {
            let difference = Difference::of_datagram(3, sent, received);
            assert_eq!(difference.fault, fault);
            assert!(difference.to_string().contains(says), "{difference}");
        }
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
