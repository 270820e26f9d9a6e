//! Faults on demand on the simulated kernel: what each plan must produce is worked out here from its description, and
//! compared with what arrives, whatever the kernel and the peers do.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use resound::{
    Config,
    dispatcher::{Dispatcher, Phase},
    frame::Dialect,
    protocol::{
        Frames,
        fault::{Faults, Faulty, Units},
    },
};

use super::{
    choices::Choices,
    kernel::{Faults as Hostility, Kernel, Simulated},
};

/// How a connection must end whose peer sends everything and then FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By FIN.
    Fin,
    /// By RST.
    Reset,
}

/// What must arrive at the peer of the connection with this ordinal.
pub(crate) type Model = fn(u64, &[Vec<u8>]) -> (Vec<u8>, End);

/// All frames for which `keep` holds, by their ordinals.
fn only(frames: &[Vec<u8>], keep: impl Fn(usize) -> bool) -> Vec<u8> {
    let kept = (1..).zip(frames).filter(|&(ordinal, _)| keep(ordinal));
    kept.flat_map(|(_, frame)| frame.clone()).collect()
}

/// All before the frame with this ordinal, and so many of its bytes; everything if there is no such frame.
fn up_to(frames: &[Vec<u8>], ordinal: usize, bytes: usize, end: End) -> (Vec<u8>, End) {
    match frames.get(ordinal - 1) {
        None => (frames.concat(), End::Fin),
        Some(last) => {
            let part = &last[..bytes.min(last.len())];
            ([&frames[..ordinal - 1].concat(), part].concat(), end)
        }
    }
}

const PLANS: &[(&str, Model)] = &[
    ("none", |_, frames| (frames.concat(), End::Fin)),
    ("drop@0%", |_, frames| (frames.concat(), End::Fin)),
    ("slice=1..7+delay=1ms..30ms", |_, frames| (frames.concat(), End::Fin)),
    ("slice=100", |_, frames| (frames.concat(), End::Fin)),
    ("delay=exp:5ms@50%", |_, frames| (frames.concat(), End::Fin)),
    ("rate=5KiB/s", |_, frames| (frames.concat(), End::Fin)),
    ("coalesce=3", |_, frames| (frames.concat(), End::Fin)),
    ("accept-delay=20ms", |_, frames| (frames.concat(), End::Fin)),
    ("stall=6:40ms@2+slice=3", |_, frames| (frames.concat(), End::Fin)),
    ("drop@every=3", |_, frames| (only(frames, |ordinal| ordinal % 3 != 0), End::Fin)),
    ("drop@2..4+delay=3ms", |_, frames| {
        (only(frames, |ordinal| !(2..=4).contains(&ordinal)), End::Fin)
    }),
    ("dup@2", |_, frames| {
        let doubled = (1..).zip(frames).map(|(ordinal, frame): (usize, _)| match ordinal {
            2 => frame.repeat(2),
            _ => frame.clone(),
        });
        (doubled.collect::<Vec<_>>().concat(), End::Fin)
    }),
    ("swap@every=4", |_, frames| {
        let mut swapped = frames.to_vec();
        (3..frames.len().saturating_sub(1)).step_by(4).for_each(|at| swapped.swap(at, at + 1));
        (swapped.concat(), End::Fin)
    }),
    ("truncate=5@every=2+coalesce=2", |_, frames| {
        let cut = (1..).zip(frames).map(|(ordinal, frame): (usize, _)| match ordinal % 2 {
            0 => frame[..5.min(frame.len())].to_vec(),
            _ => frame.clone(),
        });
        (cut.collect::<Vec<_>>().concat(), End::Fin)
    }),
    ("fin=6@3", |_, frames| up_to(frames, 3, 6, End::Fin)),
    ("reset=6@3+slice=2", |_, frames| up_to(frames, 3, 6, End::Reset)),
    ("reset=0@2+delay=5ms", |_, frames| up_to(frames, 2, 0, End::Reset)),
    ("stall=6@3", |_, frames| up_to(frames, 3, 6, End::Fin)),
    ("mute@3", |_, frames| up_to(frames, 3, 0, End::Fin)),
    ("deaf", |_, _| (Vec::new(), End::Fin)),
    ("mute#2+reset-on-accept#3", |connection, frames| match connection {
        2 => (Vec::new(), End::Fin),
        3 => (Vec::new(), End::Reset),
        _ => (frames.concat(), End::Fin),
    }),
];

/// A plan for one listener of `simulation::every_invariant_holds_after_every_step`. It is the same for all connections, and
/// no frame of it waits for another one.
pub(crate) struct Mixed {
    pub(crate) plan: &'static str,
    pub(crate) gives: Model,
    /// The frame in which a connection is ended by a fault.
    pub(crate) end: Option<usize>,
}

const fn mixed(plan: &'static str, gives: Model, end: Option<usize>) -> Mixed {
    Mixed { plan, gives, end }
}

fn everything(_: u64, frames: &[Vec<u8>]) -> (Vec<u8>, End) {
    (frames.concat(), End::Fin)
}

pub(crate) const MIX: &[Mixed] = &[
    mixed("none", everything, None),
    mixed("slice=100..3000", everything, None),
    mixed("delay=1ms..30ms@50%", everything, None),
    mixed("delay=exp:2s@10%+slice=9000", everything, None),
    mixed("rate=50MiB/s", everything, None),
    mixed("accept-delay=20ms", everything, None),
    mixed("stall=6:40ms@2+slice=3000", everything, None),
    mixed("drop@every=3", |_, frames| (only(frames, |ordinal| ordinal % 3 != 0), End::Fin), None),
    mixed("drop@2+delay=3ms", |_, frames| (only(frames, |ordinal| ordinal != 2), End::Fin), None),
    mixed(
        "truncate=5@every=2",
        |_, frames| {
            let cut = (1..).zip(frames).map(|(ordinal, frame): (usize, _)| match ordinal % 2 {
                0 => frame[..5.min(frame.len())].to_vec(),
                _ => frame.clone(),
            });
            (cut.collect::<Vec<_>>().concat(), End::Fin)
        },
        None,
    ),
    mixed("fin=6@3", |_, frames| up_to(frames, 3, 6, End::Fin), Some(3)),
    mixed("reset=6@3+slice=900", |_, frames| up_to(frames, 3, 6, End::Reset), Some(3)),
    mixed("reset=0@1", |_, frames| up_to(frames, 1, 0, End::Reset), Some(1)),
    mixed("stall=6@3", |_, frames| up_to(frames, 3, 6, End::Fin), None),
    mixed("mute@2", |_, frames| up_to(frames, 2, 0, End::Fin), None),
];

/// A peer: what it has sent, and what it has received.
struct Client {
    wire: usize,
    input: Vec<u8>,
    sent: usize,
    output: Vec<u8>,
    expected: (Vec<u8>, End),
}

/// Frames with the faults of `plan`.
pub(crate) fn frames(plan: &str) -> Faulty<Frames> {
    let faults = Arc::new(Faults::new(plan.parse().unwrap()));
    Faulty::new(faults, Units::Frames(Dialect::default()), Frames::default())
}

fn run(plan: &str, model: Model, seed: u64) {
    let mut choices = Choices::Seed(seed);
    let c = &mut choices;
    let hostility = Hostility {
        interrupted: c.one_of(&[0, 20]),
        short_write: c.one_of(&[0, 50]),
        meanwhile: c.one_of(&[0, 50]),
        register: 0,
        accept: 0,
    };
    let kernel = Rc::new(RefCell::new(Kernel::new(choices, hostility, 1_000)));
    let protocol = frames(plan);
    let config = Config { frame_timeout: None, write_timeout: None, ..Config::default() };
    let mut dispatcher = Dispatcher::new(Simulated(Rc::clone(&kernel)), config);
    dispatcher.listen(0, "faulty".to_owned(), protocol).unwrap();

    let mut clients: Vec<Client> = (1..=6)
        .map(|ordinal| {
            let mut kernel = kernel.borrow_mut();
            let count = kernel.choices.below(12);
            let frames: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    let length = kernel.choices.length(2_000);
                    let byte = kernel.choices.below(256) as u8;
                    [&(length as u32).to_le_bytes()[..], &vec![byte; length]].concat()
                })
                .collect();
            let wire = kernel.connect(0);
            let expected = model(ordinal, &frames);
            Client { wire, input: frames.concat(), sent: 0, output: Vec::new(), expected }
        })
        .collect();

    for round in 0_u32.. {
        assert!(round < 200_000, "it does not come to an end: {:?}", dispatcher.inspect());
        for client in &mut clients {
            client.act(&mut kernel.borrow_mut());
        }
        let events = kernel.borrow_mut().poll(40);
        let is_quiet = events.is_empty();
        dispatcher.polled(|| events.len());
        for (token, readiness) in events {
            dispatcher.event(token, readiness);
        }
        dispatcher.run_queued();
        dispatcher.expire();
        let is_done = {
            let kernel = kernel.borrow();
            clients.iter().all(|client| kernel.wire(client.wire).closed.is_some())
        };
        if is_done {
            break;
        }
        let everyone_has_sent = clients.iter().all(|client| client.sent == client.input.len());
        if is_quiet && everyone_has_sent && !kernel.borrow().has_events() {
            // Peers take everything at once when they act, so only time can bring more.
            if let Some(wait) = dispatcher.wait() {
                kernel.borrow_mut().now += wait;
            }
        } else if kernel.borrow_mut().choices.chance(20) {
            kernel.borrow_mut().now += Duration::from_millis(1);
        }
    }
    for client in &mut clients {
        client.act(&mut kernel.borrow_mut());
        let (expected, end) = &client.expected;
        assert!(client.output == *expected, "{} B for {}", client.output.len(), expected.len());
        let kernel = kernel.borrow();
        let wire = kernel.wire(client.wire);
        assert_eq!(wire.reset_sent, *end == End::Reset);
    }
    dispatcher.stop();
    while dispatcher.phase() != Phase::Stopped {
        dispatcher.expire();
    }
    let held = dispatcher.inspect();
    assert!(held.connections.is_empty() && held.lent == 0, "{held:?}");
}

impl Client {
    /// Receives, and sends some more, and at last FIN.
    fn act(&mut self, kernel: &mut Kernel) {
        kernel.deliver(self.wire, usize::MAX);
        let output = kernel.wire_mut(self.wire).delivered.drain(..).collect::<Vec<u8>>();
        self.output.extend(output);
        assert!(self.expected.0.starts_with(&self.output), "behind {} B", self.output.len());
        let left = self.input.len() - self.sent;
        let count = kernel.choices.length(1_000).min(left).min(kernel.wire(self.wire).window());
        kernel.send(self.wire, &self.input[self.sent..self.sent + count], false);
        self.sent += count;
        if self.sent == self.input.len() && !kernel.wire(self.wire).fin {
            kernel.fin(self.wire);
        }
    }
}

#[test]
fn each_plan_gives_what_it_describes() {
    for (plan, model) in PLANS {
        for seed in 0..20 {
            let run = || run(plan, *model, seed);
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                eprintln!("fault={plan}, seed {seed} of the simulation");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
