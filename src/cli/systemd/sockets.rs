//! Socket activation: the listening sockets that a service manager passes at the start (`sd_listen_fds`(3)).

use std::{
    env, fmt,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    process,
};

use listenfd::ListenFd;

/// The number of the first descriptor that is passed.
const FIRST: RawFd = 3;

/// What a descriptor may be, as a family and a type. `listenfd` takes `AF_INET` for both versions of IP.
const KINDS: [(i32, i32); 5] = [
    (libc::AF_INET, libc::SOCK_STREAM),
    (libc::AF_INET, libc::SOCK_DGRAM),
    (libc::AF_UNIX, libc::SOCK_STREAM),
    (libc::AF_UNIX, libc::SOCK_DGRAM),
    (libc::AF_UNIX, libc::SOCK_SEQPACKET),
];

/// The sockets that this process was started with.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Vec<Passed>);

#[derive(Debug)]
struct Passed {
    number: RawFd,
    /// `FileDescriptorName=` of its .socket unit, which all sockets of that unit have.
    name: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Free(OwnedFd),
    /// A listener has it.
    Taken,
    /// It is no socket, or one of another family.
    NotSupported,
}

impl Sockets {
    /// Takes over the sockets that `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` describe, and lets programs that this
    /// one starts inherit neither them nor the first two variables; the third means nothing by itself.
    ///
    /// This has to come before the process has a second thread (setenv(3)), and before it opens a descriptor that could
    /// have the number of one that was announced and not passed.
    pub(crate) fn take() -> Self {
        let variable = |name| env::var(name).ok();
        let is_for_us = variable("LISTEN_PID")
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid: u32| pid == process::id());
        if !is_for_us {
            return Self::default();
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).zip(FIRST..).map(|(index, number)| {
            // "unknown" is what sd_listen_fds_with_names(3) says.
            let name = names.next().unwrap_or("unknown").to_owned();
            let found = KINDS.iter().find_map(|&(family, kind)| {
                passed.take_custom::<OwnedFd>(index, family, kind, "").ok().flatten()
            });
            Passed {
                number: found.as_ref().map_or(number, AsRawFd::as_raw_fd),
                name,
                state: found.map_or(State::NotSupported, State::Free),
            }
        });
        Self(sockets.collect())
    }

    /// The sockets that `fd:NAME` means: the one with that number, or all with that name. Each can be taken once.
    ///
    /// # Errors
    ///
    /// Text: there is none, it is taken, or nothing can listen on it.
    pub(crate) fn named(&mut self, name: &str) -> Result<Vec<OwnedFd>, String> {
        let is_meant = |passed: &&mut Passed| match name.parse::<RawFd>() {
            Ok(number) => passed.number == number,
            Err(_) => passed.name == name,
        };
        let taken = self.0.iter_mut().filter(is_meant).map(Passed::take);
        let taken = taken.collect::<Result<Vec<_>, _>>()?;
        if taken.is_empty() {
            return Err(match self.0.is_empty() {
                true => "no socket was passed to this process (LISTEN_FDS and LISTEN_PID); start it through a .socket \
                         unit, or give an address"
                    .to_owned(),
                false => format!("no socket {name} was passed; there is {self}"),
            });
        }
        Ok(taken)
    }

    /// Those that nobody has taken.
    pub(crate) fn unused(mut self) -> Self {
        self.0.retain(|passed| !matches!(passed.state, State::Taken));
        self
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Passed { number, name, .. } in &self.0 {
            write!(f, "{separator}{name} (fd:{number})")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Passed {
    fn take(&mut self) -> Result<OwnedFd, String> {
        let Self { number, name, state } = self;
        match std::mem::replace(state, State::Taken) {
            State::Free(socket) => Ok(socket),
            State::Taken => Err(format!(
                "the socket {name} (fd:{number}) has a listener already; give each socket to one --listen"
            )),
            State::NotSupported => Err(format!(
                "descriptor {number} ({name}) is not an open TCP, UDP or Unix socket; use ListenStream= or \
                 ListenDatagram= in its .socket unit"
            )),
        }
    }
}
