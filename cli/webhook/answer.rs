//! Turns a response into the outcome of the job. If the body says `"success": false` with an error code that exists, this code decides. In all other cases the status does, with
//! one exception: a 2xx whose body has a field `success` with any other value than `true` is a failure.

use std::fmt;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};
use retraced::{Class, Code, Failure};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::client::Reply;
use crate::limits::QUOTED_CHARS_MAX;

/// Error codes that a response may use. Codes that only a worker can know are not among them.
const RESPONSE_CODES: [Code; 11] = [
    Code::InvalidJobData,
    Code::AuthenticationFailed,
    Code::AuthorizationFailed,
    Code::NetworkError,
    Code::Timeout,
    Code::ServiceUnavailable,
    Code::RateLimitExceeded,
    Code::JobCreationFailed,
    Code::JobNotFound,
    Code::JobExecutionFailed,
    Code::UnknownError,
];

/// The outcome of the attempt. `now` turns a `Retry-After` that names an instant into a delay.
pub(super) fn judge(reply: &Reply, now: SystemTime) -> Result<(), Failure> {
    let Reply { status, headers, body } = reply;
    let text = String::from_utf8_lossy(body);
    let by_status = failure_of_status(*status);
    let ((code, class), detail) = match Answer::read(&text) {
        Some(Answer { success: true, .. }) | None if status.is_success() => return Ok(()),
        // A receiver whose status is a failure and whose body says "success" is not trusted.
        Some(Answer { success: true, .. }) => (by_status, "the body says success, but the status does not".into()),
        Some(answer) => answer.code_and_message(*status),
        None if status.is_redirection() => (by_status, "redirects are not followed; configure the target URL".into()),
        // Compressed, although that was not asked for: a quotation would show garbage.
        None if headers.contains_key(CONTENT_ENCODING) => (by_status, String::new()),
        None => (by_status, in_short(&text)),
    };
    let mut message = format!("HTTP {status}");
    if !detail.is_empty() {
        let _ = write!(message, ": {detail}");
    }
    let failure = match class {
        Class::Temporary => Failure::temporary(code, message),
        Class::Permanent => Failure::permanent(code, message),
        Class::Unknown => Failure::new(code, message),
    };
    match retry_after(headers, now).filter(|_| failure.class() == Class::Temporary) {
        Some(delay) => Err(failure.retry_after(delay)),
        None => Err(failure),
    }
}

/// The answer in a body: `{"success": true}`, or `{"success": false, "error": {"code", "message"}}`, where `error` may also be a text, the message.
#[derive(Default)]
struct Answer {
    success: bool,
    code: Option<String>,
    message: Option<String>,
}

impl Answer {
    /// The answer in a body, if there is one. A body that is cut off or invalid is read as far as possible: `"success": false` must not count as a success because the
    /// end of the body is missing.
    fn read(text: &str) -> Option<Self> {
        let mut fields = Fields::default();
        let complete = (&mut fields).deserialize(&mut serde_json::Deserializer::from_str(text)).is_ok();
        let success = match fields.success? {
            Success::Said(Value::Bool(success)) => success,
            // Whoever says `"success": "false"` must not be taken to have said nothing.
            Success::Said(other) => {
                let other = in_short(&other.to_string());
                return Some(Self::failed(format!("the field \"success\" of the body is {other}, not true or false")));
            }
            Success::Unreadable => {
                return Some(Self::failed("the value of \"success\" is cut off or invalid".into()));
            }
        };
        let mut answer = Self { success, ..Self::default() };
        match fields.error {
            Some(Value::Object(mut error)) => {
                let mut text = |field: &str| match error.remove(field) {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                };
                (answer.code, answer.message) = (text("code"), text("message"));
            }
            Some(Value::String(message)) => answer.message = Some(message),
            // The missing part may have been the message.
            None if !complete => answer.message = Some("no complete message was given".into()),
            _ => {}
        }
        Some(answer)
    }

    /// An answer that is taken for a failure without a code.
    fn failed(message: String) -> Self {
        Self { success: false, code: None, message: Some(message) }
    }

    /// The code and the message of an answer with `"success": false`.
    fn code_and_message(self, status: StatusCode) -> ((Code, Class), String) {
        let message = self.message.unwrap_or_else(|| "no message was given".into());
        let otherwise =
            if status.is_success() { with_own_class(Code::JobExecutionFailed) } else { failure_of_status(status) };
        let Some(code) = self.code else { return (otherwise, message) };
        match code.parse().ok().filter(|code| RESPONSE_CODES.contains(code)) {
            Some(code) => (with_own_class(code), message),
            None => (otherwise, format!("unknown error code {}: {message}", in_short(&code))),
        }
    }
}

/// The field `success` of an answer.
enum Success {
    Said(Value),
    /// Its value is cut off or invalid.
    Unreadable,
}

/// The fields of an answer, recorded one by one, so that those before an error of the parser are kept.
#[derive(Default)]
struct Fields {
    success: Option<Success>,
    error: Option<Value>,
}

impl<'de> DeserializeSeed<'de> for &mut Fields {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Fields {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "success" => {
                    // Stays if the value cannot be read.
                    self.success = Some(Success::Unreadable);
                    self.success = Some(Success::Said(map.next_value()?));
                }
                "error" => self.error = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The beginning of a text, in one line.
fn in_short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A code with its own class.
fn with_own_class(code: Code) -> (Code, Class) {
    (code, code.class())
}

/// What a status says without an answer in the body. Statuses about the receiver as a whole (its URL, our credentials) would come for every job of the queue, so none of
/// them poisons a job: the jobs are retried, and somebody may correct the cause meanwhile.
fn failure_of_status(status: StatusCode) -> (Code, Class) {
    match status.as_u16() {
        401 | 407 => (Code::AuthenticationFailed, Class::Temporary),
        403 => (Code::AuthorizationFailed, Class::Temporary),
        408 | 425 => with_own_class(Code::Timeout),
        429 => with_own_class(Code::RateLimitExceeded),
        300..=399 | 404 | 405 | 410 | 421 | 426 => with_own_class(Code::ServiceUnavailable),
        // About the request: another attempt would get the same answer.
        400..=499 => with_own_class(Code::InvalidJobData),
        500..=599 => with_own_class(Code::ServiceUnavailable),
        _ => with_own_class(Code::UnknownError),
    }
}

/// The delay that `Retry-After` asks for: whole seconds, or an HTTP date. It is not bounded here; the retry policy caps it.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Reply {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_vec() }
    }

    fn failed(status: u16, body: &str) -> Option<Failure> {
        judge(&reply(status, &[], body.as_bytes()), SystemTime::UNIX_EPOCH).err()
    }

    fn outcome(status: u16, body: &str) -> Result<(), (Code, Class)> {
        failed(status, body).map_or(Ok(()), |failure| Err((failure.code(), failure.class())))
    }

    #[test]
    fn the_status_decides_unless_the_body_does() {
        for (statuses, code) in [
            (&[300, 301, 302, 303, 304, 307, 308][..], with_own_class(Code::ServiceUnavailable)),
            (&[404, 405, 410, 421, 426], with_own_class(Code::ServiceUnavailable)),
            (&[400, 402, 406, 409, 413, 415, 418, 422, 451, 499], with_own_class(Code::InvalidJobData)),
            (&[401, 407], (Code::AuthenticationFailed, Class::Temporary)),
            (&[403], (Code::AuthorizationFailed, Class::Temporary)),
            (&[408, 425], with_own_class(Code::Timeout)),
            (&[429], with_own_class(Code::RateLimitExceeded)),
            (&[500, 501, 502, 503, 504, 511, 599], with_own_class(Code::ServiceUnavailable)),
            (&[101, 600, 999], with_own_class(Code::UnknownError)),
        ] {
            for status in statuses {
                for body in ["", "<html>", "{\"ok\":1}", "[]", "{\"success\":\"false\"}", "{\"success\":null}"] {
                    assert_eq!(outcome(*status, body), Err(code), "{status} {body}");
                }
            }
        }
        for status in [200, 201, 202, 204, 299] {
            for body in ["", "whatever", "[{\"success\":false}]", "\"success\""] {
                assert_eq!(outcome(status, body), Ok(()), "{status} {body}");
            }
        }
    }

    #[test]
    fn an_answer_with_a_code_decides_whatever_the_status() {
        let said = |code: &str| format!("{{\"success\":false,\"error\":{{\"code\":\"{code}\",\"message\":\"m\"}}}}");
        assert_eq!(outcome(200, "{\"success\":true,\"output\":7}"), Ok(()));
        assert_eq!(outcome(200, &said("NETWORK_ERROR")), Err((Code::NetworkError, Class::Temporary)));
        assert_eq!(outcome(500, &said("INVALID_JOB_DATA")), Err((Code::InvalidJobData, Class::Permanent)));
        assert_eq!(outcome(302, &said("NETWORK_ERROR")), Err((Code::NetworkError, Class::Temporary)));
        assert_eq!(outcome(503, "{\"success\":false}"), Err((Code::ServiceUnavailable, Class::Temporary)));
        assert_eq!(failed(200, &said("NETWORK_ERROR")).unwrap().message(), "HTTP 200 OK: m");
    }

    #[test]
    fn an_answer_that_says_failed_is_a_failure_whatever_the_shape_of_its_error() {
        for error in [
            "",
            ",\"error\":null",
            ",\"error\":7",
            ",\"error\":[]",
            ",\"error\":{}",
            ",\"error\":{\"code\":7,\"message\":{}}",
        ] {
            let body = format!("{{\"success\":false{error}}}");
            assert_eq!(outcome(200, &body), Err((Code::JobExecutionFailed, Class::Unknown)), "{body}");
        }
        let failure = failed(200, "{\"error\":\"no room\",\"success\":false}").unwrap();
        assert_eq!(failure.message(), "HTTP 200 OK: no room");
    }

    #[test]
    fn a_success_that_is_neither_true_nor_false_completes_no_job() {
        for (said, shown) in [("\"false\"", "\"false\""), ("null", "null"), ("0", "0"), ("[true]", "[true]")] {
            let failure = failed(200, &format!("{{\"success\":{said}}}")).unwrap();
            assert_eq!((failure.code(), failure.class()), (Code::JobExecutionFailed, Class::Unknown), "{said}");
            let text = format!("HTTP 200 OK: the field \"success\" of the body is {shown}, not true or false");
            assert_eq!(failure.message(), text);
        }
    }

    #[test]
    fn an_answer_that_says_failed_is_a_failure_even_if_its_end_is_missing() {
        let long = "x".repeat(100_000);
        for (body, code) in [
            (
                format!("{{\"success\":false,\"error\":{{\"code\":\"TIMEOUT\",\"message\":\"m\"}},\"log\":\"{long}"),
                Code::Timeout,
            ),
            (
                format!("{{\"success\":false,\"error\":{{\"code\":\"TIMEOUT\",\"message\":\"{long}"),
                Code::JobExecutionFailed,
            ),
            (format!("{{\"output\":[[{{\"a\":\"b\"}}]],\"success\":false,\"log\":\"{long}"), Code::JobExecutionFailed),
        ] {
            assert_eq!(outcome(200, &body), Err((code, code.class())));
        }
        assert_eq!(outcome(200, &format!("{{\"success\":true,\"output\":\"{long}")), Ok(()));
    }

    #[test]
    fn a_message_tells_a_cut_off_value_from_a_missing_one_and_a_wrong_one() {
        let long = "x".repeat(100_000);
        let unreadable = "the value of \"success\" is cut off or invalid";
        for (body, message) in [
            (
                format!("{{\"success\":false,\"error\":{{\"code\":\"TIMEOUT\",\"message\":\"{long}"),
                "no complete message was given",
            ),
            (format!("{{\"success\":false,\"log\":\"{long}"), "no complete message was given"),
            (format!("{{\"success\":false,\"error\":{{}},\"log\":\"{long}"), "no message was given"),
            ("{\"success\":false}".to_owned(), "no message was given"),
            ("{\"success\":fal".to_owned(), unreadable),
            ("{\"success\":no}".to_owned(), unreadable),
            (
                "{\"success\":\"cut off or invalid\"}".to_owned(),
                "the field \"success\" of the body is \"cut off or invalid\", not true or false",
            ),
        ] {
            let failure = failed(200, &body).unwrap();
            assert_eq!(failure.message(), format!("HTTP 200 OK: {message}"));
        }
    }

    #[test]
    fn deeply_nested_bodies_are_read_without_overflow() {
        for body in ["[".repeat(60_000), "{\"a\":".repeat(10_000), format!("{{\"error\":{}", "[".repeat(60_000))] {
            assert_eq!(outcome(200, &body), Ok(()));
            assert_eq!(outcome(500, &body), Err((Code::ServiceUnavailable, Class::Temporary)));
        }
    }

    #[test]
    fn a_failing_receiver_that_says_success_is_not_believed() {
        assert_eq!(outcome(500, "{\"success\":true}"), Err((Code::ServiceUnavailable, Class::Temporary)));
    }

    #[test]
    fn a_response_cannot_use_a_code_of_the_worker() {
        for code in ["PANIC", "LEASE_LOST", "INTERRUPTED", "NONSENSE"] {
            let body = format!("{{\"success\":false,\"error\":{{\"code\":\"{code}\"}}}}");
            assert_eq!(outcome(200, &body), Err((Code::JobExecutionFailed, Class::Unknown)), "{code}");
        }
    }

    #[test]
    fn an_html_page_is_quoted_in_one_short_line() {
        let page = format!("<html>\r\n  <h1>Oh\u{a0}no</h1>\n{}", "é".repeat(70_000));
        let message = failed(502, &page).unwrap().message().to_owned();
        assert!(message.starts_with("HTTP 502 Bad Gateway: <html> <h1>Oh no</h1> éé"), "{message}");
        assert!(message.ends_with("é…") && message.chars().count() < 400, "{message}");
        let packed = judge(&reply(502, &[("content-encoding", "gzip")], b"\x1f\x8b\x08"), SystemTime::UNIX_EPOCH);
        assert_eq!(packed.unwrap_err().message(), "HTTP 502 Bad Gateway");
        let failure = judge(&reply(500, &[], b"bad \xff\xfe bytes"), SystemTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(failure.message(), "HTTP 500 Internal Server Error: bad \u{fffd}\u{fffd} bytes");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_is_used_only_for_temporary_failures() {
        let now = httpdate::parse_http_date("Thu, 31 Jan 2030 08:00:00 GMT").unwrap();
        let asked = |status: u16, text: &str| {
            judge(&reply(status, &[("retry-after", text)], b""), now).unwrap_err().asked_delay()
        };
        for (text, secs) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Thu, 31 Jan 2030 08:01:30 GMT", Some(90)),
            ("Thursday, 31-Jan-30 08:01:30 GMT", Some(90)),
            ("Thu Jan 31 08:01:30 2030", Some(90)),
            ("Thu, 31 Jan 2030 07:00:00 GMT", Some(0)),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("2030-01-31T08:01:30Z", None),
        ] {
            for status in [429, 500, 503] {
                assert_eq!(asked(status, text), secs.map(Duration::from_secs), "{status} {text}");
            }
            assert_eq!(asked(422, text), None, "{text}");
        }
    }
}
