//! Sizes, times, shares and ranges as plans write them.

use std::{fmt, time::Duration};

/// Parts of a million: `10%` is 100,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub(super) u32);

impl Share {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self(1_000_000);

    /// Parts of a million.
    #[must_use]
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }

    /// As in `0.5%`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if decimals.len() > 4 || !is_digits(decimals) {
            return None;
        }
        let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
        let share = digits(whole)?.checked_mul(10_000)?.checked_add(decimals.into())?;
        u32::try_from(share).ok().filter(|share| *share <= Self::ALL.0).map(Self)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:04}", self.0 % 10_000);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{}{point}{decimals}%", self.0 / 10_000)
    }
}

/// `N` or `A..B`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first number.
    pub least: u64,
    /// The last number.
    pub most: u64,
}

impl Span {
    pub(super) fn parse(text: &str, read: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (read(least)?, read(most)?);
        (least <= most).then_some(Self { least, most })
    }

    pub(super) const fn contains(self, number: u64) -> bool {
        self.least <= number && number <= self.most
    }

    /// Writes it, each number as `show` does.
    pub(super) fn show(self, show: impl Fn(u64) -> String) -> String {
        if self.least == self.most {
            return show(self.least);
        }
        format!("{}..{}", show(self.least), show(self.most))
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A whole number without a sign.
pub(super) fn digits(text: &str) -> Option<u64> {
    is_digits(text).then(|| text.parse().ok()).flatten()
}

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `1000`, `64KiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let unit = SIZES.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let (number, bytes) = unit.unwrap_or((text, &1));
    digits(number)?.checked_mul(*bytes)
}

pub(super) fn show_size(bytes: u64) -> String {
    match SIZES.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, of)) if *of > 1 => format!("{}{unit}", bytes / of),
        _ => bytes.to_string(),
    }
}

const TIMES: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

/// `300ms`, `2s`, `1min`; in nanoseconds.
pub(super) fn nanos(text: &str) -> Option<u64> {
    let (number, of) =
        TIMES.iter().find_map(|(unit, nanos)| Some((text.strip_suffix(unit)?, nanos)))?;
    digits(number)?.checked_mul(*of)
}

pub(super) fn time(text: &str) -> Option<Duration> {
    nanos(text).map(Duration::from_nanos)
}

pub(super) fn show_nanos(nanos: u64) -> String {
    if nanos == 0 {
        return "0ms".to_owned();
    }
    let fits = TIMES.iter().filter(|(_, of)| nanos.is_multiple_of(*of));
    let (unit, of) = fits.max_by_key(|(_, of)| *of).unwrap_or(&("ns", 1));
    format!("{}{unit}", nanos / of)
}

pub(super) fn show_time(time: Duration) -> String {
    show_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_read_and_printed() {
        for (text, bytes, printed) in
            [("7", 7, "7"), ("7B", 7, "7"), ("1024", 1024, "1KiB"), ("3MiB", 3 << 20, "3MiB")]
        {
            assert_eq!(size(text), Some(bytes));
            assert_eq!(show_size(bytes), printed);
        }
        assert_eq!(show_size(0), "0");
        for (text, nanoseconds, printed) in [
            ("1500ms", 1_500_000_000, "1500ms"),
            ("60s", 60_000_000_000, "1min"),
            ("7us", 7_000, "7us"),
            ("1ns", 1, "1ns"),
        ] {
            assert_eq!(nanos(text), Some(nanoseconds), "{text}");
            assert_eq!(show_nanos(nanoseconds), printed);
        }
        for (text, parts, printed) in
            [("1%", 10_000, "1%"), ("0.5%", 5_000, "0.5%"), ("100%", 1_000_000, "100%")]
        {
            assert_eq!(Share::parse(text), Some(Share(parts)));
            assert_eq!(Share(parts).to_string(), printed);
        }
        assert_eq!(Share::parse("0.0001%"), Some(Share(1)));
        assert_eq!(Share(1).to_string(), "0.0001%");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "x", "+1", "-1", "1 KiB", "1kb", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
        for text in ["", "5", "ms", "1.5s", "5 ms", "-1s"] {
            assert_eq!(nanos(text), None, "{text:?}");
        }
        for text in ["", "1", "%", "101%", "0.00001%", "-1%", "1.%x"] {
            assert_eq!(Share::parse(text), None, "{text:?}");
        }
        for text in ["5..3", "..", "1..", "..1", "1...2"] {
            assert_eq!(Span::parse(text, digits), None, "{text:?}");
        }
    }
}
