//! TLS connections by rustls, and what to do when one is refused.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use redis::RedisError;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use rustls::client::{ClientConfig, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TlsOptions;
use crate::limits::redis::{CERTIFICATE_NAMES_SHOWN_MAX, KEEPALIVE};

/// Opens TLS connections to one server.
pub(super) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    host: String,
    port: u16,
}

impl Connector {
    /// The error says which option is wrong, and how.
    pub(super) fn new(host: &str, port: u16, options: &TlsOptions) -> Result<Self, String> {
        install_provider();
        let name = options.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is neither a host name nor an address, so no certificate can be for it"))?;
        let config = ClientConfig::builder().with_root_certificates(roots(options.authority.as_deref())?);
        let config = with_client_certificate(config, options)?;
        Ok(Self { config: Arc::new(config), name, host: host.to_owned(), port })
    }

    pub(super) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        TlsConnector::from(self.config.clone()).connect(self.name.clone(), stream).await
    }
}

/// Makes sure that rustls has a crypto provider: the one that the application installed, or else `ring`. Without this, rustls fails in a build that contains
/// several providers.
fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has just installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn roots(authority: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(pem) => {
            for certificate in certificates("the authority", pem)? {
                roots.add(certificate).map_err(|error| format!("the authority has an invalid certificate: {error}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no root certificates; install them (ca-certificates), name a file of roots \
                            in SSL_CERT_FILE, or name the authority of the server (--tls-ca FILE, TlsOptions::authority)"
                    .into());
            }
        }
    }
    Ok(roots)
}

fn certificates(of: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{of} is not a certificate in PEM form (-----BEGIN CERTIFICATE-----)")),
    }
}

fn with_client_certificate(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    options: &TlsOptions,
) -> Result<ClientConfig, String> {
    let (chain, key) = match (&options.client_certificate, &options.client_key) {
        (None, None) => return Ok(config.with_no_client_auth()),
        (Some(chain), Some(key)) => (chain, key),
        (Some(_), None) => return Err("a client certificate needs its private key".into()),
        (None, Some(_)) => return Err("a client key needs its certificate".into()),
    };
    let chain = certificates("the client certificate", chain)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "the client key is not a private key in PEM form, or it is encrypted".to_owned())?;
    config.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "the client key does not belong to the client certificate".into(),
        error => format!("the client certificate or its key cannot be used: {error}"),
    })
}

/// What is wrong and what to do, if TLS is the reason for this error.
pub(super) fn refusal(error: &RedisError) -> Option<String> {
    // The library keeps the error of the stream behind an `Arc`.
    let kept = error.source()?.downcast_ref::<Arc<dyn StdError + Send + Sync>>()?;
    let error = kept.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(error) => invalid_certificate(error),
        rustls::Error::InvalidMessage(_) => {
            "it does not answer in TLS; if its port has no TLS, write redis:// in the URL".into()
        }
        rustls::Error::AlertReceived(alert) => refused_by_server(*alert),
        error => format!("TLS failed: {error}"),
    })
}

fn invalid_certificate(error: &CertificateError) -> String {
    const CLOCK: &str = "renew it on the server, or correct the clock of this machine";
    match error {
        // A bad signature: an authority that is trusted here has the name of the one that signed, but another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority that is trusted here has signed its certificate; name its authority (--tls-ca FILE, TlsOptions::authority), or add it to the system's root \
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
            "its certificate is not for {}, but for {}; write one of its names in the URL, or name the one to expect (--tls-server-name NAME, TlsOptions::server_name)",
            expected.to_str(),
            if presented.is_empty() { "no name".to_owned() } else { presented[..presented.len().min(CERTIFICATE_NAMES_SHOWN_MAX)].join(", ") },
        ),
        error => format!("its certificate is not accepted: {error}"),
    }
}

fn refused_by_server(alert: AlertDescription) -> String {
    const GIVE: &str = "(--tls-cert FILE and --tls-key FILE, TlsOptions::client_certificate)";
    match alert {
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
        alert => format!("it ended TLS with the alert {alert:?}"),
    }
}
