//! Sizes and times as people write them, in both directions.

use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes: `65536`, `64KiB`, `16MiB`, `1GB` (1 KiB = 1,024 B, 1 kB = 1,000 B).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    /// The size as a length in memory; what no memory can hold becomes the largest length.
    pub(crate) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use parse_size::Error;
        let remedy = "write bytes, or a number and a unit, like 64KiB, 16MiB or 1GB";
        match parse_size::parse_size(text) {
            Ok(0) => Err(format!("a size of at least 1 byte is needed; {remedy}")),
            Ok(bytes) => Ok(Self(bytes)),
            Err(Error::PosOverflow) => Err(format!("more than 64 bits can count; {remedy}")),
            Err(_) => Err(format!("not a size; {remedy}")),
        }
    }
}

impl fmt::Display for Size {
    /// Exact, and what parses back: `64KiB`, `65537`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut unit) = (self.0, 0);
        // 1000000 stays bytes: 976.5625KiB would not help anybody.
        while number >= 1024 && number % 1024 == 0 {
            (number, unit) = (number / 1024, unit + 1);
        }
        write!(f, "{number}{}", ["", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit])
    }
}

/// A time that has to be given: `100ms`, `30s`, `1m 30s`; `0` is at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| "not a time; write a number and a unit, like 100ms, 30s or 1m".to_owned())
    }
}

impl Time {
    /// Rounded down to whole milliseconds, which is enough to read.
    pub(crate) fn rounded(time: Duration) -> Self {
        Self(Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "1m 30s" would need quotes in a shell, and parses without the space as well.
        f.write_str(&humantime::format_duration(self.0).to_string().replace(' ', ""))
    }
}

/// A time limit: a [`Time`], or none at all (`off`, `none`, `0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeLimit(pub(crate) Option<Duration>);

impl FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "off" | "none") {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(Time(Duration::ZERO)) => Ok(Self(None)),
            Ok(Time(limit)) => Ok(Self(Some(limit))),
            Err(error) => Err(format!("{error}, or off for no limit")),
        }
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(limit) => Time(limit).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_a_unit() {
        for (text, bytes, shown) in [
            ("1", 1, "1"),
            ("65536", 65_536, "64KiB"),
            ("64KiB", 65_536, "64KiB"),
            ("64kib", 65_536, "64KiB"),
            ("16MiB", 16 << 20, "16MiB"),
            ("1.5KiB", 1536, "1536"),
            ("1MB", 1_000_000, "1000000"),
            ("8EiB", 8 << 60, "8EiB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
            assert_eq!(shown.parse(), Ok(size));
        }
    }

    #[test]
    fn what_is_no_size_is_told_an_example() {
        for text in ["", "0", "x", "-1", "12 apples", "99999999999999999999", "16EiB"] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.contains("64KiB"), "{text:?}: {error}");
        }
    }

    #[test]
    fn times_limits_and_none() {
        let limit = |text: &str| text.parse::<TimeLimit>().map(|limit| limit.0);
        assert_eq!(limit("30s"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(limit("100ms"), Ok(Some(Duration::from_millis(100))));
        assert_eq!(limit("1m30s"), Ok(Some(Duration::from_secs(90))));
        for text in ["0", "0s", "off", "none"] {
            assert_eq!(limit(text), Ok(None), "{text:?}");
        }
        for text in ["", "30", "-1s", "soon", "1 fortnight"] {
            let error = limit(text).unwrap_err();
            assert!(error.contains("30s") && error.contains("off"), "{text:?}: {error}");
        }
        for shown in ["off", "1m30s", "100ms"] {
            assert_eq!(shown.parse::<TimeLimit>().unwrap().to_string(), shown);
        }
        assert_eq!("0".parse(), Ok(Time(Duration::ZERO)));
    }
}
