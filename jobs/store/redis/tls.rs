//! What a `rediss://` URL needs before its first handshake.

/// Makes sure that rustls has a crypto provider. One that the application installed stays; a process without one gets `ring`, because rustls refuses to
/// choose where a build contains several.
#[cfg(feature = "tls")]
pub(super) fn prepare() -> Result<(), &'static str> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread installed one a moment ago.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Ok(())
}

/// Says which feature is missing.
#[cfg(not(feature = "tls"))]
pub(super) fn prepare() -> Result<(), &'static str> {
    Err("a rediss:// URL needs TLS, which this build does not have; enable the feature `tls` of the crate `retraced`")
}
