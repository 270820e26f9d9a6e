//! What clients do about TLS.

use std::sync::Arc;

use resound::{
    listen::{Address, Listen},
    protocol::tls::{Connector, ConnectorTerms, TlsCause, TlsFailure, Trust},
};

use super::ClientTerms;

/// How a client of `listen` speaks TLS; `None` without TLS.
pub(crate) fn connector(
    listen: &Listen,
    terms: &ClientTerms,
) -> Result<Option<Arc<Connector>>, String> {
    if !listen.tls {
        return Ok(None);
    }
    let server = match (&terms.sni, &listen.address) {
        (Some(name), _) => name.clone(),
        (None, Address::Ip(address)) => address.ip().to_string(),
        (None, Address::Name { host, .. }) => host.clone(),
        (None, Address::Unix(_) | Address::Passed(_)) => "localhost".to_owned(),
    };
    let connector = Connector::new(&ConnectorTerms {
        server,
        trust: match &terms.ca {
            _ if terms.insecure => Trust::Anyone,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        },
        identity: terms.identity.clone(),
        alpn: match listen.protocol.as_str() {
            "http" | "ws" => vec![b"http/1.1".to_vec()],
            _ => Vec::new(),
        },
        resumes: terms.resumes,
        ciphers: terms.ciphers.clone(),
    });
    connector
        .map(|connector| Some(Arc::new(connector)))
        .map_err(|error| format!("cannot speak TLS with {listen}: {error}"))
}

/// The cause and the remedy.
pub(crate) fn explain(failure: &TlsFailure) -> String {
    let remedy = match failure.cause {
        TlsCause::Untrusted => {
            "give the certificate of its authority, or its own, with --ca FILE (--insecure accepts any)"
        }
        TlsCause::OtherName => "connect to one of its names, or say with --sni NAME which it is",
        TlsCause::OutOfDate => {
            "give the server a new one, and look at this machine's clock (--insecure accepts any)"
        }
        TlsCause::NoClientCertificate => "give one with --cert FILE --key FILE",
        TlsCause::ClientCertificate => {
            "give one of an authority that the server trusts with --cert FILE --key FILE; the server's log says more"
        }
        TlsCause::NotTls => {
            "write the address without TLS (frames:// instead of frames+tls://), or give the server TLS"
        }
        _ => return failure.to_string(),
    };
    format!("{failure}; {remedy}")
}
