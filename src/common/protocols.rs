//! The protocols that `--listen` takes: the library's and UDP, with their keys.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use resound::{
    UdpConfig,
    frame::{self, Dialect, HIGHEST_MAX},
    listen::{Address, Listen},
    protocol::{
        self, COMMON, FAULT, Key, Protocol, SEED, Terms,
        fault::{Faults, Plan, Units},
        identity::Template,
        offers,
    },
};

use super::{plans::NamedPlans, tls, units::Size};

/// The default of `--max-frame`.
pub(crate) const DEFAULT_MAX_FRAME: Size = Size(frame::DEFAULT_MAX);

/// What a listener does.
pub(crate) enum Service {
    /// It accepts connections and speaks this protocol.
    Connections(Box<dyn Protocol + Send>),
    /// It echoes datagrams within these limits.
    Datagrams(UdpConfig),
}

const UDP: &str = "udp";
const UDP_ABOUT: &str = "every datagram comes back whole (RFC 862)";
const UDP_KEYS: &[Key] = &[
    ("rate", "datagrams a second for each source; default 10000, 0 for no limit"),
    (
        "loop-guard",
        "on or off; on by default: drop one datagram in 1009 from a source that never pauses for 5 minutes, which ends \
         loops with other echoes",
    ),
    FAULT,
    SEED,
];

/// Whether `listen` describes a UDP socket.
pub(crate) fn is_udp(listen: &Listen) -> bool {
    listen.protocol == UDP
}

/// The service that `listen` describes. `defaults` has the values of the keys that it leaves out.
pub(crate) fn service(listen: &Listen, defaults: &Terms) -> Result<Service, String> {
    if is_udp(listen) {
        check(listen, UDP_KEYS.iter())?;
        if listen.tls {
            return Err("udp has no TLS; write udp://HOST:PORT".to_owned());
        }
        if matches!(listen.address, Address::Unix(_)) {
            return Err("udp has no Unix sockets; write udp://HOST:PORT".to_owned());
        }
        return Ok(Service::Datagrams(udp_config(listen, defaults)?));
    }
    let Some(offer) = protocol::offer(&listen.protocol) else {
        let names = names(offers().iter().map(|offer| offer.name).chain([UDP]));
        return Err(format!("no protocol {}; there is {names}", listen.protocol));
    };
    let tls_keys = if listen.tls { tls::KEYS } else { &[] };
    check(listen, offer.all_keys().chain(tls_keys))?;
    let mut terms = terms(listen, defaults)?;
    // Nobody gets to speak the protocol then.
    terms.faults = terms.faults.filter(|faults| faults.plan().of_listener().is_none());
    tls::complete(&mut terms, listen)?;
    let protocol = offer.protocol(&terms).map_err(|error| error.to_string())?;
    Ok(Service::Connections(protocol))
}

/// What the replies of the service that `listen` describes consist of; it is no UDP socket.
pub(crate) fn units(listen: &Listen) -> Result<Units, String> {
    let offer =
        protocol::offer(&listen.protocol).ok_or("replies of this protocol have no units")?;
    offer.units(&terms(listen, &Terms::default())?).map_err(|error| error.to_string())
}

/// Fails if `listen` has a key that is not `known`.
fn check<'k>(listen: &Listen, known: impl Iterator<Item = &'k Key>) -> Result<(), String> {
    let known: Vec<&str> = known.map(|(key, _)| *key).collect();
    match listen.keys.iter().find(|(given, _)| !known.contains(&given.as_str())) {
        None => Ok(()),
        Some((given, _)) => {
            let known = names(known.into_iter());
            let of_tls = match tls::KEYS.iter().any(|(key, _)| key == given) {
                true => format!("; {given} is for TLS: write {}+tls://", listen.protocol),
                false => String::new(),
            };
            Err(format!("no key {given} for {}; there is {known}{of_tls}", listen.protocol))
        }
    }
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn udp_config(listen: &Listen, defaults: &Terms) -> Result<UdpConfig, String> {
    let mut config = UdpConfig::default();
    config.faults = defaults.faults.clone();
    if let Some(faults) = &config.faults {
        faults.serve(Units::Datagrams).map_err(|error| error.to_string())?;
    }
    for (key, value) in &listen.keys {
        match (key.as_str(), value.as_str()) {
            ("loop-guard", "on") => config.loop_guard = true,
            ("loop-guard", "off") => config.loop_guard = false,
            ("loop-guard", _) => return Err(format!("loop-guard={value}: write on or off")),
            ("fault" | "seed", _) => {}
            (_, rate) => {
                config.rate = rate.parse().map_err(|_| {
                    format!("rate={rate}: not a number of datagrams; write one like 50000")
                })?;
            }
        }
    }
    Ok(config)
}

/// The values of the keys of `listen`, and those in `defaults` for the keys that it leaves out.
fn terms(listen: &Listen, defaults: &Terms) -> Result<Terms, String> {
    let mut terms = defaults.clone();
    for (key, value) in &listen.keys {
        let wrong = |error: String| format!("{key}={value}: {error}");
        match key.as_str() {
            "max" => terms.max = Some(value.parse::<Size>().map_err(wrong)?.0),
            "banner" => terms.banner = Some(escaped_template(value).map_err(wrong)?),
            "reply" => terms.reply = Some(escaped_template(value).map_err(wrong)?),
            "tag" => terms.tag = Some(escaped_template(value).map_err(wrong)?),
            "fault" | "seed" => {}
            key if tls::KEYS.iter().any(|(known, _)| *known == key) => {}
            "proxy" => terms.proxy = Some(value.parse().map_err(|error| format!("{error}"))?),
            _ => terms.keys.push((key.clone(), value.clone())),
        }
    }
    Ok(terms)
}

/// The faults that `listen` asks for, to be shared by all loops that serve it.
pub(crate) fn faults(listen: &Listen, plans: &NamedPlans) -> Result<Option<Arc<Faults>>, String> {
    let value = |key| listen.keys.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let seed = value("seed")
        .map(|seed| seed.parse().map_err(|_| format!("seed={seed}: write a number, like 7")))
        .transpose()?;
    let clients_choose = value("client-faults").is_some_and(|value| value == "on");
    let fault = value("fault").map(String::as_str).or_else(|| clients_choose.then_some("none"));
    let Some(fault) = fault else {
        return match seed {
            None => Ok(None),
            Some(seed) => {
                Err(format!("seed={seed} decides nothing without fault=; see resound faults"))
            }
        };
    };
    let plan = plans.plan(fault)?;
    check_address(&plan, listen)?;
    Ok(Some(Arc::new(Faults::new(plan.with_seed(seed.unwrap_or_else(any_seed))))))
}

/// Fails if a listener at this address cannot have a fault of the plan.
pub(crate) fn check_address(plan: &Plan, listen: &Listen) -> Result<(), String> {
    let needs_tcp = plan.faults().iter().find(|fault| fault.kind.is_for_tcp());
    match (needs_tcp, &listen.address) {
        (Some(fault), Address::Unix(_)) => {
            Err(format!("fault \"{fault}\": Unix sockets have neither segments nor RST; use TCP"))
        }
        _ => Ok(()),
    }
}

/// A seed that is easy to type.
fn any_seed() -> u64 {
    RandomState::new().hash_one(()) % 1_000_000
}

/// The dialect that the keys of `listen` describe. `max_frame` is the limit if they have neither `max` nor a preset
/// with a limit of its own.
pub(crate) fn dialect(listen: &Listen, max_frame: Size) -> Result<Dialect, String> {
    let known = offers().iter().filter(|offer| offer.name == "frames").flat_map(|offer| offer.keys);
    check(listen, known)?;
    let terms = terms(listen, &Terms { max_frame: max_frame.0, ..Terms::default() })?;
    terms.dialect().map_err(|error| error.to_string())
}

/// The length of the longest frame, line, message or body that `listen` accepts; `None` where nothing has such a limit.
pub(crate) fn longest(listen: &Listen, max_frame: Size) -> Option<Size> {
    let offer = protocol::offer(&listen.protocol)?;
    let is_limited = offer.all_keys().any(|(key, _)| *key == "max");
    let terms = terms(listen, &Terms { max_frame: max_frame.0, ..Terms::default() }).ok()?;
    match listen.protocol.as_str() {
        "frames" => terms.dialect().ok().map(|dialect| Size(dialect.limit())),
        _ => is_limited.then(|| terms.max.map_or(max_frame, Size)),
    }
}

/// Parses the text of a key, in which `%20` is a space and `%2C` a comma, as in URLs (RFC 3986, section 2.1).
fn escaped_template(text: &str) -> Result<Template, String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits =
            part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.ok_or("two hexadecimal digits follow %; write %25 for a percent sign")?;
        bytes.push(byte);
        bytes.extend(&part.as_bytes()[2..]);
    }
    template(&String::from_utf8(bytes).map_err(|_| "what the % stand for is not UTF-8")?)
}

/// Parses a banner or a tag.
pub(crate) fn template(text: &str) -> Result<Template, String> {
    let host = rustix::system::uname();
    let hostname = host.nodename().to_string_lossy();
    Template::parse(text, &hostname).map_err(|error| error.to_string())
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
well. PROTOCOL+unix:// takes the path of a Unix socket instead, and fd:NAME or fd:3 is a socket that systemd \
passed. The variable holds any number of these with \
spaces between them; so a value has neither spaces nor commas.

The protocols and their keys:
"
    .to_owned();
    for offer in offers() {
        describe(&mut help, offer.name, offer.about, offer.keys);
    }
    describe(&mut help, UDP, UDP_ABOUT, UDP_KEYS);
    help.push_str("\n\nAll but udp take as well:\n");
    keys(&mut help, COMMON);
    if !tls::KEYS.is_empty() {
        help.push_str(
            "\n\nAll but udp speak TLS as PROTOCOL+tls://, or https:// and wss://, with these keys as well:\n",
        );
        keys(&mut help, tls::KEYS);
    }
    help
}

fn describe(help: &mut String, name: &str, about: &str, takes: &[Key]) {
    help.push_str(&format!("\n  {name:<8}{about}"));
    keys(help, takes);
}

fn keys(help: &mut String, keys: &[Key]) {
    for (key, takes) in keys {
        help.push_str(&format!("\n          {:<11} {takes}", format!("{key}=")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(keys: &str) -> Result<u64, String> {
        let listen: Listen = format!("frames://:1{keys}").parse().unwrap();
        service(&listen, &Terms { max_frame: 1000, ..Terms::default() })?;
        dialect(&listen, Size(1000)).map(|dialect| dialect.limit())
    }

    fn refused(listen: &str) -> String {
        let listen = listen.parse().unwrap();
        let served = faults(&listen, &NamedPlans::default())
            .and_then(|faults| service(&listen, &Terms { faults, ..Terms::default() }).map(drop));
        served.unwrap_err()
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
            (
                ",width=2",
                "no key width for frames; there is length, offset, adjust, max, preset, banner, reply, proxy, fault, seed",
            ),
            (",max=lots", "max=lots: not a size; write bytes"),
            (",length=u17", "length takes one of u8, u16le"),
        ] {
            let error = limit(keys).unwrap_err();
            assert!(error.contains(says), "{keys}: {error}");
        }
        for (listen, says) in [
            ("raw://:1,max=1", "no key max for raw; there is banner, reply, proxy, fault, seed"),
            (
                "http://:1,banner=x",
                "no key banner for http; there is max, body, cors, tag, client-faults, proxy, fault, seed",
            ),
            ("udp://:1,proxy=v1", "no key proxy for udp; there is rate, loop-guard, fault, seed"),
            ("udp://:1,loop-guard=no", "loop-guard=no: write on or off"),
            ("udp://:1,rate=fast", "rate=fast: not a number of datagrams"),
            ("udp://:1,fault=reset=7", "datagrams cannot have it; datagrams can have drop"),
            ("udp://:1,fault=drop#2", "datagrams have no connections; write it without #WHO"),
            ("http://:1,fault=mask", "HTTP answers cannot have it; HTTP answers can have slice"),
            ("lines+unix://x,fault=loss=5%", "Unix sockets have neither segments nor RST"),
            ("lines://:1,seed=7", "seed=7 decides nothing without fault=; see resound faults"),
            ("lines://:1,fault=drop,seed=x", "seed=x: write a number, like 7"),
            ("lines://:1,fault=dropp", "fault \"dropp\": no fault \"dropp\"; there is slice"),
            ("lines://:1,fault=length=+1", "lines cannot have it; lines can have slice"),
            ("http://:1,fault=drop,body=stream", "fault= needs whole answers; write body=whole"),
            ("http://:1,client-faults=yes", "client-faults=yes: write on or off"),
            ("http://:1,client-faults=on,body=stream", "client-faults=on needs whole answers"),
            ("lines://:1,client-faults=on", "no key client-faults for lines"),
            ("lines://:1,max=0", "max=0: a size of at least 1 byte"),
            ("lines://:1,max=2GiB", "max=2147483648 is over 2147483647"),
            ("ws://:1,proxy=v3", "proxy=v3: write v1, v2 or any"),
            (
                "ws://:1,tag={host}",
                "tag={host}: unknown placeholder `{host}`: there are {hostname}",
            ),
            (
                "frames://:1,length=u8,banner={peer}{peer}{peer}{peer}{peer}",
                "a banner of 290 bytes",
            ),
            ("frames://:1,adjust=9,banner=short", "a banner of 5 bytes is no frame here"),
            ("frames://:1,adjust=9,reply=short", "a reply of 5 bytes is no frame here"),
            ("http://:1,reply=x", "no key reply for http"),
            (
                "raw://:1,cert=x",
                "no key cert for raw; there is banner, reply, proxy, fault, seed; cert is for TLS: write raw+tls://",
            ),
            ("udp+tls://:1", "udp has no TLS"),
            (
                "raw+tls://:1,certs=x",
                "no key certs for raw; there is banner, reply, proxy, fault, seed, cert, key",
            ),
            ("raw://:1,reply=100%", "reply=100%: two hexadecimal digits follow %; write %25"),
            ("raw://:1,reply=%e9", "what the % stand for is not UTF-8"),
            ("raw://:1,reply=a%0Ab", "reply=a%0Ab: the control character '\\n'"),
        ] {
            let error = refused(listen);
            assert!(error.contains(says), "{listen}: {error}");
        }
        let error = refused("gopher://:1");
        assert!(
            error.contains("no protocol gopher; there is frames, raw, lines, ws, http, udp"),
            "{error}"
        );
    }
}
