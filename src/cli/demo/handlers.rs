//! The demo's jobs and their handlers: most do a little work, some misbehave on purpose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::voice::Voice;
use crate::{Code, Context, EnqueueError, Failure, Job, QueueHandle, State};

/// All jobs: the numbers below, the order and the report.
pub(super) const JOBS: u64 = EMAILS as u64 + REMINDERS as u64 + THUMBNAILS as u64 + INVOICES as u64 + 2;
const EMAILS: u32 = 210;
const EMAILS_AT_ONCE: u32 = 24;
const EMAIL_EVERY: Duration = Duration::from_millis(40);
/// Every fortieth email fails once, this one first.
const EMAIL_FAILS_EVERY: u32 = 40;
const EMAIL_FAILS_FIRST: u32 = 20;
/// This one's host is down for good.
const EMAIL_DIES: u32 = 7;
const REMINDERS: u32 = 8;
const THUMBNAILS: u32 = 78;
const THUMBNAILS_AT_ONCE: u32 = 12;
const THUMBNAIL_EVERY: Duration = Duration::from_millis(110);
const INVOICES: u32 = 2;
/// The job whose story is told at the end: it panics, then fails, then succeeds.
pub(super) const HERO: &str = "thumbnail-13";
const HERO_NUMBER: u32 = 13;
/// How many thumbnails stand in the queue before the order that makes no sense, and before the report that hangs: one mishap after the other can be followed.
const BEFORE_ORDER: u32 = 6;
const BEFORE_REPORT: u32 = 15;
/// How long invoices wait, and reminders.
const LATER: Duration = Duration::from_millis(2_500);

macro_rules! job {
    ($(#[$doc:meta])* $name:ident, $kind:literal, { $($field:ident: $type:ty),* }) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        pub(super) struct $name { $($field: $type),* }
        impl Job for $name { const KIND: &'static str = $kind; }
    };
}

job!(/// Fails once in a while.
    SendEmail, "email.send", { number: u32, to: String });
job!(/// Is due later.
    SendReminder, "reminder.send", { to: String });
job!(/// One of them crashes its executor.
    MakeThumbnail, "thumbnail.make", { number: u32, pixels: Vec<u8> });
job!(/// Hangs the first time.
    BuildReport, "report.build", { month: String });
job!(/// Makes no sense.
    ImportOrder, "order.import", { order: String });
job!(/// Asks to be run later.
    SendInvoice, "invoice.send", { number: u32 });

pub(super) async fn send_email(job: SendEmail, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    work(130, job.number).await;
    if job.number == EMAIL_DIES {
        return voice.failed(&ctx, Failure::temporary(Code::ServiceUnavailable, "nowhere.example is down"));
    }
    if job.number % EMAIL_FAILS_EVERY == EMAIL_FAILS_FIRST && ctx.attempt() == 1 {
        return voice.failed(&ctx, Failure::temporary(Code::NetworkError, "connection reset"));
    }
    Ok(())
}

pub(super) async fn send_reminder(_: SendReminder, _: Context) -> Result<(), Failure> {
    work(100, 0).await;
    Ok(())
}

pub(super) async fn make_thumbnail(job: MakeThumbnail, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    work(280, job.number).await;
    match ctx.attempt() {
        1 => {
            // A bug as they are: the first version forgot that an image may be empty.
            let brightness = job.pixels.iter().map(|pixel| usize::from(*pixel)).sum::<usize>() / job.pixels.len();
            ctx.log(format!("brightness {brightness}"));
        }
        2 => return voice.failed(&ctx, Failure::temporary(Code::NetworkError, "the image store hung up")),
        _ => ctx.log("the image was empty; a placeholder will do"),
    }
    Ok(())
}

pub(super) async fn build_report(job: BuildReport, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    if ctx.attempt() == 1 {
        let _hung = voice.when_timed_out(&ctx);
        std::future::pending::<()>().await;
    }
    ctx.log(format!("report of {} is ready", job.month));
    work(400, 0).await;
    Ok(())
}

pub(super) async fn import_order(job: ImportOrder, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    work(60, 0).await;
    let nonsense = format!("order {:?} has no buyer", job.order);
    voice.failed(&ctx, Failure::permanent(Code::InvalidJobData, nonsense))
}

pub(super) async fn send_invoice(_: SendInvoice, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    work(80, 0).await;
    if ctx.counters().releases == 0 {
        return voice.later(&ctx, LATER);
    }
    Ok(())
}

/// Believable work: some milliseconds, not always the same.
async fn work(about_ms: u64, number: u32) {
    let ms = about_ms + u64::from(number * 37 % 90);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Produces all jobs. Some are there at once, the others come while those run, as jobs do.
///
/// # Errors
/// The first job that is not taken ends it. Crashes of the actors that take them are no such case.
pub(super) async fn produce(mail: QueueHandle, shop: QueueHandle) -> Result<(), EnqueueError> {
    tokio::try_join!(produce_mail(&mail), produce_shop(&shop)).map(|_| ())
}

async fn produce_mail(mail: &QueueHandle) -> Result<(), EnqueueError> {
    for number in 1..=REMINDERS {
        let reminder = SendReminder { to: format!("reader{number}@example.com") };
        mail.job(reminder).id(format!("reminder-{number}")).delay(LATER).enqueue().await?;
    }
    for number in 1..=EMAILS {
        comes(number, EMAILS_AT_ONCE, EMAIL_EVERY).await;
        let host = if number == EMAIL_DIES { "nowhere.example" } else { "example.com" };
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
        comes(number, THUMBNAILS_AT_ONCE, THUMBNAIL_EVERY).await;
        let pixels = if number == HERO_NUMBER { Vec::new() } else { vec![7; 16] };
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

/// Waits until it is this job's time.
async fn comes(number: u32, at_once: u32, every: Duration) {
    if number > at_once {
        tokio::time::sleep(every).await;
    }
}
