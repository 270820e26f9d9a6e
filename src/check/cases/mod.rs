//! All cases, in the order in which they run.

mod connections;
mod datagrams;
mod echo;
mod fairness;
mod half_close;
mod http;
mod limits;
mod reset;
mod resources;
mod segments;
mod websocket;

use super::{case::Case, target::Kind};

const ALL_KINDS: &[Kind] =
    &[Kind::Frames, Kind::Lines, Kind::Raw, Kind::WebSocket, Kind::Http, Kind::Udp];
/// What runs over connections.
const STREAMS: &[Kind] = &[Kind::Frames, Kind::Lines, Kind::Raw, Kind::WebSocket, Kind::Http];
/// Those of them in which a message has a beginning and an end.
const MESSAGES: &[Kind] = &[Kind::Frames, Kind::Lines, Kind::WebSocket, Kind::Http];
/// Those of them whose messages announce a length.
const ANNOUNCING: &[Kind] = &[Kind::Frames, Kind::WebSocket, Kind::Http];
const FRAMES: &[Kind] = &[Kind::Frames];
const LINES: &[Kind] = &[Kind::Lines];
const WEBSOCKET: &[Kind] = &[Kind::WebSocket];
const HTTP: &[Kind] = &[Kind::Http];
const UDP: &[Kind] = &[Kind::Udp];

/// All cases, group by group. Those that end the server are the last.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        echo::CASES,
        segments::CASES,
        limits::CASES,
        half_close::CASES,
        reset::CASES,
        fairness::CASES,
        connections::CASES,
        websocket::CASES,
        http::CASES,
        datagrams::CASES,
        resources::CASES,
    ]
    .into_iter()
    .flatten()
}

/// The names of the groups, in order.
pub(crate) fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = all().map(|case| case.group).collect();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_no_case_is_named_like_a_group() {
        let names: Vec<&str> = all().map(|case| case.name).chain(groups()).collect();
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        assert!(all().count() >= 50, "{}", all().count());
    }

    #[test]
    fn each_case_says_why_in_a_sentence() {
        for case in all() {
            for text in [case.why, case.right] {
                assert!(text.ends_with('.') && text.len() >= 10, "{}: {text}", case.name);
            }
        }
    }
}
