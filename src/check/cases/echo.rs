//! Messages one at a time: what comes back is what went.

use super::{ALL_KINDS, FRAMES, LINES};
use crate::check::{
    case::{Case, When},
    scene::Scene,
    target::Kind,
    verdict::Verdict,
};

const GROUP: &str = "echo";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "one-message",
        group: GROUP,
        why: "Everything else builds on it.",
        right: "Sends the message back as it came.",
        on: ALL_KINDS,
        when: When::Always,
        run: one_message,
    },
    Case {
        name: "empty-message",
        group: GROUP,
        why: "A read of 0 bytes means the end of the stream, and a length of 0 does not: a server that tests for \"nothing read\" \
              in the wrong place closes the connection or waits for ever.",
        right: "Sends a message without payload back, and the next message too.",
        on: &[Kind::Frames, Kind::Lines, Kind::WebSocket, Kind::Http, Kind::Udp],
        when: When::EmptyFits,
        run: empty_message,
    },
    Case {
        name: "every-byte-value",
        group: GROUP,
        why: "Payloads are bytes, not text: C strings end at a NUL, and decoding as UTF-8 replaces what is not UTF-8.",
        right: "Sends each of the 256 byte values back unchanged.",
        on: ALL_KINDS,
        when: When::Always,
        run: every_byte_value,
    },
    Case {
        name: "sizes-around-powers-of-two",
        group: GROUP,
        why: "Buffers have such sizes. A message that just fills one, or is one byte longer, takes another path.",
        right: "Sends messages of 1, 2, 3, 4, 5, 7, 8, 9 … 65,537 bytes back, as far as they fit.",
        on: ALL_KINDS,
        when: When::Always,
        run: sizes_around_powers_of_two,
    },
    Case {
        name: "largest-message",
        group: GROUP,
        why: "It is longer than any one read and any socket buffer, and it is the edge of the limit: an off-by-one refuses it.",
        right: "Sends a message of exactly the limit back (of 16 MiB, if the limit is higher).",
        on: &[Kind::Frames, Kind::Lines, Kind::WebSocket, Kind::Http, Kind::Udp],
        when: When::Always,
        run: largest_message,
    },
    Case {
        name: "ping-pong",
        group: GROUP,
        why: "A server that buffers its output must flush it when it has nothing more to read, or client and server wait for \
              each other.",
        right: "Answers each of 200 messages before the next is sent.",
        on: ALL_KINDS,
        when: When::Always,
        run: ping_pong,
    },
    Case {
        name: "line-ends",
        group: GROUP,
        why: "Both `\\r\\n` and `\\n` end lines, and a lone `\\r` ends none. A library's line reader removes the end, and the \
              server adds its own.",
        right: "Sends each line back with the end that it came with.",
        on: LINES,
        when: When::Always,
        run: line_ends,
    },
    Case {
        name: "bytes-before-the-length",
        group: GROUP,
        why: "In this dialect a head begins with bytes that are not the length: a type, a flag or a marker. They belong to the \
              message.",
        right: "Sends them back as they came.",
        on: FRAMES,
        when: When::BytesBeforeLength,
        run: bytes_before_the_length,
    },
];

fn one_message(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payload = scene.target.fitted(b"hello".to_vec());
    peer.send_message(&payload)?;
    peer.expect_message(&payload)
}

fn empty_message(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    for _ in 0..2 {
        peer.send_message(b"")?;
        peer.expect_message(b"")?;
        peer.ping()?;
    }
    Ok(())
}

fn every_byte_value(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let mut values: Vec<u8> = (0..=255).collect();
    if scene.target.kind == Kind::Lines {
        // The line's end has a case of its own.
        values.retain(|byte| *byte != b'\n');
        values.push(b'.');
    }
    for part in values.chunks(64) {
        let payload = scene.target.fitted(part.to_vec());
        peer.send_message(&payload)?;
        peer.expect_message(&payload)?;
    }
    Ok(())
}

fn sizes_around_powers_of_two(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let sizes = (0..=16).flat_map(|power| {
        let size = 1_usize << power;
        [size - 1, size, size + 1]
    });
    for size in sizes.filter(|size| *size > 0) {
        let payload = scene.payload(size);
        peer.exchange(&scene.target.message(&payload), &[payload])?;
    }
    Ok(())
}

fn largest_message(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let length = scene.target.limit.min(crate::check::target::LONGEST);
    let payload = scene.payload(usize::try_from(length).unwrap_or(usize::MAX));
    peer.exchange(&scene.target.message(&payload), &[payload])?;
    peer.ping()
}

fn ping_pong(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.pings(200)
}

fn line_ends(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    for line in [&b"unix\n"[..], b"dos\r\n", b"one\rline\n", b"\r\n", b"\n", b"two ends\r\r\n"] {
        peer.send(line)?;
        peer.expect_bytes(line)?;
    }
    Ok(())
}

fn bytes_before_the_length(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payload = scene.payload(20);
    let mut message = scene.target.message(&payload);
    for (index, byte) in message[..scene.target.dialect.offset()].iter_mut().enumerate() {
        *byte = b'A' + u8::try_from(index % 26).unwrap_or(0);
    }
    peer.send(&message)?;
    peer.expect_bytes(&message)
}
