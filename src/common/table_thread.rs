//! A thread with a table of descriptors of its own, which works there for other threads; and how descriptors move between
//! its table and theirs.
//!
//! ```text
//!   the caller's table            the thread's table
//!      [`Table::put`]   ── unix(7), SCM_RIGHTS ──▶   [`Foreign`]
//!      [`Table::take`]  ◀── unix(7), SCM_RIGHTS ──   [`Foreign`]
//! ```
//!
//! The number of a descriptor means something in its own table only. So what has descriptors of the thread's table is
//! [`Foreign`] to all others: they can only send it back there, to be used or dropped.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    mem,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SendError, Sender},
    },
    thread,
};

use super::{
    descriptor_table,
    passing::{self, MOST},
};

/// Something to do in the thread. It gets the thread's end of the socket through which descriptors move.
type Work = Box<dyn FnOnce(&UnixStream) + Send>;

/// A table of descriptors beside the one of the process's first thread.
pub(crate) struct Table {
    work: Sender<Work>,
    /// The callers' end. One at a time moves descriptors.
    passage: Mutex<UnixStream>,
    /// Lists its descriptors: `proc_pid_fd`(5).
    folder: PathBuf,
}

/// What has a descriptor that can move to another table.
pub(crate) trait Carrier: Send + 'static {
    fn descriptor(&mut self) -> &mut OwnedFd;
}

impl Table {
    /// A table that begins as a copy of the caller's, and a thread `name` in it.
    ///
    /// # Errors
    ///
    /// Where the system refuses another table (as [`descriptor_table::own`]), thread or socket.
    pub(crate) fn start(name: String) -> io::Result<Arc<Self>> {
        let (here, there) = UnixStream::pair()?;
        let (work, works) = mpsc::channel();
        let (tell, started) = mpsc::channel();
        let run = move || {
            let own = descriptor_table::own();
            let is_own = own.is_ok();
            // The caller waits for it.
            let _ = tell.send(own.map(|()| folder()));
            if is_own {
                do_all(&works, &there);
            }
        };
        thread::Builder::new().name(name).spawn(run)?;
        let folder = started.recv().map_err(|_| ended())??;
        Ok(Arc::new(Self { work, passage: Mutex::new(here), folder }))
    }

    /// The folder that lists its descriptors.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Calls `act` in the thread, and waits for what it returns.
    ///
    /// # Errors
    ///
    /// If the thread has ended: something that it was to do has panicked.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&UnixStream) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (tell, done) = mpsc::channel();
        self.send(Box::new(move |passage| {
            // The caller waits for it.
            let _ = tell.send(act(passage));
        }))?;
        done.recv().map_err(|_| ended())
    }

    /// As [`run`](Self::run), where what `act` returns has descriptors of this table.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and those of `act`.
    pub(crate) fn run_for<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<Foreign<T>> {
        Ok(self.foreign(self.run(|_| act())??))
    }

    fn send(&self, work: Work) -> io::Result<()> {
        self.work.send(work).map_err(|SendError(work)| {
            // What it would close here are numbers of that table, and all of them are closed by now.
            mem::forget(work);
            ended()
        })
    }

    /// Moves descriptors of the caller's table into this one, [`MOST`] at most. Those for which it has no room stay in `items`:
    /// the last ones.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and as sendmsg(2), where all stay.
    pub(crate) fn put<C: Carrier>(
        self: &Arc<Self>,
        items: &mut Vec<C>,
    ) -> io::Result<Foreign<Vec<C>>> {
        let passage = self.passage.lock().unwrap_or_else(PoisonError::into_inner);
        pass(&passage, items)?;
        let mut moved = mem::take(items);
        let (moved, _replaced, left) = self.run(move |passage| {
            let (replaced, left) = exchange(&mut moved, collect(passage));
            (moved, replaced, left)
        })?;
        *items = left;
        Ok(self.foreign(moved))
    }

    /// Moves descriptors of this table into the caller's, [`MOST`] at most. Also returns those for which that one has no room.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub(crate) fn take<C: Carrier>(
        self: &Arc<Self>,
        mut items: Foreign<Vec<C>>,
    ) -> io::Result<(Vec<C>, Foreign<Vec<C>>)> {
        let passage = self.passage.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moved = items.value.take().unwrap_or_default();
        let (mut moved, passed) = self.run(move |passage| {
            let passed = pass(passage, &mut moved);
            (moved, passed)
        })?;
        let received = if passed.is_ok() { collect(&passage) } else { Vec::new() };
        let (replaced, left) = exchange(&mut moved, received);
        drop(self.foreign(replaced));
        Ok((moved, self.foreign(left)))
    }

    /// Something whose descriptors are in this table: it was made there, or before the table began as a copy.
    pub(crate) fn foreign<T: Send + 'static>(self: &Arc<Self>, value: T) -> Foreign<T> {
        Foreign { value: Some(value), table: Arc::clone(self) }
    }
}

/// The folder that lists the descriptors of the calling thread.
fn folder() -> PathBuf {
    // It leads to PID/task/TID.
    let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
    Path::new("/proc").join(thread).join("fd")
}

/// Does what comes, until nobody can ask any more.
fn do_all(works: &Receiver<Work>, passage: &UnixStream) {
    while let Ok(work) = works.recv() {
        work(passage);
    }
}

/// Sends the descriptors of all items.
fn pass<C: Carrier>(passage: &UnixStream, items: &mut [C]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = items
        .iter_mut()
        .map(|item| {
            let descriptor: &OwnedFd = item.descriptor();
            descriptor.as_fd()
        })
        .collect();
    again(|| passing::send(passage, &[0], &descriptors)).map(drop)
}

/// The descriptors of one message, as far as there is room for them.
fn collect(passage: &UnixStream) -> Vec<OwnedFd> {
    let mut received = Vec::new();
    // It fails only without memory: then nothing has come.
    let _ = again(|| passing::receive(passage, &mut [0], &mut received));
    received
}

/// Gives each item its new descriptor. Returns those that they had, and the items for which there is none.
fn exchange<C: Carrier>(items: &mut Vec<C>, received: Vec<OwnedFd>) -> (Vec<OwnedFd>, Vec<C>) {
    let left = items.split_off(received.len().min(items.len()));
    let replaced = items
        .iter_mut()
        .zip(received)
        .map(|(item, new)| mem::replace(item.descriptor(), new))
        .collect();
    (replaced, left)
}

fn again<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread of a table of descriptors has ended")
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Something whose descriptors are in the table of a [`Table`]. Dropping it sends it back there, to be dropped.
pub(crate) struct Foreign<T: Send + 'static> {
    /// `None` once it has gone back.
    value: Option<T>,
    table: Arc<Table>,
}

impl<T: Send + 'static> Foreign<T> {
    /// Calls `act` with it in its table.
    ///
    /// # Errors
    ///
    /// As [`Table::run`].
    pub(crate) fn with<R: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> io::Result<R> {
        let Some(mut value) = self.value.take() else { return Err(ended()) };
        let (value, result) = self.table.run(move |_| {
            let result = act(&mut value);
            (value, result)
        })?;
        self.value = Some(value);
        Ok(result)
    }

    /// As [`with`](Self::with), where `act` keeps it.
    ///
    /// # Errors
    ///
    /// As [`Table::run`].
    pub(crate) fn give<R: Send + 'static>(
        mut self,
        act: impl FnOnce(T) -> R + Send + 'static,
    ) -> io::Result<R> {
        let Some(value) = self.value.take() else { return Err(ended()) };
        self.table.run(move |_| act(value))
    }

    /// Parts of it: the second one has no descriptors.
    pub(crate) fn split<A: Send + 'static, B>(
        mut self,
        split: impl FnOnce(T) -> (A, B),
    ) -> io::Result<(Foreign<A>, B)> {
        let (foreign, own) = split(self.value.take().ok_or_else(ended)?);
        Ok((self.table.foreign(foreign), own))
    }

    pub(crate) const fn table(&self) -> &Arc<Table> {
        &self.table
    }
}

impl<C: Carrier> Foreign<Vec<C>> {
    pub(crate) fn len(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::len)
    }

    /// As many as one message has room for, of which it keeps the others.
    pub(crate) fn next_message(&mut self) -> Self {
        let all = self.value.get_or_insert_default();
        let rest = all.split_off(all.len().min(MOST));
        let some = mem::replace(all, rest);
        self.table.foreign(some)
    }
}

impl<T: Send + 'static> Drop for Foreign<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            // Otherwise its table is gone, and its descriptors with it.
            let _ = self.table.send(Box::new(move |_| drop(value)));
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Foreign<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").field("table", &self.table).finish_non_exhaustive()
    }
}
