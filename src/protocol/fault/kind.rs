//! What a fault does, with its values.

use std::{sync::Arc, time::Duration};

use super::text::{Share, Span, show_nanos, show_size, show_time};
use crate::random::Random;

/// What a fault does.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The frame leaves in segments of this many bytes.
    Slice(Span),
    /// So many replies leave in one write.
    Coalesce(u64),
    /// The frame leaves this much later.
    Delay(Delay),
    /// Bytes leave no faster than so many a second.
    Rate(u64),
    /// The frame stops after so many bytes, for a time or for good.
    Stall(u64, Option<Duration>),
    /// The frame is not sent.
    Drop,
    /// The frame is sent twice.
    Dup,
    /// The frame is sent behind the next one.
    Swap,
    /// Bytes or bits of the payload are changed.
    Corrupt(Damage),
    /// The head announces a wrong length.
    Length(Length),
    /// Random bytes follow the frame.
    Garbage(u64),
    /// Only the first bytes of the frame are sent.
    Truncate(u64),
    /// So many bytes of the frame are sent, then FIN.
    Fin(u64),
    /// So many bytes of the frame reach the peer, then RST.
    Reset(u64),
    /// The connection is neither read nor answered for this time.
    AcceptDelay(Duration),
    /// RST follows the handshake.
    ResetOnAccept,
    /// Nothing is read.
    Deaf,
    /// All is read, and nothing answered.
    Mute,
    /// Every segment of the peer is dropped.
    Blackhole,
    /// Segments of the peer are dropped at random.
    Loss(Share),
    /// Connections to the listener are refused.
    Refuse,
    /// Nothing is accepted, and the backlog of the listener is full.
    FullBacklog,
    /// The HTTP answer has this status code.
    Status(u16),
    /// The body of the HTTP answer is a chunk of which so many bytes are sent, then FIN.
    ShortChunk(u64),
    /// The head of the HTTP answer leaves byte by byte, so many bytes a second.
    Drip(u64),
    /// A WebSocket close frame with this code, or with none, is sent in place of the frame, then FIN.
    Close(Option<u16>),
    /// A WebSocket ping is not answered.
    NoPong,
    /// The WebSocket frame has a mask.
    Mask,
}

/// How long a frame is delayed.
#[derive(Debug, Clone, PartialEq)]
pub enum Delay {
    /// Nanoseconds, all in the range equally often.
    Uniform(Span),
    /// A normal distribution with this mean and this standard deviation, in nanoseconds; never negative.
    Normal(u64, u64),
    /// An exponential distribution with this mean, in nanoseconds.
    Exponential(u64),
    /// One of the times in a file, in nanoseconds.
    Samples(Arc<str>, Arc<[u64]>),
}

/// How much of a payload is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// So many bytes.
    Bytes(u64),
    /// So many bits.
    Bits(u64),
}

/// The length that a head announces instead of the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// One more.
    More,
    /// One less.
    Less,
    /// Zero.
    Zero,
    /// The greatest that fits.
    Max,
    /// Minus one.
    Negative,
}

impl Length {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::More => "+1",
            Self::Less => "-1",
            Self::Zero => "zero",
            Self::Max => "max",
            Self::Negative => "negative",
        }
    }
}

impl Delay {
    /// One of the delays, in nanoseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds of a delay are far below 2^52; a float that is cast is cut at the ends"
    )]
    pub(super) fn draw(&self, random: &mut Random) -> Duration {
        let nanos = match self {
            Self::Uniform(span) => random.between(span.least, span.most),
            Self::Normal(mean, deviation) => {
                // The transform of Box and Muller.
                let radius = f64::sqrt(-2.0 * random.unit().ln());
                let angle = std::f64::consts::TAU * random.unit();
                (*deviation as f64).mul_add(radius * angle.cos(), *mean as f64) as u64
            }
            Self::Exponential(mean) => (-random.unit().ln() * *mean as f64) as u64,
            Self::Samples(_, times) => {
                let index = random.below(times.len() as u64);
                usize::try_from(index).ok().and_then(|index| times.get(index)).copied().unwrap_or(0)
            }
        };
        Duration::from_nanos(nanos)
    }
}

impl Kind {
    /// Whether it stops or ends a frame.
    pub(super) const fn is_cut(&self) -> bool {
        matches!(
            self,
            Self::Stall(..)
                | Self::Fin(_)
                | Self::Reset(_)
                | Self::Deaf
                | Self::Mute
                | Self::Blackhole
        )
    }

    /// Whether it takes a socket filter.
    pub(super) const fn needs_filter(&self) -> bool {
        matches!(self, Self::Blackhole | Self::Loss(_))
    }

    /// Whether it makes sense on TCP only.
    #[must_use]
    pub const fn is_for_tcp(&self) -> bool {
        matches!(
            self,
            Self::Blackhole
                | Self::Loss(_)
                | Self::Reset(_)
                | Self::ResetOnAccept
                | Self::Refuse
                | Self::FullBacklog
        )
    }

    /// Whether it concerns time, segments or the end of the connection, and so needs a schedule of the output.
    pub(super) const fn is_scheduled(&self) -> bool {
        matches!(
            self,
            Self::Slice(_)
                | Self::Coalesce(_)
                | Self::Delay(_)
                | Self::Rate(_)
                | Self::Stall(..)
                | Self::Fin(_)
                | Self::Reset(_)
                | Self::AcceptDelay(_)
                | Self::ResetOnAccept
                | Self::Deaf
                | Self::Blackhole
                | Self::Loss(_)
                | Self::ShortChunk(_)
                | Self::Drip(_)
                | Self::Close(_)
        )
    }

    /// Whether it concerns the whole listener, at which nobody is served then.
    #[must_use]
    pub const fn is_of_listener(&self) -> bool {
        matches!(self, Self::Refuse | Self::FullBacklog)
    }

    pub(super) fn value(&self) -> Option<String> {
        Some(match self {
            Self::Slice(span) => span.show(show_size),
            Self::Coalesce(count) => count.to_string(),
            Self::Delay(delay) => match delay {
                Delay::Uniform(span) => span.show(show_nanos),
                Delay::Normal(mean, deviation) => {
                    format!("normal:{}:{}", show_nanos(*mean), show_nanos(*deviation))
                }
                Delay::Exponential(mean) => format!("exp:{}", show_nanos(*mean)),
                Delay::Samples(path, _) => format!("file:{path}"),
            },
            Self::Rate(bytes) | Self::Drip(bytes) => format!("{}/s", show_size(*bytes)),
            Self::Stall(at, None) => show_size(*at),
            Self::Stall(at, Some(pause)) => format!("{}:{}", show_size(*at), show_time(*pause)),
            Self::Corrupt(Damage::Bytes(bytes)) => show_size(*bytes),
            Self::Corrupt(Damage::Bits(bits)) => format!("{bits}bit"),
            Self::Length(length) => length.as_str().to_owned(),
            Self::Garbage(bytes)
            | Self::Truncate(bytes)
            | Self::Fin(bytes)
            | Self::Reset(bytes)
            | Self::ShortChunk(bytes) => show_size(*bytes),
            Self::Status(code) | Self::Close(Some(code)) => code.to_string(),
            Self::Close(None) => "none".to_owned(),
            Self::AcceptDelay(time) => show_time(*time),
            Self::Loss(share) => share.to_string(),
            Self::Drop | Self::Dup | Self::Swap | Self::ResetOnAccept => return None,
            Self::Deaf | Self::Mute | Self::Blackhole => return None,
            Self::Refuse | Self::FullBacklog | Self::NoPong | Self::Mask => return None,
        })
    }
}
