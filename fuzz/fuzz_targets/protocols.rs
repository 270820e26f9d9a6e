//! Every protocol: bytes that come in pieces get the same answer as those that come at once.
//!
//! ```text
//! protocol │ number of cuts │ cuts (2 each) … │ the stream …
//! ```
#![no_main]
#![allow(dead_code, reason = "the tests use the rest of what they share with this")]

#[path = "../../tests/common/drive.rs"]
mod drive;

use std::{mem::discriminant, time::UNIX_EPOCH};

use drive::{Driven, cut, drive};
use libfuzzer_sys::fuzz_target;
use resound::{
    frame::presets,
    protocol::{
        Framed, Frames, Protocol, Raw, Reply,
        http::{Http, HttpLimits},
        lines::Lines,
        proxy::{Mode, Proxied},
        websocket::WebSocket,
    },
};

/// So small that both sides of every limit are near.
const LIMIT: u32 = 200;

const HANDSHAKE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const OFFER: &[u8] = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

fn protocol(choice: u8) -> Box<dyn Protocol> {
    let limits = HttpLimits { head: LIMIT as usize, body: LIMIT.into() };
    match choice % 11 {
        0 => Box::new(Raw),
        1 => Box::new(Lines { max: LIMIT as usize }),
        2 => Box::new(Http::new(limits, None).clocked(|| UNIX_EPOCH)),
        3 | 4 => Box::new(WebSocket::new(LIMIT).clocked(|| UNIX_EPOCH)),
        10 => Box::new(WebSocket::new(LIMIT).clocked(|| UNIX_EPOCH).deflate(choice > 127)),
        9 => Box::new(Http::new(limits, None).streamed().clocked(|| UNIX_EPOCH)),
        5 => Box::new(Proxied::new(Mode::Any, Lines { max: LIMIT as usize })),
        6 => {
            let dialect = presets()[usize::from(choice) % presets().len()].dialect;
            Box::new(Framed::new(dialect, |payload: &[u8], reply: &mut Reply<'_>| {
                reply.frame(payload)
            }))
        }
        _ => Box::new(Frames::new(presets()[usize::from(choice) % presets().len()].dialect)),
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, count, data @ ..] = data else { return };
    let Some((cuts, stream)) = data.split_at_checked(2 * usize::from(count % 16)) else { return };
    let cuts: Vec<usize> =
        cuts.chunks(2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1])).collect();
    let stream = match choice % 11 {
        4 => [HANDSHAKE, stream].concat(),
        10 => [&HANDSHAKE[..HANDSHAKE.len() - 2], OFFER, stream].concat(),
        _ => stream.to_vec(),
    };

    let whole = drive(&mut protocol(*choice), 1 << 20, [&stream[..]]);
    for high_water in [1 << 20, 30] {
        let pieces = drive(&mut protocol(*choice), high_water, cut(&stream, &cuts));
        let seen = |Driven { sent, frames, rest, end }: &Driven| {
            (sent.escape_ascii().to_string(), *frames, rest.clone(), end.as_ref().map(discriminant))
        };
        assert_eq!(seen(&pieces), seen(&whole), "high water {high_water}");
    }
});
