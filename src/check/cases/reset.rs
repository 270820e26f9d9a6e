//! RST, and clients that go away without a word.

use super::{MESSAGES, STREAMS};
use crate::check::{
    case::{Case, When},
    scene::Scene,
    verdict::Verdict,
};

const GROUP: &str = "reset";

/// How often each is done: what goes wrong depends on when the server looks.
const TIMES: usize = 20;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "rst-at-once",
        group: GROUP,
        why: "A connection may be gone before it is accepted: then accept(2), getpeername(2) or the first setsockopt(2) fails, and \
              a server that takes that for fatal ends.",
        right: "Serves others.",
        on: STREAMS,
        when: When::Always,
        run: rst_at_once,
    },
    Case {
        name: "rst-after-an-answer",
        group: GROUP,
        why: "ECONNRESET from read(2) is the end of one connection, not an error of the server.",
        right: "Serves others, among them one that was connected all the time.",
        on: STREAMS,
        when: When::Always,
        run: rst_after_an_answer,
    },
    Case {
        name: "rst-inside-a-message",
        group: GROUP,
        why: "What was received of the message has to be freed, and nothing must wait for its rest.",
        right: "Serves others, among them one that was connected all the time.",
        on: MESSAGES,
        when: When::Always,
        run: rst_inside_a_message,
    },
    Case {
        name: "rst-with-answers-unread",
        group: GROUP,
        why: "The server is in the middle of writing. write(2) then fails with EPIPE or ECONNRESET, and the first raises SIGPIPE, \
              which ends a process that does not ignore it.",
        right: "Serves others, among them one that was connected all the time.",
        on: STREAMS,
        when: When::Always,
        run: rst_with_answers_unread,
    },
    Case {
        name: "gone-before-the-answer",
        group: GROUP,
        why: "A client that sends and closes at once: the answer meets a socket that is closed, and the next write fails.",
        right: "Serves others, among them one that was connected all the time.",
        on: STREAMS,
        when: When::Always,
        run: gone_before_the_answer,
    },
];

fn rst_at_once(scene: &Scene<'_>) -> Verdict {
    for _ in 0..TIMES {
        scene.bare_peer("a")?.reset();
    }
    scene.others_are_served()
}

/// Does something to the server `TIMES` times beside a client that is connected all the time.
fn beside_a_client(scene: &Scene<'_>, what: impl Fn() -> Verdict) -> Verdict {
    let mut other = scene.peer("other")?;
    other.ping()?;
    for _ in 0..TIMES {
        what()?;
        other.ping()?;
    }
    scene.others_are_served()
}

fn rst_after_an_answer(scene: &Scene<'_>) -> Verdict {
    beside_a_client(scene, || {
        let mut peer = scene.peer("a")?;
        peer.ping()?;
        peer.reset();
        Ok(())
    })
}

fn rst_inside_a_message(scene: &Scene<'_>) -> Verdict {
    let message = scene.target.message(&scene.payload(20));
    beside_a_client(scene, || {
        let mut peer = scene.peer("a")?;
        peer.send(&message[..message.len() - 1])?;
        scene.pause();
        peer.reset();
        Ok(())
    })
}

fn rst_with_answers_unread(scene: &Scene<'_>) -> Verdict {
    let mut other = scene.peer("other")?;
    other.ping()?;
    let mut peer = scene.small_peer("a")?;
    peer.flood(FLOOD);
    peer.reset();
    other.ping()?;
    scene.others_are_served()
}

/// Enough for a server to be busy writing.
const FLOOD: u64 = 16 << 20;

fn gone_before_the_answer(scene: &Scene<'_>) -> Verdict {
    let messages = scene.messages(&scene.payloads(10, 100));
    beside_a_client(scene, || {
        let mut peer = scene.peer("a")?;
        peer.send(&messages)?;
        peer.close();
        Ok(())
    })
}
