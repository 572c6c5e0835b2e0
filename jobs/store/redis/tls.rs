//! TLS connections by rustls.

use std::io;
use std::sync::Arc;

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use rustls::client::{ClientConfig, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TlsOptions;
use crate::limits::redis::KEEPALIVE;

// Options as errors name them.
const AUTHORITY: &str = "TlsOptions::authority";
const CERTIFICATE: &str = "TlsOptions::client_certificate";
const KEY: &str = "TlsOptions::client_key";

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
        let (given, name) = match options.server_name.as_deref() {
            Some(name) => ("TlsOptions::server_name ", name),
            None => ("", host),
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            format!("{given}{name:?} is neither a host name nor an address, so no certificate can be for it")
        })?;
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
            for certificate in certificates(AUTHORITY, pem)? {
                roots.add(certificate).map_err(|error| format!("{AUTHORITY} has an invalid certificate: {error}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "this system has no root certificates; install them (ca-certificates), name a file of roots \
                            in SSL_CERT_FILE, or name the authority of the server (TlsOptions::authority)"
                        .into(),
                );
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
        (Some(_), None) => return Err(format!("{CERTIFICATE} needs its private key, {KEY}")),
        (None, Some(_)) => return Err(format!("{KEY} needs its certificate, {CERTIFICATE}")),
    };
    let chain = certificates(CERTIFICATE, chain)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| format!("{KEY} is not a private key in PEM form, or it is encrypted"))?;
    config.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => format!("{KEY} does not belong to {CERTIFICATE}"),
        error => format!("{CERTIFICATE} or {KEY} cannot be used: {error}"),
    })
}
