//! Many datagrams in one system call: recvmmsg(2), sendmmsg(2), and one sendmsg(2) with `UDP_SEGMENT` (udp(7)) for equally
//! long datagrams to one address.
//!
//! The kernel sends such datagrams as one until the network device, or the receiving socket, needs them apart. So they
//! pass through the network stack once.

use std::{
    cell::RefCell,
    io::{self, ErrorKind, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    thread::LocalKey,
};

use nix::{
    errno::Errno,
    sys::socket::{
        ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike,
        SockaddrStorage, getsockopt, recvmmsg, sendmsg, sockopt,
    },
};
use rustix::net::{
    MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg, sendmmsg, sendto,
};

use super::batch::Batch;

/// What recvmmsg(2) has besides the buffers, for up to [`Batch::MOST`] datagrams. It has pointers, so it cannot be a part
/// of a socket that moves to another thread. The kernel changes the length of an address as it writes one, so IPv4 and
/// IPv6 do not share them.
type Headers<A> = RefCell<MultiHeaders<A>>;

thread_local! {
    static IPV4: Headers<SockaddrIn> = preallocate();
    static IPV6: Headers<SockaddrIn6> = preallocate();
}

fn preallocate<A: SockaddrLike + Copy>() -> Headers<A> {
    RefCell::new(MultiHeaders::preallocate(Batch::MOST, None))
}

/// So many datagrams are few. Receiving few prepares less, which is a third of what one datagram costs in user space.
const FEW: usize = 2;

/// Receives into the free slots of `batch`, from a socket of this family.
pub(super) fn receive(socket: &impl AsFd, is_ipv4: bool, batch: &mut Batch<'_>) -> io::Result<()> {
    if batch.free_slots().nth(FEW).is_none() {
        receive_most::<FEW>(socket.as_fd(), is_ipv4, batch)
    } else {
        receive_most::<{ Batch::MOST }>(socket.as_fd(), is_ipv4, batch)
    }
}

/// Receives `MOST` datagrams at most.
fn receive_most<const MOST: usize>(
    socket: BorrowedFd<'_>,
    is_ipv4: bool,
    batch: &mut Batch<'_>,
) -> io::Result<()> {
    if is_ipv4 {
        receive_with::<MOST, _>(&IPV4, socket, batch, |address| SocketAddr::V4(address.into()))
    } else {
        receive_with::<MOST, _>(&IPV6, socket, batch, |address| SocketAddr::V6(address.into()))
    }
}

fn receive_with<const MOST: usize, A: SockaddrLike + Copy>(
    headers: &'static LocalKey<Headers<A>>,
    socket: BorrowedFd<'_>,
    batch: &mut Batch<'_>,
    address: impl Fn(A) -> SocketAddr,
) -> io::Result<()> {
    let mut received = [const { None }; MOST];
    headers.with_borrow_mut(|headers| {
        let mut slots = batch.free_slots();
        let mut parts: [_; MOST] =
            std::array::from_fn(|_| slots.next().map(|slot| [IoSliceMut::new(slot)]));
        let parts = parts.iter_mut().map_while(Option::as_mut);
        let messages = recvmmsg(socket.as_raw_fd(), headers, parts, MsgFlags::MSG_DONTWAIT, None)?;
        for (message, received) in messages.zip(&mut received) {
            *received = message.address.map(|source| (message.bytes, address(source)));
        }
        io::Result::Ok(())
    })?;
    received.into_iter().map_while(|datagram| datagram).for_each(|(length, source)| {
        batch.enter(length, source);
    });
    Ok(())
}

/// How datagrams leave a socket.
#[derive(Debug)]
pub(super) struct Sender {
    /// Datagrams of up to this length leave as segments of one sendmsg(2); 0 if the kernel cannot do that. Longer ones do
    /// not fit into a packet on a way that datagrams have taken.
    longest_segment: usize,
}

impl Sender {
    pub(super) fn new(socket: &impl AsFd) -> Self {
        // Kernels before 4.18 do not know the option. They would send all segments as one datagram.
        let has_segments = getsockopt(socket, sockopt::UdpGsoSegment).is_ok();
        Self { longest_segment: if has_segments { Self::MOST_BYTES / 2 } else { 0 } }
    }

    /// The most bytes of all segments together: the longest datagram over IPv4.
    const MOST_BYTES: usize = 65_507;

    /// Sends datagrams from the front of `batch`. Returns how many were sent. An error concerns the first one alone.
    pub(super) fn send(&mut self, socket: &impl AsFd, batch: &Batch<'_>) -> io::Result<usize> {
        let socket = socket.as_fd();
        let run = self.run(batch.iter());
        if run < 2 {
            // Those behind it that cannot leave as segments either go with it.
            let next_run = (1..batch.len()).find(|&at| self.run(batch.iter().skip(at)) > 1);
            return send_each(socket, batch, next_run.unwrap_or(batch.len()));
        }
        match send_segments(socket, batch, run) {
            Ok(()) => Ok(run),
            Err(Errno::EAGAIN) => Err(ErrorKind::WouldBlock.into()),
            Err(error) => {
                let sent = send_each(socket, batch, run)?;
                // So it was not the address.
                self.learn(error, batch);
                Ok(sent)
            }
        }
    }

    /// How many datagrams at the front can leave as segments: equally long ones to one address.
    fn run<'d>(&self, mut datagrams: impl Iterator<Item = (SocketAddr, &'d [u8])>) -> usize {
        let Some((to, payload)) = datagrams.next() else { return 0 };
        let length = payload.len();
        if length == 0 || length > self.longest_segment {
            return 1;
        }
        let most = Self::MOST_BYTES / length;
        1 + datagrams
            .take_while(|(other, next)| *other == to && next.len() == length)
            .take(most - 1)
            .count()
    }

    /// Segments of the length of the first datagram did not leave, and datagrams did.
    fn learn(&mut self, error: Errno, batch: &Batch<'_>) {
        if matches!(error, Errno::EINVAL | Errno::EMSGSIZE | Errno::EIO) {
            let length = batch.iter().next().map_or(0, |(_, payload)| payload.len());
            self.longest_segment = length.saturating_sub(1).min(self.longest_segment);
        }
    }
}

fn send_segments(socket: BorrowedFd<'_>, batch: &Batch<'_>, count: usize) -> nix::Result<()> {
    let mut parts = [IoSlice::new(&[]); Batch::MOST];
    let datagrams = batch.iter().take(count);
    for ((_, payload), part) in datagrams.zip(&mut parts) {
        *part = IoSlice::new(payload);
    }
    let Some((to, payload)) = batch.iter().next() else { return Ok(()) };
    let length = u16::try_from(payload.len()).map_err(|_| Errno::EMSGSIZE)?;
    let control = [ControlMessage::UdpGsoSegments(&length)];
    let to = SockaddrStorage::from(to);
    let flags = MsgFlags::MSG_DONTWAIT;
    sendmsg(socket.as_raw_fd(), &parts[..count], &control, flags, Some(&to)).map(drop)
}

/// Sends the first `count` datagrams, or as many of them as leave before an error.
fn send_each(socket: BorrowedFd<'_>, batch: &Batch<'_>, count: usize) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT;
    let mut datagrams = batch.iter().take(count);
    if let (Some((to, payload)), 1) = (datagrams.clone().next(), count) {
        return Ok(sendto(socket, payload, flags, &to).map(|_| 1)?);
    }
    let mut addresses = Vec::with_capacity(count);
    let mut parts = Vec::with_capacity(count);
    for (to, payload) in datagrams.by_ref() {
        addresses.push(to.as_any());
        parts.push([IoSlice::new(payload)]);
    }
    let mut controls: Vec<_> = parts.iter().map(|_| SendAncillaryBuffer::new(&mut [])).collect();
    let with = addresses.iter().zip(&parts).zip(&mut controls);
    let mut headers: Vec<_> = with
        .map(|((to, part), control): ((&SocketAddrAny, _), _)| {
            MMsgHdr::new_with_addr(to, part, control)
        })
        .collect();
    Ok(sendmmsg(socket, &mut headers, flags)?)
}
