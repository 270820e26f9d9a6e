//! What a loop was doing, from its events: spans that lie in each other, frames, and counters.
//!
//! A record says when something was done, and not when it began. It began where the record before ended: the loop does
//! one thing at a time.
//!
//! ```text
//!  records   Polled   Ready     Read   Answered   Wrote   TurnEnded
//!  spans    ─poll┤    ├───────────────── turn ────────────────────┤
//!                     ├─ read ──┤ protocol ┤─ write ──┤
//! ```

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write,
};

use resound::{Event, Recorded, Token};

use super::{
    Body, Entry, Lane,
    frames::{Batch, Frames},
};

/// The keys of UDP sockets begin here.
const FIRST_DATAGRAMS: usize = 1 << 16;

/// How many frames were completed.
pub(super) fn frames(lane: &Lane) -> u64 {
    let of = |one: &Recorded| match one.event {
        Event::Answered { frames, .. } => frames,
        Event::DatagramSent { .. } => 1,
        _ => 0,
    };
    lane.events.iter().map(of).sum()
}

/// The timeline of the loop with that `index`, in no order. With `each` every frame has a span of its own, otherwise all
/// frames of one read share one. `ids` is the last number that names a frame.
pub(super) fn entries(lane: &Lane, index: usize, each: bool, ids: &mut u64) -> Vec<Entry> {
    let first = lane.events.first().map_or(0, nanoseconds);
    let mut timeline = Timeline {
        lane,
        index,
        each,
        ids,
        entries: Vec::new(),
        cursor: if lane.lost == 0 { 0 } else { first },
        open: Vec::new(),
        connections: HashMap::new(),
        datagrams: HashMap::new(),
        owed: 0,
        held: 0,
        shown: HashMap::new(),
    };
    for one in &lane.events {
        timeline.add(one);
    }
    timeline.finish();
    timeline.entries
}

struct Timeline<'l> {
    lane: &'l Lane,
    index: usize,
    each: bool,
    ids: &'l mut u64,
    entries: Vec<Entry>,
    /// The time of the last record.
    cursor: u64,
    /// Spans that have not ended: a listener's or a UDP socket's turn, and in it or alone a connection's.
    open: Vec<Open>,
    connections: HashMap<Token, Connection>,
    /// When the datagrams came that a UDP socket is answering.
    datagrams: HashMap<Token, VecDeque<u64>>,
    owed: u64,
    held: u64,
    /// The counters as they were written last.
    shown: HashMap<&'static str, u64>,
}

struct Open {
    name: &'static str,
    token: Token,
    since: u64,
    args: String,
}

#[derive(Default)]
struct Connection {
    frames: Frames,
    held: u64,
    owed: u64,
}

impl Timeline<'_> {
    fn add(&mut self, one: &Recorded) {
        let (time, token) = (nanoseconds(one), one.token);
        match one.event {
            Event::Polled { events, open, queued } => {
                self.end_all();
                self.slice(time, "poll", None, format!(r#""events":{events}"#));
                self.count(time, "open", open.into());
                self.count(time, "run queue", queued.into());
            }
            Event::Commanded { commands } => {
                self.end_all();
                self.slice(time, "commands", None, format!(r#""commands":{commands}"#));
            }
            Event::Ready(readiness) => {
                let [readable, writable, more] =
                    [readiness.readable, readiness.writable, readiness.more_behind];
                let args = format!(
                    r#""cause":"event","readable":{readable},"writable":{writable},"more_behind":{more}"#
                );
                self.begin(time, token, args);
            }
            Event::Resumed => self.begin(time, token, r#""cause":"run queue""#.to_owned()),
            Event::Called => self.begin(time, token, r#""cause":"timer""#.to_owned()),
            Event::Expired(deadline) => {
                self.begin(time, token, format!(r#""cause":"{} timeout""#, deadline.as_str()));
            }
            Event::Opened { peer, listener } => {
                let listener = self.name_of(Token::new(listener.into(), 0));
                let args = format!(r#""peer":"{peer}","listener":{listener}"#);
                self.slice(time, "open", Some(token), args);
                let cause = r#""cause":"opened""#.to_owned();
                self.open.push(Open { name: "turn", token, since: time, args: cause });
            }
            Event::Adopted { peer, listener } => {
                let listener = self.name_of(Token::new(listener.into(), 0));
                self.instant(
                    time,
                    "taken over",
                    token,
                    format!(r#""peer":"{peer}","listener":{listener}"#),
                );
            }
            Event::Connected { peer } => {
                self.instant(time, "connected", token, format!(r#""peer":"{peer}""#));
            }
            Event::Introduced { peer } => {
                self.instant(time, "introduced", token, format!(r#""peer":"{peer}""#));
            }
            Event::Accepted { connections } => {
                self.end(time, token, &format!(r#","accepted":{connections}"#));
            }
            Event::Read { bytes, room } => {
                let began = self.cursor;
                self.connection(token).frames.read(began);
                self.slice(time, "read", Some(token), format!(r#""bytes":{bytes},"room":{room}"#));
            }
            Event::ReadEof => {
                self.slice(time, "read", Some(token), r#""bytes":0,"eof":true"#.to_owned());
            }
            Event::ReadBlocked => {
                let args = r#""bytes":0,"would_block":true"#.to_owned();
                self.slice(time, "read", Some(token), args);
            }
            Event::Answered { consumed, frames, begun } => {
                let began = self.cursor;
                let turn = self.turn_of(token).unwrap_or(began);
                self.connection(token).frames.answered([began, time], turn, frames, begun);
                let args = format!(r#""consumed":{consumed},"frames":{frames}"#);
                self.slice(time, "protocol", Some(token), args);
            }
            Event::Wrote { bytes, of } => {
                let began = self.cursor;
                let args = format!(r#""bytes":{bytes},"of":{of}"#);
                self.slice(time, "write", Some(token), args);
                if u64::from(bytes) == of {
                    self.replied(token, began, time);
                }
            }
            Event::WriteBlocked { left } => {
                let args = format!(r#""bytes":0,"would_block":true,"left":{left}"#);
                self.slice(time, "write", Some(token), args);
            }
            Event::FinSent => self.slice(time, "send FIN", Some(token), String::new()),
            Event::Acknowledged => {
                self.instant(time, "acknowledged at once", token, String::new());
            }
            Event::BudgetSpent => self.instant(time, "budget spent", token, String::new()),
            Event::CutShort { held } => {
                self.instant(time, "cut short", token, format!(r#""held":{held}"#));
            }
            Event::Lost { doing, errno } => {
                let args = format!(r#""doing":"{}","errno":{errno}"#, doing.as_str());
                self.instant(time, "lost", token, args);
            }
            Event::TurnEnded { state, held, owed, .. } => {
                self.end(
                    time,
                    token,
                    &format!(r#","state":"{}","held":{held},"owed":{owed}"#, state.as_str()),
                );
                if token.generation() > 0 {
                    self.hold(time, token, held, owed);
                } else if owed == 0 {
                    // Those that a fault has dropped stay unanswered.
                    self.datagrams.remove(&token);
                }
            }
            Event::Closed { reason, received, sent, frames, .. } => {
                self.abandon(time, token);
                let args = format!(
                    r#""reason":"{}","received":{received},"sent":{sent},"frames":{frames}"#,
                    reason.as_str()
                );
                self.slice(time, "close", Some(token), args);
            }
            Event::Datagram { source, bytes } => {
                self.datagrams.entry(token).or_default().push_back(self.cursor);
                let args = format!(r#""bytes":{bytes},"peer":"{source}""#);
                self.slice(time, "read", Some(token), args);
            }
            Event::DatagramSent { bytes } => {
                let came = self.datagrams.get_mut(&token).and_then(VecDeque::pop_front);
                let began = came.unwrap_or(self.cursor);
                self.slice(time, "write", Some(token), format!(r#""bytes":{bytes}"#));
                self.frame(token, began, time, 1, None);
            }
            Event::DatagramDropped => {
                // The guard drops the last that has come. One that cannot be sent has come with it.
                self.datagrams.get_mut(&token).and_then(VecDeque::pop_back);
                self.instant(time, "datagram dropped", token, String::new());
            }
            // Later versions of the library record more.
            _ => self.instant(time, "event", token, String::new()),
        }
        self.cursor = time;
    }

    /// What is not finished at the end of the recording ends there.
    fn finish(&mut self) {
        self.end_all();
        let waiting: Vec<Token> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.frames.is_waiting())
            .map(|(token, _)| *token)
            .collect();
        for token in waiting {
            for batch in self.connection(token).frames.end() {
                self.batch(token, batch, self.cursor, Some("at the end of the recording"));
            }
        }
    }

    fn connection(&mut self, token: Token) -> &mut Connection {
        self.connections.entry(token).or_default()
    }

    fn push(&mut self, time: u64, body: Body) {
        self.entries.push(Entry { time, body });
    }

    /// A span from the record before until now.
    fn slice(&mut self, time: u64, name: &'static str, token: Option<Token>, args: String) {
        let length = time.saturating_sub(self.cursor);
        let depth = u8::try_from(self.open.len()).unwrap_or(u8::MAX);
        self.push(self.cursor, Body::Slice { name, length, depth, token, args });
    }

    fn instant(&mut self, time: u64, name: &'static str, token: Token, args: String) {
        self.push(time, Body::Instant { name, token, args });
    }

    fn count(&mut self, time: u64, name: &'static str, value: u64) {
        if self.shown.insert(name, value) != Some(value) {
            self.push(time, Body::Counter { name, value });
        }
    }

    /// A turn begins. It is none of those that are open, which have ended.
    fn begin(&mut self, time: u64, token: Token, args: String) {
        self.end_all();
        let name = match token.key() {
            _ if token.generation() > 0 => "turn",
            key if key >= FIRST_DATAGRAMS => "datagrams",
            _ => "accept",
        };
        self.open.push(Open { name, token, since: time, args });
    }

    /// When the turn of this connection began.
    fn turn_of(&self, token: Token) -> Option<u64> {
        let turn = self.open.last().filter(|open| open.token == token)?;
        Some(turn.since)
    }

    /// The turn of `token` ends. Turns in it have ended, too.
    fn end(&mut self, time: u64, token: Token, more: &str) {
        if !self.open.iter().any(|open| open.token == token) {
            return;
        }
        while let Some(open) = self.open.pop() {
            let is_it = open.token == token;
            let (until, more) = if is_it { (time, more) } else { (self.cursor, "") };
            self.close(open, until, more);
            if is_it {
                break;
            }
        }
    }

    fn end_all(&mut self) {
        while let Some(open) = self.open.pop() {
            self.close(open, self.cursor, "");
        }
    }

    fn close(&mut self, open: Open, until: u64, more: &str) {
        let Open { name, token, since, mut args } = open;
        let _ = args.write_str(more);
        let depth = u8::try_from(self.open.len()).unwrap_or(u8::MAX);
        let (length, token) = (until.saturating_sub(since), Some(token));
        self.push(since, Body::Slice { name, length, depth, token, args });
    }

    /// A turn of a connection has ended with so many bytes.
    fn hold(&mut self, time: u64, token: Token, held: u64, owed: u64) {
        let connection = self.connections.entry(token).or_default();
        let was = (connection.held, connection.owed);
        (connection.held, connection.owed) = (held, owed);
        self.held = self.held + held - was.0;
        self.owed = self.owed + owed - was.1;
        self.count(time, "held", self.held);
        self.count(time, "owed", self.owed);
        if owed == 0 {
            // Frames without a reply.
            for batch in self.connection(token).frames.end() {
                self.batch(token, batch, batch.answered, None);
            }
        }
    }

    /// All replies have left with the write that began at `began`.
    fn replied(&mut self, token: Token, began: u64, time: u64) {
        for batch in self.connection(token).frames.end() {
            self.batch(token, batch, time, None);
            *self.ids += 1;
            let id = *self.ids;
            self.push(batch.turn, Body::FlowStart { id });
            self.push(began, Body::FlowEnd { id });
        }
    }

    /// A connection is closed, whatever it owes.
    fn abandon(&mut self, time: u64, token: Token) {
        if self.turn_of(token).is_some() {
            self.end(self.cursor, token, "");
        }
        self.hold_nothing(time, token);
        self.connections.remove(&token);
    }

    fn hold_nothing(&mut self, time: u64, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let why = (connection.owed > 0).then_some("the connection was closed");
        for batch in connection.frames.end() {
            self.batch(token, batch, time, why);
        }
        self.hold(time, token, 0, 0);
    }

    fn batch(&mut self, token: Token, batch: Batch, end: u64, unsent: Option<&'static str>) {
        if !self.each {
            return self.frame(token, batch.first, end, batch.count, unsent);
        }
        self.frame(token, batch.first, end, 1, unsent);
        for _ in 1..batch.count {
            self.frame(token, batch.others, end, 1, unsent);
        }
    }

    fn frame(
        &mut self,
        token: Token,
        begin: u64,
        end: u64,
        frames: u64,
        unsent: Option<&'static str>,
    ) {
        *self.ids += 1;
        let id = *self.ids;
        self.push(begin, Body::Begin { id, token, frames });
        self.push(end.max(begin), Body::End { id, token, unsent });
    }

    /// The name of a listener, as JSON.
    fn name_of(&self, token: Token) -> String {
        let name = self.lane.names.iter().find(|(known, _)| *known == token);
        let name = name.map_or_else(|| format!("{}.{token}", self.index), |(_, name)| name.clone());
        serde_json::Value::from(name).to_string()
    }
}

fn nanoseconds(one: &Recorded) -> u64 {
    u64::try_from(one.time.as_nanos()).unwrap_or(u64::MAX)
}
