//! A handler enqueues a follow-up job. The id of the follow-up is made from the order's number, so that a repeated attempt does not send a second invoice.
//!
//! ```text
//! invoice for order 42 sent
//! attempt 1: invoice-42 in invoices, new: true
//! attempt 2: invoice-42 in invoices, new: false
//! ```
//!
//! Run with `cargo run --example follow_up`.

use std::time::Duration;

use retraced::{
    Attempt, Code, Context, Failure, Job, JobDefaults, JobId, JobRequest, MemoryStore, Queue, Retry, Runtime,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct PlaceOrder(u32);

impl Job for PlaceOrder {
    const KIND: &'static str = "order.place";
}

#[derive(Serialize, Deserialize)]
struct SendInvoice(u32);

impl Job for SendInvoice {
    const KIND: &'static str = "invoice.send";

    /// Without a default queue, a follow-up job goes to the queue of the handler that enqueues it.
    fn defaults() -> JobDefaults {
        JobDefaults::new().queue("invoices")
    }
}

async fn place(PlaceOrder(order): PlaceOrder, ctx: Context, attempt: Attempt) -> Result<JobId, Failure> {
    let invoice = ctx.enqueue(JobRequest::new(SendInvoice(order)).id(format!("invoice-{order}"))).await?;
    println!("attempt {}: {} in {}, new: {}", attempt.number, invoice.id, invoice.queue, invoice.created);
    match attempt.number {
        1 => Err(Failure::temporary(Code::NetworkError, "the connection was lost")),
        _ => Ok(invoice.id.clone()),
    }
}

async fn send(SendInvoice(order): SendInvoice) {
    println!("invoice for order {order} sent");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let orders = Queue::new("orders")?.handler(place).retry(Retry::fixed().base(Duration::from_millis(300)));
    let invoices = Queue::new("invoices")?.handler(send);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(orders).queue(invoices).start().await?;
    let order = runtime.queue("orders")?.enqueue(PlaceOrder(42)).await?;
    order.outcome().await?;
    runtime.shutdown().await?;
    Ok(())
}
