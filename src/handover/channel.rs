//! Messages over a Unix stream socket: a head, JSON, bytes, and descriptors.
//!
//! ```text
//! ┌─────────────┬───────────┬─────────────┬────────────┬────────┬─────────┐
//! │ "resound\n" │ JSON, u32 │ descriptors │ bytes, u64 │ JSON … │ bytes … │     numbers are little-endian
//! └─────────────┴───────────┴─ u32 ───────┴────────────┴────────┴─────────┘
//! └────────── one sendmsg(2), with the descriptors ────┘
//! ```

use std::{
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use super::message::Message;
use crate::common::passing;

const MAGIC: &[u8; 8] = b"resound\n";

const HEAD: usize = 24;

/// The longest JSON of a message in bytes: far more than what describes as many connections as a message has
/// descriptors.
const LONGEST_JSON: usize = 4 << 20;

/// The most bytes of a message. One connection may hold a frame of up to 2 GiB.
const MOST_BYTES: u64 = 16 << 30;

/// One message.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) message: Message,
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// One end of the conversation.
#[derive(Debug)]
pub(crate) struct Channel(UnixStream);

impl Channel {
    pub(crate) const fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Sends a message, which the other end has to take within `at_most`.
    pub(super) fn send(
        &mut self,
        message: &Message,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        at_most: Duration,
    ) -> io::Result<()> {
        self.0.set_write_timeout(Some(at_most))?;
        let json = serde_json::to_vec(message)?;
        let lengths = (u32::try_from(json.len()), u32::try_from(descriptors.len()));
        let (Ok(json_length), Ok(count)) = lengths else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&json_length.to_le_bytes());
        head[12..16].copy_from_slice(&count.to_le_bytes());
        head[16..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.send_head(&head, descriptors)?;
        self.0.write_all(&json)?;
        self.0.write_all(bytes)
    }

    fn send_head(&mut self, head: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let sent = loop {
            match passing::send(&self.0, head, descriptors) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                sent => break sent?,
            }
        };
        // The descriptors went with the first byte.
        self.0.write_all(&head[sent..])
    }

    /// The next message, which has to come within `at_most`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the other end is gone, `TimedOut`, `InvalidData` for anything but a message.
    pub(super) fn receive(&mut self, at_most: Duration) -> io::Result<Parcel> {
        let until = Instant::now() + at_most;
        let mut descriptors = Vec::new();
        let mut head = [0; HEAD];
        let mut filled = 0;
        while filled < HEAD {
            match self.receive_head(&mut head[filled..], &mut descriptors, until)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        let number = |from: usize, to: usize| {
            head[from..to].iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        };
        let (json, count, bytes) = (number(8, 12), number(12, 16), number(16, 24));
        if !head.starts_with(MAGIC) || json > LONGEST_JSON as u64 || bytes > MOST_BYTES {
            return Err(invalid("what came is no message of a hand-over"));
        }
        let json = self.receive_bytes(json, until)?;
        let bytes = self.receive_bytes(bytes, until)?;
        let message = serde_json::from_slice(&json).map_err(|error| {
            invalid(&format!("a message of the hand-over is not understood: {error}"))
        })?;
        if (descriptors.len() as u64) < count {
            log::warn!(
                "{} of {count} descriptors came: the limit of open files is reached (ulimit -n, or LimitNOFILE= in a \
                 systemd unit)",
                descriptors.len()
            );
        }
        Ok(Parcel { message, bytes, descriptors })
    }

    fn receive_head(
        &mut self,
        head: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        until: Instant,
    ) -> io::Result<usize> {
        loop {
            self.limit_reading(until)?;
            match passing::receive(&self.0, head, descriptors) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                received => return received,
            }
        }
    }

    /// Memory grows with what comes, not with what was announced.
    fn receive_bytes(&mut self, length: u64, until: Instant) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            self.limit_reading(until)?;
            let left = (length - bytes.len() as u64).min(1 << 20);
            match (&self.0).take(left).read_to_end(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                read => read?,
            };
        }
        Ok(bytes)
    }

    fn limit_reading(&self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        // Zero would be no limit.
        self.0.set_read_timeout(Some(left.max(Duration::from_millis(1))))
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd, thread};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[test]
    fn messages_come_one_by_one_with_their_bytes_and_descriptors() {
        let (mut one, mut other) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                let many = [file.as_fd(); passing::MOST];
                one.send(&Message::Yours, &[], &[], PATIENCE).unwrap();
                one.send(&Message::Received { refused: vec![7] }, &bytes, &many, PATIENCE).unwrap();
                one.send(&Message::Yours, b"x", &[file.as_fd()], PATIENCE).unwrap();
            });
            let first = other.receive(PATIENCE).unwrap();
            assert!(matches!(first.message, Message::Yours));
            assert_eq!((first.bytes.len(), first.descriptors.len()), (0, 0));
            let second = other.receive(PATIENCE).unwrap();
            assert!(matches!(second.message, Message::Received { refused } if refused == [7]));
            assert_eq!(second.bytes, bytes);
            assert_eq!(second.descriptors.len(), passing::MOST);
            let third = other.receive(PATIENCE).unwrap();
            assert_eq!((&third.bytes[..], third.descriptors.len()), (&b"x"[..], 1));
        });
        drop(one);
        assert_eq!(other.receive(PATIENCE).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn silence_and_garbage_are_errors() {
        let (one, mut other) = pair();
        let error = other.receive(Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        (&one.0).write_all(&[b'x'; HEAD]).unwrap();
        assert_eq!(other.receive(PATIENCE).unwrap_err().kind(), ErrorKind::InvalidData);

        let (one, mut other) = pair();
        let json = br#"{"say":"what"}"#;
        let mut message = MAGIC.to_vec();
        message.extend([14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.extend(json);
        (&one.0).write_all(&message).unwrap();
        assert_eq!(other.receive(PATIENCE).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
