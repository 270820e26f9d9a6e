//! The scanner: where whole frames end in what has arrived.
//!
//! ```text
//!  ┌──────┬─────────┬──────┬───────┬──────┬───────
//!  │ head │ payload │ head │payload│ head │ pay           input
//!  └──────┴─────────┴──────┴───────┴──────┴───────
//!  └─────────────whole─────────────┘
//!                                  └──need, from here ──┘
//! ```

use super::{Dialect, FrameError, Width};

/// What a [`scan`](Dialect::scan) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// How many bytes at the start are whole frames.
    pub whole: usize,
    /// How many frames these bytes are.
    pub frames: u64,
    /// What follows them.
    pub rest: Rest,
}

/// What follows the whole frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// No byte.
    Nothing,
    /// The first bytes of a frame.
    Part {
        /// How many bytes of that frame are needed before the next scan: all of them, or those of the head while it is not
        /// complete (of a varint, one byte more than there are). It is more than there are.
        need: usize,
    },
    /// A head with an invalid length.
    Refused(FrameError),
}

/// One whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'i> {
    /// All bytes of the frame, with its head.
    pub whole: &'i [u8],
    /// The bytes after the length field.
    pub payload: &'i [u8],
}

impl Dialect {
    /// Finds the whole frames at the start of `input`. It reads the heads only, and no other byte.
    ///
    /// ```
    /// use resound::frame::{Dialect, FrameError, Rest};
    ///
    /// let scan = Dialect::default().scan(b"\x02\0\0\0hi\0\0\0\0\xff\xff\xff\xffGET /");
    /// assert_eq!((scan.whole, scan.frames), (10, 2));
    /// let refused = FrameError::TooLong { length: 0xffff_ffff, limit: 16 << 20 };
    /// assert_eq!(scan.rest, Rest::Refused(refused));
    /// ```
    #[must_use]
    pub fn scan(&self, input: &[u8]) -> Scan {
        // One arm for each width, so that the width is a constant in each loop.
        match self.width() {
            Width::U8 => self.walk(Width::U8, input),
            Width::U16Le => self.walk(Width::U16Le, input),
            Width::U16Be => self.walk(Width::U16Be, input),
            Width::U24Le => self.walk(Width::U24Le, input),
            Width::U24Be => self.walk(Width::U24Be, input),
            Width::U32Le => self.walk(Width::U32Le, input),
            Width::U32Be => self.walk(Width::U32Be, input),
            Width::U64Le => self.walk(Width::U64Le, input),
            Width::U64Be => self.walk(Width::U64Be, input),
            Width::Varint => self.walk(Width::Varint, input),
            Width::Gob => self.walk(Width::Gob, input),
        }
    }

    #[inline(always)]
    fn walk(&self, width: Width, input: &[u8]) -> Scan {
        let mut ahead = input;
        let mut frames = 0;
        let rest = loop {
            let head = match self.head_of(width, ahead) {
                Ok(Some(head)) => head,
                Ok(None) => break self.part_of_head(ahead),
                Err(error) => break Rest::Refused(error),
            };
            let size = head.frame();
            if size > ahead.len() {
                break Rest::Part { need: size };
            }
            let alike;
            (ahead, alike) = match head.size - self.offset() {
                1 => self.run::<1>(ahead, size),
                2 => self.run::<2>(ahead, size),
                3 => self.run::<3>(ahead, size),
                4 => self.run::<4>(ahead, size),
                8 => self.run::<8>(ahead, size),
                _ => (&ahead[size..], 1),
            };
            frames += alike;
        };
        Scan { whole: input.len() - ahead.len(), frames, rest }
    }

    /// Skips the first frame of `input`, which is whole and has `size` bytes, and the whole frames behind
    /// it that have the same `N` bytes of length; what is behind them, and how many they are.
    ///
    /// Streams repeat themselves. Where the next head lies is known here from the first frame's, not from
    /// the one before it, so the processor need not wait for one load to begin the next: a third of the time.
    #[inline(always)]
    fn run<'i, const N: usize>(&self, input: &'i [u8], size: usize) -> (&'i [u8], u64) {
        let field = |frame: &'i [u8]| frame.get(self.offset()..)?.first_chunk::<N>();
        let first = field(input);
        let mut ahead = &input[size..];
        let mut alike = 1;
        while ahead.len() >= size && field(ahead) == first {
            ahead = &ahead[size..];
            alike += 1;
        }
        (ahead, alike)
    }

    /// What `ahead` is when it ends before its first head does.
    const fn part_of_head(&self, ahead: &[u8]) -> Rest {
        if ahead.is_empty() {
            return Rest::Nothing;
        }
        let need = match self.width().bytes() {
            Some(bytes) => self.offset() + bytes,
            None if ahead.len() < self.offset() => self.offset() + 1,
            None => ahead.len() + 1,
        };
        Rest::Part { need }
    }

    /// The whole frames at the start of `input`, one by one.
    ///
    /// ```
    /// use resound::frame::{Dialect, Rest};
    ///
    /// let mut frames = Dialect::default().unpack(b"\x02\0\0\0hi\0\0\0\0\x03\0");
    /// let payloads: Vec<&[u8]> = frames.by_ref().map(|frame| frame.payload).collect();
    /// assert_eq!(payloads, [&b"hi"[..], b""]);
    /// assert_eq!(frames.rest(), Rest::Part { need: 4 });
    /// ```
    #[must_use]
    pub const fn unpack<'i>(&self, input: &'i [u8]) -> Unpack<'i> {
        Unpack { dialect: *self, ahead: input }
    }
}

/// The whole frames at the start of some bytes, one by one: [`Dialect::unpack`].
#[derive(Debug, Clone)]
pub struct Unpack<'i> {
    dialect: Dialect,
    ahead: &'i [u8],
}

impl<'i> Unpack<'i> {
    /// The bytes after the frames that were returned.
    #[must_use]
    pub const fn ahead(&self) -> &'i [u8] {
        self.ahead
    }

    /// What follows the last whole frame.
    #[must_use]
    pub fn rest(&self) -> Rest {
        self.dialect.scan(self.ahead).rest
    }
}

impl<'i> Iterator for Unpack<'i> {
    type Item = Frame<'i>;

    /// The next frame. `None` if the bytes that are left are no whole frame; [`rest`](Self::rest) says why.
    fn next(&mut self) -> Option<Frame<'i>> {
        let head = self.dialect.head(self.ahead).ok()??;
        let (whole, ahead) = self.ahead.split_at_checked(head.frame())?;
        self.ahead = ahead;
        Some(Frame { whole, payload: &whole[head.size..] })
    }
}
