//! A decoder so obvious that it must be right, to hold the scanner against: byte by byte, in numbers
//! too large to overflow.
//!
//! Use it with `#[path = "common/obvious.rs"] mod obvious;`.

use resound::frame::{Dialect, Width};

/// What an input holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'b> {
    /// The payloads of the whole frames.
    pub(crate) payloads: Vec<&'b [u8]>,
    /// What is behind them.
    pub(crate) ahead: &'b [u8],
    /// Whether that begins with a head that cannot be.
    pub(crate) refused: bool,
}

/// Decodes all of `bytes`.
pub(crate) fn decode<'b>(dialect: &Dialect, bytes: &'b [u8]) -> Decoded<'b> {
    let (mut payloads, mut ahead) = (Vec::new(), bytes);
    while let Some((head, length)) = field(dialect, ahead) {
        let payload = length + i128::from(dialect.adjust());
        let refused = payload < 0 || payload > i128::from(dialect.limit());
        if refused || head as i128 + payload > ahead.len() as i128 {
            return Decoded { payloads, ahead, refused };
        }
        let (frame, behind) = ahead.split_at(head + usize::try_from(payload).unwrap_or(0));
        payloads.push(&frame[head..]);
        ahead = behind;
    }
    Decoded { payloads, ahead, refused: false }
}

/// The size of the head at the front of `bytes` and the length that it says.
fn field(dialect: &Dialect, bytes: &[u8]) -> Option<(usize, i128)> {
    let field = bytes.get(dialect.offset()..)?;
    let (length, count) = match dialect.width() {
        Width::U8 => (little(field, 1)?, 1),
        Width::U16Le => (little(field, 2)?, 2),
        Width::U16Be => (big(field, 2)?, 2),
        Width::U24Le => (little(field, 3)?, 3),
        Width::U24Be => (big(field, 3)?, 3),
        Width::U32Le => (little(field, 4)?, 4),
        Width::U32Be => (big(field, 4)?, 4),
        Width::U64Le => (little(field, 8)?, 8),
        Width::U64Be => (big(field, 8)?, 8),
        Width::Varint => varint(field)?,
        Width::Gob => gob(field)?,
    };
    Some((dialect.offset() + count, length))
}

fn little(field: &[u8], count: usize) -> Option<i128> {
    let digits = field.get(..count)?.iter().rev();
    Some(digits.fold(0, |length, digit| length * 256 + i128::from(*digit)))
}

fn big(field: &[u8], count: usize) -> Option<i128> {
    let digits = field.get(..count)?.iter();
    Some(digits.fold(0, |length, digit| length * 256 + i128::from(*digit)))
}

/// More than eight bytes are a length that no frame can have.
fn gob(field: &[u8]) -> Option<(i128, usize)> {
    match usize::from(*field.first()?) {
        small @ 0..128 => Some((small as i128, 1)),
        first if 256 - first > 8 => Some((1 << 100, 1)),
        first => Some((big(&field[1..], 256 - first)?, 257 - first)),
    }
}

/// More than 64 bits are a length that no frame can have.
fn varint(field: &[u8]) -> Option<(i128, usize)> {
    let mut length = 0;
    for count in 1..=10 {
        let digit = i128::from(*field.get(count - 1)?);
        length += (digit % 128) << (7 * (count - 1));
        if digit < 128 {
            return Some((length, count));
        }
    }
    Some((1 << 100, 10))
}
