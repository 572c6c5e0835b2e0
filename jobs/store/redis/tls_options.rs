//! The options of TLS connections.

use std::fmt;

/// What a [`RedisStore`](super::RedisStore) with a `rediss://` URL trusts, and how it proves who it is. Certificates and keys are PEM text, as in the files that
/// certificate authorities hand out. They are read when the store is opened; a renewed certificate is used from the next open on.
///
/// By default the system's root certificates are trusted, or those in the file that the environment variable `SSL_CERT_FILE` names; the server's certificate must be for
/// the host of the URL; and no client certificate is sent. Options with a URL that is not `rediss://` are refused.
///
/// ```no_run
/// use retraced_jobs::store::redis::{RedisOptions, RedisStore, TlsOptions};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = TlsOptions::default()
///     .authority(std::fs::read("ca.pem")?)
///     .client_certificate(std::fs::read("client.pem")?, std::fs::read("client.key")?)
///     .server_name("redis.internal");
/// let store = RedisStore::open("rediss://10.0.0.7:6380", RedisOptions::default().tls(tls))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The certificates of the authorities that are trusted. `None`: those of the system.
    pub authority: Option<Vec<u8>>,
    /// The client's certificate, followed by those of intermediate authorities. Needs a key.
    pub client_certificate: Option<Vec<u8>>,
    /// The private key of the client's certificate: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub client_key: Option<Vec<u8>>,
    /// The name or address that the server's certificate must be for. `None`: the host of the URL.
    pub server_name: Option<String>,
}

impl TlsOptions {
    /// Trusts servers whose certificates one of these authorities has signed, and no others: not those of the system.
    #[must_use]
    pub fn authority(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { authority: Some(pem.into()), ..self }
    }

    /// Sends this certificate to servers that ask for one.
    #[must_use]
    pub fn client_certificate(self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        Self { client_certificate: Some(chain_pem.into()), client_key: Some(key_pem.into()), ..self }
    }

    /// Expects the server's certificate to be for this name or address instead of the host of the URL, as behind a tunnel or an address without a name.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }
}

/// Without the key.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("authority", &self.authority.is_some())
            .field("client_certificate", &self.client_certificate.is_some())
            .field("client_key", &self.client_key.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}
