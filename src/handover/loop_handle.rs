//! Listeners and connections that leave a loop and come to it, wherever the loop's descriptors are: in the table of this
//! process's first thread, or in one of its own.

use std::{io, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use resound::{
    Answer, ControlError, Handle, ListeningSocket, ReleasedConnection, ReleasedListener,
    ReleasedPage, ReleasedSocket,
};

use crate::common::table_thread::{Carrier, Foreign, Table};

/// A loop, and the table of its descriptors if that is not the caller's.
#[derive(Debug, Clone)]
pub(crate) struct LoopHandle {
    handle: Handle,
    table: Option<Arc<Table>>,
}

/// Connections for a loop that does not have them yet. Dropping them closes them.
#[derive(Debug)]
pub(super) enum Held {
    Here(Vec<ReleasedConnection>),
    There(Foreign<Vec<ReleasedConnection>>),
}

impl Carrier for ReleasedConnection {
    fn descriptor(&mut self) -> &mut OwnedFd {
        &mut self.socket
    }
}

impl Carrier for ReleasedListener {
    fn descriptor(&mut self) -> &mut OwnedFd {
        match &mut self.socket {
            ReleasedSocket::Listening(ListeningSocket { socket, .. })
            | ReleasedSocket::Datagrams { socket, .. } => socket,
        }
    }
}

impl LoopHandle {
    pub(crate) const fn new(handle: Handle, table: Option<Arc<Table>>) -> Self {
        Self { handle, table }
    }

    /// For commands that carry no descriptors.
    pub(super) const fn control(&self) -> &Handle {
        &self.handle
    }

    /// Takes all listeners and UDP sockets out of the loop.
    pub(super) fn release_listeners(&self) -> io::Result<Vec<ReleasedListener>> {
        let Some(table) = &self.table else {
            return answer(|| self.handle.release_listeners());
        };
        let handle = self.handle.clone();
        let mut released = table.run_for(move || answer(|| handle.release_listeners()))?;
        let mut taken = Vec::new();
        while released.len() > 0 {
            let (mut some, left) = table.take(released.next_message())?;
            taken.append(&mut some);
            if left.len() > 0 {
                self.adopt_there(left)?;
                self.adopt_there(released)?;
                for listener in taken {
                    self.adopt_listener(listener, Duration::MAX)?;
                }
                return Err(io::Error::other(
                    "no descriptor is left for its listeners; raise the limit of open files (ulimit -n)",
                ));
            }
        }
        Ok(taken)
    }

    /// Puts a listener or a UDP socket into its place in the loop.
    pub(super) fn adopt_listener(
        &self,
        listener: ReleasedListener,
        at_most: Duration,
    ) -> io::Result<()> {
        match &self.table {
            None => adopt_listener(&self.handle, listener, at_most),
            Some(table) => {
                let mut one = vec![listener];
                let there = table.put(&mut one)?;
                if !one.is_empty() {
                    return Err(io::Error::other("no descriptor is left in the table of its loop"));
                }
                self.adopt_there(there)
            }
        }
    }

    /// Puts listeners into the loop whose descriptors are in its table.
    fn adopt_there(&self, listeners: Foreign<Vec<ReleasedListener>>) -> io::Result<()> {
        let handle = self.handle.clone();
        listeners.give(move |listeners| {
            listeners.into_iter().try_for_each(|one| adopt_listener(&handle, one, Duration::MAX))
        })?
    }

    /// Takes connections out of the loop: [`Handle::release_connections`].
    pub(super) fn release_connections(
        &self,
        from: usize,
        listeners: &[usize],
    ) -> io::Result<ReleasedPage> {
        let listeners = listeners.to_vec();
        let handle = self.handle.clone();
        let release = move || answer(|| handle.release_connections(from, listeners.clone()));
        let Some(table) = &self.table else { return release() };
        let page = table.run_for(release)?;
        let (connections, (staying, next)) = page
            .split(|ReleasedPage { connections, staying, next }| (connections, (staying, next)))?;
        let (connections, left) = table.take(connections)?;
        let staying = staying + left.len();
        if left.len() > 0 {
            Held::There(left).adopt(&self.handle, Duration::MAX)?;
        }
        Ok(ReleasedPage { connections, staying, next })
    }

    /// Moves connections to the table of the loop, which does not have them yet. Those for which there is no room there stay
    /// in `connections`: the last ones.
    pub(super) fn hold(&self, connections: &mut Vec<ReleasedConnection>) -> io::Result<Held> {
        Ok(match &self.table {
            None => Held::Here(std::mem::take(connections)),
            Some(table) => Held::There(table.put(connections)?),
        })
    }

    /// Puts connections into the loop.
    pub(super) fn adopt(&self, held: Held, at_most: Duration) -> io::Result<usize> {
        held.adopt(&self.handle, at_most)
    }
}

impl Held {
    fn adopt(self, handle: &Handle, at_most: Duration) -> io::Result<usize> {
        let handle = handle.clone();
        let adopt = move |connections| {
            let adopted = handle.adopt_connections(connections);
            adopted.and_then(|answer| answer.wait(at_most)).map_err(io::Error::other)
        };
        match self {
            Self::Here(connections) => adopt(connections),
            Self::There(connections) => connections.give(adopt)?,
        }
    }
}

fn adopt_listener(
    handle: &Handle,
    listener: ReleasedListener,
    at_most: Duration,
) -> io::Result<()> {
    let adopted = handle.adopt_listener(listener).and_then(|answer| answer.wait(at_most));
    adopted.map_err(io::Error::other)?
}

/// The answer of a loop, for as long as it takes: what it releases is lost with an answer that nobody waits for.
fn answer<T>(mut ask: impl FnMut() -> Result<Answer<T>, ControlError>) -> io::Result<T> {
    loop {
        match ask() {
            Err(ControlError::QueueFull) => thread::sleep(Duration::from_millis(1)),
            asked => {
                let answer = asked.and_then(|answer| answer.wait(Duration::MAX));
                return answer.map_err(io::Error::other);
            }
        }
    }
}
