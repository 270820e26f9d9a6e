//! The watchdog of the service manager (`sd_watchdog_enabled`(3)): fed for as long as every loop turns, and by nothing else.

use std::{
    env, process,
    sync::Arc,
    time::{Duration, Instant},
};

use log::{info, warn};
use resound::{Handle, Stats};

use super::notify::Notifier;

/// How often the loops are looked at in the time that the manager waits for a message. A loop may then be busy in one turn
/// for half of that time.
const LOOKS: u32 = 4;

/// Looks at the loops again and again, and tells the manager when all of them have made a turn since the last time.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// How long the manager waits for a message.
    timeout: Duration,
    next_look: Instant,
    /// By the loop's index; `None` for one that has ended.
    loops: Vec<Option<Watched>>,
}

/// A loop, and what was seen of it at the last look.
#[derive(Debug)]
struct Watched {
    handle: Handle,
    stats: Arc<Stats>,
    turns: u64,
    is_stuck: bool,
}

/// How long the manager waits for a message, if it waits for any of this process.
pub(crate) fn timeout_from_env() -> Option<Duration> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_for_us = match env::var_os("WATCHDOG_PID") {
        None => true,
        Some(_) => number("WATCHDOG_PID") == Some(process::id().into()),
    };
    let micros = number("WATCHDOG_USEC").filter(|&micros| is_for_us && micros > 0)?;
    Some(Duration::from_micros(micros))
}

impl Watchdog {
    /// Begins to watch `loops`, for a manager that waits for `timeout` at most.
    pub(crate) fn new(
        timeout: Duration,
        loops: impl Iterator<Item = (Handle, Arc<Stats>)>,
    ) -> Self {
        let watch = |(handle, stats): (Handle, Arc<Stats>)| {
            handle.wake();
            Some(Watched { handle, stats, turns: 0, is_stuck: false })
        };
        let loops = loops.map(watch).collect();
        Self { timeout, next_look: Instant::now() + timeout / LOOKS, loops }
    }

    /// The loop with that index has ended.
    pub(crate) fn forget(&mut self, index: usize) {
        self.loops[index] = None;
    }

    /// How long until the next look.
    pub(crate) fn wait(&self) -> Duration {
        self.next_look.saturating_duration_since(Instant::now())
    }

    /// Looks at the loops if it is time, and wakes those that have nothing to do, so that they turn until the next look.
    pub(crate) fn look(&mut self, notifier: &Notifier) {
        if !self.wait().is_zero() {
            return;
        }
        self.next_look = Instant::now() + self.timeout / LOOKS;
        let mut all_turn = true;
        for (index, watched) in self.loops.iter_mut().enumerate() {
            if let Some(watched) = watched {
                all_turn &= watched.has_turned(index);
            }
        }
        if all_turn {
            notifier.feed_watchdog();
        }
    }
}

impl Watched {
    fn has_turned(&mut self, index: usize) -> bool {
        let before = std::mem::replace(&mut self.turns, self.stats.turns.value());
        let was_stuck = std::mem::replace(&mut self.is_stuck, self.turns == before);
        match (was_stuck, self.is_stuck) {
            (false, true) => warn!(
                "reactor {index} is busy in one turn: the service manager's watchdog is not fed until that ends"
            ),
            (true, false) => info!("reactor {index} turns again"),
            _ => {}
        }
        self.handle.wake();
        !self.is_stuck
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Write},
        net::TcpStream,
        os::unix::net::UnixDatagram,
        sync::mpsc,
        thread,
    };

    use resound::{
        Config, Reactor, Token,
        protocol::{Next, Output, Protocol, Received},
    };

    use super::*;

    /// A protocol that blocks its loop at the first bytes: it says that it does, and waits until it is told to go on.
    struct Blocks {
        blocked: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
    }

    impl Protocol for Blocks {
        fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
            self.blocked.send(()).unwrap();
            // It fails where the test has failed.
            let _ = self.go_on.recv();
            Received::answered(input.len(), 0, Next::Idle)
        }
    }

    #[test]
    fn a_loop_that_blocks_ends_the_feeding_until_it_turns_again() {
        let path = env::temp_dir().join(format!("resound-{}-watchdog", process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let feeds = || {
            let received = std::iter::repeat_with(|| manager.recv(&mut [0; 100]));
            let mut fed = 0;
            for received in received {
                match received {
                    Ok(_) => fed += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            fed
        };

        let (blocked, is_blocked) = mpsc::channel();
        let (resume, go_on) = mpsc::channel();
        let mut idle = Reactor::new(Config::default()).unwrap();
        idle.listen(
            ([127, 0, 0, 1], 0),
            Blocks { blocked: blocked.clone(), go_on: mpsc::channel().1 },
        )
        .unwrap();
        let mut busy = Reactor::new(Config::default()).unwrap();
        let bound = busy.listen(([127, 0, 0, 1], 0), Blocks { blocked, go_on }).unwrap();
        let handles = [idle.handle(), busy.handle()];
        let stats = [idle.stats(), busy.stats()];
        let threads = [idle, busy].map(|mut one| thread::spawn(move || one.run().unwrap()));

        let timeout = Duration::from_millis(20);
        let loops = handles.clone().into_iter().zip(stats);
        let mut watchdog = Watchdog::new(timeout, loops);
        let mut look_until = |is_enough: &mut dyn FnMut(u32) -> bool| {
            let start = Instant::now();
            for look in 1.. {
                thread::sleep(watchdog.wait());
                watchdog.look(&notifier);
                if is_enough(look) {
                    break;
                }
                assert!(start.elapsed() < Duration::from_secs(120), "it never came about");
            }
        };
        look_until(&mut |_| feeds() > 0);

        let mut stream = TcpStream::connect(bound.to_string()).unwrap();
        stream.write_all(b"x").unwrap();
        is_blocked.recv().unwrap();
        // It had turned since the last look, if only until it blocked.
        look_until(&mut |look| look == 1);
        feeds();
        look_until(&mut |look| look == 20);
        assert_eq!(feeds(), 0);

        resume.send(()).unwrap();
        look_until(&mut |_| feeds() > 0);
        handles.iter().for_each(Handle::stop);
        for thread in threads {
            thread.join().unwrap();
        }
        std::fs::remove_file(path).unwrap();
    }
}
