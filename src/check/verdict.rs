//! What a case says in the end.

/// How a case ended: `Ok` is a pass.
pub(crate) type Verdict = Result<(), Fail>;

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fail {
    /// The server did something else than was expected.
    Wrong { expected: String, got: String },
    /// It could not be judged here.
    Skipped(String),
}

impl Fail {
    pub(super) fn wrong(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Wrong { expected: expected.into(), got: got.into() }
    }
}
