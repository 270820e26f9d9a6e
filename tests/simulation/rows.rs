//! Single faults, one after the other, on the simulated kernel and its clock.

use std::{cell::RefCell, rc::Rc, time::Duration};

use resound::{
    Change, Config, Reason, Settings, Token, commands,
    dispatcher::{Dispatcher, Phase},
    frame::Dialect,
    net::Readiness,
    protocol::{Frames, Next, Output, Protocol, Received},
};

use super::{
    choices::Choices,
    faulty,
    kernel::{Faults, Kernel, SharedKernel, Simulated},
};

/// A dispatcher of frames on a kernel without surprises.
struct Calm<P = Frames> {
    kernel: SharedKernel,
    dispatcher: Dispatcher<Simulated, P>,
}

const SECOND: Duration = Duration::from_secs(1);

impl Calm {
    fn new(config: Config) -> Self {
        Self::speaking(Frames::default(), config)
    }
}

impl<P: Protocol> Calm<P> {
    fn speaking(protocol: P, config: Config) -> Self {
        let faults =
            Faults { interrupted: 0, short_write: 0, meanwhile: 0, register: 0, accept: 0 };
        let no_choice = Choices::Script { bytes: Vec::new(), next: 0 };
        let kernel = Rc::new(RefCell::new(Kernel::new(no_choice, faults, 10_000)));
        let mut dispatcher = Dispatcher::new(Simulated(Rc::clone(&kernel)), config);
        dispatcher.listen(0, "calm".to_owned(), protocol).unwrap();
        Self { kernel, dispatcher }
    }

    fn connect(&mut self) -> usize {
        let wire = self.kernel.borrow_mut().connect(0);
        self.step();
        wire
    }

    fn send(&mut self, wire: usize, bytes: &[u8]) {
        self.kernel.borrow_mut().send(wire, bytes, false);
        self.step();
    }

    fn step(&mut self) {
        let events = self.kernel.borrow_mut().poll(1_024);
        self.dispatcher.polled(|| events.len());
        for (token, readiness) in events {
            self.dispatcher.event(token, readiness);
        }
        self.dispatcher.run_queued();
        self.dispatcher.expire();
    }

    /// Lets time pass, and runs the loop until nothing more is due: a drain takes a few rounds.
    fn pass(&mut self, time: Duration) {
        self.kernel.borrow_mut().now += time;
        for _ in 0..5 {
            self.step();
        }
    }

    fn has_sent_fin(&self, wire: usize) -> bool {
        self.kernel.borrow().wire(wire).fin_sent.is_some()
    }

    fn is_closed(&self, wire: usize) -> bool {
        self.kernel.borrow().wire(wire).closed.is_some()
    }

    fn written(&self, wire: usize) -> u64 {
        self.kernel.borrow().wire(wire).written
    }

    fn closed(&self, reason: Reason) -> u64 {
        self.dispatcher.stats().total().closed(reason)
    }
}

const HELLO: &[u8] = b"\x05\0\0\0hello";
const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn a_stale_token_in_a_batch_does_not_reach_the_next_owner_of_its_slot() {
    let mut calm = Calm::new(Config { idle_timeout: None, ..Config::default() });
    let first = calm.connect();
    let old = calm.kernel.borrow().wire(first).token.unwrap();
    calm.kernel.borrow_mut().reset(first);
    calm.step();
    assert!(calm.is_closed(first));
    let second = calm.connect();
    let new = calm.kernel.borrow().wire(second).token.unwrap();
    assert_eq!(old.key(), new.key(), "the slot is taken again");
    // The same batch still has an event for the first one.
    calm.kernel.borrow_mut().send(second, HELLO, false);
    calm.dispatcher.event(old, Readiness::ALL);
    assert_eq!(calm.written(second), 0, "no peer was asked to read");
    calm.step();
    assert_eq!(calm.written(second), 9);
}

#[test]
fn what_an_adopted_connection_holds_is_in_the_gauge_at_once() {
    let mut calm = Calm::new(Config::default());
    let wire = calm.connect();
    calm.kernel.borrow_mut().wire_mut(wire).capacity = 1 << 20;
    let frame = long_frame(100_000);
    calm.send(wire, &frame[..50_000]);
    let token = calm.kernel.borrow().wire(wire).token.unwrap();
    let released = calm.dispatcher.release(token).unwrap();
    assert_eq!(calm.dispatcher.stats().buffered.value(), 0);
    calm.dispatcher.adopt(released).unwrap();
    let held = calm.dispatcher.inspect().lent as u64;
    assert!(held >= 50_000);
    assert_eq!(calm.dispatcher.stats().buffered.value(), held);
    calm.send(wire, &frame[50_000..]);
    assert_eq!(calm.written(wire), frame.len() as u64);
}

#[test]
fn memory_of_output_that_leaves_while_a_program_speaks_is_given_back() {
    let mut calm = Calm::speaking(faulty::frames("slice=1000"), Config::default());
    let wire = calm.connect();
    let frame = long_frame(20_000);
    calm.send(wire, &frame);
    assert!(calm.written(wire) < frame.len() as u64);
    // The peer has taken all, and the event for that has not come yet.
    calm.kernel.borrow_mut().wire_mut(wire).capacity = 1 << 20;
    let token = calm.kernel.borrow().wire(wire).token.unwrap();
    calm.dispatcher.speak(token, |_, _| {});
    assert_eq!(calm.written(wire), frame.len() as u64);
    assert_eq!(calm.dispatcher.inspect().lent, 0);
}

#[test]
fn an_accept_storm_is_taken_in_batches_with_the_others_in_between() {
    let mut calm = Calm::new(Config::default());
    let pinging = calm.connect();
    for _ in 0..1_000 {
        calm.kernel.borrow_mut().connect(0);
    }
    for round in 1..=10 {
        calm.send(pinging, HELLO);
        assert_eq!(calm.written(pinging), 9 * round);
        let open = calm.dispatcher.stats().total().open.value();
        assert!(open <= 1 + 128 * round, "{open} accepted in {round} rounds");
    }
    while calm.dispatcher.wait() == Some(Duration::ZERO) {
        calm.step();
    }
    assert_eq!(calm.dispatcher.stats().total().open.value(), 1_001);
}

impl Calm {
    /// A connection whose peer sends whole frames without a pause and takes all that comes back.
    fn connect_firehose(&mut self) -> usize {
        let wire = self.connect();
        self.kernel.borrow_mut().wire_mut(wire).endless = Some(HELLO);
        self.send(wire, HELLO);
        wire
    }

    /// Connections whose peers send frames of this length without a pause, from the next step on.
    fn connect_firehoses(&mut self, count: usize, length: usize) -> Vec<usize> {
        let long = long_frame(length).leak();
        let wires: Vec<usize> = (0..count).map(|_| self.connect()).collect();
        for &wire in &wires {
            let mut kernel = self.kernel.borrow_mut();
            kernel.wire_mut(wire).endless = Some(long);
            kernel.send(wire, HELLO, false);
        }
        wires
    }
}

fn long_frame(length: usize) -> Vec<u8> {
    [&u32::try_from(length).unwrap().to_le_bytes()[..], &vec![7; length]].concat()
}

#[test]
fn a_firehose_has_its_turns_and_the_others_theirs() {
    let mut calm = Calm::new(Config::default());
    let pinging = calm.connect();
    let firehose = calm.connect_firehose();
    for round in 1..=10 {
        let before = calm.written(firehose);
        calm.send(pinging, HELLO);
        assert_eq!(calm.written(pinging), 9 * round);
        assert!(calm.written(firehose) > before);
    }
}

/// Row 23 of the fault table.
#[test]
fn a_round_has_its_budget_however_many_connections_never_pause() {
    // One turn may begin before the budget of the round is spent, and goes on to its own end.
    const MOST: u64 = 8 << 20;
    for length in [100_000, 4 << 20] {
        let mut calm = Calm::new(Config::default());
        let pinging = calm.connect();
        let firehoses = calm.connect_firehoses(10, length);
        let moved = |calm: &Calm| {
            let kernel = calm.kernel.borrow();
            let of = |&wire: &usize| kernel.wire(wire).read + kernel.wire(wire).written;
            firehoses.iter().map(of).collect::<Vec<u64>>()
        };
        for round in 1..=40 {
            let before: u64 = moved(&calm).iter().sum();
            calm.kernel.borrow_mut().deliver(pinging, usize::MAX);
            calm.send(pinging, HELLO);
            assert_eq!(calm.written(pinging), 9 * round, "{length}");
            let in_round = moved(&calm).iter().sum::<u64>() - before;
            assert!(round == 1 || in_round > 0, "{length}");
            let first = if round == 1 { 10 * MOST } else { MOST };
            assert!(in_round <= first, "{length}: {in_round} bytes in a round");
        }
        let all = moved(&calm);
        let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert!(*least > 0 && *most <= 3 * least, "{length}: turns go round: {all:?}");
    }
}

#[test]
fn frames_of_nothing_without_a_pause_have_their_turns_and_the_others_theirs() {
    let mut calm = Calm::new(Config::default());
    let pinging = calm.connect();
    let flood = calm.connect();
    calm.kernel.borrow_mut().wire_mut(flood).endless = Some(&[0; 4]);
    calm.send(flood, &[0; 4]);
    for round in 1..=10 {
        let before = calm.written(flood);
        calm.send(pinging, HELLO);
        assert_eq!(calm.written(pinging), 9 * round);
        assert!(calm.written(flood) > before);
    }
}

#[test]
fn a_firehose_is_ended_in_good_order_before_the_grace_time_is_over() {
    let mut calm =
        Calm::new(Config { grace: 10 * SECOND, linger: 2 * SECOND, ..Config::default() });
    let firehose = calm.connect_firehose();
    calm.dispatcher.stop();
    calm.pass(8 * SECOND - MILLISECOND);
    assert!(!calm.has_sent_fin(firehose), "it may still come to an end by itself");
    let Phase::Draining { time_left, .. } = calm.dispatcher.phase() else { panic!("no drain") };
    assert_eq!(time_left, 2 * SECOND + MILLISECOND);
    calm.pass(MILLISECOND);
    assert!(calm.has_sent_fin(firehose) && !calm.is_closed(firehose));
    assert_eq!(calm.written(firehose) % 9, 0, "whole frames");
    calm.pass(2 * SECOND);
    assert!(calm.is_closed(firehose));
    assert_eq!(calm.closed(Reason::CutOff), 1);
    assert_eq!(calm.dispatcher.phase(), Phase::Stopped);
}

/// A listener has as many batches in a drain as a full backlog needs; the turns of others do not cost it any.
#[test]
fn all_who_wait_in_a_backlog_are_answered_in_a_drain_beside_heavy_traffic() {
    const WAITING: usize = 2_000;
    let mut calm = Calm::new(Config::default());
    calm.connect_firehoses(3, 4 << 20);
    calm.step();
    let waiting: Vec<usize> = (0..WAITING)
        .map(|_| {
            let mut kernel = calm.kernel.borrow_mut();
            let wire = kernel.connect(0);
            kernel.send(wire, HELLO, false);
            wire
        })
        .collect();
    calm.dispatcher.stop();
    for _ in 0..WAITING {
        calm.step();
        if waiting.iter().all(|&wire| calm.has_sent_fin(wire)) {
            break;
        }
    }
    let answered = waiting.iter().filter(|&&wire| calm.written(wire) == 9).count();
    assert_eq!(answered, WAITING);
}

#[test]
fn one_who_takes_nothing_is_cut_off_when_the_grace_time_is_over() {
    let no_limit = Config { write_timeout: None, grace: 10 * SECOND, ..Config::default() };
    let mut calm = Calm::new(no_limit);
    let deaf = calm.connect();
    calm.send(deaf, &HELLO.repeat(200));
    calm.dispatcher.stop();
    calm.pass(10 * SECOND - MILLISECOND);
    assert!(!calm.is_closed(deaf));
    calm.pass(MILLISECOND);
    assert!(calm.is_closed(deaf));
    assert_eq!(calm.dispatcher.phase(), Phase::Stopped);
}

#[test]
fn one_who_takes_nothing_is_not_read_from_and_its_fin_waits_behind_what_it_is_owed() {
    let mut calm = Calm::new(Config { write_timeout: None, ..Config::default() });
    let deaf = calm.connect();
    for _ in 0..100 {
        calm.send(deaf, &HELLO.repeat(400));
    }
    // What the kernel holds, and one read's replies; the rest waits where the sender notices.
    let held = calm.dispatcher.inspect().lent;
    assert!(held <= 2 * 3_600, "{held} bytes held for one who takes nothing");
    calm.kernel.borrow_mut().fin(deaf);
    while calm.written(deaf) < 100 * 3_600 {
        assert!(!calm.is_closed(deaf), "closed before it got everything");
        calm.kernel.borrow_mut().deliver(deaf, 500);
        calm.step();
    }
    assert!(calm.is_closed(deaf), "FIN was seen behind it all");
    assert_eq!(calm.closed(Reason::PeerClosed), 1);
}

#[test]
fn a_spurious_event_does_nothing() {
    let mut calm = Calm::new(Config::default());
    let wire = calm.connect();
    let token = calm.kernel.borrow().wire(wire).token.unwrap();
    for flags in 0..8 {
        let readiness = Readiness {
            readable: flags & 1 != 0,
            writable: flags & 2 != 0,
            more_behind: flags & 4 != 0,
        };
        calm.dispatcher.event(token, readiness);
    }
    assert_eq!((calm.written(wire), calm.is_closed(wire)), (0, false));
    calm.send(wire, HELLO);
    assert_eq!(calm.written(wire), 9);
}

#[test]
fn a_reader_that_takes_nothing_is_ended_after_the_write_timeout() {
    let mut calm = Calm::new(Config { write_timeout: Some(5 * SECOND), ..Config::default() });
    let wire = calm.connect();
    calm.send(wire, &HELLO.repeat(200));
    assert_eq!(calm.written(wire), 500, "as much as the kernel holds");
    calm.pass(5 * SECOND - MILLISECOND);
    assert!(!calm.has_sent_fin(wire));
    // It takes some: its time begins anew.
    calm.kernel.borrow_mut().deliver(wire, 100);
    calm.step();
    calm.pass(5 * SECOND - MILLISECOND);
    assert!(!calm.has_sent_fin(wire));
    calm.pass(MILLISECOND);
    assert!(calm.has_sent_fin(wire) && !calm.is_closed(wire), "it lingers");
    calm.pass(2 * SECOND);
    assert!(calm.is_closed(wire));
    assert_eq!(calm.closed(Reason::SlowReader), 1);
}

#[test]
fn a_frame_that_comes_a_byte_a_second_has_its_time_as_a_whole() {
    let mut calm = Calm::new(Config { frame_timeout: Some(10 * SECOND), ..Config::default() });
    let wire = calm.connect();
    let frame = [&[100, 0, 0, 0][..], &[7; 100]].concat();
    calm.send(wire, &frame[..1]);
    for second in 1..10 {
        calm.pass(SECOND);
        assert!(!calm.has_sent_fin(wire), "after {second} s");
        calm.send(wire, &frame[second..=second]);
    }
    calm.pass(SECOND);
    assert!(calm.has_sent_fin(wire), "though a byte came a second ago");
    calm.kernel.borrow_mut().fin(wire);
    calm.step();
    assert_eq!(calm.closed(Reason::SlowFrame), 1);
}

#[test]
fn a_long_frame_whose_rest_is_in_the_kernel_when_its_time_is_up_is_echoed() {
    const MIB: usize = 1 << 20;
    let protocol = Frames::new(Dialect::default().with_max(8 * MIB as u64).unwrap());
    let config = Config { frame_timeout: Some(10 * SECOND), ..Config::default() };
    let mut calm = Calm::speaking(protocol, config);
    let wire = calm.connect();
    calm.kernel.borrow_mut().wire_mut(wire).capacity = 16 * MIB;
    let frame = long_frame(6 * MIB);
    calm.send(wire, &frame[..1_000]);
    calm.kernel.borrow_mut().now += 10 * SECOND;
    // A turn reads a sixth of it at most, and its time is up in the same round.
    calm.send(wire, &frame[1_000..]);
    assert_eq!(calm.written(wire), 0);
    while calm.dispatcher.wait() == Some(Duration::ZERO) {
        calm.step();
    }
    assert_eq!(calm.written(wire), frame.len() as u64);
    // The excuse is that frame's alone.
    calm.send(wire, &frame[..1_000]);
    calm.pass(10 * SECOND);
    assert!(calm.has_sent_fin(wire));
}

#[test]
fn idle_is_ended_after_the_idle_timeout_and_not_while_something_comes() {
    let mut calm = Calm::new(Config { idle_timeout: Some(3 * SECOND), ..Config::default() });
    let (wire, silent) = (calm.connect(), calm.connect());
    for _ in 0..5 {
        calm.pass(2 * SECOND);
        calm.send(wire, HELLO);
    }
    assert!(calm.has_sent_fin(silent), "one that never sent anything is idle too");
    calm.pass(3 * SECOND - MILLISECOND);
    assert!(!calm.has_sent_fin(wire));
    calm.pass(MILLISECOND);
    assert!(calm.has_sent_fin(wire));
    assert_eq!(calm.written(wire), 45);
    calm.pass(2 * SECOND);
    assert_eq!(calm.closed(Reason::Idle), 2);
}

#[test]
fn bytes_that_are_in_the_kernel_when_time_is_up_are_answered() {
    let mut calm = Calm::new(Config { idle_timeout: Some(SECOND), ..Config::default() });
    let wire = calm.connect();
    let mut kernel = calm.kernel.borrow_mut();
    kernel.now += SECOND;
    kernel.send(wire, HELLO, false);
    drop(kernel);
    // Its event is behind others that fill the batch.
    calm.dispatcher.expire();
    assert_eq!(calm.written(wire), 9);
    assert!(!calm.has_sent_fin(wire));
}

#[test]
fn memory_of_a_large_frame_is_given_back_two_seconds_after_the_last_byte() {
    let mut calm = Calm::new(Config { idle_timeout: None, ..Config::default() });
    let wire = calm.connect();
    let frame = [&100_000_u32.to_le_bytes()[..], &[7; 100_000]].concat();
    let (beginning, rest) = frame.split_at(60_000);
    calm.send(wire, beginning);
    assert!(calm.dispatcher.inspect().lent >= beginning.len());
    calm.send(wire, rest);
    while calm.written(wire) < frame.len() as u64 {
        calm.kernel.borrow_mut().deliver(wire, 500);
        calm.step();
    }
    assert_eq!(calm.dispatcher.inspect().lent, 0, "the connection has none of it");
    assert!(calm.dispatcher.wait().is_some(), "some is kept for the next connection");
    calm.pass(SECOND);
    calm.pass(SECOND);
    assert_eq!(calm.dispatcher.wait(), None, "none is left to give back");
}

/// Connections that time out or are closed in one round of the loop are at most this many.
const SLICE: u64 = 256;

/// Many idle connections, and one that pings after each step until `done`.
fn ping_beside_what_concerns_all(config: Config, act: impl FnOnce(&mut Calm)) -> Calm {
    const CONNECTIONS: usize = 5_000;
    let mut calm = Calm::new(Config { max_connections: 10_000, ..config });
    for _ in 0..CONNECTIONS {
        calm.kernel.borrow_mut().connect(0);
    }
    while calm.dispatcher.stats().total().open.value() < CONNECTIONS as u64 {
        calm.step();
    }
    let pinging = calm.connect();
    act(&mut calm);
    let mut rounds = 0;
    while calm.dispatcher.stats().total().open.value() > 1 {
        let (open, written) = (calm.dispatcher.stats().total().open.value(), calm.written(pinging));
        calm.send(pinging, HELLO);
        let closed = open - calm.dispatcher.stats().total().open.value();
        assert!(closed <= SLICE, "{closed} connections closed between two polls");
        if !calm.has_sent_fin(pinging) {
            assert_eq!(calm.written(pinging), written + HELLO.len() as u64, "the ping waits");
        }
        rounds += 1;
        assert!(rounds < 1_000, "it does not come to an end");
        if calm.dispatcher.wait() != Some(Duration::ZERO) {
            calm.kernel.borrow_mut().now += MILLISECOND;
        }
    }
    assert!(rounds >= CONNECTIONS as u64 / SLICE, "{rounds} rounds: nothing was measured");
    calm
}

/// Row 48 of the fault table.
#[test]
fn thousands_that_are_idle_are_ended_in_slices() {
    let config =
        Config { idle_timeout: Some(10 * SECOND), linger: MILLISECOND, ..Config::default() };
    ping_beside_what_concerns_all(config, |calm| {
        calm.kernel.borrow_mut().now += 10 * SECOND;
    });
}

/// Row 48 of the fault table.
#[test]
fn thousands_are_closed_in_slices_when_the_grace_time_is_over() {
    let config = Config { grace: MILLISECOND, linger: 10 * SECOND, ..Config::default() };
    let calm = ping_beside_what_concerns_all(config, |calm| calm.dispatcher.stop());
    assert_eq!(calm.dispatcher.stats().total().closed(Reason::Drained), 0, "they linger");
}

/// Answers each byte within a message that never ends, as WebSocket answers pings between fragments.
struct Unfinished;

impl Protocol for Unfinished {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        input.iter().for_each(|_| out.extend(&[7; 2_000]));
        Received::answered(input.len(), 0, Next::Rest { need: 0 })
    }
}

impl<P: Protocol> Calm<P> {
    /// The peer takes all that it is owed.
    fn take_all(&mut self, wire: usize) {
        for _ in 0..100 {
            self.kernel.borrow_mut().deliver(wire, usize::MAX);
            self.step();
        }
        assert_eq!(self.dispatcher.inspect().connections[0].owed, 0);
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn unfinished() -> (Calm<Unfinished>, usize) {
    let config = Config { write_timeout: None, frame_timeout: Some(MINUTE), ..Config::default() };
    let mut calm = Calm::speaking(Unfinished, config);
    let wire = calm.connect();
    calm.send(wire, b"a");
    assert!(calm.dispatcher.inspect().connections[0].owed > 0);
    (calm, wire)
}

/// Row 47 of the fault table.
#[test]
fn a_frame_deadline_goes_on_while_replies_are_owed() {
    let (mut calm, wire) = unfinished();
    calm.pass(50 * SECOND);
    calm.take_all(wire);
    calm.pass(10 * SECOND - MILLISECOND);
    assert!(!calm.has_sent_fin(wire));
    calm.pass(MILLISECOND);
    assert!(calm.has_sent_fin(wire), "a minute after its first byte");
}

/// Row 47 of the fault table: the server did not read, so the rest of the frame could not come.
#[test]
fn a_frame_whose_time_is_up_while_replies_are_owed_has_it_once_more() {
    let (mut calm, wire) = unfinished();
    calm.pass(70 * SECOND);
    assert!(!calm.has_sent_fin(wire));
    calm.take_all(wire);
    calm.pass(MINUTE - MILLISECOND);
    assert!(!calm.has_sent_fin(wire));
    calm.pass(MILLISECOND);
    assert!(calm.has_sent_fin(wire), "a minute after its replies had gone");
}

/// The next frame has the same chance as the first: nothing is remembered of a frame that is over.
#[test]
fn a_frame_that_had_its_time_once_more_takes_nothing_from_the_next() {
    let config = Config { write_timeout: None, frame_timeout: Some(MINUTE), ..Config::default() };
    let mut calm = Calm::new(config);
    let wire = calm.connect();
    for _ in 0..3 {
        // Replies that are owed, and the beginning of a frame.
        calm.send(wire, &[&HELLO.repeat(300)[..], &HELLO[..6]].concat());
        calm.pass(70 * SECOND);
        assert!(!calm.has_sent_fin(wire));
        calm.take_all(wire);
        calm.send(wire, &HELLO[6..]);
        calm.take_all(wire);
    }
}

/// Row 47 of the fault table.
#[test]
fn a_peer_that_blocks_its_replies_again_and_again_does_not_keep_a_frame_unfinished_for_ever() {
    let (mut calm, wire) = unfinished();
    let mut seconds = 0;
    while !calm.has_sent_fin(wire) {
        calm.pass(50 * SECOND);
        seconds += 50;
        calm.take_all(wire);
        if !calm.has_sent_fin(wire) {
            calm.send(wire, b"a");
        }
        assert!(seconds <= 200, "still unfinished after {seconds} s");
    }
}

/// Changes settings of a calm dispatcher by a command.
fn change<P: Protocol>(calm: &mut Calm<P>, changes: &[Change]) -> Settings {
    let (handle, queue) = commands(|| {});
    let answer = handle.change(changes.to_vec()).unwrap();
    calm.dispatcher.execute(&queue);
    answer.poll().unwrap().expect("an answer")
}

#[test]
fn a_lower_limit_of_connections_closes_none_and_a_higher_one_accepts_those_that_wait() {
    let mut calm = Calm::new(Config { max_connections: 3, ..Config::default() });
    let wires: Vec<usize> = (0..4).map(|_| calm.connect()).collect();
    let open = |calm: &Calm| calm.dispatcher.inspect().connections.len();
    assert_eq!(open(&calm), 3, "one waits in the backlog");
    change(&mut calm, &[Change::MaxConnections(1)]);
    calm.pass(SECOND);
    assert_eq!(open(&calm), 3);
    for wire in &wires[..2] {
        calm.kernel.borrow_mut().fin(*wire);
    }
    calm.pass(SECOND);
    assert_eq!(open(&calm), 1, "none is accepted over the new limit");
    change(&mut calm, &[Change::MaxConnections(2)]);
    calm.step();
    assert_eq!(open(&calm), 2);
    calm.send(wires[3], HELLO);
    assert_eq!(calm.written(wires[3]), 9);
}

#[test]
fn a_timeout_that_changes_holds_for_the_connections_that_wait() {
    let mut calm = Calm::new(Config { idle_timeout: Some(MINUTE), ..Config::default() });
    let first = calm.connect();
    calm.pass(20 * SECOND);
    let second = calm.connect();
    change(&mut calm, &[Change::IdleTimeout(Some(30 * SECOND))]);
    calm.pass(9 * SECOND);
    assert!(!calm.has_sent_fin(first));
    calm.pass(2 * SECOND);
    assert!(calm.has_sent_fin(first) && !calm.has_sent_fin(second), "31 s, and 11 s");
    change(&mut calm, &[Change::IdleTimeout(None)]);
    calm.pass(1_000 * SECOND);
    assert!(!calm.has_sent_fin(second), "there is no limit");
}

#[test]
fn a_timeout_where_there_was_none_runs_from_now_on_for_all_in_slices() {
    let mut calm = Calm::new(Config { idle_timeout: None, ..Config::default() });
    let wires: Vec<usize> = (0..1_000).map(|_| calm.connect()).collect();
    calm.pass(1_000 * SECOND);
    let settings = change(&mut calm, &[Change::IdleTimeout(Some(MINUTE))]);
    assert_eq!(settings.idle_timeout, Some(MINUTE));
    assert_eq!(calm.dispatcher.wait(), Some(Duration::ZERO), "there are slices to do");
    calm.pass(Duration::ZERO);
    let has_deadline = calm.dispatcher.inspect().connections;
    assert!(has_deadline.iter().all(|connection| connection.deadline.is_some()));
    assert_ne!(calm.dispatcher.wait(), Some(Duration::ZERO));
    calm.pass(59 * SECOND);
    assert!(wires.iter().all(|&wire| !calm.has_sent_fin(wire)));
    calm.pass(SECOND);
    assert!(wires.iter().all(|&wire| calm.has_sent_fin(wire)));
}

#[test]
fn a_frame_that_has_begun_follows_the_timeout_that_changes() {
    let mut calm = Calm::new(Config { frame_timeout: Some(MINUTE), ..Config::default() });
    let wire = calm.connect();
    calm.send(wire, &HELLO[..6]);
    change(&mut calm, &[Change::FrameTimeout(Some(SECOND))]);
    calm.pass(SECOND);
    assert!(calm.has_sent_fin(wire));
}

#[test]
fn a_lower_memory_limit_ends_none_before_one_needs_more() {
    let mut calm = Calm::new(Config { max_memory: 10 << 20, ..Config::default() });
    let [large, small] = [calm.connect(), calm.connect()];
    let unfinished = (16_u32 << 20).to_le_bytes();
    calm.send(large, &[&unfinished[..], &vec![1; 700_000]].concat());
    calm.send(small, &[&unfinished[..], &[1; 10_000]].concat());
    change(&mut calm, &[Change::MaxMemory(100_000)]);
    calm.pass(SECOND);
    assert!(!calm.has_sent_fin(large) && !calm.has_sent_fin(small));
    while !calm.has_sent_fin(large) {
        calm.send(small, &[1; 50_000]);
        assert!(calm.dispatcher.inspect().lent < 4 << 20, "it grows without a limit");
    }
}

/// Answers each piece of input a second later, and then once more.
#[derive(Default)]
struct Late {
    calls: u32,
}

impl Protocol for Late {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        out.call_after(SECOND);
        Received::answered(input.len(), 1, Next::Idle)
    }

    fn called(&mut self, _: Token, out: &mut Output) {
        self.calls += 1;
        out.extend(b"late");
        if self.calls % 2 == 1 {
            out.call_after(SECOND);
        }
    }
}

#[test]
fn a_half_closed_connection_lives_until_the_calls_that_its_protocol_asked_for() {
    let mut calm = Calm::speaking(Late::default(), Config::default());
    let wire = calm.connect();
    calm.kernel.borrow_mut().send(wire, b"question", false);
    calm.kernel.borrow_mut().fin(wire);
    calm.step();
    assert!(!calm.is_closed(wire), "its answer is to come");
    calm.pass(SECOND);
    assert_eq!((calm.written(wire), calm.is_closed(wire)), (4, false));
    calm.pass(SECOND);
    assert_eq!((calm.written(wire), calm.is_closed(wire)), (8, true));
    assert_eq!(calm.closed(Reason::PeerClosed), 1);
}

#[test]
fn a_half_closed_connection_waits_for_a_call_no_longer_than_the_idle_timeout() {
    let config = Config { idle_timeout: Some(400 * MILLISECOND), ..Config::default() };
    let mut calm = Calm::speaking(Late::default(), config);
    let wire = calm.connect();
    calm.send(wire, b"question");
    calm.kernel.borrow_mut().fin(wire);
    calm.step();
    assert!(!calm.is_closed(wire));
    calm.pass(401 * MILLISECOND);
    assert_eq!((calm.written(wire), calm.is_closed(wire)), (0, true));
    assert_eq!(calm.closed(Reason::PeerClosed), 1);
}

/// Row 58 of the fault table.
#[test]
fn what_has_come_of_an_unfinished_frame_is_acknowledged_at_once() {
    let mut calm = Calm::new(Config::default());
    let wire = calm.connect();
    let long = long_frame(200_000);
    let acknowledged = |calm: &Calm| {
        let kernel = calm.kernel.borrow();
        let wire = kernel.wire(wire);
        (wire.acknowledged, wire.quick)
    };
    // A head cut in two, the beginning of the payload, and a part that is read directly into the connection's buffer.
    let mut sent = 0;
    for (cut, quick) in [(2, 1), (10, 2), (50_000, 3), (150_000, 4)] {
        calm.send(wire, &long[sent..cut]);
        assert_eq!(acknowledged(&calm), (cut as u64, quick), "{cut}");
        sent = cut;
    }
    calm.step();
    assert_eq!(acknowledged(&calm).1, 4, "nothing has come");
    calm.send(wire, &long[sent..]);
    assert!(calm.written(wire) > 0);
    assert_eq!(acknowledged(&calm), (long.len() as u64, 4), "the reply carries it");
}

/// Row 58 of the fault table: the reply carries the acknowledgement, so a call would be for nothing.
#[test]
fn frames_that_are_answered_are_not_acknowledged_by_a_call_of_their_own() {
    let mut calm = Calm::new(Config::default());
    let wire = calm.connect();
    for _ in 0..3 {
        calm.send(wire, HELLO);
    }
    // A whole frame, and the beginning of the next: the reply is behind both.
    calm.send(wire, &[HELLO, &HELLO[..6]].concat());
    calm.send(wire, &[&HELLO[6..], HELLO, &HELLO[..2]].concat());
    let kernel = calm.kernel.borrow();
    let wire = kernel.wire(wire);
    assert_eq!((wire.quick, wire.acknowledged), (0, wire.read));
}

/// Row 44 of the fault table.
#[test]
fn over_the_memory_limit_the_largest_holder_is_ended_and_the_one_that_asks_is_not() {
    let mut calm = Calm::new(Config { max_memory: 1 << 20, ..Config::default() });
    let [large, small, asking] = [calm.connect(), calm.connect(), calm.connect()];
    let unfinished = (16_u32 << 20).to_le_bytes();
    for (wire, bytes) in [(large, 700_000), (small, 10_000)] {
        calm.send(wire, &[&unfinished[..], &vec![1; bytes]].concat());
    }
    calm.send(asking, &[&unfinished[..], &vec![1; 300_000]].concat());
    calm.step();
    assert!(calm.has_sent_fin(large), "it holds most");
    assert!(!calm.has_sent_fin(small) && !calm.has_sent_fin(asking));
    assert!(calm.dispatcher.inspect().lent <= 1 << 20);
    // The one that asked goes on, and becomes the largest itself.
    for _ in 0..9 {
        calm.send(asking, &[1; 100_000]);
    }
    calm.step();
    assert!(calm.has_sent_fin(asking) && !calm.has_sent_fin(small));
    calm.send(small, &[1; 10]);
    assert!(!calm.is_closed(small));
}
