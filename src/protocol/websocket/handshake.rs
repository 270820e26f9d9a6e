//! The opening handshake: an HTTP request for an upgrade to WebSocket, and its answer (RFC 6455, section 4.2).

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

use super::Agreed;
use crate::protocol::http::{
    Always,
    head::{self, Head, Problem, is_token},
    request::{is_host, options},
};

/// The longest head of a request, in bytes.
const HEAD: usize = 16 << 10;

/// Appended to the client's key before it is hashed (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Base64 as clients write it. RFC 4648, section 3.5, leaves open whether unused bits must be zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A handshake that is accepted.
pub(super) struct Accepted<'b> {
    /// Bytes of the request.
    pub(super) head: usize,
    key: &'b [u8],
    /// The first subprotocol that the client offered.
    subprotocol: Option<&'b [u8]>,
    /// The values of its `Sec-WebSocket-Extensions` fields.
    pub(super) extensions: Vec<&'b [u8]>,
}

/// A handshake that is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rejected {
    pub(super) problem: Problem,
    /// Header fields that say what is right.
    pub(super) fields: &'static str,
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self { problem, fields: "" }
    }
}

/// Reads the request at the start of `input`. Its first `seen` bytes were shown before and are not a whole one. `None`
/// if it is not whole yet.
pub(super) fn read(input: &[u8], seen: usize) -> Result<Option<Accepted<'_>>, Rejected> {
    match head::read(input, seen, HEAD, Accepted::read) {
        Head::Partial => Ok(None),
        Head::Refused(problem) => Err(problem.into()),
        Head::Whole(accepted) => accepted.map(Some),
    }
}

impl<'b> Accepted<'b> {
    /// Checks a request, in the order of section 4.2.1.
    fn read(request: &httparse::Request<'_, 'b>, head: usize) -> Result<Self, Rejected> {
        let (mut upgrade, mut connection, mut hosts, mut body) = (false, false, 0, false);
        let (mut keys, mut versions, mut subprotocol) = (Vec::new(), Vec::new(), None);
        let mut extensions = Vec::new();
        for field in &*request.headers {
            let value = field.value;
            let asks_for = |option: &[u8]| options(value).any(|o| o.eq_ignore_ascii_case(option));
            match field.name.to_ascii_lowercase().as_str() {
                "host" if value.iter().all(|byte| is_host(*byte)) => hosts += 1,
                "host" => return Err(Problem::bad("the Host field is not a host name").into()),
                "upgrade" => upgrade |= asks_for(b"websocket"),
                "connection" => connection |= asks_for(b"upgrade"),
                "content-length" => body |= value != b"0",
                "transfer-encoding" => body = true,
                "sec-websocket-key" => keys.push(value),
                "sec-websocket-version" => versions.push(value),
                "sec-websocket-extensions" => extensions.push(value),
                "sec-websocket-protocol" => {
                    subprotocol = subprotocol.or_else(|| options(value).next());
                }
                _ => {}
            }
        }
        if request.method != Some("GET") {
            return Err(Rejected {
                problem: Problem::new("405 Method Not Allowed", "a WebSocket is opened with GET"),
                fields: "Allow: GET\r\n",
            });
        }
        if request.version == Some(0) {
            return Err(Problem::bad("a WebSocket needs HTTP/1.1").into());
        }
        if hosts != 1 {
            return Err(Problem::bad("one Host field is required").into());
        }
        if !upgrade || !connection {
            return Err(Rejected {
                problem: Problem::new(
                    "426 Upgrade Required",
                    "this is a WebSocket echo: open it as ws://, or with Upgrade: websocket and Connection: Upgrade",
                ),
                fields: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            });
        }
        if versions != [b"13"] {
            return Err(Rejected {
                problem: Problem::new(
                    "426 Upgrade Required",
                    "Sec-WebSocket-Version: 13 is required",
                ),
                fields: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            });
        }
        let [key] = keys[..] else {
            return Err(Problem::bad("one Sec-WebSocket-Key is required").into());
        };
        if !BASE64.decode_slice(key, &mut [0; 18]).is_ok_and(|length| length == 16) {
            return Err(Problem::bad("a Sec-WebSocket-Key is 16 bytes in base64").into());
        }
        if body {
            return Err(Problem::bad("a handshake has no body").into());
        }
        if !subprotocol.is_none_or(is_token) {
            return Err(Problem::bad("a Sec-WebSocket-Protocol that is not a token").into());
        }
        Ok(Self { head, key, subprotocol, extensions })
    }

    /// Appends the answer (section 4.2.2), with the extension that was `agreed` on.
    pub(super) fn write(&self, agreed: Option<&Agreed>, always: Always<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\n\
              Upgrade: websocket\r\n\
              Connection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&accept(self.key));
        out.extend_from_slice(b"\r\n");
        if let Some(subprotocol) = self.subprotocol {
            out.extend_from_slice(b"Sec-WebSocket-Protocol: ");
            out.extend_from_slice(subprotocol);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(agreed) = agreed {
            agreed.write(out);
        }
        // No Date: section 6.6.1 of RFC 9110 leaves it out of 1xx answers.
        always.write_tag(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// The value of `Sec-WebSocket-Accept` that answers this `Sec-WebSocket-Key` (RFC 6455, section 4.2.2).
#[must_use]
pub fn accept(key: &[u8]) -> [u8; 28] {
    let mut hash = sha1_smol::Sha1::from(key);
    hash.update(GUID);
    let mut accept = [0; 28];
    // 20 bytes are always 28 in base64.
    let _ = BASE64.encode_slice(hash.digest().bytes(), &mut accept);
    accept
}
