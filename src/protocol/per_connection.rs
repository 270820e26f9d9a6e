//! The state that a protocol keeps for each connection, by token.

use crate::Token;

/// Slots that are kept when the last value is removed, so that a single connection that opens and closes again and again
/// causes no allocations.
const KEPT: usize = 64;

/// A map from connections to values of `T`.
///
/// It is a `Vec` with [`Token::key`] as the index, because keys are small and reused. Each slot stores the generation of its
/// token. So a token finds its own value or none, and never the value of a later connection with the same key. When the
/// last value is removed, the memory is returned.
///
/// Insert a value when the connection opens, and remove it when the connection closes. The `Vec` is as long as the largest
/// key in use. If only a few connections have a value, use a `HashMap`.
#[derive(Debug, Clone)]
pub struct PerConnection<T> {
    slots: Vec<Slot<T>>,
    occupied: usize,
}

/// The value of a connection. The slot's index is the key of its token.
#[derive(Debug, Clone)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for PerConnection<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PerConnection<T> {
    /// An empty map, which owns no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), occupied: 0 }
    }

    /// Sets the value of `connection`. Returns the value that was in its slot: an earlier one of this connection, or that of
    /// an earlier connection with the same key, if it was not removed.
    pub fn insert(&mut self, connection: Token, value: T) -> Option<T> {
        let key = connection.key();
        if key >= self.slots.len() {
            self.slots.resize_with(key + 1, || Slot { generation: 0, value: None });
        }
        let slot = &mut self.slots[key];
        slot.generation = connection.generation();
        let before = slot.value.replace(value);
        self.occupied += usize::from(before.is_none());
        before
    }

    /// The value of `connection`.
    #[must_use]
    pub fn get(&self, connection: Token) -> Option<&T> {
        let slot = self.slots.get(connection.key())?;
        if slot.generation != connection.generation() {
            return None;
        }
        slot.value.as_ref()
    }

    /// The value of `connection`, mutably.
    pub fn get_mut(&mut self, connection: Token) -> Option<&mut T> {
        let slot = self.slots.get_mut(connection.key())?;
        if slot.generation != connection.generation() {
            return None;
        }
        slot.value.as_mut()
    }

    /// Removes the value of `connection`, and returns it.
    pub fn remove(&mut self, connection: Token) -> Option<T> {
        let slot = self.slots.get_mut(connection.key())?;
        if slot.generation != connection.generation() {
            return None;
        }
        let value = slot.value.take()?;
        self.occupied -= 1;
        if self.occupied == 0 && self.slots.len() > KEPT {
            self.slots = Vec::new();
        }
        Some(value)
    }

    /// How many connections have a value.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.occupied
    }

    /// Whether no connection has a value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.occupied == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_finds_its_own_value() {
        let mut map = PerConnection::new();
        for key in [5, 0, 9] {
            assert_eq!(map.insert(Token::new(key, 1), key), None);
        }
        for key in [5, 0, 9] {
            assert_eq!(map.get(Token::new(key, 1)), Some(&key));
        }
        assert_eq!(map.get(Token::new(1, 1)), None);
        assert_eq!(map.get(Token::new(10, 1)), None);
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn a_stale_token_finds_and_removes_nothing() {
        let mut map = PerConnection::new();
        let (before, after) = (Token::new(3, 1), Token::new(3, 2));
        map.insert(before, 'a');
        assert_eq!(map.insert(after, 'b'), Some('a'));
        assert_eq!(map.len(), 1);
        assert_eq!(map.get(before), None);
        assert_eq!(map.get_mut(before), None);
        assert_eq!(map.remove(before), None);
        assert_eq!(map.remove(after), Some('b'));
        assert!(map.is_empty());
        assert_eq!(map.remove(after), None);
    }

    #[test]
    fn memory_goes_with_the_last_value() {
        let mut map = PerConnection::new();
        for key in 0..1_000 {
            map.insert(Token::new(key, 1), [0_u64; 4]);
        }
        for key in 0..1_000 {
            assert!(map.slots.capacity() >= 1_000);
            map.remove(Token::new(key, 1));
        }
        assert_eq!(map.slots.capacity(), 0);
    }
}
