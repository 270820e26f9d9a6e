//! WebSocket as a client speaks it (RFC 6455): the handshake, frames out, and the frames at the start of what was received.

use crate::load::wire::websocket;
pub(super) use crate::load::wire::websocket::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT};

/// The key of the RFC's own example (section 1.3), and what accepts it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The mask of the RFC's own example (section 5.7). It hides nothing here; a client must mask.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) last: bool,
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) fn request(host: &str) -> Vec<u8> {
    websocket::request(host, KEY).into_bytes()
}

impl Frame {
    pub(super) fn new(opcode: u8, payload: &[u8]) -> Self {
        Self { last: true, opcode, payload: payload.to_vec() }
    }

    pub(super) fn binary(payload: &[u8]) -> Self {
        Self::new(BINARY, payload)
    }

    /// A Close frame with that status code (section 7.4).
    pub(super) fn close(code: u16) -> Self {
        Self::new(CLOSE, &code.to_be_bytes())
    }

    /// The frame as the first or a middle one of a message.
    pub(super) fn more_to_come(self) -> Self {
        Self { last: false, ..self }
    }

    /// The head of a masked frame with this one's opcode that announces `length` bytes.
    pub(super) fn head(&self, length: u64) -> Vec<u8> {
        let first = u8::from(self.last) << 7 | self.opcode;
        let mut head = Vec::new();
        websocket::head(first, length, MASK, &mut head);
        head
    }

    /// Appends the frame, masked.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head(self.payload.len() as u64));
        out.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The frame at the start of `input` and its length; `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// What no server may send.
    pub(super) fn read(input: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let &[first, second, ref rest @ ..] = input else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err("a frame has a reserved bit set, and no extension was agreed on".to_owned());
        }
        if second & 0x80 != 0 {
            return Err("a server's frame is masked".to_owned());
        }
        let (length, head) = match second {
            126 => match rest.first_chunk() {
                Some(&bytes) => (u64::from(u16::from_be_bytes(bytes)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(&bytes) => (u64::from_be_bytes(bytes), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(head);
        Ok(input.get(head..length).map(|payload| {
            let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
            (Self { last, opcode, payload: payload.to_vec() }, length)
        }))
    }

    /// As a message says what came: `Close 1009`, `text of 5 bytes`.
    pub(super) fn described(&self) -> String {
        let name = match self.opcode {
            CONTINUATION => "continuation",
            TEXT => "text",
            BINARY => "binary",
            PING => "Ping",
            PONG => "Pong",
            CLOSE => {
                return match self.payload.first_chunk() {
                    Some(&code) => format!("Close {}", u16::from_be_bytes(code)),
                    None => "Close without a code".to_owned(),
                };
            }
            _ => return format!("a frame with the reserved opcode {}", self.opcode),
        };
        format!("{name} of {}", resound::plural::bytes(self.payload.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_as_the_rfc_writes_them() {
        // Section 5.7: a single-frame masked text message, and unmasked frames.
        let hello = Frame::new(TEXT, b"Hello");
        assert_eq!(
            hello.bytes(),
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
        let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert_eq!(Frame::read(&unmasked), Ok(Some((hello, 7))));
        for cut in 0..unmasked.len() {
            assert_eq!(Frame::read(&unmasked[..cut]), Ok(None));
        }
        let long = [&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256]].concat();
        assert_eq!(Frame::read(&long), Ok(Some((Frame::binary(&[7; 256]), 260))));
        assert_eq!(Frame::binary(b"").head(256)[..4], [0x82, 0xfe, 0x01, 0x00]);
        assert_eq!(Frame::binary(b"").head(65_536)[..4], [0x82, 0xff, 0, 0]);
    }

    #[test]
    fn what_no_server_may_send_is_named() {
        assert!(Frame::read(&[0xc1, 0]).unwrap_err().contains("reserved bit"));
        assert!(Frame::read(&[0x81, 0x80]).unwrap_err().contains("masked"));
        assert_eq!(Frame::close(1009).described(), "Close 1009");
    }
}
