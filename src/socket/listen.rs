//! A listener's address, protocol and keys, as written on a command line. Parsing looks up no names.
//!
//! ```text
//! frames+unix:///run/resound.sock,length=u16be,max=64KiB
//! ╰──┬─╯╰─┬─╯   ╰──────┬────────╯ ╰─────┬────╯ ╰───┬───╯
//! protocol transport  address          key        key
//! ```
//!
//! `+tls` behind the protocol means TLS around it; `https` is short for `http+tls`, and `wss` for `ws+tls`.
//!
//! Commas separate the parts, because they have no meaning to shells. So an address or a value cannot contain one.
//! This module does not know which protocols and keys exist.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use super::endpoint::Endpoint;

/// A listener's description: `PROTOCOL://ADDRESS[,KEY=VALUE]...`.
///
/// ```
/// use resound::listen::{Address, Listen};
///
/// let listen: Listen = "frames://[::]:30001,length=u16be".parse()?;
/// assert_eq!(listen.protocol, "frames");
/// assert_eq!(listen.address, Address::Ip("[::]:30001".parse()?));
/// assert_eq!(listen.keys, [("length".to_owned(), "u16be".to_owned())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The protocol's name, without `+tls` and `+unix`; `http` for `https`, `ws` for `wss`.
    pub protocol: String,
    /// Whether TLS is around it.
    pub tls: bool,
    /// The address.
    pub address: Address,
    /// The protocol's options, in the order given; no key comes twice.
    pub keys: Vec<(String, String)>,
}

/// An address as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:30000`, `[::1]:30000`; `:30000` means 127.0.0.1, as loopback is the default everywhere.
    Ip(SocketAddr),
    /// `localhost:30000`: a name, which has to be looked up.
    Name {
        /// The name, never empty.
        host: String,
        /// The port, in host byte order.
        port: u16,
    },
    /// A Unix socket's path, never empty.
    Unix(PathBuf),
    /// `fd:NAME`, `fd:3`: sockets that the process was started with (`sd_listen_fds`(3)), by the name that they were given or
    /// by the number of a descriptor. The text behind `fd:`, never empty. (A host called fd is `fd.:3`.)
    Passed(String),
}

impl From<Endpoint> for Address {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(address) => Self::Ip(address),
            Endpoint::Unix(path) => Self::Unix(path),
        }
    }
}

/// What is wrong with a description; the text says what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenError {
    /// There is no `://`.
    NoProtocol(String),
    /// Before `://` is something other than `NAME`, `NAME+tls`, `NAME+unix` or `NAME+tls+unix`.
    Protocol(String),
    /// There is nothing between `://` and the first comma.
    NoAddress,
    /// Nothing that could be a name stands behind `fd:`.
    Passed(String),
    /// The address has no port.
    NoPort(String),
    /// The port is not a number from 0 to 65535.
    Port(String),
    /// An IPv6 address has no brackets, or there is none in the brackets.
    Brackets(String),
    /// The host is neither an IP address nor a name.
    Host(String),
    /// What follows a comma is not `KEY=VALUE`.
    Key(String),
    /// A key comes twice.
    Twice(String),
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(ListenError::NoProtocol(text.to_owned()));
        };
        let wrong = || ListenError::Protocol(scheme.to_owned());
        let mut parts = scheme.split('+');
        let name = parts.next().filter(|name| is_word(name)).ok_or_else(wrong)?;
        let short = SHORT_FORMS.iter().find(|(short, _)| *short == name);
        let protocol = short.map_or(name, |(_, protocol)| *protocol);
        let (mut tls, mut unix) = (short.is_some(), false);
        for part in parts {
            match part {
                "tls" if !tls => tls = true,
                "unix" if !unix => unix = true,
                _ => return Err(wrong()),
            }
        }

        let mut parts = rest.split(',');
        let address = match parts.next() {
            None | Some("") => return Err(ListenError::NoAddress),
            Some(path) if unix => Address::Unix(PathBuf::from(path)),
            Some(host_and_port) => internet_address(host_and_port)?,
        };
        let mut keys: Vec<(String, String)> = Vec::new();
        for part in parts {
            let Some((key, value)) = part.split_once('=').filter(|(key, _)| is_word(key)) else {
                return Err(ListenError::Key(part.to_owned()));
            };
            if keys.iter().any(|(earlier, _)| earlier == key) {
                return Err(ListenError::Twice(key.to_owned()));
            }
            keys.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self { protocol: protocol.to_owned(), tls, address, keys })
    }
}

/// Names for a protocol inside TLS, as URLs have them (RFC 9110, section 4.2.2; RFC 6455, section 3).
const SHORT_FORMS: [(&str, &str); 2] = [("https", "http"), ("wss", "ws")];

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn internet_address(text: &str) -> Result<Address, ListenError> {
    if let Some(name) = text.strip_prefix("fd:") {
        // As systemd.socket(5) allows in FileDescriptorName=.
        let is_name = !name.is_empty() && !name.contains(|c: char| c == ':' || c.is_control());
        return match is_name {
            true => Ok(Address::Passed(name.to_owned())),
            false => Err(ListenError::Passed(name.to_owned())),
        };
    }
    if let Ok(address) = text.parse() {
        return Ok(Address::Ip(address));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(ListenError::NoPort(text.to_owned()));
    };
    // `u16::from_str` alone would take a leading plus sign.
    let port = port
        .parse()
        .ok()
        .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| ListenError::Port(port.to_owned()))?;
    if host.is_empty() {
        return Ok(Address::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    }
    if host.contains([':', '[', ']']) {
        return Err(ListenError::Brackets(host.to_owned()));
    }
    // A host that starts with a digit and is no address is a mistyped one. Looking it up would hide that.
    let is_name = host.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_name {
        return Err(ListenError::Host(host.to_owned()));
    }
    Ok(Address::Name { host: host.to_owned(), port })
}

impl fmt::Display for Listen {
    /// Text that parses to an equal value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = SHORT_FORMS.iter().find(|(_, protocol)| *protocol == self.protocol);
        f.write_str(match short {
            Some((short, _)) if self.tls => short,
            _ => &self.protocol,
        })?;
        if self.tls && short.is_none() {
            f.write_str("+tls")?;
        }
        if matches!(self.address, Address::Unix(_)) {
            f.write_str("+unix")?;
        }
        write!(f, "://{}", self.address)?;
        self.keys.iter().try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
            Self::Passed(name) => write!(f, "fd:{name}"),
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProtocol(text) => write!(
                f,
                "no protocol in {text:?}; write PROTOCOL://ADDRESS, like frames://127.0.0.1:30000"
            ),
            Self::Protocol(scheme) => write!(
                f,
                "{scheme:?} is not a protocol; write a name and ://, like frames://, frames+tls:// or frames+unix://"
            ),
            Self::NoAddress => f.write_str(
                "no address after ://; write HOST:PORT or a path, like frames://127.0.0.1:30000 or \
                 frames+unix:///run/resound.sock",
            ),
            Self::Passed(name) => write!(
                f,
                "{name:?} is not the name of a passed socket; write fd:NAME as in FileDescriptorName= of the .socket \
                 unit, or the number of a descriptor, like fd:3"
            ),
            Self::NoPort(host) => {
                write!(f, "no port in {host:?}; write HOST:PORT, like {host}:30000")
            }
            Self::Port(port) => write!(
                f,
                "{port:?} is not a port; write a number from 0 to 65535 (0: any free one)"
            ),
            Self::Brackets(host) => write!(
                f,
                "{host:?} is not a host; an IPv6 address stands in brackets, like [::1]:30000"
            ),
            Self::Host(host) => write!(
                f,
                "{host:?} is neither an IP address nor a host name; write one like 127.0.0.1, [::1] or localhost"
            ),
            Self::Key(part) => write!(
                f,
                "{part:?} is not an option; write KEY=VALUE after a comma, like ,max=64KiB"
            ),
            Self::Twice(key) => write!(f, "the option {key:?} is given twice; give it once"),
        }
    }
}

impl std::error::Error for ListenError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_of_every_kind() {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        let name = |host: &str, port| Address::Name { host: host.to_owned(), port };
        for (text, protocol, address) in [
            ("frames://127.0.0.1:30000", "frames", ip("127.0.0.1:30000")),
            ("frames://[::]:30001", "frames", ip("[::]:30001")),
            ("frames://[fe80::1%2]:1", "frames", ip("[fe80::1%2]:1")),
            ("raw://0.0.0.0:7", "raw", ip("0.0.0.0:7")),
            ("raw://:7", "raw", ip("127.0.0.1:7")),
            ("frames://localhost:0", "frames", name("localhost", 0)),
            ("http://a-b.example:80", "http", name("a-b.example", 80)),
            (
                "frames+unix:///run/resound.sock",
                "frames",
                Address::Unix("/run/resound.sock".into()),
            ),
            ("raw+unix://here:7", "raw", Address::Unix("here:7".into())),
            ("frames://fd:resound.socket", "frames", Address::Passed("resound.socket".into())),
            ("udp://fd:3", "udp", Address::Passed("3".into())),
            ("raw://fd.:3", "raw", name("fd.", 3)),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.protocol.as_str(), &listen.address), (protocol, &address));
            assert_eq!(listen.keys, []);
        }
    }

    #[test]
    fn tls_is_written_in_one_way() {
        for (text, protocol, tls, shown) in [
            ("frames+tls://:1", "frames", true, "frames+tls://127.0.0.1:1"),
            ("raw+tls+unix://x", "raw", true, "raw+tls+unix://x"),
            ("raw+unix+tls://x", "raw", true, "raw+tls+unix://x"),
            ("http+tls://:1", "http", true, "https://127.0.0.1:1"),
            ("https+unix://x", "http", true, "https+unix://x"),
            ("wss://:1,max=5", "ws", true, "wss://127.0.0.1:1,max=5"),
            ("http://:1", "http", false, "http://127.0.0.1:1"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.protocol.as_str(), listen.tls), (protocol, tls), "{text}");
            assert_eq!(listen.to_string(), shown);
        }
        for text in ["https+tls://:1", "raw+tls+tls://:1", "raw+unix+unix://x"] {
            assert!(matches!(text.parse::<Listen>(), Err(ListenError::Protocol(_))), "{text}");
        }
    }

    #[test]
    fn keys_keep_their_order_and_all_behind_the_first_equals_sign() {
        let listen: Listen = "frames://:1,length=u16be,max=64KiB,x=a=b,y=".parse().unwrap();
        let keys: Vec<_> =
            listen.keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(keys, [("length", "u16be"), ("max", "64KiB"), ("x", "a=b"), ("y", "")]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        use ListenError as E;
        for (text, error) in [
            ("", E::NoProtocol(String::new())),
            ("127.0.0.1:1", E::NoProtocol("127.0.0.1:1".into())),
            ("://127.0.0.1:1", E::Protocol(String::new())),
            ("fra mes://:1", E::Protocol("fra mes".into())),
            ("frames+tcp://:1", E::Protocol("frames+tcp".into())),
            ("+unix://a", E::Protocol("+unix".into())),
            ("frames://", E::NoAddress),
            ("frames+unix://,max=1", E::NoAddress),
            ("frames://fd:", E::Passed(String::new())),
            ("frames://fd:a:b", E::Passed("a:b".into())),
            ("frames://fd:a\n", E::Passed("a\n".into())),
            ("frames://127.0.0.1", E::NoPort("127.0.0.1".into())),
            ("frames://a:", E::Port(String::new())),
            ("frames://a:+1", E::Port("+1".into())),
            ("frames://a:65536", E::Port("65536".into())),
            ("frames://::1:30000", E::Brackets("::1".into())),
            ("frames://[x]:1", E::Brackets("[x]".into())),
            ("frames://256.0.0.1:1", E::Host("256.0.0.1".into())),
            ("frames://a b:1", E::Host("a b".into())),
            ("frames:///run/x:1", E::Host("/run/x".into())),
            ("frames://:1,", E::Key(String::new())),
            ("frames://:1,max", E::Key("max".into())),
            ("frames://:1,=1", E::Key("=1".into())),
            ("frames://:1,max=1,max=2", E::Twice("max".into())),
        ] {
            assert_eq!(text.parse::<Listen>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_the_same(
            text in "((https|wss|[a-z+]{0,6})(://)?)?[a-z0-9:\\[\\].,=/%+é\u{0} -]{0,40}"
        ) {
            if let Ok(listen) = text.parse::<Listen>() {
                prop_assert_eq!(listen.to_string().parse(), Ok(listen));
            }
        }
    }
}
