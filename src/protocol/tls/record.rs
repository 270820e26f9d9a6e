//! The boundaries of TLS records.
//!
//! ```text
//! ┌──────┬─────────┬────────┬─────────────────┐
//! │ type │ version │ length │ length bytes    │   RFC 8446, section 5.1
//! └──────┴─────────┴────────┴─────────────────┘
//!    1        2        2
//! ```

use crate::protocol::looks_like;

/// Bytes before the content of a record.
pub(super) const HEAD: usize = 5;

/// The longest content of a record: 2^14 + 2048 bytes in TLS 1.2 (RFC 5246, section 6.2.3), less in TLS 1.3.
const LONGEST: usize = (1 << 14) + 2048;

/// About how many bytes of records are decrypted at a time: few enough for the nearest cache, because they are copied
/// before and after.
const BATCH: usize = 16 << 10;

/// The types of records with alerts and with handshake messages.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The type of a handshake message with which a client begins (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;

/// What a server that echoes without TLS says first.
pub(super) const OWN_HELLO: &str = "the handshake of this client";

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Too few to say.
    Part,
    /// The head of a record of a handshake.
    Handshake,
    /// Something else, which looks like this.
    Other(Option<&'static str>),
}

/// Looks at the first bytes of a connection.
pub(super) fn beginning(input: &[u8]) -> Beginning {
    match input {
        [HANDSHAKE, 3, _, _, _, ..] => Beginning::Handshake,
        bytes if bytes.len() < HEAD => Beginning::Part,
        bytes => Beginning::Other(looks_like(bytes)),
    }
}

/// Looks at the first bytes that a server has sent: a handshake, or the alert that refuses it.
pub(super) fn beginning_of_server(input: &[u8]) -> Beginning {
    match input {
        [HANDSHAKE, 3, _, _, _, CLIENT_HELLO, ..] => Beginning::Other(Some(OWN_HELLO)),
        [HANDSHAKE, 3, _, _, _, _, ..] | [ALERT, 3, _, _, _, ..] => Beginning::Handshake,
        [HANDSHAKE, 3, ..] if input.len() <= HEAD => Beginning::Part,
        bytes if bytes.len() < HEAD && bytes.first() == Some(&ALERT) => Beginning::Part,
        [HANDSHAKE] => Beginning::Part,
        bytes => Beginning::Other(looks_like(bytes)),
    }
}

/// How long `input` must be for its first record to be whole. A record that is longer than allowed counts as whole when
/// its head has come: it is refused.
pub(super) fn need(input: &[u8]) -> usize {
    let [_, _, _, high, low, ..] = input else { return HEAD };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > LONGEST { HEAD } else { HEAD + length }
}

/// The length of the whole records at the start of `input`, as many as are decrypted at a time; 0 if there is none.
pub(super) fn whole(input: &[u8]) -> usize {
    let mut length = 0;
    while length < BATCH {
        let rest = &input[length..];
        let need = need(rest);
        if rest.len() < need {
            break;
        }
        length += need;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_their_heads() {
        let one = [23, 3, 3, 0, 2, b'a', b'b'];
        let two = [&one[..], &[23, 3, 3, 0, 0]].concat();
        for (input, length, further) in [
            (&b""[..], 0, 5),
            (&two[..4], 0, 5),
            (&two[..6], 0, 7),
            (&two[..11], 7, 5),
            (&two, 12, 5),
        ] {
            assert_eq!((whole(input), need(&input[length..])), (length, further), "{input:?}");
        }
        let many = one.repeat(20_000);
        assert!((BATCH..BATCH + one.len()).contains(&whole(&many)));
    }

    #[test]
    fn a_record_that_is_too_long_is_not_waited_for() {
        assert_eq!(need(&[23, 3, 3, 0x48, 0x00]), HEAD + 0x4800);
        assert_eq!(need(&[23, 3, 3, 0x48, 0x01]), HEAD);
    }

    #[test]
    fn a_server_begins_with_its_own_handshake_or_an_alert() {
        for (input, beginning_of) in [
            (&b"\x16\x03\x03\x00\x7a\x02"[..], Beginning::Handshake),
            (b"\x15\x03\x03\x00\x02\x02\x28", Beginning::Handshake),
            (b"\x16\x03\x03\x00\x7a", Beginning::Part),
            (b"\x16", Beginning::Part),
            (b"\x15\x03", Beginning::Part),
            (b"\x16\x03\x01\x00\xf0\x01", Beginning::Other(Some(OWN_HELLO))),
            (b"HTTP/1.1 400 Bad Request\r\n", Beginning::Other(Some("an HTTP response"))),
            (b"SSH-2.0-x", Beginning::Other(Some("an SSH banner"))),
            (b"\x05\0\0\0hello", Beginning::Other(None)),
        ] {
            assert_eq!(beginning_of_server(input), beginning_of, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_tls_is_named() {
        for (input, beginning_of) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Beginning::Handshake),
            (b"\x16\x03\x01\x02", Beginning::Part),
            (b"GET / HTTP/1.1\r\n", Beginning::Other(Some("an HTTP request"))),
            (b"SSH-2", Beginning::Other(Some("an SSH banner"))),
            (b"\x17\x03\x03\x00\x01", Beginning::Other(None)),
        ] {
            assert_eq!(beginning(input), beginning_of, "{}", input.escape_ascii());
        }
    }
}
