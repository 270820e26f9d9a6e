//! Checks for UTF-8 in bytes that come in pieces, up to the first wrong byte.

/// The state of a check for UTF-8, in four bytes: the start of a character that two pieces share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Utf8 {
    begun: [u8; 3],
    length: u8,
}

impl Utf8 {
    /// Nothing has come yet.
    pub(super) const NEW: Self = Self { begun: [0; 3], length: 0 };

    /// Checks more `bytes`. False if the bytes so far cannot be the start of UTF-8.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else {
                return true;
            };
            let [a, b, c] = self.begun;
            let mut character = [a, b, c, 0];
            let length = usize::from(self.length);
            character[length] = *first;
            if !self.keep_incomplete(&character[..=length]) {
                return false;
            }
            bytes = rest;
        }
        self.keep_incomplete(bytes)
    }

    /// Whether the last character is complete.
    pub(super) const fn is_complete(&self) -> bool {
        self.length == 0
    }

    /// Keeps the incomplete character at the end of `bytes`, if there is one. False if the bytes before it are not UTF-8.
    fn keep_incomplete(&mut self, bytes: &[u8]) -> bool {
        let Err(error) = std::str::from_utf8(bytes) else {
            self.length = 0;
            return true;
        };
        if error.error_len().is_some() {
            return false;
        }
        self.length = 0;
        for (kept, byte) in self.begun.iter_mut().zip(&bytes[error.valid_up_to()..]) {
            *kept = *byte;
            self.length += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Utf8;

    /// Where `bytes`, shown one by one, are first said not to be UTF-8.
    fn wrong_at(bytes: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        bytes.iter().position(|byte| !utf8.push(&[*byte]))
    }

    #[test]
    fn the_first_impossible_byte_is_told() {
        for (bytes, at) in [
            (&b"plain"[..], None),
            ("κόσμε 😀".as_bytes(), None),
            (b"\x80", Some(0)),
            (b"\xC0\xAF", Some(0)),
            (b"a\xC3(", Some(2)),
            (b"\xE0\x80\x80", Some(1)),
            (b"\xED\xA0\x80", Some(1)),
            (b"\xF0\x8F\xBF\xBF", Some(1)),
            (b"\xF4\x90\x80\x80", Some(1)),
            (b"\xF4\x8F\xBF\x7F", Some(3)),
            (b"\xF5", Some(0)),
            (b"\xFE", Some(0)),
        ] {
            assert_eq!(wrong_at(bytes), at, "{bytes:02X?}");
        }
    }

    #[test]
    fn any_cut_says_the_same_as_the_whole() {
        let text = "aß\u{7FF}\u{800}\u{FFFD}\u{10000}\u{10FFFF}z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut utf8 = Utf8::default();
                assert!(utf8.push(&text[..first]));
                assert!(utf8.push(&text[first..second]));
                let whole = std::str::from_utf8(&text[..second]).is_ok();
                assert_eq!(utf8.is_complete(), whole);
                assert!(utf8.push(&text[second..]) && utf8.is_complete());
            }
        }
    }
}
