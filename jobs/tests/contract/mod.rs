//! What every store owes its callers. Each guarantee is a function of a [`Harness`]; `for_each_guarantee!` lists them all, and each backend's test file
//! makes a test of every one.
//!
//! Time. A harness moves its clock by [`Harness::advance`]: at once where the clock is an input, by waiting where it is a server's. So that neither a slow machine
//! nor a fast one changes an outcome, what must be over is [`SHORT`] and waited for, and what must not be over yet is [`LONG`] and never is.

pub(crate) mod admin;
pub(crate) mod claim;
pub(crate) mod enqueue;
pub(crate) mod hints;
pub(crate) mod history;
pub(crate) mod leases;
pub(crate) mod ledger;
pub(crate) mod outcome;
pub(crate) mod race;
pub(crate) mod reclaim;
pub(crate) mod reconcile;
pub(crate) mod replay;
pub(crate) mod settle;
pub(crate) mod table;
pub(crate) mod trim;
mod worker;

pub(crate) use worker::{Worker, id, ids, log, new_job, targets};

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use retraced_jobs::store::Store;

/// Long enough to be waited for, and over after [`Harness::pass_short`].
pub(crate) const SHORT: Duration = Duration::from_millis(20);
/// Never over within a test.
pub(crate) const LONG: Duration = Duration::from_secs(60 * 60);
/// The longest wait for something that must happen. Only a faulty store reaches it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A store of one's own, and its clock.
pub(crate) trait Harness: Send + Sync {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;
    /// Advances the store's clock by at least this much.
    fn advance(&self, by: Duration) -> BoxFuture<'_, ()>;
}

impl dyn Harness + '_ {
    /// A worker of this harness, in the queue the suite works in; the same number is the same process.
    pub(crate) fn worker(&self, number: u128) -> Worker {
        Worker::new(self.store(), number)
    }

    /// Lets [`SHORT`] pass.
    pub(crate) async fn pass_short(&self) {
        self.advance(SHORT + Duration::from_millis(2)).await;
    }
}

/// Runs one guarantee; afterwards the queue must add up, whatever was done to it.
pub(crate) async fn hold<F>(harness: &dyn Harness, guarantee: impl FnOnce(Worker) -> F)
where
    F: Future<Output = ()>,
{
    guarantee(harness.worker(1)).await;
    let admin = harness.worker(99);
    let audit = admin.audit().await;
    assert!(audit.adds_up(), "the queue does not add up: {audit:?}");
    let before = admin.snapshot().await;
    assert_eq!(admin.store.repair(&admin.queue).await.unwrap(), [], "only edits by hand leave anything to find");
    assert_eq!(admin.snapshot().await, before, "and what is sound is left as it is");
}

/// Every guarantee, by area.
macro_rules! for_each_guarantee {
    ($apply:ident) => {
        $apply! {
            table: every_transition_leads_where_the_table_says_and_nowhere_else;
            enqueue: a_new_job_is_pending_or_delayed_and_kept_as_it_came,
                a_time_that_has_passed_means_now,
                an_id_that_is_kept_is_left_as_it_is_in_every_state,
                an_id_twice_in_one_batch_is_one_job,
                a_batch_is_taken_in_its_order_up_to_the_bound_and_refused_whole_beyond_it,
                ids_of_every_form_are_returned_unchanged,
                queues_are_independent,
                a_discarded_id_starts_afresh_and_its_old_entries_are_ignored,
                an_entry_of_a_cancelled_job_is_not_used_again;
            claim: jobs_are_claimed_in_the_order_they_came,
                a_claimed_job_carries_its_token_and_its_counters,
                a_claim_that_finds_nothing_reports_when_the_next_delayed_job_is_due,
                a_claim_sent_again_does_not_report_whether_its_queue_is_quiet,
                attempts_count_grants_whatever_became_of_them,
                a_claim_takes_no_more_than_its_bytes_but_one_job_whatever_its_size,
                a_paused_queue_grants_nothing_and_does_everything_else,
                a_claim_of_none_grants_none_and_one_over_the_bound_is_refused,
                a_full_batch_can_be_claimed_and_settled_at_once,
                settle_and_claim_settles_before_it_claims;
            settle: every_verdict_leads_to_its_state_and_charges_its_counters,
                a_completed_job_that_is_not_kept_leaves_no_trace,
                what_a_worker_reported_is_kept_unchanged,
                an_attempt_without_a_record_is_only_counted,
                an_unreadable_record_is_reported_as_such_and_hides_nothing_else,
                retries_join_the_back_and_released_jobs_the_front_in_their_order,
                a_retry_is_never_overtaken_by_jobs_enqueued_after_it,
                the_order_of_a_call_stands_across_the_claims_it_settles,
                a_stale_token_changes_nothing_whatever_the_verdict,
                a_settlement_counts_after_the_lease_expired_unless_it_was_reclaimed,
                an_attempt_settled_twice_in_one_call_is_settled_once,
                a_job_asked_to_cancel_does_not_run_again,
                a_cancelled_job_that_is_redriven_runs_as_any_other;
            history: the_first_three_and_the_last_seven_attempts_are_kept,
                a_history_outlives_a_redrive_and_goes_with_its_job;
            leases: a_renewed_lease_lasts_from_the_renewal,
                an_expired_lease_can_be_renewed_until_it_is_reclaimed,
                a_stale_renewal_never_extends_another_lease,
                a_renewal_reports_a_requested_cancellation,
                a_begin_extends_a_lease_as_a_renewal_does_and_a_stale_one_changes_nothing,
                renewals_come_in_batches_and_an_empty_one_returns_the_time;
            reclaim: an_expired_lease_is_reclaimed_to_the_front_and_charged_only_if_its_handler_had_started,
                the_crash_that_is_one_too_many_poisons,
                a_job_lost_too_often_in_a_row_before_it_began_is_poisoned,
                leases_are_reclaimed_in_the_order_they_expired_up_to_the_limit,
                a_lease_of_no_time_expires_at_once,
                a_lost_job_that_was_to_be_cancelled_is_cancelled,
                no_job_is_charged_for_an_outage,
                an_empty_queue_needs_no_grace,
                due_jobs_are_promoted_to_the_back_in_the_order_of_their_times,
                a_retry_comes_back_with_its_counters,
                asking_for_more_than_a_batch_is_refused;
            reconcile: jobs_of_a_lost_claim_are_released_to_the_front_without_a_charge,
                everything_is_seen_slice_by_slice,
                a_lost_grant_that_was_to_be_cancelled_is_cancelled;
            admin: a_queue_nobody_used_is_empty_everywhere,
                an_empty_batch_of_anything_is_fine,
                a_batch_over_the_bound_is_refused_by_every_verb,
                every_state_is_listed_in_its_order_page_by_page,
                jobs_of_one_instant_are_listed_by_their_ids,
                a_job_that_stays_is_listed_once_while_others_come_and_go,
                a_lease_renewed_between_two_pages_hides_no_other,
                a_page_is_bounded_and_a_foreign_cursor_is_refused,
                redrive_gives_a_fresh_start_from_every_state_that_allows_it,
                redrive_resets_failures_and_crashes_and_keeps_the_history,
                a_redriven_job_never_loses_what_its_producer_sealed,
                a_delayed_job_that_is_redriven_keeps_its_counters,
                cancel_ends_waiting_jobs_at_once_and_asks_running_ones_to_stop,
                discard_removes_whatever_does_not_run,
                an_act_on_a_job_that_was_seen_as_something_else_changes_nothing,
                a_dead_letter_that_lived_again_is_not_discarded_by_an_old_list,
                a_job_named_twice_sees_what_its_first_mention_did,
                stats_show_how_long_the_front_of_the_queue_has_waited,
                the_store_answers_a_health_check;
            trim: jobs_beyond_the_age_limit_are_trimmed,
                jobs_beyond_the_count_limit_are_trimmed_oldest_first_in_batches,
                completed_jobs_are_trimmed_to_none_where_they_are_not_kept,
                a_trimmed_id_begins_anew;
            replay: enqueue_sent_again_enqueues_once,
                claim_sent_again_grants_once,
                settle_sent_again_settles_once,
                settle_and_claim_sent_again_takes_effect_once,
                promote_sent_again_promotes_once,
                reclaim_sent_again_takes_once,
                reconcile_sent_again_releases_once,
                redrive_cancel_and_discard_sent_again_move_once,
                trim_sent_again_trims_once,
                a_claim_sent_again_returns_only_what_is_still_held,
                replay_slots_processes_and_queues_do_not_answer_for_each_other,
                a_call_refused_for_its_size_is_not_the_last_of_its_replay_slot,
                a_number_used_for_another_verb_is_refused,
                a_forgotten_process_begins_anew;
            ledger: events_are_listed_latest_first_page_by_page,
                the_ledger_keeps_the_latest_events_up_to_its_bound,
                the_ledger_keeps_no_more_bytes_than_its_bound,
                a_worker_is_listed_after_its_heartbeat_until_it_is_forgotten,
                announced_queues_are_listed_by_name;
            hints: a_worker_that_found_nothing_gets_a_hint_when_there_is_something,
                a_job_that_becomes_the_earliest_sends_a_hint,
                a_requested_cancellation_is_hinted_to_listeners_of_that_queue;
            outcome: a_waiter_gets_a_hint_for_every_final_state,
                no_outcome_hint_is_sent_without_a_waiter,
                a_wait_is_over_when_its_time_is_up,
                a_job_that_ended_or_is_not_kept_is_not_waited_for,
                a_waiter_is_shown_a_completion_that_is_not_kept,
                a_look_at_a_job_that_has_not_ended_shows_its_state_alone,
                a_completed_job_shows_what_its_handler_returned;
            race: a_job_is_created_once_however_many_producers_send_it,
                a_job_is_granted_once_however_many_workers_claim,
                a_lease_is_reclaimed_once_and_a_due_job_promoted_once,
                a_completed_job_never_comes_back,
                two_operators_never_redrive_a_dead_letter_twice,
                an_attempt_is_settled_once_however_many_calls_try,
                a_cancel_that_races_the_end_of_an_attempt_is_never_forgotten;
        }
    };
}
pub(crate) use for_each_guarantee;
