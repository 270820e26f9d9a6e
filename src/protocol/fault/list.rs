//! The faults that there are: one table for the parser, for errors, and for `resound faults`.

use std::{fmt, sync::Arc};

use super::{
    Units,
    kind::{Damage, Delay, Kind, Length},
    text::{Share, Span, digits, nanos, size, time},
};

/// A group of faults, as `resound faults` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// How data is delivered.
    Delivery,
    /// What is delivered.
    Content,
    /// How a connection ends.
    End,
    /// How a connection begins.
    Begin,
    /// What the server omits.
    Omission,
    /// HTTP answers.
    Http,
    /// WebSocket frames.
    WebSocket,
}

impl Group {
    /// All groups, in the order of the list.
    pub const ALL: [Self; 7] = [
        Self::Delivery,
        Self::Content,
        Self::End,
        Self::Begin,
        Self::Omission,
        Self::Http,
        Self::WebSocket,
    ];

    /// Its heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Delivery => "How data is delivered",
            Self::Content => "What is delivered",
            Self::End => "How a connection ends",
            Self::Begin => "How a connection begins",
            Self::Omission => "What the server omits",
            Self::Http => "HTTP only",
            Self::WebSocket => "WebSocket only",
        }
    }
}

/// What a protocol must have for a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// A stream of bytes.
    Bytes,
    /// Frames, lines, messages or answers in a stream of bytes.
    Frames,
    /// The same, or datagrams.
    FramesOrDatagrams,
    /// Frames that announce their length.
    Lengths,
    /// HTTP answers.
    Answers,
    /// WebSocket frames.
    WebSocket,
}

impl Needs {
    /// Whether a protocol whose replies consist of `units` has it.
    pub(super) const fn are_met_by(self, units: Units) -> bool {
        match self {
            Self::Bytes => !matches!(units, Units::Datagrams),
            Self::Frames => !matches!(units, Units::Bytes | Units::Datagrams),
            Self::FramesOrDatagrams => !matches!(units, Units::Bytes),
            Self::Lengths => !matches!(units, Units::Bytes | Units::Lines | Units::Datagrams),
            Self::Answers => matches!(units, Units::Answers),
            Self::WebSocket => matches!(units, Units::WebSocket),
        }
    }
}

/// One row of the list of faults.
#[derive(Debug)]
pub struct Entry {
    /// As plans write it.
    pub name: &'static str,
    /// What may follow the equals sign; empty if nothing does.
    pub value: &'static str,
    /// Its group.
    pub group: Group,
    /// What the server does.
    pub about: &'static str,
    /// A plan with it.
    pub example: &'static str,
    /// What a correct client does.
    pub client: &'static str,
    pub(super) needs: Needs,
    /// Whether it concerns a connection and not its frames: `@WHERE` makes no sense then.
    pub(super) is_of_connection: bool,
    read: fn(&str, &Samples<'_>) -> Option<Kind>,
}

/// Reads the file of `delay=file:PATH`.
pub type Samples<'s> = dyn Fn(&str) -> Result<String, String> + 's;

const fn entry(name: &'static str, group: Group) -> Entry {
    Entry {
        name,
        value: "",
        group,
        about: "",
        example: name,
        client: "",
        needs: Needs::Bytes,
        is_of_connection: false,
        read: |_, _| None,
    }
}

/// Every fault.
pub const KINDS: &[Entry] = &[
    Entry {
        value: "N or A..B",
        about: "the frame leaves in segments of N bytes",
        example: "slice=1",
        client: "joins the pieces and notices nothing",
        read: |value, _| Span::parse(value, size).filter(|span| span.least > 0).map(Kind::Slice),
        ..entry("slice", Group::Delivery)
    },
    Entry {
        value: "N",
        about: "N frames leave in one write; fewer when the peer half-closes",
        example: "coalesce=10",
        client: "takes each frame out of one read; a client that sends one and waits for its reply times out",
        needs: Needs::Frames,
        read: |value, _| digits(value).filter(|count| *count > 0).map(Kind::Coalesce),
        ..entry("coalesce", Group::Delivery)
    },
    Entry {
        value: "TIME, A..B, normal:MEAN:DEVIATION, exp:MEAN or file:PATH",
        about: "the frame leaves so much later; a file has one time on each line",
        example: "delay=5ms..20ms@10%",
        client: "waits as long as its timeout allows, then gives up with a timeout",
        read: delay,
        ..entry("delay", Group::Delivery)
    },
    Entry {
        value: "BYTES/s",
        about: "bytes leave evenly, and no faster than this",
        example: "rate=56KiB/s",
        client: "receives all of it; a limit on the whole transfer may end it",
        read: |value, _| rate(value).map(Kind::Rate),
        ..entry("rate", Group::Delivery)
    },
    Entry {
        value: "K or K:TIME",
        about: "K bytes of the frame leave; the rest after this time, or never",
        example: "stall=100@3",
        client: "times out in the middle of a reply, although the connection is up",
        read: |value, _| {
            let Some((at, pause)) = value.split_once(':') else {
                return size(value).map(|at| Kind::Stall(at, None));
            };
            Some(Kind::Stall(size(at)?, Some(time(pause)?)))
        },
        ..entry("stall", Group::Delivery)
    },
    Entry {
        about: "the frame is not sent",
        example: "drop@10%",
        client: "misses one reply and times out, and does not take the next reply for it",
        needs: Needs::FramesOrDatagrams,
        read: |value, _| value.is_empty().then_some(Kind::Drop),
        ..entry("drop", Group::Content)
    },
    Entry {
        about: "the frame is sent twice",
        example: "dup@3",
        client: "reports or ignores the reply that it did not ask for",
        needs: Needs::FramesOrDatagrams,
        read: |value, _| value.is_empty().then_some(Kind::Dup),
        ..entry("dup", Group::Content)
    },
    Entry {
        about: "the frame is sent behind the next one",
        example: "swap@every=5",
        client: "matches replies by their identifiers, or reports the wrong order",
        needs: Needs::FramesOrDatagrams,
        read: |value, _| value.is_empty().then_some(Kind::Swap),
        ..entry("swap", Group::Content)
    },
    Entry {
        value: "N or Nbit",
        about: "N bytes (or bits) of the payload are changed",
        example: "corrupt=1bit@1%",
        client: "notices by a checksum; without one it cannot",
        needs: Needs::FramesOrDatagrams,
        read: |value, _| {
            let bits = value.strip_suffix("bits").or_else(|| value.strip_suffix("bit"));
            let damage = match bits {
                Some(bits) => Damage::Bits(digits(bits)?),
                None => Damage::Bytes(size(value)?),
            };
            (damage != Damage::Bits(0) && damage != Damage::Bytes(0))
                .then_some(Kind::Corrupt(damage))
        },
        ..entry("corrupt", Group::Content)
    },
    Entry {
        value: "+1, -1, zero, max or negative",
        about: "the head announces another length than the payload has",
        example: "length=+1@2",
        client: "refuses a length over its limit before it allocates memory; otherwise waits, or loses its place",
        needs: Needs::Lengths,
        read: |value, _| {
            let lengths = [Length::More, Length::Less, Length::Zero, Length::Max, Length::Negative];
            lengths.into_iter().find(|length| length.as_str() == value).map(Kind::Length)
        },
        ..entry("length", Group::Content)
    },
    Entry {
        value: "N",
        about: "N random bytes follow the frame",
        example: "garbage=16@5",
        client: "takes them for the next frame: refuses its length, or waits for its rest",
        needs: Needs::FramesOrDatagrams,
        read: |value, _| size(value).filter(|bytes| *bytes > 0).map(Kind::Garbage),
        ..entry("garbage", Group::Content)
    },
    Entry {
        value: "K",
        about: "only the first K bytes of the frame are sent",
        example: "truncate=6@4",
        client: "takes the next frame's bytes for the rest of this one, and should notice",
        needs: Needs::FramesOrDatagrams,
        read: |value, _| size(value).map(Kind::Truncate),
        ..entry("truncate", Group::Content)
    },
    Entry {
        value: "K",
        about: "K bytes of the frame are sent, then FIN",
        example: "fin=6@2",
        client: "reports that the connection was closed in the middle of a reply, and does not use the part",
        read: |value, _| size(value).map(Kind::Fin),
        ..entry("fin", Group::End)
    },
    Entry {
        value: "K",
        about: "K bytes of the frame reach the peer, then RST",
        example: "reset=7@2",
        client: "reports ECONNRESET, closes, and retries only what may be done twice",
        read: |value, _| size(value).map(Kind::Reset),
        ..entry("reset", Group::End)
    },
    Entry {
        value: "TIME",
        about: "the connection is neither read nor answered for this time",
        example: "accept-delay=2s#10%",
        client: "connects at once, because the kernel accepts, and waits for its first reply",
        is_of_connection: true,
        read: |value, _| time(value).map(Kind::AcceptDelay),
        ..entry("accept-delay", Group::Begin)
    },
    Entry {
        about: "the connection is accepted and reset at once",
        example: "reset-on-accept#1..3",
        client: "reports ECONNRESET and connects again, with a pause that grows",
        is_of_connection: true,
        read: |value, _| value.is_empty().then_some(Kind::ResetOnAccept),
        ..entry("reset-on-accept", Group::Begin)
    },
    Entry {
        about: "nothing is read from here on; the kernel's window closes",
        example: "deaf",
        client: "stops sending when the window is full, and gives up with a timeout",
        read: |value, _| value.is_empty().then_some(Kind::Deaf),
        ..entry("deaf", Group::Omission)
    },
    Entry {
        about: "all is read, and nothing is answered from here on",
        example: "mute@100",
        client: "gives up with a timeout for the reply, although what it sends is acknowledged",
        read: |value, _| value.is_empty().then_some(Kind::Mute),
        ..entry("mute", Group::Omission)
    },
    Entry {
        about: "every segment of the peer is dropped from here on, and nothing is acknowledged (TCP only)",
        example: "blackhole@2",
        client: "retransmits, and gives up with ETIMEDOUT: after its own timeout, not the kernel's quarter of an hour",
        read: |value, _| value.is_empty().then_some(Kind::Blackhole),
        ..entry("blackhole", Group::Omission)
    },
    Entry {
        value: "P%",
        about: "this share of the peer's segments is dropped, so that its kernel retransmits (TCP only)",
        example: "loss=5%",
        client: "notices nothing but time",
        is_of_connection: true,
        read: |value, _| Share::parse(value).map(Kind::Loss),
        ..entry("loss", Group::Omission)
    },
    Entry {
        about: "the port is bound and does not listen: the kernel answers SYN with RST; it stands alone in a plan",
        example: "refuse",
        client: "reports ECONNREFUSED and connects again, with a pause that grows",
        is_of_connection: true,
        read: |value, _| value.is_empty().then_some(Kind::Refuse),
        ..entry("refuse", Group::Begin)
    },
    Entry {
        about: "nothing is accepted, and the queue is full: the kernel drops each SYN; it stands alone in a plan",
        example: "full-backlog",
        client: "gives up connecting after its own timeout, not the kernel's two minutes",
        is_of_connection: true,
        read: |value, _| value.is_empty().then_some(Kind::FullBacklog),
        ..entry("full-backlog", Group::Begin)
    },
    Entry {
        value: "CODE",
        about: "the answer has this status, from 100 to 999; 1xx, 204, 205 and 304 have no body",
        example: "status=503@every=3",
        client: "repeats what may be repeated after 429 and 503, when Retry-After allows; reports other errors",
        needs: Needs::Answers,
        read: |value, _| {
            let code = digits(value).filter(|code| (100..=999).contains(code))?;
            u16::try_from(code).ok().map(Kind::Status)
        },
        ..entry("status", Group::Http)
    },
    Entry {
        value: "K",
        about: "the body is one chunk, which announces all of it; K bytes of it are sent, then FIN",
        example: "short-chunk=100",
        client: "reports a body cut short, also if all bytes of the chunk are there and the last chunk is missing",
        needs: Needs::Answers,
        read: |value, _| size(value).map(Kind::ShortChunk),
        ..entry("short-chunk", Group::Http)
    },
    Entry {
        value: "BYTES/s",
        about: "the head leaves byte by byte, at this rate; then the body, at once",
        example: "drip=10/s",
        client: "limits the time until the head is whole, and not only the time between two bytes",
        needs: Needs::Answers,
        read: |value, _| rate(value).map(Kind::Drip),
        ..entry("drip", Group::Http)
    },
    Entry {
        value: "CODE or none",
        about: "a close frame with this code comes in place of the frame, then FIN; none: without a code",
        example: "close=1011@3",
        client: "reports the code (1005 for none), and 1002 for a code that must not be sent (RFC 6455, section 7.4)",
        needs: Needs::WebSocket,
        read: |value, _| match value {
            "none" => Some(Kind::Close(None)),
            _ => digits(value)
                .and_then(|code| u16::try_from(code).ok())
                .map(|code| Kind::Close(Some(code))),
        },
        ..entry("close", Group::WebSocket)
    },
    Entry {
        about: "a ping is not answered; @WHERE counts pings",
        example: "no-pong@after=1MiB",
        client: "closes a connection whose pings have no answer in time, if it sends any",
        needs: Needs::WebSocket,
        read: |value, _| value.is_empty().then_some(Kind::NoPong),
        ..entry("no-pong", Group::WebSocket)
    },
    Entry {
        about: "the frame has a mask, which a server's frame must not have",
        example: "mask@2",
        client: "fails the connection with 1002 (RFC 6455, section 5.1)",
        needs: Needs::WebSocket,
        read: |value, _| value.is_empty().then_some(Kind::Mask),
        ..entry("mask", Group::WebSocket)
    },
];

/// `BYTES/s`.
fn rate(value: &str) -> Option<u64> {
    size(value.strip_suffix("/s").unwrap_or(value)).filter(|bytes| *bytes > 0)
}

fn delay(value: &str, samples: &Samples<'_>) -> Option<Kind> {
    let delay = if let Some(rest) = value.strip_prefix("normal:") {
        let (mean, deviation) = rest.split_once(':')?;
        Delay::Normal(nanos(mean)?, nanos(deviation)?)
    } else if let Some(mean) = value.strip_prefix("exp:") {
        Delay::Exponential(nanos(mean)?)
    } else if let Some(path) = value.strip_prefix("file:") {
        let lines = samples(path).ok()?;
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        let times = lines.map(nanos).collect::<Option<Arc<[u64]>>>()?;
        (!times.is_empty()).then_some(Delay::Samples(path.into(), times))?
    } else {
        Delay::Uniform(Span::parse(value, nanos)?)
    };
    Some(Kind::Delay(delay))
}

impl Kind {
    /// Parses `NAME` or `NAME=VALUE`.
    pub(super) fn parse(
        name: &str,
        value: Option<&str>,
        samples: &Samples<'_>,
    ) -> Result<Self, String> {
        let Some(entry) = KINDS.iter().find(|entry| entry.name == name) else {
            let names: Vec<&str> = KINDS.iter().map(|entry| entry.name).collect();
            return Err(format!("no fault {name:?}; there is {}", names.join(", ")));
        };
        if let Some(path) = value.and_then(|value| value.strip_prefix("file:")) {
            samples(path).map_err(|error| format!("{name}=file:{path}: {error}"))?;
        }
        let wants_none = entry.value.is_empty();
        match (value, (entry.read)(value.unwrap_or_default(), samples)) {
            (None, Some(kind)) if wants_none => Ok(kind),
            (Some(_), Some(kind)) if !wants_none => Ok(kind),
            (Some(value), _) if wants_none => {
                Err(format!("{name}={value}: it takes no value; write {}", entry.example))
            }
            (Some(value), _) => {
                Err(format!("{name}={value}: write {}, as in {}", entry.value, entry.example))
            }
            (None, _) => {
                Err(format!("{name} needs a value: {}, as in {}", entry.value, entry.example))
            }
        }
    }

    /// Whether a protocol whose replies consist of `units` can have it.
    pub(super) fn suits(&self, units: Units) -> bool {
        self.entry().needs.are_met_by(units)
    }

    /// Whether it can concern a whole connection.
    pub(super) fn can_concern_connection(&self) -> bool {
        self.entry().is_of_connection || matches!(self, Self::Deaf | Self::Mute | Self::Blackhole)
    }

    /// Its row in the list.
    #[must_use]
    pub fn entry(&self) -> &'static Entry {
        &KINDS[self.index()]
    }

    /// The index of its row in [`KINDS`].
    pub(super) const fn index(&self) -> usize {
        match self {
            Self::Slice(_) => 0,
            Self::Coalesce(_) => 1,
            Self::Delay(_) => 2,
            Self::Rate(_) => 3,
            Self::Stall(..) => 4,
            Self::Drop => 5,
            Self::Dup => 6,
            Self::Swap => 7,
            Self::Corrupt(_) => 8,
            Self::Length(_) => 9,
            Self::Garbage(_) => 10,
            Self::Truncate(_) => 11,
            Self::Fin(_) => 12,
            Self::Reset(_) => 13,
            Self::AcceptDelay(_) => 14,
            Self::ResetOnAccept => 15,
            Self::Deaf => 16,
            Self::Mute => 17,
            Self::Blackhole => 18,
            Self::Loss(_) => 19,
            Self::Refuse => 20,
            Self::FullBacklog => 21,
            Self::Status(_) => 22,
            Self::ShortChunk(_) => 23,
            Self::Drip(_) => 24,
            Self::Close(_) => 25,
            Self::NoPong => 26,
            Self::Mask => 27,
        }
    }
}

impl fmt::Display for Kind {
    /// As plans write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().name)?;
        self.value().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}
