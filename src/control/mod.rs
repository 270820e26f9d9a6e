//! What a reactor counts.

pub(crate) mod stats;
