//! The tokio runtime that the supervision tree and the store's connections run on.

use tokio::runtime::Handle;

use crate::limits::TREE_THREADS;

/// The tokio runtime the tree runs on: the tree's own, or one given to the builder.
pub(crate) struct TreeRuntime {
    handle: Handle,
    own: Option<tokio::runtime::Runtime>,
}

impl TreeRuntime {
    pub(crate) fn own() -> std::io::Result<Self> {
        let own = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(TREE_THREADS)
            .thread_name("retraced-tree")
            .enable_all()
            .build()?;
        Ok(Self { handle: own.handle().clone(), own: Some(own) })
    }

    pub(crate) fn given(handle: Handle) -> Self {
        Self { handle, own: None }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for TreeRuntime {
    fn drop(&mut self) {
        // Dropping a tokio runtime waits for its threads, which panics in async code; this call does not wait.
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}
