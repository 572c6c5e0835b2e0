//! What every verb of a store returns.

use futures_util::future::BoxFuture;

use super::error::StoreError;

/// The future that every verb (method) of a store returns.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;
