//! Medians, ratios and tables.

use std::io::{self, Write};

use crate::cells::{Cell, Slice};
use crate::machine::Place;
use crate::peers::YARDSTICK;

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
    let waited = median(&slices, |slice| Some(slice.client_wait_share() * 100.0));
    println!(
        "the load waited {} % of the time for its core (over 1 %: others use this machine);",
        cut(waited, 1)
    );
    println!(
        "ratios to `{YARDSTICK}` beside it, slice by slice in the same place: median [quartiles].\n"
    );
    println!(
        "| server | CPU µs/frame | CPU ratio | p99.9 ratio | frames/s | MB/s | p50 µs | p99 µs | p99.9 µs \
         | switches/frame | server busy | client busy |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let yardstick = only(&slices, |slice| slice.server == YARDSTICK);
    for server in servers {
        let everywhere = only(&slices, |slice| slice.server == *server);
        let here = only(&here, |slice| slice.server == *server);
        println!("| {server} |{}", row(&everywhere, &here, &yardstick));
    }
}

fn row(everywhere: &[&Slice], here: &[&Slice], yardstick: &[&Slice]) -> String {
    let percent = |share: Option<f64>| format!("{} %", cut(share.map(|share| share * 100.0), 0));
    [
        cut(median(here, |slice| Some(slice.cost())), 3),
        spread(ratios(everywhere, yardstick, |slice| Some(slice.cost()))),
        spread(ratios(everywhere, yardstick, |slice| slice.latency(1))),
        cut(median(here, |slice| Some(slice.frames_per_second())), 0),
        cut(median(here, |slice| Some(slice.megabytes_per_second())), 0),
        cut(median(here, |slice| slice.latency(500)), 0),
        cut(median(here, |slice| slice.latency(10)), 0),
        cut(median(here, |slice| slice.latency(1)), 0),
        cut(median(here, |slice| Some(slice.switches_per_frame())), 4),
        percent(median(here, |slice| Some(slice.server_share()))),
        percent(median(here, |slice| Some(slice.client_share()))),
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

/// Writes every slice as one object of a JSON array.
pub fn json(mut to: impl Write, slices: &[Slice]) -> io::Result<()> {
    let objects: Vec<String> = slices.iter().map(object).collect();
    writeln!(to, "[\n{}\n]", objects.join(",\n"))
}

fn object(slice: &Slice) -> String {
    let latency = |per_mille| {
        let known = slice.latency(per_mille);
        known.map_or_else(|| "null".to_owned(), |known| format!("{known:.3}"))
    };
    // Names hold no character that JSON would have escaped.
    format!(
        "{{\"cell\":\"{}\",\"server\":\"{}\",\"round\":{},\"place\":\"{}\",\"round_trip_ns\":{},\
         \"frames\":{},\"elapsed_s\":{:.6},\"server_cpu_s\":{:.9},\"client_cpu_s\":{:.9},\"switches\":{},\
         \"p50_us\":{},\"p99_us\":{},\"p99_9_us\":{}}}",
        slice.cell,
        slice.server,
        slice.round,
        slice.place.map_or("moved", Place::name),
        slice.round_trip.as_nanos(),
        slice.frames,
        slice.elapsed.as_secs_f64(),
        slice.server_time.as_secs_f64(),
        slice.client_time.as_secs_f64(),
        slice.switches,
        latency(500),
        latency(10),
        latency(1),
    )
}
