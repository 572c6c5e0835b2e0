//! The options of TLS connections to Redis.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use retraced::store::TlsOptions;

use crate::error::CliError;
use crate::limits::PEM_BYTES_MAX;
use crate::output::printable;

/// How the certificate of a `rediss://` server is checked, and with which certificate this process proves who it is.
#[derive(Args)]
pub(crate) struct TlsArgs {
    /// For rediss://: a file with the certificates (PEM) of the authorities that are trusted, instead of those of the system.
    #[arg(long, global = true, value_name = "FILE", env = "RETRACED_TLS_CA", hide_env_values = true)]
    tls_ca: Option<PathBuf>,
    /// For rediss://: a file with the client certificate (PEM), for servers that ask for one. Needs --tls-key.
    #[arg(long, global = true, value_name = "FILE", env = "RETRACED_TLS_CERT", hide_env_values = true)]
    tls_cert: Option<PathBuf>,
    /// For rediss://: a file with the private key (PEM, not encrypted) of the client certificate. Needs --tls-cert.
    #[arg(long, global = true, value_name = "FILE", env = "RETRACED_TLS_KEY", hide_env_values = true)]
    tls_key: Option<PathBuf>,
    /// For rediss://: the name or address that the server's certificate must be for, if it is not the host of the URL.
    #[arg(long, global = true, value_name = "NAME", env = "RETRACED_TLS_SERVER_NAME", hide_env_values = true)]
    tls_server_name: Option<String>,
}

impl TlsArgs {
    /// Reads the files.
    pub(crate) fn options(&self) -> Result<TlsOptions, CliError> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => return Err(CliError::Usage("--tls-cert needs --tls-key FILE, its private key".into())),
            (None, Some(_)) => return Err(CliError::Usage("--tls-key needs --tls-cert FILE, its certificate".into())),
            _ => {}
        }
        let mut options = TlsOptions::default();
        options.authority = read("--tls-ca", self.tls_ca.as_deref())?;
        options.client_certificate = read("--tls-cert", self.tls_cert.as_deref())?;
        options.client_key = read("--tls-key", self.tls_key.as_deref())?;
        options.server_name.clone_from(&self.tls_server_name);
        Ok(options)
    }

    /// What is wrong with these options, in the words of the library, with flags and files in place of its options. `None` if it is not these options that are wrong.
    pub(crate) fn fault(&self, reason: &str) -> Option<String> {
        if !FLAGS.iter().any(|flag| reason.contains(flag.option)) {
            return None;
        }
        Some(FLAGS.iter().fold(reason.to_owned(), |text, flag| text.replace(flag.option, &(flag.as_given)(self))))
    }
}

/// A flag that sets an option of the library.
struct Flag {
    option: &'static str,
    usage: &'static str,
    /// The flag with its file, or as in `usage` if there is none. Errors about the server's name show the name themselves.
    as_given: fn(&TlsArgs) -> String,
}

const FLAGS: [Flag; 4] = [
    Flag {
        option: "TlsOptions::client_certificate",
        usage: "--tls-cert FILE",
        as_given: |args| with_file("--tls-cert", args.tls_cert.as_deref()),
    },
    Flag {
        option: "TlsOptions::client_key",
        usage: "--tls-key FILE",
        as_given: |args| with_file("--tls-key", args.tls_key.as_deref()),
    },
    Flag {
        option: "TlsOptions::server_name",
        usage: "--tls-server-name NAME",
        as_given: |_| "--tls-server-name".into(),
    },
    Flag {
        option: "TlsOptions::authority",
        usage: "--tls-ca FILE",
        as_given: |args| with_file("--tls-ca", args.tls_ca.as_deref()),
    },
];

fn with_file(flag: &str, file: Option<&Path>) -> String {
    file.map_or_else(|| format!("{flag} FILE"), |file| format!("{flag} {}", printable(&file.display().to_string())))
}

/// Advice of the library, with flags in place of its options for TLS.
pub(crate) fn with_tls_flags(advice: &str) -> String {
    let both = advice.replace("(TlsOptions::client_certificate)", "(--tls-cert FILE and --tls-key FILE)");
    FLAGS.iter().fold(both, |text, flag| text.replace(flag.option, flag.usage))
}

fn read(flag: &str, path: Option<&Path>) -> Result<Option<Vec<u8>>, CliError> {
    let Some(path) = path else { return Ok(None) };
    let shown = printable(&path.display().to_string());
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut text)) {
        Ok(_) if text.len() as u64 > PEM_BYTES_MAX => Err(CliError::Usage(format!(
            "{shown} ({flag}) has more than {PEM_BYTES_MAX} bytes, so it is no file of certificates or keys"
        ))),
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(CliError::Usage(format!("{shown} ({flag}) cannot be read: {error}"))),
    }
}
