//! The list of the protocols that a listener can have.

use super::{frames, http, lines, offer::Offer, raw, websocket};

/// A new protocol is a file beside this one and an entry here.
const OFFERS: &[Offer] = &[frames::OFFER, raw::OFFER, lines::OFFER, websocket::OFFER, http::OFFER];

/// All protocols that [`Offer::protocol`] can make.
///
/// ```
/// use resound::protocol::{Terms, offer};
///
/// let lines = offer("lines").expect("it is on the list");
/// let terms = Terms { max: Some(1000), ..Terms::default() };
/// let protocol = lines.protocol(&terms)?; // for Reactor::listen
/// # Ok::<(), resound::protocol::BadTerms>(())
/// ```
#[must_use]
pub const fn offers() -> &'static [Offer] {
    OFFERS
}

/// The offer of that name.
#[must_use]
pub fn offer(name: &str) -> Option<&'static Offer> {
    OFFERS.iter().find(|offer| offer.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::HIGHEST_MAX,
        protocol::{Terms, proxy::Mode},
    };

    #[test]
    fn each_is_found_by_its_name_and_can_be_made() {
        for offered in offers() {
            assert_eq!(offer(offered.name).map(|found| found.about), Some(offered.about));
            for proxy in [None, Some(Mode::Any)] {
                let terms = Terms { proxy, ..Terms::default() };
                assert!(offered.protocol(&terms).is_ok(), "{}", offered.name);
            }
        }
        assert!(offer("gopher").is_none());
    }

    #[test]
    fn a_limit_that_memory_cannot_hold_is_refused_with_what_would_be_right() {
        let max = Some(HIGHEST_MAX + 1);
        for name in ["frames", "lines", "ws", "http"] {
            let terms = Terms { max, ..Terms::default() };
            let error = offer(name).unwrap().protocol(&terms).err().unwrap().to_string();
            assert!(error.contains("2147483647"), "{name}: {error}");
        }
        // A body that streams in is not held.
        let keys = vec![("body".to_owned(), "stream".to_owned())];
        assert!(offer("http").unwrap().protocol(&Terms { max, keys, ..Terms::default() }).is_ok());
    }

    #[test]
    fn keys_with_two_values_take_no_third() {
        for (key, value, says) in [
            ("body", "streamed", "body=streamed: write whole or stream"),
            ("cors", "", "cors=: write on or off"),
        ] {
            let keys = vec![(key.to_owned(), value.to_owned())];
            let terms = Terms { keys, ..Terms::default() };
            let error = offer("http").unwrap().protocol(&terms).err().unwrap().to_string();
            assert_eq!(error, says);
        }
    }
}
