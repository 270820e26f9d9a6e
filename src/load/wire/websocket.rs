//! What a WebSocket client sends (RFC 6455): the request for the upgrade, and masked frames.

use base64::{Engine, prelude::BASE64_STANDARD};
use resound::protocol::websocket::{accept, mask};

use crate::load::random::Random;

/// In the first byte of a head: the last frame of a message (section 5.2).
pub(crate) const FIN: u8 = 0x80;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// A Close frame that ends a connection in order (section 7.4.1).
const NORMAL: u16 = 1000;

/// In place of a mask's key until [`mask_payload`] chooses one.
pub(crate) const NO_KEY: [u8; 4] = [0; 4];

/// A request for the upgrade, and the `Sec-WebSocket-Accept` that answers it.
pub(crate) fn handshake(host: &str, random: &mut Random) -> (String, [u8; 28]) {
    let nonce = [random.next().to_le_bytes(), random.next().to_le_bytes()].concat();
    let key = BASE64_STANDARD.encode(nonce);
    (request(host, &key), accept(key.as_bytes()))
}

/// A request for the upgrade, with this `Sec-WebSocket-Key`.
pub(crate) fn request(host: &str, key: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Appends the head of a masked frame with `payload` bytes. `first` is its first byte, and `key` that of the mask.
pub(crate) fn head(first: u8, payload: u64, key: [u8; 4], out: &mut Vec<u8>) {
    const MASKED: u8 = 0x80;
    out.push(first);
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short @ ..=125), _) => out.push(MASKED | short),
        (_, Ok(medium)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&payload.to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
}

/// Masks the payload that begins at `at`, with a new key, which goes into the head in front of it. The key has to be new for
/// each frame (section 5.3).
pub(crate) fn mask_payload(frame: &mut [u8], at: usize, random: &mut Random) {
    let [a, b, c, d, ..] = random.next().to_le_bytes();
    let (head, payload) = frame.split_at_mut(at);
    head[at - NO_KEY.len()..].copy_from_slice(&[a, b, c, d]);
    mask([a, b, c, d], payload);
}

/// Appends a control frame.
pub(crate) fn control(opcode: u8, payload: &[u8], random: &mut Random, out: &mut Vec<u8>) {
    let begin = out.len();
    head(FIN | opcode, payload.len() as u64, NO_KEY, out);
    let at = out.len() - begin;
    out.extend_from_slice(payload);
    mask_payload(&mut out[begin..], at, random);
}

/// Appends a Close frame.
pub(crate) fn close(random: &mut Random, out: &mut Vec<u8>) {
    control(CLOSE, &NORMAL.to_be_bytes(), random, out);
}
