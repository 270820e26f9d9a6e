//! Certificates and keys in files, and which of several a client gets.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    client::verify_server_name,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Certificates with their keys; a client gets the first one for the name that it asks for.
#[derive(Debug)]
pub(super) struct Certificates(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first certificate that is for the name and whose key the client can verify; without one for the name (or
    /// without a name) the first whose key the client can verify. If there is none, any: with no certificate rustls would
    /// send `access_denied`, and with one whose key the client cannot verify it sends `handshake_failure`, as RFC 8446 says
    /// in section 4.4.2.2.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |certified: &&Arc<CertifiedKey>| {
            certified.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name
            .and_then(|name| self.0.iter().filter(fits).find(|certified| is_for(certified, &name)));
        named.or_else(|| self.0.iter().find(fits)).or_else(|| self.0.first()).cloned()
    }
}

fn is_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = certified.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// Reads a certificate, with the chain behind it, and its key.
pub(super) fn read(
    chain: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain_error = |error: &dyn std::fmt::Display| format!("cert={}: {error}", chain.display());
    let certificates = certificates(chain).map_err(|error| chain_error(&error))?;
    let key_error = |error: &dyn std::fmt::Display| format!("key={}: {error}", key.display());
    let text = std::fs::read(key).map_err(|error| key_error(&error))?;
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        key_error(
            &"no private key in PEM (-----BEGIN PRIVATE KEY-----); one with a password is not read",
        )
    })?;
    let certified =
        CertifiedKey::from_der(certificates, secret, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                key_error(&format!("not the key of the certificate in {}", chain.display()))
            }
            rustls::Error::InvalidCertificate(_) => chain_error(&error),
            error => key_error(&error),
        })?;
    // What rustls has not parsed by now, it would find out with the first client.
    let parsed = certified.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.map_err(|error| chain_error(&error))?;
    Ok(certified)
}

/// Reads the certificates of authorities.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    roots(certificates(path)?)
}

/// Makes trust anchors of `certificates`.
pub(super) fn roots(certificates: Vec<CertificateDer<'_>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// Reads all certificates in a file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()),
    }
}
