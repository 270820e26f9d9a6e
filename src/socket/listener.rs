//! Binds listening sockets, and accepts connections from them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind},
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::SocketAddr as SocketAddress,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, UnixListener, UnixStream},
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, TcpKeepalive, Type};

use super::{endpoint::Endpoint, inherited, peer::Peer, stream::Socket};

/// A listening, non-blocking socket.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// The process that passed this socket keeps it open.
    is_inherited: bool,
}

#[derive(Debug)]
enum Kind {
    /// TCP over IPv4 or IPv6, and where it is bound.
    Tcp(TcpListener, SocketAddr),
    /// A Unix stream socket, and its path. Fields are dropped in this order: the path goes first.
    Unix(UnixPath, UnixListener),
}

/// A [`Listener`] on its way to another one, perhaps in another process. Dropping it closes the socket and leaves the file
/// of a Unix socket where it is.
#[derive(Debug)]
pub struct ListeningSocket {
    /// The listening socket.
    pub socket: OwnedFd,
    /// Whether the process that passed this socket at the start keeps it open ([`Listener::inherit`]).
    pub is_inherited: bool,
    /// Device and inode of the file of a Unix socket, if the listener is to remove it in the end.
    pub file: Option<(u64, u64)>,
}

impl From<Listener> for ListeningSocket {
    fn from(listener: Listener) -> Self {
        let Listener { kind, is_inherited } = listener;
        match kind {
            Kind::Tcp(listener, _) => Self { socket: listener.into(), is_inherited, file: None },
            Kind::Unix(mut path, listener) => {
                let file = path.file.take().map(|FileId { device, inode }| (device, inode));
                Self { socket: listener.into(), is_inherited, file }
            }
        }
    }
}

impl TryFrom<ListeningSocket> for Listener {
    type Error = io::Error;

    /// As [`Listener::inherit`], with the same owner as before.
    fn try_from(listening: ListeningSocket) -> io::Result<Self> {
        let ListeningSocket { socket, is_inherited, file } = listening;
        let mut listener = Self { is_inherited, ..Self::inherit(socket)? };
        if let Kind::Unix(path, _) = &mut listener.kind {
            path.file = file.map(|(device, inode)| FileId { device, inode });
        }
        Ok(listener)
    }
}

/// How often the kernel asks a silent peer whether it is still there.
const KEEPALIVE_QUESTIONS: u32 = 3;

impl Listener {
    /// What the kernel takes as the time of `SO_KEEPALIVE`, at least and at most.
    pub const KEEPALIVE_AT_LEAST: Duration = Duration::from_secs(1);
    /// See [`KEEPALIVE_AT_LEAST`](Self::KEEPALIVE_AT_LEAST).
    pub const KEEPALIVE_AT_MOST: Duration = Duration::from_secs(32_767);

    /// Binds `endpoint` and listens with room for `backlog` connections not yet accepted, which the kernel
    /// limits to `net.core.somaxconn`. With `share_ports` others of this user may listen on the same TCP port.
    ///
    /// The options are set here, once: accepted sockets inherit `TCP_NODELAY` (tcp(7)), so that a reply never waits
    /// for the acknowledgement of the one before. A Unix path at which no process listens any more is taken over.
    ///
    /// # Errors
    ///
    /// As bind(2) and listen(2): `AddrInUse`, `PermissionDenied` for a port below 1024, `AddrNotAvailable` for
    /// an address that is not this machine's.
    pub fn bind(endpoint: &Endpoint, backlog: u32, share_ports: bool) -> io::Result<Self> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        match endpoint {
            Endpoint::Tcp(address) => {
                let socket = RawSocket::new(
                    Domain::for_address(*address),
                    Type::STREAM,
                    Some(Protocol::TCP),
                )?;
                socket.set_nonblocking(true)?;
                socket.set_reuse_address(true)?;
                socket.set_reuse_port(share_ports)?;
                if address.is_ipv6() {
                    socket.set_only_v6(false)?;
                }
                socket.set_tcp_nodelay(true)?;
                socket.bind(&SockAddr::from(*address))?;
                socket.listen(backlog)?;
                let listener = TcpListener::from_std(socket.into());
                let bound = listener.local_addr()?;
                Ok(Self::own(Kind::Tcp(listener, bound)))
            }
            Endpoint::Unix(path) => {
                let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                let address = SockAddr::unix(path)?;
                // Until the socket listens, because it looks deserted before.
                let _lock = lock(path)?;
                if let Err(error) = socket.bind(&address) {
                    if error.kind() != ErrorKind::AddrInUse || !remove_if_deserted(path)? {
                        return Err(error);
                    }
                    socket.bind(&address)?;
                }
                socket.listen(backlog)?;
                let path = UnixPath::of_bound(path)?;
                Ok(Self::own(Kind::Unix(path, UnixListener::from_std(socket.into()))))
            }
        }
    }

    const fn own(kind: Kind) -> Self {
        Self { kind, is_inherited: false }
    }

    /// Takes over a socket that is bound and listening: one that a service manager passed at the start
    /// (`sd_listen_fds`(3)), or that another process sent.
    ///
    /// The socket belongs to the process that passed it. So its backlog stays as it is, a Unix socket's path is not
    /// removed when this is dropped, and a reactor that stops leaves the connections in the queue to the next process.
    /// `O_NONBLOCK` and, for TCP, `TCP_NODELAY` are set.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with a text that says what the socket is, unless it is a listening stream socket of TCP or a Unix
    /// socket. Otherwise as getsockopt(2) and setsockopt(2).
    pub fn inherit(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = RawSocket::from(socket.into());
        let (domain, is_stream) = (socket.domain()?, socket.r#type()? == Type::STREAM);
        let is_known = [Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain);
        if !is_known || !is_stream || !socket.is_listener()? {
            return Err(inherited::unsuitable(&socket, "a listening TCP or Unix stream socket"));
        }
        socket.set_nonblocking(true)?;
        let kind = if domain == Domain::UNIX {
            let listener = UnixListener::from_std(socket.into());
            let path = UnixPath::of_inherited(&listener.local_addr()?);
            Kind::Unix(path, listener)
        } else {
            socket.set_tcp_nodelay(true)?;
            let listener = TcpListener::from_std(socket.into());
            let bound = listener.local_addr()?;
            Kind::Tcp(listener, bound)
        };
        Ok(Self { kind, is_inherited: true })
    }

    /// Whether another process passed the socket, and keeps it open.
    pub(crate) const fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// The bound endpoint, with the port that the kernel chose. The name of an abstract Unix socket (unix(7)) has an @ in
    /// front.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        match &self.kind {
            Kind::Tcp(_, bound) => Endpoint::Tcp(*bound),
            Kind::Unix(path, _) => Endpoint::Unix(path.path.clone()),
        }
    }

    /// The local address of `stream`. Only a listener on all addresses has to ask the kernel.
    pub(crate) fn local(&self, stream: &Socket) -> Option<SocketAddr> {
        match (&self.kind, stream) {
            (Kind::Tcp(_, bound), _) if !bound.ip().is_unspecified() => Some(*bound),
            (_, Socket::Tcp(stream)) => stream.local_addr().ok(),
            (_, Socket::Unix(_)) => None,
        }
    }

    /// Accepts the next waiting connection.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Peer)> {
        match &self.kind {
            Kind::Tcp(listener, _) => {
                let (stream, peer) = listener.accept()?;
                Ok((Socket::Tcp(stream), Peer::Tcp(peer)))
            }
            Kind::Unix(_, listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }

    /// Lets the kernel notice that the host of a peer has vanished: `keepalive` is the time without a byte from it before
    /// the first question, `user_timeout` the time for which it may acknowledge nothing. Accepted TCP sockets inherit both;
    /// Unix sockets have no need of them.
    pub(crate) fn notice_vanished_peers(
        &self,
        keepalive: Option<Duration>,
        user_timeout: Option<Duration>,
    ) -> io::Result<()> {
        let Kind::Tcp(listener, _) = &self.kind else { return Ok(()) };
        let socket = SockRef::from(listener);
        match keepalive {
            Some(time) => {
                let time = time.clamp(Self::KEEPALIVE_AT_LEAST, Self::KEEPALIVE_AT_MOST);
                let interval = (time / KEEPALIVE_QUESTIONS).max(Self::KEEPALIVE_AT_LEAST);
                let keepalive = TcpKeepalive::new()
                    .with_time(time)
                    .with_interval(interval)
                    .with_retries(KEEPALIVE_QUESTIONS);
                socket.set_tcp_keepalive(&keepalive)?;
            }
            None => socket.set_keepalive(false)?,
        }
        socket.set_tcp_user_timeout(user_timeout)
    }

    /// Reports from now on under `token` that connections wait.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.kind {
            Kind::Tcp(listener, _) => listener.register(registry, token, Interest::READABLE),
            Kind::Unix(_, listener) => listener.register(registry, token, Interest::READABLE),
        }
    }

    /// Stops reporting.
    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.kind {
            Kind::Tcp(listener, _) => listener.deregister(registry),
            Kind::Unix(_, listener) => listener.deregister(registry),
        }
    }
}

/// The path of a bound Unix socket. bind(2) creates the file, and this removes it when the listener is dropped, unless
/// another file has taken its place.
#[derive(Debug)]
struct UnixPath {
    path: PathBuf,
    /// The file to remove; `None` if it is another process's.
    file: Option<FileId>,
}

/// The device and the inode of a file. No other file gets the same inode while the socket is open: it holds on to the file
/// that it is bound to, even if that is unlinked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl UnixPath {
    fn of_bound(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Some(FileId::of(path)?) })
    }

    fn of_inherited(address: &SocketAddress) -> Self {
        let path = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => path.to_owned(),
            (_, Some(name)) => PathBuf::from(format!("@{}", name.escape_ascii())),
            (None, None) => PathBuf::new(),
        };
        Self { path, file: None }
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        let Some(own) = self.file else { return };
        let path = self.path.display();
        match FileId::of(&self.path) {
            Ok(file) if file == own => {
                if let Err(error) = std::fs::remove_file(&self.path) {
                    log::debug!("{path}: remove: {error}");
                }
            }
            Ok(_) => log::debug!("{path}: another file is there now; it is left alone"),
            Err(error) => log::debug!("{path}: {error}"),
        }
    }
}

/// Keeps other daemons from binding `path` while this one does: between the check that a socket file is deserted and its
/// removal, another daemon could have replaced the file with its own.
///
/// The lock is a Unix socket with an abstract name (unix(7)). The kernel gives a name to one socket at a time, and frees it
/// when the socket is closed, also if the process is killed. It holds in one network namespace: daemons in two containers
/// with a common folder are not protected from each other.
///
/// # Errors
///
/// `AddrInUse` while another daemon binds `path`.
fn lock(path: &Path) -> io::Result<RawSocket> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let FileId { device, inode } = FileId::of(&folder.canonicalize()?)?;
    let mut hasher = DefaultHasher::new();
    path.file_name().hash(&mut hasher);
    let name = format!("\0resound-bind-{device:x}-{inode:x}-{:x}", hasher.finish());
    let lock = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    lock.bind(&SockAddr::unix(name)?)?;
    Ok(lock)
}

/// Removes the socket file of a daemon that was killed; returns whether there was one.
///
/// Any file that is not a socket is left alone, although connect(2) refuses there as well.
fn remove_if_deserted(path: &Path) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    // It does not block: if the backlog of a live server is full, it fails with `WouldBlock`.
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("resound-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn bind(path: &Path) -> io::Result<Listener> {
        Listener::bind(&Endpoint::Unix(path.to_owned()), 1, false)
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = scratch("file");
        std::fs::write(&path, "precious").unwrap();
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_path_of_a_listener_that_goes_is_removed_only_if_it_is_its_own() {
        let path = scratch("successor");
        let first = bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = bind(&path).unwrap();
        drop(first);
        std::os::unix::net::UnixStream::connect(&path).expect("the successor is still there");

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        drop(second);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

        std::fs::remove_file(&path).unwrap();
        let third = bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        drop(third);
        assert!(!path.exists());
    }

    #[test]
    fn of_many_that_bind_a_deserted_path_at_once_one_succeeds_and_is_there() {
        let path = scratch("race");
        for _ in 0..200 {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let start = Barrier::new(4);
            let bound: Vec<_> = thread::scope(|scope| {
                let bind = || {
                    start.wait();
                    bind(&path)
                };
                let threads = [(); 4].map(|()| scope.spawn(bind));
                threads.map(|thread| thread.join().unwrap()).into_iter().collect()
            });
            let is_taken = |error: &io::Error| error.kind() == ErrorKind::AddrInUse;
            assert!(bound.iter().filter_map(|one| one.as_ref().err()).all(is_taken), "{bound:?}");
            let bound: Vec<_> = bound.into_iter().flatten().collect();
            let [Listener { kind: Kind::Unix(own, _), .. }] = &bound[..] else {
                panic!("{bound:?}");
            };
            assert_eq!(own.file, FileId::of(&path).ok(), "its socket is at the path");
        }
    }

    #[test]
    fn a_deserted_socket_is_taken_over_and_a_living_one_is_not() {
        let path = scratch("socket");
        // std leaves the file when it closes the socket, as a killed daemon does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let living = bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(living);
        assert!(!path.exists());
    }
}
