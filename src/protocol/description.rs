//! What a protocol remembers of a connection, as bytes: numbers and texts in a row, the same on every machine.

/// Reads what [`put_number`] and [`put_text`] wrote.
#[derive(Debug)]
pub(super) struct Reader<'s>(pub(super) &'s [u8]);

/// Appends a number.
pub(super) fn put_number(number: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(&number.to_le_bytes());
}

/// Appends a text.
pub(super) fn put_text(text: &str, to: &mut Vec<u8>) {
    put_number(text.len() as u64, to);
    to.extend_from_slice(text.as_bytes());
}

impl<'s> Reader<'s> {
    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next number.
    pub(super) fn number<N: TryFrom<u64>>(&mut self) -> Option<N> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        N::try_from(u64::from_le_bytes(*number)).ok()
    }

    /// The next text.
    pub(super) fn text(&mut self) -> Option<&'s str> {
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// `value`, if nothing is left.
    pub(super) fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
