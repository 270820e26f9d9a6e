//! One run: a dispatcher, its simulated kernel, and peers that come, misbehave and go.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

use resound::{
    Config, Overload, Token,
    dispatcher::{Dispatcher, Phase},
    frame::{Dialect, Width},
    net::Readiness,
    protocol::{
        Frames, Protocol, Raw,
        fault::{Faults as FaultPlan, Faulty, Plan, Units},
    },
};

use super::{
    check::{self, Tally},
    choices::Choices,
    commands::Commander,
    datagrams::Datagrams,
    faulty::{MIX, Mixed},
    kernel::{Faults, Kernel, SharedKernel, Simulated},
    peer::{self, Amplifier, Closed, Finale, Kind, LIMIT, Mood, Nibbler, Streamer, Witness},
    recording::Recording,
};

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) connections: usize,
    pub(crate) at_once: usize,
}

/// One peer and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wire: usize,
    pub(crate) plan: peer::Plan,
    pub(crate) model: check::Model,
    mood: Mood,
    finale: Finale,
    sent: usize,
    received: usize,
}

pub(crate) struct World {
    pub(crate) kernel: SharedKernel,
    pub(crate) dispatcher: Dispatcher<Simulated, Box<dyn Protocol>>,
    pub(crate) config: Config,
    /// The lowest and the highest `max_connections` in this step: a command may change it.
    pub(crate) max_connections: [usize; 2],
    pub(crate) clients: Vec<Client>,
    datagrams: Datagrams,
    /// What the faults of the listener that has some make of frames.
    faults: &'static Mixed,
    pub(crate) commander: Commander,
    pub(crate) tally: Tally,
    /// In every other run.
    recording: Option<Recording>,
    /// Why connections were closed, as their protocols were told.
    pub(crate) closed: Closed,
    /// Of connections that are gone.
    old_tokens: VecDeque<Token>,
    /// Whether the next poll blocks.
    blocks: bool,
    /// Rounds in a row in which a poll did not block and nothing was done.
    idle_rounds: u32,
}

/// Steps that a run may need to come to its end once no new peers come and all behave: with one connection at a time,
/// and a peer that takes megabytes in pieces of some hundred bytes, they are many.
const STEPS_TO_END: usize = 500_000;

impl World {
    pub(crate) fn new(mut choices: Choices) -> Self {
        let c = &mut choices;
        let timeout = |c: &mut Choices| {
            c.chance(60).then(|| Duration::from_millis(1 + c.length(5_000) as u64))
        };
        let config = Config {
            max_connections: 1 + c.length(40),
            max_connections_per_ip: c.one_of(&[None, None, Some(5)]),
            overload: c.one_of(&[Overload::Wait, Overload::Refuse]),
            backlog: 16,
            share_ports: false,
            max_memory: c.one_of(&[1 << 30, 1 << 30, 4 << 20, 1 << 20, 200_000, 3_000]),
            idle_timeout: timeout(c),
            frame_timeout: timeout(c),
            handshake_timeout: timeout(c),
            write_timeout: timeout(c),
            linger: Duration::from_millis(1 + c.length(2_000) as u64),
            grace: Duration::from_millis(1 + c.length(5_000) as u64),
            ..Config::default()
        };
        let faults = Faults {
            interrupted: c.one_of(&[0, 0, 1, 20]),
            short_write: c.one_of(&[0, 10, 50]),
            meanwhile: c.one_of(&[0, 5, 50, 95]),
            register: c.one_of(&[0, 0, 3]),
            accept: c.one_of(&[0, 0, 5]),
        };
        let descriptors = c.one_of(&[1_000, 1_000, 8]);
        let (faults_on_demand, fault_seed) = (&MIX[c.below(MIX.len())], c.below(1_000) as u64);
        let kernel = Kernel::new(choices, faults, descriptors);
        let kernel = Rc::new(RefCell::new(kernel));
        let mut dispatcher = Dispatcher::new(Simulated(Rc::clone(&kernel)), config.clone());
        let dialect = Dialect::new(Width::U32Le).with_max(LIMIT as u64).unwrap();
        let closed = Closed::default();
        let log = || Rc::clone(&closed);
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let protocol: Box<dyn Protocol> = match kind {
                Kind::Frames => Box::new(Witness { of: Frames::new(dialect), log: log() }),
                Kind::Raw => Box::new(Witness { of: Raw, log: log() }),
                Kind::Amplifier => Box::new(Witness { of: Amplifier, log: log() }),
                Kind::Streamer => Box::new(Witness { of: Streamer::default(), log: log() }),
                Kind::Nibbler => Box::new(Witness { of: Nibbler, log: log() }),
                Kind::Faulty => {
                    let plan = faults_on_demand.plan.parse::<Plan>().unwrap().with_seed(fault_seed);
                    let faults = Arc::new(FaultPlan::new(plan));
                    let units = Units::Frames(dialect);
                    Box::new(Witness {
                        of: Faulty::new(faults, units, Frames::new(dialect)),
                        log: log(),
                    })
                }
            };
            dispatcher.listen(index, format!("{kind:?}"), protocol).unwrap();
        }
        let datagrams = Datagrams::new(&kernel, &mut dispatcher);
        let old_tokens =
            VecDeque::from([Token::new(3, 9), Token::new(99, 0), Token::new(u32::MAX, 0)]);
        let recording = config.grace.as_millis().is_multiple_of(2).then(Recording::new);
        if let Some(recording) = &recording {
            dispatcher.record(recording.recorder());
        }
        let clients = Vec::new();
        let tally = Tally::default();
        Self {
            kernel,
            dispatcher,
            max_connections: [config.max_connections; 2],
            config,
            clients,
            datagrams,
            faults: faults_on_demand,
            commander: Commander::new(),
            tally,
            recording,
            closed,
            old_tokens,
            blocks: true,
            idle_rounds: 0,
        }
    }

    /// Runs to the end, checking every step.
    pub(crate) fn run(&mut self, size: Size) {
        let mut to_come = size.connections;
        let stops = self.choose(|c| c.chance(30));
        while to_come > 0 {
            let room = size.at_once.saturating_sub(self.clients.len());
            for _ in 0..self.choose(|c| c.length(3)).min(to_come).min(room) {
                self.connect();
                to_come -= 1;
            }
            if room == 0 {
                self.lose_patience();
            }
            self.misbehave();
            self.advance();
            self.step();
            let is_exhausted = self.kernel.borrow().choices.is_exhausted();
            if is_exhausted || (stops && to_come < size.connections / 10) {
                break;
            }
        }
        if stops {
            self.dispatcher.stop();
            self.step_until(|world| world.dispatcher.phase() == Phase::Stopped);
        } else {
            self.settle();
            self.step_until(|world| {
                world.clients.is_empty() && world.datagrams.is_done(&world.kernel)
            });
        }
        self.check_that_all_is_given_back();
    }

    pub(crate) fn choose<T>(&self, choice: impl FnOnce(&mut Choices) -> T) -> T {
        choice(&mut self.kernel.borrow_mut().choices)
    }

    fn connect(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let listener = kernel.choices.below(Kind::ALL.len());
        let wire = kernel.connect(listener);
        let plan = peer::Plan::new(Kind::ALL[listener], self.faults, &mut kernel.choices);
        let mood = kernel.choices.one_of(&Mood::ALL);
        let finale = kernel.choices.one_of(&Finale::ALL);
        let model = check::Model::new(kernel.now);
        self.clients.push(Client { wire, plan, model, mood, finale, sent: 0, received: 0 });
    }

    /// A peer that no timeout ends gives up.
    fn lose_patience(&mut self) {
        let index = self.choose(|c| c.below(self.clients.len()));
        let finale = self.choose(|c| c.one_of(&[Finale::Fin, Finale::Reset]));
        let client = &mut self.clients[index];
        client.mood = Mood::Eager;
        if client.finale == Finale::Stay {
            client.finale = finale;
        }
    }

    fn misbehave(&mut self) {
        self.datagrams.misbehave(&self.kernel);
        for index in 0..self.clients.len() {
            if self.choose(|c| c.chance(50)) {
                self.act(index);
            }
        }
    }

    /// One peer sends, receives, or ends it.
    fn act(&mut self, index: usize) {
        let kernel = &mut *self.kernel.borrow_mut();
        let client = &mut self.clients[index];
        let wire = kernel.wire(client.wire);
        if wire.reset || wire.closed.is_some() {
            return;
        }
        let waits = client.received < client.plan.reply(client.sent);
        let (sends, takes) = match client.mood {
            Mood::Eager => (usize::MAX, usize::MAX),
            Mood::Drips => (kernel.choices.length(5), usize::MAX),
            Mood::Deaf => (kernel.choices.length(300_000), 0),
            Mood::Ping if waits => (0, usize::MAX),
            Mood::Ping => (kernel.choices.length(500), usize::MAX),
            Mood::Erratic => (kernel.choices.length(300_000), kernel.choices.length(300_000)),
        };
        kernel.deliver(client.wire, takes);
        client.receive(kernel);
        if client.finale == Finale::Reset && kernel.choices.chance(5) {
            return kernel.reset(client.wire);
        }
        let left = client.plan.bytes.len() - client.sent;
        let count = sends.min(left).min(kernel.wire(client.wire).window());
        let is_urgent = client.mood == Mood::Erratic && kernel.choices.chance(10);
        let bytes = &client.plan.bytes[client.sent..client.sent + count];
        kernel.send(client.wire, bytes, is_urgent);
        client.sent += count;
        if client.sent == client.plan.bytes.len() && !kernel.wire(client.wire).fin {
            match client.finale {
                Finale::Fin => kernel.fin(client.wire),
                Finale::Reset => kernel.reset(client.wire),
                Finale::Stay => {}
            }
        }
    }

    /// All peers behave well from now on.
    fn settle(&mut self) {
        for client in &mut self.clients {
            client.mood = Mood::Eager;
            client.finale = Finale::Fin;
        }
        self.kernel.borrow_mut().faults.accept = 0;
    }

    /// Lets time pass: seldom much, and often to just before or exactly the next deadline.
    fn advance(&mut self) {
        let wait = self.dispatcher.wait();
        let mut kernel = self.kernel.borrow_mut();
        let millisecond = Duration::from_millis(1);
        let step = match (kernel.choices.below(12), wait) {
            (0, Some(wait)) => wait,
            (1, Some(wait)) => wait.saturating_sub(millisecond),
            (2, _) => millisecond * u32::try_from(kernel.choices.length(2_000)).unwrap(),
            (3..6, _) => millisecond,
            _ => Duration::ZERO,
        };
        kernel.now += step;
    }

    /// One round of the loop, as [`resound::Reactor::turn`] does it.
    fn step(&mut self) {
        let before = check::Before::of(self);
        self.max_connections = [self.config.max_connections; 2];
        let calls = self.kernel.borrow().calls;
        let events = {
            let mut kernel = self.kernel.borrow_mut();
            let most = 1 + kernel.choices.below(40);
            let mut events = kernel.poll(most);
            if kernel.choices.chance(10) {
                let stale = self.old_tokens[kernel.choices.below(self.old_tokens.len())];
                events.push((stale, Readiness::ALL));
            }
            if kernel.choices.chance(10) {
                let count = kernel.ports.len();
                let port = kernel.choices.below(count);
                events.push((kernel.ports[port].token(), Readiness::ALL));
            }
            if kernel.choices.chance(10) && !self.clients.is_empty() {
                let client = &self.clients[kernel.choices.below(self.clients.len())];
                let flags = kernel.choices.below(8);
                let spurious = Readiness {
                    readable: flags & 1 != 0,
                    writable: flags & 2 != 0,
                    more_behind: flags & 4 != 0,
                };
                events.extend(kernel.wire(client.wire).token.map(|token| (token, spurious)));
            }
            events
        };
        let is_idle = !self.blocks && events.is_empty();
        self.dispatcher.polled(|| events.len());
        for (token, readiness) in events {
            self.dispatcher.event(token, readiness);
        }
        let is_commanded = Commander::act(self);
        self.dispatcher.run_queued();
        self.dispatcher.expire();
        self.check_that_it_does_not_spin(
            is_idle && !is_commanded && self.kernel.borrow().calls == calls,
        );
        self.blocks = self.dispatcher.wait() != Some(Duration::ZERO);
        check::check(self, before);
        if let Some(mut recording) = self.recording.take() {
            recording.check(self);
            self.recording = Some(recording);
        }
        self.datagrams.check(&self.kernel, &self.dispatcher);
        self.bury();
    }

    /// A loop that polls without blocking has something to do.
    fn check_that_it_does_not_spin(&mut self, did_nothing: bool) {
        self.idle_rounds = if did_nothing { self.idle_rounds + 1 } else { 0 };
        assert!(
            self.idle_rounds < 2 || self.dispatcher.phase() == Phase::Stopped,
            "two polls in a row neither blocked nor did anything: {:?}",
            self.dispatcher.inspect()
        );
    }

    /// Forgets the connections that are gone, once the peer has received what still reached it.
    fn bury(&mut self) {
        let kernel = &mut *self.kernel.borrow_mut();
        let old_tokens = &mut self.old_tokens;
        self.clients.retain_mut(|client| {
            if kernel.wire(client.wire).closed.is_none() {
                return true;
            }
            kernel.deliver(client.wire, usize::MAX);
            client.receive(kernel);
            old_tokens.extend(kernel.wire(client.wire).token);
            if old_tokens.len() > 20 {
                old_tokens.pop_front();
            }
            kernel.wires[client.wire] = None;
            false
        });
    }

    fn step_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..STEPS_TO_END {
            if done(self) {
                return;
            }
            for index in 0..self.clients.len() {
                self.act(index);
            }
            self.datagrams.settle(&self.kernel);
            let is_quiet = !self.kernel.borrow().has_events();
            if let Some(wait) = self.dispatcher.wait().filter(|_| is_quiet) {
                self.kernel.borrow_mut().now += wait;
            }
            self.step();
        }
        panic!("it does not come to an end: {:?}", self.dispatcher.inspect());
    }

    fn check_that_all_is_given_back(&mut self) {
        for _ in 0..10 {
            let Some(wait) = self.dispatcher.wait() else { break };
            if self.dispatcher.phase() == Phase::Stopped {
                break;
            }
            self.kernel.borrow_mut().now += wait;
            self.dispatcher.run_queued();
            self.dispatcher.expire();
        }
        let held = self.dispatcher.inspect();
        assert!(held.connections.is_empty() && held.lent == 0, "{held:?}");
        assert_eq!(self.kernel.borrow().open, 0, "sockets left open");
        if self.dispatcher.phase() == Phase::Running {
            assert_eq!(self.dispatcher.wait(), None, "it has nothing to do and wakes up for it");
        }
    }
}

impl Client {
    /// Takes all that was delivered and compares it with what it must be.
    fn receive(&mut self, kernel: &mut Kernel) {
        let wire = kernel.wire_mut(self.wire);
        let bytes = wire.delivered.make_contiguous();
        assert!(self.plan.is_reply(self.received, bytes), "wrong bytes behind {}", self.received);
        self.received += bytes.len();
        wire.delivered.clear();
    }
}
