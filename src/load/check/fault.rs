//! What can go wrong with an echo, each with the name that is reported.

use std::{fmt, ops::AddAssign};

use resound::Reason;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $means:literal;)*) => {
        /// One fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$doc])* $variant,)*
        }

        impl Fault {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happened, for people.
            pub(crate) const fn means(self) -> &'static str {
                match self { $(Self::$variant => $means,)* }
            }
        }
    };
}

faults! {
    Timeout = "TIMEOUT", "nothing came back in time";
    Refused = "REFUSED", "the server refused the connection";
    Reset = "RESET", "the server reset the connection";
    Closed = "CLOSED", "the server closed the connection";
    Mismatch = "MISMATCH", "other bytes came back than were sent";
    Truncated = "TRUNCATED", "bytes are missing from what came back";
    Dropped = "DROPPED", "a frame did not come back, and later ones did";
    Reordered = "REORDERED", "frames came back in another order";
    Duplicate = "DUPLICATE", "a frame came back twice";
    Surplus = "SURPLUS", "bytes came back that were not sent";
    Unreachable = "UNREACHABLE", "the server could not be reached";
    Tls = "TLS", "TLS failed: a certificate, an alert, a record that does not decrypt";
    /// Counted once for each connection that was asked for.
    Unopened = "UNOPENED", "a connection could not be opened before measuring";
    /// Counted once for each time.
    Ended = "ENDED", "the server ended: all connections were lost, and it took no others";
    Hung = "HUNG", "nothing came back on any connection for --timeout";
}

impl Fault {
    /// Whether the server answered, and wrongly: no load excuses that.
    pub(crate) const fn is_wrong_answer(self) -> bool {
        matches!(
            self,
            Self::Mismatch
                | Self::Truncated
                | Self::Dropped
                | Self::Reordered
                | Self::Duplicate
                | Self::Surplus
        )
    }

    /// Whether the run has failed, whatever was measured besides.
    pub(crate) const fn is_failure(self) -> bool {
        self.is_wrong_answer() || matches!(self, Self::Unopened | Self::Ended | Self::Hung)
    }

    /// The fault that an unexpected end of a connection is.
    pub(crate) const fn of(reason: Reason, within_a_frame: bool) -> Self {
        match reason {
            Reason::ConnectRefused => Self::Refused,
            Reason::ConnectTimeout | Reason::SlowReader | Reason::SlowHandshake => Self::Timeout,
            Reason::Refused => Self::Tls,
            Reason::ConnectFailed => Self::Unreachable,
            Reason::PeerClosed | Reason::Finished if within_a_frame => Self::Truncated,
            // Inside TLS the server may say first that it has closed.
            Reason::PeerClosed | Reason::Finished => Self::Closed,
            _ => Self::Reset,
        }
    }
}

/// How often each thing went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults([u64; Fault::ALL.len()]);

impl Faults {
    pub(crate) fn count(&mut self, fault: Fault, times: u64) {
        self.0[fault as usize] += times;
    }

    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn failures(&self) -> u64 {
        Fault::ALL.iter().filter(|fault| fault.is_failure()).map(|&fault| self.of(fault)).sum()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

impl fmt::Display for Faults {
    /// `3 TIMEOUT, 1 MISMATCH`, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for &fault in Fault::ALL.iter().filter(|&&fault| self.of(fault) > 0) {
            write!(f, "{separator}{} {}", self.of(fault), fault.name())?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_add_up_by_name() {
        let mut faults = Faults::default();
        assert_eq!(faults.to_string(), "none");
        faults.count(Fault::Timeout, 3);
        let mut more = Faults::default();
        more.count(Fault::Mismatch, 1);
        faults += more;
        assert_eq!(faults.to_string(), "3 TIMEOUT, 1 MISMATCH");
        assert_eq!((faults.total(), faults.failures()), (4, 1));
    }

    #[test]
    fn an_end_inside_a_frame_is_a_truncation() {
        assert_eq!(Fault::of(Reason::PeerClosed, true), Fault::Truncated);
        assert_eq!(Fault::of(Reason::PeerClosed, false), Fault::Closed);
        assert_eq!(Fault::of(Reason::Lost, true), Fault::Reset);
    }
}
