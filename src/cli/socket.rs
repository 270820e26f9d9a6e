//! A blocking connection to a server, over TCP or a Unix socket, and the messages when connecting fails.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use log::debug;
use resound::listen::Address;

use super::Failure;
use crate::common::{resolve, units::Time};

/// What should listen at an address; without it, a message says how to start it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server {
    Echo,
    Admin,
}

impl Server {
    const fn over_tcp(self) -> &'static str {
        match self {
            Self::Echo => "nothing listens there; start a server with: resound serve",
            Self::Admin => {
                "nothing listens there; start the server with --admin, and give the address of its line \
                 `listening on admin://ADDRESS`"
            }
        }
    }

    const fn over_unix(self) -> &'static str {
        match self {
            Self::Echo => {
                "there is no such socket; start a server with: resound serve --listen frames+unix://PATH"
            }
            Self::Admin => "there is no such socket; start the server with --admin unix:PATH",
        }
    }
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects. If a name has several addresses, to the first that accepts. `server` is what should listen there.
    pub(crate) fn connect(
        address: &Address,
        timeout: Option<Duration>,
        server: Server,
    ) -> Result<Self, Failure> {
        let connected = match address {
            Address::Ip(address) => connect_tcp(*address, timeout),
            Address::Name { host, port } => {
                let addresses = resolve::look_up(host, *port).map_err(|error| {
                    Failure::Failed(format!("cannot connect to {address}: {error}"))
                })?;
                connect_to_first(&addresses, timeout)
            }
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            Address::Passed(_) => {
                return Err(Failure::Usage(format!(
                    "cannot connect to {address}: a server listens on such sockets; write HOST:PORT or unix:PATH"
                )));
            }
        };
        connected.map_err(|error| Failure::Failed(explain(address, &error, timeout, server)))
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(timeout),
            Self::Unix(stream) => stream.set_write_timeout(timeout),
        }
    }

    /// For each read and each write.
    pub(crate) fn set_timeouts(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)?;
        self.set_write_timeout(timeout)
    }

    /// Sends FIN: the server sees the end of the input.
    pub(crate) fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

fn connect_to_first(addresses: &[SocketAddr], timeout: Option<Duration>) -> io::Result<Socket> {
    let mut outcome = Err(ErrorKind::AddrNotAvailable.into());
    for &address in addresses {
        outcome = connect_tcp(address, timeout);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn connect_tcp(address: SocketAddr, timeout: Option<Duration>) -> io::Result<Socket> {
    let stream = match timeout {
        Some(timeout) => TcpStream::connect_timeout(&address, timeout)?,
        None => TcpStream::connect(address)?,
    };
    // Send each line at once, without waiting for the answer to the previous one.
    stream.set_nodelay(true)?;
    debug!("connected to {address}");
    Ok(Socket::Tcp(stream))
}

fn explain(
    address: &Address,
    error: &io::Error,
    timeout: Option<Duration>,
    server: Server,
) -> String {
    let cause = match (error.kind(), address) {
        (ErrorKind::ConnectionRefused, _) => server.over_tcp(),
        (ErrorKind::NotFound, Address::Unix(_)) => server.over_unix(),
        (ErrorKind::TimedOut, _) => {
            let waited = timeout.map_or_else(String::new, |time| format!(" for {}", Time(time)));
            return format!(
                "cannot connect to {address}: no answer{waited}; check the address, and any firewall on the way"
            );
        }
        (ErrorKind::PermissionDenied, _) => {
            "not allowed; check the permissions of the socket and of its directory"
        }
        _ => return format!("cannot connect to {address}: {error}"),
    };
    format!("cannot connect to {address}: {cause}")
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => { stream }.read(buffer),
            Socket::Unix(stream) => { stream }.read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => { stream }.write(bytes),
            Socket::Unix(stream) => { stream }.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        { &*self }.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        { &*self }.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
