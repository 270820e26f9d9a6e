//! What `--listen` offers: each protocol's name, its keys, and how to make it. A new one is one entry.

use resound::{
    frame::{self, Dialect, HIGHEST_MAX},
    listen::{Address, Listen},
    protocol::{Frames, Protocol, Raw},
};

use super::units::Size;

/// `--max-frame`, unless it is given.
pub(crate) const DEFAULT_MAX_FRAME: Size = Size(frame::DEFAULT_MAX);

/// One protocol.
struct Entry {
    name: &'static str,
    about: &'static str,
    /// Each with what it takes, for the help.
    keys: &'static [Key],
    make: fn(&Listen, Size) -> Result<Service, String>,
}

/// What a listener does.
pub(crate) enum Service {
    /// It speaks this with each who connects.
    Connections(Box<dyn Protocol + Send>),
    /// It answers datagrams, so many a second to each source at most.
    Datagrams { rate: u32 },
}

impl Service {
    fn connections(protocol: impl Protocol + Send + 'static) -> Self {
        Self::Connections(Box::new(protocol))
    }
}

type Key = (&'static str, &'static str);

const PROTOCOLS: &[Entry] = &[
    Entry {
        name: "frames",
        about: "each frame, a length and so many bytes, comes back whole",
        keys: DIALECT,
        make: |listen, max_frame| {
            Ok(Service::connections(Frames::new(dialect(listen, max_frame)?)))
        },
    },
    Entry {
        name: "raw",
        about: "every byte comes back as it comes (RFC 862)",
        keys: &[],
        make: |_, _| Ok(Service::connections(Raw)),
    },
    Entry {
        name: "udp",
        about: "every datagram comes back whole (RFC 862)",
        keys: &[("rate", "datagrams a second for each source; default 10000, 0 for no limit")],
        make: |listen, _| match listen.address {
            Address::Unix(_) => Err("udp has no Unix sockets; write udp://HOST:PORT".to_owned()),
            Address::Ip(_) | Address::Name { .. } => Ok(Service::Datagrams { rate: rate(listen)? }),
        },
    },
];

/// The default `rate=` of `udp`: more than a person's tests need, and less than two echoes that feed each other
/// would like.
const DEFAULT_RATE: u32 = 10_000;

fn rate(listen: &Listen) -> Result<u32, String> {
    let Some((_, value)) = listen.keys.iter().find(|(key, _)| key == "rate") else {
        return Ok(DEFAULT_RATE);
    };
    value
        .parse()
        .map_err(|_| format!("rate={value}: not a number of datagrams; write one like 50000"))
}

const DIALECT: &[Key] = &[
    ("length", "how the length is written: u8, u16be, u32le (the default), varint ..."),
    ("offset", "bytes before the length"),
    ("adjust", "added to the length to give the bytes behind it; -4 where a u32 counts itself"),
    ("max", "the most bytes behind the length; default --max-frame"),
    ("preset", "all of these by a name, like kafka; see resound dialects"),
];

/// The service that `listen` describes. `max_frame` is the limit where `listen` sets none.
pub(crate) fn service(listen: &Listen, max_frame: Size) -> Result<Service, String> {
    (entry(listen)?.make)(listen, max_frame)
}

fn entry(listen: &Listen) -> Result<&'static Entry, String> {
    let Some(entry) = PROTOCOLS.iter().find(|entry| entry.name == listen.protocol) else {
        let names = names(PROTOCOLS.iter().map(|entry| entry.name));
        return Err(format!("no protocol {}; there is {names}", listen.protocol));
    };
    let keys = || entry.keys.iter().map(|(key, _)| *key);
    match listen.keys.iter().find(|(given, _)| !keys().any(|key| key == given)) {
        None => Ok(entry),
        Some((given, _)) if entry.keys.is_empty() => {
            Err(format!("no key {given} for {}, which has none", entry.name))
        }
        Some((given, _)) => {
            Err(format!("no key {given} for {}; there is {}", entry.name, names(keys())))
        }
    }
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// The dialect in the keys of `listen`; `max_frame` counts where they name neither a limit nor a preset, which
/// has a limit of its own.
pub(crate) fn dialect(listen: &Listen, max_frame: Size) -> Result<Dialect, String> {
    let mut keys = frame::Keys::default();
    let mut max = Some(max_frame.0);
    for (key, value) in &listen.keys {
        if key == "max" {
            max = Some(value.parse::<Size>().map_err(|error| format!("max={value}: {error}"))?.0);
            continue;
        }
        keys.set(key, value).map_err(|error| error.to_string())?;
        if key == "preset" && !listen.keys.iter().any(|(key, _)| key == "max") {
            max = None;
        }
    }
    max.into_iter().for_each(|max| keys.set_max(max));
    keys.dialect().map_err(|error| error.to_string())
}

/// Parses `--max-frame`.
pub(crate) fn max_frame(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    if size.0 > HIGHEST_MAX {
        return Err(format!(
            "more than {HIGHEST_MAX} bytes (2 GiB less one), the longest length that is not negative to \
             programs that read it as a signed number; write less, like 64MiB"
        ));
    }
    Ok(size)
}

/// The long help of `--listen`.
pub(crate) fn listen_help() -> String {
    let mut help = "\
Where to listen and what to speak there; repeatable, in any mix

ADDRESS is HOST:PORT, [IPV6]:PORT, or :PORT for 127.0.0.1. Port 0 takes any free one; [::] serves IPv4 as \
well. PROTOCOL+unix:// takes the path of a Unix socket instead. The variable holds any number of these with \
spaces between them. The protocols and their keys:
"
    .to_owned();
    for entry in PROTOCOLS {
        help.push_str(&format!("\n  {:<8}{}", entry.name, entry.about));
        for (key, takes) in entry.keys {
            help.push_str(&format!("\n          {:<8}{takes}", format!("{key}=")));
        }
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(keys: &str) -> Result<u64, String> {
        let listen: Listen = format!("frames://:1{keys}").parse().unwrap();
        service(&listen, Size(1000))?;
        dialect(&listen, Size(1000)).map(|dialect| dialect.limit())
    }

    fn refused(listen: &str) -> String {
        service(&listen.parse().unwrap(), Size(1000)).err().unwrap()
    }

    #[test]
    fn the_nearest_limit_counts() {
        for (keys, expected) in [
            ("", 1000),
            (",max=64KiB", 65_536),
            (",length=u8", 255),
            (",preset=chrome", 1 << 20),
            (",preset=chrome,max=5", 5),
            (",max=5,preset=chrome", 5),
        ] {
            assert_eq!(limit(keys), Ok(expected), "{keys}");
        }
    }

    #[test]
    fn wrong_keys_are_told_what_there_is() {
        for (keys, says) in [
            (",width=2", "no key width for frames; there is length, offset, adjust, max, preset"),
            (",max=lots", "max=lots: not a size; write bytes"),
            (",length=u17", "length takes one of u8, u16le"),
        ] {
            let error = limit(keys).unwrap_err();
            assert!(error.contains(says), "{keys}: {error}");
        }
        let error = refused("raw://:1,max=1");
        assert_eq!(error, "no key max for raw, which has none");
        let error = refused("gopher://:1");
        assert!(error.contains("no protocol gopher; there is frames, raw, udp"), "{error}");
    }
}
