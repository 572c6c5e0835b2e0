//! The options of a tree, with their defaults and bounds, checked once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::clock::{Clock, SystemClock};
use retraced_jobs::execution::Runner;
use retraced_jobs::job::QueueName;
use retraced_jobs::store::Retention;

use crate::limits::{
    BUILD_LABEL_BYTES_MAX, CONCURRENCY_DEFAULT, CONCURRENCY_MAX, CRASHES_DEFAULT, CRASHES_MAX, HOST_LABEL_BYTES_MAX,
    LEASE_DEFAULT, LEASE_MAX, LEASE_MIN, SHUTDOWN_GRACE_DEFAULT, SHUTDOWN_GRACE_MAX,
};
use crate::observer::Observer;
use crate::supervision::restart::{Reopening, RestartPolicy};

/// Options of the whole tree.
#[derive(Clone)]
pub struct TreeOptions {
    /// How long a lease lasts unless it is renewed; it is renewed every third of that time. 300 ms to 1 h, default 30 s. The jobs of a worker that
    /// died run again after this time, or, if no other worker was running, one lease after the next worker starts.
    pub lease: Duration,
    /// The shutdown grace: how long a shutdown waits for handlers. After four fifths of it they are asked to stop, at its end they are killed. Up to
    /// 1 h, default 25 s.
    pub shutdown_grace: Duration,
    /// A job is poisoned when so many crashes are counted for it: 1 to 1000, default 3. The first time a worker dies with a job that was never returned, no
    /// crash is counted, because the start of its handler was not recorded. So one more worker may die.
    pub crashes_max: u32,
    /// The runtime ends with an error when it has this many zombies, which are handlers that still run 10 s after their timeout. At least 1. Default: the
    /// sum of all concurrencies.
    pub zombies_max: Option<usize>,
    /// The restart policy of the root supervisor. Default: [`RestartPolicy::ROOT`].
    pub root_policy: RestartPolicy,
    /// Seed for the jitter of polls, restarts and retries. Default: random.
    pub seed: u64,
    /// This host's name in the worker's row; a label. Default: the environment variable `HOSTNAME`, or the system's name of this host if that is not set, is empty or has
    /// more than 255 bytes.
    pub host: String,
    /// Label of the application's build in the worker's row, at most 200 bytes. Default: the name of the running program, or `unknown` if it is
    /// longer or cannot be read.
    pub build: String,
    /// The wall clock of supervision events and of the worker's start. Until the store has answered, it is also taken for the store's clock.
    pub wall_clock: Arc<dyn Clock>,
    /// Sees what the tree does. Default: none.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            lease: LEASE_DEFAULT,
            shutdown_grace: SHUTDOWN_GRACE_DEFAULT,
            crashes_max: CRASHES_DEFAULT,
            zombies_max: None,
            root_policy: RestartPolicy::ROOT,
            seed: rand::random(),
            host: host_name(),
            build: program_name(),
            wall_clock: Arc::new(SystemClock),
            observer: None,
        }
    }
}

/// The name of this host: the environment variable `HOSTNAME`, or the system's name of this host if that is not set, is empty or has more than 255 bytes.
///
/// ```
/// assert!(!retraced_actors::host_name().is_empty());
/// ```
#[must_use]
pub fn host_name() -> String {
    given_or_own(std::env::var("HOSTNAME").ok())
}

fn given_or_own(given: Option<String>) -> String {
    let given = given.filter(|name| !name.is_empty() && name.len() <= HOST_LABEL_BYTES_MAX);
    given.unwrap_or_else(|| gethostname::gethostname().to_string_lossy().into_owned())
}

fn program_name() -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| name.len() <= BUILD_LABEL_BYTES_MAX).unwrap_or_else(|| "unknown".into())
}

/// Options of one queue.
#[derive(Clone)]
pub struct QueueOptions {
    /// How many jobs of the queue run at a time in this worker: 1 to 10,000, default 10.
    pub concurrency: usize,
    /// The restart policy of the queue's supervisors and of its executor pool. Default: [`RestartPolicy::QUEUE`].
    pub policy: RestartPolicy,
    /// When closed workers, or a closed queue, are reopened: after at least 1 s. Default: [`Reopening::DEFAULT`].
    pub reopening: Reopening,
    /// How long ended jobs are kept, and how many.
    pub retention: Retention,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            concurrency: CONCURRENCY_DEFAULT,
            policy: RestartPolicy::QUEUE,
            reopening: Reopening::DEFAULT,
            retention: Retention::default(),
        }
    }
}

/// A queue to process.
pub struct QueueSpec {
    /// The name of the queue.
    pub name: QueueName,
    /// Its options.
    pub options: QueueOptions,
    /// What runs its jobs.
    pub runner: Arc<Runner>,
}

/// An option is invalid. The text names it and says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOption(pub(crate) String);

impl fmt::Display for InvalidOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidOption {}

pub(crate) fn check(options: &TreeOptions, queues: &[QueueSpec]) -> Result<(), InvalidOption> {
    let invalid = invalid_options(options, queues.iter().map(|queue| (&queue.name, &queue.options)));
    invalid.into_iter().next().map_or(Ok(()), Err)
}

/// Every invalid option: those of the tree, then those of its queues. A list without a queue is invalid too.
pub fn invalid_options<'a>(
    options: &TreeOptions,
    queues: impl Iterator<Item = (&'a QueueName, &'a QueueOptions)>,
) -> Vec<InvalidOption> {
    let mut invalid = Vec::new();
    let mut refuse = |text: String| invalid.push(InvalidOption(text));
    if !(LEASE_MIN..=LEASE_MAX).contains(&options.lease) {
        refuse(format!("lease is {:?}, allowed are {LEASE_MIN:?} to {LEASE_MAX:?}", options.lease));
    }
    if options.shutdown_grace > SHUTDOWN_GRACE_MAX {
        refuse(format!("shutdown grace is {:?}, allowed is up to {SHUTDOWN_GRACE_MAX:?}", options.shutdown_grace));
    }
    if !(1..=CRASHES_MAX).contains(&options.crashes_max) {
        refuse(format!("crashes_max is {}, allowed is 1 to {CRASHES_MAX}", options.crashes_max));
    }
    if options.build.len() > BUILD_LABEL_BYTES_MAX {
        refuse(format!(
            "the label of the build has {} bytes, at most {BUILD_LABEL_BYTES_MAX} are allowed",
            options.build.len()
        ));
    }
    if options.zombies_max == Some(0) {
        refuse("zombies_max is 0, at least 1 is needed".into());
    }
    if let Err(policy) = options.root_policy.validate() {
        refuse(format!("root policy: {policy}"));
    }
    let mut names = Vec::new();
    for (name, options) in queues {
        if names.contains(&name) {
            refuse(format!("queue \"{name}\" was given twice"));
        }
        names.push(name);
        if !(1..=CONCURRENCY_MAX).contains(&options.concurrency) {
            let concurrency = options.concurrency;
            refuse(format!("concurrency of queue \"{name}\" is {concurrency}, allowed are 1 to {CONCURRENCY_MAX}"));
        }
        if let Err(policy) = options.policy.validate() {
            refuse(format!("queue \"{name}\": {policy}"));
        }
        if let Err(reopening) = options.reopening.validate() {
            refuse(format!("queue \"{name}\": {reopening}"));
        }
    }
    if names.is_empty() {
        refuse("no queue was given; add one with .queue(Queue::new(\"name\")?)".into());
    }
    invalid
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_host_is_not_unknown_when_the_environment_does_not_name_it() {
        assert_eq!(given_or_own(Some("worker-7".into())), "worker-7");
        for given in [None, Some(String::new()), Some("h".repeat(HOST_LABEL_BYTES_MAX + 1))] {
            let host = given_or_own(given);
            assert!(!host.is_empty() && host.len() <= HOST_LABEL_BYTES_MAX && host != "unknown", "{host}");
        }
    }

    #[test]
    fn a_worker_is_labelled_with_its_host_and_its_program() {
        let options = TreeOptions::default();
        assert_eq!(options.host, given_or_own(std::env::var("HOSTNAME").ok()));
        let program = std::env::current_exe().unwrap();
        assert_eq!(options.build, program.file_name().unwrap().to_string_lossy());
    }

    fn refused(options: &TreeOptions, queue: &QueueOptions) -> Vec<String> {
        let name = QueueName::new("email").unwrap();
        let invalid = invalid_options(options, [(&name, queue)].into_iter());
        invalid.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn options_at_their_bounds_are_allowed() {
        let (mut options, mut queue) = (TreeOptions::default(), QueueOptions::default());
        (options.lease, options.crashes_max, options.zombies_max) = (LEASE_MIN, 1, Some(1));
        queue.concurrency = 1;
        assert_eq!(refused(&options, &queue), [""; 0]);
        (options.lease, options.crashes_max) = (LEASE_MAX, CRASHES_MAX);
        options.shutdown_grace = SHUTDOWN_GRACE_MAX;
        options.build = "b".repeat(BUILD_LABEL_BYTES_MAX);
        queue.concurrency = CONCURRENCY_MAX;
        assert_eq!(refused(&options, &queue), [""; 0]);
    }

    #[test]
    fn every_option_beyond_its_bounds_is_named() {
        let (mut options, mut queue) = (TreeOptions::default(), QueueOptions::default());
        (options.lease, options.crashes_max, options.zombies_max) = (Duration::ZERO, 0, Some(0));
        options.shutdown_grace = SHUTDOWN_GRACE_MAX + Duration::from_millis(1);
        options.build = "b".repeat(BUILD_LABEL_BYTES_MAX + 1);
        options.root_policy.budget.restarts = 0;
        (queue.concurrency, queue.policy.budget.restarts, queue.reopening.first) = (0, 0, Duration::ZERO);
        let refused = refused(&options, &queue);
        let named = [
            "lease is 0ns",
            "shutdown grace is",
            "crashes_max is 0",
            "the label of the build",
            "zombies_max is 0",
            "root policy: a budget",
            "concurrency of queue",
            "queue \"email\": a budget",
            "queue \"email\": first reopening delay",
        ];
        assert_eq!(refused.len(), named.len(), "{refused:?}");
        for (refused, named) in refused.iter().zip(named) {
            assert!(refused.starts_with(named), "{refused:?} does not name {named:?}");
        }
    }

    #[test]
    fn a_queue_given_twice_and_a_tree_without_queues_are_refused() {
        let (options, queue, name) =
            (TreeOptions::default(), QueueOptions::default(), QueueName::new("email").unwrap());
        let twice = invalid_options(&options, [(&name, &queue), (&name, &queue)].into_iter());
        assert_eq!(twice, [InvalidOption("queue \"email\" was given twice".into())]);
        assert!(invalid_options(&options, std::iter::empty())[0].to_string().starts_with("no queue was given"));
    }
}
