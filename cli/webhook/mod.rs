//! A handler that sends each job to a webhook, and reads from the answer what became of it. `docs/webhooks.md` tells the receiver's side.
//!
//! One duty a file: `destination` looks at the URL, `resolver` at where its name leads, `address` knows what is public, `client` sends and limits what may come back, `sign`
//! signs, `answer` judges.

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
use retraced::Code;
use retraced::codec;
use retraced::job::{JobId, Kind, QueueName};
use serde::Serialize;

use self::client::{Client, Limits};
use self::destination::Destination;
use self::resolver::{PublicOnly, Refused, System};
use self::sign::SecretFile;
use crate::error::CliError;
use crate::output::{note, one_line};
use retraced::view::Timestamp;
use retraced::{Context, Failure, RawJob};

/// How long finding and connecting to the webhook may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer that has begun may stop between two pieces of its body.
const SILENCE_MAX: Duration = Duration::from_secs(5);

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
    attempt: u32,
    max_attempts: u32,
    enqueued_at: Timestamp,
    payload: serde_json::Value,
}

impl Webhook {
    /// A webhook whose requests may take as long as `timeout`, from the beginning of the connection to the last byte of the answer.
    pub(super) fn new(
        url: &str,
        allow_private: bool,
        secrets: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let usage = |why| CliError::Usage(format!("--webhook: {why}"));
        let to = Destination::parse(url, allow_private).map_err(usage)?;
        let limits = Limits { connect: CONNECT_TIMEOUT, whole: timeout, silence: SILENCE_MAX };
        let tls = to.url().scheme() == "https";
        let mut webhook = Self::through(Arc::new(System), to, allow_private, limits, tls).map_err(CliError::Failed)?;
        webhook.secrets = secrets.map(SecretFile::open).transpose().map_err(CliError::Failed)?.map(Arc::new);
        Ok(webhook)
    }

    /// A webhook that finds names as the resolver says, unless they lead to an address that is not public.
    fn through(
        resolver: Arc<dyn Resolve>,
        to: Destination,
        allow_private: bool,
        limits: Limits,
        tls: bool,
    ) -> Result<Self, String> {
        let resolver = if allow_private { resolver } else { Arc::new(PublicOnly(resolver)) };
        let client = Client::new(limits, resolver.clone(), tls)?;
        Ok(Self { to, client, resolver, secrets: None })
    }

    /// Where jobs are sent, without what may be secret in it.
    pub(super) fn shown(&self) -> String {
        self.to.shown()
    }

    /// A first look at where the name leads, so that a slip is told at the start and not by failing jobs. It guards nothing: each connection looks again.
    pub(super) async fn look(&self) -> Result<(), CliError> {
        let Some(name) = self.to.name() else { return Ok(()) };
        let Ok(asked) = name.parse::<Name>() else { return Ok(()) };
        match tokio::time::timeout(CONNECT_TIMEOUT, self.resolver.resolve(asked)).await {
            Ok(Err(error)) if error.is::<Refused>() => Err(CliError::Failed(format!("--webhook: {error}"))),
            Ok(Err(error)) => {
                note(format_args!(
                    "warning: {name} is not found now ({}); jobs will fail until it is",
                    one_line(&error)
                ));
                Ok(())
            }
            // Slow name servers may be faster when a job comes; else it is told then.
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
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
