//! An event loop before it runs, and where its descriptors are.

use std::{io, sync::Arc, thread};

use resound::{Reactor, protocol::Protocol};

use crate::common::table_thread::{Foreign, Table};

/// One event loop.
pub(crate) type Loop = Reactor<Box<dyn Protocol + Send>>;

/// An event loop that does not run yet.
pub(crate) enum NewLoop {
    /// It will share the table of descriptors of the process's first thread.
    Sharing(Loop),
    /// It will have a table of its own, and its descriptors are there already.
    Apart(Foreign<Loop>),
}

impl NewLoop {
    /// Calls `act` with the loop, in the thread of its table.
    pub(crate) fn with<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut Loop) -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Sharing(one) => Ok(act(one)),
            Self::Apart(one) => one.with(act),
        }
    }

    /// Its table, if that is not the process's.
    pub(crate) fn table(&self) -> Option<Arc<Table>> {
        match self {
            Self::Sharing(_) => None,
            Self::Apart(one) => Some(Arc::clone(one.table())),
        }
    }

    /// Starts the thread `name`, which shares the table of the loop.
    pub(crate) fn start(
        self,
        name: String,
        run: impl FnOnce(Loop) + Send + 'static,
    ) -> io::Result<()> {
        let spawn = |one: Loop| thread::Builder::new().name(name).spawn(move || run(one)).map(drop);
        match self {
            Self::Sharing(one) => spawn(one),
            Self::Apart(one) => one.give(spawn)?,
        }
    }
}
