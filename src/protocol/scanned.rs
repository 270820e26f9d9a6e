//! What a scan for frames means for the connection: what comes next, and what bytes look like that are no frames.

use super::{Next, Refusal};
use crate::frame::{FrameError, Rest};

/// What to do about the bytes `ahead`, which are no whole frame; about the beginning of one, what `part` says.
#[inline(always)]
pub(super) fn after(rest: Rest, ahead: &[u8], part: impl FnOnce(usize) -> Next) -> Next {
    match rest {
        Rest::Nothing => Next::Idle,
        Rest::Part { need } => part(need),
        Rest::Refused(FrameError::TooLong { length, limit }) => {
            Next::Refuse(Refusal::TooLong { length, limit, looks_like: looks_like(ahead) })
        }
        Rest::Refused(error) => Next::Refuse(error.into()),
    }
}

/// A [`Handler`](super::Handler) hands on the error of a reply with `?`.
impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong { length, limit } => {
                Self::TooLong { length, limit, looks_like: None }
            }
            FrameError::TooShort { .. } => {
                Self::Malformed("length too small: it must include its own header")
            }
            FrameError::Overlong => Self::Malformed("a length of more than 64 bits"),
        }
    }
}

/// How conversations begin that people send to the wrong port.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"GET ", HTTP_REQUEST),
    (b"POST ", HTTP_REQUEST),
    (b"PUT ", HTTP_REQUEST),
    (b"HEAD ", HTTP_REQUEST),
    (b"DELETE ", HTTP_REQUEST),
    (b"OPTIONS ", HTTP_REQUEST),
    (b"PATCH ", HTTP_REQUEST),
    (b"CONNECT ", HTTP_REQUEST),
    (b"TRACE ", HTTP_REQUEST),
    (b"PRI * HTTP/2.0\r\n", HTTP_REQUEST),
    (b"HTTP/", "an HTTP response"),
    // RFC 8446, 5.1: a handshake record, of whichever minor version of 3.
    (b"\x16\x03", "a TLS handshake"),
    (b"SSH-", "an SSH banner"),
    (b"PROXY ", PROXY_HEADER),
    (b"\r\n\r\n\x00\r\nQUIT\n", PROXY_HEADER),
];

const HTTP_REQUEST: &str = "an HTTP request";
const PROXY_HEADER: &str = "a PROXY protocol header";

/// With fewer bytes than this, anything may look like anything.
const FEWEST_TO_JUDGE: usize = 2;

/// How much text it takes to be called so, and how much of it is looked at.
const FEWEST_TO_CALL_TEXT: usize = 4;
const MOST_TO_CALL_TEXT: usize = 64;

/// What bytes look like that a peer took for frames: `an HTTP request`, `a TLS handshake`, `text` …, for
/// the log. The beginning of a beginning will do: where a frame's head has four bytes, four
/// may be all that has come.
#[must_use]
pub fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    let begins = |beginning: &[u8]| {
        let common = beginning.len().min(bytes.len());
        common >= FEWEST_TO_JUDGE && beginning[..common] == bytes[..common]
    };
    if let Some((_, what)) = BEGINNINGS.iter().find(|(beginning, _)| begins(beginning)) {
        return Some(what);
    }
    let start = &bytes[..bytes.len().min(MOST_TO_CALL_TEXT)];
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    (start.len() >= FEWEST_TO_CALL_TEXT && start.iter().all(is_text)).then_some("text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Token,
        protocol::{Frames, Output, Protocol, Received},
    };

    fn refusal(bytes: &[u8]) -> String {
        let Received { next, .. } =
            Frames::default().receive(Token::new(0, 1), bytes, 0, &mut Output::new(0));
        match next {
            Next::Refuse(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn strangers_are_recognised_by_their_first_bytes() {
        for (bytes, what) in [
            (&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], "an HTTP request"),
            (b"DELE", "an HTTP request"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "an HTTP request"),
            (b"HTTP/1.1 200 OK\r\n", "an HTTP response"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a TLS handshake"),
            (b"SSH-2.0-OpenSSH_9.9\r\n", "an SSH banner"),
            (b"PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n", "a PROXY protocol header"),
            (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", "a PROXY protocol header"),
            (b"hello, world\r\n", "text"),
        ] {
            let refusal = refusal(bytes);
            assert!(refusal.ends_with(&format!("(this looks like {what})")), "{refusal}");
        }
    }

    #[test]
    fn a_negative_length_looks_like_nothing_else() {
        assert_eq!(
            refusal(b"\xff\xff\xff\xffhello"),
            "a length of 4294967295 bytes, over the limit of 16777216"
        );
    }

    #[test]
    fn too_few_bytes_look_like_nothing() {
        for bytes in [&b""[..], b"G", b"\x16", b"abc"] {
            assert_eq!(looks_like(bytes), None, "{bytes:?}");
        }
    }
}
