//! A handler that sends each job to a webhook, and reads the outcome from the response. `docs/webhooks.md` describes the receiver's side.
//!
//! One duty per file: `destination` checks the URL, `resolver` the addresses of its host, `address` knows which addresses are public, `client` sends requests and bounds
//! responses, `reuse` knows what connection a request had, `headers` reads custom headers, `proxy` the URL of a proxy, `sign` signs requests, `answer` turns
//! responses into outcomes.

mod address;
mod answer;
mod client;
mod destination;
mod headers;
mod proxy;
mod resolver;
mod reuse;
mod sign;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::dns::{Name, Resolve};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Proxy, Url};
use retraced::codec::{self, JsonText};
use retraced::view::Timestamp;
use retraced::{Code, Context, Failure, JobId, Kind, QueueName, RawJob, Stop};
use serde::Serialize;

use self::client::{Client, Roots, Timeouts};
pub(super) use self::destination::Addresses;
use self::destination::Destination;
use self::headers::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use self::resolver::{PublicOnly, Refused, System};
use self::sign::SecretFile;
use crate::error::CliError;
use crate::limits::{CONNECT_TIMEOUT, SILENCE_MAX};
use crate::output::{one_line, warn};

/// Where jobs are sent, and how.
#[derive(Clone)]
pub(super) struct Webhook {
    to: Destination,
    client: Client,
    resolver: Arc<dyn Resolve>,
    secrets: Option<Arc<SecretFile>>,
    /// Custom headers.
    headers: HeaderMap,
    /// Requests go through a proxy, which resolves the names of hosts.
    proxied: bool,
}

/// Refuses a proxy that may not be given as a flag, which process lists show.
pub(super) fn check_proxy_flag(proxy: &str) -> Result<(), CliError> {
    proxy::check_flag(proxy).map_err(|why| CliError::Usage(format!("--proxy: {why}")))
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a JobId,
    queue: &'a QueueName,
    kind: &'a Kind,
    /// [`Context::attempt`]: the job's failures so far + 1, to be compared with `max_attempts`.
    attempt: u32,
    max_attempts: u32,
    enqueued_at: Timestamp,
    payload: JsonText,
}

impl Webhook {
    /// A webhook whose requests time out after `timeout`, from the first sending to the last byte of the response, a second sending included.
    pub(super) fn new(
        url: &str,
        addresses: Addresses,
        secrets: Option<&Path>,
        headers: &[String],
        proxy: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let usage = |why| CliError::Usage(format!("--webhook: {why}"));
        let headers = headers::parse(headers).map_err(|why| CliError::Usage(format!("--header: {why}")))?;
        let proxy = proxy.map(proxy::parse).transpose();
        let proxy = proxy.map_err(|why| CliError::Usage(format!("--proxy: {why}")))?;
        let to = Destination::parse(url, addresses).map_err(usage)?;
        let timeouts = Timeouts { connect: CONNECT_TIMEOUT, whole: timeout, silence: SILENCE_MAX };
        let encrypted = std::iter::once(to.url()).chain(&proxy).any(|url| url.scheme() == "https");
        let roots = if encrypted { Roots::System } else { Roots::None };
        let mut webhook = match proxy {
            Some(proxy) => Self::through(proxy, to, timeouts, roots),
            None => Self::with_resolver(Arc::new(System), to, timeouts, roots),
        }
        .map_err(CliError::Failed)?;
        webhook.secrets = secrets.map(SecretFile::open).transpose().map_err(CliError::Failed)?.map(Arc::new);
        webhook.headers = headers;
        Ok(webhook)
    }

    /// A webhook that uses this resolver, and refuses the addresses that its destination does not allow.
    fn with_resolver(
        resolver: Arc<dyn Resolve>,
        to: Destination,
        timeouts: Timeouts,
        roots: Roots,
    ) -> Result<Self, String> {
        let resolver = match to.addresses() {
            Addresses::Public => Arc::new(PublicOnly(resolver)),
            Addresses::Any => resolver,
        };
        let client = Client::new(timeouts, resolver.clone(), roots, None)?;
        Ok(Self { to, client, resolver, secrets: None, headers: HeaderMap::new(), proxied: false })
    }

    /// A webhook that is reached through a proxy. The only name that is resolved here is that of the proxy, which may be a private one.
    fn through(proxy: Url, to: Destination, timeouts: Timeouts, roots: Roots) -> Result<Self, String> {
        let resolver: Arc<dyn Resolve> = Arc::new(System);
        let proxy = Proxy::all(proxy).map_err(|_| "--proxy: the URL cannot be used")?;
        let client = Client::new(timeouts, resolver.clone(), roots, Some(proxy))?;
        Ok(Self { to, client, resolver, secrets: None, headers: HeaderMap::new(), proxied: true })
    }

    /// The URL without the parts that may be secret.
    pub(super) fn shown(&self) -> String {
        self.to.shown()
    }

    /// Resolves the name once, so that a mistyped name is reported at the start and not by failing jobs. Each connection resolves and checks the name again.
    pub(super) async fn check_host_name(&self) -> Result<(), CliError> {
        let Some(name) = self.to.name().filter(|_| !self.proxied) else { return Ok(()) };
        let Ok(asked) = name.parse::<Name>() else { return Ok(()) };
        match tokio::time::timeout(CONNECT_TIMEOUT, self.resolver.resolve(asked)).await {
            Ok(Err(error)) if error.is::<Refused>() => Err(CliError::Failed(format!("--webhook: {error}"))),
            Ok(Err(error)) => {
                warn(format_args!("{name} cannot be resolved now ({}); jobs will fail until it can", one_line(&error)));
                Ok(())
            }
            // A slow name server may answer in time when a job is sent; otherwise that job fails and reports it.
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Sends one job; the response decides the outcome. If the job is cancelled meanwhile, its request is dropped, which closes the connection.
    pub(super) async fn send(&self, job: RawJob, ctx: &Context) -> Result<(), Failure> {
        let payload = codec::to_json_text(&job.payload).map_err(|error| Failure::new(Code::DecodeFailed, error))?;
        let body = Body {
            id: &job.id,
            queue: &job.queue,
            kind: &job.kind,
            attempt: ctx.attempt(),
            max_attempts: ctx.max_attempts(),
            enqueued_at: Timestamp::from_ms(ctx.enqueued_ms()),
            payload,
        };
        let (id, body) = (job.id.to_string(), serde_json::to_vec(&body)?);
        tokio::select! {
            biased;
            delivered = self.deliver(&id, body) => delivered,
            () = job_cancelled(ctx) => Err(Failure::new(Code::Interrupted, "the job was cancelled, so its request was ended")),
        }
    }

    /// Sends exactly these bytes, signed if there are secrets.
    async fn deliver(&self, id: &str, body: Vec<u8>) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(id)?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(now));
        if let Some(secrets) = &self.secrets {
            let signatures = secrets.current().await.sign(id, now, &body);
            headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signatures)?);
        }
        let reply = self.client.post(self.to.url(), headers, body).await?;
        answer::judge(&reply, SystemTime::now())
    }
}

/// Waits until the job is cancelled. At a shutdown the request goes on: the response may come within the grace.
async fn job_cancelled(ctx: &Context) {
    ctx.stop_requested().await;
    if ctx.why_stopped() != Some(Stop::Cancelled) {
        std::future::pending().await
    }
}
