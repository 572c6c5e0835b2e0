//! The extractor of a shared value.

use std::ops::Deref;
use std::sync::Arc;

/// A handler's argument: the shared value of type `T`. If no such value was given, the runtime does not start.
///
/// ```
/// use retraced_jobs::failure::Failure;
/// use retraced_jobs::handler::State;
/// use retraced_jobs::typed_job::Job;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct SendEmail;
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// struct Mailer;
/// async fn send_email(job: SendEmail, mailer: State<Mailer>) -> Result<(), Failure> {
///     let _: &Mailer = &mailer;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct State<T>(pub(super) Arc<T>);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
