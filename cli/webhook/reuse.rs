//! Tells whether a request went out on a connection that had been opened before it.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Layer, Service};

tokio::task_local! {
    /// Whether the request of this scope has opened a connection itself.
    static OPENED: Cell<bool>;
}

/// Runs a request of a client with [`NoteOpened`]. Returns its result, and whether it used a connection that had been opened before it.
pub(super) async fn noting_reuse<T>(request: impl Future<Output = T>) -> (T, bool) {
    let noting = async {
        let result = request.await;
        (result, !OPENED.with(Cell::get))
    };
    OPENED.scope(Cell::new(false), noting).await
}

/// Notes in the scope of a request that a connection was opened for it. If a kept connection becomes free first, the client uses that one, and goes on opening the other
/// in a task of its own, outside of the scope. Such a request therefore counts as one on a kept connection.
#[derive(Clone)]
pub(super) struct NoteOpened;

impl<S> Layer<S> for NoteOpened {
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
        let connecting = self.0.call(to);
        Box::pin(async move {
            let connected = connecting.await;
            if connected.is_ok() {
                // Fails outside of the scope of a request; then there is nothing to note.
                let _ = OPENED.try_with(|opened| opened.set(true));
            }
            connected
        })
    }
}
