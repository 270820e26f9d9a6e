//! `GET /connections`: all connections of all loops, page by page, of which the first few in some order are looked up.

use std::{cmp::Reverse, sync::Arc, time::Instant};

use resound::{
    Answer, ConnectionInfo, ControlError, Page, Summary, Token,
    protocol::http::service::{HttpRequest, HttpResponse},
};
use serde_json::{Value, json};

use super::{
    Daemon,
    gather::{AT_MOST, Gather},
    responses::{bad_request, json_response, unavailable},
};

/// Connections in one answer at most. The lists of the loops may be much longer.
const MOST: usize = 256;

/// What the list is ordered by, the largest first.
#[derive(Debug, Clone, Copy)]
enum Sort {
    Age,
    Received,
    Sent,
    Frames,
    Held,
    Owed,
}

/// A query's parameters.
#[derive(Debug)]
pub(super) struct Query {
    sort: Sort,
    limit: usize,
    listener: Option<String>,
}

impl Query {
    /// # Errors
    ///
    /// The response to a query that cannot be answered.
    pub(super) fn read(request: &HttpRequest<'_>) -> Result<Self, HttpResponse> {
        let sort = match request.parameter("sort").as_deref() {
            None | Some("received") => Sort::Received,
            Some("age") => Sort::Age,
            Some("sent") => Sort::Sent,
            Some("frames") => Sort::Frames,
            Some("held") => Sort::Held,
            Some("owed") => Sort::Owed,
            Some(other) => {
                let what = format!("sort={other}: write age, received, sent, frames, held or owed");
                return Err(bad_request(&what));
            }
        };
        let limit = match request.parameter("limit").map(|limit| limit.parse()) {
            None => 50,
            Some(Ok(limit @ 1..=MOST)) => limit,
            Some(_) => return Err(bad_request(&format!("limit: write a number from 1 to {MOST}"))),
        };
        Ok(Self { sort, limit, listener: request.parameter("listener") })
    }
}

/// A list in the making.
pub(super) struct Listing {
    daemon: Arc<Daemon>,
    query: Query,
    /// When the last page came.
    since: Instant,
    step: Step,
    /// Index of the loop, and what it has told.
    found: Vec<(usize, ConnectionInfo)>,
    total: usize,
}

enum Step {
    /// Which listeners the loops have.
    Summaries(Gather),
    /// The next page of the loop of that index.
    Pages { summaries: Vec<Summary>, index: usize, from: usize, answer: Option<Answer<Page>> },
    /// The connections of the loop of that index, looked up.
    LookUps { summaries: Vec<Summary>, index: usize, answer: Option<Answer<Vec<ConnectionInfo>>> },
}

impl Listing {
    pub(super) fn start(daemon: &Arc<Daemon>, query: Query) -> Self {
        let step = Step::Summaries(Gather::start(&daemon.loops));
        let daemon = Arc::clone(daemon);
        Self { daemon, query, since: Instant::now(), step, found: Vec::new(), total: 0 }
    }

    /// The response, once it is complete.
    pub(super) fn poll(&mut self) -> Option<HttpResponse> {
        match self.proceed() {
            // The list of many connections may take longer than that.
            Ok(None) if self.since.elapsed() > AT_MOST => Some(unavailable(&format!(
                "a loop did not list its connections within {AT_MOST:?}"
            ))),
            Ok(response) => response,
            Err(error) => Some(unavailable(&error.to_string())),
        }
    }

    fn proceed(&mut self) -> Result<Option<HttpResponse>, ControlError> {
        loop {
            match &mut self.step {
                Step::Summaries(gather) => {
                    let Some(summaries) = gather.poll() else { return Ok(None) };
                    let summaries = summaries.into_iter().collect::<Result<_, _>>()?;
                    self.step = Step::Pages { summaries, index: 0, from: 0, answer: None };
                }
                Step::Pages { summaries, index, from, answer } => {
                    let Some(one) = self.daemon.loops.get(*index) else {
                        let summaries = std::mem::take(summaries);
                        self.step = Step::LookUps { summaries, index: 0, answer: None };
                        continue;
                    };
                    let waiting = match answer.take() {
                        Some(waiting) => waiting,
                        None => match one.handle.connections(*from) {
                            Err(ControlError::QueueFull) => return Ok(None),
                            asked => asked?,
                        },
                    };
                    let Some(page) = waiting.poll()? else {
                        *answer = Some(waiting);
                        return Ok(None);
                    };
                    self.since = Instant::now();
                    let (of, names) = (*index, &summaries[*index].listeners);
                    (*index, *from) = page.next.map_or((of + 1, 0), |next| (of, next));
                    let asked = self.query.listener.as_deref();
                    let daemon = &self.daemon;
                    let is_asked = |info: &ConnectionInfo| {
                        let name = names.get(info.listener).map_or("", |listener| &listener.name);
                        asked.is_none_or(|asked| asked == daemon.listener(name))
                    };
                    let some = page.connections.into_iter().filter(is_asked);
                    let before = self.found.len();
                    self.found.extend(some.map(|info| (of, info)));
                    self.total += self.found.len() - before;
                    keep_first(&mut self.found, &self.query);
                }
                Step::LookUps { summaries, index, answer } => {
                    let of = *index;
                    let Some(one) = self.daemon.loops.get(of) else {
                        let summaries = std::mem::take(summaries);
                        return Ok(Some(self.response(&summaries)));
                    };
                    let waiting = match answer.take() {
                        Some(waiting) => waiting,
                        None => {
                            let of_loop = self.found.iter().filter(|(found, _)| *found == of);
                            let tokens: Vec<Token> = of_loop.map(|(_, info)| info.token).collect();
                            match one.handle.look_up(tokens) {
                                Err(ControlError::QueueFull) => return Ok(None),
                                asked => asked?,
                            }
                        }
                    };
                    let Some(looked_up) = waiting.poll()? else {
                        *answer = Some(waiting);
                        return Ok(None);
                    };
                    *index += 1;
                    self.found.retain(|(found, _)| *found != of);
                    self.found.extend(looked_up.into_iter().map(|info| (of, info)));
                }
            }
        }
    }

    fn response(&mut self, summaries: &[Summary]) -> HttpResponse {
        sort(&mut self.found, self.query.sort);
        let connections: Vec<Value> = self
            .found
            .iter()
            .map(|(index, info)| {
                let listeners = &summaries[*index].listeners;
                let name = listeners.get(info.listener).map_or("", |listener| &listener.name);
                json!({
                    "name": format!("{index}.{}", info.token),
                    "peer": info.peer.map(|peer| peer.to_string()),
                    "listener": self.daemon.listener(name),
                    "state": info.state.as_str(),
                    "age_seconds": info.age.as_secs(),
                    "received_bytes": info.received,
                    "sent_bytes": info.sent,
                    "frames": info.frames,
                    "held_bytes": info.held,
                    "owed_bytes": info.owed,
                    "waits_for": info.waits_for.as_str(),
                    "seconds_left": info.time_left.map(|left| left.as_secs_f64()),
                    "rtt_seconds": info.tcp.map(|tcp| tcp.round_trip.as_secs_f64()),
                    "retransmissions": info.tcp.map(|tcp| tcp.retransmissions),
                    "unsent_bytes": info.tcp.map(|tcp| tcp.unsent),
                })
            })
            .collect();
        json_response("200 OK", &json!({ "total": self.total, "connections": connections }))
    }
}

/// Keeps memory in proportion to the limit, not to the number of connections.
fn keep_first(found: &mut Vec<(usize, ConnectionInfo)>, query: &Query) {
    if found.len() > query.limit {
        sort(found, query.sort);
        found.truncate(query.limit);
    }
}

fn sort(found: &mut [(usize, ConnectionInfo)], by: Sort) {
    found.sort_by_key(|(_, info)| {
        Reverse(match by {
            Sort::Age => info.age.as_secs(),
            Sort::Received => info.received,
            Sort::Sent => info.sent,
            Sort::Frames => info.frames,
            Sort::Held => info.held as u64,
            Sort::Owed => info.owed as u64,
        })
    });
}
