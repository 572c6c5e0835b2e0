//! Every bound, by name, with its unit and what happens past it.

/// The bounds of the supervision tree and of the calls to the store.
pub use retraced_actors::limits as tree;
/// The bounds of jobs, traces and stores.
pub use retraced_jobs::limits as jobs;

/// Jobs read from the store at a time while jobs are found: few enough that workers, who wait for the end of the call, do not notice.
pub const FIND_READ_MAX: usize = 200;
/// Jobs one call of [`Operator::find`](crate::Operator::find) examines; past it the call returns what it has found, with the cursor to go on.
pub const FIND_EXAMINED_MAX: u64 = 100_000;
/// Jobs one step of a bulk action changes: few enough that workers, who wait for the end of the call, do not notice.
pub const BULK_STEP_JOBS: usize = 100;
/// Jobs one step of a bulk action examines; past it the step ends with the jobs found so far, so that progress can be shown.
pub const BULK_STEP_EXAMINED_MAX: u64 = 2_000;
