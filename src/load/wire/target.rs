//! The server's address and protocol.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use resound::{
    Endpoint,
    listen::{Address, Listen},
};

use super::protocol::Wire;
use crate::common::{protocols, resolve};

/// A server's address, and what it speaks.
///
/// The address may be left to the server: `raw://` is port 0 of 127.0.0.1, which [`is_known`](Self::is_known) tells
/// from an address that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    listen: Listen,
    wire: Wire,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.strip_prefix("unix:") {
            _ if text.contains("://") => text.to_owned(),
            Some(path) => format!("frames+unix://{path}"),
            None => format!("frames://{text}"),
        };
        // Addresses of web servers are often written so.
        let whole = match whole.strip_suffix('/') {
            Some(address) if whole.starts_with("http://") && !address.ends_with('/') => address,
            _ => &whole,
        };
        let listen: Listen = with_address(whole).parse().map_err(|error| format!("{error}"))?;
        if matches!(listen.address, Address::Passed(_)) {
            return Err(format!(
                "{listen}: passed sockets are for listening; write HOST:PORT or a path"
            ));
        }
        let is_unix = matches!(listen.address, Address::Unix(_));
        let wire = match listen.protocol.as_str() {
            "frames" => Wire::Frames(protocols::dialect(&listen, protocols::DEFAULT_MAX_FRAME)?),
            "lines" => Wire::Lines,
            "raw" => Wire::Raw,
            "udp" if !is_unix => Wire::Udp,
            "http" => Wire::Http { host: host(&listen.address) },
            other => {
                return Err(format!(
                    "there is no load for {other}{}; there is frames, lines, raw, http, udp, and all but the last \
                     with +unix",
                    if is_unix { "+unix" } else { "" }
                ));
            }
        };
        if !matches!(wire, Wire::Frames(_)) && !listen.keys.is_empty() {
            return Err(format!(
                "{} has no keys here; leave out all from the comma on",
                wire.name()
            ));
        }
        Ok(Self { listen, wire })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listen.fmt(f)
    }
}

impl Target {
    pub(crate) const fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether the address says where the server is. Where it does not, a server command has to.
    pub(crate) const fn is_known(&self) -> bool {
        match &self.listen.address {
            Address::Ip(address) => address.port() != 0,
            Address::Name { port, .. } => *port != 0,
            Address::Unix(_) => true,
            Address::Passed(_) => false,
        }
    }

    /// The same protocol at another address, which a server has printed.
    pub(crate) fn at(&self, address: Address) -> Self {
        let wire = match &self.wire {
            Wire::Http { .. } => Wire::Http { host: host(&address) },
            other => other.clone(),
        };
        Self { listen: Listen { address, ..self.listen.clone() }, wire }
    }

    /// Where to connect to. Names are looked up.
    ///
    /// # Errors
    ///
    /// Text, for a name that has no address.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, String> {
        match &self.listen.address {
            Address::Ip(address) => Ok(Endpoint::Tcp(reachable(*address))),
            Address::Name { host, port } => {
                resolve::look_up_to_listen(host, *port).map(Endpoint::Tcp)
            }
            Address::Unix(path) => Ok(Endpoint::Unix(path.clone())),
            Address::Passed(_) => Err(format!("{self} is not an address to connect to")),
        }
    }
}

/// `text` with port 0 of 127.0.0.1 where it has no address: `raw://`, `frames://,length=u16be`.
fn with_address(text: &str) -> String {
    match text.split_once("://") {
        Some((protocol, rest))
            if !protocol.contains('+') && (rest.is_empty() || rest.starts_with(',')) =>
        {
            format!("{protocol}://127.0.0.1:0{rest}")
        }
        _ => text.to_owned(),
    }
}

/// The value of a request's Host field (RFC 9110, section 7.2).
fn host(address: &Address) -> String {
    match address {
        Address::Unix(_) => "localhost".to_owned(),
        address => address.to_string(),
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
    fn addresses_and_what_is_spoken_there() {
        for (text, shown, wire) in [
            ("127.0.0.1:1", "frames://127.0.0.1:1", "frames"),
            (":1,length=u16be", "frames://127.0.0.1:1,length=u16be", "frames"),
            ("unix:/run/x", "frames+unix:///run/x", "frames"),
            ("lines+unix:///run/x", "lines+unix:///run/x", "lines"),
            ("raw://localhost:7", "raw://localhost:7", "raw"),
            ("udp://[::1]:7", "udp://[::1]:7", "udp"),
            ("http://localhost:80/", "http://localhost:80", "http"),
            ("http+unix:///x", "http+unix:///x", "http"),
            ("raw://", "raw://127.0.0.1:0", "raw"),
            ("http://", "http://127.0.0.1:0", "http"),
            ("frames://,length=u16be", "frames://127.0.0.1:0,length=u16be", "frames"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.wire().name()), (shown, wire));
        }
        for (text, says) in [
            ("ws://:1", "no load for ws"),
            ("http://:1/path", "not a port"),
            ("udp+unix:///x", "no load for udp+unix"),
            ("raw://:1,max=3", "raw has no keys"),
            (":1,length=u17", "length takes one of"),
            ("127.0.0.1", "no port"),
            ("raw+unix://", "no address"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_without_a_port_is_the_servers_to_say() {
        for (text, known) in [
            ("raw://", false),
            ("127.0.0.1:0", false),
            ("localhost:0", false),
            (":7", true),
            ("unix:/x", true),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().is_known(), known, "{text}");
        }
    }

    #[test]
    fn everywhere_is_reached_by_loopback() {
        let target: Target = "0.0.0.0:9".parse().unwrap();
        assert_eq!(target.endpoint(), Ok(Endpoint::Tcp("127.0.0.1:9".parse().unwrap())));
    }

    #[test]
    fn sizes_that_cannot_be_sent_are_refused_with_the_reason() {
        let wire = |text: &str| text.parse::<Target>().unwrap().wire;
        for (target, size, says) in [
            (":1,length=u8", 256, Some("over the limit of 255")),
            (":1,length=u8", 255, None),
            ("raw://:1", 0, Some("1 byte is the least")),
            ("lines://:1", 0, None),
            ("udp://:1", 7, Some("its number")),
            ("udp://:1", 65_508, Some("65507")),
            ("udp://:1", 8, None),
        ] {
            let reason = wire(target).refuses(size);
            assert_eq!(reason.is_some(), says.is_some(), "{target} {size}");
            assert!(reason.unwrap_or_default().contains(says.unwrap_or_default()));
        }
    }
}
