//! A job as an application writes it: its type with the defaults of its kind, and how it is sealed with its options.

mod defaults;
mod seal;

pub use defaults::{InvalidDefaults, JobDefaults};
pub use seal::{JobOptions, seal_job};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A typed job: its data, and the kind by which workers choose its handler.
///
/// ```
/// use retraced_jobs::typed_job::Job;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String, subject: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The kind: 1 to 128 characters of `A-Z a-z 0-9 . _ -`. Producers and workers must agree on it, so keep it when the type is renamed.
    const KIND: &'static str;

    /// What holds for all jobs of this kind, unless their queue or their producer says otherwise. Default: no defaults.
    fn defaults() -> JobDefaults {
        JobDefaults::new()
    }
}
