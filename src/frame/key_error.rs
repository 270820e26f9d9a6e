//! What can be wrong with the keys of a dialect.

use std::fmt;

use super::DialectError;

/// The names of all keys but `max`.
pub(super) const NAMES: [&str; 4] = ["preset", "length", "offset", "adjust"];

/// Keys that make no dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// No such key.
    Key {
        /// As it was given.
        key: String,
    },
    /// A value that the key cannot have.
    Value {
        /// The key.
        key: &'static str,
        /// As it was given.
        value: String,
        /// What it can have.
        takes: String,
    },
    /// Values that do not go together.
    Dialect(DialectError),
}

impl KeyError {
    pub(super) fn value(key: &'static str, value: &str, takes: String) -> Self {
        Self::Value { key, value: value.to_owned(), takes }
    }
}

impl From<DialectError> for KeyError {
    fn from(error: DialectError) -> Self {
        Self::Dialect(error)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key } => {
                write!(f, "no key {key} in a dialect; there are {} and max", NAMES.join(", "))
            }
            Self::Value { key, value, takes } => write!(f, "{key}={value}: {key} takes {takes}"),
            Self::Dialect(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyError {}
