//! Shows URLs and headers without their secrets.

use reqwest::Url;
use reqwest::header::HeaderName;

use crate::output::printable;

/// Stands for a secret.
const MASK: &str = "***";

/// The name of a header with a mask for its value, all of which may be secret. Text that is no header is masked as a whole.
pub(crate) fn masked_header(text: &str) -> String {
    let header = text.split_once('=').map(|(header, _)| header.trim());
    let header = header.filter(|header| HeaderName::from_bytes(header.as_bytes()).is_ok());
    header.map_or_else(|| MASK.to_owned(), |header| format!("{header}={MASK}"))
}

/// A URL without its secrets: its password, everything after `?` or `#`, and its user, which may be a token.
pub(crate) fn masked_url(text: &str, user_is_shown: bool) -> String {
    const NOT_SHOWN: &str = "(not shown: it is not the URL of a server)";
    let Ok(mut url) = Url::parse(text) else { return NOT_SHOWN.into() };
    // A URL without a host is that of a socket's file, or no URL at all: `user:password@host` has the scheme `user`.
    if !url.has_host() && (url.cannot_be_a_base() || !url.scheme().ends_with("unix")) {
        return NOT_SHOWN.into();
    }
    if !url.username().is_empty() && !user_is_shown {
        let _ = url.set_username(MASK);
    }
    if url.password().is_some() {
        let _ = url.set_password(Some(MASK));
    }
    if url.query().is_some() {
        url.set_query(Some(MASK));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some(MASK));
    }
    printable(url.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_header_is_shown() {
        for (text, shown) in [
            ("authorization=Bearer a-secret==", "authorization=***"),
            (" X-Team = a-secret\r", "X-Team=***"),
            ("a-secret", "***"),
            ("authorization: Basic YS1zZWNyZXQ6YQ==", "***"),
            ("a secret=", "***"),
            ("=a-secret", "***"),
        ] {
            assert_eq!(masked_header(text), shown);
        }
    }

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for (text, shown) in [
            ("redis://me:secret@h:1/2", "redis://me:***@h:1/2"),
            ("redis+unix:///tmp/r.sock?pass=secret", "redis+unix:///tmp/r.sock?***"),
            ("https://h/hook?token=secret#secret", "https://h/hook?***#***"),
            ("redis//:secret@h", "(not shown: it is not the URL of a server)"),
        ] {
            assert_eq!(masked_url(text, true), shown);
        }
    }
}
