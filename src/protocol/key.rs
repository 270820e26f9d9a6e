//! The keys of a listener, as text.

use std::fmt;

use crate::frame::KeyError;

/// The name of a key, and its values in a few words.
pub type Key = (&'static str, &'static str);

/// The keys that every protocol of connections has.
pub const COMMON: &[Key] = &[
    ("proxy", "v1, v2 or any: require a PROXY protocol header, and take the peer from it"),
    FAULT,
    SEED,
];

/// What a listener does wrong on purpose.
pub const FAULT: Key =
    ("fault", "what to do wrong, like reset=7@2 or delay=5ms..20ms@10%; see resound faults");

/// What decides chance in [`FAULT`].
pub const SEED: Key =
    ("seed", "a number that decides what fault= leaves to chance; default a random one");

pub(super) const CLIENT_FAULTS: Key = (
    "client-faults",
    "on: clients choose what goes wrong, by /delay/300ms, /status/503 and /drip; default off",
);
pub(super) const BANNER: Key = ("banner", "what each connection receives first; default --banner");
pub(super) const REPLY: Key =
    ("reply", "sent for each in place of its echo, with the fields of a banner");
pub(super) const TAG: Key = ("tag", "in every answer's X-Served-By; default --tag");

/// A wrong value of a key. The text names the key and says what is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTerms(pub(super) String);

impl fmt::Display for BadTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTerms {}

impl From<KeyError> for BadTerms {
    fn from(error: KeyError) -> Self {
        Self(error.to_string())
    }
}
