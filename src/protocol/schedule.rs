//! How and when a connection's output leaves: a list of steps that a protocol puts beside its bytes.
//!
//! Without steps all bytes leave as soon as the kernel takes them. The connection carries the steps out
//! (`src/reactor/connection/delivery.rs`).

use std::time::Duration;

use crate::random::Random;

/// A step of a connection's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes leave.
    Send { bytes: usize, pieces: Pieces },
    /// Nothing happens for this time.
    Wait(Duration),
    /// Nothing leaves any more, and nothing is read, until the peer or the server ends the connection.
    Hold,
    /// From here on this share of the segments that arrive is dropped, in parts of a million.
    Lose(u32),
    /// FIN.
    Finish,
    /// RST, once the peer has acknowledged everything before.
    Reset,
}

/// Which bytes leave together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// As many as the kernel takes.
    Any,
    /// Pieces of `least` to `most` bytes, each in a segment of its own; at most `rate` bytes a second.
    Sliced { least: u64, most: u64, rate: Option<u64>, random: Random },
}

impl Pieces {
    /// How many of `left` bytes leave next, and how long to wait behind them.
    pub(crate) fn next(&mut self, left: usize) -> (usize, Duration) {
        let Self::Sliced { least, most, rate, random } = self else {
            return (left, Duration::ZERO);
        };
        let length = if least == most { *least } else { random.between(*least, *most) };
        let length = usize::try_from(length).unwrap_or(usize::MAX).clamp(1, left.max(1));
        let pause = rate.map_or(Duration::ZERO, |rate| time_of(length as u64, rate));
        (length, pause)
    }
}

/// How long `bytes` take at `rate` bytes a second.
pub(crate) fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_their_lengths_and_pauses() {
        assert_eq!(Pieces::Any.next(7), (7, Duration::ZERO));
        let mut random = Random::of(&[1]);
        let sliced = |least, most, rate| Pieces::Sliced { least, most, rate, random };
        assert_eq!(sliced(3, 3, None).next(7), (3, Duration::ZERO));
        assert_eq!(sliced(3, 3, Some(1000)).next(2), (2, Duration::from_millis(2)));
        let mut pieces = sliced(2, 4, None);
        let lengths: Vec<usize> = (0..100).map(|_| pieces.next(100).0).collect();
        assert!((2..=4).all(|length| lengths.contains(&length)));
        assert!(lengths.iter().all(|length| (2..=4).contains(length)));
        random.next();
    }
}
