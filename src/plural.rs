//! Counts for people: `1 frame`, `2 frames`. Public because the command uses it too; not part of the API.

use std::fmt::{self, Display};

/// A count with the word for what is counted, in its two forms.
#[derive(Debug, Clone, Copy)]
pub struct Plural<'w, N>(pub N, pub [&'w str; 2]);

impl<N: Display + PartialEq + From<u8>> Display for Plural<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, [one, many]) = self;
        write!(f, "{count} {}", if *count == N::from(1) { one } else { many })
    }
}

/// `1 byte`.
pub const fn bytes<N>(count: N) -> Plural<'static, N> {
    Plural(count, ["byte", "bytes"])
}

/// `1 connection`.
pub const fn connections<N>(count: N) -> Plural<'static, N> {
    Plural(count, ["connection", "connections"])
}

/// `1 frame`.
pub const fn frames<N>(count: N) -> Plural<'static, N> {
    Plural(count, ["frame", "frames"])
}

/// How often something else happened that was not logged: ` (3 more)`, or nothing.
pub fn and_more(count: u64) -> impl Display {
    struct More(u64);
    impl Display for More {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if self.0 == 0 { Ok(()) } else { write!(f, " ({} more)", self.0) }
        }
    }
    More(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_every_other_count_is_plural() {
        for (count, shown) in [(0, "0 bytes"), (1, "1 byte"), (2, "2 bytes"), (11, "11 bytes")] {
            assert_eq!(bytes::<u64>(count).to_string(), shown);
        }
        let lengths = Plural(1_usize, ["length over", "lengths over"]);
        assert_eq!(format!("{lengths} 9"), "1 length over 9");
    }
}
