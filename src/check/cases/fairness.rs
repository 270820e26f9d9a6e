//! What one client does must not hold up another. Judged in round trips of the other one.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use super::{MESSAGES, STREAMS};
use crate::check::{
    case::{Case, When},
    scene::Scene,
    verdict::{Fail, Verdict},
};

const GROUP: &str = "fairness";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "never-reads",
        group: GROUP,
        why: "A client sends and never reads. A server that waits until it can write to this one serves nobody else.",
        right: "Answers 100 round trips of another client meanwhile.",
        on: STREAMS,
        when: When::Always,
        run: never_reads,
    },
    Case {
        name: "bounded-output",
        group: GROUP,
        why: "A server that goes on reading what it cannot answer holds it in memory, without a bound.",
        right: "Reads no more from a client that does not read, or closes the connection, long before tens of megabytes.",
        on: STREAMS,
        when: When::Always,
        run: bounded_output,
    },
    Case {
        name: "never-pauses",
        group: GROUP,
        why: "A client sends and reads without a pause. A server that reads until there is nothing left never leaves it.",
        right: "Answers 100 round trips of another client meanwhile.",
        on: STREAMS,
        when: When::Always,
        run: never_pauses,
    },
    Case {
        name: "waits-inside-a-message",
        group: GROUP,
        why: "Ten clients have sent half a message and wait. A server that blocks until a message is complete waits with them.",
        right: "Answers 100 round trips of another client meanwhile, and the ten when the rest has come.",
        on: MESSAGES,
        when: When::Always,
        run: waits_inside_a_message,
    },
    Case {
        name: "says-nothing",
        group: GROUP,
        why: "A connection that says nothing is not an error, and it is owed nothing: a banner that no one asked for is taken for \
              the first answer.",
        right: "Sends nothing on its own, serves others meanwhile, and serves this one when it speaks.",
        on: STREAMS,
        when: When::Always,
        run: says_nothing,
    },
];

/// Round trips of the other client.
const ROUND_TRIPS: usize = 100;

fn never_reads(scene: &Scene<'_>) -> Verdict {
    let mut other = scene.peer("other")?;
    other.ping()?;
    let mut peer = scene.small_peer("a")?;
    peer.flood(bound());
    other.pings(ROUND_TRIPS)?;
    scene.others_are_served()?;
    peer.reset();
    Ok(())
}

fn bounded_output(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.small_peer("a")?;
    let bound = bound();
    let mut other = scene.peer("other")?;
    let (mut taken, mut stalls) = (0, 0);
    // The server reads no more if it takes nothing though it had time to serve another client, three times in a row.
    while taken < bound && stalls < 3 {
        let more = peer.flood(bound - taken);
        stalls = if more == 0 { stalls + 1 } else { 0 };
        taken += more;
        other.pings(10)?;
    }
    peer.reset();
    if taken >= bound {
        return Err(Fail::wrong(
            "the server to stop reading, or to end the connection",
            format!("{} MiB were taken, and none of the answers was read", taken >> 20),
        ));
    }
    Ok(())
}

/// More than a server's kernel and a bounded buffer of its own hold for one connection: what the kernel allows for its two
/// socket buffers at most (tcp(7)), and as much again, and 32 MiB.
fn bound() -> u64 {
    let most = |name: &str| {
        let triple = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        triple.split_whitespace().nth(2).and_then(|most| most.parse().ok()).unwrap_or(6 << 20)
    };
    2 * (most("tcp_rmem") + most("tcp_wmem")) + (32 << 20)
}

fn never_pauses(scene: &Scene<'_>) -> Verdict {
    let mut other = scene.peer("other")?;
    other.ping()?;
    let mut peer = scene.peer("a")?;
    let payloads = scene.payloads(50, 1_000);
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let firehose = scope.spawn(|| peer.firehose(&payloads, &enough));
        let verdict = other.pings(ROUND_TRIPS);
        enough.store(true, Relaxed);
        // It has not panicked: nothing in it does.
        let firehose = firehose.join().unwrap_or(Ok(()));
        verdict.and(firehose)
    })
}

fn waits_inside_a_message(scene: &Scene<'_>) -> Verdict {
    let mut other = scene.peer("other")?;
    other.ping()?;
    let payload = scene.payload(20);
    let message = scene.target.message(&payload);
    let (begin, rest) = message.split_at(message.len() - 1);
    let mut peers = scene.peers("a", 10)?;
    peers.iter_mut().try_for_each(|peer| peer.send(begin))?;
    other.pings(ROUND_TRIPS)?;
    for peer in &mut peers {
        peer.send(rest)?;
        peer.expect_message(&payload)?;
    }
    Ok(())
}

fn says_nothing(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let mut other = scene.peer("other")?;
    other.pings(ROUND_TRIPS)?;
    peer.expect_nothing("before the client has sent anything")?;
    peer.ping()
}
