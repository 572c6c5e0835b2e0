//! Which metrics to measure.

use super::measurement::Measurement;

/// The names given with `--only`; empty: everything.
pub(super) struct Selection(Vec<String>);

impl Selection {
    /// The metrics that these names select.
    ///
    /// # Errors
    /// A name matches no metric; the message lists the metrics.
    pub(super) fn of(names: Vec<String>, all: &[Measurement]) -> Result<Self, String> {
        let metrics = || all.iter().flat_map(|measurement| measurement.metrics());
        for name in &names {
            if !metrics().any(|metric| matches(&metric, name)) {
                let mut known: Vec<String> = all.iter().map(|measurement| measurement.name()).collect();
                known.dedup();
                let others: Vec<_> = metrics().filter(|m| !known.iter().any(|name| matches(m, name))).collect();
                known.extend(others);
                return Err(format!(
                    "--only takes a metric or the prefix of several, and \"{}\" is neither; there are {}, and metrics that begin with these, as in drain_redis_cpu",
                    name.escape_debug(),
                    known.join(", ")
                ));
            }
        }
        Ok(Self(names))
    }

    pub(super) fn has(&self, metric: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| matches(metric, name))
    }

    pub(super) fn has_any_of(&self, measurement: Measurement) -> bool {
        measurement.metrics().iter().any(|metric| self.has(metric))
    }
}

/// Whether the metric has this name, or begins with it and goes on with `_` or a number: `drain` matches `drain_redis_cpu`, `enqueue_inflight` matches
/// `enqueue_inflight10`.
fn matches(metric: &str, name: &str) -> bool {
    let Some(rest) = metric.strip_prefix(name) else { return false };
    let numbered = |c: char| c.is_ascii_digit() && !name.ends_with(|last: char| last.is_ascii_digit());
    !name.is_empty() && (rest.is_empty() || rest.starts_with('_') || rest.starts_with(numbered))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chosen(names: &[&str]) -> Vec<String> {
        let all = Measurement::all(&[1], 1);
        let selection = Selection::of(names.iter().map(|name| (*name).to_owned()).collect(), &all).unwrap();
        all.iter().flat_map(|measurement| measurement.metrics()).filter(|metric| selection.has(metric)).collect()
    }

    #[test]
    fn a_name_selects_its_metric_and_those_that_begin_with_it() {
        assert_eq!(chosen(&["drain_redis_cpu"]), ["drain_redis_cpu"]);
        assert_eq!(chosen(&["latency"]), ["latency_p50", "latency_p95", "latency_p99", "latency_max"]);
        assert!(chosen(&["enqueue_inflight10"]).iter().all(|metric| !metric.contains("100")));
        assert_eq!(chosen(&["enqueue_inflight"]).len(), 10);
        assert_eq!(chosen(&["redis_memory", "retry_total"]), ["redis_memory", "retry_total"]);
        assert_eq!(chosen(&[]).len(), Measurement::all(&[1], 1).iter().map(|m| m.metrics().len()).sum::<usize>());
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_of_all_metrics() {
        for name in ["", "dra", "enqueue_inflight1", "throughput"] {
            let refused = Selection::of(vec![name.to_owned()], &Measurement::all(&[1], 1)).err().unwrap();
            assert!(refused.contains("enqueue_one, enqueue_inflight10"), "{refused}");
        }
    }
}
