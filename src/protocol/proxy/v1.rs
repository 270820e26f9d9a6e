//! PROXY protocol version 1: a line of text.
//!
//! ```text
//! PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n
//! PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n
//! PROXY UNKNOWN [anything]\r\n
//!       family source, destination, their ports
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use memchr::memchr;

use super::{ABSENT, Header, Parsed, Source};
use crate::{Peer, protocol::Refusal};

/// The start of the line.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line, with its end (section 2.1).
const LONGEST: usize = 107;

/// Reads the line at the start of `input`.
pub(super) fn parse(input: &[u8]) -> Result<Parsed, Refusal> {
    let shown = input.len().min(SIGNATURE.len());
    if input[..shown] != SIGNATURE[..shown] {
        return Err(ABSENT);
    }
    let window = &input[..input.len().min(LONGEST)];
    let Some(end) = memchr(b'\n', window) else {
        if window.len() == LONGEST {
            return Err(Refusal::Malformed("a PROXY line of more than 107 bytes"));
        }
        return Ok(Parsed::Part { need: 0 });
    };
    let source = window[..end]
        .strip_prefix(SIGNATURE)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| source(&String::from_utf8_lossy(line)))
        .ok_or(Refusal::Malformed(
            "a PROXY line that does not read `PROXY TCP4|TCP6 source destination port port`",
        ))?;
    Ok(Parsed::Whole(Header { length: end + 1, source }))
}

/// Reads the line without its signature and end.
fn source(line: &str) -> Option<Source> {
    let mut words = line.split(' ');
    let ends = match words.next()? {
        "TCP4" => ends::<std::net::Ipv4Addr>(words),
        "TCP6" => ends::<std::net::Ipv6Addr>(words),
        // Whatever follows is to be ignored (section 2.1).
        "UNKNOWN" => return Some(Source::Unnamed),
        _ => None,
    };
    let (source, destination) = ends?;
    Some(Source::Client { peer: Peer::Tcp(source), local: Some(destination) })
}

/// The two addresses and their ports, one space between each and nothing behind.
fn ends<'w, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'w str>,
) -> Option<(SocketAddr, SocketAddr)> {
    let source = words.next()?.parse::<A>().ok()?.into();
    let destination = words.next()?.parse::<A>().ok()?.into();
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    match words.next() {
        None => Some((SocketAddr::new(source, from), SocketAddr::new(destination, to))),
        Some(_) => None,
    }
}

/// A port: only digits, without leading zeros (the standard parser accepts `+80` and `080`).
fn port(digits: &str) -> Option<u16> {
    let canonical = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|_| canonical)
}
