//! When the server did not answer: of each thread, and of the whole run.

use crate::load::{check::fault::Fault, nanos::Nanos};

/// A time in which nothing came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    /// [`Fault::Ended`] or [`Fault::Hung`].
    pub(crate) fault: Fault,
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
}

/// The outages that one thread notices.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    past: Vec<Outage>,
    present: Option<(Fault, Nanos)>,
}

impl Outages {
    /// Nothing has come back since `from`. An outage that has begun already goes on.
    pub(crate) fn begin(&mut self, fault: Fault, from: Nanos) {
        self.present.get_or_insert((fault, from));
    }

    /// The last answer came at `answered`: an outage that began before is over.
    pub(crate) fn answered(&mut self, answered: Nanos) {
        if let Some((fault, from)) = self.present.take_if(|(_, from)| *from < answered) {
            self.past.push(Outage { fault, from, to: answered });
        }
    }

    /// All of them, the last one up to `end` if it goes on.
    pub(crate) fn until(mut self, end: Nanos) -> Vec<Outage> {
        if let Some((fault, from)) = self.present {
            self.past.push(Outage { fault, from, to: end.max(from) });
        }
        self.past
    }
}

/// When no thread had an answer.
pub(crate) fn of_all<'t>(threads: impl IntoIterator<Item = &'t [Outage]>) -> Vec<Outage> {
    let mut threads = threads.into_iter();
    let mut all = threads.next().unwrap_or_default().to_vec();
    for outages in threads {
        let pairs = all.iter().flat_map(|one| outages.iter().map(move |other| (one, other)));
        all = pairs.filter_map(|(one, other)| both(one, other)).collect();
    }
    all
}

fn both(one: &Outage, other: &Outage) -> Option<Outage> {
    let (from, to) = (one.from.max(other.from), one.to.min(other.to));
    let fault = if one.fault == other.fault { one.fault } else { Fault::Ended };
    (from < to).then_some(Outage { fault, from, to })
}

/// How long they lasted between `start` and `end`.
pub(crate) fn time_within(outages: &[Outage], start: Nanos, end: Nanos) -> Nanos {
    outages.iter().map(|one| one.to.min(end).saturating_sub(one.from.max(start))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ended(from: Nanos, to: Nanos) -> Outage {
        Outage { fault: Fault::Ended, from, to }
    }

    const fn hung(from: Nanos, to: Nanos) -> Outage {
        Outage { fault: Fault::Hung, from, to }
    }

    #[test]
    fn an_outage_lasts_from_the_last_answer_to_the_next() {
        let mut outages = Outages::default();
        outages.begin(Fault::Hung, 10);
        outages.begin(Fault::Ended, 15);
        outages.answered(10);
        outages.answered(20);
        outages.answered(25);
        outages.begin(Fault::Ended, 30);
        assert_eq!(outages.until(50), [hung(10, 20), ended(30, 50)]);
    }

    #[test]
    fn the_server_is_down_when_no_thread_has_an_answer() {
        let threads = [vec![ended(10, 20), hung(30, 60)], vec![ended(15, 40), hung(50, 70)]];
        let all = of_all(threads.iter().map(Vec::as_slice));
        assert_eq!(all, [ended(15, 20), ended(30, 40), hung(50, 60)]);
        assert_eq!(time_within(&all, 18, 55), 2 + 10 + 5);
        assert_eq!(of_all([&threads[0][..], &[]]), []);
    }
}
