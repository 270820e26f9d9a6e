//! TCP ports at which nobody is served: clients cannot connect, in one exact way each.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};

use super::{endpoint::Endpoint, stream::Socket};

/// How many connections may be needed to fill a backlog: others that share the port may get some of them.
const MOST_FILLERS: usize = 256;

/// How long a connection takes to arrive at most, in its own kernel.
const ARRIVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A TCP port at which nobody is served, until this is dropped.
#[derive(Debug)]
pub struct Unserved {
    socket: RawSocket,
    /// Connections that fill the backlog.
    fillers: Vec<Socket>,
}

impl Unserved {
    /// Binds `address` and does not listen there: the kernel answers each SYN with RST, so that connect(2) fails with
    /// `ECONNREFUSED`. Nobody else can listen there meanwhile.
    ///
    /// # Errors
    ///
    /// As bind(2).
    pub fn refusing(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: bind(address, false)?, fillers: Vec::new() })
    }

    /// Listens at `address`, accepts nothing, and fills the backlog with a connection of its own. The kernel drops each
    /// SYN that comes then, whatever `net.ipv4.tcp_abort_on_overflow` says (which is for connections whose handshake is
    /// half done): a peer repeats it after 1, 3, 7, ... seconds, and connect(2) fails with `ETIMEDOUT` after two minutes
    /// (tcp(7), `tcp_syn_retries`).
    ///
    /// The process that replaces this one can do the same at the same time. It `replaces` one, or the port must be free.
    ///
    /// # Errors
    ///
    /// As bind(2), listen(2) and connect(2).
    pub fn full(address: SocketAddr, replaces: bool) -> io::Result<Self> {
        if !replaces {
            bind(address, false)?.listen(0)?;
        }
        let socket = bind(address, true)?;
        // A queue of 0 has room for one (listen(2) takes a hint, and Linux adds one).
        socket.listen(0)?;
        let mut unserved = Self { socket, fillers: Vec::new() };
        let own = Endpoint::Tcp(reachable(unserved.address()?));
        while !unserved.has_waiting()? {
            if unserved.fillers.len() == MOST_FILLERS {
                return Err(io::Error::other("the backlog does not fill up"));
            }
            unserved.fillers.push(Socket::connect(&own, None, None)?);
        }
        Ok(unserved)
    }

    /// Where it is bound, with the port that the kernel chose.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Whether a connection waits in the backlog, or arrives soon.
    fn has_waiting(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        Ok(poll(&mut polled, Some(&ARRIVAL))? > 0)
    }
}

fn bind(address: SocketAddr, share_ports: bool) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share_ports)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// An address at which this host reaches what is bound to `address`.
const fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net::TcpStream, time::Duration};

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    #[test]
    fn connections_are_refused_where_nobody_listens() {
        let unserved = Unserved::refusing(ANY).unwrap();
        let address = reachable(unserved.address().unwrap());
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // The next process can bind it before this one ends.
        Unserved::refusing(unserved.address().unwrap()).unwrap();
    }

    #[test]
    fn connections_are_not_answered_where_the_backlog_is_full() {
        let unserved = Unserved::full(ANY, false).unwrap();
        let bound = unserved.address().unwrap();
        let connect = || {
            TcpStream::connect_timeout(&reachable(bound), Duration::from_millis(200))
                .unwrap_err()
                .kind()
        };
        assert_eq!(connect(), ErrorKind::TimedOut);
        assert_eq!(Unserved::full(bound, false).unwrap_err().kind(), ErrorKind::AddrInUse);
        // Both are full, whichever of them a connection goes to.
        let next = Unserved::full(bound, true).unwrap();
        assert_eq!([connect(), connect(), connect()], [ErrorKind::TimedOut; 3]);
        drop(unserved);
        assert_eq!([connect(), connect(), connect()], [ErrorKind::TimedOut; 3]);
        drop(next);
        assert_eq!(connect(), ErrorKind::ConnectionRefused);
    }
}
