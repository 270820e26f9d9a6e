//! Where TCP splits and joins: reads have nothing to do with messages.

use super::{MESSAGES, STREAMS};
use crate::check::{
    case::{Case, When},
    scene::Scene,
    target::Kind,
    verdict::Verdict,
};

const GROUP: &str = "segments";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "one-byte-at-a-time",
        group: GROUP,
        why: "A read returns what has come, and that may be one byte. A server that takes one read for one message fails here.",
        right: "Puts the message together and sends it back once.",
        on: STREAMS,
        when: When::Always,
        run: one_byte_at_a_time,
    },
    Case {
        name: "many-in-one-segment",
        group: GROUP,
        why: "A read may return many messages (\"sticky packets\"). A server that looks for one message in each read leaves the \
              others until more comes, or loses them.",
        right: "Sends all 100 messages of one write back, in order.",
        on: STREAMS,
        when: When::Always,
        run: many_in_one_segment,
    },
    Case {
        name: "head-split-at-each-byte",
        group: GROUP,
        why: "The head may be split as well. Code that reads a head with one read works until the network splits it.",
        right: "Sends the message back, wherever its head was split.",
        on: MESSAGES,
        when: When::Always,
        run: head_split_at_each_byte,
    },
    Case {
        name: "one-and-a-half",
        group: GROUP,
        why: "A whole message must not wait for the rest of the one behind it: its sender may wait for the answer first.",
        right: "Sends the whole message back at once, and the other when its rest has come.",
        on: MESSAGES,
        when: When::Always,
        run: one_and_a_half,
    },
    Case {
        name: "end-and-beginning-together",
        group: GROUP,
        why: "The end of one message and the beginning of the next come in one read. What is left over has to be kept.",
        right: "Sends each message back when it is complete.",
        on: MESSAGES,
        when: When::Always,
        run: end_and_beginning_together,
    },
    Case {
        name: "thousands-in-flight",
        group: GROUP,
        why: "A client may send without waiting for answers. Then reads end anywhere, and short writes happen.",
        right: "Sends 3,000 messages of different lengths back, in order and complete.",
        on: STREAMS,
        when: When::Always,
        run: thousands_in_flight,
    },
    Case {
        name: "small-reader",
        group: GROUP,
        why: "A client with a small window takes little at a time. send(2) then writes less than it was given, and what it did \
              not write must be kept.",
        right: "Sends everything back, in order and complete.",
        on: STREAMS,
        when: When::Always,
        run: small_reader,
    },
    Case {
        name: "urgent-byte",
        group: GROUP,
        why: "An urgent byte (TCP's out-of-band data) is not part of the stream unless the server asks for that. It marks a place \
              at which reads stop early, so a server that takes a short read for \"nothing more\" stalls.",
        right: "Sends the messages before and behind it back.",
        on: STREAMS,
        when: When::Tcp,
        run: urgent_byte,
    },
];

fn one_byte_at_a_time(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payload = scene.payload(12);
    for byte in scene.target.message(&payload) {
        peer.send(&[byte])?;
        scene.pause();
    }
    peer.expect_message(&payload)?;
    peer.ping()
}

fn many_in_one_segment(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payloads = scene.payloads(100, 10);
    peer.exchange(&scene.messages(&payloads), &payloads)
}

fn head_split_at_each_byte(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    // Long enough for a length of two bytes, if lengths are varints.
    let payload = scene.payload(200);
    let message = scene.target.message(&payload);
    let cuts = match scene.target.kind {
        // Between the lines, and within a few.
        Kind::Http => vec![1, 6, 16, 17, 18, message.len() - payload.len() - 2],
        Kind::Lines => vec![1, message.len() - 1],
        _ => (1..=scene.target.head(&message, &payload)).collect(),
    };
    for cut in cuts {
        peer.send(&message[..cut])?;
        scene.pause();
        peer.send(&message[cut..])?;
        peer.expect_message(&payload)?;
    }
    Ok(())
}

/// How much of a message is a half: its head and some of its payload, if there is any.
fn half(message: &[u8]) -> usize {
    message.len() - message.len().min(8) / 2
}

fn one_and_a_half(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let (first, second) = (scene.payload(20), scene.payload(20));
    let message = scene.target.message(&second);
    let (begin, rest) = message.split_at(half(&message));
    peer.send(&[&scene.target.message(&first), begin].concat())?;
    peer.expect_message(&first)?;
    peer.send(rest)?;
    peer.expect_message(&second)
}

fn end_and_beginning_together(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payloads = scene.payloads(4, 20);
    let mut held = Vec::new();
    for payload in &payloads {
        let message = scene.target.message(payload);
        let (begin, rest) = message.split_at(half(&message));
        peer.send(&[&held, begin].concat())?;
        if !held.is_empty() {
            peer.expect_message(&payloads[0])?;
        }
        scene.pause();
        peer.send(rest)?;
        peer.expect_message(payload)?;
        // The end of the first message again, in front of the next one's beginning.
        let again = scene.target.message(&payloads[0]);
        let (begin, rest) = again.split_at(half(&again));
        peer.send(begin)?;
        scene.pause();
        held = rest.to_vec();
    }
    peer.send(&held)?;
    peer.expect_message(&payloads[0])
}

fn thousands_in_flight(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payloads: Vec<Vec<u8>> = (0..3_000).map(|index| scene.payload(index % 300 + 1)).collect();
    peer.exchange(&scene.messages(&payloads), &payloads)
}

fn small_reader(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.small_peer("a")?;
    let length = 16 << 10;
    let each = scene.payload(length).len();
    let payloads = scene.payloads((512 << 10) / each, each);
    peer.while_sending(&scene.messages(&payloads), |peer| {
        // What the server can send is stuck before the first byte is read.
        std::thread::sleep(std::time::Duration::from_millis(50));
        payloads.iter().try_for_each(|payload| peer.expect_message(payload))
    })
}

fn urgent_byte(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let (first, second) = (scene.payload(20), scene.payload(20));
    peer.send_message(&first)?;
    peer.send_urgent(b'!')?;
    peer.send_message(&second)?;
    peer.expect_message(&first)?;
    peer.expect_message(&second)?;
    peer.ping()
}
