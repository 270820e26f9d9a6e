//! Addresses to listen at or to connect to.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// An address to listen at or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP. Port 0 lets the kernel choose one; `[::]` serves IPv4 too, as mapped addresses.
    Tcp(SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl<A: Into<IpAddr>> From<(A, u16)> for Endpoint {
    /// An address and a port: `([127, 0, 0, 1], 30000)`.
    fn from((address, port): (A, u16)) -> Self {
        Self::Tcp(SocketAddr::new(address.into(), port))
    }
}

impl From<PathBuf> for Endpoint {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl From<&Path> for Endpoint {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl From<&Self> for Endpoint {
    fn from(endpoint: &Self) -> Self {
        endpoint.clone()
    }
}

/// A text that is not an [`Endpoint`]. With `?` it becomes an [`io::Error`] of kind `InvalidInput`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseEndpointError(String);

impl fmt::Display for ParseEndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "{text:?} is not an endpoint; write an IP address and a port like 127.0.0.1:30000 or [::1]:30000, or \
             unix:PATH"
        )
    }
}

impl std::error::Error for ParseEndpointError {}

impl From<ParseEndpointError> for io::Error {
    fn from(error: ParseEndpointError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    /// An IP address and a port (`127.0.0.1:30000`, `[::1]:30000`), or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            _ => text.parse().map(Self::Tcp).map_err(|_| ParseEndpointError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_are_endpoints_and_an_error_names_the_text() {
        assert_eq!("127.0.0.1:1".parse(), Ok(Endpoint::Tcp(([127, 0, 0, 1], 1).into())));
        assert_eq!("unix:/run/a".parse(), Ok(Endpoint::Unix("/run/a".into())));
        for wrong in ["", "unix:", "127.0.0.1", "localhost:1", "/run/a"] {
            let error = io::Error::from(wrong.parse::<Endpoint>().unwrap_err());
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
