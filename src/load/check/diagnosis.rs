//! Finds the name of a wrong echo, from what was received instead of the expected frame.
//!
//! ```text
//! sent      5 6 7 8
//! came      6 7 8         DROPPED     a later frame came, and 5 did not
//!           6 5 7 8       REORDERED   a later frame came, and 5 after it
//!           4 5 6 7       DUPLICATE   a frame came that had come before
//!           5 … 7 8       TRUNCATED   bytes are missing, and those after them came
//!           x 5 6 7       SURPLUS     bytes came that were not sent, and 5 after them
//!           5x6 7 8       MISMATCH    other bytes came instead of those sent
//! ```
//!
//! Payloads are random, so a few equal bytes identify a frame. Only later bytes show whether a missing frame was dropped
//! or is late, so such a verdict is not final.

use resound::plural::{Plural, bytes};

use super::fault::Fault;
use crate::load::wire::tape::Tape;

/// This many bytes are not equal by chance.
const ENOUGH_TO_RECOGNISE: usize = 8;

/// Frames before and after the expected one that are compared with the input.
const FRAMES_TO_SEARCH: usize = 4096;

/// Frames in the input that are identified; they decide.
const FRAMES_TO_IDENTIFY: usize = 64;

/// What was expected, and what was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) tape: &'a Tape,
    /// The expected frame: its index on the tape, and its number on the connection.
    pub(super) index: usize,
    pub(super) number: u64,
    /// Frames in flight, from the expected one on.
    pub(super) sent: usize,
    /// What was received from the beginning of that frame on. The first `within` bytes are right.
    pub(super) came: &'a [u8],
    pub(super) within: usize,
}

/// The name, the description, and whether more bytes cannot change them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) fault: Fault,
    pub(super) story: String,
    pub(super) is_final: bool,
}

impl Case<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        if let Some(verdict) = self.of_whole_frames() {
            return verdict;
        }
        if self.sent == 0 {
            let story = match self.came.len() {
                0 => "an answer with no body came with no frame in flight".to_owned(),
                length => format!("{} came with no frame in flight", bytes(length)),
            };
            return Verdict { fault: Fault::Surplus, story, is_final: false };
        }
        self.of_bytes()
    }

    /// The echo of the frame at this distance from the expected one.
    fn echo(&self, distance: isize) -> &[u8] {
        let frames = self.tape.frames();
        let distance = distance.rem_euclid(isize::try_from(frames).unwrap_or(isize::MAX));
        &self.tape.bytes()[self.tape.echo(self.index + distance.unsigned_abs())]
    }

    /// For input that begins with another frame than the expected one.
    fn of_whole_frames(&self) -> Option<Verdict> {
        let found = self.identify();
        let first = *found.distances.first()?;
        let of_first = self.echo(first).len().min(self.came.len()).saturating_sub(self.within);
        // A short frame can be equal by chance. Then the frames after it must fit as well.
        let is_certain = of_first >= ENOUGH_TO_RECOGNISE;
        let nothing_else = self.sent == 0 && found.bytes == self.came.len();
        if found.bytes.saturating_sub(self.within) < ENOUGH_TO_RECOGNISE && !nothing_else {
            return None;
        }
        let behind = &found.distances[1..];
        if first < 0 {
            let fits = behind.iter().find(|distance| **distance >= 0).is_none_or(|next| *next == 0);
            let number = self.number.saturating_sub(first.unsigned_abs() as u64);
            return (is_certain || fits).then(|| Verdict {
                fault: Fault::Duplicate,
                story: format!("frame {number} came again"),
                is_final: true,
            });
        }
        let expected = self.echo(0);
        let is_late = behind.contains(&0)
            || expected.len() >= ENOUGH_TO_RECOGNISE
                && memchr::memmem::find(self.came, expected).is_some();
        if is_late {
            return Some(Verdict {
                fault: Fault::Reordered,
                story: format!("the frame {first} later came before it"),
                is_final: true,
            });
        }
        let ascends = found.distances.is_sorted_by(|one, next| one < next);
        (is_certain || ascends).then(|| Verdict {
            fault: Fault::Dropped,
            story: Plural(first, ["frame is missing", "frames are missing"]).to_string(),
            is_final: false,
        })
    }

    /// Identifies the received frames, up to the first bytes that are no frame.
    fn identify(&self) -> Found {
        let most = self.tape.frames() - 1;
        let ahead = self.sent.min(FRAMES_TO_SEARCH).min(most);
        let before = usize::try_from(self.number).unwrap_or(usize::MAX);
        let before = before.min(FRAMES_TO_SEARCH).min(most - ahead.saturating_sub(1).min(most));
        let mut found = Found { distances: Vec::new(), bytes: 0 };
        while found.distances.len() < FRAMES_TO_IDENTIFY && found.bytes < self.came.len() {
            let rest = &self.came[found.bytes..];
            let is_it = |distance: &isize| {
                let echo = self.echo(*distance);
                let common = echo.len().min(rest.len());
                common > 0 && echo[..common] == rest[..common]
            };
            // Usually it is the frame after the last one. If not, a frame that has not come yet is likelier.
            let next = found.distances.last().map(|last| last + 1).filter(|next| {
                *next < isize::try_from(ahead).unwrap_or(0) && !found.distances.contains(next)
            });
            let later = (0..ahead).filter_map(|distance| isize::try_from(distance).ok());
            let later = later.filter(|distance| !found.distances.contains(distance));
            let earlier = (1..=before).filter_map(|distance| isize::try_from(distance).ok());
            let again = found.distances.iter().copied();
            let mut candidates =
                next.into_iter().chain(later).chain(earlier.map(|distance| -distance)).chain(again);
            let Some(distance) = candidates.find(is_it) else { break };
            found.bytes += self.echo(distance).len().min(rest.len());
            found.distances.push(distance);
        }
        found
    }

    /// For input that is no other frame: bytes are missing, surplus or wrong.
    fn of_bytes(&self) -> Verdict {
        let wrong = &self.came[self.within..];
        let mut expected = self.echo(0)[self.within..].to_vec();
        for distance in 1..self.sent.clamp(2, FRAMES_TO_IDENTIFY) {
            expected.extend_from_slice(self.echo(isize::try_from(distance).unwrap_or(0)));
        }
        if let Some(key) = wrong.get(..ENOUGH_TO_RECOGNISE)
            && let Some(missing) = memchr::memmem::find(&expected, key)
            && missing > 0
        {
            let story = Plural(missing, ["byte is missing", "bytes are missing"]).to_string();
            return Verdict { fault: Fault::Truncated, story, is_final: true };
        }
        let common = wrong.len().min(self.echo(0).len() - self.within);
        let is_equal = |(one, other): (&u8, &u8)| one == other;
        let differ = wrong[..common].iter().zip(&expected).filter(|pair| !is_equal(*pair)).count();
        let differ = Plural(differ, ["byte differs", "bytes differ"]);
        let mismatch = |is_final| Verdict {
            fault: Fault::Mismatch,
            story: format!("{differ} of the {common} of this frame that came with it"),
            is_final,
        };
        let mut run = 0;
        let goes_on_in_place = wrong.iter().zip(&expected).any(|pair| {
            run = if is_equal(pair) { run + 1 } else { 0 };
            run == ENOUGH_TO_RECOGNISE
        });
        if goes_on_in_place {
            return mismatch(true);
        }
        if let Some(key) = expected.get(..ENOUGH_TO_RECOGNISE)
            && let Some(more) = memchr::memmem::find(wrong, key)
        {
            let story = format!("{} came that were not sent", bytes(more));
            return Verdict { fault: Fault::Surplus, story, is_final: true };
        }
        // Where heads do not come back, one may stand in front of the next frame.
        if self.sent > 1
            && let Some(key) = self.echo(1).get(..ENOUGH_TO_RECOGNISE)
            && let Some(begins) = memchr::memmem::find(wrong, key)
            && begins < self.echo(0).len() - self.within
        {
            let story = "the next frame came before all of this one".to_owned();
            return Verdict { fault: Fault::Truncated, story, is_final: true };
        }
        mismatch(false)
    }
}

/// The received frames, by their distance from the expected one, and their bytes in total.
#[derive(Debug)]
struct Found {
    distances: Vec<isize>,
    bytes: usize,
}

#[cfg(test)]
mod tests {
    use resound::frame::{Dialect, Width};

    use super::*;
    use crate::load::wire::protocol::Wire;

    fn tape(wire: &Wire, sizes: &str) -> Tape {
        Tape::new(wire, &sizes.parse().unwrap()).unwrap()
    }

    /// Frame 10 and those behind it should have come; these came.
    fn of_frames(tape: &Tape, came: &[usize], sent: usize) -> Verdict {
        let came: Vec<u8> = came.iter().flat_map(|index| tape.frame(*index).to_vec()).collect();
        let expected: Vec<u8> = (10..20).flat_map(|index| tape.frame(index).to_vec()).collect();
        let within = came.iter().zip(&expected).take_while(|(one, other)| one == other).count();
        let within = if sent == 0 { 0 } else { within };
        Case { tape, index: 10, number: 10, sent, came: &came, within }.verdict()
    }

    #[test]
    fn each_lie_about_whole_frames_has_its_name() {
        for (wire, sizes) in [
            (Wire::Frames(Dialect::default()), "60"),
            (Wire::Frames(Dialect::new(Width::U64Be)), "60"),
            (Wire::Frames(Dialect::default()), "1-90"),
            (Wire::Lines, "40"),
            (Wire::Raw, "30"),
            (Wire::Raw, "1"),
        ] {
            let tape = tape(&wire, sizes);
            let rest = |from: usize| (from..from + 12).collect::<Vec<_>>();
            for (came, sent, fault) in [
                (rest(11), 16, Fault::Dropped),
                (rest(13), 16, Fault::Dropped),
                ([vec![11, 10], rest(12)].concat(), 16, Fault::Reordered),
                ([vec![12, 11, 10], rest(13)].concat(), 16, Fault::Reordered),
                ([vec![9], rest(10)].concat(), 16, Fault::Duplicate),
                ([vec![7, 8, 9], rest(10)].concat(), 16, Fault::Duplicate),
                (vec![9], 0, Fault::Duplicate),
                (vec![8, 9], 0, Fault::Duplicate),
                (vec![50], 0, Fault::Surplus),
            ] {
                let verdict = of_frames(&tape, &came, sent);
                assert_eq!(verdict.fault, fault, "{sizes} {}: {came:?}: {verdict:?}", wire.name());
            }
        }
    }

    #[test]
    fn a_late_frame_is_dropped_only_as_long_as_it_has_not_come() {
        let tape = tape(&Wire::Raw, "30");
        let dropped = of_frames(&tape, &[11], 16);
        assert_eq!((dropped.fault, dropped.is_final), (Fault::Dropped, false));
        let late = of_frames(&tape, &[11, 12, 13, 10], 16);
        assert_eq!((late.fault, late.is_final), (Fault::Reordered, true));
    }

    #[test]
    fn a_short_frame_that_another_one_replaces_is_a_mismatch() {
        // One byte each: that it equals an earlier or a later frame is chance.
        let tape = tape(&Wire::Raw, "1");
        for other in [5, 9, 15] {
            let came = [vec![other], (11..30).collect()].concat();
            assert_eq!(of_frames(&tape, &came, 20).fault, Fault::Mismatch, "{other}");
        }
    }

    #[test]
    fn a_payload_that_the_next_head_cuts_short_is_truncated() {
        let tape = tape(&Wire::Ws { host: "x:1".to_owned() }, "60");
        let payload = |index| &tape.bytes()[tape.echo(index)];
        let head = [0x82, 60];
        for within in [0, 1, 28, 59] {
            let came = [&payload(10)[..within], &head, payload(11), &head, payload(12)].concat();
            let case = Case { tape: &tape, index: 10, number: 10, sent: 4, came: &came, within };
            let verdict = case.verdict();
            let expected = if within < 58 { Fault::Truncated } else { Fault::Mismatch };
            assert_eq!(verdict.fault, expected, "{within}: {verdict:?}");
        }
    }

    #[test]
    fn bytes_in_front_of_a_frame_are_surplus() {
        let tape = tape(&Wire::Raw, "30");
        for more in [1, 7, 200] {
            let frames: Vec<u8> = (10..14).flat_map(|index| tape.frame(index).to_vec()).collect();
            let came = [vec![tape.frame(10)[0] ^ 1; more], frames].concat();
            let case = Case { tape: &tape, index: 10, number: 10, sent: 4, came: &came, within: 0 };
            let verdict = case.verdict();
            assert_eq!((verdict.fault, verdict.is_final), (Fault::Surplus, true), "{verdict:?}");
            assert!(verdict.story.starts_with(&format!("{more} byte")), "{verdict:?}");
        }
    }
}
