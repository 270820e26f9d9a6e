//! What the loops have recorded, for people: as Chrome trace events, as a page, and in sentences.

pub(crate) mod explain;
mod frames;
pub(crate) mod page;
pub(crate) mod recording;
mod slices;
mod trace;

use resound::{Recorded, Token};

/// What one loop has recorded.
#[derive(Debug)]
struct Lane {
    names: Vec<(Token, String)>,
    events: Vec<Recorded>,
    /// Events that are not kept any more.
    lost: u64,
}

/// One trace event, with its time in nanoseconds.
#[derive(Debug)]
struct Entry {
    time: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// A span of a loop. `depth` says in how many others it lies. `args` are members of a JSON object.
    Slice {
        name: &'static str,
        length: u64,
        depth: u8,
        token: Option<Token>,
        args: String,
    },
    /// A frame begins; or so many frames, which are shown as one.
    Begin {
        id: u64,
        token: Token,
        frames: u64,
    },
    /// It ends. `unsent` is why not all of its reply was sent.
    End {
        id: u64,
        token: Token,
        unsent: Option<&'static str>,
    },
    FlowStart {
        id: u64,
    },
    FlowEnd {
        id: u64,
    },
    Counter {
        name: &'static str,
        value: u64,
    },
    Instant {
        name: &'static str,
        token: Token,
        args: String,
    },
}
