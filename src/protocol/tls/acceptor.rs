//! How a listener speaks TLS: certificates, versions, whom it accepts. Loops that serve one listener share it.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd,
};
use rustls::{
    ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::PrivateKeyDer,
    server::{UnbufferedServerConnection, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    certificates::{self, Certificates},
    handshakes::Handshakes,
    session::{Engine, Session},
    suites,
};
use crate::protocol::BadTerms;

/// What a listener's keys say about TLS.
#[derive(Debug, Clone)]
pub struct TlsTerms {
    /// Where the certificates come from.
    pub identity: Identity,
    /// The file with the authorities that sign client certificates; `None` if clients need none.
    pub client_ca: Option<PathBuf>,
    /// The oldest version.
    pub min: TlsVersion,
    /// The application protocols that are offered (RFC 7301), the best one first; empty to ignore what clients offer.
    pub alpn: Vec<Vec<u8>>,
}

impl Default for TlsTerms {
    /// A certificate for `localhost`, TLS 1.2 and 1.3, no client certificates and no ALPN.
    fn default() -> Self {
        let identity = Identity::SelfSigned(vec!["localhost".to_owned()]);
        Self { identity, client_ca: None, min: TlsVersion::default(), alpn: Vec::new() }
    }
}

/// Where the certificates of a listener come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Files in PEM: a certificate, with its chain behind it, and its key. A client gets the first one for the name that it
    /// asks for.
    Files(Vec<(PathBuf, PathBuf)>),
    /// A new certificate for these names and addresses, with a new key, which is nowhere else.
    SelfSigned(Vec<String>),
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl FromStr for TlsVersion {
    type Err = BadTerms;

    /// As in `min=1.3`.
    fn from_str(text: &str) -> Result<Self, BadTerms> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => {
                Err(BadTerms(format!("min={text}: write 1.2 or 1.3; older versions are not safe")))
            }
        }
    }
}

/// Accepts TLS connections.
pub struct Acceptor {
    terms: TlsTerms,
    config: RwLock<Arc<ServerConfig>>,
    /// The files as they were when they were read.
    stamps: Mutex<Vec<Option<Stamp>>>,
    self_signed: Option<SelfSigned>,
    handshakes: Handshakes,
}

/// A certificate that was made when the listener was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// As a client reads it: `resound client --ca`, `curl --cacert`.
    pub pem: String,
    /// The SHA-256 of the certificate in DER, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
}

/// What changes when a file does. The inode does when it is replaced by renaming another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let (inode, length) = (metadata.ino(), metadata.len());
        Some(Self { inode, length, modified: metadata.modified().ok() })
    }
}

impl Acceptor {
    /// Reads the files that `terms` name.
    ///
    /// # Errors
    ///
    /// [`BadTerms`], for a file that cannot be read or does not contain what it should. The text names the key and the file.
    pub fn new(terms: TlsTerms) -> Result<Self, BadTerms> {
        // Before reading: what changes meanwhile is read again.
        let stamps = terms.stamps();
        let provider = suites::provider();
        let (certificates, self_signed) = match &terms.identity {
            Identity::Files(files) => (terms.read(files, &provider)?, None),
            Identity::SelfSigned(names) => {
                let (certified, self_signed) = sign(names, &provider).map_err(BadTerms)?;
                (vec![Arc::new(certified)], Some(self_signed))
            }
        };
        let config = RwLock::new(Arc::new(terms.config(certificates, provider)?));
        Ok(Self {
            terms,
            config,
            stamps: Mutex::new(stamps),
            self_signed,
            handshakes: Handshakes::default(),
        })
    }

    /// The certificate that was made, if it was.
    #[must_use]
    pub const fn self_signed(&self) -> Option<&SelfSigned> {
        self.self_signed.as_ref()
    }

    /// How the handshakes with it ended.
    #[must_use]
    pub const fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// Whether it reads files, which can change.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.terms.files().next().is_some()
    }

    /// Reads the files again if one of them has changed since they were read; new connections then get what is in them.
    /// Returns whether they were read.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new). What was read before stays in use, until a file changes again.
    pub fn reload(&self) -> Result<bool, BadTerms> {
        let now = self.terms.stamps();
        {
            let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
            if *stamps == now {
                return Ok(false);
            }
            *stamps = now;
        }
        let before = self.current();
        let provider = Arc::clone(before.crypto_provider());
        let certificates = match &self.terms.identity {
            Identity::Files(files) => self.terms.read(files, &provider)?,
            Identity::SelfSigned(_) => return self.reload_authorities(&before),
        };
        self.replace(self.terms.config(certificates, provider)?);
        Ok(true)
    }

    /// As [`reload`](Self::reload), with the certificate that was made.
    fn reload_authorities(&self, before: &ServerConfig) -> Result<bool, BadTerms> {
        let mut config = self.terms.config(Vec::new(), Arc::clone(before.crypto_provider()))?;
        config.cert_resolver = Arc::clone(&before.cert_resolver);
        self.replace(config);
        Ok(true)
    }

    fn replace(&self, config: ServerConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn session(&self) -> Result<Session, rustls::Error> {
        let engine = UnbufferedServerConnection::new(self.current())?;
        Ok(Session::new(Engine::Server(engine)))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl TlsTerms {
    /// All files.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = match &self.identity {
            Identity::Files(pairs) => &pairs[..],
            Identity::SelfSigned(_) => &[],
        };
        let pairs = pairs.iter().flat_map(|(chain, key)| [chain, key]);
        pairs.chain(&self.client_ca).map(PathBuf::as_path)
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files().map(Stamp::of).collect()
    }

    fn read(
        &self,
        files: &[(PathBuf, PathBuf)],
        provider: &CryptoProvider,
    ) -> Result<Vec<Arc<CertifiedKey>>, BadTerms> {
        let read = files.iter().map(|(chain, key)| {
            certificates::read(chain, key, provider).map(Arc::new).map_err(BadTerms)
        });
        read.collect()
    }

    fn config(
        &self,
        certificates: Vec<Arc<CertifiedKey>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<ServerConfig, BadTerms> {
        let failed = |error: rustls::Error| BadTerms(format!("TLS cannot be set up: {error}"));
        let versions: &[&SupportedProtocolVersion] = match self.min {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(failed)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let wrong = |error: &dyn fmt::Display| {
                    BadTerms(format!("client-ca={}: {error}", path.display()))
                };
                let roots = certificates::authorities(path).map_err(|error| wrong(&error))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .map_err(|error| wrong(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates(certificates)));
        config.alpn_protocols.clone_from(&self.alpn);
        config.ignore_client_order = true;
        // Tickets hold the state of a session, encrypted, so that the server holds none: any number of clients can come
        // back, and memory does not grow with them. Their keys change every few hours.
        config.ticketer = ring::Ticketer::new().map_err(failed)?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(config)
    }
}

/// How long a certificate that was made is valid. Apple's clients accept no server certificate that is valid for more than
/// 825 days, and none that does not say that it is for a server.
const VALID: Duration = Duration::from_secs(824 * DAY);

/// How long before now it is valid: a client's clock may be behind.
const VALID_BEFORE: Duration = Duration::from_secs(DAY);

const DAY: u64 = 24 * 60 * 60;

/// Makes a certificate for `names`, signed with its own key.
fn sign(names: &[String], provider: &CryptoProvider) -> Result<(CertifiedKey, SelfSigned), String> {
    let failed = |error: rcgen::Error| format!("tls=self-signed: {}: {error}", names.join(", "));
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(VALID_BEFORE);
    params.not_after = params.not_before + VALID;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "resound, self-signed");
    let signing_key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&signing_key).map_err(failed)?;
    let der = certificate.der();
    let self_signed = SelfSigned { pem: certificate.pem(), fingerprint: fingerprint(der) };
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let certified = CertifiedKey::from_der(vec![der.clone()], key, provider)
        .map_err(|error| format!("tls=self-signed: {error}"))?;
    Ok((certified, self_signed))
}

/// The SHA-256 in pairs of hexadecimal digits.
fn fingerprint(der: &[u8]) -> String {
    let SupportedCipherSuite::Tls13(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        return String::new();
    };
    let hash = suite.common.hash_provider.hash(der);
    let pairs: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}
