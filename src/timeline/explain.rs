//! `--explain`: what happens on a connection, in sentences, from its events.

use std::{collections::HashMap, fmt::Write};

use resound::{
    Begun, ConnectionState, Deadline, Event, Token,
    plural::{Plural, bytes},
};

/// What the connections of one listener speak.
#[derive(Debug, Clone)]
pub(crate) struct Spoken {
    /// As `listening on` shows it.
    pub(crate) shown: String,
    /// What a unit is called, one and many; `None` if there are only bytes.
    pub(crate) unit: Option<[&'static str; 2]>,
    /// How many bytes of a unit are not payload, if that is always the same.
    pub(crate) head: Option<u64>,
    /// Whether the bytes are those of TLS, and not of the units inside.
    pub(crate) is_encrypted: bool,
}

/// Frames, one and many.
pub(crate) const FRAMES: [&str; 2] = ["frame", "frames"];

/// HTTP's requests, one and many.
pub(crate) const REQUESTS: [&str; 2] = ["request", "requests"];

/// Explains the events of one loop.
#[derive(Debug, Default)]
pub(crate) struct Explainer {
    /// Listeners and UDP sockets, by their tokens.
    spoken: HashMap<Token, Spoken>,
    connections: HashMap<Token, Told>,
}

/// What was told of a connection.
#[derive(Debug, Default)]
struct Told {
    listener: Option<Token>,
    begun: Begun,
    held: u64,
    owed: u64,
    /// What has happened in this turn.
    turn: Turn,
}

#[derive(Debug, Default)]
struct Turn {
    reads: u64,
    read: u64,
    consumed: u64,
    frames: u64,
    /// Writes of what was owed before, and their bytes.
    flushes: u64,
    flushed: u64,
    /// Other writes, and their bytes.
    writes: u64,
    written: u64,
    is_blocked: bool,
    /// What else there is to say, before and behind the bytes.
    first: String,
    last: String,
}

impl Explainer {
    /// For a loop with these listeners.
    pub(crate) fn new(spoken: impl IntoIterator<Item = (Token, Spoken)>) -> Self {
        Self { spoken: spoken.into_iter().collect(), connections: HashMap::new() }
    }

    /// What there is to say once this has happened: at the end of a turn, nearly always.
    pub(crate) fn hear(&mut self, token: Token, event: Event) -> Option<String> {
        match event {
            Event::Opened { peer, listener } => {
                let listener = Token::new(listener.into(), 0);
                let mut text = format!("{peer} has connected to {}.", self.shown(listener));
                if self.spoken.get(&listener).is_some_and(|spoken| spoken.is_encrypted) {
                    text += " All bytes are counted as TLS has them.";
                }
                self.connections
                    .insert(token, Told { listener: Some(listener), ..Told::default() });
                return Some(text);
            }
            Event::Adopted { peer, listener } => {
                let listener = Some(Token::new(listener.into(), 0));
                self.connections.insert(token, Told { listener, ..Told::default() });
                return Some(format!("The connection of {peer} came from another process."));
            }
            Event::Datagram { source, bytes: length } => {
                let shown = self.shown(token);
                return Some(format!("{} came from {source} to {shown}.", bytes(length)));
            }
            Event::DatagramSent { bytes: length } => {
                return Some(format!("{} went back as one datagram.", bytes(length)));
            }
            Event::DatagramDropped => return Some("The datagram gets no answer.".to_owned()),
            Event::TurnEnded { state, begun, held, owed } if token.generation() > 0 => {
                let told = self.connections.entry(token).or_default();
                let spoken = told.listener.and_then(|listener| self.spoken.get(&listener));
                let text = told.turn_ended(spoken, state, begun, held, owed);
                return Some(text).filter(|text| !text.is_empty());
            }
            Event::Closed { reason, received, sent, frames: count, .. } => {
                let told = self.connections.remove(&token).unwrap_or_default();
                let spoken = told.listener.and_then(|listener| self.spoken.get(&listener));
                let unit = spoken.and_then(|spoken| spoken.unit);
                let mut text = told.turn.first + &told.turn.last;
                let _ = write!(text, "Closed {}. In all ", reason.as_str());
                let _ = write!(text, "{} came and {} went out", bytes(received), bytes(sent));
                if let Some(words) = unit {
                    let _ = write!(text, ", for {}", Plural(count, words));
                }
                return Some(text + ".");
            }
            _ => {}
        }
        if let Some(told) = self.connections.get_mut(&token) {
            told.hear(event);
        }
        None
    }
}

impl Explainer {
    /// The name of a listener.
    fn shown(&self, listener: Token) -> &str {
        self.spoken.get(&listener).map_or("the server", |spoken| &spoken.shown)
    }
}

impl Told {
    fn hear(&mut self, event: Event) {
        let Self { turn, owed, .. } = self;
        match event {
            Event::Introduced { peer } => {
                turn.last += &format!("The proxy says that the peer is {peer}. ");
            }
            Event::Read { bytes, .. } => {
                turn.reads += 1;
                turn.read += u64::from(bytes);
            }
            Event::ReadEof => turn.last += "The peer has sent FIN: it will send nothing more. ",
            Event::Answered { consumed, frames, .. } => {
                turn.consumed += consumed;
                turn.frames += frames;
            }
            Event::Wrote { bytes, .. } if *owed > 0 && turn.reads == 0 => {
                turn.flushes += 1;
                turn.flushed += u64::from(bytes);
            }
            Event::Wrote { bytes, .. } => {
                turn.writes += 1;
                turn.written += u64::from(bytes);
            }
            Event::WriteBlocked { .. } => turn.is_blocked = true,
            Event::Acknowledged => {
                turn.last +=
                    "The server acknowledges them at once, because no reply goes out yet. ";
            }
            Event::BudgetSpent => {
                turn.last += "That is enough for one turn: other connections come first now. ";
            }
            Event::FinSent => turn.last += "The server has sent FIN, and waits for the peer's. ",
            Event::CutShort { held } => {
                turn.last +=
                    &format!("That was inside a frame, of which {} had come. ", bytes(held));
            }
            Event::Lost { .. } => turn.last += &format!("The connection is lost: {event}. "),
            Event::Expired(deadline) => turn.first += expired(deadline),
            _ => {}
        }
    }

    /// All that there is to say of a turn.
    fn turn_ended(
        &mut self,
        spoken: Option<&Spoken>,
        state: ConnectionState,
        begun: Begun,
        held: u64,
        owed: u64,
    ) -> String {
        let turn = std::mem::take(&mut self.turn);
        let mut text = turn.first.clone();
        if turn.flushes > 0 {
            text += &match self.owed.saturating_sub(turn.flushed) {
                0 => format!(
                    "The {} that were owed have gone out, {}. ",
                    bytes(self.owed),
                    in_writes(turn.flushes)
                ),
                left => format!(
                    "{} of the {} that were owed have gone out. ",
                    turn.flushed,
                    bytes(left + turn.flushed)
                ),
            };
        }
        if turn.reads > 0 {
            text += &format!("{} came", bytes(turn.read));
            if turn.reads > 1 {
                text += &format!(", in {} reads", turn.reads);
            }
            text += ". ";
            text += &self.units(&turn, spoken, state, begun, held);
        }
        let is_unit = spoken.is_none_or(|spoken| spoken.unit.is_some());
        text += &replies(&turn, owed, is_unit);
        if turn.reads > 0 && state == ConnectionState::Open {
            text += &match held {
                0 if owed == 0 => "Nothing is left. ".to_owned(),
                0 => String::new(),
                _ if turn.frames == 0 => String::new(),
                _ => format!(
                    "{} {} left: the beginning of the next one, which waits for its rest. ",
                    bytes(held),
                    if held == 1 { "is" } else { "are" }
                ),
            };
        }
        text += &turn.last;
        (self.begun, self.held, self.owed) = (begun, held, owed);
        text.truncate(text.trim_end().len());
        text
    }

    /// What the bytes are that came.
    fn units(
        &self,
        turn: &Turn,
        spoken: Option<&Spoken>,
        state: ConnectionState,
        begun: Begun,
        held: u64,
    ) -> String {
        let unit = spoken.map_or(Some(FRAMES), |spoken| spoken.unit);
        let they_are = if turn.read == 1 { "It is" } else { "They are" };
        let mut text = String::new();
        // The handshake of HTTP is the head of its first request.
        if self.begun == Begun::Handshake && unit != Some(REQUESTS) {
            if begun == Begun::Handshake {
                return "The handshake is not complete: its rest must come. ".to_owned();
            }
            text += "The handshake is complete. ";
            if turn.frames == 0 {
                return text;
            }
        }
        let Some(words) = unit else { return text };
        let [one, _] = words;
        let is_ending = matches!(state, ConnectionState::Finishing | ConnectionState::Lingering);
        if turn.frames == 0 && turn.consumed == 0 && is_ending {
            return format!("{text}{they_are} no {one} that is allowed here; the log says why. ");
        }
        if turn.frames == 0 {
            return text
                + &match (self.held, held) {
                    (_, 0) => String::new(),
                    (0, _) => format!("{they_are} not a whole {one} yet: the rest must come. "),
                    _ => format!("The {one} is still not whole: {} of it have come. ", bytes(held)),
                };
        }
        text += &match (self.held, held) {
            (0, 0) => they_are.to_owned(),
            (0, _) => format!("{} of them are", turn.consumed),
            (before, 0) => {
                format!(
                    "With the {} that had come before {}",
                    bytes(before),
                    they_are.to_lowercase()
                )
            }
            (before, _) => format!(
                "With the {} that had come before, {} are",
                bytes(before),
                bytes(turn.consumed)
            ),
        };
        let plain = spoken.filter(|spoken| !spoken.is_encrypted);
        let payload = plain.and_then(|spoken| turn.consumed.checked_sub(spoken.head?));
        text += &match (turn.frames, payload) {
            (1, Some(payload)) => format!(" one whole {one} of {}. ", bytes(payload)),
            (1, None) => format!(" one whole {one}. "),
            (count, _) => format!(" {count} whole {}. ", words[1]),
        };
        text
    }
}

/// What went out in answer.
fn replies(turn: &Turn, owed: u64, is_unit: bool) -> String {
    let mut text = String::new();
    let is_echo = turn.written + owed == turn.consumed;
    let it = if turn.frames == 1 && is_unit { "It" } else { "They" };
    if owed > 0 && turn.is_blocked {
        if turn.written > 0 {
            let of = turn.written + owed;
            text += &format!("The kernel has taken {} of {of} B of the reply. ", turn.written);
        }
        text += &format!(
            "Its buffer is full, because the peer does not read: {} are owed, and nothing is read until they have gone. ",
            bytes(owed)
        );
    } else if owed > 0 && turn.reads > 0 {
        text += &format!("{} of the reply are to leave later. ", bytes(owed));
    } else if turn.writes > 0 && turn.reads == 0 {
        text += &format!("The server has sent {}. ", bytes(turn.written));
    } else if turn.writes > 0 && is_echo {
        text += &format!("{it} went back {}. ", in_writes(turn.writes));
    } else if turn.writes > 0 {
        let reply = bytes(turn.written);
        text += &format!("A reply of {reply} went out {}. ", in_writes(turn.writes));
    }
    text
}

fn in_writes(writes: u64) -> String {
    if writes == 1 { "in one write".to_owned() } else { format!("in {writes} writes") }
}

const fn expired(deadline: Deadline) -> &'static str {
    match deadline {
        Deadline::Idle => "Nothing has happened for too long (--idle-timeout). ",
        Deadline::Write => "The peer has taken nothing for too long (--write-timeout). ",
        Deadline::Linger => "The peer's FIN has not come in time. ",
        Deadline::Handshake => "The handshake has taken too long (--handshake-timeout). ",
        Deadline::Frame => "The rest of the frame has not come in time (--frame-timeout). ",
        _ => "A time is over. ",
    }
}

/// Events that were overwritten before they could be explained.
pub(crate) fn left_out(events: u64) -> String {
    format!("{} came faster than they can be described.", Plural(events, ["event", "events"]))
}

#[cfg(test)]
mod tests {
    use resound::{Doing, Peer, Reason};

    use super::*;

    const LISTENER: Token = Token::new(0, 0);
    const TOKEN: Token = Token::new(0, 1);

    fn explainer(spoken: Spoken) -> Explainer {
        Explainer::new([(LISTENER, spoken)])
    }

    fn frames() -> Spoken {
        let shown = "frames://127.0.0.1:30000".to_owned();
        Spoken { shown, unit: Some(["frame", "frames"]), head: Some(4), is_encrypted: false }
    }

    fn read(bytes: u32) -> Event {
        Event::Read { bytes, room: 1_000_000 }
    }

    fn answered(consumed: u64, frames: u64) -> Event {
        Event::Answered { consumed, frames, begun: Begun::Nothing }
    }

    fn wrote(bytes: u32) -> Event {
        Event::Wrote { bytes, of: bytes.into() }
    }

    fn ended(held: u64, owed: u64) -> Event {
        let begun = if held > 0 { Begun::Frame } else { Begun::Nothing };
        Event::TurnEnded { state: ConnectionState::Open, begun, held, owed }
    }

    /// What is said of each of these turns.
    fn said(spoken: Spoken, turns: &[(&[Event], &str)]) {
        let mut explainer = explainer(spoken);
        let peer = Peer::Tcp(([127, 0, 0, 1], 42480).into());
        explainer.hear(TOKEN, Event::Opened { peer, listener: 0 });
        assert_eq!(explainer.hear(TOKEN, ended(0, 0)), None);
        for (events, expected) in turns {
            let lines: Vec<String> =
                events.iter().filter_map(|&event| explainer.hear(TOKEN, event)).collect();
            assert_eq!(lines.join(" | "), *expected, "{events:?}");
        }
    }

    #[test]
    fn whole_frames_and_parts_of_them() {
        said(
            frames(),
            &[
                (
                    &[read(9), answered(9, 1), wrote(9), ended(0, 0)],
                    "9 bytes came. They are one whole frame of 5 bytes. It went back in one write. Nothing is left.",
                ),
                (
                    &[read(15), answered(9, 1), wrote(9), ended(6, 0)],
                    "15 bytes came. 9 of them are one whole frame of 5 bytes. It went back in one write. \
                     6 bytes are left: the beginning of the next one, which waits for its rest.",
                ),
                (
                    &[read(3), answered(9, 1), wrote(9), ended(0, 0)],
                    "3 bytes came. With the 6 bytes that had come before they are one whole frame of 5 bytes. \
                     It went back in one write. Nothing is left.",
                ),
                (
                    &[read(1), answered(0, 0), ended(1, 0)],
                    "1 byte came. It is not a whole frame yet: the rest must come.",
                ),
                (
                    &[read(1), answered(0, 0), ended(2, 0)],
                    "1 byte came. The frame is still not whole: 2 bytes of it have come.",
                ),
                (
                    &[read(600), read(20), answered(616, 77), wrote(600), wrote(16), ended(6, 0)],
                    "620 bytes came, in 2 reads. With the 2 bytes that had come before, 616 bytes are 77 whole frames. \
                     They went back in 2 writes. 6 bytes are left: the beginning of the next one, which waits for its rest.",
                ),
                (&[ended(6, 0)], ""),
                (
                    &[
                        Event::ReadEof,
                        Event::CutShort { held: 6 },
                        Event::TurnEnded {
                            state: ConnectionState::HalfClosed,
                            begun: Begun::Nothing,
                            held: 0,
                            owed: 0,
                        },
                        Event::Closed {
                            reason: Reason::PeerClosed,
                            received: 648,
                            sent: 643,
                            frames: 80,
                            peer: None,
                        },
                    ],
                    "The peer has sent FIN: it will send nothing more. That was inside a frame, of which 6 bytes had come. | \
                     Closed by the peer. In all 648 bytes came and 643 bytes went out, for 80 frames.",
                ),
            ],
        );
    }

    #[test]
    fn a_peer_that_does_not_read_and_then_does() {
        let blocked = Event::WriteBlocked { left: 60 };
        said(
            frames(),
            &[
                (
                    &[
                        read(100),
                        answered(100, 1),
                        Event::Wrote { bytes: 40, of: 100 },
                        blocked,
                        ended(0, 60),
                    ],
                    "100 bytes came. They are one whole frame of 96 bytes. The kernel has taken 40 of 100 B of the reply. \
                     Its buffer is full, because the peer does not read: 60 bytes are owed, and nothing is read until they \
                     have gone.",
                ),
                (
                    &[Event::Wrote { bytes: 20, of: 60 }, blocked, ended(0, 40)],
                    "20 of the 60 bytes that were owed have gone out. Its buffer is full, because the peer does not read: \
                     40 bytes are owed, and nothing is read until they have gone.",
                ),
                (
                    &[wrote(40), Event::ReadBlocked, ended(0, 0)],
                    "The 40 bytes that were owed have gone out, in one write.",
                ),
                (
                    &[
                        Event::Expired(Deadline::Frame),
                        Event::FinSent,
                        Event::Lost { doing: Doing::Read, errno: 104 },
                        ended(0, 0),
                    ],
                    "The rest of the frame has not come in time (--frame-timeout). The server has sent FIN, and waits for \
                     the peer's. The connection is lost: read: Connection reset by peer (os error 104).",
                ),
            ],
        );
    }

    #[test]
    fn bytes_handshakes_and_replies_of_another_length() {
        let shown = "ws://127.0.0.1:81".to_owned();
        let messages =
            Spoken { shown, unit: Some(["message", "messages"]), head: None, is_encrypted: false };
        let handshake = Begun::Handshake;
        let part =
            Event::TurnEnded { state: ConnectionState::Open, begun: handshake, held: 10, owed: 0 };
        let refused = Event::TurnEnded {
            state: ConnectionState::Lingering,
            begun: Begun::Nothing,
            held: 0,
            owed: 0,
        };
        said(
            messages,
            &[
                (
                    &[Event::TurnEnded {
                        state: ConnectionState::Open,
                        begun: handshake,
                        held: 0,
                        owed: 0,
                    }],
                    "",
                ),
                (
                    &[read(10), answered(0, 0), part],
                    "10 bytes came. The handshake is not complete: its rest must come.",
                ),
                (
                    &[read(90), answered(100, 0), wrote(129), ended(0, 0)],
                    "90 bytes came. The handshake is complete. A reply of 129 bytes went out in one write. Nothing is left.",
                ),
                (
                    &[read(4), answered(0, 0), Event::FinSent, refused],
                    "4 bytes came. They are no message that is allowed here; the log says why. The server has sent FIN, \
                     and waits for the peer's.",
                ),
            ],
        );
        let raw = Spoken {
            shown: "raw://127.0.0.1:7".to_owned(),
            unit: None,
            head: None,
            is_encrypted: false,
        };
        said(
            raw,
            &[(
                &[read(5), answered(5, 1), wrote(5), ended(0, 0)],
                "5 bytes came. They went back in one write. Nothing is left.",
            )],
        );
        let frames = Spoken { is_encrypted: true, ..frames() };
        said(
            frames,
            &[(
                &[read(31), answered(31, 1), wrote(31), ended(0, 0)],
                // The length of its payload is not known.
                "31 bytes came. They are one whole frame. It went back in one write. Nothing is left.",
            )],
        );
        let shown = "http://127.0.0.1:80".to_owned();
        let http =
            Spoken { shown, unit: Some(["request", "requests"]), head: None, is_encrypted: false };
        let begun =
            Event::TurnEnded { state: ConnectionState::Open, begun: handshake, held: 0, owed: 0 };
        said(
            http,
            &[
                (&[begun], ""),
                (
                    &[read(10), answered(0, 0), part],
                    "10 bytes came. They are not a whole request yet: the rest must come.",
                ),
                (
                    &[read(30), answered(40, 1), wrote(123), ended(0, 0)],
                    "30 bytes came. With the 10 bytes that had come before they are one whole \
                     request. A reply of 123 bytes went out in one write. Nothing is left.",
                ),
            ],
        );
    }
}
