//! A web application that hands work to a queue in the same process. Run with `cargo run --example axum_app`, then:
//!
//! ```sh
//! curl -i -H 'content-type: application/json' -d '{"to":"ada@example.com"}' http://127.0.0.1:3000/welcome
//! curl http://127.0.0.1:3000/jobs/ID      # the story of that job
//! ```
//!
//! Listens on `ADDRESS`, or on 127.0.0.1:3000. Ends with Ctrl-C or SIGTERM: requests first, jobs after them.

use std::sync::Arc;

use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use retraced::job::InvalidName;
use retraced::{EnqueueError, Job, JobId, MemoryStore, Queue, QueueHandle, Runtime, TraceError};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Serialize, Deserialize)]
struct Welcome {
    to: String,
}

impl Job for Welcome {
    const KIND: &'static str = "email.welcome";
}

/// What handlers share, made once.
struct Mailer {
    from: &'static str,
}

async fn welcome(job: Welcome, mailer: retraced::State<Mailer>) {
    println!("from {} to {}: welcome!", mailer.from, job.to);
}

/// What requests need.
#[derive(Clone)]
struct App {
    email: QueueHandle,
    runtime: Arc<Runtime>,
}

/// Answers when the job is stored, not when the letter is sent.
async fn ask_for_welcome(State(app): State<App>, Json(job): Json<Welcome>) -> Result<Response, Problem> {
    let receipt = app.email.enqueue(job).await?;
    Ok((StatusCode::ACCEPTED, format!("{}\n", receipt.id)).into_response())
}

async fn story(State(app): State<App>, Path(id): Path<String>) -> Result<String, Problem> {
    Ok(app.runtime.trace(&JobId::parse(&id)?).await?.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let runtime = Runtime::builder()
        // Jobs that are to survive this process need a RedisStore.
        .store(MemoryStore::new())
        .state(Mailer { from: "hello@example.com" })
        .queue(Queue::new("email")?.handler(welcome))
        .start()
        .await?;
    let runtime = Arc::new(runtime);
    let app = App { email: runtime.queue("email")?, runtime: runtime.clone() };
    let routes =
        axum::Router::new().route("/welcome", post(ask_for_welcome)).route("/jobs/{id}", get(story)).with_state(app);

    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let asked_or_given_up = {
        let runtime = runtime.clone();
        async move {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
                // When the runtime gave up, the server must not go on taking jobs that are never run.
                _ = runtime.wait() => {}
            }
            println!("shutting down");
        }
    };

    // The order matters. Requests under way may still enqueue, so the server ends before the runtime; the other way round they would be refused.
    axum::serve(listener, routes).with_graceful_shutdown(asked_or_given_up).await?;
    println!("requests are done");
    let drained = runtime.shutdown().await?;
    println!("jobs are done, {} killed", drained.killed);
    Ok(())
}

/// An error, as the client sees it.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(status, text) = self;
        (status, format!("{text}\n")).into_response()
    }
}

impl From<EnqueueError> for Problem {
    fn from(error: EnqueueError) -> Self {
        let status = match &error {
            EnqueueError::InvalidId(_) | EnqueueError::InvalidRetry(_) | EnqueueError::Payload(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            // Full, or the store is away: the client may try again. Whether the job was stored can be open, so an id of its own makes that safe.
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem(status, error.to_string())
    }
}

impl From<TraceError> for Problem {
    fn from(error: TraceError) -> Self {
        let status = match &error {
            TraceError::NotFound { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem(status, error.to_string())
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        Problem(StatusCode::BAD_REQUEST, error.to_string())
    }
}
