//! Lengths that cannot be, and lengths over the limit: refused for the one connection, before anything is reserved.

use super::{ANNOUNCING, FRAMES, MESSAGES};
use crate::check::{
    case::{Case, When},
    peer::Peer,
    scene::Scene,
    target::Target,
    verdict::Verdict,
};

const GROUP: &str = "limits";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "over-the-limit",
        group: GROUP,
        why: "Without a limit the peer decides how much the server buffers.",
        right: "Ends the connection of a message that is one byte over the limit (`max=` behind the address says what that \
                is), and serves others.",
        on: MESSAGES,
        when: When::LimitKnown,
        run: over_the_limit,
    },
    Case {
        name: "answers-before-a-refusal",
        group: GROUP,
        why: "To close a socket while unread bytes are in it sends RST, and that destroys answers that are on their way.",
        right: "Answers the messages before the one that it refuses, though the client reads them late.",
        on: MESSAGES,
        when: When::LimitKnown,
        run: answers_before_a_refusal,
    },
    Case {
        name: "refusals-beside-a-client",
        group: GROUP,
        why: "One client's error is not the others' problem: an exception that nobody catches ends the server.",
        right: "Serves a client without interruption while it refuses 20 others.",
        on: MESSAGES,
        when: When::LimitKnown,
        run: refusals_beside_a_client,
    },
    Case {
        name: "negative-length",
        group: GROUP,
        why: "Read as a signed number, such a length is negative: it passes a test for \"too long\", and then it is used.",
        right: "Ends the connection, and serves others.",
        on: ANNOUNCING,
        when: When::LengthMayBeNegative,
        run: |scene| is_refused(scene, Target::negative_length),
    },
    Case {
        name: "length-below-its-head",
        group: GROUP,
        why: "In this dialect a length counts its own head. One that is too small is negative after the subtraction.",
        right: "Ends the connection, and serves others.",
        on: FRAMES,
        when: When::LengthCountsHead,
        run: |scene| is_refused(scene, Target::length_below_head),
    },
    Case {
        name: "overlong-varint",
        group: GROUP,
        why: "A varint of more than ten bytes fits no 64 bits. Code that only looks for its last byte shifts too far, or never \
              stops.",
        right: "Ends the connection, and serves others.",
        on: FRAMES,
        when: When::LengthIsVarint,
        run: |scene| is_refused(scene, Target::overlong_varint),
    },
];

/// What follows a bad head, so that unread bytes are in the socket when the server closes it.
fn junk() -> Vec<u8> {
    vec![b'j'; 64 << 10]
}

/// Sends that head and junk on a connection of its own, and expects a refusal.
fn is_refused(scene: &Scene<'_>, head: fn(&Target) -> Option<Vec<u8>>) -> Verdict {
    let Some(head) = head(&scene.target) else { return Ok(()) };
    let mut peer = scene.peer("a")?;
    peer.ping()?;
    peer.send(&head)?;
    peer.expect_refusal()?;
    scene.others_are_served()
}

fn over_the_limit(scene: &Scene<'_>) -> Verdict {
    let Some(bad) = scene.target.over_the_limit() else { return Ok(()) };
    let mut peer = scene.peer("a")?;
    peer.ping()?;
    peer.while_sending(&[bad, junk()].concat(), Peer::expect_refusal)?;
    scene.others_are_served()
}

fn answers_before_a_refusal(scene: &Scene<'_>) -> Verdict {
    let Some(bad) = scene.target.over_the_limit() else { return Ok(()) };
    let mut peer = scene.small_peer("a")?;
    let each = scene.payload(16 << 10).len();
    let payloads = scene.payloads((256 << 10) / each, each);
    let sent = [scene.messages(&payloads), bad, junk()].concat();
    peer.while_sending(&sent, |peer| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        payloads.iter().try_for_each(|payload| peer.expect_message(payload))?;
        peer.expect_refusal()
    })
}

fn refusals_beside_a_client(scene: &Scene<'_>) -> Verdict {
    let Some(bad) = scene.target.over_the_limit() else { return Ok(()) };
    let mut other = scene.peer("other")?;
    for mut peer in scene.peers("a", 20)? {
        peer.while_sending(&bad, |peer| {
            other.ping()?;
            peer.expect_refusal()
        })?;
    }
    other.ping()
}
