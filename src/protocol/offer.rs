//! A protocol that a listener can have: its name, its keys, and how to make it.

use std::{sync::Arc, time::SystemTime};

#[cfg(feature = "tls")]
use super::tls::{Acceptor, Tls};
use super::{
    Protocol,
    clock::Clock,
    fault::{Faults, Faulty, Plan, Units},
    identity::{Tag, Template},
    key::{BadTerms, CLIENT_FAULTS, COMMON, Key},
    proxy::{Mode, Proxied},
};
use crate::frame::HIGHEST_MAX;

/// A protocol that a listener can have.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// As in `lines://`.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its keys besides those in [`COMMON`], each with a line about its values.
    pub keys: &'static [Key],
    /// What its replies consist of, for faults.
    pub(super) units: fn(&Terms) -> Result<Units, BadTerms>,
    pub(super) make: fn(&Terms) -> Result<Box<dyn Protocol + Send>, BadTerms>,
}

/// The values of one listener's keys.
///
/// Minor versions of this crate add fields: end with `..Terms::default()`.
#[derive(Debug, Clone)]
pub struct Terms {
    /// `max`: the longest unit in bytes. Default none: the preset's limit applies, or `max_frame`.
    pub max: Option<u64>,
    /// The longest unit in bytes if neither `max` nor a preset gives one. Default 16 MiB.
    pub max_frame: u64,
    /// `banner`: the first thing that each peer receives. Protocols whose peers expect none ignore it.
    pub banner: Option<Template>,
    /// `reply`: a text that is sent for each unit in place of its echo. Protocols that have nowhere to put it ignore it.
    pub reply: Option<Template>,
    /// `tag`: a text in each answer that says which server answered. Protocols without a place for it ignore it.
    pub tag: Option<Template>,
    /// `proxy`: the PROXY header to require.
    pub proxy: Option<Mode>,
    /// `fault` and `seed`: what it does wrong on purpose. Loops that serve one listener share it.
    pub faults: Option<Arc<Faults>>,
    /// TLS around it. Loops that serve one listener share it.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<Acceptor>>,
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
            reply: None,
            tag: None,
            proxy: None,
            faults: None,
            #[cfg(feature = "tls")]
            tls: None,
            keys: Vec::new(),
            clock: SystemTime::now,
        }
    }
}

impl Terms {
    /// Whether clients may choose what goes wrong, for protocols that have this key.
    pub(super) fn clients_choose_faults(&self) -> Result<bool, BadTerms> {
        let (key, _) = CLIENT_FAULTS;
        match self.keys.iter().rev().find(|(name, _)| name == key) {
            None => Ok(false),
            Some((_, value)) => match value.as_str() {
                "on" => Ok(true),
                "off" => Ok(false),
                _ => Err(BadTerms(format!("{key}={value}: write on or off"))),
            },
        }
    }

    /// `max`, for protocols that hold a whole unit in memory and count it in 31 bits.
    pub(super) fn max_in_memory(&self) -> Result<u32, BadTerms> {
        let max = self.max.unwrap_or(self.max_frame);
        u32::try_from(max).ok().filter(|max| u64::from(*max) <= HIGHEST_MAX).ok_or_else(|| {
            BadTerms(format!("max={max} is over {HIGHEST_MAX} (2 GiB less one); use that or less"))
        })
    }

    /// The text in place of an echo.
    pub(super) fn reply(&self) -> Option<Tag> {
        self.reply.clone().map(Tag::new)
    }

    /// A [`Tag`] for protocols that have a place for it.
    pub(super) fn tag(&self) -> Option<Tag> {
        self.tag.clone().map(Tag::new)
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
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &terms.tls {
            // Faults are in what is said inside. A PROXY header comes before everything.
            let faulty = self.faulty(terms, protocol)?;
            return Ok(proxied(terms, Box::new(Tls::new(Arc::clone(acceptor), faulty))));
        }
        // Outside of everything else: it counts connections as they are accepted.
        self.faulty(terms, proxied(terms, protocol))
    }

    /// `protocol`, with the faults that `terms` ask for.
    fn faulty(
        &self,
        terms: &Terms,
        protocol: Box<dyn Protocol + Send>,
    ) -> Result<Box<dyn Protocol + Send>, BadTerms> {
        let is_asked = terms.clients_choose_faults()?;
        let faults = match &terms.faults {
            Some(faults) => Arc::clone(faults),
            None if is_asked => Arc::new(Faults::new(Plan::default())),
            None => return Ok(protocol),
        };
        let units = self.units(terms)?;
        faults.serve(units).map_err(|error| BadTerms(error.to_string()))?;
        let faulty = Faulty::new(faults, units, protocol);
        Ok(Box::new(if is_asked { faulty.asked() } else { faulty }))
    }

    /// What the replies of the protocol with these values of its keys consist of.
    ///
    /// # Errors
    ///
    /// [`BadTerms`], for values that it does not accept, or with which it can have no faults.
    pub fn units(&self, terms: &Terms) -> Result<Units, BadTerms> {
        (self.units)(terms)
    }
}

/// `protocol`, behind the PROXY header that `terms` ask for.
fn proxied(terms: &Terms, protocol: Box<dyn Protocol + Send>) -> Box<dyn Protocol + Send> {
    match terms.proxy {
        None => protocol,
        Some(mode) => Box::new(Proxied::new(mode, protocol)),
    }
}
