//! What must hold after every step, worked out from the wires alone and compared with what the dispatcher says.

use std::{collections::HashMap, time::Duration};

use resound::{
    Overload, Peer, Reason, Token,
    dispatcher::Phase,
    inspect::{Accepting, Inspected, InspectedSchedule, Inspection},
};

use super::{
    faulty::End,
    kernel::{Kernel, Wire},
    peer::Kind,
    world::{Client, World},
};

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Idle,
    /// It is in the middle of a frame, which has its own deadline.
    Frame,
    Write,
    Linger,
}

/// The deadline of a frame that has begun.
#[derive(Debug, Clone, Copy)]
struct Begun {
    since: Duration,
    frames: usize,
    excuse: Excuse,
}

/// What happened after its time was up while replies were owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    None,
    Waits,
    Used,
    UsedUp,
}

/// A connection as it should have been at the end of the last step.
#[derive(Debug)]
pub(crate) struct Model {
    class: Class,
    since: Duration,
    begun: Option<Begun>,
    read: u64,
    written: u64,
    is_new: bool,
    /// Why the server ended it, if it did.
    ended: Option<Reason>,
}

impl Model {
    pub(crate) const fn new(now: Duration) -> Self {
        let (class, ended) = (Class::Idle, None);
        Self { class, since: now, begun: None, read: 0, written: 0, is_new: true, ended }
    }
}

/// Connections closed so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    by_reason: [u64; Reason::ALL.len()],
    refused: u64,
}

impl World {
    /// The loop has released this connection, and its protocol was told.
    pub(crate) fn has_released(&mut self, token: Token) {
        let told = self.closed.borrow_mut().remove(&token);
        assert_eq!(told, Some(Reason::Released));
        self.tally.by_reason[Reason::Released as usize] += 1;
    }
}

/// The state before the step.
#[derive(Debug)]
pub(crate) struct Before {
    is_draining: bool,
    /// Connections that were open.
    open: usize,
}

impl Before {
    pub(crate) fn of(world: &World) -> Self {
        let is_draining = world.dispatcher.phase() != Phase::Running;
        Self { is_draining, open: world.kernel.borrow().open }
    }
}

/// Checks everything.
pub(crate) fn check(world: &mut World, before: Before) {
    let inspection = world.dispatcher.inspect();
    check_totals(world, &inspection, &before);
    check_listeners(world, &inspection);
    let mut closed = Vec::new();
    for index in 0..world.clients.len() {
        let kernel = world.kernel.borrow();
        let wire = kernel.wire(world.clients[index].wire);
        if wire.closed.is_some() {
            closed.push(index);
        } else if let Some(token) = wire.token {
            let inspected = inspection.connections.iter().find(|c| c.token == token);
            let inspected = inspected.unwrap_or_else(|| panic!("{token} is open and unknown"));
            drop(kernel);
            check_open(world, index, inspected, &before);
        }
    }
    let refused = check_refused(world, &inspection, &closed);
    closed.retain(|index| !refused.contains(index));
    let by_reason = closed.into_iter().map(|index| (index, may_have_closed(world, index, &before)));
    check_reasons(world, by_reason.collect());
}

fn check_totals(world: &World, inspection: &Inspection, before: &Before) {
    let kernel = world.kernel.borrow();
    let stats = world.dispatcher.stats().total();
    let connections = &inspection.connections;
    assert_eq!(connections.len(), kernel.open, "slab and open sockets");
    assert_eq!(stats.open.value(), kernel.open as u64, "the gauge of open connections");
    // A limit that was lowered closes none: then there are no more than before.
    let most = world.max_connections[1].max(before.open);
    assert!(connections.len() <= most, "more than max_connections");
    let capacity: usize = connections.iter().map(|c| c.capacity).sum();
    assert_eq!(capacity, inspection.lent, "lent memory and buffers");
    assert_eq!(
        world.dispatcher.stats().buffered.value(),
        inspection.lent as u64,
        "the gauge of buffered bytes"
    );
    assert!(capacity <= world.config.max_memory, "over max_memory");
    if inspection.queued > 0 {
        assert_eq!(world.dispatcher.wait(), Some(Duration::ZERO), "it sleeps with work queued");
    }
    for c in connections {
        assert_eq!(c.entries, usize::from(c.queued), "on the run queue: {c:?}");
        assert!(c.held + c.owed > 0 || c.capacity == 0, "an idle one has a buffer: {c:?}");
        // Of each of the two buffers; the smallest has 512 bytes.
        let most = 4 * c.held.max(512) + 4 * c.owed.max(512);
        assert!(c.capacity <= most, "memory does not follow what is held: {c:?}");
        let deadlines = [c.deadline, c.unit_deadline];
        assert!(deadlines.iter().flatten().all(|&at| at > kernel.now), "a late deadline: {c:?}");
    }
    if let Phase::Draining { time_left, .. } = world.dispatcher.phase() {
        let is_closing = world.dispatcher.wait() == Some(Duration::ZERO);
        assert!(
            time_left > Duration::ZERO || is_closing,
            "it drains for longer than the grace time"
        );
    }
}

/// Connections that the server closed as soon as they were accepted, and was allowed to.
fn check_refused(world: &mut World, inspection: &Inspection, closed: &[usize]) -> Vec<usize> {
    let kernel = &*world.kernel.borrow();
    let stats = world.dispatcher.stats().total();
    let Tally { refused: counted, by_reason } = &mut world.tally;
    let is_stranger = |&index: &usize| kernel.wire(world.clients[index].wire).token.is_none();
    let mut strangers: Vec<usize> = closed.iter().copied().filter(is_stranger).collect();
    let refused = usize::try_from(stats.refused.value() - *counted).unwrap();
    let failed = stats.closed(Reason::Unregistered) - by_reason[Reason::Unregistered as usize];
    let failed = usize::try_from(failed).unwrap();
    assert_eq!(strangers.len(), refused + failed, "closed at once, neither refused nor failed");
    let most_open = inspection.connections.len() + closed.len();
    let may_refuse = world.config.overload == Overload::Refuse
        && (kernel.faults.accept > 0
            || most_open >= world.max_connections[0].min(kernel.descriptors));
    if refused > 0 && !may_refuse {
        let mut hosts: HashMap<Peer, u32> = HashMap::new();
        for wire in world.clients.iter().map(|client| kernel.wire(client.wire)) {
            if wire.token.is_some() {
                *hosts.entry(wire.peer).or_default() += 1;
            }
        }
        let limit = world.config.max_connections_per_ip.expect("refused without a reason");
        let is_at_limit = |&&index: &&usize| {
            let peer = kernel.wire(world.clients[index].wire).peer;
            hosts.get(&peer).is_some_and(|&count| count >= limit)
        };
        let at_limit = strangers.iter().filter(is_at_limit).count();
        assert!(at_limit >= refused, "refused although there is room");
    }
    *counted = stats.refused.value();
    strangers.truncate(refused);
    strangers
}

/// No connection waits in the backlog of a listener that nothing will wake.
fn check_listeners(world: &World, inspection: &Inspection) {
    let kernel = world.kernel.borrow();
    if world.dispatcher.phase() != Phase::Running {
        return;
    }
    for (listener, accepting) in kernel.listeners.iter().zip(&inspection.listeners) {
        let is_woken = match *accepting {
            Accepting::Event => listener.edge || listener.backlog.is_empty(),
            Accepting::Turn => inspection.queued > 0,
            Accepting::Room => {
                world.config.overload == Overload::Wait
                    && inspection.connections.len() >= world.config.max_connections
            }
            Accepting::Until(time) => {
                time > kernel.now && time <= kernel.now + Duration::from_secs(1)
            }
        };
        assert!(is_woken, "a listener that nothing wakes: {accepting:?}, {listener:?}");
    }
}

fn check_open(world: &mut World, index: usize, c: &Inspected, before: &Before) {
    let kernel = &*world.kernel.borrow();
    let client = &world.clients[index];
    let wire = kernel.wire(client.wire);
    let plan = &client.plan;
    let context = || format!("{c:?}\n{client:?}\n{wire:?}").chars().take(3_000).collect::<String>();
    let read = usize::try_from(wire.read).unwrap();
    let written = usize::try_from(wire.written).unwrap();

    if plan.kind == Kind::Faulty {
        let ended = check_faulty(world, client, c, before);
        let model =
            Model { read: wire.read, written: wire.written, ended, ..Model::new(kernel.now) };
        world.clients[index].model = Model { is_new: false, ..model };
        return;
    }
    if c.ended_for == Some(Reason::Memory) && wire.fin_sent.is_none() {
        assert!(c.queued, "it is ended, and nothing sends FIN: {}", context());
        assert!(world.config.max_memory < 8 << 20, "ended for memory: {}", context());
        return;
    }
    if !c.queued && !wire.has_edge() {
        if c.owed > 0 {
            assert!(
                wire.is_blocked(),
                "it owes, there is room, and nothing wakes it: {}",
                context()
            );
        } else {
            assert!(!wire.is_readable(), "there is more, and nothing wakes it: {}", context());
        }
    }

    let waits_for_rest = c.held > 0 && c.owed == 0 && !c.queued && !wire.fin_read;
    if waits_for_rest && matches!(plan.kind, Kind::Frames | Kind::Nibbler) {
        assert_eq!(wire.acknowledged, wire.read, "a delayed ACK inside a frame: {}", context());
    }
    let is_cut_off = before.is_draining && c.ended_for == Some(Reason::CutOff);
    let reply = plan.reply(read);
    if wire.fin_sent.is_some() {
        assert!(written <= reply, "more than was asked for: {}", context());
        assert_eq!((c.held, c.owed), (0, 0), "ended, and holds something: {}", context());
    } else if plan.kind == Kind::Streamer {
        assert!(written + c.owed <= reply, "more than was asked for: {}", context());
        let is_all = c.queued || c.owed > 0 || written == reply;
        assert!(is_all || is_cut_off, "lost output: {}", context());
    } else if plan.kind == Kind::Amplifier {
        assert!(written + c.owed <= reply, "more than was asked for: {}", context());
        let is_all = c.queued || c.held > 0 || written + c.owed == reply;
        assert!(is_all || is_cut_off, "lost output: {}", context());
    } else {
        assert_eq!(written + c.owed, reply, "all that is whole goes back: {}", context());
        let is_over = wire.fin_read || plan.is_refused(read) || is_cut_off;
        let begun = if is_over { 0 } else { read - plan.whole(read) };
        assert_eq!(c.held, begun, "what has begun is held: {}", context());
    }

    let mut ended = client.model.ended;
    if ended.is_none() && wire.fin_sent.is_some() {
        ended = c.ended_for;
        let reasons = may_have_ended(world, kernel, client, before);
        assert!(ended.is_some_and(|reason| reasons.contains(&reason)), "FIN: {}", context());
    }
    assert_eq!(ended.is_some(), wire.fin_sent.is_some(), "{}", context());

    let class = match () {
        () if wire.fin_sent.is_some() => Class::Linger,
        () if c.owed > 0 => Class::Write,
        () if c.held > 0 => Class::Frame,
        () => Class::Idle,
    };
    let old = &client.model;
    let frames = plan.frames(read);
    let restarts = old.is_new
        || class != old.class
        || match class {
            Class::Linger => false,
            Class::Write => wire.written != old.written,
            Class::Frame => false,
            Class::Idle => (wire.read, wire.written) != (old.read, old.written),
        };
    if (class, old.class) == (Class::Write, Class::Write) && wire.written == old.written {
        assert_eq!(wire.read, old.read, "it owes, and reads on: {}", context());
    }
    let since = if restarts { kernel.now } else { old.since };
    // One that answers in parts restarts at each.
    let in_parts = matches!(plan.kind, Kind::Amplifier | Kind::Streamer);
    if !(c.queued && in_parts) {
        let due = timeout(world, class).map(|timeout| since + timeout);
        assert_eq!(c.deadline, due, "{class:?} since {since:?}: {}", context());
    }
    let mut begun = None;
    // An amplifier holds what it has not answered yet; it does not wait for the peer.
    let is_within = c.held > 0 && wire.fin_sent.is_none() && plan.kind != Kind::Amplifier;
    if let (true, Some(timeout)) = (is_within, world.config.frame_timeout) {
        let is_same = |begun: &Begun| begun.frames == frames;
        let restarted = Begun { since: kernel.now, frames, excuse: Excuse::None };
        let old = old.begun.filter(is_same).unwrap_or(restarted);
        let now = proceed_with(old, kernel.now, timeout, c);
        let due = matches!(now.excuse, Excuse::None | Excuse::Used).then(|| now.since + timeout);
        assert_eq!(c.unit_deadline, due, "from {old:?} to {now:?}: {}", context());
        begun = Some(now);
    } else {
        assert_eq!(c.unit_deadline, None, "{}", context());
    }
    let (read, written) = (wire.read, wire.written);
    let model = Model { class, since, begun, read, written, is_new: false, ended };
    world.clients[index].model = model;
}

/// Checks a connection with faults: what has left and what is owed is exactly what the plan makes of the frames that
/// were read. Returns why the server has sent FIN, if it has.
fn check_faulty(world: &World, client: &Client, c: &Inspected, before: &Before) -> Option<Reason> {
    let kernel = world.kernel.borrow();
    let wire = kernel.wire(client.wire);
    let plan = &client.plan;
    let context = || format!("{c:?}\n{client:?}\n{wire:?}").chars().take(3_000).collect::<String>();
    if !c.queued && !wire.has_edge() {
        assert!(!wire.reset, "the peer has reset it, and it stays: {}", context());
        match c.schedule {
            Some(InspectedSchedule::Waits) => {
                assert_eq!((c.deadline, c.unit_deadline), (None, None), "{}", context());
                assert!(world.dispatcher.wait().is_some(), "no timer: {}", context());
            }
            Some(InspectedSchedule::Holds) => {
                assert!(!wire.fin, "the peer has ended it, and it holds: {}", context());
            }
            Some(InspectedSchedule::Sends) => {
                assert!(wire.is_blocked(), "it can send, and nothing wakes it: {}", context());
            }
            None if c.owed > 0 => {
                assert!(wire.is_blocked(), "it owes, and nothing wakes it: {}", context());
            }
            None => assert!(!wire.is_readable(), "there is more to read: {}", context()),
        }
    }
    let written = usize::try_from(wire.written).unwrap();
    let reply = plan.reply(usize::try_from(wire.read).unwrap() - c.held);
    if c.ended_for.is_some() || wire.fin_sent.is_some() {
        assert!(written + c.owed <= reply, "more than the plan gives: {}", context());
    } else {
        assert_eq!(written + c.owed, reply, "what the plan gives: {}", context());
    }
    let ended = client.model.ended.or_else(|| wire.fin_sent.and(c.ended_for));
    if client.model.ended.is_none() && ended.is_some() {
        let reasons = may_have_ended_faulty(world, &kernel, client, before);
        assert!(ended.is_some_and(|reason| reasons.contains(&reason)), "FIN: {}", context());
    }
    ended
}

/// Why the server may have sent FIN to a connection with faults in this step.
fn may_have_ended_faulty(
    world: &World,
    kernel: &Kernel,
    client: &Client,
    before: &Before,
) -> Vec<Reason> {
    let wire = kernel.wire(client.wire);
    let read = usize::try_from(wire.read).unwrap();
    let mut reasons = Vec::new();
    if client.plan.is_ended_by_fault(read, wire.written, End::Fin) {
        reasons.push(Reason::Fault);
    }
    if client.plan.is_refused(read) {
        reasons.push(Reason::Refused);
    }
    for (timeout, reason) in [
        (world.config.idle_timeout, Reason::Idle),
        (world.config.frame_timeout, Reason::SlowFrame),
        (world.config.write_timeout, Reason::SlowReader),
    ] {
        reasons.extend(timeout.map(|_| reason));
    }
    if before.is_draining {
        reasons.extend([Reason::Drained, Reason::CutOff]);
    }
    if world.config.max_memory < 8 << 20 {
        reasons.push(Reason::Memory);
    }
    reasons
}

/// The deadline of a frame at the end of a step, after which it is still unfinished.
fn proceed_with(begun: Begun, now: Duration, timeout: Duration, c: &Inspected) -> Begun {
    let is_up = begun.since + timeout <= now;
    let keeps_waiting = c.owed > 0 || c.queued;
    let excuse = match begun.excuse {
        Excuse::None if is_up => Excuse::Waits,
        Excuse::Used if is_up => Excuse::UsedUp,
        // It may have sent what it owed, and owe new output; or have had its turn, and wait for another one.
        Excuse::Waits if !keeps_waiting || c.unit_deadline == Some(now + timeout) => {
            return Begun { since: now, excuse: Excuse::Used, ..begun };
        }
        same => same,
    };
    let waits = matches!(excuse, Excuse::Waits | Excuse::UsedUp);
    assert!(!waits || keeps_waiting, "its time is up, and it goes on: {begun:?}, {c:?}");
    Begun { excuse, ..begun }
}

const fn timeout(world: &World, class: Class) -> Option<Duration> {
    match class {
        Class::Idle => world.config.idle_timeout,
        Class::Frame => None,
        Class::Write => world.config.write_timeout,
        Class::Linger => Some(world.config.linger),
    }
}

/// Whether it had waited for `class` for as long as is allowed, and nothing came of it in this step.
fn is_overdue(world: &World, kernel: &Kernel, client: &Client, class: Class) -> bool {
    let wire = kernel.wire(client.wire);
    let model = &client.model;
    let is_stuck = match class {
        Class::Idle => (wire.read, wire.written) == (model.read, model.written),
        Class::Frame => false,
        Class::Write => wire.written == model.written,
        Class::Linger => true,
    };
    let due = timeout(world, class).map(|timeout| model.since + timeout);
    model.class == class && is_stuck && !model.is_new && due.is_some_and(|due| due <= kernel.now)
}

/// Whether the time for the frame that it has begun was up, and it did not become whole in this step.
fn is_frame_overdue(world: &World, kernel: &Kernel, client: &Client) -> bool {
    let wire = kernel.wire(client.wire);
    let (Some(begun), Some(timeout)) = (client.model.begun, world.config.frame_timeout) else {
        return false;
    };
    // What is read behind FIN is discarded.
    let read = wire.fin_sent.map_or(wire.read, |fin| fin.read);
    let frames = client.plan.frames(usize::try_from(read).unwrap());
    let is_due = match begun.excuse {
        Excuse::None | Excuse::Used => begun.since + timeout <= kernel.now,
        Excuse::Waits => false,
        Excuse::UsedUp => true,
    };
    frames == begun.frames && is_due
}

fn everything_is_answered(client: &Client, wire: &Wire) -> bool {
    let read = usize::try_from(wire.read).unwrap();
    wire.written == client.plan.reply(read) as u64
}

/// Why the server may have sent its FIN in this step.
fn may_have_ended(world: &World, kernel: &Kernel, client: &Client, before: &Before) -> Vec<Reason> {
    let wire = kernel.wire(client.wire);
    let read = usize::try_from(wire.read).unwrap();
    let is_answered = everything_is_answered(client, wire);
    let left_unread = wire.fin_sent.is_some_and(|ended| ended.unread > 0);
    let mut reasons = Vec::new();
    if client.plan.is_refused(read) && is_answered {
        reasons.push(Reason::Refused);
    }
    if is_overdue(world, kernel, client, Class::Idle) && !left_unread {
        reasons.push(Reason::Idle);
    }
    // Input that arrives during the turn is read up to the turn's limit.
    let comes_late = kernel.faults.meanwhile > 0;
    if is_frame_overdue(world, kernel, client) && (!left_unread || comes_late) {
        reasons.push(Reason::SlowFrame);
    }
    if is_overdue(world, kernel, client, Class::Write) {
        reasons.push(Reason::SlowReader);
    }
    if before.is_draining && is_answered && !left_unread {
        reasons.push(Reason::Drained);
    }
    if let Phase::Draining { time_left, .. } = world.dispatcher.phase()
        && time_left <= world.config.linger
    {
        reasons.push(Reason::CutOff);
    }
    if world.config.max_memory < 8 << 20 {
        reasons.push(Reason::Memory);
    }
    reasons
}

/// Why a connection that is closed may have been.
fn may_have_closed(world: &World, index: usize, before: &Before) -> Vec<Reason> {
    let kernel = &*world.kernel.borrow();
    let client = &world.clients[index];
    let wire = kernel.wire(client.wire);
    let closed = wire.closed.expect("it is closed");
    if wire.token.is_none() {
        return vec![Reason::Unregistered];
    }
    let is_cut_off = before.is_draining && world.dispatcher.phase() == Phase::Stopped;
    let is_told = wire.token.is_some_and(|token| world.commander.has_closed(token));
    let is_lingered = wire.fin_sent.is_some_and(|fin| fin.at + world.config.linger <= kernel.now);
    let is_faulty = client.plan.kind == Kind::Faulty;
    let read = usize::try_from(wire.read).unwrap();
    let mut reasons = Vec::new();
    if client.plan.is_ended_by_fault(read, wire.written, End::Reset) && wire.reset_sent {
        reasons.push(Reason::Fault);
    }
    if closed.unread > 0 && !wire.reset && !is_cut_off && !is_told && reasons.is_empty() {
        assert!(is_lingered, "closed with unread bytes, so with RST: {client:?}");
    }
    if let Some(reason) = client.model.ended {
        if is_lingered || wire.fin_read || wire.reset {
            reasons.push(reason);
        }
    } else {
        if wire.reset {
            reasons.push(Reason::Reset);
            if client.plan.is_refused(usize::try_from(wire.read).unwrap()) {
                reasons.push(Reason::Refused);
            }
        }
        if wire.fin_read && wire.fin_sent.is_none() && everything_is_answered(client, wire) {
            reasons.push(Reason::PeerClosed);
        }
        if is_faulty && (wire.fin_sent.is_some() || wire.reset) {
            reasons.extend(may_have_ended_faulty(world, kernel, client, before));
        } else if wire.fin_sent.is_some() || wire.reset {
            reasons.extend(may_have_ended(world, kernel, client, before));
        }
    }
    if is_cut_off {
        reasons.push(Reason::CutOff);
    }
    if is_told {
        reasons.push(Reason::Closed);
    }
    assert!(!reasons.is_empty(), "closed for no reason: {client:?}, {wire:?}");
    reasons
}

/// Compares what the protocols were told, and the counters, with what may have happened.
fn check_reasons(world: &mut World, closed: Vec<(usize, Vec<Reason>)>) {
    let kernel = world.kernel.borrow();
    let tally = &mut world.tally.by_reason;
    for (index, reasons) in closed {
        let client = &world.clients[index];
        let told = kernel.wire(client.wire).token.map(|token| {
            let told = world.closed.borrow_mut().remove(&token);
            told.unwrap_or_else(|| panic!("{token} is closed, and its protocol not told"))
        });
        let reason = told.unwrap_or(Reason::Unregistered);
        assert!(reasons.contains(&reason), "{reason:?}, not one of {reasons:?}: {client:?}");
        tally[reason as usize] += 1;
    }
    assert!(world.closed.borrow().is_empty(), "told of what is open: {:?}", world.closed);
    let stats = world.dispatcher.stats().total();
    for &reason in Reason::ALL {
        assert_eq!(stats.closed(reason), tally[reason as usize], "closed: {}", reason.as_str());
    }
}
