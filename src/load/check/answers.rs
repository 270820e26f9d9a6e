//! HTTP/1.1 answers: extracts their bodies and compares them with the requests' bodies.
//!
//! ```text
//! POST / HTTP/1.1\r\nHost: …\r\nContent-Length: 64\r\n\r\n  64 bytes      a frame, as it is sent
//!            HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n  64 bytes      its echo: the same bytes behind any head
//!  HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 40\r\n 64 bytes \r\n0\r\n\r\n         the same, in chunks
//! ```
//!
//! An answer is an echo if its status is 200 and its body is the one that was sent. An incomplete head stays in the
//! connection's buffer, so nothing but the position is kept here.

use httparse::{ParserConfig, Status};
use resound::plural::bytes;

use super::{
    comparison::{Followed, How, Wrong, compare_payload, shown},
    fault::Fault,
};
use crate::load::wire::tape::Tape;

/// The most fields, and the most bytes, of a head.
const FIELDS: usize = 100;
const LONGEST_HEAD: usize = 64 << 10;

/// The longest line between chunks and after the last one.
const LONGEST_LINE: usize = 4 << 10;

/// A connection's position in its answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    place: Place,
    /// Received bytes of this answer's body.
    body: usize,
    /// The server has announced that this is its last answer.
    last: bool,
    /// A part of a head or a line has been received, and stays in the buffer.
    unfinished: bool,
}

/// The position of the next byte in an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Head,
    /// In a body of known length; this many bytes are missing.
    Length(u64),
    /// Before a chunk's size; in its data, with this many bytes missing; after its data.
    Size,
    Data(u64),
    DataEnd,
    /// At the start of a line after the last chunk.
    Trailer,
}

impl Answers {
    /// Whether an answer has begun and is not complete.
    pub(crate) fn is_within(&self) -> bool {
        self.unfinished || self.place != Place::Head
    }

    /// Compares `input`, which begins where the last call ended, with what should come back: the payloads of the frame at
    /// `at` on the tape and of the `in_flight - 1` frames after it.
    pub(crate) fn follow(
        &mut self,
        tape: &Tape,
        at: usize,
        in_flight: u32,
        input: &[u8],
    ) -> Result<Followed, Wrong> {
        let mut followed = Followed { next: at, ..Followed::default() };
        self.unfinished = false;
        while followed.consumed < input.len() && !followed.last {
            let rest = &input[followed.consumed..];
            let index = tape.index(followed.next);
            let echo = tape.echo(index);
            let wrong = |how| Wrong { frames: followed.frames, how };
            let answer = |fault, what: String| wrong(How::Otherwise(fault, shown(&what, rest)));
            let length = match self.place {
                Place::Head if followed.frames == u64::from(in_flight) => {
                    let (from, offset) = (followed.consumed, followed.next);
                    return Err(wrong(How::Differs { from, offset, alike: 0 }));
                }
                Place::Length(left) | Place::Data(left) => {
                    let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let piece = followed.consumed..followed.consumed + length;
                    compare_payload(tape, index, self.body, input, piece, "a body")
                        .map_err(wrong)?;
                    self.body += length;
                    self.take(left, length);
                    Some(length)
                }
                _ => self.framing(rest).map_err(|what| match self.before_the_head(rest) {
                    Some(more) => {
                        answer(Fault::Surplus, format!("{} came before a head", bytes(more)))
                    }
                    None => answer(Fault::Mismatch, what),
                })?,
            };
            let Some(length) = length else {
                self.unfinished = true;
                break;
            };
            followed.consumed += length;
            if self.place != Place::Length(0) {
                continue;
            }
            if self.body < echo.len() {
                let what =
                    format!("a body has only {} of the {} sent", bytes(self.body), echo.len());
                return Err(wrong(How::Otherwise(Fault::Truncated, what)));
            }
            (self.place, self.body) = (Place::Head, 0);
            followed.frames += 1;
            followed.next = tape.start(index + 1);
            followed.last = self.last;
        }
        Ok(followed)
    }

    /// How many bytes are in front of the next head, if it is not at the beginning.
    fn before_the_head(&self, rest: &[u8]) -> Option<usize> {
        let begins = memchr::memmem::find(rest, b"HTTP/1.").filter(|begins| *begins > 0);
        begins.filter(|_| self.place == Place::Head)
    }

    /// Moves past `length` of the `left` bytes of a body or a chunk.
    fn take(&mut self, left: u64, length: usize) {
        self.place = match (self.place, left - length as u64) {
            (Place::Length(_), left) => Place::Length(left),
            (_, 0) => Place::DataEnd,
            (_, left) => Place::Data(left),
        };
    }

    /// Appends the bodies in `input` to `evidence` without a comparison. Returns how many bytes were used.
    pub(crate) fn gather(&mut self, input: &[u8], evidence: &mut Vec<u8>) -> usize {
        let mut consumed = 0;
        while consumed < input.len() {
            let rest = &input[consumed..];
            let length = match self.place {
                Place::Length(left) | Place::Data(left) => {
                    let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    evidence.extend_from_slice(&rest[..length]);
                    self.take(left, length);
                    length
                }
                _ => match self.framing(rest) {
                    Ok(Some(length)) => length,
                    Ok(None) => break,
                    // What follows cannot be parsed.
                    Err(_) => {
                        evidence.extend_from_slice(rest);
                        rest.len()
                    }
                },
            };
            consumed += length;
            if self.place == Place::Length(0) {
                self.place = Place::Head;
            }
        }
        consumed
    }

    /// Reads a head, or a line around a chunk. Returns its length, or `None` if it is incomplete. An answer is complete
    /// when no byte of its body is missing.
    fn framing(&mut self, rest: &[u8]) -> Result<Option<usize>, String> {
        match self.place {
            Place::Head => {
                let Some((length, head)) = head(rest)? else {
                    return Ok(None);
                };
                if let Some(head) = head {
                    self.last = head.last;
                    self.place = head.length.map_or(Place::Size, Place::Length);
                }
                Ok(Some(length))
            }
            Place::Size => match httparse::parse_chunk_size(rest) {
                Ok(Status::Complete((length, size))) => {
                    self.place = if size == 0 { Place::Trailer } else { Place::Data(size) };
                    Ok(Some(length))
                }
                Ok(Status::Partial) if rest.len() < LONGEST_LINE => Ok(None),
                _ => Err("a chunk has no size".to_owned()),
            },
            Place::DataEnd | Place::Trailer => {
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    return if rest.len() < LONGEST_LINE {
                        Ok(None)
                    } else {
                        Err("a line between chunks is too long".to_owned())
                    };
                };
                let is_empty = rest[..end].trim_ascii_end().is_empty();
                match self.place {
                    Place::Trailer if is_empty => self.place = Place::Length(0),
                    Place::Trailer => {}
                    _ if is_empty => self.place = Place::Size,
                    _ => return Err("a chunk is longer than its size".to_owned()),
                }
                Ok(Some(end + 1))
            }
            Place::Length(_) | Place::Data(_) => Ok(Some(0)),
        }
    }
}

/// The parts of a head that matter.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Bytes of body; `None` for chunks.
    length: Option<u64>,
    last: bool,
}

/// Reads the head at the start of `input`. Returns its length and content; no content for an interim response (RFC 9110,
/// section 15.2); `None` if it is incomplete.
fn head(input: &[u8]) -> Result<Option<(usize, Option<Head>)>, String> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, input, &mut fields)
    {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if input.len() < LONGEST_HEAD => return Ok(None),
        Ok(Status::Partial) => return Err("an answer's head is too long".to_owned()),
        Err(error) => return Err(format!("this is not HTTP: {error}")),
    };
    let status = response.code.unwrap_or(0);
    if (102..200).contains(&status) || status == 100 {
        return Ok(Some((length, None)));
    }
    if status != 200 {
        let reason = response.reason.unwrap_or_default();
        return Err(format!("the answer is {}, not 200", format!("{status} {reason}").trim_end()));
    }
    let (mut body, mut chunked, mut last) = (None, false, response.version == Some(0));
    for field in response.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        let mut words = value.split(',').map(str::trim);
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse::<u64>().ok();
            if length.is_none() || body.is_some() && body != length {
                return Err("an answer's Content-Length is not a number".to_owned());
            }
            body = length;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked |= words.next_back().is_some_and(|word| word.eq_ignore_ascii_case("chunked"));
        } else if field.name.eq_ignore_ascii_case("connection") {
            for word in words {
                last |= word.eq_ignore_ascii_case("close");
                last &= !word.eq_ignore_ascii_case("keep-alive");
            }
        }
    }
    if !chunked && body.is_none() {
        return Err(
            "an answer has neither a Content-Length nor chunks, so its end is unknown".to_owned()
        );
    }
    Ok(Some((length, Some(Head { length: body.filter(|_| !chunked), last }))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::wire::protocol::Wire;

    fn tape(sizes: &str) -> Tape {
        Tape::new(&Wire::Http { host: "x:1".to_owned() }, &sizes.parse().unwrap()).unwrap()
    }

    /// An answer with the payload of frame `index`, in one of four forms.
    fn answer(tape: &Tape, index: usize) -> Vec<u8> {
        let body = &tape.bytes()[tape.echo(index)];
        let length = body.len();
        let plain = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        match index % 4 {
            0 => [plain.as_bytes(), body].concat(),
            1 => [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", plain.as_bytes(), body].concat(),
            form => {
                let mut bytes =
                    b"HTTP/1.1 200\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                for chunk in body.chunks(7) {
                    bytes.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                let end: &[u8] = if form == 2 { b"0\r\n\r\n" } else { b"0\r\nX: y\r\n\r\n" };
                [&bytes, end].concat()
            }
        }
    }

    /// Shows `input` in pieces of `length` bytes, each behind what was left of those before.
    fn in_pieces(
        tape: &Tape,
        in_flight: u32,
        input: &[u8],
        length: usize,
    ) -> Result<(Followed, bool), Wrong> {
        let mut answers = Answers::default();
        let mut sum = Followed::default();
        for end in (length..input.len()).step_by(length).chain([input.len()]) {
            let left = in_flight - u32::try_from(sum.frames).unwrap();
            let followed = answers
                .follow(tape, sum.next, left, &input[sum.consumed..end])
                .map_err(|wrong| Wrong { frames: sum.frames + wrong.frames, ..wrong })?;
            sum.consumed += followed.consumed;
            sum.frames += followed.frames;
            (sum.next, sum.last) = (followed.next, followed.last);
            if sum.last {
                break;
            }
        }
        Ok((sum, answers.is_within()))
    }

    #[test]
    fn answers_of_every_form_are_followed_in_any_pieces() {
        for sizes in ["64", "0", "0-40", "0:50%,3000:50%"] {
            let tape = tape(sizes);
            let input: Vec<u8> = (0..20).flat_map(|index| answer(&tape, index)).collect();
            for length in [1, 2, 3, 50, input.len()] {
                let (followed, within) = in_pieces(&tape, 20, &input, length).unwrap();
                let all = (input.len(), 20, tape.start(20));
                assert_eq!((followed.consumed, followed.frames, followed.next), all, "{sizes}");
                assert!(!within && !followed.last);
            }
        }
    }

    #[test]
    fn an_answer_is_within_from_its_first_byte_to_its_last() {
        let tape = tape("20");
        for index in 0..4 {
            let input = answer(&tape, index);
            let first =
                usize::from(index == 1) * b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".len();
            for length in 1..input.len() {
                let mut answers = Answers::default();
                let at = tape.start(index);
                let followed = answers.follow(&tape, at, 1, &input[..length]).unwrap();
                assert_eq!((followed.frames, followed.next), (0, at));
                assert_eq!(answers.is_within(), length != first, "{index}: {length}");
            }
        }
    }

    #[test]
    fn the_last_answer_is_known_for_one() {
        let tape = tape("2");
        for (version, field, last) in [
            ("1.1", "Connection: close", true),
            ("1.1", "Connection: Upgrade, Close", true),
            ("1.1", "Connection: keep-alive", false),
            ("1.0", "X: y", true),
            ("1.0", "Connection: Keep-Alive", false),
        ] {
            let head = format!("HTTP/{version} 200 OK\r\n{field}\r\nContent-Length: 2\r\n\r\n");
            let input = [head.as_bytes(), &tape.bytes()[tape.echo(0)]].concat();
            let (followed, _) = in_pieces(&tape, 1, &input, input.len()).unwrap();
            assert_eq!((followed.frames, followed.last), (1, last), "{version} {field}");
        }
    }

    #[test]
    fn what_is_no_echo_is_named() {
        let tape = tape("8");
        for (input, fault, says) in [
            (
                "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
                Fault::Mismatch,
                "503 Busy, not 200",
            ),
            ("HTTP/1.1 204\r\n\r\n", Fault::Mismatch, "the answer is 204, not 200"),
            ("HTTP/1.1 200 OK\r\n\r\n", Fault::Mismatch, "its end is unknown"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Fault::Mismatch, "not a number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Fault::Truncated, "0 bytes of the 8"),
            ("SSH-2.0-x\r\n", Fault::Mismatch, "not HTTP"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
                Fault::Mismatch,
                "no size",
            ),
        ] {
            let input = [&answer(&tape, 0), input.as_bytes()].concat();
            let wrong = in_pieces(&tape, 2, &input, input.len()).unwrap_err();
            let How::Otherwise(named, story) = wrong.how else { panic!("{wrong:?}") };
            assert_eq!((wrong.frames, named), (1, fault), "{story}");
            assert!(story.contains(says), "{story}");
        }
        let twice = [answer(&tape, 0), answer(&tape, 0)].concat();
        let wrong = in_pieces(&tape, 1, &twice, twice.len()).unwrap_err();
        let how = How::Differs { from: twice.len() / 2, offset: tape.start(1), alike: 0 };
        assert_eq!(wrong, Wrong { frames: 1, how });
    }

    #[test]
    fn a_body_with_other_bytes_differs_at_the_first_of_them() {
        let tape = tape("30");
        for index in 0..4 {
            let input: Vec<u8> = (0..=index).flat_map(|index| answer(&tape, index)).collect();
            let mut wrong = input.clone();
            let echo = &tape.bytes()[tape.echo(index)];
            let place = memchr::memmem::rfind(&input, &echo[21..25]).unwrap();
            wrong[place] ^= 1;
            let found = in_pieces(&tape, 4, &wrong, wrong.len()).unwrap_err();
            let How::Differs { from, offset, alike } = found.how else { panic!("{found:?}") };
            assert_eq!(found.frames, index as u64);
            assert_eq!(from + alike, place);
            assert_eq!(offset + alike, tape.echo(index).start + 21);
        }
        let long =
            [b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n", &tape.bytes()[tape.echo(0)], b"x"];
        let found = in_pieces(&tape, 4, &long.concat(), 1 << 10).unwrap_err();
        assert!(format!("{found:?}").contains("longer than the 30 bytes sent"), "{found:?}");
    }
}
