//! UDP: a datagram is a message, and nothing else keeps them apart.

use super::UDP;
use crate::check::{
    case::{Case, When},
    scene::Scene,
    verdict::Verdict,
};

const GROUP: &str = "datagrams";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "one-answer-each",
        group: GROUP,
        why: "Datagrams are not a stream: two that are read together must not be joined, and one must not be split.",
        right: "Answers each of 20 datagrams that were sent together with one of its own.",
        on: UDP,
        when: When::Always,
        run: one_answer_each,
    },
    Case {
        name: "to-the-source",
        group: GROUP,
        why: "An answer goes to the source of its datagram, not to the one that was heard first or last.",
        right: "Answers each of five clients that send by turns with its own datagrams.",
        on: UDP,
        when: When::Always,
        run: to_the_source,
    },
    Case {
        name: "source-is-gone",
        group: GROUP,
        why: "An answer to a port that is closed comes back as an ICMP error, and the next call on the server's socket may report it \
              (ECONNREFUSED). That is not the server's end.",
        right: "Serves others.",
        on: UDP,
        when: When::Always,
        run: source_is_gone,
    },
];

fn one_answer_each(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payloads: Vec<Vec<u8>> = (1..=20).map(|index| scene.payload(index * 7)).collect();
    payloads.iter().try_for_each(|payload| peer.send_message(payload))?;
    payloads.iter().try_for_each(|payload| peer.expect_message(payload))
}

fn to_the_source(scene: &Scene<'_>) -> Verdict {
    let mut peers = scene.peers("a", 5)?;
    for _ in 0..5 {
        let payloads = scene.payloads(peers.len(), 40);
        for (peer, payload) in peers.iter_mut().zip(&payloads) {
            peer.send_message(payload)?;
        }
        for (peer, payload) in peers.iter_mut().zip(&payloads).rev() {
            peer.expect_message(payload)?;
        }
    }
    Ok(())
}

fn source_is_gone(scene: &Scene<'_>) -> Verdict {
    for _ in 0..20 {
        let mut peer = scene.peer("a")?;
        peer.send_message(&scene.payload(20))?;
        peer.close();
    }
    scene.pause();
    scene.others_are_served()
}
