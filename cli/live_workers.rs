//! The live workers of a queue: the jobs of one without a live worker wait, and nothing else would say so.

use retraced::store::WorkerRow;
use retraced::{Operator, OperatorError, QueueName};
use serde::Serialize;

use crate::output::{Output, arguments, note};

/// The live workers of all queues, as far as they are known.
#[derive(Default)]
pub(crate) struct LiveWorkers(Vec<WorkerRow>);

/// Anything about a queue, with the number of workers that process the queue.
#[derive(Serialize)]
pub(crate) struct WithWorkers<'a, T> {
    #[serde(flatten)]
    pub(crate) of: &'a T,
    /// Live workers that process the queue. `None`: the store did not say, because the user may not read its list of workers, for example.
    pub(crate) workers: Option<usize>,
}

impl LiveWorkers {
    pub(crate) async fn read(operator: &Operator) -> Result<Self, OperatorError> {
        operator.live_workers().await.map(Self)
    }

    /// How many of them process this queue. A worker of a newer version may process any queue.
    pub(crate) fn of(&self, queue: &QueueName) -> usize {
        self.0.iter().filter(|worker| worker.may_process(queue)).count()
    }
}

impl<'a, T> WithWorkers<'a, T> {
    pub(crate) fn new(of: &'a T, workers: Option<usize>) -> Self {
        Self { of, workers }
    }
}

/// How many live workers process this queue; `None` if the store does not say.
pub(crate) async fn workers_of(operator: &Operator, queue: &QueueName) -> Option<usize> {
    LiveWorkers::read(operator).await.ok().map(|workers| workers.of(queue))
}

/// As [`note_if_unprocessed`], but not with `--json`: the row has it as the field `workers`.
pub(crate) fn note_in_text(out: &Output, queue: &QueueName, workers: Option<usize>) {
    if !out.is_json() {
        note_if_unprocessed(queue, workers);
    }
}

/// Says that no live worker processes this queue, if that is so.
pub(crate) fn note_if_unprocessed(queue: &QueueName, workers: Option<usize>) {
    if workers == Some(0) {
        note(format_args!(
            "no worker processes queue {queue}: its jobs wait until one runs (`retraced work {}`, or your application)",
            match queue.as_str().starts_with('-') {
                true => format!("… {}", arguments(&[queue])),
                false => format!("{queue} …"),
            }
        ));
    }
}
