//! What happened in a case, step by step, for its diagram. Of a long case only the first and the last steps are kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Since the case began.
    pub(super) at: Duration,
    /// The peer that it happened to; empty for what concerns none.
    pub(super) peer: String,
    pub(super) event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// From the peer to the server.
    Sent(String),
    /// From the server to the peer.
    Came(String),
    /// Done to the server or by the case itself.
    Note(String),
}

/// How many steps of each end are kept.
const FIRST: usize = 24;
const LAST: usize = 16;

/// Bytes of a step that are shown.
const SHOWN: usize = 12;

/// The record of one case; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Script {
    begun: Instant,
    steps: Arc<Mutex<Steps>>,
}

/// The steps that were kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    pub(super) first: Vec<Step>,
    /// How many there were between those in `first` and those in `last`.
    pub(super) left_out: u64,
    pub(super) last: VecDeque<Step>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), steps: Arc::default() }
    }

    pub(super) fn sent(&self, peer: &str, what: String) {
        self.add(peer, Event::Sent(what));
    }

    pub(super) fn came(&self, peer: &str, what: String) {
        self.add(peer, Event::Came(what));
    }

    pub(super) fn note(&self, what: impl Into<String>) {
        self.add("", Event::Note(what.into()));
    }

    fn add(&self, peer: &str, event: Event) {
        let step = Step { at: self.begun.elapsed(), peer: peer.to_owned(), event };
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.first.len() < FIRST {
            steps.first.push(step);
            return;
        }
        steps.last.push_back(step);
        if steps.last.len() > LAST {
            steps.last.pop_front();
            steps.left_out += 1;
        }
    }

    pub(super) fn steps(&self) -> Steps {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Bytes as a step shows them: `9 bytes: 05 00 00 00 68 65 6c 6c 6f "....hello"`, shortened.
pub(super) fn shown(bytes: &[u8]) -> String {
    let count = resound::plural::bytes(bytes.len() as u64);
    if bytes.is_empty() {
        return count.to_string();
    }
    let start = &bytes[..bytes.len().min(SHOWN)];
    let more = if start.len() < bytes.len() { "…" } else { "" };
    let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~');
    let text: String =
        start.iter().map(|byte| if is_text(byte) { char::from(*byte) } else { '.' }).collect();
    format!("{count}: {}{more} {text:?}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_script_keeps_its_ends() {
        let script = Script::new();
        for number in 0..100 {
            script.note(number.to_string());
        }
        let steps = script.steps();
        assert_eq!(steps.left_out, 100 - (FIRST + LAST) as u64);
        assert_eq!(steps.first[0].event, Event::Note("0".to_owned()));
        assert_eq!(steps.last.back().unwrap().event, Event::Note("99".to_owned()));
    }

    #[test]
    fn bytes_are_shortened() {
        assert_eq!(shown(b"\x02\0hi"), "4 bytes: 02 00 68 69 \"..hi\"");
        assert_eq!(shown(b""), "0 bytes");
        assert!(shown(&[b'a'; 100]).starts_with("100 bytes: 61 61"));
        assert!(shown(&[b'a'; 100]).ends_with("… \"aaaaaaaaaaaa\""));
    }
}
