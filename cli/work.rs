//! `retraced work`: a worker that sends jobs to a webhook. A signal to stop makes it *drain*: claim no more jobs, let those that run finish, and end.

mod events;
mod health;
mod limits;
mod log;
mod readiness;
mod retention;
mod signals;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use retraced::limits::{CONCURRENCY_DEFAULT, DEAD_AGE_MAX, LEASE_DEFAULT, RETENTION_BYTES_MAX, SHUTDOWN_GRACE_DEFAULT};
use retraced::{
    Context, OnUnknown, Operator, Queue, RawJob, Retention, RetentionRule, Runtime, RuntimeError, ShutdownReport,
};

use self::events::EventPrinter;
use self::health::HealthServer;
use self::signals::{SignalAction, Signals};
use crate::args::{self, WorkedQueue};
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::{JOB_MARGIN, REQUEST_TIMEOUT_DEFAULT, SECOND_STOP_AFTER};
use crate::output::{LogFormat, duration_text, job_count, millis, note};
use crate::settings::Settings;
use crate::webhook::{self, Addresses, Webhook};

/// `retraced work`
#[derive(Args)]
pub(crate) struct Work {
    /// The queues to work on, each with the number of jobs that run at a time (1 to 10000, default 10), as in email=50. Commas may separate them as well.
    #[arg(
        id = "queue",
        value_name = "QUEUE[=CONCURRENCY]",
        required = true,
        env = "RETRACED_QUEUE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    queues: Vec<WorkedQueue>,
    /// The URL each job is sent to: POST {"id", "queue", "kind", "attempt", "max_attempts", "enqueued_at", "payload"}. If the
    /// response body is {"success": false, "error": {"code", "message"}}, its code decides the outcome. Otherwise the status decides: 2xx is success;
    /// another 4xx poisons the job; statuses about the receiver (3xx, 401, 403, 404, 405, 407, 410, 421, 426), 408, 425, 429 and 5xx are retried. See docs/webhooks.md.
    #[arg(long, value_name = "URL", env = "RETRACED_WEBHOOK", hide_env_values = true)]
    webhook: String,
    /// A file of secrets that sign each request according to Standard Webhooks: at most 8, one per line: whsec_… or any text, of 24 to 512 bytes. Every secret adds a
    /// signature. The worker sees a change of the file within about a second. To rotate, add the new secret, and remove the old one once the receiver knows the new one.
    #[arg(long, value_name = "FILE", env = "RETRACED_WEBHOOK_SECRET_FILE", hide_env_values = true)]
    webhook_secret_file: Option<PathBuf>,
    /// A header that each request carries, as in authorization="Bearer …"; may be given up to 32 times. Others can see the arguments of a process: put secrets into
    /// RETRACED_HEADER, one header per line, or into the settings file.
    #[arg(long, value_name = "NAME=VALUE", env = "RETRACED_HEADER", hide_env_values = true, value_delimiter = '\n')]
    header: Vec<String>,
    /// A proxy for all requests: http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before the host if it needs them, but not as a flag, because others can see the
    /// arguments of a process: put such a URL into RETRACED_PROXY or the settings file. The proxy resolves the names of hosts, so it
    /// decides which addresses a name may lead to. Without this flag no proxy is used.
    #[arg(long, value_name = "URL", env = "RETRACED_PROXY", hide_env_values = true)]
    proxy: Option<String>,
    /// Also send to private, loopback, link-local and other special addresses, over http:// and to any port. Without this flag jobs are sent only over https:// to public
    /// addresses, and only to port 80, to port 443 or to a port above 1023.
    #[arg(long, env = "RETRACED_ALLOW_PRIVATE", hide_env_values = true)]
    allow_private: bool,
    /// The lease: how long a job belongs to this worker after each renewal, 300ms to 1h. If a worker dies, its jobs run again when their leases expire.
    #[arg(long, value_name = "DURATION", env = "RETRACED_LEASE", hide_env_values = true, default_value = args::shown(LEASE_DEFAULT), value_parser = args::lease)]
    lease: Duration,
    /// How long a shutdown lets running jobs finish, up to 1h. Jobs that still run after that are stopped and go back to the front of their queue; no failure is counted.
    #[arg(long, value_name = "DURATION", env = "RETRACED_SHUTDOWN_GRACE", hide_env_values = true, default_value = args::shown(SHUTDOWN_GRACE_DEFAULT), value_parser = args::shutdown_grace)]
    shutdown_grace: Duration,
    /// Timeout of a request, response included: 10ms to 1h. Connecting may take at most 5 s of it, and a response may pause for at most 5 s. On timeout the attempt fails with TIMEOUT and is retried. If the status
    /// had arrived and is a failure, the status decides instead.
    #[arg(long, value_name = "DURATION", env = "RETRACED_TIMEOUT", hide_env_values = true, default_value = args::shown(REQUEST_TIMEOUT_DEFAULT), value_parser = args::request_timeout)]
    timeout: Duration,
    /// How long dead and poisoned jobs are kept, so that they can be read and redriven: up to 3650d. Older ones are removed, which is logged and recorded in the ledger.
    #[arg(long, value_name = "DURATION", env = "RETRACED_KEEP_DEAD", hide_env_values = true, default_value = args::shown(DEAD_AGE_MAX), value_parser = args::duration)]
    keep_dead: Duration,
    /// How many bytes of dead jobs are kept in each queue, and as many of poisoned ones: 512KiB, 256MiB, 2GiB. Always with a unit: B, KiB, MiB or GiB. A job counts its payload and options, at least 1 KiB. If there are more,
    /// those that died first are removed. Their number has no bound.
    #[arg(long, value_name = "BYTES", env = "RETRACED_KEEP_DEAD_BYTES", hide_env_values = true, default_value = args::shown_bytes(RETENTION_BYTES_MAX), value_parser = args::bytes)]
    keep_dead_bytes: u64,
    /// Answer health checks over HTTP on this address, as in 127.0.0.1:8081; port 0 lets the system choose. GET /healthz has status 200 while the supervision tree runs; GET
    /// /readyz has 200 while the store can be used, every queue is open and the worker does not drain. Otherwise it is 503, and the JSON body says why.
    #[arg(long, value_name = "ADDRESS:PORT", env = "RETRACED_HEALTH", hide_env_values = true, value_parser = args::listen_address)]
    health: Option<SocketAddr>,
    /// How the log on stderr is written: as text, or as one JSON object per line. RETRACED_LOG chooses what is logged, as in warn,retraced=info. See docs/operating.md.
    #[arg(long, value_name = "FORMAT", env = "RETRACED_LOG_FORMAT", hide_env_values = true, default_value = "text")]
    log_format: LogFormat,
}

impl Work {
    pub(crate) async fn run(self, context: &CommandContext, settings: &Settings) -> Result<(), CliError> {
        log::start(self.log_format)?;
        // Not before: the format of the log is that of all messages.
        settings.note_unknown_variables();
        if settings.is_flag("proxy") {
            webhook::check_proxy_flag(self.proxy.as_deref().unwrap_or_default())?;
        }
        for (at, queue) in self.queues.iter().enumerate() {
            if self.queues.iter().take(at).any(|other| other.name == queue.name) {
                return Err(CliError::Usage(format!("queue {} was given twice", queue.name)));
            }
        }
        let secrets = self.webhook_secret_file.as_deref();
        let webhook =
            Webhook::new(&self.webhook, self.addresses(), secrets, &self.header, self.proxy.as_deref(), self.timeout)?;
        let mut signals = Signals::listen()?;
        let health = self.health_server().await?;
        webhook.check_host_name().await?;
        let to = webhook.shown();
        let store = context.store().await?;
        let names = self.queues.iter().map(|queue| &queue.name);
        context.note_mistyped(&Operator::shared(store.clone()), names).await;
        let mut builder = Runtime::builder().shared_store(store).lease(self.lease).shutdown_grace(self.shutdown_grace);
        let mut labels = Vec::new();
        for worked in &self.queues {
            builder = builder.queue(self.queue(worked, &webhook)?);
            labels.push(worked.concurrency.map_or_else(|| worked.name.to_string(), |n| format!("{}={n}", worked.name)));
        }
        retention::warn_if_few_dead_are_kept(self.keep_dead, self.keep_dead_bytes);
        limits::warn_if_files_are_few(
            self.queues.iter().map(|queue| queue.concurrency.unwrap_or(CONCURRENCY_DEFAULT)).sum(),
        );
        let runtime = Arc::new(builder.start().await?);
        if let Some(health) = &health {
            health.started(&runtime);
        }
        let printer = context.out.is_json().then(|| EventPrinter::start(runtime.supervision())).transpose()?;
        note(working_message(&labels, &to, runtime.instance()));
        let ended = tokio::select! {
            ended = self.until_ended(&runtime, &mut signals, health.as_ref()) => ended,
            // A signal to stop does not wait for the answers of the store.
            never = self.note_paused_queues(context, runtime.operator()) => match never {},
        };
        drop(health);
        drop(runtime);
        if let Some(printer) = printer {
            printer.finish().await;
        }
        Ok(ended?)
    }

    /// Works until the tree ends by itself, or a signal has ended it.
    async fn until_ended(
        &self,
        runtime: &Runtime,
        signals: &mut Signals,
        health: Option<&HealthServer>,
    ) -> Result<(), RuntimeError> {
        loop {
            tokio::select! {
                ended = runtime.wait() => return ended,
                asked = signals.next() => match asked {
                    SignalAction::ShowRunning => note(running_message(runtime)),
                    SignalAction::Drain => break,
                },
            }
        }
        if let Some(health) = health {
            health.draining();
        }
        let running = runtime.running();
        note(draining_message(running, self.shutdown_grace));
        let mut shutdown = pin!(runtime.shutdown());
        let mut report = loop {
            tokio::select! {
                report = &mut shutdown => break report?,
                asked = signals.next() => match asked {
                    SignalAction::ShowRunning => note(running_message(runtime)),
                    SignalAction::Drain => {}
                },
            }
        };
        // `running` and `report.running` are counted one after the other, and a job may end in between. The larger number is shown.
        report.running = report.running.max(running);
        note(drained_message(report));
        Ok(())
    }
}

impl Work {
    /// Says which queues are paused: their jobs would seem to hang. A store that does not answer is reported by the tree. Never ends.
    async fn note_paused_queues(&self, context: &CommandContext, operator: &Operator) -> Infallible {
        for queue in &self.queues {
            drop(context.note_if_paused(operator, &queue.name).await);
        }
        pending().await
    }

    async fn health_server(&self) -> Result<Option<HealthServer>, CliError> {
        let Some(address) = self.health else { return Ok(None) };
        let server = HealthServer::start(address).await?;
        note(format_args!("health checks at http://{}/healthz and /readyz", server.address()));
        Ok(Some(server))
    }

    /// The queue as the runtime processes it: every job of it goes to the webhook.
    fn queue(&self, worked: &WorkedQueue, webhook: &Webhook) -> Result<Queue, CliError> {
        let queue = Queue::new(worked.name.as_str()).map_err(|e| CliError::Usage(e.to_string()))?;
        let kept = RetentionRule::by_age(self.keep_dead).bytes_max(self.keep_dead_bytes);
        let mut queue = queue
            .timeout(self.timeout + JOB_MARGIN)
            // A failure of unknown class does not say whether a retry helps, so an operator decides that.
            .on_unknown(OnUnknown::DeadLetter)
            .retention(Retention::default().dead(kept).poisoned(kept));
        if let Some(concurrency) = worked.concurrency {
            queue = queue.concurrency(concurrency);
        }
        let webhook = webhook.clone();
        Ok(queue.any_handler(move |job: RawJob, ctx: Context| {
            let webhook = webhook.clone();
            async move { webhook.send(job, &ctx).await }
        }))
    }

    fn addresses(&self) -> Addresses {
        if self.allow_private { Addresses::Any } else { Addresses::Public }
    }
}

fn working_message(queues: &[String], to: &str, worker: impl Display) -> String {
    format!("working {} · jobs go to {to} · worker {worker} · Ctrl-C drains", queues.join(", "))
}

fn draining_message(running: usize, grace: Duration) -> String {
    if running == 0 {
        return "draining: no job is running".into();
    }
    let grace = duration_text(millis(grace));
    let pause = duration_text(millis(SECOND_STOP_AFTER));
    format!(
        "draining: {} running, with {grace} to finish; another signal after {pause} stops at once",
        job_count(running as u64)
    )
}

/// One line for each job that runs, and one with their number.
fn running_message(runtime: &Runtime) -> String {
    let tree = runtime.tree();
    let nodes = tree.all();
    let running: Vec<_> = nodes.iter().filter_map(|node| Some((&node.path, node.running.as_ref()?))).collect();
    let mut text = format!("running: {}", job_count(running.len() as u64));
    for (path, job) in running {
        text += &format!("\n  {path}: {job}");
    }
    text
}

fn drained_message(report: ShutdownReport) -> String {
    let ShutdownReport { running, killed, unsettled, .. } = report;
    let mut text = match running {
        0 => "drained".to_owned(),
        _ => format!("drained: {} of {} ended", running.saturating_sub(killed), job_count(running as u64)),
    };
    if killed > 0 {
        text += &format!(", {killed} went back to the front of their queue");
    }
    if unsettled > 0 {
        text += &format!(
            "; the store did not confirm the {} of {} in time; a job whose outcome it did not store runs again when its \
             lease expires",
            if unsettled == 1 { "outcome" } else { "outcomes" },
            job_count(unsettled as u64)
        );
    }
    text
}
