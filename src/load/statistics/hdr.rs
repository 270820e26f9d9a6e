//! Histograms of nanoseconds in the forms of the HdrHistogram project: the log, with one interval histogram per line, and
//! the text of a single one.

use std::{
    io::{self, BufWriter, Write},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer, Serializer, V2DeflateSerializer, interval_log::IntervalLogWriterBuilder,
    },
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

/// A histogram as text: the compressed encoding, version 2, in base64 (`HISTFAAA…`), which other implementations read.
pub(crate) fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // It fails only where writing does, and a vector grows.
    let _ = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    BASE64_STANDARD.encode(bytes)
}

/// Adds an encoded histogram to `sum`, bucket by bucket.
///
/// # Errors
///
/// Text, where `text` is no histogram, or its buckets are others.
pub(crate) fn add(sum: &mut Histogram<u64>, text: &str) -> Result<(), String> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?;
    let added: Histogram<u64> =
        Deserializer::new().deserialize(&mut &bytes[..]).map_err(|error| error.to_string())?;
    // With others the values would be rounded a second time.
    if (added.sigfig(), added.low()) != (sum.sigfig(), sum.low()) {
        return Err(format!("it has {} digits, and {} are needed", added.sigfig(), sum.sigfig()));
    }
    sum.add(&added).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::{random::Random, statistics::record};

    pub(crate) fn decode(text: &str) -> Result<Histogram<u64>, String> {
        let mut histogram = record::histogram();
        add(&mut histogram, text).map(|()| histogram)
    }

    /// From nanoseconds to minutes.
    fn values(seed: u64) -> Vec<u64> {
        let mut random = Random::new(seed);
        (0..5_000)
            .map(|_| {
                let digits = random.below(37);
                1 + random.below(1 << digits)
            })
            .collect()
    }

    #[test]
    fn histograms_that_are_added_as_text_are_one_of_all_their_values() {
        let (mut sum, mut all) = (record::histogram(), record::histogram());
        for process in 0..4 {
            let mut one = record::histogram();
            for value in values(process) {
                one.record(value).unwrap();
                all.record(value).unwrap();
            }
            add(&mut sum, &encode(&one)).unwrap();
        }
        assert_eq!(sum, all);
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        assert_eq!(decode(&encode(&record::histogram())).unwrap(), record::histogram());
    }

    #[test]
    fn what_is_no_histogram_or_has_other_buckets_is_refused() {
        let coarse = Histogram::new(2).unwrap();
        for (text, says) in [("!", "Invalid"), ("AAAA", ""), (&encode(&coarse), "2 digits")] {
            let error = decode(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
