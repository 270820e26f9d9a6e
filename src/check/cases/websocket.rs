//! WebSocket (RFC 6455).

use super::WEBSOCKET;
use crate::check::{
    case::{Case, When},
    scene::Scene,
    verdict::{Fail, Verdict},
    websocket::{self, Frame},
};

const GROUP: &str = "websocket";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "text-stays-text",
        group: GROUP,
        why: "The opcode says whether a message is text or binary, and browsers hand it on as different types.",
        right: "Sends each message back with its own opcode.",
        on: WEBSOCKET,
        when: When::Always,
        run: text_stays_text,
    },
    Case {
        name: "fragments",
        group: GROUP,
        why: "A message may come in several frames (section 5.4). Those behind the first have opcode 0.",
        right: "Sends the message back, in whatever fragments.",
        on: WEBSOCKET,
        when: When::Always,
        run: fragments,
    },
    Case {
        name: "ping-between-fragments",
        group: GROUP,
        why: "Control frames may come between the fragments of a message, and a client that pings waits for the Pong.",
        right: "Answers with a Pong with the same payload, before the message is complete.",
        on: WEBSOCKET,
        when: When::Always,
        run: ping_between_fragments,
    },
    Case {
        name: "close-is-answered",
        group: GROUP,
        why: "Without an answer to its Close frame a browser reports the connection as lost (1006).",
        right: "Answers with a Close frame with the same code, then FIN.",
        on: WEBSOCKET,
        when: When::Always,
        run: close_is_answered,
    },
    Case {
        name: "frame-without-mask",
        group: GROUP,
        why: "A client must mask. A server that accepts frames without a mask helps to poison caches (section 10.3).",
        right: "Ends the connection, with 1002 if it says why.",
        on: WEBSOCKET,
        when: When::Always,
        run: frame_without_mask,
    },
    Case {
        name: "text-that-is-not-utf-8",
        group: GROUP,
        why: "Text is UTF-8 (section 8.1). What is echoed unchecked fails at the client that receives it.",
        right: "Ends the connection, with 1007 if it says why.",
        on: WEBSOCKET,
        when: When::Always,
        run: text_that_is_not_utf_8,
    },
    Case {
        name: "reserved-opcode",
        group: GROUP,
        why: "Opcodes 3 to 7 and 11 to 15 have no meaning yet; to echo them would give them one.",
        right: "Ends the connection, with 1002 if it says why.",
        on: WEBSOCKET,
        when: When::Always,
        run: reserved_opcode,
    },
];

fn text_stays_text(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let text = "gr\u{fc}\u{df}e".as_bytes();
    for opcode in [websocket::TEXT, websocket::BINARY, websocket::TEXT] {
        peer.send(&Frame::new(opcode, text).bytes())?;
        let expected = format!("the message with opcode {opcode}");
        let (came, data) = peer.websocket_message(&expected)?;
        if came != opcode || data != text {
            let got = Frame::new(came, &data).described();
            return Err(Fail::wrong(expected, got));
        }
    }
    Ok(())
}

fn fragments(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let parts = [&b"one "[..], b"", b"message "];
    peer.send(&Frame::new(websocket::BINARY, parts[0]).more_to_come().bytes())?;
    for part in &parts[1..] {
        scene.pause();
        peer.send(&Frame::new(websocket::CONTINUATION, part).more_to_come().bytes())?;
    }
    peer.send(&Frame::new(websocket::CONTINUATION, b"only").bytes())?;
    peer.expect_message(b"one message only")
}

fn ping_between_fragments(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.send(&Frame::new(websocket::BINARY, b"half ").more_to_come().bytes())?;
    peer.send(&Frame::new(websocket::PING, b"are you there").bytes())?;
    let expected = "a Pong with the Ping's payload";
    let mut data = Vec::new();
    let mut frame = peer.expect_frame(expected)?;
    // A server may pass each fragment on as it comes.
    while frame.opcode == websocket::BINARY && !frame.last {
        data.extend_from_slice(&frame.payload);
        frame = peer.expect_frame(expected)?;
    }
    if frame != Frame::new(websocket::PONG, b"are you there") {
        return Err(Fail::wrong(expected, frame.described()));
    }
    peer.send(&Frame::new(websocket::CONTINUATION, b"and half").bytes())?;
    let expected = "the rest of the message";
    loop {
        let frame = peer.expect_frame(expected)?;
        data.extend_from_slice(&frame.payload);
        if frame.last {
            break;
        }
    }
    if data != b"half and half" {
        return Err(Fail::wrong("half and half", String::from_utf8_lossy(&data)));
    }
    Ok(())
}

fn close_is_answered(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.ping()?;
    peer.send(&Frame::close(1000).bytes())?;
    let expected = "a Close frame with 1000";
    let frame = peer.expect_frame(expected)?;
    if frame.opcode != websocket::CLOSE || !frame.payload.starts_with(&1000_u16.to_be_bytes()) {
        return Err(Fail::wrong(expected, frame.described()));
    }
    peer.expect_end()
}

/// Sends that frame, and expects the end of the connection.
fn is_refused(scene: &Scene<'_>, frame: &[u8]) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.ping()?;
    peer.send(frame)?;
    peer.expect_refusal()?;
    scene.others_are_served()
}

fn frame_without_mask(scene: &Scene<'_>) -> Verdict {
    is_refused(scene, b"\x82\x05hello")
}

fn text_that_is_not_utf_8(scene: &Scene<'_>) -> Verdict {
    is_refused(scene, &Frame::new(websocket::TEXT, b"\xc3\x28").bytes())
}

fn reserved_opcode(scene: &Scene<'_>) -> Verdict {
    is_refused(scene, &Frame::new(3, b"hello").bytes())
}
