//! The HTTP server of `--health`: `/healthz` for liveness, `/readyz` for readiness.
//!
//! At most [`HEALTH_CONNECTIONS_MAX`] connections are served at a time, and one more is accepted and waits. Each has one request, which takes at most
//! [`HEALTH_REQUEST_TIMEOUT`] and whose head has at most [`HEALTH_HEAD_BYTES_MAX`] bytes. Bodies are not read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use retraced::Runtime;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::readiness::{Phase, Readiness};
use crate::error::CliError;
use crate::limits::{
    HEALTH_ACCEPT_DELAY, HEALTH_CONNECTION_KEPT_MIN, HEALTH_CONNECTIONS_MAX, HEALTH_HEAD_BYTES_MAX,
    HEALTH_REQUEST_TIMEOUT,
};

/// The server. It ends when this is dropped.
pub(super) struct HealthServer {
    address: SocketAddr,
    worker: Arc<ObservedWorker>,
    _task: AbortOnDropHandle<()>,
}

/// A connection that is served.
struct Connection {
    task: AbortHandle,
    /// Until then no other connection takes its place.
    kept_until: Instant,
}

/// The worker whose health is asked for.
#[derive(Default)]
struct ObservedWorker {
    /// Unset while the worker starts. The server does not keep the runtime alive.
    runtime: OnceLock<Weak<Runtime>>,
    is_draining: AtomicBool,
}

impl HealthServer {
    pub(super) async fn start(address: SocketAddr) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| {
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => "end what listens there, or give another address",
                ErrorKind::AddrNotAvailable => "this machine does not have the address: give another one",
                _ => "give another address",
            };
            CliError::Failed(format!(
                "the health checks cannot listen on {address}: {error}; {remedy} with --health ADDRESS:PORT"
            ))
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr()?;
        let worker = Arc::new(ObservedWorker::default());
        let task = AbortOnDropHandle::new(tokio::spawn(serve(listener, worker.clone())));
        Ok(Self { address, worker, _task: task })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The worker has started.
    pub(super) fn started(&self, runtime: &Arc<Runtime>) {
        let _ = self.worker.runtime.set(Arc::downgrade(runtime));
    }

    /// The worker claims no more jobs.
    pub(super) fn draining(&self) {
        self.worker.is_draining.store(true, Ordering::Relaxed);
    }
}

impl ObservedWorker {
    /// The runtime, or where the worker is if there is none.
    fn runtime(&self) -> Result<Arc<Runtime>, Phase> {
        self.runtime.get().ok_or(Phase::Starting)?.upgrade().ok_or(Phase::Ended)
    }

    /// Asks the root of the tree alone: a look at each executor of a large worker takes a while.
    fn phase(&self) -> Phase {
        match self.runtime() {
            Ok(runtime) if !runtime.is_up() => Phase::Ended,
            Ok(_) if self.is_draining.load(Ordering::Relaxed) => Phase::Draining,
            Ok(_) => Phase::Running,
            Err(phase) => phase,
        }
    }

    fn readiness(&self) -> Readiness {
        match self.runtime() {
            Ok(runtime) => {
                let is_draining = self.is_draining.load(Ordering::Relaxed);
                Readiness::new(&runtime.tree(), runtime.store_status(), is_draining)
            }
            Err(phase) => Readiness::without_tree(phase),
        }
    }
}

async fn serve(listener: TcpListener, worker: Arc<ObservedWorker>) {
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<Connection> = VecDeque::new();
    let mut waiting = None;
    loop {
        by_age.retain(|connection| !connection.task.is_finished());
        if by_age.len() < HEALTH_CONNECTIONS_MAX
            && let Some(stream) = waiting.take()
        {
            let task = connections.spawn(serve_connection(stream, worker.clone()));
            by_age.push_back(Connection { task, kept_until: Instant::now() + HEALTH_CONNECTION_KEPT_MIN });
        }
        let oldest_kept_until = by_age.front().map_or_else(Instant::now, |oldest| oldest.kept_until);
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok((stream, _)) => waiting = Some(stream),
                // For example because this process has too many open files.
                Err(_) => sleep(HEALTH_ACCEPT_DELAY).await,
            },
            // The oldest connection makes room: a silent client must not keep others waiting. Until `kept_until` a client has time to send its request and be answered.
            () = sleep_until(oldest_kept_until), if waiting.is_some() => {
                if let Some(oldest) = by_age.pop_front() {
                    oldest.task.abort();
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, worker: Arc<ObservedWorker>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &worker);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEALTH_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    // A client that goes away or is too slow is no error of this worker.
    let _ = timeout(HEALTH_REQUEST_TIMEOUT, connection).await;
}

fn answer(method: &Method, path: &str, worker: &ObservedWorker) -> Response<String> {
    if !matches!(path, "/healthz" | "/readyz") {
        return json(StatusCode::NOT_FOUND, &Refusal { error: "ask for /healthz or /readyz" });
    }
    if method != Method::GET && method != Method::HEAD {
        let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &Refusal { error: "use GET or HEAD" });
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let status = |is_good| if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if path == "/healthz" {
        let phase = worker.phase();
        return json(status(phase.is_alive()), &Liveness { status: phase });
    }
    let readiness = worker.readiness();
    json(status(readiness.ready), &readiness)
}

#[derive(Serialize)]
struct Liveness {
    status: Phase,
}

#[derive(Serialize)]
struct Refusal {
    error: &'static str,
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<String> {
    // The bodies have no maps and no numbers, so they can always be written as JSON.
    let text = serde_json::to_string(body).unwrap_or_default() + "\n";
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
