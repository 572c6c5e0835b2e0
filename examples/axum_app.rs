//! A web application that enqueues jobs to a runtime in the same process. At a shutdown it ends its requests before the runtime, so that none finds the queue closed.
//!
//! ```text
//! listening on http://127.0.0.1:3000
//! welcome, ada!
//! requests are done
//! jobs are done, 0 killed
//! ```
//!
//! Run with `cargo run --example axum_app`, then `curl -H 'content-type: application/json' -d '{"to":"ada"}' http://127.0.0.1:3000/welcome`, and Ctrl-C.

use std::sync::Arc;

use axum::{Json, Router, extract::Path, extract::State, http::StatusCode, routing::get, routing::post};
use retraced::{Job, JobId, MemoryStore, Queue, Runtime};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::{ctrl_c, unix::SignalKind, unix::signal};

#[derive(Serialize, Deserialize)]
struct Welcome {
    to: String,
}

impl Job for Welcome {
    const KIND: &'static str = "email.welcome";
}

async fn welcome(job: Welcome) {
    println!("welcome, {}!", job.to);
}

type Reply = Result<(StatusCode, String), (StatusCode, String)>;

async fn enqueue(State(jobs): State<Arc<Runtime>>, Json(job): Json<Welcome>) -> Reply {
    let email = jobs.queue("email").map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let stored = email.enqueue(job).await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok((StatusCode::ACCEPTED, stored.id.to_string()))
}

async fn trace(State(jobs): State<Arc<Runtime>>, Path(id): Path<JobId>) -> Reply {
    let trace = jobs.trace(&id).await.map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))?;
    Ok((StatusCode::OK, trace.to_string()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("email")?.handler(welcome);
    let jobs = Arc::new(Runtime::builder().store(MemoryStore::new()).queue(queue).start().await?);
    let routes = Router::new().route("/welcome", post(enqueue)).route("/jobs/{id}", get(trace));
    let listener = TcpListener::bind(std::env::var("ADDRESS").unwrap_or("127.0.0.1:3000".into())).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    let stop = async move { tokio::select!(_ = ctrl_c() => {}, _ = terminated.recv() => {}) };
    axum::serve(listener, routes.with_state(jobs.clone())).with_graceful_shutdown(stop).await?;
    println!("requests are done");
    println!("jobs are done, {} killed", jobs.shutdown().await?.killed);
    Ok(())
}
