//! The `Date` of an answer (RFC 9110, section 6.6.1), formatted once a second.

use std::{cell::Cell, fmt, io::Write, time::UNIX_EPOCH};

use httpdate::HttpDate;

use crate::protocol::clock::Clock;

/// `Sun, 06 Nov 1994 08:49:37 GMT`: the length of an IMF-fixdate (RFC 9110, section 5.6.7).
const LENGTH: usize = 29;

/// A `Date` field for every answer, whose text is made anew when the second has changed.
pub(in crate::protocol) struct Date {
    clock: Clock,
    /// The second since 1970 that the text is of, and the text.
    last: Cell<(u64, [u8; LENGTH])>,
}

impl Date {
    pub(in crate::protocol) const fn new(clock: Clock) -> Self {
        // A second that no clock shows.
        Self { clock, last: Cell::new((u64::MAX, [b' '; LENGTH])) }
    }

    /// Appends the field. Before 1970 and after 9999, which a `Date` cannot express, there is none: an
    /// origin server without a clock sends none either.
    pub(in crate::protocol) fn write(&self, out: &mut Vec<u8>) {
        let now = (self.clock)();
        let Ok(since) = now.duration_since(UNIX_EPOCH) else { return };
        let second = since.as_secs();
        let (last, mut text) = self.last.get();
        if second != last {
            if second >= YEAR_10000 || write!(&mut text[..], "{}", HttpDate::from(now)).is_err() {
                return;
            }
            self.last.set((second, text));
        }
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(&text);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first second that needs a year of five digits.
const YEAR_10000: u64 = 253_402_300_800;

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Date").field("second", &self.last.get().0).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn the_text_changes_with_the_second_and_is_absent_where_it_cannot_be() {
        let date = Date::new(|| {
            // Half a second past, and the year 1969 for 0.
            UNIX_EPOCH + Duration::from_secs(NOW.get()) - Duration::from_millis(500)
        });
        for (now, text) in [
            (784_111_778, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (784_111_778, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (784_111_779, "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"),
            (1, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
            (0, ""),
            (YEAR_10000, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"),
            (YEAR_10000 + 1, ""),
        ] {
            NOW.set(now);
            let mut out = Vec::new();
            date.write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
