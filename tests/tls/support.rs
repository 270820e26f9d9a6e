//! Certificates of an authority that exists only in a test, and clients that know it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    net::TcpStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedCipherSuite,
    SupportedProtocolVersion,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::common::PATIENCE;

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A folder that is removed with what is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("resound-{}-tls-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file.
    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Replaces a file by one with this text, at once.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        std::fs::rename(self.put("new", text), self.path(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Authorities of one name could not be told apart.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A certificate for these names.
    pub(crate) fn sign(&self, names: &[&str]) -> Certificate {
        self.sign_with(names, |_| {})
    }

    /// A certificate that has expired.
    pub(crate) fn sign_expired(&self, names: &[&str]) -> Certificate {
        self.sign_with(names, |params| params.not_after = date_time_ymd(2001, 2, 3))
    }

    /// A certificate of which `change` says more.
    pub(crate) fn sign_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        // Python asks for it.
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Certificate { pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// A client that trusts this authority and shows a certificate that `other` has signed.
    pub(crate) fn client(&self, other: &Self) -> ClientConfig {
        let certificate = other.sign(&["client"]);
        let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder
            .with_root_certificates(roots(&self.pem()))
            .with_client_auth_cert(chain, key)
            .unwrap()
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

fn with_versions(pem: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots(pem)).with_no_client_auth()
}

/// A client that trusts the certificate in `pem`.
pub(crate) fn trusting(pem: &str) -> ClientConfig {
    with_versions(pem, &[&TLS13, &TLS12])
}

/// A client that trusts `authority`.
pub(crate) fn config(authority: &Authority) -> ClientConfig {
    trusting(&authority.pem())
}

/// As [`config`], without TLS 1.3.
pub(crate) fn only_tls12(authority: &Authority) -> ClientConfig {
    with_versions(&authority.pem(), &[&TLS12])
}

/// As [`config`]; every handshake is a full one.
pub(crate) fn without_resumption(authority: &Authority) -> ClientConfig {
    let mut config = config(authority);
    config.resumption = Resumption::disabled();
    config
}

/// A session for the server of that name.
pub(crate) fn tls(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), name.to_owned().try_into().unwrap()).unwrap()
}

/// A connection to `address`, which is called localhost. The handshake happens with the first bytes.
pub(crate) fn connect(address: &str, config: &Arc<ClientConfig>) -> TlsStream {
    connect_as("localhost", address, config)
}

/// As [`connect`], where the server is called `name`.
pub(crate) fn connect_as(name: &str, address: &str, config: &Arc<ClientConfig>) -> TlsStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(tls(config, name), stream)
}

/// The SHA-256 of the certificate that the server has shown.
pub(crate) fn fingerprint(stream: &TlsStream) -> String {
    let certificates = stream.conn.peer_certificates().expect("after the handshake");
    let SupportedCipherSuite::Tls13(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        panic!("not a suite of TLS 1.3")
    };
    let hash = suite.common.hash_provider.hash(&certificates[0]);
    let pairs: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}
