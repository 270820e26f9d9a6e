//! Why a connection fails (RFC 6455, section 7.1.7).

use crate::protocol::Refusal;

/// The close code that says why, and the same for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) refusal: Refusal,
}

impl Failure {
    pub(super) const TEXT: Self = Self::payload("text that is not UTF-8");

    pub(super) const fn protocol(what: &'static str) -> Self {
        Self { code: 1002, refusal: Refusal::Malformed(what) }
    }

    /// The payload is not what its type says.
    pub(super) const fn payload(what: &'static str) -> Self {
        Self { code: 1007, refusal: Refusal::Malformed(what) }
    }

    pub(super) fn too_long(length: u64, limit: u32) -> Self {
        let refusal = Refusal::TooLong { length, limit: limit.into(), looks_like: None };
        Self { code: 1009, refusal }
    }
}
