//! The protocols that the load speaks, and their frames.

use resound::frame::Dialect;

use super::websocket;
use crate::{common::units::Size, load::random::Random};

/// The protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A length and that many bytes.
    Frames(Dialect),
    /// Text up to a newline.
    Lines,
    /// Bytes; a frame is a number of them.
    Raw,
    /// Datagrams, each with its number in front.
    Udp,
    /// HTTP/1.1: a frame is the body of a POST to this host, and of the answer.
    Http { host: String },
    /// WebSocket at this host: a frame is a binary message.
    Ws { host: String },
}

/// The number in front of a datagram, in bytes.
pub(crate) const NUMBER: usize = 8;

/// The most that a datagram over IPv4 holds: 65,535 less the IP and UDP headers.
const MOST_IN_A_DATAGRAM: u64 = 65_507;

impl Wire {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Frames(_) => "frames",
            Self::Lines => "lines",
            Self::Raw => "raw",
            Self::Udp => "udp",
            Self::Http { .. } => "http",
            Self::Ws { .. } => "ws",
        }
    }

    /// Why no frame of `size` bytes can be sent, if none can.
    pub(crate) fn refuses(&self, size: u64) -> Option<String> {
        match self {
            Self::Frames(dialect) => {
                let error = dialect.encode_head(size, &mut Vec::new()).err()?;
                Some(format!(
                    "{error} ({dialect}); write max= behind the address if the server takes more"
                ))
            }
            Self::Raw if size == 0 => {
                Some("a frame of 0 bytes has no echo; 1 byte is the least".to_owned())
            }
            Self::Udp if size < NUMBER as u64 => Some(format!(
                "each datagram begins with its number, so {NUMBER} bytes are the least"
            )),
            Self::Udp if size > MOST_IN_A_DATAGRAM => {
                Some(format!("a datagram holds {MOST_IN_A_DATAGRAM} bytes at most"))
            }
            Self::Lines | Self::Raw | Self::Udp | Self::Http { .. } | Self::Ws { .. } => None,
        }
    }

    /// Appends one frame with `size` random bytes of payload.
    ///
    /// # Errors
    ///
    /// Text, for a size that [`refuses`](Self::refuses) tells the reason of.
    pub(crate) fn frame(
        &self,
        size: u64,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if let Some(reason) = self.refuses(size) {
            return Err(format!("--size {}: {reason}", Size(size)));
        }
        match self {
            Self::Frames(dialect) => {
                dialect.encode_head(size, out).map_err(|error| error.to_string())?;
            }
            Self::Http { host } => request(host, size, out),
            Self::Ws { .. } => {
                websocket::head(websocket::FIN | websocket::BINARY, size, websocket::NO_KEY, out);
            }
            Self::Lines | Self::Raw | Self::Udp => {}
        }
        for _ in 0..size {
            out.push(match self {
                // Printable, because some servers treat other bytes in a line specially.
                Self::Lines => b' ' + u8::try_from(random.below(95)).unwrap_or(0),
                _ => random.byte(),
            });
        }
        if *self == Self::Lines {
            out.push(b'\n');
        }
        Ok(())
    }
}

/// Appends the head of a request with a body of `length` bytes.
pub(crate) fn request(host: &str, length: u64, out: &mut Vec<u8>) {
    let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
}
