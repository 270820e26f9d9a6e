//! The cipher suites that are spoken.

use std::sync::Arc;

use rustls::{
    SupportedCipherSuite,
    crypto::{
        CryptoProvider,
        ring::{self, cipher_suite as suite},
    },
};

use crate::protocol::BadTerms;

/// All of them, the best one first.
///
/// AES-128 is before AES-256: it is as safe for as long as anybody can tell, and its handshake uses SHA-256, for which CPUs
/// have instructions, where that of AES-256 uses SHA-384, for which most have none.
static ALL: [&SupportedCipherSuite; 9] = [
    &suite::TLS13_AES_128_GCM_SHA256,
    &suite::TLS13_AES_256_GCM_SHA384,
    &suite::TLS13_CHACHA20_POLY1305_SHA256,
    &suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    &suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    &suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    &suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    &suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    &suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// ring, with all cipher suites.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(with(ALL.iter().map(|suite| **suite).collect()))
}

/// ring, with the cipher suites of these names; with all if there are no names.
pub(super) fn provider_of(names: &[String]) -> Result<Arc<CryptoProvider>, BadTerms> {
    if names.is_empty() {
        return Ok(provider());
    }
    let suites: Result<Vec<_>, _> = names.iter().map(|name| find(name)).collect();
    Ok(Arc::new(with(suites?)))
}

fn with(cipher_suites: Vec<SupportedCipherSuite>) -> CryptoProvider {
    CryptoProvider { cipher_suites, ..ring::default_provider() }
}

fn find(wanted: &str) -> Result<SupportedCipherSuite, BadTerms> {
    ALL.iter().find(|suite| name(suite) == wanted).map(|suite| **suite).ok_or_else(|| {
        let known = ALL.map(name).join(", ");
        BadTerms(format!("cipher={wanted} is none of {known}"))
    })
}

/// The name that IANA has registered. rustls says `TLS13_` where IANA says `TLS_`.
fn name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}
