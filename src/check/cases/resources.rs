//! What only shows at the server's processes, so that these cases need `--server`. The last of them end it.

use rustix::process::Signal;

use super::{ALL_KINDS, ANNOUNCING, STREAMS};
use crate::{
    check::{
        case::{Case, When},
        peer::Peer,
        scene::Scene,
        subject::await_delivery,
        verdict::{Fail, Verdict},
    },
    load::server::descriptors,
};

const GROUP: &str = "resources";
const SHUTDOWN: &str = "shutdown";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "idle-uses-no-cpu",
        group: GROUP,
        why: "A server that has nothing to do and does it in a loop keeps a CPU busy and drains batteries. Level-triggered \
              readiness that is not asked off, or a poll with a time-out of 0, does that.",
        right: "Uses no CPU while its connections are idle.",
        on: ALL_KINDS,
        when: When::OwnServer,
        run: idle_uses_no_cpu,
    },
    Case {
        name: "blocked-uses-no-cpu",
        group: GROUP,
        why: "A client that does not read, and one that has sent FIN and still reads, stay \"ready\" for ever: for writing, for \
              reading, or for neither.",
        right: "Uses no CPU while it waits for them.",
        on: STREAMS,
        when: When::OwnServer,
        run: blocked_uses_no_cpu,
    },
    Case {
        name: "memory-follows-bytes",
        group: GROUP,
        why: "64 clients announce long messages and send a few bytes. A server that reserves what is announced gives its memory to \
              whoever asks.",
        right: "Grows by less than an eighth of what was announced.",
        on: ANNOUNCING,
        when: When::OwnServerAndLongMessages,
        run: memory_follows_bytes,
    },
    Case {
        name: "out-of-descriptors",
        group: GROUP,
        why: "accept(2) fails with EMFILE while the listener stays ready. A server ends then, or tries again without a pause.",
        right: "Goes on serving those that it has, and uses no CPU for those that it cannot accept.",
        on: STREAMS,
        when: When::OwnServer,
        run: out_of_descriptors,
    },
    Case {
        name: "descriptors-are-back",
        group: GROUP,
        why: "Nothing reports that a descriptor is free again. A server that waits for the next event of its listener leaves those \
              in the backlog there.",
        right: "Serves those that waited as others close (or has refused them), and new ones.",
        on: STREAMS,
        when: When::OwnServer,
        run: descriptors_are_back,
    },
    Case {
        name: "sigterm-in-flight",
        group: SHUTDOWN,
        why: "At every deployment a server is asked to stop while it works. What its host has acknowledged is lost if the process \
              just ends: the client sees RST, and cannot tell what was done.",
        right: "Answers what it had received when SIGTERM came, then closes each connection in order, and ends.",
        on: STREAMS,
        when: When::OwnServer,
        run: sigterm_in_flight,
    },
    Case {
        name: "sigterm-when-idle",
        group: SHUTDOWN,
        why: "A server that ignores SIGTERM, or waits for clients that have nothing to say, is killed after a while: by systemd after \
              90 s, by Kubernetes after 30 s.",
        right: "Closes its idle connections, and ends.",
        on: ALL_KINDS,
        when: When::OwnServer,
        run: sigterm_when_idle,
    },
];

fn rests(scene: &Scene<'_>, when: &str) -> Verdict {
    scene.script.note(format!("the server's use of the CPU is watched, {when}"));
    let subject = scene.subject()?.borrow();
    subject.await_rest(scene.timeout).map_err(|share| {
        let got = format!("{:.0} % of a CPU, and it never rested", share * 100.0);
        Fail::wrong(format!("hardly any use of the CPU {when}"), got)
    })
}

fn idle_uses_no_cpu(scene: &Scene<'_>) -> Verdict {
    let mut peers = scene.peers("a", 10)?;
    peers.iter_mut().try_for_each(Peer::ping)?;
    rests(scene, "while 10 connections are idle")?;
    peers.iter_mut().try_for_each(Peer::ping)
}

fn blocked_uses_no_cpu(scene: &Scene<'_>) -> Verdict {
    const FLOOD: u64 = 32 << 20;
    let mut blocked = scene.small_peer("blocked")?;
    blocked.flood(FLOOD);
    let mut finished = scene.small_peer("finished")?;
    finished.flood(FLOOD);
    finished.half_close()?;
    rests(scene, "while one client does not read, and another has sent FIN and does not read")?;
    blocked.reset();
    finished.reset();
    Ok(())
}

fn memory_follows_bytes(scene: &Scene<'_>) -> Verdict {
    const CLIENTS: u64 = 64;
    const LONG: u64 = 4 << 20;
    let length = scene.target.longest().min(LONG);
    let Some(head) = scene.target.announced(length) else { return Ok(()) };
    let mut other = scene.peer("other")?;
    other.ping()?;
    let before = scene.subject()?.borrow().anonymous_memory();
    let mut peers = scene.peers("a", usize::try_from(CLIENTS).unwrap_or(usize::MAX))?;
    peers.iter_mut().try_for_each(|peer| peer.send(&[&head[..], b"few"].concat()))?;
    // Each of these is read behind the announcements.
    other.pings(100)?;
    let after = scene.subject()?.borrow().anonymous_memory();
    let (grown, announced) = (after.saturating_sub(before), CLIENTS * length);
    scene.script.note(format!("the server has {} KiB more than before", grown >> 10));
    if grown > announced / 8 {
        return Err(Fail::wrong(
            format!("less than an eighth of the {} MiB that were announced", announced >> 20),
            format!("{} MiB more memory", grown >> 20),
        ));
    }
    Ok(())
}

/// How many more descriptors the server may open, and how many clients come.
const ROOM: u64 = 8;
const CLIENTS: usize = 40;

/// Runs `what` while the server has too few descriptors for its clients.
fn with_few_descriptors(
    scene: &Scene<'_>,
    what: impl FnOnce(&mut Peer, &mut [Peer]) -> Verdict,
) -> Verdict {
    let subject = scene.subject()?;
    let mut first = scene.peer("first")?;
    first.ping()?;
    let limits = subject.borrow().limit_descriptors(ROOM);
    if limits.is_empty() {
        return Err(Fail::Skipped(
            "the limit of its descriptors cannot be changed here".to_owned(),
        ));
    }
    scene.script.note(format!("the server may open {ROOM} more descriptors"));
    let verdict = (|| {
        let mut peers = Vec::new();
        for number in 1..=CLIENTS {
            peers.push(scene.bare_peer(&format!("a{number}"))?);
        }
        what(&mut first, &mut peers)
    })();
    descriptors::restore(&limits);
    scene.script.note("the limit is what it was before");
    verdict?;
    scene.others_are_served()
}

fn out_of_descriptors(scene: &Scene<'_>) -> Verdict {
    with_few_descriptors(scene, |first, _| {
        first.pings(20)?;
        rests(scene, "while clients wait that it has no descriptors for")?;
        first.ping()
    })
}

fn descriptors_are_back(scene: &Scene<'_>) -> Verdict {
    with_few_descriptors(scene, |first, peers| {
        first.pings(20)?;
        // In the order in which they came, so that there is room for each when its turn is.
        for peer in peers {
            peer.is_served_or_refused()?;
        }
        Ok(())
    })
}

fn sigterm_in_flight(scene: &Scene<'_>) -> Verdict {
    let subject = scene.subject()?;
    let mut peers = scene.peers("a", 5)?;
    peers.iter_mut().try_for_each(Peer::ping)?;
    // Stopped, so that all of it is in the server's kernel, and none in the server, when SIGTERM comes.
    scene.script.note("SIGSTOP: what comes now waits in the server's kernel");
    subject.borrow_mut().signal(Signal::STOP);
    let payloads = scene.payloads(20, 500);
    let sent = scene.messages(&payloads);
    let sending = peers.iter_mut().try_for_each(|peer| {
        peer.send(&sent)?;
        let delivered = peer.local_port().is_none_or(|port| await_delivery(port, scene.timeout));
        delivered
            .then_some(())
            .ok_or_else(|| Fail::Skipped("what was sent does not arrive".to_owned()))
    });
    scene.script.note("SIGTERM, then SIGCONT");
    subject.borrow_mut().signal(Signal::TERM);
    subject.borrow_mut().signal(Signal::CONT);
    sending?;
    for peer in &mut peers {
        payloads.iter().try_for_each(|payload| peer.expect_message(payload))?;
        peer.await_end()?;
    }
    drop(peers);
    ends(scene)
}

fn sigterm_when_idle(scene: &Scene<'_>) -> Verdict {
    let mut peers = scene.peers("a", 5)?;
    peers.iter_mut().try_for_each(Peer::ping)?;
    scene.script.note("SIGTERM");
    scene.subject()?.borrow_mut().signal(Signal::TERM);
    if scene.target.kind != crate::check::target::Kind::Udp {
        peers.iter_mut().try_for_each(Peer::await_end)?;
    }
    drop(peers);
    ends(scene)
}

fn ends(scene: &Scene<'_>) -> Verdict {
    if scene.subject()?.borrow().await_end(scene.timeout) {
        scene.script.note("the server has ended");
        return Ok(());
    }
    Err(Fail::wrong("the server to end", "it still runs"))
}
