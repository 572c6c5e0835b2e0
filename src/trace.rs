//! The story of one job, told from what the store kept.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use retraced_jobs::codec;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{JobId, JobState};
use retraced_jobs::retry::{Decision, Outcome, Strategy, Why};
use retraced_jobs::trace::{AttemptLog, AttemptRecord, Ended, JobView, Released, StoredAttempt};

use crate::operator::OperatorError;

/// What is known of one job, in the order it happened. Its `Display` is for people; its parts are in [`view`](Self::view).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
/// # let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send));
/// # let runtime = builder.start().await?;
/// let receipt = runtime.queue("email")?.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
/// let trace: retraced::Trace = runtime.trace(receipt.id).await?;
/// assert!(trace.to_string().contains("· email.send · queue email ·"), "{trace}");
/// assert_eq!(trace.view().counters.failures, 0);
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Trace {
    view: JobView,
}

/// Why there is no story to tell.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
/// # let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send));
/// # let runtime = builder.start().await?;
/// use retraced::{JobId, TraceError};
/// let Err(TraceError::NotFound { id }) = runtime.trace(JobId::parse("nobody")?).await else { panic!() };
/// assert_eq!(id.to_string(), "nobody");
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// No job of this id is kept: it never was, it completed and is not kept any more, or it was discarded.
    NotFound {
        /// The id.
        id: JobId,
    },
    /// The store did not tell.
    Store(OperatorError),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::NotFound { id } => write!(
                f,
                "no job {id} is kept: it never was, it completed and is not kept any more, or it was discarded"
            ),
            TraceError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    pub(crate) fn new(view: JobView) -> Self {
        Self { view }
    }

    /// Everything the store knows of the job.
    #[must_use]
    pub fn view(&self) -> &JobView {
        &self.view
    }
}

impl From<JobView> for Trace {
    fn from(view: JobView) -> Self {
        Self::new(view)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = &self.view;
        let kind = match codec::open(&view.envelope) {
            Ok(envelope) => envelope.kind.to_string(),
            Err(error) => format!("unreadable ({error})"),
        };
        writeln!(f, "job {} · {kind} · queue {} · {}", view.id, view.queue, view.state)?;
        let c = view.counters;
        writeln!(
            f,
            "  attempts {} · failures {} · crashes {} · releases {}",
            c.attempts, c.failures, c.crashes, c.releases
        )?;
        if let Some(at) = view.enqueued_ms {
            writeln!(f, "{}  enqueued", instant(at))?;
        }
        let mut previous = 0;
        for attempt in &view.history {
            if attempt.attempt > previous + 1 {
                let between = attempt.attempt - previous - 1;
                writeln!(f, "{:24}  … {between} attempts are not kept in full", "")?;
            }
            previous = attempt.attempt;
            tell_attempt(f, attempt)?;
        }
        self.tell_now(f)
    }
}

impl Trace {
    fn tell_now(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = &self.view;
        let at = view.at_ms.map(instant).unwrap_or_default();
        let ahead = view.at_ms.unwrap_or(0).saturating_sub(view.now_ms);
        match (view.state, &view.claimant) {
            (JobState::Pending, _) => writeln!(f, "now: waits for its turn"),
            (JobState::Processing, Some(claimant)) => {
                let asked = if claimant.cancel_asked { ", asked to stop" } else { "" };
                writeln!(
                    f,
                    "now: runs as attempt {} in worker {}, leased until {at}{asked}",
                    claimant.attempt,
                    claimant.instance.short()
                )
            }
            (JobState::Processing, None) => writeln!(f, "now: leased until {at}"),
            (JobState::Delayed, _) => writeln!(f, "now: due at {at}, in {}", span(ahead)),
            (JobState::Completed, _) => writeln!(f, "{at}  completed"),
            (JobState::Dead, _) => writeln!(f, "now: in the dead letter queue since {at}; redrive or discard it"),
            (JobState::Poisoned, _) => {
                writeln!(f, "now: set aside as poison since {at}; mend the cause, then redrive or discard it")
            }
            (JobState::Cancelled, _) => writeln!(f, "now: cancelled since {at}"),
        }
    }
}

fn tell_attempt(f: &mut fmt::Formatter<'_>, attempt: &StoredAttempt) -> fmt::Result {
    let n = attempt.attempt;
    match &attempt.record {
        Ok(AttemptRecord::Told(log)) => tell_log(f, n, log),
        Ok(AttemptRecord::Crashed { instance, lease_expired_ms }) => writeln!(
            f,
            "{}  attempt {n} crashed: worker {} stopped renewing while the handler ran; its lease ran out at {}",
            instant(attempt.settled_ms),
            instance.short(),
            instant(*lease_expired_ms)
        ),
        Ok(AttemptRecord::Lost { instance, lease_expired_ms, watched, in_a_row }) => {
            let begun =
                if *watched { "the handler had not begun" } else { "whether the handler had begun is not known" };
            let again = if *in_a_row > 1 { format!(", {in_a_row} in a row") } else { String::new() };
            writeln!(
                f,
                "{}  attempt {n} was lost, at no cost{again}: worker {} stopped renewing, {begun}; its lease ran out at {}",
                instant(attempt.settled_ms),
                instance.short(),
                instant(*lease_expired_ms)
            )
        }
        Ok(AttemptRecord::Unclaimed { instance }) => writeln!(
            f,
            "{}  attempt {n} never began: the grant did not reach worker {}",
            instant(attempt.settled_ms),
            instance.short()
        ),
        Err(unreadable) => writeln!(
            f,
            "{}  attempt {n} cannot be read: {}",
            instant(attempt.settled_ms),
            printable(&unreadable.reason)
        ),
    }
}

fn tell_log(f: &mut fmt::Formatter<'_>, n: u32, log: &AttemptLog) -> fmt::Result {
    let started = instant(log.started_ms);
    let who = format!("worker {} executor-{}#{}", log.instance.short(), log.executor.slot, log.executor.generation);
    let ran = span(log.ran_ms);
    match &log.ended {
        Ended::Completed => writeln!(f, "{started}  attempt {n} succeeded after {ran} · {who}")?,
        Ended::Released { reason, delay_ms } => {
            let why = match reason {
                Released::Interrupted => "was interrupted by a shutdown or restart",
                Released::Unstarted => "was handed back unstarted: no executor or thread was free in time",
                Released::UnknownKind => "was put back: this worker has no handler for its kind",
                Released::Snoozed => "was snoozed by its handler",
            };
            let until = if *delay_ms == 0 { String::new() } else { format!(", put off for {}", span(*delay_ms)) };
            writeln!(f, "{started}  attempt {n} {why}{until}, at no cost · {who}")?;
        }
        Ended::Failed { code, message, chain, place, backtrace, decision } => {
            let what = if *code == Code::Panic { "panicked" } else { "failed" };
            writeln!(f, "{started}  attempt {n} {what} after {ran} · {code} · {who}")?;
            writeln!(f, "{:24}    {}", "", printable(message))?;
            if let Some(place) = place {
                writeln!(f, "{:24}    at {}", "", printable(place))?;
            }
            for cause in chain {
                writeln!(f, "{:24}    caused by: {}", "", printable(cause))?;
            }
            if let Some(backtrace) = backtrace.as_ref().filter(|_| f.alternate()) {
                for line in backtrace.lines() {
                    writeln!(f, "{:24}    | {}", "", printable(line))?;
                }
            }
            if let Some(decision) = decision {
                writeln!(f, "{:24}    {}", "", explain(decision))?;
            }
        }
    }
    for line in &log.lines {
        writeln!(f, "{:24}    +{} {}", "", span(line.after_ms), printable(&line.text))?;
    }
    if log.lines_dropped > 0 {
        writeln!(f, "{:24}    … {} more log lines were not kept", "", log.lines_dropped)?;
    }
    Ok(())
}

/// A decision in words, with the numbers that went into it.
fn explain(decision: &Decision) -> String {
    let Decision { n, max_attempts, strategy, base_ms, jitter_percent, jitter_drawn, max_ms, .. } = decision;
    match (decision.outcome, decision.why) {
        (Outcome::Retry, Why::RetryAfter) => {
            let asked_ms = decision.retry_after_ms.unwrap_or(decision.delay_ms);
            let how = if asked_ms > decision.delay_ms {
                format!("the policy's longest delay; the other side asked for {}", span(asked_ms))
            } else {
                "as the other side asked".into()
            };
            format!("→ due again in {}, {how} (try {n} of {max_attempts})", span(decision.delay_ms))
        }
        (Outcome::Retry, Why::ImmediateTry) => {
            let tries = decision.immediate_tries.unwrap_or_default();
            format!(
                "→ queued again at once: {strategy}, the first {tries} tries do not wait (try {n} of {max_attempts})"
            )
        }
        (Outcome::Retry, _) => format!(
            "→ due again in {}: {strategy}, base {}{}, jitter {jitter_percent} % drawn {:+.1} %, at most {} (try {n} of {max_attempts})",
            span(decision.delay_ms),
            span(*base_ms),
            growth(decision),
            f64::from(*jitter_drawn) * f64::from(*jitter_percent) / 1000.0,
            span(*max_ms),
        ),
        (_, Why::AttemptsExhausted) => format!("→ dead: all {max_attempts} tries are used up"),
        (_, Why::PermanentFailure) => "→ poisoned: a permanent failure is never retried".into(),
        (_, Why::UnknownFailure) => "→ dead: a failure of unknown class is not repeated".into(),
        (outcome, why) => format!("→ {outcome:?}: {why:?}"),
    }
}

/// What the strategy's formula takes beyond its base, and nothing that plays no part in it.
fn growth(decision: &Decision) -> String {
    let Decision { n, factor, .. } = decision;
    match decision.strategy {
        Strategy::Fixed => String::new(),
        Strategy::Linear => format!(", n {n}"),
        Strategy::Exponential => format!(", factor {factor}, n {n}"),
        Strategy::ThreeTier => {
            let tries = decision.immediate_tries.unwrap_or_default();
            format!(", factor {factor}, n {n} of which the first {tries} do not wait")
        }
    }
}

/// The text with everything escaped that is obeyed and not shown: whatever a handler put into its error, it cannot move the reader's cursor, begin a line of its
/// own, or turn the direction of reading.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if is_obeyed(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

fn is_obeyed(c: char) -> bool {
    let separates = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || separates || turns
}

fn instant(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| format!("{ms} ms"), |at| format!("{at:.3}"))
}

fn span(ms: u64) -> String {
    let duration = Duration::from_millis(ms);
    match ms {
        0 => "less than 1ms".into(),
        1..10_000 => format!("{duration:?}"),
        10_000..60_000 => format!("{:.1}s", duration.as_secs_f64()),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use retraced_jobs::failure::Class;
    use retraced_jobs::retry::{Retry, decide};

    use super::*;

    fn said(retry: Retry, n: u32, class: Class, asked: Option<Duration>) -> String {
        let retry = retry.base(Duration::from_secs(2)).max_delay(Duration::from_secs(90)).max_attempts(5);
        explain(&decide(&retry, n, class, asked, -500))
    }

    #[test]
    fn a_delay_is_explained_by_what_its_formula_takes_and_by_nothing_else() {
        let delay = |retry, n| said(retry, n, Class::Temporary, None);
        let rest = "jitter 20 % drawn -10.0 %, at most 1 min 30 s";
        assert_eq!(delay(Retry::fixed(), 3), format!("→ due again in 1.8s: fixed, base 2s, {rest} (try 3 of 5)"));
        assert_eq!(
            delay(Retry::linear(), 3),
            format!("→ due again in 5.4s: linear, base 2s, n 3, {rest} (try 3 of 5)")
        );
        assert_eq!(
            delay(Retry::exponential(), 3),
            format!("→ due again in 7.2s: exponential, base 2s, factor 2, n 3, {rest} (try 3 of 5)")
        );
        assert_eq!(
            delay(Retry::three_tier(), 4),
            format!(
                "→ due again in 3.6s: three-tier, base 2s, factor 2, n 4 of which the first 3 do not wait, {rest} (try 4 of 5)"
            )
        );
    }

    #[test]
    fn what_is_not_decided_by_a_formula_says_what_decided() {
        let asked = |secs| Some(Duration::from_secs(secs));
        assert_eq!(
            said(Retry::three_tier(), 1, Class::Temporary, None),
            "→ queued again at once: three-tier, the first 3 tries do not wait (try 1 of 5)"
        );
        assert_eq!(
            said(Retry::linear(), 1, Class::Temporary, asked(7)),
            "→ due again in 7s, as the other side asked (try 1 of 5)"
        );
        assert_eq!(
            said(Retry::linear(), 1, Class::Temporary, asked(120)),
            "→ due again in 1 min 30 s, the policy's longest delay; the other side asked for 2 min 0 s (try 1 of 5)"
        );
        assert_eq!(said(Retry::linear(), 5, Class::Temporary, asked(7)), "→ dead: all 5 tries are used up");
        assert_eq!(
            said(Retry::linear(), 1, Class::Permanent, None),
            "→ poisoned: a permanent failure is never retried"
        );
        assert_eq!(
            said(Retry::linear(), 1, Class::Unknown, None),
            "→ dead: a failure of unknown class is not repeated"
        );
    }
}
