//! Many connections.

use super::STREAMS;
use crate::check::{
    case::{Case, When},
    peer::Peer,
    scene::Scene,
    verdict::{Fail, Verdict},
};

const GROUP: &str = "connections";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a-thousand-connections",
        group: GROUP,
        why: "select(2) ends at descriptor 1,023, a small backlog at its length, and a thread for each connection at the memory.",
        right: "Accepts 1,000 connections and answers on each while all are open.",
        on: STREAMS,
        when: When::Always,
        run: a_thousand_connections,
    },
    Case {
        name: "one-after-the-other",
        group: GROUP,
        why: "A server that does not close its side, or forgets to free a slot, serves some number of clients and then no more.",
        right: "Serves 300 clients one after the other.",
        on: STREAMS,
        when: When::Always,
        run: one_after_the_other,
    },
    Case {
        name: "all-at-once",
        group: GROUP,
        why: "Many clients connect before the server looks. One event may stand for many connections, and a server that accepts \
              one for each event leaves the others in the backlog.",
        right: "Accepts and answers all 100, though none of them connects again.",
        on: STREAMS,
        when: When::Always,
        run: all_at_once,
    },
];

const MANY: usize = 1_000;

/// Descriptors that are no connections.
const OWN: u64 = 64;

fn a_thousand_connections(scene: &Scene<'_>) -> Verdict {
    if scene.descriptors < MANY as u64 + OWN {
        return Err(Fail::Skipped(format!(
            "only {} files can be open here; raise the limit (ulimit -n {})",
            scene.descriptors,
            MANY as u64 + OWN
        )));
    }
    let mut peers = scene.peers("a", MANY)?;
    peers.iter_mut().try_for_each(Peer::ping)?;
    // In another order, for what is kept in order of arrival.
    peers.iter_mut().rev().try_for_each(Peer::ping)
}

fn one_after_the_other(scene: &Scene<'_>) -> Verdict {
    for _ in 0..300 {
        let mut peer = scene.peer("a")?;
        peer.ping()?;
        peer.close();
    }
    Ok(())
}

fn all_at_once(scene: &Scene<'_>) -> Verdict {
    let mut peers = Vec::new();
    for number in 1..=100 {
        peers.push(scene.bare_peer(&format!("a{number}"))?);
    }
    for peer in &mut peers {
        peer.greet()?;
    }
    // Those that came last first: what waits in the backlog behind them shows.
    peers.iter_mut().rev().try_for_each(Peer::ping)
}
