//! Sends one request and reads its response, with a bound on everything the receiver controls.
//!
//! Redirects are not followed, no proxy of the environment is used, nothing is decompressed, no cookies or referers are sent, TLS is 1.2 or newer, and HTTP is 1.1. The
//! head of a response has at most [`HEADERS_MAX`] headers (and about 400 KiB, the limit of hyper's buffer); any number of interim responses (1xx) is skipped until the
//! timeout.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap};
use reqwest::{ClientBuilder, Proxy, Response, StatusCode, Url};
use retraced::{Code, Failure, Resource};

use super::headers::WEBHOOK_ID;
use super::resolver::Refused;
use super::reuse::{Connection, NoteConnection, noting_connection};
use crate::limits::{BODY_BYTES_MAX, CONNECTION_IDLE_MAX, HEADERS_MAX, RESEND_WITHIN};
use crate::output::{duration_text, millis};

/// Timeouts of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// To resolve the name and connect, TLS included.
    pub(super) connect: Duration,
    /// From the first sending to the last byte of the response, a second sending included.
    pub(super) whole: Duration,
    /// The longest pause between two pieces of a response body.
    pub(super) silence: Duration,
}

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The first [`BODY_BYTES_MAX`] bytes; nothing marks that there were more.
    pub(super) body: Vec<u8>,
}

/// The root certificates of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roots {
    /// Those of the operating system.
    System,
    /// None, so that a client for plain http works on a machine that has none.
    None,
}

/// Sends requests.
#[derive(Clone)]
pub(super) struct Client {
    /// Keeps connections for later requests.
    pooled: reqwest::Client,
    /// Opens a connection for each request.
    unpooled: reqwest::Client,
    timeouts: Timeouts,
    /// What messages say about the way to the receiver.
    through: &'static str,
}

impl Client {
    /// A client that uses this resolver.
    pub(super) fn new(
        timeouts: Timeouts,
        resolver: Arc<dyn Resolve>,
        roots: Roots,
        proxy: Option<Proxy>,
    ) -> Result<Self, String> {
        // If a provider is installed already, this fails and that provider is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let build = |builder: ClientBuilder| builder.build().map_err(|error| not_created(&error));
        let through = if proxy.is_some() { " through the proxy" } else { "" };
        let pooled = build(client_builder(timeouts, resolver.clone(), roots, proxy.clone()))?;
        let unpooled = build(client_builder(timeouts, resolver, roots, proxy).pool_max_idle_per_host(0))?;
        Ok(Self { pooled, unpooled, timeouts, through })
    }

    /// Sends a body and waits for the response. A kept connection may have been closed by the receiver just as the request went out: if it breaks within [`RESEND_WITHIN`],
    /// the request is sent once more, on a new connection. It carries the same `webhook-id`.
    pub(super) async fn post(&self, to: &Url, headers: HeaderMap, body: Vec<u8>) -> Result<Reply, Failure> {
        let begun = Instant::now();
        let body = Bytes::from(body);
        let send = |client: &reqwest::Client, within| {
            let request = client.post(to.clone()).headers(headers.clone()).header(ACCEPT_ENCODING, "identity");
            request.body(body.clone()).timeout(within).send()
        };
        let (sent, connection) = noting_connection(send(&self.pooled, self.timeouts.whole)).await;
        let mut response = match sent {
            Ok(response) => response,
            Err(broken)
                if connection != Connection::Opened
                    && begun.elapsed() < RESEND_WITHIN
                    && broke_before_response(&broken) =>
            {
                tracing::debug!(
                    id = headers.get(WEBHOOK_ID).and_then(|id| id.to_str().ok()),
                    "a kept connection broke; its request is sent once more"
                );
                let left = self.timeouts.whole.saturating_sub(begun.elapsed());
                let (sent, connection) = noting_connection(send(&self.unpooled, left)).await;
                sent.map_err(|error| self.failure_of_second(to, &error, connection))?
            }
            Err(error) => return Err(self.failure_of(to, &error, connection)),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, broken) = self.body(to, &mut response).await;
        match broken {
            // A failure status is enough. After a success status, the missing rest of the body might have said `"success": false`.
            Some(broken) if status.is_success() => Err(broken),
            _ => Ok(Reply { status, headers, body }),
        }
    }

    /// The body as far as it was read, and the error that ended the reading early.
    async fn body(&self, to: &Url, response: &mut Response) -> (Vec<u8>, Option<Failure>) {
        let response_of = format!("the response of {}{}", receiver(to), self.through);
        let mut body = Vec::new();
        while body.len() < BODY_BYTES_MAX {
            match tokio::time::timeout(self.timeouts.silence, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - body.len())]),
                Ok(Ok(None)) => break,
                Ok(Err(error)) if error.is_timeout() => {
                    let whole = shown(self.timeouts.whole);
                    let message = format!("{response_of} began and did not end within {whole}");
                    return (body, Some(Failure::new(Code::Timeout, message)));
                }
                Ok(Err(error)) => {
                    let message = format!("{response_of} could not be read to its end: {}", deepest_cause(&error));
                    return (body, Some(Failure::new(Code::NetworkError, message)));
                }
                Err(_) => {
                    let silence = shown(self.timeouts.silence);
                    let message = format!("{response_of} began, and then nothing came for {silence}");
                    return (body, Some(Failure::new(Code::Timeout, message)));
                }
            }
        }
        (body, None)
    }

    /// The failure of the second sending of a request. The receiver may have received the first one, so here a lack of a resource counts as a failure, not as a release.
    fn failure_of_second(&self, to: &Url, error: &reqwest::Error, connection: Connection) -> Failure {
        match Resource::missing_in(error) {
            Some(_) => {
                let message = format!(
                    "the connection to {}{} broke before a response, and the request could not be sent again: {}",
                    receiver(to),
                    self.through,
                    deepest_cause(error)
                );
                Failure::new(Code::NetworkError, message)
            }
            None => {
                let second = self.failure_of(to, error, connection);
                let message = format!("a kept connection broke, and the request was sent again: {}", second.message());
                Failure::new(second.code(), message)
            }
        }
    }

    /// The failure of a sending that got no response. The message of `reqwest` contains the URL, which may be secret, so only host, port and the deepest cause are reported.
    fn failure_of(&self, to: &Url, error: &reqwest::Error, connection: Connection) -> Failure {
        let Timeouts { connect, whole, .. } = self.timeouts;
        let (receiver, through, cause) = (receiver(to), self.through, deepest_cause(error));
        if let Some(resource) = Resource::missing_in(error) {
            return Failure::out_of(resource, format!("the request could not be made or finished: {cause}"));
        }
        let (code, message) = match (error.is_timeout(), error.is_connect()) {
            // If `whole` ends first, the error does not say that there was no connection yet.
            (true, connect_ended) if connect_ended || connection == Connection::Opening => {
                let tls = if to.scheme() == "https" { "TLS " } else { "" };
                let within = shown(if connect_ended { connect } else { whole });
                (Code::Timeout, format!("no {tls}connection to {receiver}{through} within {within}"))
            }
            (true, _) => (Code::Timeout, format!("{receiver} did not respond{through} within {}", shown(whole))),
            (false, true) if cause.is::<Refused>() => {
                (Code::NetworkError, format!("the webhook's address was refused: {cause}"))
            }
            (false, true) => (Code::NetworkError, format!("{receiver} cannot be reached{through}: {cause}")),
            (false, false) if broke_before_response(error) => {
                (Code::NetworkError, format!("the connection to {receiver}{through} broke before a response: {cause}"))
            }
            (false, false) => {
                (Code::NetworkError, format!("the response of {receiver}{through} could not be read: {cause}"))
            }
        };
        Failure::new(code, message)
    }
}

/// What the clients with and without a pool have in common.
fn client_builder(timeouts: Timeouts, resolver: Arc<dyn Resolve>, roots: Roots, proxy: Option<Proxy>) -> ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("retraced/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .dns_resolver(resolver)
        .http1_only()
        .http1_max_headers(HEADERS_MAX)
        .connect_timeout(timeouts.connect)
        .connector_layer(NoteConnection)
        .pool_idle_timeout(CONNECTION_IDLE_MAX)
        .tcp_nodelay(true);
    let builder = match proxy {
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    };
    if roots == Roots::None { builder.tls_certs_only([]) } else { builder }
}

/// What to say of a client that could not be created.
fn not_created(error: &reqwest::Error) -> String {
    // The TLS library fails only if it finds no root certificates.
    let lacks_roots = causes(error).any(|cause| cause.is::<rustls::Error>());
    let hint = if lacks_roots { "; for https, install ca-certificates or set SSL_CERT_FILE" } else { "" };
    format!("the HTTP client cannot be created: {}{hint}", deepest_cause(error))
}

/// Whether the connection ended before the head of a response was there.
fn broke_before_response(error: &reqwest::Error) -> bool {
    if error.is_timeout() || error.is_connect() {
        return false;
    }
    causes(error).any(|cause| {
        let http = cause.downcast_ref::<hyper::Error>();
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        http.is_some_and(|error| error.is_incomplete_message() || error.is_canceled() || error.is_closed())
            || matches!(
                io,
                Some(
                    ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::BrokenPipe
                        | ErrorKind::UnexpectedEof
                )
            )
    })
}

/// Host and port, by which messages name the receiver of a webhook.
fn receiver(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

fn shown(duration: Duration) -> String {
    duration_text(millis(duration))
}

/// An error and its causes, the deepest one last.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

fn deepest_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    causes(error).last().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn certificates_are_named_only_where_they_can_be_the_cause() {
        let error = reqwest::Client::builder().user_agent("a\nb").build().unwrap_err();
        let message = not_created(&error);
        assert!(!message.contains("certificates"), "{message}");
    }
}
