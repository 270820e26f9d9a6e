//! The length prefix: what a frame looks like, where it ends, and how long it may be.
//!
//! ```text
//!  before        length field            payload
//! ┌───────┬─────────────────────┬───────────────────────┐
//! │       │ 05 00 00 00         │ 68 65 6c 6c 6f        │
//! └───────┴─────────────────────┴───────────────────────┘
//!  offset   u8 … u64, varint, gob   length + adjust bytes,
//!  bytes                             at most the limit
//! └──────────── head ──────────┘
//! └─────────────────────── frame ───────────────────────┘
//! ```
//!
//! A [`Dialect`] is one choice of the four: the [`Width`] of the length field, the offset of the field, what
//! the length counts, and the limit. Everything behind the length field is called the payload here, headers
//! of the protocol's own included. The default dialect is the drawing's: four bytes, little-endian, counting
//! the payload, nothing before them, and a limit of 16 MiB. [`presets`] names the usual others.
//!
//! ```
//! use resound::frame::{Dialect, Rest, Width};
//!
//! let dialect = Dialect::new(Width::U16Be);
//! let mut bytes = Vec::new();
//! dialect.encode(b"hello", &mut bytes)?;
//! dialect.encode(b"", &mut bytes)?;
//! assert_eq!(bytes, b"\x00\x05hello\x00\x00");
//!
//! // Six bytes more, of a frame that will have eleven.
//! bytes.extend_from_slice(b"\x00\x09half");
//! let scan = dialect.scan(&bytes);
//! assert_eq!((scan.whole, scan.frames), (9, 2));
//! assert_eq!(scan.rest, Rest::Part { need: 11 });
//! # Ok::<(), resound::frame::FrameError>(())
//! ```
//!
//! No memory is allocated for an announced length. Every length is checked after the adjustment and before it is used.

mod encode;
mod key_error;
mod keys;
mod preset;
mod scan;
mod width;

use std::fmt;

use crate::plural::bytes;

pub use encode::Payload;
pub use key_error::KeyError;
pub use keys::Keys;
pub use preset::{Preset, presets};
pub use scan::{Frame, Rest, Scan, Unpack};
pub use width::Width;

/// The limit of a dialect that names none: 16 MiB.
pub const DEFAULT_MAX: u64 = 16 << 20;

/// The highest limit there is: 2 GiB less one byte, the longest length that is not negative to a program
/// that reads four bytes as a signed number.
pub const HIGHEST_MAX: u64 = (1 << 31) - 1;

/// One way to write a length in front of a payload.
///
/// Small and `Copy`; one that exists is valid, so that some frame at least fits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    width: Width,
    offset: u8,
    adjust: i32,
    /// As it was asked for; at most [`HIGHEST_MAX`].
    max: u64,
    /// `max`, or less where the field cannot hold such a length: `limit - adjust` fits the field, so an
    /// encoded length is never cut. At least `adjust`, or no length could be encoded.
    limit: u64,
}

impl Default for Dialect {
    /// Four bytes, little-endian, counting the payload only; at most 16 MiB.
    fn default() -> Self {
        Self::new(Width::U32Le)
    }
}

impl Dialect {
    /// A length field of that `width` right at the front, counting the payload only; a limit of 16 MiB, or of
    /// what the field can count.
    #[must_use]
    pub const fn new(width: Width) -> Self {
        let most = width.most();
        Self {
            width,
            offset: 0,
            adjust: 0,
            max: DEFAULT_MAX,
            limit: if most < DEFAULT_MAX { most } else { DEFAULT_MAX },
        }
    }

    /// The same with `offset` bytes before the length field. They are echoed as they came, and zero where
    /// resound makes the frame itself. Default 0.
    #[must_use]
    pub const fn with_offset(self, offset: u8) -> Self {
        Self { offset, ..self }
    }

    /// The same with `adjust` added to each length to give the payload's, as Netty's `lengthAdjustment`
    /// is: -4 where a length of four bytes counts itself too. Default 0.
    ///
    /// # Errors
    ///
    /// [`DialectError::NothingFits`] when no length that the field can hold gives a payload within the limit.
    pub const fn with_adjust(self, adjust: i32) -> Result<Self, DialectError> {
        Self::checked(self.width, self.offset, adjust, self.max)
    }

    /// The same with another limit, in bytes of payload. Default 16 MiB.
    ///
    /// A limit beyond what the field can count is lowered to that; see [`limit`](Self::limit).
    ///
    /// # Errors
    ///
    /// [`DialectError::Max`] for more than [`HIGHEST_MAX`], and [`DialectError::NothingFits`] for less than
    /// a positive adjustment.
    pub const fn with_max(self, max: u64) -> Result<Self, DialectError> {
        Self::checked(self.width, self.offset, self.adjust, max)
    }

    const fn checked(
        width: Width,
        offset: u8,
        adjust: i32,
        max: u64,
    ) -> Result<Self, DialectError> {
        if max > HIGHEST_MAX {
            return Err(DialectError::Max { max });
        }
        // Not negative and at most `i64::MAX`, both of them.
        let most = width.most().cast_signed().saturating_add(adjust as i64);
        let max_signed = max.cast_signed();
        let limit = if most < max_signed { most } else { max_signed };
        let least = if adjust > 0 { adjust as i64 } else { 0 };
        if limit < least {
            return Err(DialectError::NothingFits { width, adjust, max });
        }
        Ok(Self { width, offset, adjust, max, limit: limit.cast_unsigned() })
    }

    /// How the length is written.
    #[must_use]
    pub const fn width(&self) -> Width {
        self.width
    }

    /// How many bytes come before the length field.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// What is added to a length to give the payload's.
    #[must_use]
    pub const fn adjust(&self) -> i32 {
        self.adjust
    }

    /// The most bytes of payload a frame may have. The head does not count.
    ///
    /// This is the limit that was asked for, or less where the field cannot hold such a length: 255, 65,535 or
    /// 16,777,215 bytes for one, two and three bytes, 2 GiB less one for four, each with the
    /// adjustment added. Half of what four bytes could hold is left out on purpose: many programs
    /// read them as a signed number, so with every limit that can be set, the lengths that are negative
    /// to them are over it.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The head at the front of `input`, or `None` while it is not all there.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the head is there and announces what cannot be.
    pub fn head(&self, input: &[u8]) -> Result<Option<Head>, FrameError> {
        self.head_of(self.width, input)
    }

    /// [`head`](Self::head), given the width that the dialect has: a caller for whom that is a constant gets
    /// code for that width alone.
    #[inline(always)]
    fn head_of(&self, width: Width, input: &[u8]) -> Result<Option<Head>, FrameError> {
        let Some(field) = input.get(self.offset()..) else {
            return Ok(None);
        };
        let Some((length, bytes)) = width.read(field)? else {
            return Ok(None);
        };
        Ok(Some(Head { size: self.offset() + bytes, payload: self.payload(length)? }))
    }

    /// How many bytes of payload a `length` announces.
    #[inline(always)]
    fn payload(&self, length: u64) -> Result<usize, FrameError> {
        let Some(payload) = length.checked_add_signed(self.adjust.into()) else {
            return Err(if self.adjust < 0 {
                FrameError::TooShort { length, least: self.adjust.unsigned_abs().into() }
            } else {
                self.too_long(u64::MAX)
            });
        };
        if payload > self.limit {
            return Err(self.too_long(payload));
        }
        usize::try_from(payload).map_err(|_| self.too_long(payload))
    }

    const fn too_long(&self, length: u64) -> FrameError {
        FrameError::TooLong { length, limit: self.limit }
    }
}

impl fmt::Display for Dialect {
    /// As a listener's keys: `length=u16be,adjust=-2,max=65533`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "length={}", self.width)?;
        if self.offset != 0 {
            write!(f, ",offset={}", self.offset)?;
        }
        if self.adjust != 0 {
            write!(f, ",adjust={}", self.adjust)?;
        }
        write!(f, ",max={}", self.limit)
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes up to the payload: those before the length field, and the field.
    pub size: usize,
    /// Bytes of payload.
    pub payload: usize,
}

impl Head {
    /// Bytes of the whole frame.
    #[must_use]
    pub const fn frame(&self) -> usize {
        // Cannot overflow: a head is at most 265 bytes and a payload at most `HIGHEST_MAX`.
        self.size + self.payload
    }
}

/// An invalid length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// More payload than the limit.
    TooLong {
        /// Bytes of payload, after the adjustment.
        length: u64,
        /// The dialect's [`limit`](Dialect::limit).
        limit: u64,
    },
    /// A length that is negative once adjusted: a received length that must include its own
    /// header and does not, or a payload to be sent that is shorter than the adjustment requires.
    TooShort {
        /// The received length, or the bytes of payload to be sent.
        length: u64,
        /// The least it could be.
        least: u64,
    },
    /// A varint, or a length as in gob, of more than 64 bits.
    Overlong,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => {
                write!(f, "a payload of {}, over the limit of {limit}", bytes(*length))
            }
            Self::TooShort { length, least } => {
                write!(f, "length {length} is too small: it must be at least {least}")
            }
            Self::Overlong => f.write_str("a length of more than 64 bits"),
        }
    }
}

impl std::error::Error for FrameError {}

/// A dialect in which no frame is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialectError {
    /// A limit over [`HIGHEST_MAX`].
    Max {
        /// The limit asked for.
        max: u64,
    },
    /// Every length is either negative after the adjustment or over the limit.
    NothingFits {
        /// How the length is written.
        width: Width,
        /// What is added to it.
        adjust: i32,
        /// The limit asked for.
        max: u64,
    },
}

impl fmt::Display for DialectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Max { max } => write!(
                f,
                "max={max} is over {HIGHEST_MAX} (2 GiB less one byte), the longest length that is not \
                 negative to programs that read it as a signed number; use less"
            ),
            Self::NothingFits { width, adjust, max } if adjust < 0 => write!(
                f,
                "adjust={adjust} with length={width} and max={max}: every length would be negative; use \
                 adjust=-{} or more",
                width.most()
            ),
            Self::NothingFits { adjust, max, .. } => write!(
                f,
                "adjust={adjust} is over max={max}: the shortest frame would be too long; raise max or \
                 lower adjust"
            ),
        }
    }
}

impl std::error::Error for DialectError {}
