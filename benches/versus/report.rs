//! Medians, ratios and tables.

use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::cells::Cell;
use crate::common::bench::Report;
use crate::common::machine::Place;
use crate::slice::Slice;

/// The middle of some numbers, and the quarters on either side of it.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// `None` of none.
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        let last = numbers.len().checked_sub(1)?;
        numbers.sort_unstable_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let median = if numbers.len().is_multiple_of(2) {
            f64::midpoint(numbers[middle - 1], numbers[middle])
        } else {
            numbers[middle]
        };
        Some(Self { low: numbers[last / 4], median, high: numbers[last - last / 4] })
    }
}

fn median(slices: &[&Slice], of: impl Fn(&Slice) -> Option<f64>) -> Option<f64> {
    let numbers = slices.iter().filter_map(|slice| of(slice)).collect();
    Spread::of(numbers).map(|spread| spread.median)
}

/// The ratio of each of a server's slices to the yardstick's in the same place that was taken nearest to it.
fn ratios(
    slices: &[&Slice],
    yardstick: &[&Slice],
    of: impl Fn(&Slice) -> Option<f64>,
) -> Option<Spread> {
    let ratio = |slice: &&Slice| {
        let beside = yardstick
            .iter()
            .filter(|other| other.place == slice.place && slice.place.is_some())
            .min_by_key(|other| other.round.abs_diff(slice.round))?;
        Some(of(slice)? / of(beside)?)
    };
    Spread::of(slices.iter().filter_map(ratio).collect())
}

/// Where most slices were taken.
fn usual_place(slices: &[&Slice]) -> Place {
    let count = |place| slices.iter().filter(|slice| slice.place == Some(place)).count();
    if count(Place::Far) > count(Place::Near) { Place::Far } else { Place::Near }
}

fn only<'a>(slices: &[&'a Slice], wanted: impl Fn(&Slice) -> bool) -> Vec<&'a Slice> {
    slices.iter().copied().filter(|slice| wanted(slice)).collect()
}

/// Prints one cell's table, in Markdown.
pub fn table(cell: &Cell, servers: &[&str], all: &[Slice]) {
    let slices: Vec<&Slice> = all.iter().filter(|slice| slice.cell == cell.name).collect();
    let place = usual_place(&slices);
    let here = only(&slices, |slice| slice.place == Some(place));
    let nanoseconds = |slice: &Slice| Some(slice.round_trip.as_secs_f64() * 1e9);
    println!("\n### {}: {}\n", cell.name, cell.describe());
    println!(
        "Medians of the {} of {} slices that were taken while the cores were {} ({} ns there and back);",
        here.len(),
        slices.len(),
        place.name(),
        cut(median(&here, nanoseconds), 0),
    );
    let yardstick = cell.protocol.yardstick();
    let waited = median(&slices, |slice| Some(slice.report.client_wait_share * 100.0));
    println!(
        "the load waited {} % of the time for its core (over 1 %: others use this machine);",
        cut(waited, 1)
    );
    println!(
        "ratios to `{yardstick}` beside it, slice by slice in the same place: median [quartiles].\n"
    );
    println!(
        "| server | CPU µs/frame | CPU ratio | p99.9 ratio | frames/s | MB/s | p50 µs | p99 µs | p99.9 µs | max µs \
         | switches/frame | server busy | client busy |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let yardstick = only(&slices, |slice| slice.server == yardstick);
    for server in servers {
        let everywhere = only(&slices, |slice| slice.server == *server);
        let here = only(&here, |slice| slice.server == *server);
        println!("| {server} |{}", row(&everywhere, &here, &yardstick));
    }
}

fn row(everywhere: &[&Slice], here: &[&Slice], yardstick: &[&Slice]) -> String {
    let percent = |share: Option<f64>| format!("{} %", cut(share.map(|share| share * 100.0), 0));
    let middle = |of: fn(&Report) -> f64| median(here, |slice| Some(of(&slice.report)));
    let ratio =
        |of: fn(&Report) -> f64| ratios(everywhere, yardstick, |slice| Some(of(&slice.report)));
    [
        cut(middle(|report| report.server.cpu_us_per_frame), 3),
        spread(ratio(|report| report.server.cpu_us_per_frame)),
        spread(ratio(|report| report.latency_us.p99_9)),
        cut(middle(|report| report.frames_per_s), 0),
        cut(middle(|report| report.megabytes_per_s), 0),
        cut(middle(|report| report.latency_us.p50), 0),
        cut(middle(|report| report.latency_us.p99), 0),
        cut(middle(|report| report.latency_us.p99_9), 0),
        cut(middle(|report| report.latency_us.max), 0),
        cut(middle(|report| report.server.context_switches as f64 / report.frames as f64), 4),
        percent(middle(|report| report.server.cpu_share)),
        percent(middle(|report| report.client_cpu_share)),
    ]
    .iter()
    .map(|field| format!(" {field} |"))
    .collect()
}

fn cut(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread { low, median, high }| format!("{median:.3} [{low:.3}-{high:.3}]"),
    )
}

/// Writes the report of every slice, as an array that `resound bench compare` reads: each is named after its cell and its
/// server, and has the round and the place of the cores besides.
pub fn json(to: impl Write, slices: &[Slice]) -> io::Result<()> {
    let reports: Vec<Value> = slices.iter().map(object).collect();
    Ok(serde_json::to_writer_pretty(to, &reports)?)
}

fn object(slice: &Slice) -> Value {
    let mut report: Map<String, Value> = slice.json.as_object().cloned().unwrap_or_default();
    let place = slice.place.map_or("moved", Place::name);
    report.insert("name".to_owned(), format!("{} {}", slice.cell, slice.server).into());
    report.insert("round".to_owned(), slice.round.into());
    report.insert("place".to_owned(), place.into());
    report.insert("round_trip_us".to_owned(), (slice.round_trip.as_secs_f64() * 1e6).into());
    report.into()
}
