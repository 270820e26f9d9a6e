//! WebSocket messages from a server (RFC 6455): extracts their payloads and compares them with what was sent.
//!
//! ```text
//!  FIN binary  MASK 64 key   64 bytes                 a frame, as it is sent
//!  FIN binary  64  64 bytes                           its echo: the same bytes without a mask
//!  binary  20  20 bytes   FIN continuation  44  44 bytes                  the same, in fragments
//! ```
//!
//! An echo is a binary message with the bytes that were sent, in any fragments. Between them a ping may come, which is
//! answered. An incomplete head stays in the connection's buffer.

use resound::plural::bytes;

use super::{
    comparison::{Followed, How, Wrong, compare_payload, shown},
    fault::Fault,
    upgrade,
};
use crate::load::wire::{
    tape::Tape,
    websocket::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT},
};

/// The most payload of a control frame (section 5.5).
const LONGEST_CONTROL: u64 = 125;

/// This many bytes of a message are not equal by chance.
const ENOUGH_TO_RECOGNISE: usize = 8;

/// A connection's position in what the server sends.
#[derive(Debug)]
pub(crate) struct Messages {
    /// Before the answer to the handshake: how it should accept the key.
    accept: Option<Box<[u8; 28]>>,
    place: Place,
    /// Received bytes of this message's payload.
    body: usize,
    /// Whether the frame is the last one of its message.
    fin: bool,
    /// A message has begun whose last frame has not come.
    in_message: bool,
    /// A part of a head or of a control frame has been received, and stays in the buffer.
    unfinished: bool,
    /// Control frames that have to be sent: the opcode and the payload. Of several pings the last one is answered
    /// (section 5.5.3).
    owed: Option<(u8, Vec<u8>)>,
    closed: bool,
}

/// The position of the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// In the payload of a data frame; this many bytes are missing.
    Payload(u64),
}

/// A head, or a whole control frame.
enum Framing {
    Data { head: usize, fin: bool, opcode: u8, payload: u64 },
    Control { length: usize, opcode: u8, payload: Vec<u8> },
}

impl Messages {
    /// Before a handshake that should be accepted in this way.
    pub(crate) fn new(accept: [u8; 28]) -> Self {
        Self {
            accept: Some(Box::new(accept)),
            place: Place::Head,
            body: 0,
            fin: true,
            in_message: false,
            unfinished: false,
            owed: None,
            closed: false,
        }
    }

    /// Reads the answer to the handshake at the start of `input`. Returns its length; `None` if it is incomplete.
    ///
    /// # Errors
    ///
    /// What is wrong, if it is not accepted.
    pub(crate) fn shake_hands(&mut self, input: &[u8]) -> Result<Option<usize>, Wrong> {
        let Some(accept) = &self.accept else { return Ok(Some(0)) };
        let length = upgrade::read(input, &**accept).map_err(|what| otherwise(0, what, input))?;
        if length.is_some() {
            self.accept = None;
        }
        Ok(length)
    }

    /// The control frame that has to be sent now.
    pub(crate) fn owed(&mut self) -> Option<(u8, Vec<u8>)> {
        self.owed.take()
    }

    /// Whether a message or a frame has begun and is not complete.
    pub(crate) fn is_within(&self) -> bool {
        self.unfinished || self.in_message || matches!(self.place, Place::Payload(_))
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
        while followed.consumed < input.len() && !self.closed {
            let rest = &input[followed.consumed..];
            let index = tape.index(followed.next);
            let echo = tape.echo(index);
            let frames = followed.frames;
            let consumed = match self.place {
                Place::Head => match framing(rest, self.in_message) {
                    Ok(Some(Framing::Control { length, opcode, payload })) => {
                        self.control(opcode, payload);
                        Some(length)
                    }
                    _ if followed.frames == u64::from(in_flight) => {
                        let (from, offset) = (followed.consumed, followed.next);
                        return Err(Wrong { frames, how: How::Differs { from, offset, alike: 0 } });
                    }
                    Ok(Some(Framing::Data { opcode: TEXT, .. })) => {
                        let what = "a text message came, and binary ones were sent".to_owned();
                        return Err(otherwise(frames, what, rest));
                    }
                    Ok(Some(Framing::Data { head, fin, payload, .. })) => {
                        self.begin(fin, payload);
                        Some(head)
                    }
                    Ok(None) => None,
                    Err(what) => {
                        let expected = &tape.bytes()[echo];
                        return Err(match before_the_message(rest, expected) {
                            Some(more) => {
                                let what = format!("{} came before a message", bytes(more));
                                surplus(frames, what, rest)
                            }
                            None => otherwise(frames, what.to_owned(), rest),
                        });
                    }
                },
                Place::Payload(left) => {
                    let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let piece = followed.consumed..followed.consumed + length;
                    compare_payload(tape, index, self.body, input, piece, "a message")
                        .map_err(|how| Wrong { frames, how })?;
                    self.body += length;
                    self.place = Place::Payload(left - length as u64);
                    Some(length)
                }
            };
            let Some(consumed) = consumed else {
                self.unfinished = true;
                break;
            };
            followed.consumed += consumed;
            if !self.ends_a_message() {
                continue;
            }
            let sent = tape.echo(index).len();
            if self.body < sent {
                let what = format!("a message has only {} of the {sent} sent", bytes(self.body));
                return Err(Wrong { frames, how: How::Otherwise(Fault::Truncated, what) });
            }
            self.body = 0;
            followed.frames += 1;
            followed.next = tape.start(index + 1);
        }
        followed.last = self.closed;
        Ok(followed)
    }

    /// Appends the payloads in `input` to `evidence` without a comparison. Returns how many bytes were used.
    pub(crate) fn gather(&mut self, input: &[u8], evidence: &mut Vec<u8>) -> usize {
        let mut consumed = 0;
        while consumed < input.len() {
            let rest = &input[consumed..];
            consumed += match self.place {
                Place::Payload(left) => {
                    let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    evidence.extend_from_slice(&rest[..length]);
                    self.place = Place::Payload(left - length as u64);
                    length
                }
                Place::Head => match framing(rest, self.in_message) {
                    Ok(Some(Framing::Control { length, .. })) => length,
                    Ok(Some(Framing::Data { head, fin, payload, .. })) => {
                        self.begin(fin, payload);
                        head
                    }
                    Ok(None) => break,
                    // What follows cannot be parsed.
                    Err(_) => {
                        evidence.extend_from_slice(rest);
                        rest.len()
                    }
                },
            };
            self.ends_a_message();
        }
        consumed
    }

    /// A data frame begins.
    fn begin(&mut self, fin: bool, payload: u64) {
        (self.fin, self.in_message) = (fin, true);
        self.place = Place::Payload(payload);
    }

    /// Whether the last byte of a message has come. Behind the last byte of a frame the next head is expected.
    fn ends_a_message(&mut self) -> bool {
        if self.place != Place::Payload(0) {
            return false;
        }
        self.place = Place::Head;
        self.in_message = !self.fin;
        self.fin
    }

    fn control(&mut self, opcode: u8, payload: Vec<u8>) {
        match opcode {
            PING => self.owed = Some((PONG, payload)),
            CLOSE => {
                self.closed = true;
                // Only the code comes back: a reason is for people.
                let code = payload.get(..2).unwrap_or_default();
                self.owed = Some((CLOSE, code.to_vec()));
            }
            _ => {}
        }
    }
}

/// Behind `frames` right ones came what does not have the form of an echo.
fn otherwise(frames: u64, what: String, rest: &[u8]) -> Wrong {
    Wrong { frames, how: How::Otherwise(Fault::Mismatch, shown(&what, rest)) }
}

/// The same, with bytes that were not sent.
fn surplus(frames: u64, what: String, rest: &[u8]) -> Wrong {
    Wrong { frames, how: How::Otherwise(Fault::Surplus, shown(&what, rest)) }
}

/// How many bytes are in front of the message with this payload, if it is in `rest`.
fn before_the_message(rest: &[u8], payload: &[u8]) -> Option<usize> {
    let key = payload.get(..ENOUGH_TO_RECOGNISE)?;
    let begins = memchr::memmem::find(rest, key)?;
    let head = match payload.len() {
        ..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    begins.checked_sub(head).filter(|more| *more > 0 && rest[*more] == FIN | BINARY)
}

/// Reads the head of a data frame, or a whole control frame; `None` if it is incomplete.
///
/// # Errors
///
/// What is wrong with it (sections 5.1, 5.2, 5.4 and 5.5).
fn framing(input: &[u8], in_message: bool) -> Result<Option<Framing>, &'static str> {
    let (first, second) = match *input {
        [] => return Ok(None),
        [first] => (first, 0),
        [first, second, ..] => (first, second),
    };
    let (fin, opcode) = (first & FIN != 0, first & 0x0F);
    let is_control = opcode & 0x8 != 0;
    let short = second & 0x7F;
    let wrong = match opcode {
        _ if first & 0x70 != 0 => "a reserved bit is set, and no extension was agreed on",
        CONTINUATION if !in_message => "a continuation came, and no message had begun",
        BINARY | TEXT if in_message => "a message came inside a fragmented one",
        CONTINUATION | BINARY | TEXT | CLOSE | PING | PONG if second & 0x80 != 0 => {
            "a frame is masked, which only those of clients are"
        }
        CLOSE | PING | PONG if !fin => "a control frame is fragmented",
        CLOSE | PING | PONG if u64::from(short) > LONGEST_CONTROL => "a control frame is too long",
        CONTINUATION | BINARY | TEXT | CLOSE | PING | PONG => "",
        _ => "an opcode is reserved",
    };
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let Some(after) = input.get(2..) else { return Ok(None) };
    let (payload, head) = match short {
        126 => match after.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match after.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    if (short == 126 && payload < 126) || (short == 127 && payload <= u64::from(u16::MAX)) {
        return Err("a length has more bytes than it needs");
    }
    if !is_control {
        return Ok(Some(Framing::Data { head, fin, opcode, payload }));
    }
    let length = head + usize::from(short);
    let payload = input.get(head..length).map(<[u8]>::to_vec);
    Ok(payload.map(|payload| Framing::Control { length, opcode, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{
        random::Random,
        wire::{protocol::Wire, websocket},
    };

    fn tape(sizes: &str) -> Tape {
        Tape::new(&Wire::Ws { host: "x:1".to_owned() }, &sizes.parse().unwrap()).unwrap()
    }

    /// A server's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut head = Vec::new();
        websocket::head(first, payload.len() as u64, [0; 4], &mut head);
        head.truncate(head.len() - 4);
        head[1] &= 0x7F;
        [&head, payload].concat()
    }

    fn payload(tape: &Tape, index: usize) -> &[u8] {
        &tape.bytes()[tape.echo(index)]
    }

    /// The echo of frame `index`, in one of four forms.
    fn echo(tape: &Tape, index: usize) -> Vec<u8> {
        let payload = payload(tape, index);
        let (one, two) = payload.split_at(payload.len() / 3);
        match index % 4 {
            0 => frame(FIN | BINARY, payload),
            1 => [frame(BINARY, one), frame(FIN | CONTINUATION, two)].concat(),
            2 => [
                frame(BINARY, b""),
                frame(FIN | PING, b"are you there"),
                frame(CONTINUATION, one),
                frame(FIN | PONG, b""),
                frame(CONTINUATION, two),
                frame(FIN | CONTINUATION, b""),
            ]
            .concat(),
            _ => [frame(FIN | PING, &[7; 125]), frame(FIN | BINARY, payload)].concat(),
        }
    }

    fn open() -> Messages {
        Messages { accept: None, ..Messages::new([0; 28]) }
    }

    #[test]
    fn what_is_sent_is_the_payload_behind_a_new_mask_each_time() {
        let tape = tape("0:10%,64:80%,70000:10%");
        let (mut sent, mut keys) = (Vec::new(), std::collections::HashSet::new());
        tape.copy(0, tape.frames() + 10, &mut sent);
        let mut rest = &sent[..];
        for index in 0..tape.frames() + 10 {
            let payload = payload(&tape, index);
            let mut head = frame(FIN | BINARY, payload);
            head.truncate(head.len() - payload.len());
            head[1] |= 0x80;
            let (found, behind) = rest.split_at(head.len());
            assert_eq!(found, head);
            let (key, behind) = behind.split_first_chunk::<4>().unwrap();
            let (masked, behind) = behind.split_at(payload.len());
            keys.insert(*key);
            let plain = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
            assert!(plain.eq(payload.iter().copied()), "{index}");
            rest = behind;
        }
        assert!(rest.is_empty());
        assert_eq!(keys.len(), tape.frames() + 10, "each frame has a key of its own");
    }

    #[test]
    fn the_frame_of_the_rfc_is_masked_as_it_is_there() {
        let mut hello = b"Hello".to_vec();
        resound::protocol::websocket::mask([0x37, 0xfa, 0x21, 0x3d], &mut hello);
        assert_eq!(hello, [0x7f, 0x9f, 0x4d, 0x51, 0x58], "section 5.7");
        let key = resound::protocol::websocket::accept(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&key, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "section 1.3");
    }

    #[test]
    fn echoes_in_any_fragments_and_pieces_are_followed() {
        for sizes in ["64", "0", "0-40", "0:50%,3000:50%", "70000"] {
            let tape = tape(sizes);
            let input: Vec<u8> = (0..12).flat_map(|index| echo(&tape, index)).collect();
            for length in [1, 2, 3, 50, input.len()] {
                if input.len() / length > 20_000 {
                    continue;
                }
                let (mut messages, mut sum, mut pongs) = (open(), Followed::default(), 0);
                for end in (length..input.len()).step_by(length).chain([input.len()]) {
                    let left = 12 - u32::try_from(sum.frames).unwrap();
                    let followed =
                        messages.follow(&tape, sum.next, left, &input[sum.consumed..end]).unwrap();
                    sum.consumed += followed.consumed;
                    sum.frames += followed.frames;
                    sum.next = followed.next;
                    pongs += usize::from(messages.owed().is_some());
                }
                assert_eq!((sum.consumed, sum.frames), (input.len(), 12), "{sizes} {length}");
                assert_eq!(sum.next, tape.start(12));
                assert!(!messages.is_within() && !sum.last && pongs > 0);
            }
        }
    }

    #[test]
    fn pings_are_answered_with_what_they_held_and_a_close_with_its_code() {
        let tape = tape("64");
        let mut messages = open();
        let input = [frame(FIN | PING, b"one"), frame(FIN | PING, b"two")].concat();
        let followed = messages.follow(&tape, 0, 1, &input).unwrap();
        assert_eq!((followed.consumed, followed.frames, followed.last), (input.len(), 0, false));
        assert_eq!(messages.owed(), Some((PONG, b"two".to_vec())));
        let close = frame(FIN | CLOSE, b"\x03\xe9going away");
        let input = [echo(&tape, 0), close, b"more".to_vec()].concat();
        let followed = messages.follow(&tape, 0, 2, &input).unwrap();
        assert_eq!((followed.frames, followed.last), (1, true));
        assert_eq!(messages.owed(), Some((CLOSE, b"\x03\xe9".to_vec())));
        let mut sent = Vec::new();
        websocket::control(PONG, b"two", &mut Random::new(1), &mut sent);
        assert_eq!((sent[0], sent[1], sent.len()), (FIN | PONG, 0x83, 2 + 4 + 3));
    }

    #[test]
    fn each_wrong_message_has_its_name() {
        let tape = tape("64");
        let good = payload(&tape, 0);
        let more = [good, b"!"].concat();
        for (input, fault, says) in [
            (frame(FIN | BINARY, &more), Fault::Surplus, "longer than the 64 bytes sent"),
            (frame(FIN | BINARY, &good[..20]), Fault::Truncated, "only 20 bytes of the 64 sent"),
            (
                [frame(BINARY, &good[..20]), frame(FIN | CONTINUATION, &good[20..63])].concat(),
                Fault::Truncated,
                "only 63 bytes of the 64",
            ),
            (frame(FIN | TEXT, good), Fault::Mismatch, "a text message"),
            (frame(FIN | 0x40 | BINARY, good), Fault::Mismatch, "a reserved bit"),
            (frame(FIN | 0x3, good), Fault::Mismatch, "an opcode is reserved"),
            (frame(FIN | CONTINUATION, good), Fault::Mismatch, "no message had begun"),
            (
                [frame(BINARY, &good[..20]), frame(FIN | BINARY, good)].concat(),
                Fault::Mismatch,
                "inside a fragmented one",
            ),
            (vec![FIN | BINARY, 0x80 | 64], Fault::Mismatch, "masked"),
            (vec![PING, 0], Fault::Mismatch, "a control frame is fragmented"),
            (vec![FIN | PING, 126, 0, 200], Fault::Mismatch, "too long"),
            (vec![FIN | BINARY, 126, 0, 64], Fault::Mismatch, "more bytes than it needs"),
            ([&b"!!"[..], &echo(&tape, 0)].concat(), Fault::Surplus, "2 bytes came before"),
        ] {
            let Wrong { how, .. } = open().follow(&tape, 0, 4, &input).unwrap_err();
            let How::Otherwise(found, story) = how else { panic!("{how:?}") };
            assert!(found == fault && story.contains(says), "{found:?}: {story}");
        }
    }

    #[test]
    fn other_payloads_and_messages_with_nothing_in_flight_are_kept_as_evidence() {
        let tape = tape("64");
        let input = [echo(&tape, 1), echo(&tape, 0)].concat();
        let mut messages = open();
        let Wrong { how: How::Differs { from, offset, alike }, .. } =
            messages.follow(&tape, 0, 4, &input).unwrap_err()
        else {
            panic!("not a difference");
        };
        assert_eq!((offset, alike), (tape.echo(0).start, 0));
        let mut evidence = Vec::new();
        assert_eq!(messages.gather(&input[from..], &mut evidence), input.len() - from);
        assert_eq!(evidence, [payload(&tape, 1), payload(&tape, 0)].concat());
        for input in [echo(&tape, 0), b"!!".to_vec()] {
            let wrong = open().follow(&tape, 0, 0, &input).unwrap_err();
            assert_eq!(wrong.how, How::Differs { from: 0, offset: 0, alike: 0 });
        }
    }
}
