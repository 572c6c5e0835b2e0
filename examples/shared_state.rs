//! Further arguments of a handler: a value that all handlers share, and an extractor of your own.
//!
//! ```text
//! from hello@example.com to ada, for acme
//! acme:42: the job completed
//! 43: the job is poisoned: INVALID_JOB_DATA: 43 names no tenant
//! ```
//!
//! Run with `cargo run --example shared_state`.

use retraced::{Code, Context, Failure, FromContext, Job, MemoryStore, Needs, Queue, Runtime, State};
use serde::{Deserialize, Serialize};

/// Made once and shared by all handlers, as a connection pool would be. It need not be `Clone`.
struct Mailer {
    from: &'static str,
}

/// The customer a job belongs to: the part of the job's id before the first `:`.
struct Tenant(String);

impl FromContext for Tenant {
    fn from_context(ctx: &Context) -> Result<Self, Failure> {
        let id = ctx.id().to_string();
        let tenant = id.split_once(':').map(|(tenant, _)| Tenant(tenant.into()));
        tenant.ok_or_else(|| Failure::permanent(Code::InvalidJobData, format!("{id} names no tenant")))
    }

    /// An extractor that reads shared values declares them here with `needs.state::<T>()`. If one is missing, the runtime does not start.
    fn needs(_: &mut Needs) {}
}

#[derive(Serialize, Deserialize)]
struct SendEmail(String);

impl Job for SendEmail {
    const KIND: &'static str = "email.send";
}

async fn send(SendEmail(to): SendEmail, mailer: State<Mailer>, tenant: Tenant) {
    println!("from {} to {to}, for {}", mailer.from, tenant.0);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("email")?.handler(send);
    let mailer = Mailer { from: "hello@example.com" };
    let runtime = Runtime::builder().store(MemoryStore::new()).state(mailer).queue(queue).start().await?;
    for id in ["acme:42", "43"] {
        let job = runtime.queue("email")?.job(SendEmail("ada".into())).id(id).enqueue().await?;
        println!("{id}: {}", job.outcome().await?);
    }
    runtime.shutdown().await?;
    Ok(())
}
