//! A frame's head, read and written, and its mask (RFC 6455, section 5.2).
//!
//! ```text
//!  bit 0   1 2 3   4–7      8      9–15
//! ┌─────┬───────┬────────┬──────┬─────────┬──────────────────┬────────────┬─────────────
//! │ FIN │ RSV   │ opcode │ MASK │ length  │ longer length    │ mask       │ payload
//! │     │       │        │      │ 0–125   │ u16 if it is 126 │ 4 bytes,   │
//! │     │       │        │      │         │ u64 if it is 127 │ if MASK    │
//! └─────┴───────┴────────┴──────┴─────────┴──────────────────┴────────────┴─────────────
//! ```

/// The kind of a frame (section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is a control frame (section 5.5).
    pub(super) const fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

/// The head of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    /// RSV1, the first of the reserved bits: a compressed message begins (RFC 7692, section 6).
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    /// Bytes of payload.
    pub(super) payload: u64,
    /// Bytes of the head itself.
    pub(super) length: usize,
}

impl Head {
    /// The length of the whole frame; at most `usize::MAX`.
    pub(super) fn whole(&self) -> usize {
        usize::try_from(self.payload).map_or(usize::MAX, |bytes| bytes.saturating_add(self.length))
    }

    /// Appends the head of a server's frame like this one, with this many bytes of payload.
    pub(super) fn write(&self, payload: usize, out: &mut Vec<u8>) {
        let at = out.len();
        write_head(self.fin, self.opcode, payload, out);
        out[at] |= u8::from(self.compressed) << 6;
    }
}

/// Reads the head at the start of `input`; `None` if it is not all there. `in_message` says whether
/// a message has begun whose last frame has not come, and `may_compress` whether one that begins may be compressed.
///
/// # Errors
/// What is wrong with it, at the first wrong byte. All of these are protocol errors, 1002.
pub(super) fn head(
    input: &[u8],
    in_message: bool,
    may_compress: bool,
) -> Result<Option<Head>, &'static str> {
    let Some(first) = input.first() else {
        return Ok(None);
    };
    let opcode = Opcode::from_bits(first & 0x0F).ok_or("a reserved opcode")?;
    let compressed = first & 0x70 == 0x40;
    if first & 0x70 != 0 {
        if !may_compress || !compressed {
            return Err("a reserved bit is set, and no extension that uses it was agreed on");
        }
        if in_message || opcode.is_control() {
            return Err("RSV1 is set in a frame that is not the first of a message");
        }
    }
    let fin = first & 0x80 != 0;
    match opcode {
        Opcode::Continuation if !in_message => return Err("a continuation of no message"),
        Opcode::Text | Opcode::Binary if in_message => {
            return Err("a new message inside a fragmented one");
        }
        opcode if opcode.is_control() && !fin => return Err("a fragmented control frame"),
        _ => {}
    }
    let Some(second) = input.get(1) else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err("a client's frame without a mask");
    }
    let short = second & 0x7F;
    if opcode.is_control() && short > 125 {
        return Err("a control frame of more than 125 bytes");
    }
    let after = &input[2..];
    let (payload, after) = match short {
        126 => {
            let Some((length, after)) = after.split_first_chunk() else {
                return Ok(None);
            };
            let length = u64::from(u16::from_be_bytes(*length));
            if length < 126 {
                return Err("a length in more bytes than it needs");
            }
            (length, after)
        }
        127 => {
            let Some((length, after)) = after.split_first_chunk() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*length);
            if length >> 63 != 0 {
                return Err("a length of more than 63 bits");
            }
            if length < 1 << 16 {
                return Err("a length in more bytes than it needs");
            }
            (length, after)
        }
        short => (u64::from(short), after),
    };
    let Some((mask, after)) = after.split_first_chunk() else {
        return Ok(None);
    };
    Ok(Some(Head {
        fin,
        compressed,
        opcode,
        mask: *mask,
        payload,
        length: input.len() - after.len(),
    }))
}

/// Appends the head of a server's frame, which has no mask (section 5.1).
pub(super) fn write_head(fin: bool, opcode: Opcode, payload: usize, out: &mut Vec<u8>) {
    out.push(u8::from(fin) << 7 | opcode as u8);
    if let Ok(short @ ..=125) = u8::try_from(payload) {
        out.push(short);
    } else if let Ok(length) = u16::try_from(payload) {
        out.push(126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(payload as u64).to_be_bytes());
    }
}

/// How many bytes to unmask at a time: a multiple of the mask's length, and few enough for the nearest cache.
pub(super) const PIECE: usize = 4096;

/// Appends `payload` without its mask.
pub(super) fn unmask(payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(payload);
    apply(mask, &mut out[from..]);
}

/// Puts the mask on `bytes`, or takes it off (RFC 6455, section 5.3). Compilers vectorise its steps of eight bytes.
pub fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}
