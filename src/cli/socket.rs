//! A blocking connection to a server, over TCP or a Unix socket, and the messages when connecting fails.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use log::debug;
use resound::listen::Address;
use socket2::Socket;

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

/// Connects. If a name has several addresses, to the first that accepts. `server` is what should listen there.
pub(crate) fn connect(
    address: &Address,
    timeout: Option<Duration>,
    server: Server,
) -> Result<Socket, Failure> {
    let connected = match address {
        Address::Ip(address) => connect_tcp(*address, timeout),
        Address::Name { host, port } => {
            let addresses = resolve::look_up(host, *port).map_err(|error| {
                Failure::Failed(format!("cannot connect to {address}: {error}"))
            })?;
            connect_to_first(&addresses, timeout)
        }
        Address::Unix(path) => UnixStream::connect(path).map(Socket::from),
        Address::Passed(_) => {
            return Err(Failure::Usage(format!(
                "cannot connect to {address}: a server listens on such sockets; write HOST:PORT or unix:PATH"
            )));
        }
    };
    connected.map_err(|error| Failure::Failed(explain(address, &error, timeout, server)))
}

/// Bounds each read and each write.
pub(crate) fn set_timeouts(socket: &Socket, timeout: Option<Duration>) -> io::Result<()> {
    socket.set_read_timeout(timeout)?;
    socket.set_write_timeout(timeout)
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
    Ok(stream.into())
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
