//! The headers of requests: the names of those that Standard Webhooks defines, and custom headers, given as `NAME=VALUE`.

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER};
use reqwest::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};

use crate::limits::{OWN_HEADER_BYTES_MAX, OWN_HEADERS_MAX};

pub(super) const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
pub(super) const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub(super) const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Headers that the worker or HTTP itself sets.
const RESERVED: [HeaderName; 14] = [
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    WEBHOOK_SIGNATURE,
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The headers, or what is wrong with one of them. Values may be secret, so the text names none.
pub(super) fn parse(given: &[String]) -> Result<HeaderMap, String> {
    // Empty ones are skipped: a list with one header per line may end with a line break.
    let given = || given.iter().zip(1..).filter(|(text, _)| !text.trim().is_empty());
    if given().count() > OWN_HEADERS_MAX {
        return Err(format!("at most {OWN_HEADERS_MAX} headers may be added"));
    }
    let mut headers = HeaderMap::new();
    for (text, n) in given() {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("number {n} has no \"=\"; write NAME=VALUE"))?;
        let name: HeaderName = name.trim().parse().map_err(|_| format!("number {n} has no valid header name"))?;
        if RESERVED.contains(&name) {
            return Err(format!("{name} is set by the worker itself"));
        }
        if text.len() > OWN_HEADER_BYTES_MAX {
            return Err(format!("{name} has more than {OWN_HEADER_BYTES_MAX} bytes"));
        }
        let value = HeaderValue::from_str(value.trim());
        let mut value = value.map_err(|_| format!("the value of {name} has a character that headers may not have"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(texts: &[&str]) -> Result<HeaderMap, String> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_value_keeps_its_equal_signs_and_a_name_may_be_given_twice() {
        let headers = parsed(&["Authorization=Basic YTpi==", "x-a=1", "X-A=2", "x-empty="]).unwrap();
        assert_eq!(headers["authorization"], "Basic YTpi==");
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers["x-empty"], "");
    }

    #[test]
    fn blank_lines_are_not_taken_for_headers() {
        let headers = parsed(&["", "x-a=1\r", " ", "x-b=2", ""]).unwrap();
        assert_eq!(
            (headers.len(), &headers["x-a"], &headers["x-b"]),
            (2, &"1".parse().unwrap(), &"2".parse().unwrap())
        );
        assert_eq!(parsed(&vec![""; OWN_HEADERS_MAX + 1]).unwrap().len(), 0);
        assert!(parsed(&["x-a=1", "", "a-secret"]).unwrap_err().contains("number 3 has no"));
    }

    #[test]
    fn a_bad_header_is_not_sent_and_its_value_is_not_shown() {
        for (text, why) in [
            ("a-secret", "number 1 has no \"=\""),
            ("=a-secret", "number 1 has no valid header name"),
            ("two words=a-secret", "number 1 has no valid header name"),
            ("x-a=a-secret\r\nx-b: 1", "the value of x-a has a character"),
            ("x-a=a-secret\0", "the value of x-a has a character"),
            ("Host=a-secret", "host is set by the worker itself"),
            ("webhook-ID=a-secret", "webhook-id is set by the worker itself"),
            ("transfer-encoding=chunked", "transfer-encoding is set by the worker itself"),
        ] {
            let error = parsed(&[text]).unwrap_err();
            assert!(error.contains(why) && !error.contains("a-secret"), "{text:?}: {error}");
        }
        let long = format!("x-a={}", "x".repeat(OWN_HEADER_BYTES_MAX));
        assert!(parsed(&[&long]).unwrap_err().contains("more than"));
        assert!(parsed(&vec!["x-a=1"; OWN_HEADERS_MAX + 1]).unwrap_err().contains("at most"));
    }
}
