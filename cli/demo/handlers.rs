//! The demo's jobs and their handlers: most do a little work, some misbehave on purpose.

use std::time::Duration;

use retraced::{Code, Context, EnqueueError, Failure, Job, QueueHandle, State};
use serde::{Deserialize, Serialize};

use super::report::Reporter;
use crate::limits::{DEMO_EMAIL_INTERVAL, DEMO_THUMBNAIL_INTERVAL};

/// How many jobs the demo enqueues: the numbers below, and one order and one report.
pub(super) const JOBS: u64 = EMAILS as u64 + REMINDERS as u64 + THUMBNAILS as u64 + INVOICES as u64 + 2;
const EMAILS: u32 = 210;
/// How many emails are enqueued before the pauses between them begin.
const FIRST_EMAILS: u32 = 24;
/// One email in this many fails once, beginning with number EMAIL_FAILS_FIRST.
const EMAIL_FAILS_ONE_IN: u32 = 40;
const EMAIL_FAILS_FIRST: u32 = 20;
/// The number of the email that fails in every attempt.
const EMAIL_UNDELIVERABLE: u32 = 7;
const REMINDERS: u32 = 8;
const THUMBNAILS: u32 = 78;
const FIRST_THUMBNAILS: u32 = 12;
const INVOICES: u32 = 2;
/// The job whose trace is printed at the end: it panics, then fails, then succeeds.
pub(super) const EXAMPLE_JOB: &str = "thumbnail-13";
const EXAMPLE_NUMBER: u32 = 13;
/// How many thumbnails are enqueued before the invalid order and before the report that hangs. They differ, so that the incidents happen one after the other.
const BEFORE_ORDER: u32 = 6;
const BEFORE_REPORT: u32 = 15;
/// The delay of reminders, and how long an invoice is snoozed.
const LATER: Duration = Duration::from_millis(2_500);

macro_rules! job {
    ($(#[$doc:meta])* $name:ident, $kind:literal, { $($field:ident: $type:ty),* }) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        pub(super) struct $name { $($field: $type),* }
        impl Job for $name { const KIND: &'static str = $kind; }
    };
}

job!(/// Fails in some attempts.
    SendEmail, "email.send", { number: u32, to: String });
job!(/// Is enqueued with a delay.
    SendReminder, "reminder.send", { to: String });
job!(/// One of them panics.
    MakeThumbnail, "thumbnail.make", { number: u32, pixels: Vec<u8> });
job!(/// Hangs in its first attempt.
    BuildReport, "report.build", { month: String });
job!(/// Is invalid: poisoned.
    ImportOrder, "order.import", { order: String });
job!(/// Is snoozed once.
    SendInvoice, "invoice.send", { number: u32 });

pub(super) async fn send_email(job: SendEmail, ctx: Context, reporter: State<Reporter>) -> Result<(), Failure> {
    work(130, job.number).await;
    if job.number == EMAIL_UNDELIVERABLE {
        return reporter.failed(&ctx, Failure::temporary(Code::ServiceUnavailable, "nowhere.example is down"));
    }
    if job.number % EMAIL_FAILS_ONE_IN == EMAIL_FAILS_FIRST && ctx.attempt() == 1 {
        return reporter.failed(&ctx, Failure::temporary(Code::NetworkError, "connection reset"));
    }
    Ok(())
}

pub(super) async fn send_reminder(_: SendReminder, _: Context) -> Result<(), Failure> {
    work(100, 0).await;
    Ok(())
}

pub(super) async fn make_thumbnail(job: MakeThumbnail, ctx: Context, reporter: State<Reporter>) -> Result<(), Failure> {
    work(280, job.number).await;
    // `attempt` is the number of failures so far + 1.
    match ctx.attempt() {
        1 => {
            // A realistic bug: an empty image divides by zero, which panics. The later attempts play the corrected code.
            let brightness = job.pixels.iter().map(|pixel| usize::from(*pixel)).sum::<usize>() / job.pixels.len();
            ctx.log(format!("brightness {brightness}"));
        }
        2 => return reporter.failed(&ctx, Failure::temporary(Code::NetworkError, "the image store hung up")),
        _ => ctx.log("the image was empty; a placeholder will do"),
    }
    Ok(())
}

pub(super) async fn build_report(job: BuildReport, ctx: Context, reporter: State<Reporter>) -> Result<(), Failure> {
    if ctx.attempt() == 1 {
        let _guard = reporter.when_timed_out(&ctx);
        std::future::pending::<()>().await;
    }
    ctx.log(format!("report of {} is ready", job.month));
    work(400, 0).await;
    Ok(())
}

pub(super) async fn import_order(job: ImportOrder, ctx: Context, reporter: State<Reporter>) -> Result<(), Failure> {
    work(60, 0).await;
    let reason = format!("order {:?} has no buyer", job.order);
    reporter.failed(&ctx, Failure::permanent(Code::InvalidJobData, reason))
}

pub(super) async fn send_invoice(_: SendInvoice, ctx: Context, reporter: State<Reporter>) -> Result<(), Failure> {
    work(80, 0).await;
    if ctx.counters().releases == 0 {
        return reporter.later(&ctx, LATER);
    }
    Ok(())
}

/// Simulates work of `about_ms` to `about_ms` + 89 ms, depending on the number.
async fn work(about_ms: u64, number: u32) {
    let ms = about_ms + u64::from(number * 37 % 90);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Enqueues all jobs: some at once, the others while those run.
///
/// # Errors
/// The error of the first job that is refused. A crash of the actors that accept jobs is not an error.
pub(super) async fn produce(mail: QueueHandle, shop: QueueHandle) -> Result<(), EnqueueError> {
    tokio::try_join!(produce_mail(&mail), produce_shop(&shop)).map(|_| ())
}

async fn produce_mail(mail: &QueueHandle) -> Result<(), EnqueueError> {
    for number in 1..=REMINDERS {
        let reminder = SendReminder { to: format!("reader{number}@example.com") };
        mail.job(reminder).id(format!("reminder-{number}")).delay(LATER).enqueue().await?;
    }
    for number in 1..=EMAILS {
        pace(number, FIRST_EMAILS, DEMO_EMAIL_INTERVAL).await;
        let host = if number == EMAIL_UNDELIVERABLE { "nowhere.example" } else { "example.com" };
        let email = SendEmail { number, to: format!("reader{number}@{host}") };
        mail.job(email).id(format!("email-{number}")).enqueue().await?;
    }
    Ok(())
}

async fn produce_shop(shop: &QueueHandle) -> Result<(), EnqueueError> {
    for number in 1..=INVOICES {
        shop.job(SendInvoice { number }).id(format!("invoice-{number}")).enqueue().await?;
    }
    for number in 1..=THUMBNAILS {
        pace(number, FIRST_THUMBNAILS, DEMO_THUMBNAIL_INTERVAL).await;
        let pixels = if number == EXAMPLE_NUMBER { Vec::new() } else { vec![7; 16] };
        shop.job(MakeThumbnail { number, pixels }).id(format!("thumbnail-{number}")).enqueue().await?;
        if number == BEFORE_ORDER {
            shop.job(ImportOrder { order: "???".into() }).id("order-1").enqueue().await?;
        }
        if number == BEFORE_REPORT {
            shop.job(BuildReport { month: "2030-01".into() }).id("report-1").enqueue().await?;
        }
    }
    Ok(())
}

/// Waits before the next job, unless it is one of the first `unpaced`.
async fn pace(number: u32, unpaced: u32, every: Duration) {
    if number > unpaced {
        tokio::time::sleep(every).await;
    }
}
