//! One request and its answer, with a limit on everything the other side could draw out.
//!
//! Redirects are not followed, no proxy of the environment is used, nothing is decompressed, cookies and referers do not exist, TLS is 1.2 or newer, and HTTP is 1.1. The
//! head of an answer has at most [`HEADERS_MAX`] headers (and 400 KiB, the limit of hyper's buffer); interim answers (1xx) are read past until the time is up.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap};
use reqwest::{Response, StatusCode, Url};
use retraced::{Code, Failure};

use super::resolver::Refused;
use crate::output::span;

/// Most bytes of an answer's body that are read. The connection is closed on the rest.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer; one with more is no answer.
const HEADERS_MAX: usize = 100;
/// How long an idle connection is kept for the next job.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// How long the other side may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// To be found and connected to, TLS included.
    pub(super) connect: Duration,
    /// From the beginning of the connection to the last byte of the answer.
    pub(super) whole: Duration,
    /// To send the next byte of a body it has begun.
    pub(super) silence: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// At most [`BODY_BYTES_MAX`] bytes; cut without a mark.
    pub(super) body: Vec<u8>,
}

/// Sends requests.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    limits: Limits,
}

impl Client {
    /// A client that finds names by the resolver. Without `tls` it needs no certificates of authorities, and so works on a machine that has none.
    pub(super) fn new(limits: Limits, resolver: Arc<dyn Resolve>, tls: bool) -> Result<Self, String> {
        // Another one may be installed already; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("retraced/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(resolver)
            .http1_only()
            .http1_max_headers(HEADERS_MAX)
            .connect_timeout(limits.connect)
            .timeout(limits.whole)
            .pool_idle_timeout(IDLE_MAX)
            .tcp_nodelay(true);
        if !tls {
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| {
            format!(
                "no HTTP client: {}; for https install ca-certificates, or name a file of them in SSL_CERT_FILE",
                root(&error)
            )
        })?;
        Ok(Self { http, limits })
    }

    /// Sends a body and waits for the answer.
    pub(super) async fn post(&self, to: &Url, headers: HeaderMap, body: Vec<u8>) -> Result<Reply, Failure> {
        let request = self.http.post(to.clone()).headers(headers).header(ACCEPT_ENCODING, "identity").body(body);
        let mut response = request.send().await.map_err(|error| self.trouble(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, broken) = self.body(&mut response).await;
        match broken {
            // A status of failure says enough; one of success does not, because the rest of the body might have said otherwise.
            Some(broken) if status.is_success() => Err(broken),
            _ => Ok(Reply { status, headers, body }),
        }
    }

    /// The body as far as it is read, and what ended it before its time.
    async fn body(&self, response: &mut Response) -> (Vec<u8>, Option<Failure>) {
        let mut body = Vec::new();
        while body.len() < BODY_BYTES_MAX {
            match tokio::time::timeout(self.limits.silence, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - body.len())]),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return (body, Some(self.trouble(&error))),
                Err(_) => {
                    let silence = spoken(self.limits.silence);
                    let told = format!("the webhook began to answer and then sent nothing for {silence}");
                    return (body, Some(Failure::new(Code::Timeout, told)));
                }
            }
        }
        (body, None)
    }

    /// No answer, or half of one. The library's own words name the URL and say little: what lies at the root is told.
    fn trouble(&self, error: &reqwest::Error) -> Failure {
        let Limits { connect, whole, .. } = self.limits;
        let cause = root(error);
        let (code, told) = match (error.is_timeout(), error.is_connect()) {
            (true, true) if connect < whole => {
                (Code::Timeout, format!("no connection to the webhook within {}", spoken(connect)))
            }
            (true, _) => (Code::Timeout, format!("the webhook did not answer in time: {} are over", spoken(whole))),
            (false, true) if cause.is::<Refused>() => {
                (Code::NetworkError, format!("the webhook was not connected to: {cause}"))
            }
            (false, true) => (Code::NetworkError, format!("the webhook cannot be reached: {cause}")),
            (false, false) => (Code::NetworkError, format!("the webhook gave no proper answer: {cause}")),
        };
        Failure::new(code, told)
    }
}

fn spoken(duration: Duration) -> String {
    span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The deepest cause.
fn root<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut root = error;
    while let Some(deeper) = root.source() {
        root = deeper;
    }
    root
}
