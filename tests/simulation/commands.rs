//! Commands from another thread: what a loop is told between two turns, and what it answers.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use resound::{
    Answer, Change, Commands, ControlError, Handle, Page, Reason, Token, commands,
    dispatcher::Phase, inspect::Inspected,
};

use super::world::World;

/// Commands that fit the queue.
const QUEUE: usize = 64;

/// Sends commands, and checks the answers against what the dispatcher says of itself.
pub(crate) struct Commander {
    handle: Handle,
    commands: Commands,
    /// What the waker of a poll is in the real world.
    is_woken: Arc<AtomicBool>,
    /// Connections that were closed by a command.
    closed: HashSet<Token>,
}

impl Commander {
    pub(crate) fn new() -> Self {
        let is_woken = Arc::new(AtomicBool::new(false));
        let wake = Arc::clone(&is_woken);
        let (handle, commands) = commands(move || wake.store(true, Relaxed));
        Self { handle, commands, is_woken, closed: HashSet::new() }
    }

    /// Whether a command has closed this connection.
    pub(crate) fn has_closed(&self, token: Token) -> bool {
        self.closed.contains(&token)
    }

    /// Now and then sends commands, and lets the dispatcher execute those that wait. Whether there were any.
    pub(crate) fn act(world: &mut World) -> bool {
        match world.choose(|c| c.below(40)) {
            0 => Self::list(world),
            1 => Self::close(world),
            2 => Self::say_nothing(world),
            3 => Self::fill_the_queue(world),
            4 => Self::change_max_connections(world),
            5 => Self::move_out_and_in(world),
            _ => return false,
        }
        true
    }

    fn execute<T>(world: &mut World, answer: &Answer<T>) -> T {
        assert!(world.commander.is_woken.swap(false, Relaxed), "the loop sleeps");
        world.dispatcher.execute(&world.commander.commands);
        answer.poll().unwrap().expect("an answer")
    }

    /// Every connection is in the list, with what it holds and owes.
    fn list(world: &mut World) {
        let (mut from, mut listed) = (Some(0), Vec::new());
        while let Some(first) = from {
            let answer = world.commander.handle.connections(first).unwrap();
            let Page { connections, next, .. } = Self::execute(world, &answer);
            listed.extend(connections);
            from = next;
        }
        let inspected = world.dispatcher.inspect();
        let now = world.kernel.borrow().now;
        assert_eq!(listed.len(), inspected.connections.len());
        for (listed, inspected) in listed.iter().zip(&inspected.connections) {
            let found = (listed.token, listed.held, listed.owed);
            assert_eq!(found, (inspected.token, inspected.held, inspected.owed));
            let deadlines = [inspected.deadline, inspected.unit_deadline];
            let is_right = listed.time_left.is_none_or(|left| {
                // Nothing is left where the loop has not come to an expired deadline yet.
                deadlines.iter().flatten().any(|&at| at.saturating_sub(now) == left)
            });
            assert!(is_right, "{listed:?}, {inspected:?}");
        }
        let answer = world.commander.handle.summary().unwrap();
        assert_eq!(Self::execute(world, &answer).open, listed.len());
    }

    /// A connection, or one that was closed long ago.
    fn any_token(world: &World) -> Option<Token> {
        let open = world.dispatcher.inspect().connections;
        let index = world.choose(|c| c.below(open.len() + 1));
        open.get(index).map(|connection| connection.token)
    }

    fn close(world: &mut World) {
        let token = Self::any_token(world);
        let stale = Token::new(3, 0);
        let answer = world.commander.handle.close(token.unwrap_or(stale)).unwrap();
        // Before the command is executed, as it calls the protocol.
        world.commander.closed.extend(token);
        assert_eq!(Self::execute(world, &answer), token.is_some());
    }

    /// Speaking without saying anything owes nothing more, wherever the connection is.
    fn say_nothing(world: &mut World) {
        let Some(token) = Self::any_token(world) else { return };
        let before = world.dispatcher.owed(token);
        let answer = world.commander.handle.speak(token, |_| {}).unwrap();
        let owed = Self::execute(world, &answer);
        assert!(owed.is_none_or(|owed| Some(owed) <= before), "{owed:?} of {before:?}");
    }

    /// Fewer connections, or more, may be open from now on.
    fn change_max_connections(world: &mut World) {
        let most = world.choose(|c| 1 + c.length(40));
        let answer = world.commander.handle.change(vec![Change::MaxConnections(most)]).unwrap();
        let settings = Self::execute(world, &answer);
        assert_eq!(settings.max_connections, most);
        world.config.max_connections = most;
        let [least, highest] = world.max_connections;
        world.max_connections = [least.min(most), highest.max(most)];
    }

    /// Nothing of a connection changes but its name where the loop releases it and adopts it again.
    fn move_out_and_in(world: &mut World) {
        let Some(token) = Self::any_token(world) else { return };
        if world.dispatcher.phase() != Phase::Running {
            return;
        }
        // One that has just been ended for its memory gets its deadline in its next turn.
        let found = Self::inspection_of(world, token);
        if found.queued && found.ended_for == Some(Reason::Memory) {
            return;
        }
        let before = Self::inspected(world, token);
        let Some(released) = world.dispatcher.release(token) else { return };
        world.has_released(token);
        let faults = world.kernel.borrow().faults.register;
        world.kernel.borrow_mut().faults.register = 0;
        let new = world.dispatcher.adopt(released).expect("it is described as it was");
        world.kernel.borrow_mut().faults.register = faults;
        assert_eq!(Self::inspected(world, new), before);
        // What a command has closed still comes to its end.
        if world.commander.has_closed(token) {
            world.commander.closed.insert(new);
        }
    }

    fn inspection_of(world: &World, token: Token) -> Inspected {
        let connections = world.dispatcher.inspect().connections;
        connections.into_iter().find(|found| found.token == token).unwrap()
    }

    fn inspected(world: &World, token: Token) -> impl PartialEq + std::fmt::Debug + use<> {
        let now = world.kernel.borrow().now;
        let found = Self::inspection_of(world, token);
        // A deadline that has passed is due at once.
        let deadlines = [found.deadline, found.unit_deadline];
        let deadlines = deadlines.map(|deadline| deadline.map(|deadline| deadline.max(now)));
        (found.held, found.owed, found.ended_for, deadlines)
    }

    /// What does not fit the queue is refused, and what fits is answered.
    fn fill_the_queue(world: &mut World) {
        let handle = &world.commander.handle;
        let answers: Vec<_> = (0..QUEUE).map(|_| handle.summary().unwrap()).collect();
        assert_eq!(handle.summary().unwrap_err(), ControlError::QueueFull);
        for answer in &answers {
            assert_eq!(answer.poll(), Ok(None), "nothing is executed within a turn");
        }
        world.dispatcher.execute(&world.commander.commands);
        assert!(answers.iter().all(|answer| matches!(answer.poll(), Ok(Some(_)))));
        // It took as many as it may: there could be more.
        assert!(world.commander.is_woken.swap(false, Relaxed), "the loop sleeps");
        world.dispatcher.execute(&world.commander.commands);
        assert!(!world.commander.is_woken.load(Relaxed), "it wakes up for nothing");
    }
}
