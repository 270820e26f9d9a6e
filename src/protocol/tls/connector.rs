//! How a client speaks TLS: whom it trusts, and how it shows who it is. Connections that share it resume sessions.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rustls::{
    ClientConfig, Error, SignatureScheme,
    client::{ResolvesClientCert, Resumption, UnbufferedClientConnection},
    pki_types::ServerName,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    certificates,
    handshakes::Handshakes,
    server_failure::TlsFailure,
    session::{Engine, Session},
    suites,
    verifier::Verifier,
};
use crate::protocol::BadTerms;

/// What a client does about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorTerms {
    /// The server's name or IP address: its certificate must be for it, and a name is what SNI asks for (RFC 6066).
    pub server: String,
    /// Whom the server's certificate must be from.
    pub trust: Trust,
    /// The client's own certificate, with its chain, and its key, both in PEM; for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The application protocols to offer (RFC 7301), the best one first.
    pub alpn: Vec<Vec<u8>>,
    /// Whether sessions are resumed. Otherwise each handshake is a full one.
    pub resumes: bool,
    /// The names of the cipher suites to offer, as IANA registers them (`TLS_AES_128_GCM_SHA256`); all if it is empty.
    pub ciphers: Vec<String>,
}

/// Whose certificates a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that this system trusts: the file in `SSL_CERT_FILE`, or else the one of the
    /// distribution.
    System,
    /// Those of the authorities in this file in PEM, and the certificates in it themselves.
    File(PathBuf),
    /// Any. Nobody knows then who the server is.
    Anyone,
}

/// Where distributions keep the authorities that they trust: Debian, Arch and Alpine; Fedora; SUSE; others.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Speaks TLS with a server.
pub struct Connector {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    shown: Arc<Shown>,
    handshakes: Handshakes,
}

impl Connector {
    /// Reads the files that `terms` name.
    ///
    /// # Errors
    ///
    /// [`BadTerms`], for a file that cannot be read or does not contain what it should, for a name that no
    /// certificate can be for, and for a cipher suite that is not known. The text names the term and the file.
    pub fn new(terms: &ConnectorTerms) -> Result<Self, BadTerms> {
        let provider = suites::provider_of(&terms.ciphers)?;
        let server = ServerName::try_from(terms.server.clone()).map_err(|_| {
            BadTerms(format!(
                "{:?} is neither a host name nor an IP address, so no certificate can be for it",
                terms.server
            ))
        })?;
        let read = |(chain, key): &(PathBuf, PathBuf)| {
            certificates::read(chain, key, &provider).map(Arc::new).map_err(BadTerms)
        };
        let certified = terms.identity.as_ref().map(read).transpose()?;
        let shown = Arc::new(Shown { certified, is_asked: AtomicBool::new(false) });
        let verifier = match &terms.trust {
            Trust::System => Verifier::trusting(&system()?, &provider),
            Trust::File(path) => Verifier::trusting(path, &provider),
            Trust::Anyone => Ok(Verifier::credulous(&provider)),
        };
        let verifier = verifier.map_err(|error| BadTerms(format!("ca={error}")))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| BadTerms(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesClientCert>);
        config.alpn_protocols.clone_from(&terms.alpn);
        if !terms.resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { config: Arc::new(config), server, shown, handshakes: Handshakes::default() })
    }

    /// How the handshakes of the layer [`Tls`](super::Tls) ended.
    #[must_use]
    pub const fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// A session with the server, and its first bytes in `out`.
    pub(super) fn session(&self, out: &mut Vec<u8>) -> Result<Session, Error> {
        let config = Arc::clone(&self.config);
        let engine = UnbufferedClientConnection::new(config, self.server.clone())?;
        let mut session = Session::new(Engine::Client(engine));
        session.start(out)?;
        Ok(session)
    }

    /// What `error` means for the client.
    pub(super) fn failure(&self, error: &Error) -> TlsFailure {
        let shows_one = self.shown.certified.is_some();
        TlsFailure::of(error, self.shown.is_asked.load(Relaxed), shows_one)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The file with the authorities that this system trusts.
fn system() -> Result<PathBuf, BadTerms> {
    if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
        return Ok(path.into());
    }
    let known = SYSTEM.iter().map(Path::new).find(|path| path.exists());
    known.map(Path::to_owned).ok_or_else(|| {
        BadTerms(format!(
            "this system has no list of authorities to trust ({}, or SSL_CERT_FILE)",
            SYSTEM.join(", ")
        ))
    })
}

/// The client's certificate, if it has one.
#[derive(Debug)]
struct Shown {
    certified: Option<Arc<CertifiedKey>>,
    /// Whether a server has asked for it.
    is_asked: AtomicBool,
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.is_asked.store(true, Relaxed);
        let fits = |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        self.certified.as_ref().filter(fits).cloned()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}
