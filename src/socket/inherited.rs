//! What is wrong with a socket that another process passed.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use socket2::{Domain, Protocol, Socket, Type};

/// The error for a socket that is not `wanted`.
pub(super) fn unsuitable(socket: &Socket, wanted: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("it is {}, not {wanted}", Description(socket)))
}

/// What a socket is, as in "a UDP socket".
struct Description<'s>(&'s Socket);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(socket) = self;
        let (domain, kind) = match (socket.domain(), socket.r#type()) {
            (Ok(domain), Ok(kind)) => (domain, kind),
            (Err(error), _) | (_, Err(error)) => {
                return write!(f, "a descriptor without a type ({error})");
            }
        };
        let family = match (domain, kind, socket.protocol()) {
            (Domain::UNIX, ..) => "Unix",
            (Domain::IPV4 | Domain::IPV6, Type::STREAM, Ok(Some(Protocol::TCP))) => "TCP",
            (Domain::IPV4 | Domain::IPV6, Type::DGRAM, Ok(Some(Protocol::UDP))) => "UDP",
            (Domain::IPV4 | Domain::IPV6, ..) => "IP",
            _ => return write!(f, "a socket of another family ({domain:?})"),
        };
        match kind {
            Type::STREAM if socket.is_listener().is_ok_and(|is| is) => {
                write!(f, "a listening {family} socket")
            }
            Type::STREAM if socket.peer_addr().is_ok() => {
                write!(f, "a connected {family} socket (from Accept=yes in the .socket unit?)")
            }
            Type::STREAM => write!(f, "a {family} stream socket that does not listen"),
            Type::DGRAM if family == "UDP" => f.write_str("a UDP socket"),
            Type::DGRAM => write!(f, "a {family} datagram socket"),
            Type::SEQPACKET => write!(f, "a {family} sequential-packet socket"),
            _ => write!(f, "a {family} socket of another type ({kind:?})"),
        }
    }
}
