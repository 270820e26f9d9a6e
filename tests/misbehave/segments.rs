//! What the kernel has received on a connection: segments with data, and bytes (`struct tcp_info` of tcp(7), asked for over
//! `sock_diag(7)`).

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
};

use socket2::{Domain, Protocol, Socket, Type};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) segments: u32,
    pub(crate) bytes: u64,
    /// Bytes sent that the peer has not acknowledged.
    pub(crate) unacknowledged: u32,
    /// Segments that were sent again.
    pub(crate) retransmitted: u32,
}

const INET_DIAG_INFO: u16 = 2;

/// What has arrived at `stream`.
pub(crate) fn received(stream: &TcpStream) -> Received {
    let (Ok(SocketAddr::V4(local)), Ok(SocketAddr::V4(peer))) =
        (stream.local_addr(), stream.peer_addr())
    else {
        panic!("only for IPv4");
    };
    let mut body = vec![2, 6, 1 << (INET_DIAG_INFO - 1), 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(peer.port().to_be_bytes());
    for address in [local, peer] {
        body.extend(address.ip().octets());
        body.extend([0; 12]);
    }
    body.extend([0; 4]);
    body.extend([u8::MAX; 8]);
    let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend(20_u16.to_ne_bytes());
    message.extend(1_u16.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);

    let netlink =
        Socket::new(Domain::from(16), Type::DGRAM.cloexec(), Some(Protocol::from(4))).unwrap();
    netlink.send(&message).unwrap();
    let mut answer = [0; 4096];
    let length = (&netlink).read(&mut answer).unwrap();
    let number = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().unwrap());
    let mut at = 16 + 72;
    while at < length {
        let short = |at: usize| u16::from_ne_bytes(answer[at..at + 2].try_into().unwrap());
        let (size, kind) = (usize::from(short(at)), short(at + 2));
        if kind == INET_DIAG_INFO {
            let info = at + 4;
            let bytes = u64::from_ne_bytes(answer[info + 128..info + 136].try_into().unwrap());
            return Received {
                segments: number(info + 152),
                bytes,
                unacknowledged: number(16 + 4 + 48 + 8),
                retransmitted: number(info + 100),
            };
        }
        at += size.div_ceil(4) * 4;
    }
    panic!("the kernel tells nothing of {stream:?}: {:?}", &answer[..length]);
}
