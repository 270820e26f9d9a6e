//! Where the frames of a reply begin and end.

use std::ops::Range;

use memchr::{memchr_iter, memmem};

use crate::frame::Dialect;

/// What a protocol's replies consist of, and so what the faults of a listener count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// Bytes: the whole connection is one frame.
    Bytes,
    /// Lines with their ends.
    Lines,
    /// Frames with a length in front.
    Frames(Dialect),
    /// WebSocket frames with data. The answer to the handshake and control frames are not counted.
    WebSocket,
    /// HTTP answers.
    Answers,
    /// Datagrams.
    Datagrams,
}

/// What is at the front of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A frame of this length, and where its payload is.
    Frame(usize, Range<usize>),
    /// So many bytes that are not a frame.
    Other(usize),
}

impl Units {
    /// In the words of errors.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Bytes => "raw bytes",
            Self::Lines => "lines",
            Self::Frames(_) => "frames",
            Self::WebSocket => "WebSocket frames",
            Self::Answers => "HTTP answers",
            Self::Datagrams => "datagrams",
        }
    }

    /// What is at the front of `bytes`, which are never empty. `is_answer` says whether they are one whole answer to a
    /// request.
    #[must_use]
    pub fn first(self, bytes: &[u8], is_answer: bool) -> Piece {
        let all = bytes.len();
        let frame = match self {
            Self::Bytes | Self::Datagrams => Some((all, 0..all)),
            Self::Lines => memchr_iter(b'\n', bytes).next().map(|end| {
                let payload = if bytes[..end].ends_with(b"\r") { end - 1 } else { end };
                (end + 1, 0..payload)
            }),
            Self::Frames(dialect) => dialect.head(bytes).ok().flatten().and_then(|head| {
                (head.frame() <= all).then(|| (head.frame(), head.size..head.frame()))
            }),
            Self::WebSocket => {
                if bytes.starts_with(b"HTTP/") {
                    return Piece::Other(memmem::find(bytes, b"\r\n\r\n").map_or(all, |at| at + 4));
                }
                return websocket(bytes).unwrap_or(Piece::Other(all));
            }
            // An interim answer, like 100 Continue (RFC 9110, section 15.2).
            Self::Answers if bytes.starts_with(b"HTTP/1.1 1") => {
                return Piece::Other(memmem::find(bytes, b"\r\n\r\n").map_or(all, |at| at + 4));
            }
            Self::Answers => {
                let body = memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
                body.filter(|_| is_answer).map(|body| (all, body..all))
            }
        };
        frame.map_or(Piece::Other(all), |(length, payload)| Piece::Frame(length, payload))
    }
}

impl Units {
    /// Whether a reply of WebSocket begins with the answer to a ping.
    pub(super) fn is_pong(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|first| first & 0x0F == 0x0A)
    }
}

/// The frame of a server at the front of `bytes` (RFC 6455, section 5.2).
fn websocket(bytes: &[u8]) -> Option<Piece> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (head, payload) = match second & 0x7F {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let whole = usize::try_from(payload).ok()?.checked_add(head)?;
    if whole > bytes.len() {
        return None;
    }
    let is_control = first & 0x08 != 0;
    Some(if is_control { Piece::Other(whole) } else { Piece::Frame(whole, head..whole) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_each_protocol_are_found() {
        for (units, bytes, piece) in [
            (Units::Bytes, &b"abc"[..], Piece::Frame(3, 0..3)),
            (Units::Lines, b"ab\r\ncd\n", Piece::Frame(4, 0..2)),
            (Units::Lines, b"\n", Piece::Frame(1, 0..0)),
            (Units::Lines, b"no end", Piece::Other(6)),
            (Units::Frames(Dialect::default()), b"\x02\0\0\0hi\0\0\0\0", Piece::Frame(6, 4..6)),
            (Units::Frames(Dialect::default()), b"\x02\0\0\0h", Piece::Other(5)),
            (Units::WebSocket, b"HTTP/1.1 101 S\r\n\r\n\x81\x01a", Piece::Other(18)),
            (Units::WebSocket, b"\x81\x01a\x81\x00", Piece::Frame(3, 2..3)),
            (Units::WebSocket, b"\x8a\x01a\x81\x00", Piece::Other(3)),
            (Units::Answers, b"HTTP/1.1 200 OK\r\n\r\nbody", Piece::Frame(23, 19..23)),
        ] {
            assert_eq!(units.first(bytes, true), piece, "{}", bytes.escape_ascii());
        }
        let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(Units::Answers.first(interim, true), Piece::Other(25));
        let refusal = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert_eq!(Units::Answers.first(refusal, false), Piece::Other(refusal.len()));
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        assert_eq!(Units::WebSocket.first(&long, true), Piece::Frame(260, 4..260));
    }
}
