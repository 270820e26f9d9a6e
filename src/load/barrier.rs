//! Several processes begin together: each opens its connections, says that it is ready, and waits for a time or a file.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::nanos::{Nanos, nanos};

/// What lies between the last connect and the first frame; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Barrier {
    /// Written when all connections are open.
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) go: Go,
}

/// When the load begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Go {
    /// As soon as all connections are open.
    #[default]
    AtOnce,
    At(SystemTime),
    /// When this file exists.
    File(PathBuf),
}

/// The threads are told this long before, because they look only now and then.
const NOTICE: Duration = Duration::from_millis(50);

impl Barrier {
    /// Whether anything is waited for.
    pub(crate) fn waits(&self) -> bool {
        self.go != Go::AtOnce
    }

    /// Checks that the time is to come and the file is not there yet, and removes the ready file of an earlier run.
    ///
    /// # Errors
    ///
    /// Text with the remedy.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        match &self.go {
            Go::At(time) => {
                if let Ok(past) = SystemTime::now().duration_since(*time) {
                    return Err(format!(
                        "--start-at {} was {:.1} s ago; give a time to come, late enough to open all connections",
                        rfc3339(*time),
                        past.as_secs_f64()
                    ));
                }
            }
            Go::File(path) if path.exists() => {
                return Err(format!(
                    "--go-file {} exists already, so nothing would be waited for; remove it first",
                    path.display()
                ));
            }
            Go::File(_) | Go::AtOnce => {}
        }
        let Some(path) = &self.ready_file else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!(
                "--ready-file {}: {error}; choose a file that can be written",
                path.display()
            )),
            _ => Ok(()),
        }
    }

    /// All connections are open: writes the ready file. Returns the line that says so, if anybody waits for it.
    ///
    /// # Errors
    ///
    /// Text with the remedy, if the file cannot be written.
    pub(crate) fn ready(&self, open: usize) -> Result<Option<String>, String> {
        if *self == Self::default() {
            return Ok(None);
        }
        let begins = match &self.go {
            Go::AtOnce => "now".to_owned(),
            Go::At(time) => format!("at {}", rfc3339(*time)),
            Go::File(path) => format!("when {} exists", path.display()),
        };
        let open = resound::plural::connections(open);
        let line = format!("ready: {open} open; the load begins {begins}\n");
        if let Some(path) = &self.ready_file {
            // Renamed, so that nobody reads half of it.
            let beside = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
            fs::write(&beside, &line).and_then(|()| fs::rename(&beside, path)).map_err(
                |error| {
                    format!(
                        "--ready-file {}: {error}; choose a file that can be written",
                        path.display()
                    )
                },
            )?;
        }
        Ok(Some(line))
    }

    /// When the load begins, by a clock that is at `now`, and by how much that is later than asked for; `None` while it is
    /// not known.
    pub(crate) fn begins(&self, now: Nanos) -> Option<(Nanos, Duration)> {
        match &self.go {
            Go::AtOnce => Some((now, Duration::ZERO)),
            // Asked for again and again, so that a clock that is set meanwhile is followed.
            Go::At(time) => match time.duration_since(SystemTime::now()) {
                Ok(left) if left > NOTICE => None,
                Ok(left) => Some((now + nanos(left), Duration::ZERO)),
                Err(late) => Some((now + nanos(NOTICE), late.duration() + NOTICE)),
            },
            Go::File(path) => path.exists().then(|| (now + nanos(NOTICE), Duration::ZERO)),
        }
    }
}

/// A point in time, as RFC 3339 or as seconds since 1970.
///
/// # Errors
///
/// Text with examples.
pub(crate) fn point(text: &str) -> Result<SystemTime, String> {
    let remedy = "write one like 2030-01-31T18:00:00Z or 2030-01-31T19:00:00+01:00 (RFC 3339), or seconds since 1970; \
                  `date -d '30 seconds' +%s` prints one that is 30 s away";
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let seconds =
            text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let time = seconds.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        return time.ok_or_else(|| format!("not a number of seconds; {remedy}"));
    }
    let (local, offset) = offset(text).ok_or_else(|| format!("no point in time; {remedy}"))?;
    let time = humantime::parse_rfc3339_weak(&local.to_ascii_uppercase())
        .map_err(|_| format!("no point in time; {remedy}"))?;
    let utc = match offset {
        Offset::East(offset) => time.checked_sub(offset),
        Offset::West(offset) => time.checked_add(offset),
    };
    utc.ok_or_else(|| format!("no point in time; {remedy}"))
}

/// How far local time is ahead of UTC, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offset {
    East(Duration),
    West(Duration),
}

/// Splits the offset from UTC off, which RFC 3339 demands.
fn offset(text: &str) -> Option<(&str, Offset)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, Offset::East(Duration::ZERO)));
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset[1..].split_once(':')?;
    let (hours, minutes) = (hours.parse::<u64>().ok()?, minutes.parse::<u64>().ok()?);
    let offset_from_utc = Duration::from_secs(60 * (60 * hours + minutes));
    match offset.as_bytes()[0] {
        b'+' => Some((local, Offset::East(offset_from_utc))),
        b'-' => Some((local, Offset::West(offset_from_utc))),
        _ => None,
    }
    .filter(|_| hours < 24 && minutes < 60)
}

/// As [`point`] reads it, with milliseconds where there are any.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let whole =
        time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.subsec_millis() == 0);
    if whole {
        humantime::format_rfc3339_seconds(time).to_string()
    } else {
        humantime::format_rfc3339_millis(time).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_in_both_forms() {
        for (text, millis) in [
            ("1900000000", 1_900_000_000_000),
            ("1900000000.25", 1_900_000_000_250),
            ("2030-03-17T17:46:40Z", 1_900_000_000_000),
            ("2030-03-17t17:46:40.5z", 1_900_000_000_500),
            ("2030-03-17T18:46:40+01:00", 1_900_000_000_000),
            ("2030-03-17T12:16:40-05:30", 1_900_000_000_000),
            ("2030-03-17 17:46:40+00:00", 1_900_000_000_000),
        ] {
            let time = point(text).unwrap();
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(since, Duration::from_millis(millis), "{text}");
            assert_eq!(point(&rfc3339(time)), Ok(time));
        }
        for text in [
            "",
            "tomorrow",
            "1.2.3",
            "2030-03-17T17:46:40",
            "2030-03-17T17:46:40+25:00",
            "18:00Z",
            "ééé+01:00",
            "é+1:00",
        ] {
            assert!(point(text).unwrap_err().contains("RFC 3339"), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_over_begins_at_once_and_says_how_late_it_is() {
        let in_a_minute = Go::At(SystemTime::now() + Duration::from_secs(60));
        let barrier = |go| Barrier { ready_file: None, go };
        assert_eq!(barrier(in_a_minute.clone()).begins(5), None);
        assert_eq!(barrier(in_a_minute).prepare(), Ok(()));
        let over = barrier(Go::At(SystemTime::now() - Duration::from_secs(60)));
        let (_, late) = over.begins(5).unwrap();
        assert!(late > Duration::from_secs(60));
        assert!(over.prepare().unwrap_err().contains("give a time to come"));
        assert_eq!(barrier(Go::AtOnce).begins(5), Some((5, Duration::ZERO)));
    }
}
