//! Numbers that were measured, and the bound that one of them has.

use std::{fmt, time::Duration};

/// One number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(super) what: String,
    pub(super) value: Value,
    /// What a right server keeps, if that follows from the number alone.
    pub(super) bound: Option<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Count(u64),
    Time(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Exactly(u64),
    AtLeast(u64),
    AtMost(u64),
}

impl Figure {
    pub(super) fn count(what: impl Into<String>, count: u64) -> Self {
        Self { what: what.into(), value: Value::Count(count), bound: None }
    }

    pub(super) fn time(what: impl Into<String>, time: Duration) -> Self {
        Self { what: what.into(), value: Value::Time(time), bound: None }
    }

    /// A count that tells whether the server is right.
    pub(super) fn judged(what: impl Into<String>, count: u64, bound: Bound) -> Self {
        Self { what: what.into(), value: Value::Count(count), bound: Some(bound) }
    }

    /// Whether it is within its bound.
    pub(super) fn is_right(&self) -> bool {
        match (self.value, self.bound) {
            (Value::Count(count), Some(Bound::Exactly(right))) => count == right,
            (Value::Count(count), Some(Bound::AtLeast(least))) => count >= least,
            (Value::Count(count), Some(Bound::AtMost(most))) => count <= most,
            _ => true,
        }
    }
}

/// Whether a server with these figures makes the mistake.
pub(crate) fn shows_mistake(figures: &[Figure]) -> bool {
    !figures.iter().all(Figure::is_right)
}

impl fmt::Display for Value {
    /// `1,048,576`, `40.2 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => f.pad(&grouped(*count)),
            Self::Time(time) => f.pad(&format!("{:.1} ms", time.as_secs_f64() * 1e3)),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(right) => f.write_str(&grouped(*right)),
            Self::AtLeast(least) => write!(f, "at least {}", grouped(*least)),
            Self::AtMost(most) => write!(f, "at most {}", grouped(*most)),
        }
    }
}

/// With a comma between thousands.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        for (count, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (8_388_608, "8,388,608")] {
            assert_eq!(Value::Count(count).to_string(), shown);
        }
        assert_eq!(Value::Time(Duration::from_micros(40_250)).to_string(), "40.2 ms");
    }

    #[test]
    fn a_mistake_shows_when_a_bound_is_broken() {
        let at_least = |count| Figure::judged("x", count, Bound::AtLeast(10));
        let at_most = |count| Figure::judged("x", count, Bound::AtMost(10));
        let other = Figure::count("y", 0);
        assert!(!shows_mistake(&[at_least(10), other.clone()]));
        assert!(shows_mistake(&[at_least(9), other.clone()]));
        assert!(!shows_mistake(&[at_most(10), other.clone()]));
        assert!(shows_mistake(&[other, at_most(11)]));
    }
}
