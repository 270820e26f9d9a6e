//! How the daemon is, told to the service manager (`sd_notify`(3)).

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Arc,
    time::Duration,
};

use log::warn;

/// How long one message may wait for a manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends messages to the service manager; without one it does nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notifier(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// To the manager that `NOTIFY_SOCKET` names, if it is set.
    pub(crate) fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        Self::to(&name).unwrap_or_else(|error| {
            warn!(
                "the service manager is not told anything: NOTIFY_SOCKET={}: {error}",
                name.display()
            );
            Self(None)
        })
    }

    /// To the manager that receives at `name`: a path, or an abstract name with an @ in front (unix(7)).
    pub(super) fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither an absolute path nor @ and a name",
            )),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Some(Arc::new(Manager { socket, address }))))
    }

    /// All listeners are up.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", status_line(status)));
    }

    /// The daemon begins to end.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\n{}", status_line(status)));
    }

    /// Another process is the daemon from now on.
    pub(crate) fn main_pid(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}\n"));
    }

    /// All is as it should be.
    pub(super) fn feed_watchdog(&self) {
        self.send("WATCHDOG=1\n");
    }

    fn send(&self, message: &str) {
        let Self(Some(manager)) = self else { return };
        let Manager { socket, address } = &**manager;
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            let what = message.lines().next().unwrap_or_default();
            warn!("cannot send {what} to the service manager (NOTIFY_SOCKET): {error}");
        }
    }
}

/// `status` as a variable of a message, whose lines are variables.
fn status_line(status: &str) -> String {
    format!("STATUS={}\n", status.trim().replace('\n', "; "))
}
