//! Tells what connection a request had: one that was opened before it, one of its own, or none yet.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tower::{Layer, Service};

tokio::task_local! {
    /// What is known of the connection of the request of this scope.
    static NOTED: Arc<Noted>;
}

/// The connection of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// It had been opened before the request. (Or none could be opened, as the error of the request then says.)
    Kept,
    /// It was still being opened when the request ended.
    Opening,
    /// It was opened for the request.
    Opened,
}

#[derive(Default)]
struct Noted {
    opening: AtomicBool,
    opened: AtomicBool,
}

impl Noted {
    fn connection(&self) -> Connection {
        match (self.opened.load(Ordering::Relaxed), self.opening.load(Ordering::Relaxed)) {
            (true, _) => Connection::Opened,
            (false, true) => Connection::Opening,
            (false, false) => Connection::Kept,
        }
    }
}

/// Runs a request of a client with [`NoteConnection`]. Returns its result and its connection.
pub(super) async fn noting_connection<T>(request: impl Future<Output = T>) -> (T, Connection) {
    let noted = Arc::new(Noted::default());
    let result = NOTED.scope(noted.clone(), request).await;
    (result, noted.connection())
}

/// Notes in the scope of a request that a connection is being opened and was opened for it. If a kept connection becomes free first, the client uses that one, and goes on
/// opening the other in a task of its own, outside of the scope. Such a request therefore counts as one on a kept connection.
#[derive(Clone)]
pub(super) struct NoteConnection;

impl<S> Layer<S> for NoteConnection {
    type Service = Noting<S>;

    fn layer(&self, connector: S) -> Noting<S> {
        Noting(connector)
    }
}

#[derive(Clone)]
pub(super) struct Noting<S>(S);

impl<S, R> Service<R> for Noting<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let mut connecting = Box::pin(self.0.call(to));
        // Fails outside of the scope of a request; then there is nothing to note.
        let noted = NOTED.try_with(Arc::clone).unwrap_or_default();
        noted.opening.store(true, Ordering::Relaxed);
        Box::pin(poll_fn(move |cx| {
            let polled = connecting.as_mut().poll(cx);
            let in_scope = NOTED.try_with(|_| ()).is_ok();
            if polled.is_ready() || !in_scope {
                noted.opening.store(false, Ordering::Relaxed);
            }
            if in_scope && matches!(polled, Poll::Ready(Ok(_))) {
                noted.opened.store(true, Ordering::Relaxed);
            }
            polled
        }))
    }
}
