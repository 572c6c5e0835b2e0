//! Records the jobs that a handler enqueues, for tests to inspect.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};

use crate::codec;
use crate::enqueue::{EnqueueAllError, EnqueueError, Outcome, OutcomeError, Producers, QueueProducer, Receipt};
use crate::job::{JobId, JobState, NewJob, QueueName, RunAt};
use crate::store::Enqueued;
use crate::typed_job::Job;

/// Records every job, of every queue. Cheap to clone: all clones share the record.
#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Vec<(QueueName, NewJob)>>>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.jobs().len())
    }
}

impl Recorder {
    /// The jobs of one kind in the queues for which `in_queue` is true.
    #[track_caller]
    pub(super) fn of_kind<J: Job>(&self, in_queue: impl Fn(&QueueName) -> bool) -> Vec<J> {
        let jobs = self.jobs();
        jobs.iter().filter(|(queue, _)| in_queue(queue)).filter_map(|(_, job)| decoded(job)).collect()
    }

    fn enqueue(&self, queue: &QueueName, job: NewJob) -> Receipt {
        let mut jobs = self.jobs();
        let kept = jobs.iter().find(|(name, kept)| name == queue && kept.id == job.id);
        let answer = match kept {
            Some((_, kept)) => Enqueued::Exists { state: state_of(kept) },
            None => Enqueued::Created { state: state_of(&job) },
        };
        let receipt = Receipt::new(queue.clone(), job.id.clone(), answer);
        if receipt.created {
            jobs.push((queue.clone(), job));
        }
        receipt
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<(QueueName, NewJob)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a recorded job, which no worker touches.
fn state_of(job: &NewJob) -> JobState {
    if job.run_at == RunAt::Now { JobState::Pending } else { JobState::Delayed }
}

/// The job, if it is of this kind.
#[track_caller]
fn decoded<J: Job>(job: &NewJob) -> Option<J> {
    let envelope = codec::open(&job.envelope).unwrap_or_else(|error| panic!("job {}: {error}", job.id));
    (envelope.kind.as_str() == J::KIND)
        .then(|| codec::from_payload(&envelope.payload).unwrap_or_else(|error| panic!("job {}: {error}", job.id)))
}

impl Producers for Recorder {
    fn producer(&self, queue: &QueueName) -> Arc<dyn QueueProducer> {
        Arc::new(RecordedQueue { name: queue.clone(), recorder: self.clone() })
    }
}

struct RecordedQueue {
    name: QueueName,
    recorder: Recorder,
}

impl QueueProducer for RecordedQueue {
    fn name(&self) -> &QueueName {
        &self.name
    }

    fn enqueue(&self, job: NewJob, _: Duration) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
        ready(Ok(self.recorder.enqueue(&self.name, job))).boxed()
    }

    fn enqueue_all(&self, jobs: Vec<NewJob>, _: Duration) -> BoxFuture<'_, Result<Vec<Receipt>, EnqueueAllError>> {
        ready(Ok(jobs.into_iter().map(|job| self.recorder.enqueue(&self.name, job)).collect())).boxed()
    }

    /// Answers at once: nobody runs these jobs, so a wait would never end.
    fn outcome(&self, id: JobId, timeout: Duration) -> BoxFuture<'_, Result<Outcome, OutcomeError>> {
        let jobs = self.recorder.jobs();
        let answer = match jobs.iter().find(|(queue, job)| *queue == self.name && job.id == id) {
            Some((_, job)) => Err(OutcomeError::TimedOut { timeout, state: Some(state_of(job)) }),
            None => Ok(Outcome::NotKept),
        };
        ready(answer).boxed()
    }
}
