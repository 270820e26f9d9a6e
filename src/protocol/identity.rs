//! Texts that say which server answered, with its host, process and connection filled in. They show how a load balancer
//! spreads connections.
//!
//! A [`Template`] is such a text. [`Banner`] sends it before a protocol's first reply. [`Tag`] keeps it for protocols
//! that have another place for it, as HTTP has in its response heads.

use std::fmt;

use super::{Ending, Output, PerConnection, Protocol, Received, Refusal};
use crate::{Ends, Peer, Reason, Token};

/// The placeholders that templates may contain.
const PLACEHOLDERS: [&str; 4] = ["{hostname}", "{pid}", "{peer}", "{local}"];

/// A text to be filled in for each connection.
///
/// | placeholder | stands for |
/// |--|--|
/// | `{hostname}` | the name of this host |
/// | `{pid}` | the ID of this process |
/// | `{peer}` | the address of the other end, or `unix`; behind a proxy, the real client's |
/// | `{local}` | the address that the peer connected to, or `unix` if there is none; behind a proxy, the proxy's |
///
/// `{{` and `}}` stand for one brace each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Peer,
    Local,
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// An unknown name in braces.
    Placeholder(String),
    /// A brace without its counterpart.
    Brace(char),
    /// A control character, or a line break: the text must fit in one line, or in one header field.
    Control(char),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placeholder(name) => {
                let known = PLACEHOLDERS.join(", ");
                write!(f, "unknown placeholder `{{{name}}}`: there are {known}")
            }
            Self::Brace(brace) => {
                write!(f, "a `{brace}` alone: write `{brace}{brace}` for a brace")
            }
            Self::Control(character) => write!(f, "the control character {character:?}"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses `text`, and fills in what is the same for every connection: `hostname`, and the process ID.
    ///
    /// # Errors
    /// [`TemplateError`], whose message names the wrong part and lists the placeholders.
    pub fn parse(text: &str, hostname: &str) -> Result<Self, TemplateError> {
        if let Some(character) =
            text.chars().chain(hostname.chars()).find(|character| character.is_control())
        {
            return Err(TemplateError::Control(character));
        }
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(brace) = ["{{", "}}"].iter().find(|pair| rest.starts_with(**pair)) {
                literal.push_str(&brace[1..]);
                rest = &rest[2..];
                continue;
            }
            let Some(inside) = rest.strip_prefix('{') else {
                return Err(TemplateError::Brace('}'));
            };
            let (name, after) = inside.split_once('}').ok_or(TemplateError::Brace('{'))?;
            rest = after;
            let piece = match name {
                "hostname" => {
                    literal.push_str(hostname);
                    continue;
                }
                "pid" => {
                    literal.push_str(&std::process::id().to_string());
                    continue;
                }
                "peer" => Piece::Peer,
                "local" => Piece::Local,
                _ => return Err(TemplateError::Placeholder(name.to_owned())),
            };
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
            pieces.push(piece);
        }
        literal.push_str(rest);
        pieces.push(Piece::Text(literal));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self { pieces })
    }

    /// Whether the text differs from connection to connection.
    #[must_use]
    pub fn varies(&self) -> bool {
        !matches!(self.pieces[..], [] | [Piece::Text(_)])
    }

    /// The least and the greatest length of its text, in bytes.
    #[must_use]
    pub fn lengths(&self) -> [usize; 2] {
        [SHORTEST_ADDRESS, LONGEST_ADDRESS].map(|address| {
            let lengths = self.pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.len(),
                Piece::Peer | Piece::Local => address,
            });
            lengths.sum()
        })
    }

    /// The text for a connection with these `ends`.
    #[must_use]
    pub fn render(&self, ends: &Ends) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Peer => ends.peer.to_string(),
            Piece::Local => ends.local.map_or(Peer::Unix, Peer::Tcp).to_string(),
        });
        pieces.collect()
    }
}

/// The lengths of `unix`, and of an IPv6 address with all its digits, a scope ID and a port.
const SHORTEST_ADDRESS: usize = 4;
const LONGEST_ADDRESS: usize = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".len();

/// A template's text for each open connection. If the text does not vary, nothing is kept for a connection.
#[derive(Debug)]
pub struct Tag {
    template: Template,
    text: Text,
}

#[derive(Debug)]
enum Text {
    Same(Box<str>),
    Each(PerConnection<Box<str>>),
}

impl Tag {
    /// The texts of `template`.
    #[must_use]
    pub fn new(template: Template) -> Self {
        let text = if template.varies() {
            Text::Each(PerConnection::new())
        } else {
            Text::Same(template.render(&Ends::new(Peer::Unix, None)).into())
        };
        Self { template, text }
    }

    /// To be called by the protocol's [`opened`](Protocol::opened).
    pub fn opened(&mut self, connection: Token, ends: &Ends) {
        if let Text::Each(texts) = &mut self.text {
            texts.insert(connection, self.template.render(ends).into());
        }
    }

    /// The connection's text.
    #[must_use]
    pub fn text(&self, connection: Token) -> &str {
        match &self.text {
            Text::Same(text) => text,
            Text::Each(texts) => texts.get(connection).map_or("", |text| text),
        }
    }

    /// The connection's text, for [`restore`](Self::restore); empty where all connections have the same one.
    #[must_use]
    pub fn describe(&self, connection: Token) -> &str {
        match &self.text {
            Text::Same(_) => "",
            Text::Each(_) => self.text(connection),
        }
    }

    /// To be called by the protocol's [`restore`](Protocol::restore), with what [`describe`](Self::describe) returned. The
    /// text stays as it was.
    pub fn restore(&mut self, connection: Token, text: &str) {
        if let Text::Each(texts) = &mut self.text {
            texts.insert(connection, text.into());
        }
    }

    /// To be called by the protocol's [`closed`](Protocol::closed).
    pub fn closed(&mut self, connection: Token) {
        if let Text::Each(texts) = &mut self.text {
            texts.remove(connection);
        }
    }
}

/// Appends a banner as the protocol's peers expect it: as a line, or as a frame.
pub type Wrap = fn(&str, &mut Output);

/// Sends a text first on every connection. After that the connection speaks another protocol.
#[derive(Debug)]
pub struct Banner<P, W = Wrap> {
    template: Template,
    wrap: W,
    inner: P,
}

impl<P, W: FnMut(&str, &mut Output)> Banner<P, W> {
    /// The text of `template`, which `wrap` appends as the peers of `inner` expect it, and then `inner`.
    pub const fn new(template: Template, wrap: W, inner: P) -> Self {
        Self { template, wrap, inner }
    }
}

/// `protocol`, behind a [`Banner`] if there is one.
pub(super) fn greeted(
    protocol: impl Protocol + Send + 'static,
    banner: Option<&Template>,
    wrap: impl FnMut(&str, &mut Output) + Send + 'static,
) -> Box<dyn Protocol + Send> {
    match banner {
        None => Box::new(protocol),
        Some(banner) => Box::new(Banner::new(banner.clone(), wrap, protocol)),
    }
}

/// Appends a banner as a line, for `lines` and for `raw`.
pub fn line(text: &str, out: &mut Output) {
    out.extend(text.as_bytes());
    out.extend(b"\n");
}

impl<P: Protocol, W: FnMut(&str, &mut Output)> Protocol for Banner<P, W> {
    fn opened(&mut self, connection: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        (self.wrap)(&self.template.render(ends), out);
        self.inner.opened(connection, ends, out)
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        self.inner.receive(connection, input, seen, out)
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        self.inner.ending(connection, cause, out);
    }

    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        self.inner.half_closed(connection, out);
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        self.inner.closed(connection, reason);
    }

    fn sent(&mut self, connection: Token, out: &mut Output) {
        self.inner.sent(connection, out);
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        self.inner.called(connection, out);
    }

    fn spoken(&mut self, connection: Token, out: &mut Output) {
        self.inner.spoken(connection, out);
    }

    fn reads_while_owed(&self) -> bool {
        self.inner.reads_while_owed()
    }

    fn begins_with_handshake(&self) -> bool {
        self.inner.begins_with_handshake()
    }

    fn introduces_peers(&self) -> bool {
        self.inner.introduces_peers()
    }

    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        self.inner.describe(connection)
    }

    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        self.inner.restore(connection, ends, state)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const PEER: Peer =
        Peer::Tcp(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711));

    #[test]
    fn placeholders_are_filled_in() {
        let pid = std::process::id();
        let local = "[::1]:30000".parse().ok();
        for (text, local, want) in [
            ("", None, String::new()),
            ("plain", None, "plain".into()),
            ("{hostname}", None, "box".into()),
            ("{pid}/{hostname}!", None, format!("{pid}/box!")),
            ("{peer}", None, "127.0.0.1:4711".into()),
            ("{peer}->{local}", local, "127.0.0.1:4711->[::1]:30000".into()),
            ("{local}{local}", None, "unixunix".into()),
            ("{{peer}} {{}} }}{peer}{{", None, "{peer} {} }127.0.0.1:4711{".into()),
            ("Grüße", None, "Grüße".into()),
        ] {
            let template = Template::parse(text, "box").unwrap();
            assert_eq!(template.render(&Ends::new(PEER, local)), want, "{text}");
        }
    }

    #[test]
    fn a_hostname_with_braces_is_not_a_placeholder() {
        let template = Template::parse("{hostname}", "{peer}").unwrap();
        assert_eq!(template.render(&Ends::new(PEER, None)), "{peer}");
        assert!(!template.varies());
    }

    #[test]
    fn wrong_templates_say_what_is_right() {
        for (text, want) in [
            (
                "{host}",
                "unknown placeholder `{host}`: there are {hostname}, {pid}, {peer}, {local}",
            ),
            ("{}", "unknown placeholder `{}`: there are {hostname}, {pid}, {peer}, {local}"),
            ("a{peer", "a `{` alone: write `{{` for a brace"),
            ("a}b", "a `}` alone: write `}}` for a brace"),
            ("a\nb", "the control character '\\n'"),
        ] {
            assert_eq!(Template::parse(text, "box").unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn lengths_hold_for_the_shortest_and_the_longest_ends() {
        let template = Template::parse("{peer} at {local}.", "box").unwrap();
        let longest: SocketAddr =
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let texts = [
            template.render(&Ends::new(Peer::Unix, None)),
            template.render(&Ends::new(Peer::Tcp(longest), Some(longest))),
        ];
        assert_eq!(texts.map(|text| text.len()), template.lengths());
    }

    #[test]
    fn a_tag_that_does_not_vary_keeps_nothing() {
        let mut tag = Tag::new(Template::parse("{hostname}", "box").unwrap());
        tag.opened(Token::new(1, 1), &Ends::new(PEER, None));
        assert!(matches!(tag.text, Text::Same(_)));
        assert_eq!(tag.text(Token::new(9, 9)), "box");
    }

    #[test]
    fn a_tag_that_varies_is_forgotten_with_its_connection() {
        let mut tag = Tag::new(Template::parse("{local}", "box").unwrap());
        let (first, second) = (Token::new(1, 1), Token::new(2, 1));
        tag.opened(first, &Ends::new(PEER, "127.0.0.1:7".parse().ok()));
        tag.opened(second, &Ends::new(PEER, None));
        assert_eq!((tag.text(first), tag.text(second)), ("127.0.0.1:7", "unix"));
        tag.closed(first);
        assert_eq!(tag.text(first), "");
    }
}
