//! A handler that sends each job to a webhook, and reads from the answer what became of it.
//!
//! The body is `{id, queue, kind, attempt, max_attempts, enqueued_at, payload}`. An answer `{"success":false,"error":{"code","message"}}` decides, and so does
//! `{"success":true}` under a 2xx status; without such a body the status does. What a broken or hostile server can cost is bounded: redirects are not followed, no
//! proxy of the environment is used, nothing is decompressed, at most [`BODY_BYTES_MAX`] are read, and connecting and the whole exchange have time limits.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use retraced_jobs::codec;
use retraced_jobs::failure::{Class, Code};
use retraced_jobs::job::{JobId, Kind, QueueName};
use serde::{Deserialize, Serialize};

use super::output::{instant, printable, short};
use crate::{Context, Failure, RawJob};

/// How long connecting may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read; a longer one is cut, and its status decides.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Characters of an answer that are kept in a failure's message.
const SHOWN_CHARS_MAX: usize = 300;
/// How long an idle connection is kept for the next job.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// What an answer may call its error. Codes that only a worker can know are not among them.
const CODES_OF_OTHERS: [Code; 11] = [
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

/// Where jobs are sent.
#[derive(Clone)]
pub(super) struct Webhook {
    client: Client,
    url: Url,
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a JobId,
    queue: &'a QueueName,
    kind: &'a Kind,
    attempt: u32,
    max_attempts: u32,
    enqueued_at: String,
    payload: serde_json::Value,
}

/// An answer that decides.
#[derive(Deserialize)]
struct Answer {
    success: bool,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    code: Option<String>,
    message: Option<String>,
}

impl Webhook {
    /// A webhook whose requests may take as long as `timeout`, from the first byte of the connection to the last of the answer.
    pub(super) fn new(url: Url, timeout: Duration) -> Result<Self, String> {
        // Another one may be installed already; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("retraced/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .pool_idle_timeout(IDLE_MAX)
            .tcp_nodelay(true);
        if url.scheme() == "http" {
            // Never used, and so not worth failing for on a machine without certificates of authorities.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| {
            let why = causes(&error);
            format!("no HTTP client: {why}; for https install ca-certificates, or name a file of them in SSL_CERT_FILE")
        })?;
        Ok(Self { client, url })
    }

    /// Where jobs are sent, without user, password and query.
    pub(super) fn shown(&self) -> String {
        shown(&self.url)
    }

    /// Sends one job; the answer decides.
    pub(super) async fn send(&self, job: RawJob, ctx: &Context) -> Result<(), Failure> {
        let payload = codec::to_json(&job.payload).map_err(|error| Failure::new(Code::DecodeFailed, error))?;
        let body = Body {
            id: &job.id,
            queue: &job.queue,
            kind: &job.kind,
            attempt: ctx.attempt(),
            max_attempts: ctx.max_attempts(),
            enqueued_at: instant(ctx.enqueued_ms()),
            payload,
        };
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", job.id.to_string())
            .header("webhook-timestamp", Timestamp::now().as_second().to_string())
            .body(serde_json::to_vec(&body)?);
        let mut response = request.send().await.map_err(trouble)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut read = Vec::new();
        while read.len() < BODY_BYTES_MAX {
            match response.chunk().await {
                Ok(Some(chunk)) => read.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - read.len())]),
                Ok(None) => return judge(status, &headers, &read),
                // A status of failure says enough; one of success does not, because the body might have said otherwise.
                Err(_) if !status.is_success() => return judge(status, &headers, &read),
                Err(error) => return Err(trouble(error)),
            }
        }
        judge(status, &headers, &read)
    }
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    printable(&format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path()))
}

/// What became of the job, by body and status.
fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Failure> {
    let answer = serde_json::from_slice::<Answer>(body).ok();
    let (code, said) = match answer {
        Some(Answer { success: true, .. }) if status.is_success() => return Ok(()),
        None if status.is_success() => return Ok(()),
        // A server that fails and says "success" is not to be believed.
        Some(Answer { success: true, .. }) => {
            (of_status(status), "it says success, but its status does not".to_owned())
        }
        Some(Answer { error, .. }) => {
            let AnswerError { code, message } = error.unwrap_or(AnswerError { code: None, message: None });
            let message = message.unwrap_or_else(|| "it gave no message".into());
            let known = code.as_deref().and_then(|code| code.parse().ok()).filter(|c| CODES_OF_OTHERS.contains(c));
            match (known, code) {
                (Some(known), _) => (known, message),
                (None, Some(code)) => {
                    (unknown_to(status), format!("unknown error code {}: {message}", short(&code, SHOWN_CHARS_MAX)))
                }
                (None, None) => (unknown_to(status), message),
            }
        }
        None => (of_status(status), short(String::from_utf8_lossy(body).trim(), SHOWN_CHARS_MAX)),
    };
    let mut message = format!("the webhook answered {status}");
    if !said.is_empty() {
        let _ = write!(message, ": {said}");
    }
    let failure = Failure::new(code, message);
    match retry_after(headers, Timestamp::now()).filter(|_| failure.class() == Class::Temporary) {
        Some(delay) => Err(failure.retry_after(delay)),
        None => Err(failure),
    }
}

/// The code of an answer that failed without a code we know.
fn unknown_to(status: StatusCode) -> Code {
    if status.is_success() { Code::JobExecutionFailed } else { of_status(status) }
}

fn of_status(status: StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::AuthenticationFailed,
        403 => Code::AuthorizationFailed,
        408 | 425 => Code::Timeout,
        429 => Code::RateLimitExceeded,
        // Whatever else a client did wrong, it will do wrong again; and redirects are not followed.
        300..=499 => Code::InvalidJobData,
        500..=599 => Code::ServiceUnavailable,
        _ => Code::UnknownError,
    }
}

/// When the other side wants to be asked again: whole seconds, or an HTTP date. The retry policy's maximum caps it.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let ms = at.as_millisecond().saturating_sub(now.as_millisecond());
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// No answer, or half of one.
fn trouble(error: reqwest::Error) -> Failure {
    let code = if error.is_timeout() { Code::Timeout } else { Code::NetworkError };
    let what = if error.is_timeout() {
        "the webhook did not answer in time"
    } else if error.is_connect() {
        "the webhook cannot be reached"
    } else {
        "the connection to the webhook broke"
    };
    Failure::new(code, format!("{what}: {}", causes(&error.without_url())))
}

/// An error with its causes in one line; the library's own words alone say little.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        let _ = write!(text, ": {deeper}");
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn verdict(status: u16, body: &str) -> Result<(), (Code, Class)> {
        judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
            .map_err(|failure| (failure.code(), failure.class()))
    }

    #[test]
    fn the_status_decides_without_a_body_that_does() {
        for (statuses, code) in [
            (&[300, 301, 302, 304, 400, 404, 405, 409, 410, 413, 415, 422][..], Code::InvalidJobData),
            (&[401], Code::AuthenticationFailed),
            (&[403], Code::AuthorizationFailed),
            (&[408, 425], Code::Timeout),
            (&[429], Code::RateLimitExceeded),
            (&[500, 502, 503, 504], Code::ServiceUnavailable),
        ] {
            for status in statuses {
                for body in ["", "<html>", "{\"ok\":1}", "[]"] {
                    assert_eq!(verdict(*status, body), Err((code, code.class())), "{status} {body}");
                }
            }
        }
        for status in [200, 201, 202, 204] {
            assert_eq!(verdict(status, "whatever"), Ok(()));
        }
    }

    #[test]
    fn an_answer_decides_over_its_status() {
        let said = |code: &str| format!("{{\"success\":false,\"error\":{{\"code\":\"{code}\",\"message\":\"m\"}}}}");
        assert_eq!(verdict(200, "{\"success\":true,\"output\":7}"), Ok(()));
        assert_eq!(verdict(200, &said("NETWORK_ERROR")), Err((Code::NetworkError, Class::Temporary)));
        assert_eq!(verdict(500, &said("INVALID_JOB_DATA")), Err((Code::InvalidJobData, Class::Permanent)));
        assert_eq!(verdict(200, "{\"success\":false}"), Err((Code::JobExecutionFailed, Class::Unknown)));
        assert_eq!(verdict(503, "{\"success\":false}"), Err((Code::ServiceUnavailable, Class::Temporary)));
    }

    #[test]
    fn a_failing_server_that_says_success_is_not_believed() {
        assert_eq!(verdict(500, "{\"success\":true}"), Err((Code::ServiceUnavailable, Class::Temporary)));
    }

    #[test]
    fn nobody_outside_can_claim_a_code_of_the_worker() {
        for code in ["PANIC", "LEASE_LOST", "INTERRUPTED", "NONSENSE"] {
            let body = format!("{{\"success\":false,\"error\":{{\"code\":\"{code}\"}}}}");
            assert_eq!(verdict(200, &body), Err((Code::JobExecutionFailed, Class::Unknown)), "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2030-01-31T08:00:00Z".parse().unwrap();
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Thu, 31 Jan 2030 08:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(asked("Thu, 31 Jan 2030 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = "https://user:secret@example.com:8443/hook?token=secret#secret".parse().unwrap();
        assert_eq!(shown(&url), "https://example.com:8443/hook");
    }
}
