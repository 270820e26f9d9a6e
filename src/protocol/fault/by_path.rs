//! Faults that an HTTP client chooses by the path of its request. All of them are bounded.

use std::time::Duration;

use super::{
    Kind,
    kind::Delay,
    text::{Span, digits, nanos, size},
};

/// The longest time that a client can ask for.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// Bytes a second of `/drip`.
const DRIP: u64 = 100;

/// The fault that the path of a request asks for; `None` if the path is none of these.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn by_path(path: &str) -> Option<Result<Kind, &'static str>> {
    let mut parts = path.strip_prefix('/')?.splitn(2, '/');
    Some(match (parts.next()?, parts.next()) {
        ("delay", value) => value
            .and_then(nanos)
            .filter(|nanos| u128::from(*nanos) <= LONGEST.as_nanos())
            .map(|nanos| Kind::Delay(Delay::Uniform(Span { least: nanos, most: nanos })))
            .ok_or("write /delay/TIME with at most 1min, like /delay/300ms"),
        ("status", value) => value
            .and_then(digits)
            .filter(|code| (200..=599).contains(code))
            .and_then(|code| u16::try_from(code).ok())
            .map(Kind::Status)
            .ok_or("write /status/CODE with a code from 200 to 599, like /status/503"),
        ("drip", None) => Ok(Kind::Drip(DRIP)),
        ("drip", Some(rate)) => size(rate)
            .filter(|rate| *rate > 0)
            .map(Kind::Drip)
            .ok_or("write /drip or /drip/BYTES, bytes a second, like /drip/10"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_ask_for_faults_within_bounds() {
        for (path, kind) in [
            ("/delay/300ms", "delay=300ms"),
            ("/delay/60s", "delay=1min"),
            ("/status/503", "status=503"),
            ("/drip", "drip=100/s"),
            ("/drip/10", "drip=10/s"),
        ] {
            assert_eq!(by_path(path).unwrap().unwrap().to_string(), kind);
        }
        for (path, says) in [
            ("/delay", "like /delay/300ms"),
            ("/delay/61s", "at most 1min"),
            ("/delay/18446744073709551615h", "at most 1min"),
            ("/delay/300ms/more", "like /delay/300ms"),
            ("/status/100", "from 200 to 599"),
            ("/status/600", "from 200 to 599"),
            ("/status/", "like /status/503"),
            ("/drip/0", "like /drip/10"),
        ] {
            assert!(by_path(path).unwrap().unwrap_err().contains(says), "{path}");
        }
        for path in ["/", "/other", "/delayed/1s", "*", "", "/fault/reset=1"] {
            assert_eq!(by_path(path), None, "{path}");
        }
    }
}
