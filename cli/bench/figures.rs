//! The figures of one measurement, and the records in which `--json` prints them.

use serde::{Deserialize, Serialize};

/// One measured value, as `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The side that was measured: `retraced` or `floor`.
    pub(super) peer: String,
    pub(super) metric: String,
    pub(super) value: f64,
    pub(super) unit: String,
    pub(super) jobs: u64,
    /// See [`Measurement::concurrency`](super::measurement::Measurement::concurrency).
    pub(super) concurrency: u64,
}

/// The results of one measurement: metric, value, unit.
#[derive(Default)]
pub(super) struct Figures(Vec<(String, f64, &'static str)>);

impl Figures {
    pub(super) fn put(&mut self, metric: impl Into<String>, value: f64, unit: &'static str) {
        self.0.push((metric.into(), value, unit));
    }

    /// Puts p50, p95, p99 and the maximum of these values, which must be sorted.
    pub(super) fn put_ranks(&mut self, prefix: &str, sorted_ms: &[f64]) {
        for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
            let rank = (sorted_ms.len() as f64 * share).ceil() as usize;
            if let Some(ms) = sorted_ms.get(rank.saturating_sub(1)) {
                self.put(format!("{prefix}_{name}"), *ms, "ms");
            }
        }
    }

    pub(super) fn records(self, peer: &str, jobs: u64, concurrency: u64) -> Vec<Record> {
        let record = |(metric, value, unit): (String, f64, &str)| Record {
            peer: peer.into(),
            metric,
            value: (value * 1_000.0).round() / 1_000.0,
            unit: unit.into(),
            jobs,
            concurrency,
        };
        self.0.into_iter().map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut figures = Figures::default();
        figures.put_ranks("latency", &(1..=200).map(f64::from).collect::<Vec<_>>());
        let records = figures.records("floor", 200, 4);
        let values: Vec<_> = records.iter().map(|r| (r.metric.as_str(), r.value)).collect();
        assert_eq!(
            values,
            [("latency_p50", 100.0), ("latency_p95", 190.0), ("latency_p99", 198.0), ("latency_max", 200.0)]
        );
    }
}
