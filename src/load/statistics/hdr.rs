//! The HdrHistogram log: one interval histogram per line, in nanoseconds, for the tools of that project.

use std::{
    io::{self, BufWriter, Write},
    time::{Duration, SystemTime},
};

use hdrhistogram::{
    Histogram,
    serialization::{V2DeflateSerializer, interval_log::IntervalLogWriterBuilder},
};

/// The largest value of each line is in milliseconds, as the Java writer of HdrHistogram has it.
const NANOS_IN_A_MILLISECOND: f64 = 1e6;

/// Writes a log of consecutive `windows` of `length` each.
///
/// # Errors
///
/// Those of writing to `output`.
pub(crate) fn write(
    output: impl Write,
    started: SystemTime,
    length: Duration,
    windows: &[Histogram<u64>],
) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("latency in nanoseconds, by resound bench")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(NANOS_IN_A_MILLISECOND)
        .begin_log_with(&mut output, &mut serializer)?;
    for (index, window) in windows.iter().enumerate() {
        let start = length * u32::try_from(index).unwrap_or(u32::MAX);
        log.write_histogram(window, start, length, None)
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    output.flush()
}
