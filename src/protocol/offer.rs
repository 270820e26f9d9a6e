//! The protocols that a listener can have, by name, with their keys.
//!
//! Each protocol describes itself in its own file; [`offers`] lists them all.

use std::{fmt, time::SystemTime};

use super::{
    Protocol, frames,
    http::{self, Clock},
    identity::{Tag, Template},
    lines,
    proxy::{Mode, Proxied},
    raw, websocket,
};
use crate::frame::{HIGHEST_MAX, KeyError};

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

/// A protocol that a listener can have.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// As in `lines://`.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its keys besides those in [`COMMON`], each with a line about its values.
    pub keys: &'static [Key],
    pub(super) make: fn(&Terms) -> Result<Box<dyn Protocol + Send>, BadTerms>,
}

/// The name of a key, and its values in a few words.
pub type Key = (&'static str, &'static str);

/// The keys that every protocol has.
pub const COMMON: &[Key] =
    &[("proxy", "v1, v2 or any: require a PROXY protocol header, and take the peer from it")];

pub(super) const BANNER: Key =
    ("banner", "a first frame, line or message for everyone; default --banner");
pub(super) const TAG: Key = ("tag", "in every answer's X-Served-By; default --tag");

/// The values of one listener's keys.
#[derive(Debug, Clone)]
pub struct Terms {
    /// `max`: the longest unit in bytes. Default none: the preset's limit applies, or `max_frame`.
    pub max: Option<u64>,
    /// The longest unit in bytes if neither `max` nor a preset gives one. Default 16 MiB.
    pub max_frame: u64,
    /// `banner`: the first thing that each peer receives. Protocols whose peers expect none ignore it.
    pub banner: Option<Template>,
    /// `tag`: a text in each answer that says which server answered. Protocols without a place for it ignore it.
    pub tag: Option<Template>,
    /// `proxy`: the PROXY header to require.
    pub proxy: Option<Mode>,
    /// Further keys with their values, which the protocol itself reads. It ignores unknown ones;
    /// [`Offer::all_keys`] lists the known ones.
    pub keys: Vec<(String, String)>,
    /// The time of day, for protocols whose answers have a date. Default the system's.
    pub clock: Clock,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            max: None,
            max_frame: crate::frame::DEFAULT_MAX,
            banner: None,
            tag: None,
            proxy: None,
            keys: Vec::new(),
            clock: SystemTime::now,
        }
    }
}

impl Terms {
    /// `max`, for protocols that hold a whole unit in memory and count it in 31 bits.
    pub(super) fn max_in_memory(&self) -> Result<u32, BadTerms> {
        let max = self.max.unwrap_or(self.max_frame);
        u32::try_from(max).ok().filter(|max| u64::from(*max) <= HIGHEST_MAX).ok_or_else(|| {
            BadTerms(format!("max={max} is over {HIGHEST_MAX} (2 GiB less one); use that or less"))
        })
    }

    /// A [`Tag`] for protocols that have a place for it.
    pub(super) fn tag(&self) -> Option<Tag> {
        self.tag.clone().map(Tag::new)
    }
}

/// A wrong value of a key. The text names the key and says what is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTerms(pub(super) String);

impl fmt::Display for BadTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTerms {}

impl From<KeyError> for BadTerms {
    fn from(error: KeyError) -> Self {
        Self(error.to_string())
    }
}

impl Offer {
    /// All its keys.
    pub fn all_keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().chain(COMMON)
    }

    /// The protocol with these values of its keys.
    ///
    /// # Errors
    ///
    /// [`BadTerms`], for values that it does not accept.
    pub fn protocol(&self, terms: &Terms) -> Result<Box<dyn Protocol + Send>, BadTerms> {
        let protocol = (self.make)(terms)?;
        Ok(match terms.proxy {
            None => protocol,
            Some(mode) => Box::new(Proxied::new(mode, protocol)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
