//! Prepares TLS for a `rediss://` URL.

/// Makes sure that rustls has a crypto provider: the one that the application installed, or else `ring`. Without this, rustls fails in a build that contains
/// several providers.
#[cfg(feature = "tls")]
pub(super) fn prepare() -> Result<(), &'static str> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has just installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Ok(())
}

/// Refuses: this build has no TLS.
#[cfg(not(feature = "tls"))]
pub(super) fn prepare() -> Result<(), &'static str> {
    Err("a rediss:// URL needs TLS, which this build does not have; enable the feature `tls` of the crate `retraced`")
}
