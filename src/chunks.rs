//! Splits many jobs into chunks that fit into one call to the store.

use retraced_actors::limits::FLUSH_BYTES_MAX;
use retraced_jobs::job::NewJob;
use retraced_jobs::store::BATCH_MAX;

/// The jobs in order, at most [`BATCH_MAX`] jobs and [`FLUSH_BYTES_MAX`] bytes at a time; a larger job goes alone.
pub(crate) fn chunks(mut jobs: &[NewJob]) -> impl Iterator<Item = &[NewJob]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = jobs.iter().take(BATCH_MAX).take_while(|job| {
            bytes += job.envelope.len();
            bytes <= FLUSH_BYTES_MAX
        });
        let (chunk, rest) = jobs.split_at(fitting.count().max(1).min(jobs.len()));
        jobs = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::job::{JobId, RunAt};

    use super::*;

    fn sizes(jobs: &[(usize, usize)]) -> Vec<usize> {
        let job = |size| NewJob { id: JobId::parse("j").unwrap(), run_at: RunAt::Now, envelope: vec![0; size].into() };
        let jobs: Vec<_> = jobs.iter().flat_map(|(number, size)| vec![job(*size); *number]).collect();
        let chunks: Vec<_> = chunks(&jobs).collect();
        assert_eq!(chunks.concat(), jobs);
        chunks.iter().map(|chunk| chunk.len()).collect()
    }

    #[test]
    fn a_chunk_is_bounded_by_number_and_by_bytes_and_a_large_job_goes_alone() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[(2 * BATCH_MAX + 3, 10)]), [BATCH_MAX, BATCH_MAX, 3]);
        assert_eq!(sizes(&[(9, FLUSH_BYTES_MAX / 4)]), [4, 4, 1]);
        assert_eq!(sizes(&[(2, 10), (2, FLUSH_BYTES_MAX + 1), (1, 10)]), [2, 1, 1, 1]);
    }
}
