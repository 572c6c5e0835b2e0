//! Signatures according to [Standard Webhooks](https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`, one for each active secret.
//!
//! The secrets are in a file, one per line, which is read again while the worker runs. To rotate, add the new secret, deploy it to the receivers, and remove the old
//! one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRETS_AGE_MAX, SECRETS_FILE_BYTES_MAX, SECRETS_MAX};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Prefix of Standard Webhooks secrets, followed by base64.
const PREFIX: &str = "whsec_";
/// Prefixes of Standard Webhooks keys for Ed25519, which are not supported.
const PREFIXES_ASYMMETRIC: [&str; 2] = ["whsk_", "whpk_"];

/// Base64 as people paste it: padded or not.
const PASTED: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret, ready to sign. It has no `Debug`, so that no log can show it.
#[derive(Clone)]
struct Secret(Hmac<Sha256>);

impl Secret {
    /// Reads a secret from its line: `whsec_` and base64, or any other text, whose bytes are the secret.
    fn parse(line: &str) -> Result<Self, String> {
        if PREFIXES_ASYMMETRIC.iter().any(|prefix| line.starts_with(prefix)) {
            return Err(format!("this key is for Ed25519; give a secret for HMAC, which begins with {PREFIX}"));
        }
        let bytes = match line.strip_prefix(PREFIX) {
            Some(encoded) => PASTED.decode(encoded).map_err(|_| format!("what follows {PREFIX} is not base64"))?,
            None => line.as_bytes().to_vec(),
        };
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            let length = bytes.len();
            return Err(format!("it has {length} bytes, but must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}"));
        }
        Hmac::new_from_slice(&bytes).map(Secret).map_err(|error| error.to_string())
    }

    fn signature(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

/// The active secrets; each of them signs every request.
#[derive(Clone)]
pub(super) struct Secrets(Arc<[Secret]>);

impl Secrets {
    /// The secrets of a file: one per line; empty lines and those that begin with `#` are skipped. The error about an invalid secret names its line, never its text.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let lines = text.lines().map(str::trim).enumerate();
        let secrets: Vec<Secret> = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(at, line)| Secret::parse(line).map_err(|why| format!("line {}: {why}", at + 1)))
            .collect::<Result<_, _>>()?;
        match secrets.len() {
            0 => Err("it contains no secret".into()),
            1..=SECRETS_MAX => Ok(Self(secrets.into())),
            many => Err(format!("it contains {many} secrets, and at most {SECRETS_MAX} are allowed")),
        }
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        self.0.iter().map(|secret| secret.signature(id, timestamp, body)).collect::<Vec<_>>().join(" ")
    }
}

/// A file of secrets, which is read again when a request is signed, at most once per [`SECRETS_AGE_MAX`].
pub(super) struct SecretFile {
    path: PathBuf,
    cached: Mutex<Cached>,
}

/// The secrets as they were read last.
struct Cached {
    secrets: Secrets,
    /// The result of the last read, so that a change or a new error is reported once.
    last_read: Result<Vec<u8>, String>,
    read_at: Instant,
}

impl SecretFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The file cannot be read, or is not valid.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let bytes = read(path).map_err(|why| format!("the webhook's secrets cannot be read from {shown}: {why}"))?;
        let secrets = Secrets::parse(&bytes).map_err(|why| format!("the webhook's secrets in {shown}: {why}"))?;
        let cached = Cached { secrets, last_read: Ok(bytes), read_at: Instant::now() };
        Ok(Self { path: path.to_owned(), cached: Mutex::new(cached) })
    }

    /// The secrets of the file. If [`SECRETS_AGE_MAX`] has passed since the last read, this caller reads the file again, and others use the secrets read before. While the
    /// file is missing or invalid, the last valid secrets are used.
    pub(super) async fn current(&self) -> Secrets {
        if self.must_read() {
            let path = self.path.clone();
            if let Ok(Some(read)) = tokio::task::spawn_blocking(move || read_again(&path)).await {
                self.update(read);
            }
        }
        self.cached().secrets.clone()
    }

    /// Whether it is time to read the file again. Only one caller receives `true`, and must read the file.
    fn must_read(&self) -> bool {
        let mut cached = self.cached();
        let old = cached.read_at.elapsed() > SECRETS_AGE_MAX;
        if old {
            cached.read_at = Instant::now();
        }
        old
    }

    /// Uses the secrets that were read, if they are new and valid.
    fn update(&self, read: Result<Vec<u8>, String>) {
        let mut cached = self.cached();
        if cached.last_read == read {
            return;
        }
        let shown = self.path.display();
        match read.as_ref().map_err(Clone::clone).and_then(|bytes| Secrets::parse(bytes)) {
            Ok(secrets) => {
                tracing::info!("the webhook's secrets changed: {} are active now", secrets.0.len());
                cached.secrets = secrets;
            }
            Err(why) => {
                tracing::warn!(
                    "the webhook's secrets cannot be read again from {shown}: {why}; the last valid ones stay active"
                );
            }
        }
        cached.last_read = read;
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Cached> {
        // Each change is one assignment, so a panic elsewhere leaves no partial state.
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(SECRETS_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > SECRETS_FILE_BYTES_MAX {
        return Err(format!("it is longer than {SECRETS_FILE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

/// Reads the file again; `None` for a pipe, which can be read only once.
fn read_again(path: &Path) -> Option<Result<Vec<u8>, String>> {
    let is_pipe = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    (!is_pipe).then(|| read(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

    fn signed(file: &str, id: &str, timestamp: u64, body: &str) -> String {
        Secrets::parse(file.as_bytes()).unwrap_or_else(|why| panic!("{why}")).sign(id, timestamp, body.as_bytes())
    }

    fn refused(file: &str) -> String {
        Secrets::parse(file.as_bytes()).err().unwrap()
    }

    #[test]
    fn the_published_test_vector_of_standard_webhooks_matches() {
        let published = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(SECRET, ID, 1_614_265_330, "{\"test\": 2432232314}"), published);
    }

    #[test]
    fn a_byte_of_the_id_the_time_or_the_body_changes_the_signature() {
        let base = signed(SECRET, ID, 1_614_265_330, "{}");
        for other in [
            signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJel", 1_614_265_330, "{}"),
            signed(SECRET, ID, 1_614_265_331, "{}"),
            signed(SECRET, ID, 1_614_265_330, "{ }"),
            signed("whsec_NfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ID, 1_614_265_330, "{}"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn each_active_secret_signs_in_the_order_of_the_file() {
        let other = "a text of at least 24 bytes";
        let (first, second) = (signed(SECRET, ID, 7, "{}"), signed(other, ID, 7, "{}"));
        let file = format!("# rotated in May\n{other}\n\n  {SECRET}\r\n");
        assert_eq!(signed(&file, ID, 7, "{}"), format!("{second} {first}"));
    }

    #[test]
    fn a_secret_is_base64_after_the_prefix_and_plain_text_without_it() {
        let text = "abcdefghijklmnopqrstuvwxyz";
        let encoded = format!("{PREFIX}{}", BASE64.encode(text));
        assert!(encoded.ends_with('='));
        for same in [encoded.as_str(), encoded.trim_end_matches('=')] {
            assert_eq!(signed(same, ID, 7, "{}"), signed(text, ID, 7, "{}"), "{same}");
        }
    }

    #[test]
    fn an_invalid_secrets_file_is_reported_by_line_and_never_by_text() {
        for (file, phrase) in [
            ("".to_owned(), "it contains no secret"),
            ("# hush-hush\n\n".to_owned(), "it contains no secret"),
            (format!("{SECRET}\nhush-hush"), "line 2: it has 9 bytes, but must have 24 to 512"),
            ("whsec_aHVzaA==".to_owned(), "line 1: it has 4 bytes"),
            ("whsec_hush-hush!".to_owned(), "line 1: what follows whsec_ is not base64"),
            ("whsk_hush".to_owned(), "line 1: this key is for Ed25519"),
            ("hush".repeat(129), "line 1: it has 516 bytes"),
            (format!("{SECRET}\n").repeat(9), "it contains 9 secrets, and at most 8"),
        ] {
            let why = refused(&file);
            assert!(why.starts_with(phrase) && !why.contains("hush"), "{why}");
        }
        assert_eq!(Secrets::parse(b"\xff\xfe").err().unwrap(), "it is not UTF-8");
    }

    #[tokio::test]
    async fn while_the_file_is_missing_or_invalid_the_last_valid_secrets_stay_active() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        std::fs::write(&path, SECRET).unwrap();
        let file = SecretFile::open(&path).unwrap();
        let sign = |secrets: Secrets| secrets.sign(ID, 7, b"{}");
        let first = sign(file.current().await);
        let new = "another text of at least 24 bytes";
        for (content, expected) in
            [(Some("short"), first.clone()), (None, first), (Some(new), signed(new, ID, 7, "{}"))]
        {
            match content {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            // As if the file had been read long ago.
            let Some(long_ago) = Instant::now().checked_sub(2 * SECRETS_AGE_MAX) else { return };
            file.cached().read_at = long_ago;
            assert_eq!(sign(file.current().await), expected, "{content:?}");
        }
    }
}
