//! The demo's jobs and their handlers: most do a little work, some misbehave on purpose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::voice::Voice;
use crate::{Code, Context, Failure, Job, ProduceError, QueueHandle, State};

/// Emails; every fortieth fails once.
const EMAILS: u32 = 220;
const EMAIL_FAILS_EVERY: u32 = 40;
const REMINDERS: u32 = 12;
const THUMBNAILS: u32 = 60;
const INVOICES: u32 = 3;
/// The job whose story is told at the end: it panics, then fails, then succeeds.
pub(super) const HERO: &str = "thumbnail-13";
const HERO_NUMBER: u32 = 13;
/// How long reminders and invoices wait.
const LATER: Duration = Duration::from_millis(1_500);

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
    work(60, job.number).await;
    if job.to.ends_with("@nowhere.example") {
        return voice.failed(&ctx, Failure::temporary(Code::ServiceUnavailable, "nowhere.example is down"));
    }
    if job.number.is_multiple_of(EMAIL_FAILS_EVERY) && ctx.attempt() == 1 {
        return voice.failed(&ctx, Failure::temporary(Code::NetworkError, "connection reset"));
    }
    Ok(())
}

pub(super) async fn send_reminder(_: SendReminder, _: Context) -> Result<(), Failure> {
    work(60, 0).await;
    Ok(())
}

pub(super) async fn make_thumbnail(job: MakeThumbnail, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    work(100, job.number).await;
    if job.number == HERO_NUMBER {
        match ctx.attempt() {
            // A bug as they are: the first version forgot that an image may be empty.
            1 => ctx.log(format!("first pixel is {}", job.pixels[0])),
            2 => return voice.failed(&ctx, Failure::temporary(Code::NetworkError, "the image store hung up")),
            _ => ctx.log("the image was empty; a placeholder will do"),
        }
    }
    Ok(())
}

pub(super) async fn build_report(job: BuildReport, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    if ctx.attempt() == 1 {
        let _stopped = voice.when_stopped(&ctx);
        std::future::pending::<()>().await;
    }
    ctx.log(format!("report of {} is ready", job.month));
    work(200, 0).await;
    Ok(())
}

pub(super) async fn import_order(job: ImportOrder, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    work(40, 0).await;
    let nonsense = format!("order {:?} has no buyer", job.order);
    voice.failed(&ctx, Failure::permanent(Code::InvalidJobData, nonsense))
}

pub(super) async fn send_invoice(_: SendInvoice, ctx: Context, voice: State<Voice>) -> Result<(), Failure> {
    if ctx.counters().releases == 0 {
        voice.snoozed(&ctx, LATER);
        return Err(Failure::snooze(LATER));
    }
    work(80, 0).await;
    Ok(())
}

/// Believable work: some milliseconds, not always the same.
async fn work(about_ms: u64, number: u32) {
    let ms = about_ms + u64::from(number * 37 % 60);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Enqueues everything, and gives how many jobs that are.
pub(super) async fn enqueue(mail: &QueueHandle, shop: &QueueHandle) -> Result<u64, ProduceError> {
    let mut count = 0;
    let mut add = |receipt: crate::Receipt| count += u64::from(receipt.created);
    add(shop.job(BuildReport { month: "2030-01".into() }).id("report-1").enqueue().await?);
    add(shop.job(ImportOrder { order: "???".into() }).id("order-1").enqueue().await?);
    for number in 1..=INVOICES {
        add(shop.job(SendInvoice { number }).id(format!("invoice-{number}")).enqueue().await?);
    }
    for number in 1..=THUMBNAILS {
        let pixels = if number == HERO_NUMBER { Vec::new() } else { vec![7; 16] };
        add(shop.job(MakeThumbnail { number, pixels }).id(format!("thumbnail-{number}")).enqueue().await?);
    }
    for number in 1..=REMINDERS {
        let reminder = SendReminder { to: format!("reader{number}@example.com") };
        add(mail.job(reminder).id(format!("reminder-{number}")).delay(LATER).enqueue().await?);
    }
    for number in 1..=EMAILS {
        let host = if number == 7 { "nowhere.example" } else { "example.com" };
        let email = SendEmail { number, to: format!("reader{number}@{host}") };
        add(mail.job(email).id(format!("email-{number}")).enqueue().await?);
    }
    Ok(count)
}
