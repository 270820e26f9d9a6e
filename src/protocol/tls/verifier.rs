//! Whether a server is the one that a client wants to talk to.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::certificates;

/// Decides about the certificate that a server shows.
#[derive(Debug)]
pub(super) struct Verifier {
    trusted: Option<Trusted>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who is trusted.
#[derive(Debug)]
struct Trusted {
    chains: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// Trusts the certificates in the file at `path`, and whom they sign.
    pub(super) fn trusting(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let wrong = |error: String| format!("{}: {error}", path.display());
        let certificates = certificates::certificates(path).map_err(wrong)?;
        let roots = certificates::roots(certificates.clone()).map_err(wrong)?;
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| wrong(error.to_string()))?;
        let trusted = Some(Trusted { chains, certificates });
        Ok(Self { trusted, algorithms: provider.signature_verification_algorithms })
    }

    /// Trusts everybody.
    pub(super) fn credulous(provider: &CryptoProvider) -> Self {
        Self { trusted: None, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(Trusted { chains, certificates }) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        match chains.verify_server_cert(certificate, chain, name, stapled, now) {
            // A server may show the certificate of an authority itself, as `openssl req -x509` makes them (CA:TRUE). It
            // is no server's certificate, but it is the one that was given. Its dates were checked before this error.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if certificates.contains(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
