//! Why a TLS connection failed, in the words of the log.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible, PeerMisbehaved};

use super::handshakes::Failure;
use crate::protocol::Refusal;

/// The refusal of a peer whose first bytes are not TLS, but look like `what`.
pub(super) fn not_tls(what: Option<&'static str>) -> Refusal {
    Refusal::Malformed(match what {
        Some("an HTTP request") => {
            "not TLS: this looks like an HTTP request; use https:// there, or take TLS off this listener"
        }
        Some("an SSH banner") => "not TLS: this looks like an SSH banner",
        Some("a PROXY protocol header") => {
            "not TLS: this looks like a PROXY protocol header; add proxy= to this listener, or take it off at the proxy"
        }
        Some("text") => {
            "not TLS: this looks like text; use TLS there, or take it off this listener"
        }
        _ => "not TLS: no handshake in front; use TLS there, or take it off this listener",
    })
}

/// The alert that was sent because of `error`, at the end of `out`, by its name. rustls does not tell it. In the clear it
/// can be read; encrypted it follows from the error, with few exceptions.
pub(super) fn sent(error: &Error, out: &[u8]) -> Option<&'static str> {
    // RFC 8446, section 6: a record of type 21 with two bytes.
    if let [.., 21, 3, _, 0, 2, _, alert] = out {
        return Some(alert_name(AlertDescription::from(*alert)));
    }
    let alert = match error {
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::InvalidCertificate(error) => AlertDescription::from(error.clone()),
        Error::InvalidMessage(error) => AlertDescription::from(*error),
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        _ => return None,
    };
    Some(alert_name(alert))
}

/// How a handshake failed that ended in `error`, after which that alert was sent.
pub(super) fn of_handshake(error: &Error, sent: Option<&'static str>) -> Failure {
    match error {
        Error::AlertReceived(alert) => Failure::Received(alert_name(*alert)),
        _ => sent.map_or(Failure::Silent, Failure::Sent),
    }
}

/// The refusal of a peer with which TLS failed, after which that alert was sent.
pub(super) fn refusal(error: &Error, sent: Option<&'static str>) -> Refusal {
    match error {
        Error::NoCertificatesPresented => {
            Refusal::NotAllowed("no client certificate, which client-ca= requires")
        }
        Error::InvalidCertificate(error) => Refusal::NotAllowed(certificate(error)),
        Error::AlertReceived(alert) => Refusal::Malformed(received(*alert)),
        Error::PeerIncompatible(error) => Refusal::Malformed(incompatible(error)),
        Error::NoApplicationProtocol => {
            Refusal::Malformed("no ALPN protocol in common; see alpn= of this listener")
        }
        Error::DecryptError => {
            Refusal::Malformed("a TLS record that does not decrypt (bad_record_mac)")
        }
        Error::PeerSentOversizedRecord => {
            Refusal::Malformed("a TLS record that is longer than allowed (record_overflow)")
        }
        Error::InvalidMessage(_) => Refusal::Malformed("a malformed TLS message (decode_error)"),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            Refusal::Malformed("a TLS message out of order (unexpected_message)")
        }
        Error::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived) => {
            Refusal::Malformed("TLS early data, which is not accepted (unexpected_message)")
        }
        Error::PeerMisbehaved(_) => Refusal::Malformed(broken(sent)),
        _ => Refusal::Malformed("TLS failed; the log has more at debug"),
    }
}

const fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the client certificate has expired (certificate_expired)"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the client certificate is not valid yet (certificate_expired)"
        }
        CertificateError::UnknownIssuer => {
            "the client certificate is from no authority in client-ca= (unknown_ca)"
        }
        CertificateError::Revoked => "the client certificate is revoked (certificate_revoked)",
        CertificateError::BadSignature => {
            "the client certificate has a wrong signature (decrypt_error)"
        }
        _ => "the client certificate is not valid (bad_certificate)",
    }
}

const fn incompatible(error: &PeerIncompatible) -> &'static str {
    match error {
        PeerIncompatible::NoCipherSuitesInCommon => {
            "no TLS cipher suite in common (handshake_failure)"
        }
        PeerIncompatible::NoKxGroupsInCommon => "no TLS key exchange in common (handshake_failure)",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "no TLS signature algorithm in common (handshake_failure)"
        }
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            "no TLS version in common (protocol_version); this listener has TLS 1.2 and 1.3, or from min= on"
        }
        _ => "no TLS parameters in common",
    }
}

/// Names alerts.
macro_rules! alerts {
    ($($variant:ident $name:literal $(: $meaning:literal)?,)*) => {
        /// The name of an alert.
        pub(super) const fn alert_name(alert: AlertDescription) -> &'static str {
            match alert {
                $(AlertDescription::$variant => $name,)*
                _ => "without a name",
            }
        }

        /// That a peer has sent it.
        const fn received(alert: AlertDescription) -> &'static str {
            match alert {
                $(AlertDescription::$variant => concat!("the peer sent the TLS alert ", $name $(, ": ", $meaning)?),)*
                _ => "the peer sent a TLS alert without a name",
            }
        }

        /// That a peer has done what is answered with it.
        fn broken(alert: Option<&'static str>) -> &'static str {
            match alert {
                $(Some($name) => concat!("the peer broke the rules of TLS (", $name, ")"),)*
                _ => "the peer broke the rules of TLS",
            }
        }
    };
}

// The names of RFC 8446, section 6, and of the registry "TLS Alerts".
alerts! {
    CloseNotify "close_notify",
    UnexpectedMessage "unexpected_message",
    BadRecordMac "bad_record_mac",
    DecryptionFailed "decryption_failed",
    RecordOverflow "record_overflow",
    DecompressionFailure "decompression_failure",
    HandshakeFailure "handshake_failure",
    NoCertificate "no_certificate",
    BadCertificate "bad_certificate": "it does not accept this server's certificate",
    UnsupportedCertificate "unsupported_certificate",
    CertificateRevoked "certificate_revoked",
    CertificateExpired "certificate_expired": "this server's certificate, or the peer's clock, is out of date",
    CertificateUnknown "certificate_unknown": "it does not accept this server's certificate",
    IllegalParameter "illegal_parameter",
    UnknownCA "unknown_ca": "it does not know who signed this server's certificate",
    AccessDenied "access_denied",
    DecodeError "decode_error",
    DecryptError "decrypt_error",
    ExportRestriction "export_restriction",
    ProtocolVersion "protocol_version",
    InsufficientSecurity "insufficient_security",
    InternalError "internal_error",
    InappropriateFallback "inappropriate_fallback",
    UserCanceled "user_canceled",
    NoRenegotiation "no_renegotiation",
    MissingExtension "missing_extension",
    UnsupportedExtension "unsupported_extension",
    CertificateUnobtainable "certificate_unobtainable",
    UnrecognisedName "unrecognized_name",
    BadCertificateStatusResponse "bad_certificate_status_response",
    BadCertificateHashValue "bad_certificate_hash_value",
    UnknownPSKIdentity "unknown_psk_identity",
    CertificateRequired "certificate_required",
    NoApplicationProtocol "no_application_protocol",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_rfc() {
        for (alert, says) in [
            (AlertDescription::UnknownCA, "unknown_ca: it does not know"),
            (AlertDescription::RecordOverflow, "the TLS alert record_overflow"),
            (AlertDescription::Unknown(99), "without a name"),
        ] {
            let text = refusal(&Error::AlertReceived(alert), None).to_string();
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn an_alert_that_was_sent_is_named() {
        let broken = Error::PeerMisbehaved(PeerMisbehaved::IncorrectBinder);
        for (error, out, alert, text) in [
            (
                &broken,
                &b"\x15\x03\x03\0\x02\x02\x33"[..],
                Some("decrypt_error"),
                "TLS (decrypt_error)",
            ),
            (
                &broken,
                b"\x17\x03\x03\0\x13...............",
                None,
                "the peer broke the rules of TLS",
            ),
            (&Error::DecryptError, b"", Some("bad_record_mac"), "(bad_record_mac)"),
            (
                &Error::NoCertificatesPresented,
                b"",
                Some("certificate_required"),
                "no client certificate",
            ),
        ] {
            assert_eq!(sent(error, out), alert, "{error}");
            let refusal = refusal(error, alert).to_string();
            assert!(refusal.contains(text), "{refusal}");
            assert_eq!(of_handshake(error, alert), alert.map_or(Failure::Silent, Failure::Sent));
        }
        let received = Error::AlertReceived(AlertDescription::UnknownCA);
        assert_eq!(of_handshake(&received, None), Failure::Received("unknown_ca"));
    }
}
