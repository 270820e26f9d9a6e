//! The server's address and protocol.

use std::{fmt, str::FromStr};

use resound::Endpoint;

use super::protocol::Wire;
use crate::common::{place::Place, protocols};

/// A server's address, and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    place: Place,
    wire: Wire,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place: Place = text.parse()?;
        let wire = match place.protocol() {
            "udp" if place.listen().tls => {
                return Err("udp has no TLS; write udp://HOST:PORT".to_owned());
            }
            "frames" => Wire::Frames(protocols::dialect(&place.0, protocols::DEFAULT_MAX_FRAME)?),
            "lines" => Wire::Lines,
            "raw" => Wire::Raw,
            "udp" if !place.is_unix() => Wire::Udp,
            "http" => Wire::Http { host: place.host() },
            "ws" => Wire::Ws { host: place.host() },
            other => {
                return Err(format!(
                    "there is no load for {other}{}; there is frames, lines, raw, http, ws, udp, and all but the \
                     last with +unix",
                    if place.is_unix() { "+unix" } else { "" }
                ));
            }
        };
        if !matches!(wire, Wire::Frames(_)) && !place.0.keys.is_empty() {
            return Err(format!(
                "{} has no keys here; leave out all from the comma on",
                wire.name()
            ));
        }
        Ok(Self { place, wire })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Target {
    pub(crate) const fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// As [`Place::is_known`].
    pub(crate) const fn is_known(&self) -> bool {
        self.place.is_known()
    }

    /// The same load on a server at another place.
    pub(crate) fn at(&self, place: &Place) -> Self {
        let wire = match &self.wire {
            Wire::Http { .. } => Wire::Http { host: place.host() },
            Wire::Ws { .. } => Wire::Ws { host: place.host() },
            other => other.clone(),
        };
        Self { place: place.clone(), wire }
    }

    /// As [`Place::endpoint`].
    ///
    /// # Errors
    ///
    /// As [`Place::endpoint`].
    pub(crate) fn endpoint(&self) -> Result<Endpoint, String> {
        self.place.endpoint()
    }
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
            ("ws://localhost:80/", "ws://localhost:80", "ws"),
            ("ws+unix:///x", "ws+unix:///x", "ws"),
            ("ws://", "ws://127.0.0.1:0", "ws"),
            ("https://localhost:443/", "https://localhost:443", "http"),
            ("frames+tls+unix:///x", "frames+tls+unix:///x", "frames"),
            ("raw://", "raw://127.0.0.1:0", "raw"),
            ("http://", "http://127.0.0.1:0", "http"),
            ("frames://,length=u16be", "frames://127.0.0.1:0,length=u16be", "frames"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.wire().name()), (shown, wire));
        }
        for (text, says) in [
            ("gopher://:1", "gopher"),
            ("http://:1/path", "not a port"),
            ("udp+unix:///x", "no load for udp+unix"),
            ("udp+tls://:1", "udp has no TLS"),
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
