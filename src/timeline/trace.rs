//! The timeline as Chrome trace events, in JSON: the format of "Trace Event Format" by the Chromium project, which
//! Perfetto opens.
//!
//! | phase | what it is here |
//! |---|---|
//! | `X` | what a loop does: poll, turn, accept, and in these read, protocol, write ... |
//! | `b`, `e` | a frame, from its first byte to its last write |
//! | `s`, `f` | from the readiness that a turn began with to the write that ends it |
//! | `C` | connections that are open, bytes owed and held, the run queue |
//! | `i` | what takes no time |
//! | `M` | the names of the process and of its loops |

use std::io::{self, Write};

use resound::Token;

use super::{Body, Entry, Lane, slices};

impl Entry {
    /// Sorts by time; at one time what contains comes before what it contains, and beginnings before ends.
    fn order(&self) -> (u64, u8, u8) {
        let (rank, depth) = match self.body {
            Body::Slice { depth, .. } => (0, depth),
            Body::Begin { .. } | Body::FlowStart { .. } => (1, 0),
            Body::Counter { .. } | Body::Instant { .. } => (2, 0),
            Body::End { .. } | Body::FlowEnd { .. } => (3, 0),
        };
        (self.time, rank, depth)
    }
}

/// Above this number, the frames of one read are one span: 4 MiB of empty frames would be a million of them.
const MOST_FRAMES: u64 = 250_000;

/// Writes the timeline of all loops.
///
/// # Errors
///
/// As `out`.
pub(super) fn write(lanes: &[Lane], out: &mut impl Write) -> io::Result<()> {
    let process = std::process::id();
    let (version, lost) =
        (env!("CARGO_PKG_VERSION"), lanes.iter().map(|lane| lane.lost).sum::<u64>());
    write!(
        out,
        r#"{{"displayTimeUnit":"ns","otherData":{{"program":"resound","version":"{version}","events_not_kept":{lost}}},"traceEvents":["#
    )?;
    write!(
        out,
        r#"{{"ph":"M","pid":{process},"tid":0,"ts":0,"name":"process_name","args":{{"name":"resound"}}}}"#
    )?;
    let frames: u64 = lanes.iter().map(slices::frames).sum();
    let (mut entries, mut ids) = (Vec::new(), 0);
    for (index, lane) in lanes.iter().enumerate() {
        let thread = index + 1;
        write!(
            out,
            ",\n{{\"ph\":\"M\",\"pid\":{process},\"tid\":{thread},\"ts\":0,\"name\":\"thread_name\",\"args\":{{\"name\":\"reactor {index}\"}}}}"
        )?;
        let of_lane = slices::entries(lane, index, frames <= MOST_FRAMES, &mut ids);
        entries.extend(of_lane.into_iter().map(|entry| (index, entry)));
    }
    entries.sort_by_key(|(_, entry)| entry.order());
    let writer = Writer { process, many: lanes.len() > 1 };
    for (index, entry) in &entries {
        writer.write(*index, entry, out)?;
    }
    out.write_all(b"\n]}\n")
}

struct Writer {
    process: u32,
    /// Whether there are several loops.
    many: bool,
}

impl Writer {
    fn write(&self, index: usize, entry: &Entry, out: &mut impl Write) -> io::Result<()> {
        let (process, thread) = (self.process, index + 1);
        let time = Microseconds(entry.time);
        write!(out, ",\n{{\"pid\":{process},\"tid\":{thread},\"ts\":{time},")?;
        match &entry.body {
            Body::Slice { name, length, token, args, .. } => {
                let length = Microseconds(*length);
                write!(out, r#""ph":"X","cat":"loop","name":"{name}","dur":{length},"args":{{"#)?;
                if let Some(token) = token {
                    write!(out, r#""of":"{}""#, Name(index, *token))?;
                }
                let comma = if token.is_some() && !args.is_empty() { "," } else { "" };
                write!(out, "{comma}{args}}}}}")
            }
            Body::Begin { id, token, frames } => {
                let name = Name(index, *token);
                write!(
                    out,
                    r#""ph":"b","cat":"frame","id":"0x{id:x}","name":"frame {name}","args":{{"of":"{name}","frames":{frames}}}}}"#
                )
            }
            Body::End { id, token, unsent } => {
                let name = Name(index, *token);
                write!(
                    out,
                    r#""ph":"e","cat":"frame","id":"0x{id:x}","name":"frame {name}","args":{{"#
                )?;
                if let Some(why) = unsent {
                    write!(out, r#""unsent":"{why}""#)?;
                }
                out.write_all(b"}}")
            }
            Body::FlowStart { id } => {
                write!(out, r#""ph":"s","cat":"reply","id":"0x{id:x}","name":"reply"}}"#)
            }
            Body::FlowEnd { id } => {
                write!(out, r#""ph":"f","bp":"e","cat":"reply","id":"0x{id:x}","name":"reply"}}"#)
            }
            Body::Counter { name, value } => {
                write!(out, r#""ph":"C","name":"{name}"#)?;
                if self.many {
                    write!(out, " (reactor {index})")?;
                }
                write!(out, r#"","args":{{"{name}":{value}}}}}"#)
            }
            Body::Instant { name, token, args } => {
                let (of, comma) = (Name(index, *token), if args.is_empty() { "" } else { "," });
                write!(
                    out,
                    r#""ph":"i","s":"t","cat":"loop","name":"{name}","args":{{"of":"{of}"{comma}{args}}}}}"#
                )
            }
        }
    }
}

/// The name of a connection in the paths of the admin port: `LOOP.KEY.GENERATION`.
struct Name(usize, Token);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Nanoseconds, shown as microseconds.
struct Microseconds(u64);

impl std::fmt::Display for Microseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
