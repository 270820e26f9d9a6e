//! FIN: the client has sent everything, and still reads.

use super::{ANNOUNCING, LINES, STREAMS};
use crate::check::{
    case::{Case, When},
    scene::Scene,
    target::Kind,
    verdict::{Fail, Verdict},
};

const GROUP: &str = "half-close";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "fin-at-once",
        group: GROUP,
        why: "Port scanners and health checks connect and close. A server that takes the end of the stream for \"no data yet\" \
              reads for ever.",
        right: "Closes its side.",
        on: STREAMS,
        when: When::Always,
        run: fin_at_once,
    },
    Case {
        name: "fin-behind-a-message",
        group: GROUP,
        why: "A pipe into netcat does this: FIN comes with the data. A server that closes when it sees FIN loses the answer.",
        right: "Sends the message back, then FIN.",
        on: STREAMS,
        when: When::Always,
        run: fin_behind_a_message,
    },
    Case {
        name: "fin-after-an-answer",
        group: GROUP,
        why: "The usual end of a conversation. A server that does not close its side leaks a descriptor for each client.",
        right: "Sends FIN.",
        on: STREAMS,
        when: When::Always,
        run: fin_after_an_answer,
    },
    Case {
        name: "fin-inside-a-head",
        group: GROUP,
        why: "A client may die anywhere. A server that loops until a head is complete never leaves the loop.",
        right: "Answers the message before it, then closes its side.",
        on: ANNOUNCING,
        when: When::HeadOfSeveralBytes,
        run: fin_inside_a_head,
    },
    Case {
        name: "fin-inside-a-payload",
        group: GROUP,
        why: "A message that is cut off is no message, and what came of it must not be echoed as one.",
        right: "Answers the message before it, echoes nothing of the part, and closes its side.",
        on: ANNOUNCING,
        when: When::Always,
        run: fin_inside_a_payload,
    },
    Case {
        name: "fin-inside-a-line",
        group: GROUP,
        why: "A last line without its end: some servers send it back, and some do not. Either is right, and to hang is not.",
        right: "Answers the line before it, sends the part back or does not, then FIN.",
        on: LINES,
        when: When::Always,
        run: fin_inside_a_line,
    },
    Case {
        name: "fin-behind-much",
        group: GROUP,
        why: "When FIN comes, much of the answer still waits for the client. A server that closes then loses it.",
        right: "Sends everything, however late the client reads it, then FIN.",
        on: STREAMS,
        when: When::Always,
        run: fin_behind_much,
    },
];

fn fin_at_once(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.half_close()?;
    peer.expect_end()
}

/// Connections on which FIN comes with a message. A server that is about to read when they come may read the message
/// before it learns of FIN: that it does so on all of them is as good as impossible.
const FINS: usize = 20;

fn fin_behind_a_message(scene: &Scene<'_>) -> Verdict {
    let payload = scene.payload(20);
    for number in 1..=FINS {
        let mut peer = scene.peer(&format!("a{number}"))?;
        peer.send_message_with_fin(&payload)?;
        peer.expect_message(&payload)?;
        peer.expect_end()?;
    }
    Ok(())
}

fn fin_after_an_answer(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.ping()?;
    peer.half_close()?;
    peer.expect_end()
}

fn fin_inside_a_head(scene: &Scene<'_>) -> Verdict {
    let payload = scene.payload(200);
    let message = scene.target.message(&payload);
    let head = scene.target.head(&message, &payload);
    let cuts = match scene.target.kind {
        Kind::Http => vec![1, 10, head - 1],
        _ => (1..head).collect(),
    };
    for cut in cuts {
        cut_off(scene, &message[..cut])?;
    }
    Ok(())
}

fn fin_inside_a_payload(scene: &Scene<'_>) -> Verdict {
    let payload = scene.payload(200);
    let message = scene.target.message(&payload);
    let head = scene.target.head(&message, &payload);
    for cut in [head + 1, message.len() - 1] {
        if cut > head && cut < message.len() {
            cut_off(scene, &message[..cut])?;
        }
    }
    Ok(())
}

/// Sends a message, `part` of another and FIN.
fn cut_off(scene: &Scene<'_>, part: &[u8]) -> Verdict {
    let mut peer = scene.peer("a")?;
    let payload = scene.payload(20);
    peer.send(&[&scene.target.message(&payload), part].concat())?;
    peer.half_close()?;
    peer.expect_message(&payload)?;
    if scene.target.kind == Kind::Http {
        // It may say that the request was bad.
        return peer.expect_refusal();
    }
    peer.expect_end()
}

fn fin_inside_a_line(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.send(b"a line\nand a part")?;
    peer.half_close()?;
    peer.expect_bytes(b"a line\n")?;
    let expected = "FIN, or the part and FIN";
    let rest = peer.rest(expected)?;
    // Some add the end that is missing.
    let part = rest.strip_suffix(b"\n").unwrap_or(&rest);
    let part = part.strip_suffix(b"\r").unwrap_or(part);
    if part.is_empty() || part == b"and a part" {
        return Ok(());
    }
    Err(Fail::wrong(expected, String::from_utf8_lossy(&rest)))
}

fn fin_behind_much(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.small_peer("a")?;
    let each = scene.payload(16 << 10).len();
    let payloads = scene.payloads((1 << 20) / each, each);
    peer.while_sending_all(&scene.messages(&payloads), |peer| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        payloads.iter().try_for_each(|payload| peer.expect_message(payload))?;
        peer.expect_end()
    })
}
