//! Rates and measured times: parsed from arguments, and formatted for people.

use std::{fmt, str::FromStr};

/// A number per second: `50k`, `1.5M`, `200`, `200/s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(pub(crate) f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("/s").unwrap_or(text).trim();
        let (digits, factor) = match number.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1e3),
            None => number.strip_suffix('M').map_or((number, 1.0), |digits| (digits, 1e6)),
        };
        match digits.trim().parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Self(rate * factor)),
            _ => Err("not a rate; write how many a second, like 500, 50k or 1.5M".to_owned()),
        }
    }
}

impl fmt::Display for Rate {
    /// Three digits: `49.8k`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            rate if rate >= 999_500.0 => (rate / 1e6, "M"),
            rate if rate >= 9_995.0 => (rate / 1e3, "k"),
            rate => return write!(f, "{rate:.0}"),
        };
        write!(f, "{number:.digits$}{unit}", digits = digits(number))
    }
}

/// A time in microseconds, with three digits: `83.2µs`, `1.24ms`, `2.50s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Micros(pub(crate) f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            micros if micros >= 999_500.0 => (micros / 1e6, "s"),
            micros if micros >= 999.5 => (micros / 1e3, "ms"),
            micros => (micros, "µs"),
        };
        // Through a string, so that a width in the format applies.
        f.pad(&format!("{number:.digits$}{unit}", digits = digits(number)))
    }
}

/// A number of bytes with three digits: `4.21 MiB`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bytes(pub(crate) f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = self.0;
        let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        while number >= 1023.5
            && let Some(larger) = units.next()
        {
            (number, unit) = (number / 1024.0, larger);
        }
        f.pad(&format!(
            "{number:.digits$} {unit}",
            digits = if unit == "B" { 0 } else { digits(number) }
        ))
    }
}

/// Digits after the decimal point, for three digits in all.
fn digits(number: f64) -> usize {
    match number {
        number if number >= 99.95 => 0,
        number if number >= 9.995 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, rate, shown) in [
            ("500", 500.0, "500"),
            ("50k", 50_000.0, "50.0k"),
            ("1.5M", 1_500_000.0, "1.50M"),
            ("200/s", 200.0, "200"),
            ("123456", 123_456.0, "123k"),
        ] {
            let parsed: Rate = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (rate, shown));
        }
        for text in ["", "0", "-1", "fast", "inf", "nan", "1G"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("50k"), "{text:?}");
        }
    }

    #[test]
    fn three_digits_and_a_unit() {
        for (micros, shown) in [
            (0.25, "0.25µs"),
            (83.24, "83.2µs"),
            (999.4, "999µs"),
            (999.6, "1.00ms"),
            (12_345.0, "12.3ms"),
            (2_500_000.0, "2.50s"),
        ] {
            assert_eq!(Micros(micros).to_string(), shown);
        }
        assert_eq!(Bytes(700.0).to_string(), "700 B");
        assert_eq!(Bytes(4.5 * 1024.0 * 1024.0).to_string(), "4.50 MiB");
        assert_eq!(format!("{:>9}|", Micros(1.0)), "   1.00µs|");
    }
}
