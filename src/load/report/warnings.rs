//! Warnings about the numbers in a report, each with a remedy.

use resound::{
    UdpConfig,
    plural::{Plural, connections, frames},
};

use super::Report;
use crate::load::{
    check::fault::Fault,
    engine::pace::Arrivals,
    units::{Micros, Rate},
};

/// At this share of a CPU or more, the client may be the bottleneck.
const SATURATED: f64 = 0.95;

/// Less than this of the asked rate is not that rate.
const ACHIEVED: f64 = 0.99;

/// The warnings about `report`; `missing` connections could not be opened.
pub(crate) fn warnings(report: &Report, missing: usize) -> Vec<String> {
    let found = [
        late(report),
        down(report),
        omission(report),
        saturation(report),
        achieved(report),
        lag(report),
        samples(report),
        missing_connections(report, missing),
        held(report),
        datagrams(report),
        pauses(report),
    ];
    found.into_iter().flatten().collect()
}

/// Other processes with the same `--start-at` had begun before.
fn late(report: &Report) -> Option<String> {
    (report.late_s > 0.0).then(|| {
        format!(
            "the load began {:.2} s later than --start-at: the connections were not open in time. Start it with more time \
             ahead, or raise --connect-rate",
            report.late_s
        )
    })
}

/// A rate over a time in which there was no server is no rate of the server's.
fn down(report: &Report) -> Option<String> {
    let up = report.duration_s - report.down_s;
    (report.down_s > 0.0).then(|| {
        format!(
            "the server was down for {:.2} s of the {:.2} s measured, and the rate is averaged over all of it; while the \
             server answered, it was {}/s",
            report.down_s,
            report.duration_s,
            Rate(if up > 0.0 { report.frames as f64 / up } else { 0.0 })
        )
    })
}

/// A closed loop sends nothing while it waits, so a long wait counts only once.
fn omission(report: &Report) -> Option<String> {
    let latency = &report.latency_us;
    let longest = latency.max / 1e6;
    // It lasted longer than the share that p99 leaves out, and p99 does not show it.
    let hidden = longest / report.duration_s > 0.01 && latency.p99 < latency.max / 2.0;
    (report.config.rate.is_none() && hidden).then(|| {
        format!(
            "coordinated omission: a frame took {}, {:.0} % of the whole run, and p99 is {}. A closed loop sends \
             nothing while it waits, so a stall counts once per connection, not for every frame that would have been \
             sent. To measure the latency of those, use an open loop: --rate {}",
            Micros(latency.max),
            100.0 * longest / report.duration_s,
            Micros(latency.p99),
            Rate(report.frames_per_s * 0.8)
        )
    })
}

fn saturation(report: &Report) -> Option<String> {
    let share = report.client_cpu_share;
    let server_is_busier = report.server.is_some_and(|server| server.cpu_share > share);
    (share > SATURATED && !server_is_busier).then(|| {
        format!(
            "the client is saturated: its busiest thread used {:.0} % of a CPU, so the client may be the limit and not \
             the server. Use more --threads, or give the client a CPU of its own",
            share * 100.0
        )
    })
}

fn achieved(report: &Report) -> Option<String> {
    let asked = report.config.rate?;
    // The number of random arrivals varies: four standard deviations are not the server's fault.
    let random = report.config.arrivals.as_deref() == Some(Arrivals::Poisson.name());
    let chance = if random { 4.0 * (asked / report.duration_s).sqrt() } else { 0.0 };
    (report.frames_per_s < (ACHIEVED * asked).min(asked - chance)).then(|| {
        format!(
            "{} frames a second were asked for and {} came back: the server could not keep up, so the latency mostly \
             shows how long the run was ({} never sent). Lower --rate, or find the limit with \
             --ramp 'p99<2ms'",
            Rate(asked),
            Rate(report.frames_per_s),
            frames(report.unsent)
        )
    })
}

fn lag(report: &Report) -> Option<String> {
    let lag = report.send_lag_us?;
    (lag.p99 > 0.2 * report.latency_us.p99 && lag.p99 > 100.0).then(|| {
        format!(
            "the client sent late: by {} at p99, a large part of the latency of {}. The machine is busy with other work, or \
             there are too few --threads",
            Micros(lag.p99),
            Micros(report.latency_us.p99)
        )
    })
}

fn samples(report: &Report) -> Option<String> {
    let count = report.answered();
    let (percentile, needed) = match count {
        0 => return Some("no frame came back: there is nothing to report but errors".to_owned()),
        1..1_000 => ("p99, p99.9 and p99.99", 100_000),
        1_000..10_000 => ("p99.9 and p99.99", 100_000),
        10_000..100_000 => ("p99.99", 100_000),
        _ => return None,
    };
    Some(format!(
        "{} came back, too few for {percentile}: fewer than ten are above it. Measure {:.0} times as long \
         with --duration",
        frames(count),
        (f64::from(needed) / count as f64).ceil()
    ))
}

fn missing_connections(report: &Report, missing: usize) -> Option<String> {
    let asked = report.config.connections + report.config.hold;
    (missing > 0).then(|| {
        format!(
            "{missing} of {} could not be opened, or were not served; the server may limit how many it \
             accepts (--max-connections of resound serve, ulimit -n)",
            connections(asked)
        )
    })
}

fn held(report: &Report) -> Option<String> {
    let (asked, held) = (report.config.hold as u64, report.connections.held);
    (held < asked && !report.ended_early).then(|| {
        format!(
            "only {held} of {} echoed at the end; the others are counted as errors",
            Plural(asked, ["idle connection", "idle connections"])
        )
    })
}

fn datagrams(report: &Report) -> Option<String> {
    let lost = *report.errors_by_name.get("TIMEOUT").unwrap_or(&0);
    if !report.config.target.starts_with("udp://") || lost == 0 {
        return None;
    }
    let missing = Plural(lost, ["datagram", "datagrams"]);
    let (guarded, period) = (report.guard_losses, u64::from(UdpConfig::LOOP_GUARD_PERIOD));
    // Of losses at random, one in a period is at such a position too.
    if guarded * period > 5 * lost {
        return Some(format!(
            "{missing} did not come back, and {guarded} of them were the {period}th datagram of their socket, or a \
             multiple of that: the loop guard of resound serve drops these. udp://ADDRESS,loop-guard=off switches it off"
        ));
    }
    Some(format!(
        "{missing} did not come back: lost on the way, or the server limits its answers (resound serve does; \
         udp://ADDRESS,rate=0,loop-guard=off removes its limits)"
    ))
}

/// After wrong answers there are fewer connections than were asked for.
fn pauses(report: &Report) -> Option<String> {
    let count = |fault: &Fault| report.errors_by_name.get(fault.name()).copied().unwrap_or(0);
    let wrong: u64 = Fault::ALL.iter().filter(|fault| fault.is_wrong_answer()).map(count).sum();
    (wrong > 0 && !report.config.target.starts_with("udp://")).then(|| {
        format!(
            "{}: after each, its connection was closed and opened again only after a pause, of 100 ms at first and up \
             to 6.4 s if they go on. Meanwhile the load was less than asked for, so do not trust the rate and the \
             latency of this run",
            Plural(wrong, ["wrong answer", "wrong answers"])
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::condition::tests::report;

    fn said(report: &Report) -> String {
        warnings(report, 0).join("\n")
    }

    #[test]
    fn a_good_run_needs_no_warning() {
        assert_eq!(said(&report()), "");
    }

    #[test]
    fn a_stall_in_a_closed_loop_is_explained_and_in_an_open_one_it_shows() {
        let mut report = report();
        report.duration_s = 5.0;
        report.latency_us.max = 100_000.0;
        let text = said(&report);
        assert!(text.contains("coordinated omission") && text.contains("--rate 80.0k"), "{text}");
        report.config.rate = Some(100_000.0);
        assert_eq!(said(&report), "");
    }

    #[test]
    fn fewer_random_arrivals_than_asked_for_may_be_chance() {
        let mut report = report();
        report.config.rate = Some(1_000.0);
        report.frames_per_s = 970.0;
        assert!(said(&report).contains("--ramp"));
        report.config.arrivals = Some("poisson".to_owned());
        assert_eq!(said(&report), "", "of 10,000 100 more or fewer are usual");
        report.frames_per_s = 950.0;
        assert!(said(&report).contains("--ramp"));
    }

    #[test]
    fn each_doubt_has_its_remedy() {
        let mut saturated = report();
        saturated.client_cpu_share = 0.99;
        let mut behind = report();
        behind.config.rate = Some(200_000.0);
        let mut few = report();
        few.latency_us.count = 5_000;
        let mut nothing = report();
        nothing.latency_us = Default::default();
        let mut lost = report();
        lost.config.target = "udp://127.0.0.1:1".to_owned();
        lost.errors_by_name.insert("TIMEOUT".to_owned(), 3);
        let mut guarded = lost.clone();
        guarded.guard_losses = 2;
        let mut random = lost.clone();
        random.errors_by_name.insert("TIMEOUT".to_owned(), 3_000);
        random.guard_losses = 3;
        let mut wrong = report();
        wrong.errors_by_name.insert("DUPLICATE".to_owned(), 2);
        for (report, says) in [
            (&wrong, "2 wrong answers: after each"),
            (&saturated, "--threads"),
            (&behind, "--ramp"),
            (
                &few,
                "5000 frames came back, too few for p99.9 and p99.99: fewer than ten are above it. Measure 20 times",
            ),
            (&nothing, "no frame came back"),
            (&lost, "rate=0,loop-guard=off"),
            (&random, "lost on the way"),
            (&guarded, "2 of them were the 1009th datagram of their socket"),
        ] {
            let text = said(report);
            assert!(text.contains(says), "{text}");
        }
        assert!(warnings(&report(), 3)[0].contains("3 of 10 connections"));
        let mut late = report();
        late.late_s = 1.5;
        assert!(said(&late).contains("1.50 s later than --start-at"), "{}", said(&late));
        let mut down = report();
        (down.frames, down.duration_s, down.down_s) = (1_000, 10.0, 8.0);
        assert!(
            said(&down).contains("down for 8.00 s of the 10.00 s") && said(&down).contains("500/s")
        );
    }
}
