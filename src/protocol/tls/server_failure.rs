//! Why TLS with a server failed, for the client's user.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use httpdate::HttpDate;
use rustls::{
    AlertDescription, CertificateError, Error, PeerIncompatible, pki_types::ServerName,
    pki_types::UnixTime,
};

use super::{failure, record};

/// Why a client could not go on with TLS. Its text tells the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFailure {
    /// What kind of cause it is.
    pub cause: TlsCause,
    text: String,
}

/// What makes TLS with a server fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsCause {
    /// The server's certificate is from nobody who is trusted.
    Untrusted,
    /// The server's certificate is for other names.
    OtherName,
    /// The server's certificate is not valid now.
    OutOfDate,
    /// The server wants a certificate of the client, which has none.
    NoClientCertificate,
    /// The server does not accept the certificate of the client.
    ClientCertificate,
    /// The server does not speak TLS.
    NotTls,
    /// Anything else.
    Other,
}

impl TlsFailure {
    pub(super) fn new(cause: TlsCause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// `asked`: a server has asked for a certificate of the client, which `shows_one` or not.
    pub(super) fn of(error: &Error, asked: bool, shows_one: bool) -> Self {
        match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::AlertReceived(alert) => alerted(*alert, asked, shows_one),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::new(
                TlsCause::Other,
                "the server speaks an older version of TLS than 1.2, which is not safe",
            ),
            Error::PeerIncompatible(_) => Self::new(
                TlsCause::Other,
                "the server and this client have no TLS parameters in common",
            ),
            Error::DecryptError => Self::new(
                TlsCause::Other,
                "a TLS record of the server does not decrypt (bad_record_mac)",
            ),
            error => {
                Self::new(TlsCause::Other, format!("the server broke the rules of TLS: {error}"))
            }
        }
    }

    /// The server's first bytes are not TLS, but look like `what`.
    pub(super) fn not_tls(what: Option<&'static str>) -> Self {
        let text = match what {
            Some(record::OWN_HELLO) => {
                "the server sent the TLS handshake of this client back: it echoes without TLS"
                    .to_owned()
            }
            Some(what) => format!("the server does not speak TLS: what it sent looks like {what}"),
            None => "the server does not speak TLS: what it sent is no TLS handshake".to_owned(),
        };
        Self::new(TlsCause::NotTls, text)
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsFailure {}

fn certificate(error: &CertificateError) -> TlsFailure {
    let date = |time: &UnixTime| {
        HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
    };
    let (cause, text) = match error {
        CertificateError::UnknownIssuer => (
            TlsCause::Untrusted,
            "nobody who is trusted has signed the server's certificate".to_owned(),
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let presented =
                if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            let expected = match expected {
                ServerName::DnsName(name) => name.as_ref().to_owned(),
                ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
                other => format!("{other:?}"),
            };
            let text =
                format!("the server's certificate is for {presented}, and not for {expected}");
            (TlsCause::OtherName, text)
        }
        CertificateError::NotValidForName => {
            (TlsCause::OtherName, "the server's certificate is for another name".to_owned())
        }
        CertificateError::ExpiredContext { not_after, .. } => (
            TlsCause::OutOfDate,
            format!("the server's certificate has expired ({})", date(not_after)),
        ),
        CertificateError::NotValidYetContext { not_before, .. } => (
            TlsCause::OutOfDate,
            format!("the server's certificate is not valid before {}", date(not_before)),
        ),
        error => (TlsCause::Other, format!("the server's certificate is not valid: {error}")),
    };
    TlsFailure::new(cause, text)
}

/// The name itself: webpki writes `DnsName("localhost")` and `IpAddress(127.0.0.1)`.
fn bare(name: &str) -> &str {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

fn alerted(alert: AlertDescription, asked: bool, shows_one: bool) -> TlsFailure {
    let name = failure::alert_name(alert);
    let may_be_about_client = matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    );
    let (cause, text) = match alert {
        _ if may_be_about_client && asked && shows_one => (
            TlsCause::ClientCertificate,
            format!("the server does not accept the client certificate (TLS alert {name})"),
        ),
        _ if may_be_about_client && asked || alert == AlertDescription::CertificateRequired => (
            TlsCause::NoClientCertificate,
            format!("the server wants a client certificate (TLS alert {name})"),
        ),
        AlertDescription::ProtocolVersion => (
            TlsCause::Other,
            format!("the server speaks neither TLS 1.2 nor TLS 1.3 (TLS alert {name})"),
        ),
        AlertDescription::UnrecognisedName => (
            TlsCause::OtherName,
            format!("the server does not know the name that it was asked for (TLS alert {name})"),
        ),
        _ => (TlsCause::Other, format!("the server sent the TLS alert {name}")),
    };
    TlsFailure::new(cause, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_their_kind() {
        for (name, is_shown) in
            [("DnsName(\"localhost\")", "localhost"), ("IpAddress(::1)", "::1"), ("x", "x")]
        {
            assert_eq!(bare(name), is_shown);
        }
    }

    #[test]
    fn alerts_about_a_client_certificate_are_told_from_others() {
        for (alert, asked, shows_one, cause) in [
            (AlertDescription::CertificateRequired, true, false, TlsCause::NoClientCertificate),
            (AlertDescription::HandshakeFailure, true, false, TlsCause::NoClientCertificate),
            (AlertDescription::HandshakeFailure, false, false, TlsCause::Other),
            (AlertDescription::UnknownCA, true, true, TlsCause::ClientCertificate),
            (AlertDescription::ProtocolVersion, true, true, TlsCause::Other),
        ] {
            let failure = TlsFailure::of(&Error::AlertReceived(alert), asked, shows_one);
            assert_eq!(failure.cause, cause, "{failure}");
            assert!(failure.to_string().contains("TLS alert "), "{failure}");
        }
    }
}
