//! The name of a connection: a slab key and a generation, packed into what the poll carries.
//!
//! ```text
//!  63            32 31             0
//! ┌────────────────┬────────────────┐
//! │   generation   │      key       │
//! └────────────────┴────────────────┘
//! ```
//!
//! The key alone would not do. One batch of events may name a connection that an earlier event of the
//! same batch closed, and whose key a new connection has taken since; the generation tells the two apart.
//! Generation 0 is reserved: for listeners, the waker and the stop signal.

/// Names one connection. No later connection gets the same token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The name of the connection with this slab key and generation. The reactor makes these; tests of a protocol make
    /// their own.
    #[must_use]
    pub const fn new(key: u32, generation: u32) -> Self {
        Self(((generation as u64) << 32) | key as u64)
    }

    /// The slab key. Keys are small and reused, so state for each connection can be in a `Vec` indexed by it, as in
    /// [`PerConnection`](crate::protocol::PerConnection).
    #[must_use]
    pub const fn key(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    /// Tells the connections apart that have this key one after the other. 0 for listeners and other reserved tokens.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl std::fmt::Display for Token {
    /// `key.generation`, as the log shows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.key(), self.generation())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({self})")
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Self {
        Self(token.0 as u64)
    }
}

impl From<Token> for mio::Token {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "64-bit targets only, which lib.rs asserts"
    )]
    fn from(token: Token) -> Self {
        Self(token.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_generation_survive_the_poll() {
        for (key, generation) in [(0, 1), (7, 9), (u32::MAX, u32::MAX)] {
            let token = Token::from(mio::Token::from(Token::new(key, generation)));
            assert_eq!((token.key(), token.generation()), (key as usize, generation));
        }
    }

    #[test]
    fn the_next_owner_of_a_key_has_another_name() {
        assert_ne!(Token::new(3, 1), Token::new(3, 2));
    }
}
