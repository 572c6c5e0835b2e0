//! Why TLS failed, and what to do.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use redis::RedisError;
use rustls::{AlertDescription, CertificateError};

use crate::limits::redis::CERTIFICATE_NAMES_SHOWN_MAX;

/// An error of TLS.
pub(super) struct TlsFailure {
    /// What is wrong and what to do.
    pub(super) reason: String,
    /// Whether it stays so until somebody changes a certificate or a configuration. Other errors may come from a proxy or a server that is in trouble for a moment.
    pub(super) is_lasting: bool,
}

impl TlsFailure {
    /// `None` if this error has another cause than TLS.
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        // The library keeps the error of the stream behind an `Arc`.
        let kept = error.source()?.downcast_ref::<Arc<dyn StdError + Send + Sync>>()?;
        let error = kept.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
        let lasting = |reason| Self { reason, is_lasting: true };
        let passing = |reason| Self { reason, is_lasting: false };
        Some(match error {
            rustls::Error::InvalidCertificate(error) => lasting(invalid_certificate(error)),
            rustls::Error::PeerIncompatible(_) => lasting(format!("TLS failed: {error}")),
            rustls::Error::AlertReceived(alert) => match refused_by_server(*alert) {
                Some(reason) => lasting(reason),
                None => passing(format!("it ended TLS with the alert {alert:?}")),
            },
            rustls::Error::InvalidMessage(_) => {
                passing("it does not answer in TLS; if its port has no TLS, write redis:// in the URL".into())
            }
            error => passing(format!("TLS failed: {error}")),
        })
    }
}

fn invalid_certificate(error: &CertificateError) -> String {
    const CLOCK: &str = "renew it on the server, or correct the clock of this machine";
    match error {
        // A bad signature: an authority that is trusted here has the name of the one that signed, but another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority that is trusted here has signed its certificate; name its authority (TlsOptions::authority), or add it to the system's root \
             certificates or to the file in SSL_CERT_FILE"
                .into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired; {CLOCK}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet; {CLOCK}")
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is not for {}, but for {}; write one of its names in the URL, or name the one to expect (TlsOptions::server_name)",
            expected.to_str(),
            if presented.is_empty() { "no name".to_owned() } else { presented[..presented.len().min(CERTIFICATE_NAMES_SHOWN_MAX)].join(", ") },
        ),
        error => format!("its certificate is not accepted: {error}"),
    }
}

/// Why the server refuses this client, if this alert says so.
fn refused_by_server(alert: AlertDescription) -> Option<String> {
    const GIVE: &str = "(TlsOptions::client_certificate)";
    Some(match alert {
        AlertDescription::CertificateRequired => {
            format!("it asks for a client certificate; give one {GIVE}")
        }
        AlertDescription::HandshakeFailure => format!(
            "it refuses the TLS handshake: either it asks for a client certificate {GIVE}, or it allows no cipher that this client has"
        ),
        AlertDescription::ProtocolVersion => {
            "it allows neither TLS 1.2 nor TLS 1.3; enable one of them (tls-protocols)".into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::DecryptError
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            format!(
                "it does not accept the client certificate ({alert:?}); give one that its authority has signed {GIVE}"
            )
        }
        _ => return None,
    })
}
