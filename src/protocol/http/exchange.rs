//! One request after the other: its head is read, its body waited for, and its answer put together.

use super::{
    Bodies, Http, HttpLimits,
    body::{Body, Step},
    head::{self, Head, Problem},
    request::{self, Asks, Framing, Persistence, Request},
    response::{self, Reply},
};
use crate::{
    Token,
    protocol::{
        Next, Output, Received,
        description::{Reader, put_number},
        fault::{Kind, by_path},
    },
};

/// Data of at least this many bytes goes back from where it lies, in one write with the answer's head. Less is copied behind
/// the head, and leaves with other answers.
const IN_PLACE: usize = 32 << 10;

/// Empty lines that are passed over before a request. RFC 9112, section 2.2, wants at least one; each of them restarts
/// the idle timeout.
const BLANK_LINES: u8 = 4;

/// Bytes that the framing of a body in chunks may take up in the input, beside as many as the longest body has.
const FRAMING: u64 = 64 << 10;

/// Where in a request the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Before a request, behind that many empty lines; or in its head. Until the end of the first head, the time for a
    /// handshake runs.
    Head { blank: u8, is_first: bool },
    /// Behind a whole head that is still in the input, because the answer waits for the body. If the client expects
    /// `100 Continue`, that has been sent.
    Waiting {
        /// The part of the body that has not been looked at.
        body: Body,
        /// How much of the input has been looked at, the head included.
        looked_at: usize,
    },
    /// In a body that is being answered.
    Body { body: Body, back: Back, close: bool },
}

impl Place {
    /// Before the first request of a connection.
    pub(super) const FIRST: Self = Self::Head { blank: 0, is_first: true };

    /// Before any other request.
    pub(super) const START: Self = Self::Head { blank: 0, is_first: false };

    /// Appends what [`restore`](Self::restore) reads, where bodies have that `limit`.
    pub(super) fn describe(self, limit: u64, to: &mut Vec<u8>) {
        match self {
            Self::Head { blank, is_first } => to.extend([0, blank, u8::from(is_first)]),
            Self::Waiting { body, looked_at } => {
                to.push(1);
                body.describe(limit, to);
                put_number(looked_at as u64, to);
            }
            Self::Body { body, back, close } => {
                to.push(2);
                body.describe(limit, to);
                to.extend([back as u8, u8::from(close)]);
            }
        }
    }

    pub(super) fn restore(from: &mut Reader<'_>, limit: u64) -> Option<Self> {
        Some(match from.byte()? {
            0 => Self::Head { blank: from.byte()?, is_first: from.byte()? != 0 },
            1 => Self::Waiting { body: Body::restore(from, limit)?, looked_at: from.number()? },
            2 => Self::Body {
                body: Body::restore(from, limit)?,
                back: match from.byte()? {
                    0 => Back::Nothing,
                    1 => Back::Data,
                    2 => Back::Chunks,
                    _ => return None,
                },
                close: from.byte()? != 0,
            },
            _ => return None,
        })
    }

    /// What to wait for; the rest of the input must become `need` bytes long.
    const fn waits(self, need: usize) -> Next {
        match self {
            Self::Head { is_first: true, .. } => Next::Handshake { need },
            _ => Next::Rest { need },
        }
    }
}

/// What of a body goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    Nothing,
    Data,
    /// The data, and the framing of its chunks.
    Chunks,
}

/// The result of one look at the input.
enum Turn {
    /// This many bytes are consumed; look again.
    On(usize),
    /// This many bytes are consumed, and a request ends with them.
    Done {
        length: usize,
        close: bool,
    },
    /// It takes more bytes: the rest of the input must become this long, if that is known, or else 0.
    More {
        need: usize,
    },
    /// What follows is echoed from where it lies, behind the output.
    InPlace,
    Refused(Problem),
}

impl Http {
    /// Answers what `input` holds from `place` on.
    pub(super) fn look(
        &self,
        connection: Token,
        place: &mut Place,
        input: &[u8],
        mut seen: usize,
        out: &mut Output,
    ) -> Received {
        let (mut consumed, mut frames) = (0, 0);
        let next = loop {
            let rest = &input[consumed..];
            if rest.is_empty() {
                break match place {
                    Place::Head { is_first: false, .. } => Next::Idle,
                    place => place.waits(0),
                };
            }
            if out.is_full() {
                break Next::Full;
            }
            let answering = matches!(place, Place::Body { .. });
            match self.turn(connection, place, rest, seen, out) {
                Turn::On(length) => consumed += length,
                Turn::Done { length, close } => {
                    (consumed, frames) = (consumed + length, frames + 1);
                    if close {
                        break Next::Finish;
                    }
                }
                Turn::More { need } => break place.waits(need),
                Turn::InPlace => break Next::Full,
                Turn::Refused(problem) => {
                    if !answering {
                        let always = self.common.to(connection);
                        response::refuse(&problem, "", always, out.as_mut_vec());
                    }
                    break Next::Refuse(problem.refusal);
                }
            }
            seen = 0;
        };
        Received::answered(consumed, frames, next)
    }

    /// Takes one step from `place` into `input`, which is not empty.
    fn turn(
        &self,
        connection: Token,
        place: &mut Place,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Turn {
        match place {
            Place::Body { body, back, close } => {
                let turn = answer_body(body, *back, *close, input, out);
                if let Ok(Turn::Done { .. }) = turn {
                    *place = Place::START;
                }
                turn.unwrap_or_else(Turn::Refused)
            }
            Place::Head { blank, .. } => match skip_blank_lines(input, blank) {
                Ok(0) if input == b"\r" => Turn::More { need: 0 },
                Ok(0) => self.head(connection, place, input, seen, out),
                Ok(length) => Turn::On(length),
                Err(problem) => Turn::Refused(problem),
            },
            // There is nothing new in the head, but it has to be read again.
            Place::Waiting { body, looked_at } => match self.wait(body, looked_at, input) {
                Ok(None) => self.head(connection, place, input, 0, out),
                Ok(Some(need)) => Turn::More { need },
                Err(problem) => Turn::Refused(problem),
            },
        }
    }

    /// Reads the head at the start of `input`, and answers it if that need not wait for the body.
    fn head(
        &self,
        connection: Token,
        place: &mut Place,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Turn {
        let limits = self.limits;
        match head::read(input, seen, limits.head, |parsed, length| {
            Request::read(parsed, length, limits.body)
        }) {
            Head::Partial => Turn::More { need: 0 },
            Head::Refused(problem) | Head::Whole(Err(problem)) => Turn::Refused(problem),
            Head::Whole(Ok(request)) => {
                self.request(connection, place, &request, input, out).unwrap_or_else(Turn::Refused)
            }
        }
    }

    /// Answers `request`, or starts to, if that need not wait for the body.
    fn request(
        &self,
        connection: Token,
        place: &mut Place,
        request: &Request<'_>,
        input: &[u8],
        out: &mut Output,
    ) -> Result<Turn, Problem> {
        let asked = self.asked(request).transpose().map_err(Problem::bad)?;
        let has_body = request.framing != Framing::Length(0);
        let body = match *place {
            Place::Waiting { body, .. } => body,
            _ => {
                if request.expects_continue {
                    out.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                let (mut body, mut looked_at) = (self.body(request.framing), request.head);
                if has_body
                    && matches!(request.asks, Asks::Echo { .. })
                    && let Some(need) = self.wait(&mut body, &mut looked_at, input)?
                {
                    *place = Place::Waiting { body, looked_at };
                    return Ok(Turn::More { need });
                }
                body
            }
        };
        if let Some(kind) = asked {
            out.ask(kind);
        }
        let (always, persistence) = (self.common.to(connection), request.persistence);
        match request.asks {
            Asks::Hello { path, head_only } => {
                response::hello(path, head_only, persistence, always, out.as_mut_vec());
            }
            Asks::Options => response::options(persistence, always, out.as_mut_vec()),
            Asks::NotAllowed => {
                response::method("405 Method Not Allowed", persistence, always, out.as_mut_vec());
            }
            Asks::NotImplemented => {
                response::method("501 Not Implemented", persistence, always, out.as_mut_vec());
            }
            Asks::Echo { content_type } => {
                let length = match (request.framing, self.bodies) {
                    (Framing::Length(length), _) => Some(length),
                    (Framing::Chunked, Bodies::Whole) => Some(body.announced(self.limits.body)),
                    (Framing::Chunked, Bodies::Streamed) => None,
                };
                let reply = Reply {
                    status: "200 OK",
                    content_type: content_type.unwrap_or(b"application/octet-stream"),
                    length,
                    persistence,
                    fields: "",
                    always,
                };
                reply.write(out.as_mut_vec());
            }
        }
        let (length, close) = (request.head, persistence == Persistence::Close);
        if !has_body {
            *place = Place::START;
            return Ok(Turn::Done { length, close });
        }
        let back = match (request.asks, self.bodies) {
            (Asks::Echo { .. }, Bodies::Whole) => Back::Data,
            (Asks::Echo { .. }, Bodies::Streamed) => Back::Chunks,
            _ => Back::Nothing,
        };
        *place = Place::Body { body: self.body(request.framing), back, close };
        Ok(Turn::On(length))
    }

    /// The fault that the client chooses, if it may.
    fn asked(&self, request: &Request<'_>) -> Option<Result<Kind, &'static str>> {
        if !self.client_faults {
            return None;
        }
        by_path(request.path()?)
    }

    const fn body(&self, framing: Framing) -> Body {
        Body::new(framing, self.limits.body)
    }

    /// Reads on in a body that the answer waits for, at the start of `input` and behind its head. `None` if the answer
    /// can start; or else how long the input must become first, 0 if that is unknown.
    fn wait(
        &self,
        body: &mut Body,
        looked_at: &mut usize,
        input: &[u8],
    ) -> Result<Option<usize>, Problem> {
        let HttpLimits { head, body: limit } = self.limits;
        let longest = (limit.saturating_mul(2)).saturating_add(head as u64 + FRAMING);
        while let rest @ [_, ..] = input.get(*looked_at..).unwrap_or_default() {
            let Step::Read { length, last, .. } = body.step(rest, None)? else {
                return Ok(Some(0));
            };
            *looked_at += length;
            if last || self.bodies == Bodies::Streamed {
                return Ok(None);
            }
            if *looked_at as u64 > longest {
                return Err(request::too_large(*looked_at as u64, longest));
            }
        }
        Ok(Some(match (self.bodies, body.missing()) {
            (Bodies::Streamed, _) | (_, 0) => 0,
            (Bodies::Whole, missing) => looked_at.saturating_add(missing),
        }))
    }
}

/// Takes the next part of a body that is being answered; less than [`IN_PLACE`] of it at a time, unless nothing of it
/// goes back.
fn answer_body(
    body: &mut Body,
    back: Back,
    close: bool,
    input: &[u8],
    out: &mut Output,
) -> Result<Turn, Problem> {
    if back != Back::Nothing && body.data(input) >= IN_PLACE {
        return Ok(Turn::InPlace);
    }
    let framing = (back == Back::Chunks).then_some(out.as_mut_vec());
    Ok(match body.step(input, framing)? {
        Step::Read { length, data, last } => {
            if data && back != Back::Nothing {
                out.extend(&input[..length]);
            }
            if last { Turn::Done { length, close } } else { Turn::On(length) }
        }
        Step::More => Turn::More { need: 0 },
    })
}

/// Echoes the data that `input` starts with from where it lies, if it is long or nothing follows it.
pub(super) fn in_place(place: &mut Place, input: &[u8]) -> Option<Received> {
    let Place::Body { body, back: Back::Data | Back::Chunks, close } = place else {
        return None;
    };
    let data = body.data(input);
    if data < input.len().min(IN_PLACE) {
        return None;
    }
    let ends = matches!(body.step(input, None), Ok(Step::Read { last: true, .. }));
    let next = match (ends, *close) {
        (true, true) => Next::Finish,
        _ if data < input.len() => Next::Full,
        (true, false) => Next::Idle,
        (false, _) => Next::Rest { need: 0 },
    };
    if ends {
        *place = Place::START;
    }
    Some(Received::echo(data, u64::from(ends), next))
}

/// How many bytes of empty lines `input` starts with (RFC 9112, section 2.2); `blank` counts them.
///
/// # Errors
/// More than [`BLANK_LINES`] of them.
pub(super) fn skip_blank_lines(input: &[u8], blank: &mut u8) -> Result<usize, Problem> {
    let mut rest = input;
    while let Some(behind) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
        if *blank == BLANK_LINES {
            return Err(Problem::bad("more than 4 empty lines before a request"));
        }
        *blank += 1;
        rest = behind;
    }
    Ok(input.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn an_open_connection_costs_48_bytes() {
        // Its generation, and what alignment adds to that.
        let generation = size_of::<u64>();
        assert_eq!(generation + size_of::<Option<Place>>(), 48);
    }
}
