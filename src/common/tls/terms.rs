//! What the flags of a client say about TLS.

use std::path::PathBuf;

/// What the flags of a client say about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientTerms {
    /// The authorities that are trusted; `None` for those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// Any certificate is accepted.
    pub(crate) insecure: bool,
    /// The client's certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The server's name, if it is not the one in its address.
    pub(crate) sni: Option<String>,
    /// Whether sessions are resumed.
    pub(crate) resumes: bool,
    /// The cipher suites to offer; all if it is empty.
    pub(crate) ciphers: Vec<String>,
}
