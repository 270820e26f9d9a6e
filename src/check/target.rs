//! The server under test: where it is, what it speaks, how its messages are written, and what it must refuse.

use std::{str::FromStr, sync::Arc};

use resound::{
    Endpoint,
    frame::{Dialect, HIGHEST_MAX, Width},
};

use super::{http, websocket};
use crate::common::{place::Place, protocols, tls::Connector};

/// A protocol, without its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frames,
    Lines,
    Raw,
    WebSocket,
    Http,
    Udp,
}

impl Kind {
    /// The name in an address.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Lines => "lines",
            Self::Raw => "raw",
            Self::WebSocket => "ws",
            Self::Http => "http",
            Self::Udp => "udp",
        }
    }
}

/// A server's address, and what it speaks.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    /// Of [`Kind::Frames`]; otherwise the default.
    pub(super) dialect: Dialect,
    /// The most bytes of payload in a message.
    pub(super) limit: u64,
    /// Whether that is what the server refuses more than: a dialect's limit, or what `max=` says.
    limit_is_known: bool,
    /// How TLS is spoken, if it is.
    pub(super) connector: Option<Arc<Connector>>,
}

/// What is taken for the limit of a server that does not say: small enough for all servers that were looked at.
const USUAL_LIMIT: u64 = 60 << 10;

/// The longest message that a case sends or announces, even if the limit is higher.
pub(super) const LONGEST: u64 = 16 << 20;

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place: Place = text.parse()?;
        if place.listen().tls && place.protocol() == "udp" {
            return Err("udp has no TLS; write udp://HOST:PORT".to_owned());
        }
        let kind = match place.protocol() {
            "frames" => Kind::Frames,
            "lines" => Kind::Lines,
            "raw" => Kind::Raw,
            "ws" => Kind::WebSocket,
            "http" => Kind::Http,
            "udp" if !place.is_unix() => Kind::Udp,
            other => {
                return Err(format!(
                    "there are no cases for {other}{}; there are some for frames, lines, raw, ws, http, udp, and all but \
                     the last with +unix",
                    if place.is_unix() { "+unix" } else { "" }
                ));
            }
        };
        let keys = &place.0.keys;
        let limits = !matches!(kind, Kind::Raw | Kind::Udp);
        let known = |key: &str| kind == Kind::Frames || limits && key == "max";
        if let Some((key, _)) = keys.iter().find(|(key, _)| !known(key)) {
            let remedy = if limits { "leave out all keys but max" } else { "leave out all keys" };
            return Err(format!("no key {key} for {} here; {remedy}", place.protocol()));
        }
        let mut target = Self {
            kind,
            dialect: Dialect::default(),
            limit: USUAL_LIMIT,
            limit_is_known: kind == Kind::Frames || !keys.is_empty(),
            connector: None,
            place,
        };
        if kind == Kind::Frames {
            target.dialect = protocols::dialect(&target.place.0, protocols::DEFAULT_MAX_FRAME)?;
            target.limit = target.dialect.limit();
        } else if let Some((_, max)) = target.place.0.keys.first() {
            let max = max.parse::<crate::common::units::Size>();
            target.limit = max.map_err(|error| format!("max: {error}"))?.0.min(HIGHEST_MAX);
        } else if kind == Kind::Udp {
            // 65,535 less the headers of IP and UDP.
            target.limit = 65_507;
        }
        Ok(target)
    }
}

impl Target {
    /// The same protocol at another place.
    pub(crate) fn at(&self, place: &Place) -> Self {
        Self { place: place.clone(), ..self.clone() }
    }

    /// The same target, with which TLS is spoken as `connector` says.
    pub(super) fn secured(self, connector: Option<Arc<Connector>>) -> Self {
        Self { connector, ..self }
    }

    pub(super) fn endpoint(&self) -> Result<Endpoint, String> {
        self.place.endpoint()
    }

    /// The fewest bytes of payload in a message.
    pub(super) fn least(&self) -> u64 {
        match self.kind {
            Kind::Frames => u64::try_from(self.dialect.adjust()).unwrap_or(0),
            Kind::Raw => 1,
            _ => 0,
        }
    }

    /// The length of the longest message that is worth announcing: the limit, within bounds.
    pub(super) fn longest(&self) -> u64 {
        if self.limit_is_known { self.limit.min(LONGEST) } else { LONGEST }
    }

    /// `payload`, or as much of it as fits a message, or more if it needs to be longer.
    pub(super) fn fitted(&self, mut payload: Vec<u8>) -> Vec<u8> {
        let fits = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
        let length = payload.len().clamp(fits(self.least()), fits(self.limit));
        payload.resize(length, b'x');
        payload
    }

    /// The message with that `payload`, as a client sends it.
    pub(super) fn message(&self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 64);
        match self.kind {
            // Cases use no payload that does not fit; one that did would show as bytes that are missing.
            Kind::Frames => drop(self.dialect.encode(payload, &mut out)),
            Kind::Lines => out.extend([payload, b"\n"].concat()),
            Kind::Raw | Kind::Udp => out.extend(payload),
            Kind::WebSocket => websocket::Frame::binary(payload).write(&mut out),
            Kind::Http => http::post(&self.place.host(), payload, &mut out),
        }
        out
    }

    /// How many bytes at the start of a `message` come before its payload.
    pub(super) fn head(&self, message: &[u8], payload: &[u8]) -> usize {
        match self.kind {
            Kind::Lines | Kind::Raw | Kind::Udp => 0,
            _ => message.len() - payload.len(),
        }
    }

    /// The beginning of a message that is one byte over the limit: as much as it takes to see that. `None` if there is no
    /// such message, or if the limit is not known.
    pub(super) fn over_the_limit(&self) -> Option<Vec<u8>> {
        if !self.limit_is_known {
            return None;
        }
        let length = self.limit + 1;
        match self.kind {
            Kind::Frames => self.announced(length),
            Kind::Lines => Some(vec![b'x'; usize::try_from(length).ok()?]),
            Kind::WebSocket => Some(websocket::Frame::binary(b"").head(length)),
            Kind::Http => Some(http::head(&self.place.host(), length)),
            Kind::Raw | Kind::Udp => None,
        }
    }

    /// The head of a message of `length` bytes, whatever the limit is; `None` if the protocol has no way to announce that.
    pub(super) fn announced(&self, length: u64) -> Option<Vec<u8>> {
        match self.kind {
            Kind::Frames => {
                let mut head = Vec::new();
                let dialect = self.dialect.with_max(HIGHEST_MAX).ok()?;
                dialect.encode_head(length, &mut head).ok()?;
                Some(head)
            }
            Kind::WebSocket => Some(websocket::Frame::binary(b"").head(length)),
            Kind::Http => Some(http::head(&self.place.host(), length)),
            Kind::Lines | Kind::Raw | Kind::Udp => None,
        }
    }

    /// A head whose length field is full of ones: negative, if it is read as signed. `None` for fields that are too
    /// narrow to be read so by mistake.
    pub(super) fn negative_length(&self) -> Option<Vec<u8>> {
        let field = match (self.kind, self.dialect.width()) {
            (Kind::WebSocket, _) => return Some(websocket::Frame::binary(b"").head(u64::MAX)),
            (Kind::Http, _) => {
                let head = format!(
                    "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: -1\r\n\r\n",
                    self.place.host()
                );
                return Some(head.into_bytes());
            }
            (Kind::Frames, Width::U32Le | Width::U32Be) => vec![0xff; 4],
            (Kind::Frames, Width::U64Le | Width::U64Be) => vec![0xff; 8],
            (Kind::Frames, Width::Varint) => [&[0xff; 9][..], &[0x01]].concat(),
            _ => return None,
        };
        Some([vec![0; self.dialect.offset()], field].concat())
    }

    /// A head whose length is less than the head that it counts; `None` if lengths count only what follows.
    pub(super) fn length_below_head(&self) -> Option<Vec<u8>> {
        let width = self.dialect.width().bytes().unwrap_or(1);
        (self.kind == Kind::Frames && self.dialect.adjust() < 0)
            .then(|| vec![0; self.dialect.offset() + width])
    }

    /// A head whose varint goes on after its tenth byte; `None` if lengths are no varints.
    pub(super) fn overlong_varint(&self) -> Option<Vec<u8>> {
        (self.kind == Kind::Frames && self.dialect.width() == Width::Varint)
            .then(|| [vec![0; self.dialect.offset()], vec![0x80; 11]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_over_the_limit_is_known_where_the_limit_is() {
        for (text, expected) in [
            ("frames://:1,max=9", Some(&b"\x0a\0\0\0"[..])),
            ("frames://:1,preset=postgres,max=9", Some(b"\0\0\0\0\x0e")),
            ("frames://:1,length=u8", None),
            ("lines://:1,max=3", Some(b"xxxx")),
            ("lines://:1", None),
            ("raw://:1", None),
            ("ws://:1,max=9", Some(b"\x82\x8a\x37\xfa\x21\x3d")),
        ] {
            assert_eq!(target(text).over_the_limit().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn heads_that_cannot_be() {
        let postgres = target("frames://:1,preset=postgres");
        assert_eq!(postgres.length_below_head().as_deref(), Some(&[0; 5][..]));
        assert_eq!(postgres.negative_length().as_deref(), Some(&b"\0\xff\xff\xff\xff"[..]));
        assert_eq!(target(":1").length_below_head(), None);
        assert_eq!(target(":1,length=u16be").negative_length(), None);
        let varint = target(":1,length=varint").overlong_varint().unwrap();
        assert!(Dialect::new(Width::Varint).head(&varint).is_err());
    }

    #[test]
    fn targets_without_cases_are_told_what_there_is() {
        for (text, says) in [
            ("gopher://:1", "no cases for gopher; there are some for frames"),
            ("udp+unix:///x", "no cases for udp+unix"),
            ("raw://:1,max=3", "no key max for raw here; leave out all keys"),
            ("ws://:1,tag=x", "no key tag for ws here; leave out all keys but max"),
            (":1,length=u17", "length takes one of"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
