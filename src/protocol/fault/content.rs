//! Changes of one frame's bytes.

use std::ops::Range;

use super::{
    kind::{Damage, Kind, Length},
    units::Units,
};
use crate::{protocol::status, random::Random};

/// The first byte of a WebSocket close frame.
const CLOSE: u8 = 0x88;

/// A frame that is changed before it is sent.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Where the payload is.
    pub(super) payload: Range<usize>,
}

impl Content {
    /// Changes it as `kind` says; kinds that change no bytes do nothing.
    pub(super) fn change(&mut self, kind: &Kind, units: Units, random: &mut Random) {
        match kind {
            Kind::Corrupt(damage) => self.corrupt(*damage, units, random),
            Kind::Length(length) => self.announce(*length, units),
            Kind::Garbage(count) => self.bytes.extend((0..*count).map(|_| byte(random))),
            Kind::Truncate(at) => {
                self.bytes.truncate(usize::try_from(*at).unwrap_or(usize::MAX));
                let length = self.bytes.len();
                self.payload = self.payload.start.min(length)..self.payload.end.min(length);
            }
            Kind::Dup => self.bytes.extend_from_within(..),
            Kind::Status(code) => self.set_status(*code),
            Kind::ShortChunk(_) => self.make_a_chunk(),
            Kind::Close(code) => {
                let payload = code.map(u16::to_be_bytes);
                let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
                let length = payload.len().to_le_bytes()[0];
                self.bytes = [&[CLOSE, length][..], payload].concat();
                self.payload = 2..self.bytes.len();
            }
            Kind::Mask => self.mask(random),
            _ => {}
        }
    }

    /// Gives an HTTP answer another status (RFC 9110, section 15), and no body where that status has none.
    fn set_status(&mut self, code: u16) {
        let Some(line) = memchr::memchr(b'\r', &self.bytes) else { return };
        let reason = status::reason(code);
        let status = format!("HTTP/1.1 {code} {reason}").into_bytes();
        self.payload.start = self.payload.start + status.len() - line;
        self.payload.end = self.payload.end + status.len() - line;
        drop(self.bytes.splice(..line, status));
        if !matches!(code, 100..=199 | 204 | 205 | 304) {
            return;
        }
        drop(self.bytes.drain(self.payload.clone()));
        self.payload.end = self.payload.start;
        match code {
            304 => {}
            205 => self.set_length_field(b"Content-Length: 0"),
            _ => self.set_length_field(b""),
        }
    }

    /// Makes the body of an HTTP answer one chunk, without the last one (RFC 9112, section 7.1). An answer without a
    /// body has no chunk.
    fn make_a_chunk(&mut self) {
        if length_field(&self.bytes[..self.payload.start]).is_none() {
            return;
        }
        self.set_length_field(b"Transfer-Encoding: chunked");
        if !self.payload.is_empty() {
            let size = format!("{:x}\r\n", self.payload.len()).into_bytes();
            let start = self.payload.start;
            self.payload = start + size.len()..self.payload.end + size.len();
            drop(self.bytes.splice(start..start, size));
        }
    }

    /// Writes `field` in place of the Content-Length, if there is one; removes its line if `field` is empty.
    fn set_length_field(&mut self, field: &[u8]) {
        let Some(place) = length_field(&self.bytes[..self.payload.start]) else { return };
        let end = if field.is_empty() { place.end + b"\r\n".len() } else { place.end };
        let length = end - place.start;
        drop(self.bytes.splice(place.start..end, field.iter().copied()));
        self.payload.start = self.payload.start + field.len() - length;
        self.payload.end = self.payload.end + field.len() - length;
    }

    /// Puts a mask on a WebSocket frame (RFC 6455, section 5.3).
    fn mask(&mut self, random: &mut Random) {
        let Some(second) = self.bytes.get_mut(1) else { return };
        *second |= 0x80;
        let [a, b, c, d, ..] = random.next().to_le_bytes();
        let mask = [a, b, c, d];
        let payload = self.bytes[self.payload.clone()].iter_mut();
        payload.zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        drop(self.bytes.splice(self.payload.start..self.payload.start, mask));
        self.payload = self.payload.start + mask.len()..self.payload.end + mask.len();
    }

    /// Changes as many different bytes or bits as asked for, or all there are.
    fn corrupt(&mut self, damage: Damage, units: Units, random: &mut Random) {
        let payload = &mut self.bytes[self.payload.clone()];
        let (wanted, unit) = match damage {
            Damage::Bytes(bytes) => (bytes, 1),
            Damage::Bits(bits) => (bits, 8),
        };
        let places = payload.len() as u64 * unit;
        // The first places of a shuffle: each place once, in time that follows what is wanted.
        let mut moved = std::collections::HashMap::new();
        for taken in 0..wanted.min(places) {
            let drawn = random.between(taken, places - 1);
            let place = moved.get(&drawn).copied().unwrap_or(drawn);
            let displaced = moved.get(&taken).copied().unwrap_or(taken);
            moved.insert(drawn, displaced);
            let Ok(at) = usize::try_from(place / unit) else { return };
            let before = payload[at];
            payload[at] ^= match damage {
                Damage::Bytes(_) => (1 + random.below(255)).to_le_bytes()[0],
                Damage::Bits(_) => 1 << (place % 8),
            };
            // A line stays one line.
            if units == Units::Lines && matches!(payload[at], b'\n' | b'\r') {
                payload[at] = before ^ 0x80;
            }
        }
    }

    /// Writes another length into the head.
    fn announce(&mut self, length: Length, units: Units) {
        let other = |right: u64, most: u64| match length {
            Length::More => right.wrapping_add(1),
            Length::Less => right.wrapping_sub(1),
            Length::Zero => 0,
            Length::Max => most,
            Length::Negative => u64::MAX,
        };
        let before = self.bytes.len();
        match units {
            Units::Frames(dialect) => dialect.announce(&mut self.bytes, other),
            Units::WebSocket => {
                let right = self.payload.len() as u64;
                // A head with eight bytes of length can say anything.
                let long = other(right, u64::MAX >> 1).to_be_bytes();
                let first = self.bytes.first().copied().unwrap_or_default();
                let head: Vec<u8> = match (length, u8::try_from(right)) {
                    (Length::More | Length::Less | Length::Zero, Ok(short @ 1..=124)) => {
                        vec![first, other(short.into(), 0).to_le_bytes()[0]]
                    }
                    _ => [&[first, 127][..], &long].concat(),
                };
                drop(self.bytes.splice(..self.payload.start, head));
            }
            Units::Answers => announce_in_field(&mut self.bytes, self.payload.start, other),
            Units::Bytes | Units::Lines | Units::Datagrams => {}
        }
        let start = (self.payload.start + self.bytes.len()).saturating_sub(before);
        let end = (self.payload.end + self.bytes.len()).saturating_sub(before);
        self.payload = start..end;
    }
}

fn byte(random: &mut Random) -> u8 {
    random.next().to_le_bytes()[0]
}

const FIELD: &[u8] = b"content-length:";

/// Where the line of the Content-Length is in a head, without its end.
fn length_field(head: &[u8]) -> Option<Range<usize>> {
    let lower = head.to_ascii_lowercase();
    let start = memchr::memmem::find(&lower, b"\r\ncontent-length:")? + b"\r\n".len();
    let length = memchr::memchr(b'\r', &head[start..])?;
    Some(start..start + length)
}

/// Changes the Content-Length in a head of `head` bytes. `-1` is written as such.
fn announce_in_field(bytes: &mut Vec<u8>, head: usize, other: impl Fn(u64, u64) -> u64) {
    let Some(field) = length_field(&bytes[..head]) else { return };
    let start = field.start + FIELD.len();
    let length = field.end - start;
    let value = &bytes[start..field.end];
    let right = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    let Some(right) = right else { return };
    let text = match other(right, u64::MAX >> 1) {
        u64::MAX => " -1".to_owned(),
        length => format!(" {length}"),
    };
    drop(bytes.splice(start..start + length, text.into_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{Dialect, Width},
        protocol::fault::Plan,
    };

    fn changed(plan: &str, units: Units, bytes: &[u8], payload: Range<usize>) -> Vec<u8> {
        let plan: Plan = plan.parse().unwrap();
        let mut content = Content { bytes: bytes.to_vec(), payload };
        for fault in plan.faults() {
            content.change(&fault.kind, units, &mut Random::of(&[1]));
            assert!(content.payload.end <= content.bytes.len());
        }
        content.bytes
    }

    const FRAMES: fn(Width) -> Units = |width| Units::Frames(Dialect::new(width));

    #[test]
    fn exactly_as_many_bytes_and_bits_are_changed_as_asked_for() {
        let frame = b"\x08\0\0\0abcdefgh";
        for (plan, bytes, bits) in [
            ("corrupt=1", 1, None),
            ("corrupt=3", 3, None),
            ("corrupt=99", 8, None),
            ("corrupt=1bit", 1, Some(1)),
            ("corrupt=64bit", 8, Some(64)),
            ("corrupt=13bit", 0, Some(13)),
        ] {
            let changed = changed(plan, FRAMES(Width::U32Le), frame, 4..12);
            assert_eq!(changed[..4], frame[..4], "the head stays");
            let differences = changed.iter().zip(frame).map(|(a, b)| (a ^ b).count_ones());
            let (different, flipped) = differences
                .fold((0, 0), |(bytes, bits), one| (bytes + usize::from(one > 0), bits + one));
            assert!(bytes == 0 || bytes == different, "{plan}: {different}");
            assert!(bits.is_none_or(|bits| bits == flipped), "{plan}: {flipped}");
        }
        let line = changed("corrupt=999", Units::Lines, b"abc\r\n", 0..3);
        assert!(line.ends_with(b"\r\n") && !line[..3].contains(&b'\n') && line[..3] != *b"abc");
    }

    #[test]
    fn lengths_that_are_wrong_are_announced_in_each_protocol() {
        for (plan, head) in [
            ("length=+1", [4, 0, 0, 0]),
            ("length=-1", [2, 0, 0, 0]),
            ("length=zero", [0, 0, 0, 0]),
            ("length=max", [255, 255, 255, 127]),
            ("length=negative", [255, 255, 255, 255]),
        ] {
            let frame = changed(plan, FRAMES(Width::U32Le), b"\x03\0\0\0abc", 4..7);
            assert_eq!(frame, [&head[..], b"abc"].concat(), "{plan}");
        }
        let varint = changed("length=max+corrupt=1", FRAMES(Width::Varint), b"\x01a", 1..2);
        assert_eq!(varint.len(), 10, "nine bytes of length, and the payload");
        assert_ne!(varint[9], b'a');
        assert_eq!(changed("length=+1", Units::WebSocket, b"\x81\x01a", 2..3), b"\x81\x02a");
        let long = changed("length=negative", Units::WebSocket, b"\x81\x01a", 2..3);
        assert_eq!(long, b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xffa");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        for (plan, field) in [
            ("length=+1", "Content-Length: 3\r"),
            ("length=zero", "Content-Length: 0\r"),
            ("length=negative", "Content-Length: -1\r"),
        ] {
            let body = answer.len() - 2..answer.len();
            let text = String::from_utf8(changed(plan, Units::Answers, answer, body)).unwrap();
            assert!(text.contains(field) && text.ends_with("\r\n\r\nhi"), "{text}");
        }
    }

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n0123456789";

    #[test]
    fn an_answer_gets_another_status_and_no_body_where_that_has_none() {
        for (plan, answer) in [
            (
                "status=503",
                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n0123456789",
            ),
            ("status=799+truncate=15", "HTTP/1.1 799 \r\n"),
            ("status=204", "HTTP/1.1 204 No Content\r\nContent-Type: a/b\r\n\r\n"),
            (
                "status=205",
                "HTTP/1.1 205 Reset Content\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n",
            ),
            (
                "status=304",
                "HTTP/1.1 304 Not Modified\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n",
            ),
            ("status=100", "HTTP/1.1 100 Continue\r\nContent-Type: a/b\r\n\r\n"),
        ] {
            let body = ANSWER.len() - 10..ANSWER.len();
            let changed = changed(plan, Units::Answers, ANSWER, body);
            assert_eq!(String::from_utf8(changed).unwrap(), answer, "{plan}");
        }
    }

    #[test]
    fn a_body_becomes_one_chunk_without_an_end() {
        let body = ANSWER.len() - 10..ANSWER.len();
        let chunk = changed("short-chunk=3", Units::Answers, ANSWER, body);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(String::from_utf8(chunk).unwrap(), format!("{head}a\r\n0123456789"));
        let head_only = &ANSWER[..ANSWER.len() - 10];
        let empty =
            changed("short-chunk=3", Units::Answers, head_only, head_only.len()..head_only.len());
        assert_eq!(String::from_utf8(empty).unwrap(), head);
    }

    #[test]
    fn a_websocket_frame_gets_a_mask_or_becomes_a_close_frame() {
        let changed = |plan| changed(plan, Units::WebSocket, b"\x82\x05hello", 2..7);
        let masked = changed("mask");
        assert_eq!((&masked[..2], masked.len()), (&b"\x82\x85"[..], 11));
        let plain: Vec<u8> = (0..5).map(|at| masked[6 + at] ^ masked[2 + at % 4]).collect();
        assert_eq!(plain, b"hello");
        assert_ne!(masked[2..6], [0; 4]);
        assert_eq!(changed("close=1011"), b"\x88\x02\x03\xf3");
        assert_eq!(changed("close=none"), b"\x88\x00");
    }

    #[test]
    fn frames_are_doubled_cut_and_followed_by_garbage() {
        let frame = b"\x03\0\0\0abc";
        let units = FRAMES(Width::U32Le);
        assert_eq!(changed("dup", units, frame, 4..7), [&frame[..], frame].concat());
        assert_eq!(changed("truncate=5", units, frame, 4..7), frame[..5]);
        assert_eq!(changed("truncate=2+corrupt=9", units, frame, 4..7), frame[..2]);
        assert_eq!(changed("truncate=99", units, frame, 4..7), frame);
        let followed = changed("garbage=16", units, frame, 4..7);
        assert_eq!((followed.len(), &followed[..7]), (23, &frame[..]));
    }
}
