//! The keys of a listener with TLS.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs},
    sync::Arc,
    thread,
    time::Duration,
};

use log::{info, warn};
pub(crate) use resound::protocol::tls::KEYS;
use resound::{
    listen::{Address, Listen},
    protocol::{
        Protocol, Terms,
        tls::{Acceptor, Failure, Identity, Tls, TlsTerms, TlsVersion},
    },
};

use super::{Failed, Handshakes};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How `listen` speaks TLS, to be shared by all loops that serve it; `None` without TLS.
pub(crate) fn acceptor(listen: &Listen) -> Result<Option<Arc<Acceptor>>, String> {
    if !listen.tls {
        return Ok(None);
    }
    let value = |key| value(listen, key);
    let alpn = match value("alpn") {
        Some(names) => names.split('+').map(|name| name.as_bytes().to_vec()).collect(),
        None if matches!(listen.protocol.as_str(), "http" | "ws") => vec![b"http/1.1".to_vec()],
        None => Vec::new(),
    };
    if alpn.iter().any(|name| name.is_empty() || name.len() > 255) {
        return Err(
            "alpn: each name has 1 to 255 bytes; write names with + between them".to_owned()
        );
    }
    let terms = TlsTerms {
        identity: identity(listen)?,
        client_ca: value("client-ca").map(Into::into),
        min: match value("min") {
            Some(version) => version.parse().map_err(|error| format!("{error}"))?,
            None => TlsVersion::default(),
        },
        alpn,
    };
    let acceptor = Acceptor::new(terms).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(acceptor)))
}

/// Makes `acceptor` the one of `terms`.
pub(crate) fn put(terms: &mut Terms, acceptor: Option<Arc<Acceptor>>) {
    terms.tls = acceptor;
}

/// `inner`, inside TLS.
pub(crate) fn around(
    acceptor: &Arc<Acceptor>,
    inner: Box<dyn Protocol + Send>,
) -> Box<dyn Protocol + Send> {
    Box::new(Tls::new(Arc::clone(acceptor), inner))
}

/// Makes an acceptor for `listen` if it has TLS and `terms` have none.
pub(crate) fn complete(terms: &mut Terms, listen: &Listen) -> Result<(), String> {
    if terms.tls.is_none() {
        terms.tls = acceptor(listen)?;
    }
    Ok(())
}

/// Says how clients can know the certificate that was made for `listen`, which is at `place`, and writes it to where its keys say.
pub(crate) fn announce(listen: &Listen, place: &Listen, acceptor: &Acceptor) -> Result<(), String> {
    let Some(made) = acceptor.self_signed() else { return Ok(()) };
    if let Some(path) = value(listen, "save-cert") {
        fs::write(path, &made.pem).map_err(|error| format!("save-cert={path}: {error}"))?;
    }
    info!("{place}: made a certificate, whose SHA-256 is {}", made.fingerprint);
    Ok(())
}

/// How the handshakes with `acceptor` ended.
pub(crate) fn handshakes(acceptor: &Acceptor) -> Handshakes {
    let counted = acceptor.handshakes();
    let failed = counted.failed().into_iter().map(|(failure, count)| {
        let (sender, alert) = match failure {
            Failure::Sent(alert) => ("server", alert),
            Failure::Received(alert) => ("client", alert),
            Failure::Silent => ("none", "none"),
        };
        Failed { sender, alert, count }
    });
    Handshakes { full: counted.full(), resumed: counted.resumed(), failed: failed.collect() }
}

/// Starts a thread that reads the files of `acceptors` again when they change; each has a name for the log.
pub(crate) fn watch(mut acceptors: Vec<(String, Arc<Acceptor>)>) -> io::Result<()> {
    acceptors.retain(|(_, acceptor)| acceptor.has_files());
    if acceptors.is_empty() {
        return Ok(());
    }
    let look = move || {
        loop {
            thread::sleep(LOOK);
            for (place, acceptor) in &acceptors {
                match acceptor.reload() {
                    Ok(false) => {}
                    Ok(true) => info!("{place}: read the certificates again"),
                    Err(error) => warn!(
                        "{place}: the certificates have changed, and cannot be used; those from before stay in use: \
                         {error}"
                    ),
                }
            }
        }
    };
    thread::Builder::new().name("certificates".to_owned()).spawn(look).map(drop)
}

fn value<'l>(listen: &'l Listen, key: &str) -> Option<&'l str> {
    listen.keys.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn identity(listen: &Listen) -> Result<Identity, String> {
    let value = |key| value(listen, key);
    match (value("tls"), value("cert"), value("key")) {
        (Some("self-signed"), None, None) => Ok(Identity::SelfSigned(names(&listen.address))),
        (Some("self-signed"), ..) => {
            Err("tls=self-signed makes a certificate: leave out cert and key".to_owned())
        }
        (Some(other), ..) => Err(format!("tls={other}: write self-signed, or give cert and key")),
        (None, Some(_), Some(_)) if value("save-cert").is_some() => {
            Err("save-cert is for tls=self-signed".to_owned())
        }
        (None, Some(certificates), Some(keys)) => {
            let certificates: Vec<&str> = certificates.split('+').collect();
            let keys: Vec<&str> = keys.split('+').collect();
            if certificates.len() != keys.len() {
                return Err(format!(
                    "cert has {} files and key has {}: write a key for each certificate, with + between them",
                    certificates.len(),
                    keys.len()
                ));
            }
            let pairs = certificates.into_iter().zip(keys);
            Ok(Identity::Files(pairs.map(|(chain, key)| (chain.into(), key.into())).collect()))
        }
        _ => Err("TLS needs cert=FILE,key=FILE, or tls=self-signed".to_owned()),
    }
}

/// The names and addresses by which clients on this host, or on others, reach what listens at `address`.
fn names(address: &Address) -> Vec<String> {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let everywhere = || {
        let mut names = vec!["localhost".to_owned(), hostname.clone()];
        names.extend(loopback.map(|ip| ip.to_string()));
        let own = (hostname.as_str(), 0).to_socket_addrs();
        names.extend(own.into_iter().flatten().map(|address| address.ip().to_string()));
        names
    };
    let mut names = match address {
        Address::Ip(address) if address.ip().is_unspecified() => everywhere(),
        Address::Ip(address) if address.ip().is_loopback() => {
            vec!["localhost".to_owned(), address.ip().to_string()]
        }
        Address::Ip(address) => vec![address.ip().to_string(), hostname],
        Address::Name { host, .. } => vec![host.clone()],
        Address::Unix(_) => vec!["localhost".to_owned(), hostname],
        Address::Passed(_) => everywhere(),
    };
    let mut known = Vec::new();
    // A host can have a name that is no name in a certificate.
    names.retain(|name| {
        let is_new = name.is_ascii() && !name.is_empty() && !known.contains(name);
        known.push(name.clone());
        is_new
    });
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(listen: &str) -> String {
        acceptor(&listen.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn wrong_keys_are_told_what_is_right() {
        for (keys, says) in [
            ("", "TLS needs cert=FILE,key=FILE, or tls=self-signed"),
            (",cert=a", "TLS needs cert=FILE,key=FILE"),
            (",tls=yes", "tls=yes: write self-signed"),
            (",tls=self-signed,cert=a", "leave out cert and key"),
            (",tls=self-signed,min=1.1", "min=1.1: write 1.2 or 1.3"),
            (",tls=self-signed,alpn=a++b", "each name has 1 to 255 bytes"),
            (",cert=a+b,key=a", "cert has 2 files and key has 1"),
            (",cert=a,key=b,save-cert=c", "save-cert is for tls=self-signed"),
            (",cert=/no/such,key=b", "cert=/no/such: No such file"),
            (",tls=self-signed,client-ca=/no/such", "client-ca=/no/such: No such file"),
            (",cert=Cargo.toml,key=b", "cert=Cargo.toml: no certificate in PEM"),
        ] {
            let error = refused(&format!("raw+tls://:1{keys}"));
            assert!(error.contains(says), "{keys}: {error}");
        }
        assert!(acceptor(&"raw://:1".parse().unwrap()).unwrap().is_none());
    }

    #[test]
    fn a_certificate_is_for_where_it_listens() {
        let names = |address: &str| {
            names(&format!("raw+tls://{address}").parse::<Listen>().unwrap().address)
        };
        assert_eq!(names("127.0.0.1:1"), ["localhost", "127.0.0.1"]);
        assert_eq!(names("echo.example:1"), ["echo.example"]);
        assert_eq!(names("192.0.2.1:1")[0], "192.0.2.1");
        let everywhere = names("[::]:1");
        assert!(
            ["localhost", "127.0.0.1", "::1"]
                .iter()
                .all(|name| everywhere.contains(&(*name).to_owned()))
        );
    }
}
