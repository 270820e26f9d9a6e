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

/// About how many bytes of records are decrypted at a time.
const BATCH: usize = 64 << 10;

/// The type of a record with handshake messages.
const HANDSHAKE: u8 = 22;

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
