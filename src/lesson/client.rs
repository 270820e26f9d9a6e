//! The client of a measurement. It sends and counts what comes, and waits not for a time but until the server rests.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::{segments, stage::Stage};

/// A connection to a server under measurement.
#[derive(Debug)]
pub(super) struct Client<'s> {
    stage: &'s Stage,
    stream: TcpStream,
    /// How the server has ended the connection, if it has.
    pub(super) end: Option<End>,
    /// How long to wait for an event before a look at whether the server rests.
    wait: Duration,
    /// Nothing more can be sent. There may be something to read nevertheless.
    is_broken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Fin,
    Reset,
}

/// Bytes of a segment in an Ethernet frame. On loopback segments have 64 KiB, and windows follow from that.
const ETHERNET_SEGMENT: u32 = 1_460;

/// As [`Client::wait`], unless times are measured: a look takes time.
const WAIT: Duration = Duration::from_millis(50);
const LONG_WAIT: Duration = Duration::from_secs(2);

/// Bytes of one read, and of one write of what has no meaning.
const PIECE: usize = 64 << 10;

impl<'s> Client<'s> {
    pub(super) fn connect(stage: &'s Stage) -> Result<Self, String> {
        Self::open(stage, None, None)
    }

    /// With a receive buffer of that many bytes, which the server fills soon.
    pub(super) fn connect_small(stage: &'s Stage, receive_buffer: usize) -> Result<Self, String> {
        Self::open(stage, Some(receive_buffer), None)
    }

    /// With a send buffer of that many bytes, which is full while they are not acknowledged.
    pub(super) fn connect_small_sender(stage: &'s Stage, buffer: usize) -> Result<Self, String> {
        Self::open(stage, None, Some(buffer))
    }

    fn open(
        stage: &'s Stage,
        receive_buffer: Option<usize>,
        send_buffer: Option<usize>,
    ) -> Result<Self, String> {
        let connect = || {
            let address = stage.address();
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            if let Some(size) = receive_buffer {
                // Before the connection is made, so that the first window is small already.
                socket.set_recv_buffer_size(size)?;
                socket.set_tcp_mss(ETHERNET_SEGMENT)?;
            }
            if let Some(size) = send_buffer {
                socket.set_send_buffer_size(size)?;
            }
            socket.connect(&address.into())?;
            socket.set_tcp_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        };
        let stream =
            connect().map_err(|error: std::io::Error| format!("cannot connect: {error}"))?;
        Ok(Self { stage, stream, end: None, wait: WAIT, is_broken: false })
    }

    /// Sends `bytes`, until all are taken or the server rests and no more are. Returns how many were.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<u64, String> {
        let deadline = Stage::deadline();
        let mut taken = 0;
        while taken < bytes.len() && !self.is_broken {
            let now = self.write(&bytes[taken..]);
            taken += now;
            if now == 0 && !self.await_event(PollFlags::OUT) && self.stage.is_at_rest() {
                break;
            }
            self.stage
                .check(deadline, "what was sent is not taken, and the server does not rest")?;
        }
        Ok(taken as u64)
    }

    /// As [`send`](Self::send), `most` bytes without a meaning.
    pub(super) fn flood(&mut self, most: u64) -> Result<u64, String> {
        let piece = [b'x'; PIECE];
        let mut taken = 0;
        while taken < most {
            let part = usize::try_from(most - taken).map_or(PIECE, |left| left.min(PIECE));
            let now = self.send(&piece[..part])?;
            taken += now;
            if now < part as u64 {
                break;
            }
        }
        Ok(taken)
    }

    /// Reads until `most` bytes have come, the connection has ended, or the server rests and no more come. Returns how many
    /// have come.
    pub(super) fn receive(&mut self, most: u64) -> Result<u64, String> {
        self.exchange(0, most)
    }

    /// Sends `left` bytes without a meaning, and reads meanwhile, as [`receive`](Self::receive) does.
    pub(super) fn exchange(&mut self, mut left: u64, most: u64) -> Result<u64, String> {
        let piece = [b'x'; PIECE];
        let mut come = 0;
        let mut deadline = Stage::deadline();
        while come < most && self.end.is_none() {
            let part = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            let taken = self.write(&piece[..part]) as u64;
            left -= taken;
            let now = self.read(most - come);
            come += now;
            if taken + now > 0 {
                deadline = Stage::deadline();
                continue;
            }
            let wanted = if left > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            if self.end.is_none() && !self.await_event(wanted) && self.stage.is_at_rest() {
                // What came while it was looked at counts.
                let last = self.read(most - come);
                come += last;
                if last == 0 {
                    break;
                }
            }
            self.stage.check(deadline, "nothing comes, and the server does not rest")?;
        }
        Ok(come)
    }

    /// A message there and back; returns whether it came back in full, and how long that took.
    pub(super) fn round_trip(&mut self, message: &[u8]) -> Result<Option<Duration>, String> {
        let (length, start) = (message.len() as u64, Instant::now());
        let is_back = self.send(message)? == length && self.receive(length)? == length;
        Ok(is_back.then(|| start.elapsed()))
    }

    /// Looks less often at whether the server rests, because the times of round trips are measured.
    pub(super) fn measure_times(&mut self) {
        self.wait = LONG_WAIT;
    }

    /// Sends FIN.
    pub(super) fn finish(&self) {
        // It fails only where the connection has ended, and then what came says why.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Bytes that it has sent and the server has not read.
    pub(super) fn unread(&self) -> u64 {
        // The kernel knows the address of a socket that is connected.
        self.stream.local_addr().map_or(0, |address| self.stage.unread(address.port()))
    }

    /// Segments with data that have come.
    pub(super) fn data_segments(&self) -> Result<u64, String> {
        segments::data_segments(&self.stream)
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() || self.is_broken {
            return 0;
        }
        match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if is_for_now(error.kind()) => 0,
            Err(_) => {
                self.is_broken = true;
                0
            }
        }
    }

    fn read(&mut self, most: u64) -> u64 {
        let mut buffer = [0; PIECE];
        let most = usize::try_from(most).map_or(PIECE, |most| most.min(PIECE));
        match self.stream.read(&mut buffer[..most]) {
            Ok(0) => self.end = Some(End::Fin),
            Ok(count) => return count as u64,
            Err(error) if is_for_now(error.kind()) => {}
            Err(_) => self.end = Some(End::Reset),
        }
        0
    }

    /// Waits for an event, for a short time. Returns whether there was one.
    fn await_event(&self, wanted: PollFlags) -> bool {
        // A time of this size fits.
        let wait = Timespec::try_from(self.wait).ok();
        poll(&mut [PollFd::new(&self.stream, wanted)], wait.as_ref()).is_ok_and(|count| count > 0)
    }
}

const fn is_for_now(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
