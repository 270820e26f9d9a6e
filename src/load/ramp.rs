//! Finds the knee: the highest rate at which a condition still holds.
//!
//! First the rate doubles until the condition fails, then the gap is halved until it is small. A rate fails only if it
//! fails twice: other work on the machine can delay a single step.

use super::{
    engine::plan::Plan,
    report::{Ramp, Step, condition::Condition, live::Live},
    run::{self, Outcome},
    server::{stop::Stop, watched::Watched},
    units::Rate,
};

/// The first rate, unless `--rate` is given.
const FIRST: f64 = 1000.0;

/// The search ends when the rates around the knee are this close.
const CLOSE: f64 = 1.05;

/// A rate is achieved if at least this share of it came back.
const ACHIEVED: f64 = 0.97;

const MOST_STEPS: usize = 60;

/// Runs the plan at one rate after the other. The outcome is the knee's, or without a knee the last one's.
///
/// # Errors
///
/// Those of [`run::run`].
pub(crate) fn ramp(
    plan: &Plan,
    condition: &Condition,
    name: &str,
    server: Option<&dyn Watched>,
    live: &mut Live,
    stop: &Stop,
) -> Result<Outcome, String> {
    let mut search = Search::new(plan.rate.unwrap_or(FIRST));
    let mut steps = Vec::new();
    let mut best: Option<Outcome> = None;
    let mut last: Option<Outcome> = None;
    while steps.len() < MOST_STEPS
        && !stop.is_asked_for()
        && let Some(rate) = search.next()
    {
        live.title(format!("{}/s", Rate(rate)));
        let plan = Plan { rate: Some(rate), ..plan.clone() };
        let outcome = run::run(&plan, name, server, live, stop)?;
        if let Some(end) = outcome.server_end {
            return Err(end);
        }
        let report = &outcome.report;
        if report.ended_early {
            break;
        }
        let came = report.frames_per_s >= ACHIEVED * rate;
        let held = came && report.errors == 0 && condition.holds(report);
        steps.push(Step {
            rate,
            frames_per_s: report.frames_per_s,
            p50_us: report.latency_us.p50,
            p99_us: report.latency_us.p99,
            errors: report.errors,
            client_cpu_share: report.client_cpu_share,
            held,
        });
        search.tell(rate, held);
        if held && best.as_ref().is_none_or(|best| best.report.config.rate < Some(rate)) {
            best = Some(outcome);
        } else {
            last = Some(outcome);
        }
    }
    let knee_per_s = search.good;
    let mut outcome = best.or(last).ok_or("stopped before the first step was over")?;
    outcome.report.ramp = Some(Ramp { condition: condition.to_string(), knee_per_s, steps });
    Ok(outcome)
}

/// The highest rate that held, and the lowest that did not.
#[derive(Debug)]
struct Search {
    first: f64,
    good: Option<f64>,
    bad: Option<f64>,
    /// A rate that has failed once.
    doubtful: Option<f64>,
}

impl Search {
    const fn new(first: f64) -> Self {
        Self { first, good: None, bad: None, doubtful: None }
    }

    /// The next rate to try; `None` at the end of the search.
    fn next(&self) -> Option<f64> {
        match (self.good, self.bad) {
            _ if self.doubtful.is_some() => self.doubtful,
            (None, None) => Some(self.first),
            (Some(good), None) => Some(good * 2.0),
            (None, Some(bad)) => (bad > 1.0).then_some(bad / 2.0),
            (Some(good), Some(bad)) => (bad / good > CLOSE).then(|| (good * bad).sqrt()),
        }
    }

    fn tell(&mut self, rate: f64, held: bool) {
        let is_second = self.doubtful.take().is_some();
        if held {
            self.good = Some(self.good.map_or(rate, |good| good.max(rate)));
        } else if is_second {
            self.bad = Some(self.bad.map_or(rate, |bad| bad.min(rate)));
        } else {
            self.doubtful = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_found_from_below_and_from_above() {
        for knee in [130_000.0, 1_500.0, 40.0] {
            let mut search = Search::new(FIRST);
            let mut steps = 0;
            while let Some(rate) = search.next() {
                search.tell(rate, rate <= knee);
                steps += 1;
                assert!(steps <= MOST_STEPS);
            }
            let found = search.good.unwrap();
            assert!(found <= knee && found * CLOSE * 1.001 >= knee, "{found} for {knee}");
        }
    }

    #[test]
    fn one_late_step_does_not_decide() {
        let knee = 50_000.0;
        for late in 0..12 {
            let mut search = Search::new(FIRST);
            let mut steps = 0;
            while let Some(rate) = search.next() {
                search.tell(rate, rate <= knee && steps != late);
                steps += 1;
            }
            let found = search.good.unwrap();
            assert!(found <= knee && found * CLOSE * 1.001 >= knee, "step {late}: {found}");
        }
    }

    #[test]
    fn where_nothing_holds_it_gives_up() {
        let mut search = Search::new(FIRST);
        while let Some(rate) = search.next() {
            search.tell(rate, false);
        }
        assert_eq!(search.good, None);
    }
}
