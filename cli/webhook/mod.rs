//! A handler that sends each job to a webhook, and reads the outcome from the response. `docs/webhooks.md` describes the receiver's side.
//!
//! One duty per file: `destination` checks the URL, `resolver` the addresses of its host, `address` knows which addresses are public, `client` sends requests and bounds
//! responses, `sign` signs requests, `answer` turns responses into outcomes.

mod address;
mod answer;
mod client;
mod destination;
mod resolver;
mod sign;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::dns::{Name, Resolve};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use retraced::codec::{self, JsonText};
use retraced::view::Timestamp;
use retraced::{Code, Context, Failure, JobId, Kind, QueueName, RawJob};
use serde::Serialize;

use self::client::{Client, Limits, Roots};
pub(super) use self::destination::Addresses;
use self::destination::Destination;
use self::resolver::{PublicOnly, Refused, System};
use self::sign::SecretFile;
use crate::error::CliError;
use crate::limits::{CONNECT_TIMEOUT, SILENCE_MAX};
use crate::output::{note, one_line};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Where jobs are sent, and how.
#[derive(Clone)]
pub(super) struct Webhook {
    to: Destination,
    client: Client,
    resolver: Arc<dyn Resolve>,
    secrets: Option<Arc<SecretFile>>,
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
    /// A webhook whose requests time out after `timeout`, from the start of the connection to the last byte of the response.
    pub(super) fn new(
        url: &str,
        addresses: Addresses,
        secrets: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let usage = |why| CliError::Usage(format!("--webhook: {why}"));
        let to = Destination::parse(url, addresses).map_err(usage)?;
        let limits = Limits { connect: CONNECT_TIMEOUT, whole: timeout, silence: SILENCE_MAX };
        let roots = if to.url().scheme() == "https" { Roots::System } else { Roots::None };
        let mut webhook = Self::with_resolver(Arc::new(System), to, limits, roots).map_err(CliError::Failed)?;
        webhook.secrets = secrets.map(SecretFile::open).transpose().map_err(CliError::Failed)?.map(Arc::new);
        Ok(webhook)
    }

    /// A webhook that uses this resolver, and refuses the addresses that its destination does not allow.
    fn with_resolver(
        resolver: Arc<dyn Resolve>,
        to: Destination,
        limits: Limits,
        roots: Roots,
    ) -> Result<Self, String> {
        let resolver = match to.addresses() {
            Addresses::Public => Arc::new(PublicOnly(resolver)),
            Addresses::Any => resolver,
        };
        let client = Client::new(limits, resolver.clone(), roots)?;
        Ok(Self { to, client, resolver, secrets: None })
    }

    /// The URL without the parts that may be secret.
    pub(super) fn shown(&self) -> String {
        self.to.shown()
    }

    /// Resolves the name once, so that a mistyped name is reported at the start and not by failing jobs. Each connection resolves and checks the name again.
    pub(super) async fn check_host_name(&self) -> Result<(), CliError> {
        let Some(name) = self.to.name() else { return Ok(()) };
        let Ok(asked) = name.parse::<Name>() else { return Ok(()) };
        match tokio::time::timeout(CONNECT_TIMEOUT, self.resolver.resolve(asked)).await {
            Ok(Err(error)) if error.is::<Refused>() => Err(CliError::Failed(format!("--webhook: {error}"))),
            Ok(Err(error)) => {
                note(format_args!(
                    "warning: {name} cannot be resolved now ({}); jobs will fail until it can",
                    one_line(&error)
                ));
                Ok(())
            }
            // A slow name server may answer in time when a job is sent; otherwise that job fails and reports it.
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Sends one job; the response decides the outcome.
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
        self.deliver(&job.id.to_string(), serde_json::to_vec(&body)?).await
    }

    /// Sends exactly these bytes, signed if there are secrets.
    async fn deliver(&self, id: &str, body: Vec<u8>) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut headers = HeaderMap::new();
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
