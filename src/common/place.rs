//! Where a server is and what it speaks, as the commands that connect to one take it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use resound::{
    Endpoint,
    listen::{Address, Listen},
};

use super::resolve;

/// A server's protocol, address and keys: `HOST:PORT`, `unix:PATH` or `PROTOCOL://ADDRESS[,KEY=VALUE]...`.
///
/// The address may be left to the server: `raw://` is port 0 of 127.0.0.1, which [`is_known`](Self::is_known) tells
/// from an address that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) Listen);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.strip_prefix("unix:") {
            _ if text.contains("://") => text.to_owned(),
            Some(path) => format!("frames+unix://{path}"),
            None => format!("frames://{text}"),
        };
        // Addresses of web servers are often written so.
        let whole = match whole.strip_suffix('/') {
            Some(address) if is_web(&whole) && !address.ends_with('/') => address,
            _ => &whole,
        };
        let listen: Listen = with_address(whole).parse().map_err(|error| format!("{error}"))?;
        if matches!(listen.address, Address::Passed(_)) {
            return Err(format!(
                "{listen}: passed sockets are for listening; write HOST:PORT or a path"
            ));
        }
        Ok(Self(listen))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Place {
    pub(crate) const fn listen(&self) -> &Listen {
        &self.0
    }

    /// The protocol's name.
    pub(crate) fn protocol(&self) -> &str {
        &self.0.protocol
    }

    pub(crate) const fn is_unix(&self) -> bool {
        matches!(self.0.address, Address::Unix(_))
    }

    /// Whether the address says where the server is. Where it does not, a server command has to.
    pub(crate) const fn is_known(&self) -> bool {
        match &self.0.address {
            Address::Ip(address) => address.port() != 0,
            Address::Name { port, .. } => *port != 0,
            Address::Unix(_) => true,
            Address::Passed(_) => false,
        }
    }

    /// The same protocol and keys at another address, which a server has printed.
    pub(crate) fn at(&self, address: Address) -> Self {
        Self(Listen { address, ..self.0.clone() })
    }

    /// Where to connect to. Names are looked up.
    ///
    /// # Errors
    ///
    /// Text, for a name that has no address.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, String> {
        match &self.0.address {
            Address::Ip(address) => Ok(Endpoint::Tcp(reachable(*address))),
            Address::Name { host, port } => {
                resolve::look_up_to_listen(host, *port).map(Endpoint::Tcp)
            }
            Address::Unix(path) => Ok(Endpoint::Unix(path.clone())),
            Address::Passed(_) => Err(format!("{self} is not an address to connect to")),
        }
    }

    /// The value of a request's Host field (RFC 9110, section 7.2).
    pub(crate) fn host(&self) -> String {
        match &self.0.address {
            Address::Unix(_) => "localhost".to_owned(),
            address => address.to_string(),
        }
    }
}

fn is_web(text: &str) -> bool {
    ["http://", "https://", "ws://", "wss://"].iter().any(|start| text.starts_with(start))
}

/// `text` with port 0 of 127.0.0.1 where it has no address: `raw://`, `frames://,length=u16be`.
fn with_address(text: &str) -> String {
    match text.split_once("://") {
        Some((protocol, rest))
            if !protocol.contains("+unix") && (rest.is_empty() || rest.starts_with(',')) =>
        {
            format!("{protocol}://127.0.0.1:0{rest}")
        }
        _ => text.to_owned(),
    }
}

/// Loopback, for a server that listens at every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (text, shown, known) in [
            ("127.0.0.1:1", "frames://127.0.0.1:1", true),
            (":1,length=u16be", "frames://127.0.0.1:1,length=u16be", true),
            ("unix:/run/x", "frames+unix:///run/x", true),
            ("http://localhost:80/", "http://localhost:80", true),
            ("ws://localhost:80/", "ws://localhost:80", true),
            ("https://localhost:443/", "https://localhost:443", true),
            ("lines+tls://localhost:1", "lines+tls://localhost:1", true),
            ("raw://", "raw://127.0.0.1:0", false),
            ("raw+tls://", "raw+tls://127.0.0.1:0", false),
            ("localhost:0", "frames://localhost:0", false),
            ("frames://,length=u16be", "frames://127.0.0.1:0,length=u16be", false),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.to_string().as_str(), place.is_known()), (shown, known), "{text}");
        }
        assert!("fd:x".parse::<Place>().unwrap_err().contains("passed sockets are for listening"));
    }

    #[test]
    fn everywhere_is_reached_by_loopback() {
        let place: Place = "0.0.0.0:9".parse().unwrap();
        assert_eq!(place.endpoint(), Ok(Endpoint::Tcp("127.0.0.1:9".parse().unwrap())));
    }
}
