//! The length field: how many bytes, in which order.

use std::{fmt, str::FromStr};

use super::{FrameError, KeyError};

/// How a length is written. All are unsigned.
///
/// ```text
/// 300 as  u16be   01 2c
///         u16le   2c 01
///         u24be   00 01 2c
///         u32le   2c 01 00 00
///         varint  ac 02              seven bits a byte, the lowest first, the top bit set on all but
///                                    the last: 1_0101100 0_0000010
///         gob     fe 01 2c           minus how many bytes follow, big-endian; below 128 one byte
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes, little-endian.
    U16Le,
    /// Two bytes, big-endian.
    U16Be,
    /// Three bytes, little-endian.
    U24Le,
    /// Three bytes, big-endian.
    U24Be,
    /// Four bytes, little-endian: the default.
    #[default]
    U32Le,
    /// Four bytes, big-endian.
    U32Be,
    /// Eight bytes, little-endian.
    U64Le,
    /// Eight bytes, big-endian.
    U64Be,
    /// One to ten bytes: unsigned LEB128, as in Protocol Buffers. Padded ones (`80 00` for 0) are understood,
    /// as protobuf's readers understand them, and never written.
    Varint,
    /// One to nine bytes, as Go's package `encoding/gob` writes unsigned integers: one byte below 128; otherwise a byte
    /// with minus the number of bytes that follow, and these, big-endian. Padded ones (`ff 05`) are understood, as Go
    /// understands them, and never written.
    Gob,
}

enum Order {
    Little,
    Big,
}

/// The bytes that a varint of 64 bits can need; a length as in gob needs one less.
const VARINT_MOST: usize = 10;

impl Width {
    /// Every width.
    pub const ALL: [Self; 11] = [
        Self::U8,
        Self::U16Le,
        Self::U16Be,
        Self::U24Le,
        Self::U24Be,
        Self::U32Le,
        Self::U32Be,
        Self::U64Le,
        Self::U64Be,
        Self::Varint,
        Self::Gob,
    ];

    /// The word for it in a listener's keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16Le => "u16le",
            Self::U16Be => "u16be",
            Self::U24Le => "u24le",
            Self::U24Be => "u24be",
            Self::U32Le => "u32le",
            Self::U32Be => "u32be",
            Self::U64Le => "u64le",
            Self::U64Be => "u64be",
            Self::Varint => "varint",
            Self::Gob => "gob",
        }
    }

    /// How many bytes the field has, or `None` where that depends on the length.
    #[must_use]
    pub const fn bytes(self) -> Option<usize> {
        match self {
            Self::U8 => Some(1),
            Self::U16Le | Self::U16Be => Some(2),
            Self::U24Le | Self::U24Be => Some(3),
            Self::U32Le | Self::U32Be => Some(4),
            Self::U64Le | Self::U64Be => Some(8),
            Self::Varint | Self::Gob => None,
        }
    }

    const fn order(self) -> Order {
        match self {
            Self::U16Be | Self::U24Be | Self::U32Be | Self::U64Be => Order::Big,
            _ => Order::Little,
        }
    }

    /// The greatest length that is ever taken from, or put into, the field. Where some of the field's users
    /// read it as signed, that is the greatest positive number, so that all understand the same.
    pub(super) const fn most(self) -> u64 {
        match self {
            Self::U8 => u8::MAX as u64,
            Self::U16Le | Self::U16Be => u16::MAX as u64,
            Self::U24Le | Self::U24Be => (1 << 24) - 1,
            Self::U32Le | Self::U32Be => i32::MAX.cast_unsigned() as u64,
            Self::U64Le | Self::U64Be | Self::Varint | Self::Gob => i64::MAX.cast_unsigned(),
        }
    }

    /// The length at the front of `input` and how many bytes it takes; `None` while it is not all there.
    #[inline(always)]
    pub(super) fn read(self, input: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
        let Some(bytes) = self.bytes() else {
            return if self == Self::Gob { read_gob(input) } else { read_varint(input) };
        };
        let Some(field) = input.get(..bytes) else {
            return Ok(None);
        };
        let mut wide = [0; 8];
        let length = match self.order() {
            Order::Little => {
                wide[..bytes].copy_from_slice(field);
                u64::from_le_bytes(wide)
            }
            Order::Big => {
                wide[8 - bytes..].copy_from_slice(field);
                u64::from_be_bytes(wide)
            }
        };
        Ok(Some((length, bytes)))
    }

    /// The field that says `length`, which must fit.
    pub(super) fn write(self, length: u64) -> Field {
        let Some(count) = self.bytes() else {
            return if self == Self::Gob { write_gob(length) } else { write_varint(length) };
        };
        let mut field = [0; VARINT_MOST];
        match self.order() {
            Order::Little => field[..count].copy_from_slice(&length.to_le_bytes()[..count]),
            Order::Big => field[..count].copy_from_slice(&length.to_be_bytes()[8 - count..]),
        }
        Field { field, count }
    }
}

/// A length as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    field: [u8; VARINT_MOST],
    count: usize,
}

impl Field {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.field[..self.count]
    }
}

#[inline(always)]
fn read_varint(input: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let mut length = 0;
    for (at, &byte) in input.iter().take(VARINT_MOST).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * at;
        // Only the tenth byte can have bits to lose: it has room for one.
        if bits << shift >> shift != bits {
            return Err(FrameError::Overlong);
        }
        length |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    if input.len() < VARINT_MOST { Ok(None) } else { Err(FrameError::Overlong) }
}

fn write_varint(mut length: u64) -> Field {
    let mut field = [0; VARINT_MOST];
    let mut count = 1;
    while length >= 0x80 {
        field[count - 1] = length.to_le_bytes()[0] | 0x80;
        length >>= 7;
        count += 1;
    }
    field[count - 1] = length.to_le_bytes()[0];
    Field { field, count }
}

#[inline(always)]
fn read_gob(input: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    if first < 0x80 {
        return Ok(Some((first.into(), 1)));
    }
    let count = usize::from(first.wrapping_neg());
    if count > 8 {
        return Err(FrameError::Overlong);
    }
    let Some(digits) = rest.get(..count) else { return Ok(None) };
    let length = digits.iter().fold(0, |length, &digit| length << 8 | u64::from(digit));
    Ok(Some((length, 1 + count)))
}

fn write_gob(length: u64) -> Field {
    let mut field = [0; VARINT_MOST];
    let digits = length.to_be_bytes();
    let count = match length {
        0..0x80 => 0,
        _ => 8 - length.leading_zeros() as usize / 8,
    };
    field[0] = if count == 0 { digits[7] } else { count.wrapping_neg().to_le_bytes()[0] };
    field[1..=count].copy_from_slice(&digits[8 - count..]);
    Field { field, count: 1 + count }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Width {
    type Err = KeyError;

    fn from_str(word: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|width| width.name() == word).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            KeyError::value("length", word, format!("one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_length_in_every_width() {
        let each: [(Width, u64, &[u8]); 17] = [
            (Width::U8, 44, b"\x2c"),
            (Width::U16Le, 300, b"\x2c\x01"),
            (Width::U16Be, 300, b"\x01\x2c"),
            (Width::U24Le, 300, b"\x2c\x01\x00"),
            (Width::U24Be, 300, b"\x00\x01\x2c"),
            (Width::U32Le, 300, b"\x2c\x01\x00\x00"),
            (Width::U32Be, 300, b"\x00\x00\x01\x2c"),
            (Width::U64Le, 300, b"\x2c\x01\x00\x00\x00\x00\x00\x00"),
            (Width::U64Be, 300, b"\x00\x00\x00\x00\x00\x00\x01\x2c"),
            (Width::Varint, 0, b"\x00"),
            (Width::Varint, 300, b"\xac\x02"),
            (Width::Varint, u64::MAX, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            // The first three are in the documentation of encoding/gob.
            (Width::Gob, 0, b"\x00"),
            (Width::Gob, 7, b"\x07"),
            (Width::Gob, 256, b"\xfe\x01\x00"),
            (Width::Gob, 128, b"\xff\x80"),
            (Width::Gob, u64::MAX, b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (width, length, bytes) in each {
            assert_eq!(width.write(length).bytes(), bytes, "{width}");
            assert_eq!(width.read(bytes), Ok(Some((length, bytes.len()))), "{width}");
            for cut in 0..bytes.len() {
                assert_eq!(width.read(&bytes[..cut]), Ok(None), "{width} cut at {cut}");
            }
        }
    }

    #[test]
    fn padded_varint_is_understood_and_overlong_one_refused() {
        assert_eq!(Width::Varint.read(b"\x80\x00"), Ok(Some((0, 2))));
        assert_eq!(
            Width::Varint.read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
            Err(FrameError::Overlong)
        );
        assert_eq!(
            Width::Varint.read(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
            Err(FrameError::Overlong)
        );
        assert_eq!(
            Width::Varint.read(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"),
            Err(FrameError::Overlong)
        );
    }

    #[test]
    fn padded_gob_is_understood_and_one_of_nine_bytes_refused() {
        assert_eq!(Width::Gob.read(b"\xff\x05"), Ok(Some((5, 2))));
        assert_eq!(Width::Gob.read(b"\xf7"), Err(FrameError::Overlong));
        assert_eq!(Width::Gob.read(b"\x80"), Err(FrameError::Overlong));
    }

    #[test]
    fn words_name_widths_and_nothing_else_does() {
        for width in Width::ALL {
            assert_eq!(width.to_string().parse(), Ok(width));
        }
        let error = "u16".parse::<Width>().unwrap_err().to_string();
        assert!(error.contains("u16le, u16be"), "{error}");
    }
}
