//! How much of a connection's send queue the peer has not acknowledged: what `SIOCOUTQ` of tcp(7) tells.
//!
//! That call takes unsafe code, so the kernel is asked in another way: over netlink, `sock_diag(7)`, one question for one
//! socket, which takes it constant time.

use std::{io, net::SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// From the kernel's `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;
/// In `struct inet_diag_msg`: behind four bytes, the addresses, and two numbers.
const SEND_QUEUE: usize = 4 + 48 + 8;

/// Bytes of the send queue that are not acknowledged.
///
/// # Errors
///
/// As socket(2), send(2) and recv(2); `Unsupported` where the kernel does not answer such questions.
pub(super) fn unacknowledged(stream: &TcpStream) -> io::Result<usize> {
    let netlink = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM.cloexec(),
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    netlink.send(&question(stream.local_addr()?, stream.peer_addr()?))?;
    let mut answer = [0; 1024];
    let length = io::Read::read(&mut &netlink, &mut answer)?;
    read(&answer[..length])
}

fn question(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // struct inet_diag_req_v2, for a socket in any state.
    let mut body = vec![family.to_le_bytes()[0], libc::IPPROTO_TCP.to_le_bytes()[0], 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(peer.port().to_be_bytes());
    for address in [local, peer] {
        match address {
            SocketAddr::V4(address) => {
                body.extend(address.ip().octets());
                body.extend([0; 12]);
            }
            SocketAddr::V6(address) => body.extend(address.ip().octets()),
        }
    }
    let scope = match local {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    body.extend(scope.to_ne_bytes());
    // No cookie.
    body.extend([u8::MAX; 8]);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(u32::try_from(HEADER + body.len()).unwrap_or(0).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn read(answer: &[u8]) -> io::Result<usize> {
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    match kind {
        Some(SOCK_DIAG_BY_FAMILY) => {
            number(HEADER + SEND_QUEUE).and_then(|bytes| usize::try_from(bytes).ok())
        }
        Some(NLMSG_ERROR) => {
            let error = number(HEADER).map_or(0, u32::cast_signed);
            return Err(io::Error::from_raw_os_error(-error));
        }
        _ => None,
    }
    .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream as Std},
    };

    use super::*;

    #[test]
    fn what_the_peer_has_no_room_for_is_not_acknowledged() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("skipped: no {address} here");
                continue;
            };
            let mut peer = Std::connect(listener.local_addr().unwrap()).unwrap();
            let (mut sender, _) = listener.accept().unwrap();
            sender.set_nonblocking(true).unwrap();
            let mut sent = 0;
            while let Ok(bytes) = sender.write(&[7; 1 << 16]) {
                sent += bytes;
            }
            let stream = TcpStream::from_std(sender);
            assert!(unacknowledged(&stream).unwrap() > 0);
            peer.read_exact(&mut vec![0; sent]).unwrap();
            // The acknowledgement of the last bytes is sent while they are read, or a little later.
            let start = std::time::Instant::now();
            while unacknowledged(&stream).unwrap() > 0 {
                assert!(start.elapsed().as_secs() < 60);
                std::thread::yield_now();
            }
        }
    }
}
