//! Both ends of the queue of commands: [`Handle`] in any thread, [`Commands`] in the loop.
//!
//! ```text
//!  any thread                                     the loop's thread
//!  Handle ── Command ──▶ queue of 64 ── waker ──▶ between two turns ──▶ Reply
//!  Answer ◀──────────────────────────────────────────────────────────────┘
//! ```
//!
//! The loop looks at the queue when its waker has an event. Without commands it neither looks at the queue nor wakes up.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{
    command::{Answer, Command, ConnectionInfo, ControlError, LOOKUPS, Page, Reply, Summary},
    released::{ReleasedConnection, ReleasedListener, ReleasedPage},
    settings::{Change, Settings},
};
use crate::{Token, protocol::Output};

/// Commands that may wait for a loop. It executes as many between two turns at most.
pub(crate) const QUEUE: usize = 64;

/// Controls a running loop from any thread: [`Reactor::handle`](crate::Reactor::handle).
///
/// Commands wait in a queue with room for 64, and are executed in order, between two turns of the loop. They block neither
/// the caller nor the loop. Each returns an [`Answer`], which the caller can wait for.
///
/// ```
/// use std::{net::TcpStream, thread, time::Duration};
///
/// use resound::{Config, Reactor, protocol::Frames};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let address = reactor.listen(([127, 0, 0, 1], 0), Frames::default())?;
/// let handle = reactor.handle();
/// let server = thread::spawn(move || reactor.run());
/// let stream = TcpStream::connect(address.to_string())?;
///
/// let patience = Duration::from_secs(60);
/// while handle.summary()?.wait(patience)?.open == 0 {}
/// for connection in handle.connections(0)?.wait(patience)?.connections {
///     println!("{} has sent {} frames", connection.token, connection.frames);
///     handle.close(connection.token)?.wait(patience)?;
/// }
/// handle.stop();
/// server.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    queue: SyncSender<Command>,
}

/// The loop's end of the queue.
pub struct Commands {
    shared: Arc<Shared>,
    queue: Receiver<Command>,
}

struct Shared {
    is_stop_requested: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A queue of commands. `wake` ends the poll of the loop at the other end.
#[must_use]
pub fn commands(wake: impl Fn() + Send + Sync + 'static) -> (Handle, Commands) {
    let (send, receive) = sync_channel(QUEUE);
    let shared =
        Arc::new(Shared { is_stop_requested: AtomicBool::new(false), wake: Box::new(wake) });
    (Handle { shared: Arc::clone(&shared), queue: send }, Commands { shared, queue: receive })
}

impl Handle {
    /// Stops the reactor: it accepts no more connections, answers all whole frames that have been received, and closes the
    /// connections. [`Reactor::run`](crate::Reactor::run) returns within the [grace time](crate::Config::grace). This
    /// command does not wait in the queue, and cannot fail.
    pub fn stop(&self) {
        self.shared.is_stop_requested.store(true, Ordering::Relaxed);
        (self.shared.wake)();
    }

    /// Lets a loop that waits for events make a turn at once, which [`Stats::turns`](crate::Stats::turns) counts. A loop
    /// that counts none after this is stuck in a turn.
    pub fn wake(&self) {
        (self.shared.wake)();
    }

    /// Asks for a summary of the loop. An answer also shows that the loop is not stuck.
    ///
    /// # Errors
    ///
    /// [`ControlError::QueueFull`], [`ControlError::Ended`].
    pub fn summary(&self) -> Result<Answer<Summary>, ControlError> {
        self.send(Command::Summarize)
    }

    /// Lists connections from slot `from` on, which is 0 for the first page and [`Page::next`] for the others. Each page
    /// takes the loop a fraction of a millisecond; what opens and closes between two pages may be missing.
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn connections(&self, from: usize) -> Result<Answer<Page>, ControlError> {
        self.send(|reply| Command::List { from, reply })
    }

    /// Looks up these connections, with their peers' addresses and what the kernel knows of them: the first 256, since
    /// each takes the loop two system calls. Those that are gone are left out.
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn look_up(
        &self,
        mut tokens: Vec<Token>,
    ) -> Result<Answer<Vec<ConnectionInfo>>, ControlError> {
        tokens.truncate(LOOKUPS);
        self.send(|reply| Command::LookUp { tokens, reply })
    }

    /// Closes a connection at once. Bytes that wait to be sent are lost. The answer says whether there was such a connection.
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn close(&self, token: Token) -> Result<Answer<bool>, ControlError> {
        self.send(|reply| Command::Close { token, reply })
    }

    /// Sends the bytes that `speech` appends to the output on a connection, after the bytes that wait to be sent there. The
    /// answer says how many bytes wait then. It is `None`, and `speech` is not called, if the connection is not open, as in
    /// [`Reactor::speak`](crate::Reactor::speak).
    ///
    /// Bytes that the peer does not read are held, up to [`Config::max_memory`](crate::Config::max_memory). A caller that
    /// sends much should wait while many bytes wait to be sent.
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn speak(
        &self,
        token: Token,
        speech: impl FnOnce(&mut Output) + Send + 'static,
    ) -> Result<Answer<Option<usize>>, ControlError> {
        self.send(|reply| Command::Speak { token, speech: Box::new(speech), reply })
    }

    /// Changes settings of the running loop, in this order. The answer has all settings that may change, as they are then.
    ///
    /// Of reactors that share their limits, each has timeouts and a grace time of its own: tell all of them.
    ///
    /// ```
    /// use resound::{Change, Config, Reactor, protocol::Raw};
    /// # use std::{thread, time::Duration};
    ///
    /// let mut reactor = Reactor::<Raw>::new(Config::default())?;
    /// let handle = reactor.handle();
    /// let server = thread::spawn(move || reactor.run());
    /// let changes = vec![Change::MaxConnections(100), Change::IdleTimeout(None)];
    /// let settings = handle.change(changes)?.wait(Duration::from_secs(60))?;
    /// assert_eq!(settings.max_connections, 100);
    /// # handle.stop();
    /// # server.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn change(&self, changes: Vec<Change>) -> Result<Answer<Settings>, ControlError> {
        self.send(|reply| Command::Change { changes, reply })
    }

    /// Asks for the settings that may change.
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn settings(&self) -> Result<Answer<Settings>, ControlError> {
        self.change(Vec::new())
    }

    /// Takes connections of the listeners with these indices out of the loop, from slot `from` on: those whose protocols can
    /// [describe](crate::protocol::Protocol::describe) them. The others stay, and so do all connections of a loop that is
    /// stopping. The first page begins at slot 0, the others at [`ReleasedPage::next`]; each takes the loop a fraction of a
    /// millisecond.
    ///
    /// The connections belong to the [`Answer`] once the loop has executed the command, and dropping it closes them: wait
    /// for it. If it is dropped before, they stay in the loop.
    ///
    /// ```
    /// use std::{io::{Read, Write}, net::TcpStream, thread, time::Duration};
    ///
    /// use resound::{Config, Reactor, protocol::Frames};
    ///
    /// let mut reactors = Vec::new();
    /// for _ in 0..2 {
    ///     let mut reactor = Reactor::new(Config::default())?;
    ///     let address = reactor.listen(([127, 0, 0, 1], 0), Frames::default())?;
    ///     let handle = reactor.handle();
    ///     reactors.push((handle, address, thread::spawn(move || reactor.run())));
    /// }
    /// let [(first, address, _), (second, ..)] = &reactors[..] else { unreachable!() };
    /// let mut stream = TcpStream::connect(address.to_string())?;
    /// stream.write_all(b"\x05\0\0\0hel")?;
    ///
    /// // Half of the frame is in one loop, which then lets go of the connection; the other loop goes on with it.
    /// let patience = Duration::from_secs(60);
    /// while first.connections(0)?.wait(patience)?.connections.iter().all(|info| info.held < 7) {}
    /// let page = first.release_connections(0, vec![0])?.wait(patience)?;
    /// assert_eq!(page.connections[0].record.held, b"\x05\0\0\0hel");
    /// assert_eq!(second.adopt_connections(page.connections)?.wait(patience)?, 1);
    ///
    /// stream.write_all(b"lo")?;
    /// let mut echo = [0; 9];
    /// stream.read_exact(&mut echo)?;
    /// assert_eq!(&echo, b"\x05\0\0\0hello");
    /// # drop(stream);
    /// for (handle, _, thread) in reactors {
    ///     handle.stop();
    ///     thread.join().unwrap()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn release_connections(
        &self,
        from: usize,
        listeners: Vec<usize>,
    ) -> Result<Answer<ReleasedPage>, ControlError> {
        self.send(|reply| Command::ReleaseConnections { from, listeners, reply })
    }

    /// Puts connections into the loop, which goes on with each where it was. Limits of connections do not apply to them, but
    /// count them. The answer says how many it has adopted; it closes those that the kernel or their protocol refuses, and
    /// logs why. This waits while the queue is full.
    ///
    /// # Errors
    ///
    /// [`ControlError::Ended`]: the connections are closed then.
    pub fn adopt_connections(
        &self,
        connections: Vec<ReleasedConnection>,
    ) -> Result<Answer<usize>, ControlError> {
        self.send_when_there_is_room(|reply| Command::AdoptConnections { connections, reply })
    }

    /// Takes all listeners and UDP sockets out of the loop. Their connections go on, and what comes to the sockets waits in
    /// the kernel.
    ///
    /// As with [`release_connections`](Self::release_connections), wait for the [`Answer`]: dropping it may close the
    /// listeners.
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary).
    pub fn release_listeners(&self) -> Result<Answer<Vec<ReleasedListener>>, ControlError> {
        self.send(Command::ReleaseListeners)
    }

    /// Puts a listener or a UDP socket into the loop: in the place from which it was released, or one that
    /// [`Reactor::reserve`](crate::Reactor::reserve) or [`Reactor::reserve_udp`](crate::Reactor::reserve_udp) has kept for
    /// it. The answer is an error if there is no such place, or the kernel refuses; the socket is closed then. This waits
    /// while the queue is full.
    ///
    /// # Errors
    ///
    /// [`ControlError::Ended`]: the socket is closed then.
    pub fn adopt_listener(
        &self,
        listener: ReleasedListener,
    ) -> Result<Answer<io::Result<()>>, ControlError> {
        self.send_when_there_is_room(|reply| Command::AdoptListener { listener, reply })
    }

    /// What a command carries that does not fit the queue would be lost.
    fn send_when_there_is_room<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Answer<T>, ControlError> {
        let (reply, answer) = Answer::pending();
        let mut command = command(reply);
        loop {
            command = match self.queue.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(ControlError::Ended),
                Err(TrySendError::Full(command)) => command,
            };
            (self.shared.wake)();
            thread::sleep(Duration::from_millis(1));
        }
        (self.shared.wake)();
        Ok(answer)
    }

    fn send<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Answer<T>, ControlError> {
        let (reply, answer) = Answer::pending();
        self.queue.try_send(command(reply)).map_err(|error| match error {
            TrySendError::Full(_) => ControlError::QueueFull,
            TrySendError::Disconnected(_) => ControlError::Ended,
        })?;
        (self.shared.wake)();
        Ok(answer)
    }
}

impl Commands {
    /// Whether [`Handle::stop`] has been called.
    pub fn is_stop_requested(&self) -> bool {
        self.shared.is_stop_requested.load(Ordering::Relaxed)
    }

    /// Does what [`Handle::stop`] does, in the loop's own thread.
    pub(crate) fn request_stop(&self) {
        self.shared.is_stop_requested.store(true, Ordering::Relaxed);
    }

    /// The next command.
    pub(crate) fn next(&self) -> Option<Command> {
        self.queue.try_recv().ok()
    }

    /// Ends the next poll at once.
    pub(crate) fn wake(&self) {
        (self.shared.wake)();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands")
            .field("is_stop_requested", &self.is_stop_requested())
            .finish_non_exhaustive()
    }
}
