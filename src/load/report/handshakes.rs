//! The TLS handshakes of a run, in its report.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Latency;
use crate::load::{
    statistics::{hdr, record::Handshakes},
    units::{Micros, Rate},
};

/// What is said of the handshakes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HandshakeReport {
    /// All, warm-up included.
    pub(crate) full_us: Latency,
    pub(crate) resumed_us: Latency,
    /// Of both kinds, while it was measured.
    pub(crate) per_s: f64,
    /// Both distributions in nanoseconds, as HdrHistogram's compressed encoding in base64.
    pub(crate) full_histogram: String,
    pub(crate) resumed_histogram: String,
}

impl HandshakeReport {
    pub(crate) fn new(handshakes: &Handshakes, per_s: f64) -> Self {
        Self {
            full_us: Latency::from(&handshakes.full),
            resumed_us: Latency::from(&handshakes.resumed),
            per_s,
            full_histogram: hdr::encode(&handshakes.full),
            resumed_histogram: hdr::encode(&handshakes.resumed),
        }
    }

    /// What processes have measured together; `None` if there was no TLS.
    ///
    /// # Errors
    ///
    /// Text, for a histogram that cannot be read.
    pub(crate) fn merged<'r>(
        reports: impl Iterator<Item = &'r Self>,
    ) -> Result<Option<Self>, String> {
        let (mut sum, mut per_s, mut any) = (Handshakes::new(), 0.0, false);
        for report in reports {
            hdr::add(&mut sum.full, &report.full_histogram)?;
            hdr::add(&mut sum.resumed, &report.resumed_histogram)?;
            per_s += report.per_s;
            any = true;
        }
        Ok(any.then(|| Self::new(&sum, per_s)))
    }
}

impl fmt::Display for HandshakeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, latency) in [("full", &self.full_us), ("resumed", &self.resumed_us)] {
            write!(f, "{} {kind}", latency.count)?;
            if latency.count > 0 {
                write!(f, " (p50 {} p99 {})", Micros(latency.p50), Micros(latency.p99))?;
            }
            f.write_str(", ")?;
        }
        write!(f, "{}/s", Rate(self.per_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(values: &[(u64, bool)]) -> HandshakeReport {
        let mut handshakes = Handshakes::new();
        values.iter().for_each(|(took, is_resumed)| handshakes.record(*took, *is_resumed, true));
        HandshakeReport::new(&handshakes, values.len() as f64)
    }

    #[test]
    fn merged_handshakes_are_those_of_all() {
        let one = report(&[(1_000_000, false), (300_000, true)]);
        let other = report(&[(2_000_000, false), (400_000, true), (500_000, true)]);
        let merged = HandshakeReport::merged([&one, &other].into_iter()).unwrap().unwrap();
        let all = [(1_000_000, false), (2_000_000, false), (300_000, true), (400_000, true)];
        let expected = report(&[&all[..], &[(500_000, true)]].concat());
        assert_eq!(
            (merged.full_us, merged.resumed_us, merged.per_s),
            (expected.full_us, expected.resumed_us, expected.per_s)
        );
        assert_eq!(HandshakeReport::merged([].into_iter()), Ok(None));
        let text = merged.to_string();
        assert!(text.starts_with("2 full (p50 ") && text.contains(", 3 resumed (p50 "), "{text}");
        assert!(report(&[(1, false)]).to_string().contains("), 0 resumed, "));
    }
}
