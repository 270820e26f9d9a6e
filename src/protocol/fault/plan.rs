//! A plan: faults with where and to whom they happen, and the seed that decides what the text leaves to chance.
//!
//! ```text
//! reset=7@2 + delay=5ms..20ms@10%#1..3        (without the spaces)
//! ╰──┬──╯╰┤   ╰───────┬──────╯╰─┬╯╰─┬─╯
//!   kind  where      kind     where who
//! ```

use std::{fmt, ops::Range, str::FromStr};

use super::{
    kind::Kind,
    list::{KINDS, Samples},
    recorded::Recorded,
    text::{Share, Span, digits, show_size, size},
    units::Units,
};
use crate::{plural::Plural, random::Random};

/// Several faults and a seed.
///
/// ```
/// use resound::protocol::fault::Plan;
///
/// let plan: Plan = "reset=7@2+delay=5ms..20ms@10%".parse()?;
/// assert_eq!(plan.to_string(), "reset=7@2+delay=5ms..20ms@10%");
/// assert!("resets".parse::<Plan>().is_err());
/// # Ok::<(), resound::protocol::fault::PlanError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What decides the rest: equal seeds and equal clients give equal faults. Default 0.
    pub seed: u64,
    faults: Vec<Fault>,
    /// For each fault where it happens and what it draws, if the plan repeats a journal. They are in order, so that those
    /// of one frame are found among many.
    marks: Option<Vec<Mark>>,
}

/// Where a fault happens that a journal has recorded, and where its random numbers begin.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark {
    connection: u64,
    frame: u64,
    draw: Option<u64>,
}

/// A fault, with where and to whom it happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// In which frames of a connection.
    pub place: Where,
    /// On which connections.
    pub peers: Who,
}

/// In which frames of a connection a fault happens. Frames are counted from 1, in the order in which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In all.
    All,
    /// `@N`, `@A..B`.
    Frames(Span),
    /// `@every=N`: in each Nth.
    Every(u64),
    /// `@after=SIZE`: in those before which at least so many bytes were sent.
    After(u64),
    /// `@P%`: in this share of them.
    Share(Share),
}

/// On which connections of a listener a fault happens. Connections are counted from 1, in the order in which they are
/// accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// On all.
    All,
    /// `#N`, `#A..B`.
    Connections(Span),
    /// `#P%`: on this share of them.
    Share(Share),
}

/// What is wrong with a plan: the text names the part and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError(pub(super) String);

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

/// One frame of one connection, as decisions see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The ordinal of the connection, from 1.
    pub connection: u64,
    /// The ordinal of the frame, from 1; 0 for what concerns the whole connection.
    pub frame: u64,
    /// How many bytes of replies the protocol made before this frame.
    pub before: u64,
}

/// What a number is drawn for, so that two of them for one frame are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Who,
    Where,
    Value,
}

impl Plan {
    /// Parses a plan; `samples` reads the file of a `delay=file:PATH`.
    ///
    /// # Errors
    ///
    /// [`PlanError`], which names the part that is wrong.
    pub fn parse(text: &str, samples: &Samples<'_>) -> Result<Self, PlanError> {
        if text.is_empty() || text == "none" {
            return Ok(Self::default());
        }
        let faults = parts(text).map(|part| Fault::parse(part, samples)).collect::<Result<_, _>>();
        let plan = Self { faults: faults?, ..Self::default() };
        let of_listener = plan.faults.iter().find(|fault| fault.kind.is_of_listener());
        match of_listener {
            Some(fault) if plan.faults.len() > 1 || fault.peers != Who::All => {
                let name = fault.kind.entry().name;
                Err(PlanError(format!(
                    "fault \"{fault}\": {name} concerns the whole listener, at which nobody is served then; write \
                     fault={name} alone and without #WHO"
                )))
            }
            _ => Ok(plan),
        }
    }

    /// A plan in which exactly these faults happen; those of one frame in this order.
    ///
    /// # Errors
    ///
    /// [`PlanError`] for a fault that cannot happen in its frame.
    pub fn repeating(recorded: impl IntoIterator<Item = Recorded>) -> Result<Self, PlanError> {
        let mut recorded: Vec<Recorded> = recorded.into_iter().collect();
        recorded.iter().try_for_each(Recorded::check).map_err(PlanError)?;
        // Stable: those of one frame keep their order.
        recorded.sort_by_key(|one| (one.connection, one.frame));
        let (faults, marks) = recorded
            .into_iter()
            .map(|Recorded { connection, frame, kind, draw }| {
                let one = |number| Span { least: number, most: number };
                let place = if frame == 0 { Where::All } else { Where::Frames(one(frame)) };
                let peers =
                    if connection == 0 { Who::All } else { Who::Connections(one(connection)) };
                (Fault { kind, place, peers }, Mark { connection, frame, draw })
            })
            .unzip();
        Ok(Self { seed: 0, faults, marks: Some(marks) })
    }

    /// Whether it [repeats](Self::repeating) a journal.
    #[must_use]
    pub const fn is_repeating(&self) -> bool {
        self.marks.is_some()
    }

    /// Checks that a protocol whose replies consist of `units` can have these faults.
    ///
    /// # Errors
    ///
    /// [`PlanError`], which names the first fault that it cannot have.
    pub fn check(&self, units: Units) -> Result<(), PlanError> {
        for fault in &self.faults {
            let wrong = |why: String| Err(PlanError(format!("fault \"{fault}\": {why}")));
            if !fault.kind.suits(units) {
                let names = KINDS.iter().filter(|entry| entry.needs.are_met_by(units));
                let names: Vec<&str> = names.map(|entry| entry.name).collect();
                return wrong(format!(
                    "{} cannot have it; {} can have {}",
                    units.what(),
                    units.what(),
                    names.join(", ")
                ));
            }
            let is_first = |place| match place {
                Where::All | Where::Share(_) => true,
                Where::Frames(span) => span.contains(1),
                Where::Every(_) | Where::After(_) => false,
            };
            if units == Units::Datagrams && fault.peers != Who::All {
                return wrong("datagrams have no connections; write it without #WHO".to_owned());
            }
            if fault.kind.is_of_listener() {
                return wrong(
                    "it concerns a listener that starts; write it as a key of --listen".to_owned(),
                );
            }
            if units == Units::Bytes && !is_first(fault.place) {
                return wrong(
                    "raw bytes have no frames: the whole connection is frame 1; write it without @WHERE"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Its faults, in the order of the text.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The fault of the whole listener, at which nobody is served then.
    #[must_use]
    pub fn of_listener(&self) -> Option<Kind> {
        self.faults.iter().map(|fault| &fault.kind).find(|kind| kind.is_of_listener()).cloned()
    }

    /// Whether the kernel must take socket filters for it.
    pub(super) fn needs_filter(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.needs_filter())
    }

    /// The faults that concern a connection, by their indices.
    pub(super) fn concerning(&self, connection: u64) -> Vec<usize> {
        match &self.marks {
            None => {
                (0..self.faults.len()).filter(|&index| self.concerns(index, connection)).collect()
            }
            Some(marks) => {
                let first = |number| marks.partition_point(|mark| mark.connection < number);
                (first(connection)..first(connection.saturating_add(1))).collect()
            }
        }
    }

    /// Which of the faults that concern a connection may happen in a frame, by their positions in `concern`.
    pub(super) fn candidates(&self, concern: &[usize], frame: u64) -> Range<usize> {
        match &self.marks {
            None => 0..concern.len(),
            Some(marks) => {
                let first = |number| concern.partition_point(|&index| marks[index].frame < number);
                first(frame)..first(frame.saturating_add(1))
            }
        }
    }

    fn concerns(&self, index: usize, connection: u64) -> bool {
        let Fault { place, peers, .. } = self.faults[index];
        match peers {
            _ if place == Where::Share(Share::NONE) => false,
            Who::All => true,
            Who::Connections(span) => span.contains(connection),
            Who::Share(share) => {
                let mut random =
                    self.random(index, Hit { connection, frame: 0, before: 0 }, Purpose::Who);
                random.below(Share::ALL.0.into()) < share.0.into()
            }
        }
    }

    /// Whether the fault at `index`, which concerns the connection, happens in this frame.
    pub(super) fn happens(&self, index: usize, hit: Hit) -> bool {
        match self.faults[index].place {
            Where::All => true,
            Where::Frames(span) => span.contains(hit.frame),
            Where::Every(count) => hit.frame.is_multiple_of(count),
            Where::After(bytes) => hit.before >= bytes,
            Where::Share(share) => {
                let mut random = self.random(index, hit, Purpose::Where);
                random.below(Share::ALL.0.into()) < share.0.into()
            }
        }
    }

    /// The numbers of the fault at `index` in this frame.
    pub(super) fn random(&self, index: usize, hit: Hit, purpose: Purpose) -> Random {
        let draw = self.marks.as_ref().and_then(|marks| marks[index].draw);
        match draw {
            Some(place) if purpose == Purpose::Value => Random::at(place),
            _ => Random::of(&[self.seed, hit.connection, hit.frame, index as u64, purpose as u64]),
        }
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    /// Parses a plan without `delay=file:PATH`.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        Self::parse(text, &|_| Err("files of samples cannot be read here".to_owned()))
    }
}

/// The parts between plus signs. The one in `length=+1` belongs to the value.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut joints = text.match_indices('+').map(|(at, _)| at);
        let joint = joints.find(|at| !text[..*at].ends_with('='));
        rest = joint.map(|at| &text[at + 1..]);
        Some(joint.map_or(text, |at| &text[..at]))
    })
}

impl Fault {
    /// Whether it concerns a whole connection, and not single frames of it.
    pub(super) fn is_of_connection(&self) -> bool {
        self.kind.entry().is_of_connection
            || self.place == Where::All && self.kind.can_concern_connection()
    }

    fn parse(part: &str, samples: &Samples<'_>) -> Result<Self, PlanError> {
        let wrong = |why: String| PlanError(format!("fault {part:?}: {why}"));
        let (rest, who) = part.rsplit_once('#').map_or((part, None), |(a, b)| (a, Some(b)));
        let (rest, place) = rest.rsplit_once('@').map_or((rest, None), |(a, b)| (a, Some(b)));
        let (name, value) = rest.split_once('=').map_or((rest, None), |(a, b)| (a, Some(b)));
        let kind = Kind::parse(name, value, samples).map_err(wrong)?;
        let wrong = |why: String| PlanError(format!("fault {part:?}: {why}"));
        let place = place.map_or(Ok(Where::All), Where::parse).map_err(wrong)?;
        let peers = who.map_or(Ok(Who::All), Who::parse).map_err(wrong)?;
        if kind.entry().is_of_connection && place != Where::All {
            return Err(wrong(format!(
                "{name} concerns a connection and not its frames; write #WHO instead of @WHERE, like {name}#1..3"
            )));
        }
        Ok(Self { kind, place, peers })
    }
}

impl Where {
    fn parse(text: &str) -> Result<Self, String> {
        let parsed = if let Some(count) = text.strip_prefix("every=") {
            digits(count).filter(|count| *count > 0).map(Self::Every)
        } else if let Some(bytes) = text.strip_prefix("after=") {
            size(bytes).map(Self::After)
        } else if text.ends_with('%') {
            Share::parse(text).map(Self::Share)
        } else {
            Span::parse(text, digits).filter(|span| span.least > 0).map(Self::Frames)
        };
        parsed.ok_or_else(|| {
            format!(
                "@{text}: write @N (the Nth frame, from 1), @A..B, @every=N, @after=SIZE or @P%"
            )
        })
    }
}

impl Who {
    fn parse(text: &str) -> Result<Self, String> {
        let parsed = if text.ends_with('%') {
            Share::parse(text).map(Self::Share)
        } else {
            Span::parse(text, digits).filter(|span| span.least > 0).map(Self::Connections)
        };
        parsed
            .ok_or_else(|| format!("#{text}: write #N (the Nth connection, from 1), #A..B or #P%"))
    }
}

impl fmt::Display for Plan {
    /// Text that parses to the same faults; `none` if there are none. The seed is not in it. A plan that repeats a
    /// journal says how many faults it has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_repeating() {
            let faults = Plural(self.faults.len(), ["fault", "faults"]);
            return write!(f, "replay of {faults}");
        }
        let Some((first, others)) = self.faults.split_first() else {
            return f.write_str("none");
        };
        first.fmt(f)?;
        others.iter().try_for_each(|fault| write!(f, "+{fault}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        let number = |number: u64| number.to_string();
        match self.place {
            Where::All => {}
            Where::Frames(span) => write!(f, "@{}", span.show(number))?,
            Where::Every(count) => write!(f, "@every={count}")?,
            Where::After(bytes) => write!(f, "@after={}", show_size(bytes))?,
            Where::Share(share) => write!(f, "@{share}")?,
        }
        match self.peers {
            Who::All => Ok(()),
            Who::Connections(span) => write!(f, "#{}", span.show(number)),
            Who::Share(share) => write!(f, "#{share}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Dialect;

    fn plan(text: &str) -> Plan {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    const fn hit(connection: u64, frame: u64) -> Hit {
        Hit { connection, frame, before: 100 * (frame - 1) }
    }

    #[test]
    fn plans_are_parsed_and_printed() {
        for text in [
            "none",
            "reset=7@2",
            "slice=1+delay=5ms..20ms@10%",
            "slice=1..4",
            "delay=normal:20ms:5ms",
            "delay=exp:1500us#3",
            "rate=56KiB/s",
            "stall=0",
            "stall=3:2s@every=100",
            "drop@0%+dup@100%#0.5%",
            "swap@after=1MiB#2..4",
            "corrupt=3+corrupt=1bit",
            "length=+1+length=-1+length=zero@2",
            "length=max+length=negative",
            "garbage=16@5..9+truncate=6",
            "fin=0#1",
            "accept-delay=2s+reset-on-accept#10%+deaf#1+mute@4",
            "coalesce=10",
            "refuse",
            "full-backlog",
            "status=503@3+short-chunk=10#2+drip=10/s@1%",
            "close=1011@3+close=none+no-pong@2..3+mask",
        ] {
            assert_eq!(plan(text).to_string(), text);
        }
        assert_eq!(plan("").to_string(), "none");
        assert_eq!(
            plan("rate=1024+delay=0s+drop@2..2").to_string(),
            "rate=1KiB/s+delay=0ms+drop@2"
        );
    }

    #[test]
    fn each_row_of_the_list_is_an_example_that_works() {
        for (index, entry) in KINDS.iter().enumerate() {
            let plan = plan(entry.example);
            assert_eq!(plan.faults()[0].kind.index(), index, "{}", entry.name);
            assert!(!entry.about.is_empty() && !entry.client.is_empty(), "{}", entry.name);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (text, says) in [
            ("resets=7", "fault \"resets=7\": no fault \"resets\"; there is slice, coalesce"),
            ("reset", "fault \"reset\": reset needs a value: K, as in reset=7@2"),
            ("reset=x@2", "fault \"reset=x@2\": reset=x: write K, as in reset=7@2"),
            ("drop=1", "drop=1: it takes no value; write drop@10%"),
            ("drop@0", "@0: write @N (the Nth frame, from 1), @A..B, @every=N, @after=SIZE or @P%"),
            ("drop@5..3", "@5..3: write @N"),
            ("drop@101%", "@101%: write @N"),
            ("drop@every=0", "@every=0: write @N"),
            ("drop#0", "#0: write #N (the Nth connection, from 1), #A..B or #P%"),
            ("drop@2+", "fault \"\": no fault \"\""),
            ("delay=5", "delay=5: write TIME, A..B, normal:MEAN:DEVIATION, exp:MEAN or file:PATH"),
            ("delay=file:x", "delay=file:x: files of samples cannot be read here"),
            ("slice=0", "slice=0: write N or A..B"),
            ("length=2", "length=2: write +1, -1, zero, max or negative"),
            ("refuse#1", "refuse concerns the whole listener, at which nobody is served then"),
            ("drop+full-backlog", "write fault=full-backlog alone and without #WHO"),
            ("refuse@2", "refuse concerns a connection and not its frames"),
            ("status=99", "status=99: write CODE, as in status=503@every=3"),
            ("close=65536", "close=65536: write CODE or none"),
            ("reset-on-accept@3", "write #WHO instead of @WHERE, like reset-on-accept#1..3"),
        ] {
            let error = text.parse::<Plan>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_protocol_has_only_the_faults_that_make_sense_in_it() {
        let frames = Units::Frames(Dialect::default());
        for (text, units, says) in [
            ("drop@10%", frames, None),
            ("length=+1", Units::Answers, None),
            ("reset=7+slice=1+delay=1s#2", Units::Bytes, None),
            (
                "length=+1",
                Units::Lines,
                Some("lines cannot have it; lines can have slice, coalesce"),
            ),
            (
                "drop",
                Units::Bytes,
                Some("raw bytes cannot have it; raw bytes can have slice, delay"),
            ),
            ("reset=7@2", Units::Bytes, Some("raw bytes have no frames")),
            ("drop@2+dup+swap+corrupt=1+truncate=5+garbage=3", Units::Datagrams, None),
            ("reset=7", Units::Datagrams, Some("datagrams can have drop, dup, swap, corrupt")),
            ("coalesce=3", Units::Datagrams, Some("datagrams cannot have it")),
            ("drop#2", Units::Datagrams, Some("datagrams have no connections")),
            ("status=503", Units::WebSocket, Some("WebSocket frames cannot have it")),
            ("close=1000", Units::Answers, Some("HTTP answers cannot have it")),
            ("mask+no-pong+close=none", Units::WebSocket, None),
            ("refuse", Units::Lines, Some("write it as a key of --listen")),
            ("slice=1@after=1KiB", Units::Bytes, Some("raw bytes have no frames")),
        ] {
            let error = plan(text).check(units).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), says.is_some(), "{text}: {error:?}");
            assert!(error.unwrap_or_default().contains(says.unwrap_or_default()), "{text}");
        }
    }

    #[test]
    fn samples_come_from_the_file() {
        let read = |path: &str| match path {
            "good" => Ok("5ms\n\n 7ms \n".to_owned()),
            "empty" => Ok("\n".to_owned()),
            "bad" => Ok("5ms\nx\n".to_owned()),
            _ => Err("No such file".to_owned()),
        };
        let good = Plan::parse("delay=file:good@2", &read).unwrap();
        assert_eq!(good.to_string(), "delay=file:good@2");
        let Kind::Delay(delay) = &good.faults()[0].kind else { panic!("{good:?}") };
        let mut random = Random::of(&[1]);
        let mut drawn: Vec<_> = (0..100).map(|_| delay.draw(&mut random).as_millis()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [5, 7]);
        for path in ["empty", "bad", "absent"] {
            assert!(Plan::parse(&format!("delay=file:{path}"), &read).is_err(), "{path}");
        }
    }

    #[test]
    fn places_are_counted_from_one() {
        let frames = |text: &str| -> Vec<u64> {
            let plan = plan(text);
            (1..=10).filter(|&frame| plan.happens(0, hit(1, frame))).collect()
        };
        assert_eq!(frames("drop@3"), [3]);
        assert_eq!(frames("drop@3..5"), [3, 4, 5]);
        assert_eq!(frames("drop@every=4"), [4, 8]);
        assert_eq!(frames("drop@after=250"), [4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(frames("drop").len(), 10);
        assert_eq!(frames("drop@100%").len(), 10);
        assert_eq!(frames("drop@0%"), [0_u64; 0]);
        let peers = plan("drop#2..3");
        let concerned: Vec<u64> = (1..=5).filter(|&peer| peers.concerns(0, peer)).collect();
        assert_eq!(concerned, [2, 3]);
    }

    #[test]
    fn chance_is_decided_by_the_seed_and_the_ordinals_alone() {
        let decide = |seed| {
            let plan = plan("drop@30%+dup@30%#50%").with_seed(seed);
            let hits = (1..=20).flat_map(|peer| (1..=50).map(move |frame| hit(peer, frame)));
            hits.map(|hit| {
                let dup = plan.concerns(1, hit.connection) && plan.happens(1, hit);
                (plan.happens(0, hit), dup)
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(decide(7), decide(7));
        assert_ne!(decide(7), decide(8));
        let (dropped, doubled) = (decide(7).iter().filter(|(drop, _)| *drop).count(), decide(7));
        assert!((230..370).contains(&dropped), "{dropped} of 1000, 300 expected");
        assert!(doubled.iter().any(|(drop, dup)| drop != dup), "they are independent");
    }

    #[test]
    fn delays_have_the_mean_that_was_asked_for() {
        for (text, mean, width) in [
            ("delay=2ms..4ms", 3.0, 0.2),
            ("delay=normal:20ms:5ms", 20.0, 0.5),
            ("delay=exp:10ms", 10.0, 1.0),
        ] {
            let plan = plan(text);
            let Kind::Delay(delay) = &plan.faults()[0].kind else { panic!("{text}") };
            let drawn = (1..=4000).map(|frame| {
                delay.draw(&mut plan.random(0, hit(1, frame), Purpose::Value)).as_secs_f64()
            });
            let found = drawn.sum::<f64>() / 4000.0 * 1000.0;
            assert!((found - mean).abs() < width, "{text}: {found} ms");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_the_same(
            text in "(reset|drop|delay|slice|length|swap)?[=a-z0-9.+@#%-]{0,12}"
        ) {
            if let Ok(plan) = text.parse::<Plan>() {
                prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
            }
        }
    }
}
