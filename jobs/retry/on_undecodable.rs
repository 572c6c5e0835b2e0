//! What a queue does with payloads that its handlers cannot decode.

/// What becomes of a job whose payload does not fit the type of its handler, or is larger than this worker allows.
///
/// ```
/// use retraced_jobs::retry::OnUndecodable;
/// assert_eq!(OnUndecodable::default(), OnUndecodable::PutOff);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnUndecodable {
    /// Released with a delay, 30 s each time, and poisoned after 20 releases of any kind: in a rolling deploy a newer worker takes it meanwhile. The default.
    #[default]
    PutOff,
    /// Poisoned at the first attempt: for queues whose producers and workers are always of the same version.
    Poison,
}
