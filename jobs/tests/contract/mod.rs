//! The contract suite: what every store guarantees to its callers. Each guarantee is a function of a [`Harness`]; `for_each_guarantee!` lists them all, and the test
//! file of each store makes one test of each.
//!
//! A harness advances the store's clock by [`Harness::advance`]: at once where the clock is an input, by waiting where it is a server's. No outcome depends on the speed
//! of the machine: a time that must be over takes [`SHORT`] and is waited for; a time that must not be over takes [`LONG`].

pub(crate) mod admin;
pub(crate) mod claim;
pub(crate) mod enqueue;
pub(crate) mod hints;
pub(crate) mod history;
pub(crate) mod leases;
pub(crate) mod ledger;
pub(crate) mod outcome;
pub(crate) mod progress;
pub(crate) mod race;
pub(crate) mod reclaim;
pub(crate) mod reconcile;
pub(crate) mod replay;
pub(crate) mod settle;
pub(crate) mod table;
pub(crate) mod tombstones;
pub(crate) mod trim;
mod worker;

pub(crate) use worker::{Worker, id, ids, log, new_job, targets};

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use retraced_jobs::store::Store;

/// A time that is over after [`Harness::pass_short`].
pub(crate) const SHORT: Duration = Duration::from_millis(20);
/// A time that is never over within a test.
pub(crate) const LONG: Duration = Duration::from_secs(60 * 60);
/// The longest wait for something that must happen. Only a faulty store reaches it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A store that one test has for itself, and the clock of the store.
pub(crate) trait Harness: Send + Sync {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;
    /// Advances the store's clock by at least this much.
    fn advance(&self, by: Duration) -> BoxFuture<'_, ()>;
    /// Sets the store's clock back by this much, or does to the queue of the suite what this would do: all its leases, and all instants by which the store judges
    /// leases, are later by this much.
    fn set_back(&self, by: Duration);
}

impl dyn Harness + '_ {
    /// A worker process on the queue of the suite. The same number gives the same process instance.
    pub(crate) fn worker(&self, number: u128) -> Worker {
        Worker::new(self.store(), number)
    }

    /// Lets [`SHORT`] pass.
    pub(crate) async fn pass_short(&self) {
        self.advance(SHORT + Duration::from_millis(2)).await;
    }
}

/// Tests one guarantee. Afterwards the counts must add up, and a repair must find nothing.
pub(crate) async fn check<F>(harness: &dyn Harness, guarantee: impl FnOnce(Worker) -> F)
where
    F: Future<Output = ()>,
{
    guarantee(harness.worker(1)).await;
    let admin = harness.worker(99);
    let counts = admin.check_counts().await;
    assert!(counts.adds_up(), "the counts do not add up: {counts:?}");
    let before = admin.snapshot().await;
    assert_eq!(
        admin.store.repair(&admin.queue).await.unwrap(),
        [],
        "a repair finds something although nothing was edited by hand"
    );
    assert_eq!(admin.snapshot().await, before, "a repair changed a sound queue");
}

/// Every guarantee, by area.
macro_rules! for_each_guarantee {
    ($apply:ident) => {
        $apply! {
            table: every_transition_leads_where_the_table_says_and_nowhere_else;
            enqueue: a_new_job_is_pending_or_delayed_and_stored_unchanged,
                a_start_time_in_the_past_means_now,
                enqueuing_a_kept_id_changes_nothing_in_any_state,
                an_id_twice_in_one_batch_is_one_job,
                a_batch_keeps_its_order_and_one_over_the_bound_is_refused_as_a_whole,
                ids_of_every_form_are_returned_unchanged,
                queues_are_independent,
                a_discarded_id_starts_afresh_and_its_old_entries_are_ignored,
                an_entry_of_a_cancelled_job_is_not_used_again;
            claim: jobs_are_claimed_in_the_order_they_were_enqueued,
                a_claimed_job_carries_its_token_and_its_counters,
                a_claim_that_finds_nothing_reports_when_the_next_delayed_job_is_due,
                a_claim_sent_again_does_not_report_whether_its_queue_is_empty,
                claims_that_ask_for_it_are_numbered_in_the_order_in_which_they_are_applied,
                every_grant_counts_as_an_attempt_whatever_its_verdict,
                a_claim_stays_within_its_bytes_but_grants_one_job_of_any_size,
                a_paused_queue_grants_nothing_and_does_everything_else,
                a_claim_with_limit_zero_grants_nothing_and_one_over_the_bound_is_refused,
                a_full_batch_can_be_claimed_and_settled_at_once,
                settle_and_claim_settles_before_it_claims,
                a_cancelled_job_is_never_granted_whatever_was_retried_before;
            settle: every_verdict_leads_to_its_state_and_adds_to_its_counters,
                a_completed_job_that_is_not_kept_leaves_no_trace,
                what_a_worker_reported_is_kept_unchanged,
                an_attempt_without_a_record_is_only_counted,
                an_unreadable_record_is_reported_as_such_and_hides_nothing_else,
                retries_join_the_back_and_released_jobs_the_front_in_their_order,
                a_retry_is_never_overtaken_by_jobs_enqueued_after_it,
                jobs_of_several_claims_released_in_one_call_keep_the_order_of_the_call,
                a_stale_token_changes_nothing_whatever_the_verdict,
                a_settlement_counts_after_the_lease_expired_unless_it_was_reclaimed,
                an_attempt_settled_twice_in_one_call_is_settled_once,
                a_job_whose_cancellation_was_requested_does_not_run_again,
                a_cancelled_job_that_is_redriven_runs_as_any_other;
            history: the_first_three_and_the_last_seven_attempts_are_kept,
                a_history_survives_a_redrive_and_is_deleted_with_its_job,
                no_act_of_an_operator_is_missing_from_its_job,
                acts_of_operators_never_outgrow_their_bound_nor_outlive_their_job;
            leases: a_renewed_lease_runs_from_the_time_of_its_renewal,
                an_expired_lease_can_be_renewed_until_it_is_reclaimed,
                a_stale_renewal_never_extends_another_lease,
                a_renewal_reports_a_requested_cancellation,
                recording_a_start_renews_the_lease_and_changes_nothing_with_a_stale_token,
                a_renewal_takes_a_full_batch_and_an_empty_one_returns_the_time;
            progress: a_report_renews_the_lease_and_shows_how_far_the_attempt_has_come,
                a_stale_report_never_overwrites_the_progress_of_the_next_attempt,
                the_last_progress_of_a_crashed_attempt_stays_visible,
                progress_never_outlives_its_job,
                a_report_of_more_than_a_batch_is_refused;
            reclaim: an_expired_lease_is_reclaimed_to_the_front_and_counted_only_if_its_handler_had_started,
                the_crash_that_reaches_the_limit_poisons_the_job,
                a_job_lost_too_often_in_a_row_before_its_handler_started_is_poisoned,
                leases_are_reclaimed_in_the_order_they_expired_up_to_the_limit,
                a_lease_of_zero_length_expires_at_once,
                a_reclaimed_job_whose_cancellation_was_requested_is_cancelled,
                a_reclaim_gap_counts_no_crash_for_any_job,
                an_empty_queue_needs_no_grace,
                a_worker_with_longer_leases_does_not_take_a_short_one_without_grace,
                a_worker_with_shorter_leases_that_joins_is_no_reclaim_gap,
                a_worker_with_shorter_leases_does_not_take_a_long_one_without_grace,
                a_worker_with_shorter_leases_does_not_end_a_grace_for_longer_ones,
                the_grace_is_never_longer_than_a_lease_that_is_still_in_use,
                a_dead_workers_lease_does_not_stand_because_the_clock_was_set_back,
                a_small_step_back_of_the_clock_does_not_end_a_lease_grace,
                a_small_step_back_of_the_clock_shortens_no_lease,
                a_lease_longer_than_that_of_the_reclaiming_worker_is_not_shortened,
                due_jobs_are_promoted_to_the_back_in_the_order_of_their_times,
                a_retry_comes_back_with_its_counters,
                promoting_or_reclaiming_more_than_a_batch_is_refused;
            reconcile: jobs_of_a_lost_claim_are_released_to_the_front_without_counting_a_failure,
                reconcile_reaches_every_lost_grant_slice_by_slice,
                a_lost_grant_whose_cancellation_was_requested_is_cancelled;
            admin: a_queue_nobody_used_is_empty_everywhere,
                a_paused_queue_tells_since_when_and_by_whom_until_it_is_resumed,
                an_empty_batch_is_accepted_by_every_verb,
                a_batch_over_the_bound_is_refused_by_every_verb,
                every_state_is_listed_in_its_order_page_by_page,
                jobs_of_the_same_instant_are_listed_in_the_order_of_their_ids,
                every_job_is_listed_once_although_jobs_leave_the_list_between_two_pages,
                a_lease_renewed_between_two_pages_hides_no_other_job,
                a_page_is_bounded_and_a_foreign_cursor_is_refused,
                redrive_gives_a_fresh_start_from_every_state_that_allows_it,
                redrive_resets_failures_and_crashes_and_keeps_the_history,
                a_redriven_job_never_loses_what_its_producer_sealed,
                a_delayed_job_that_is_redriven_keeps_its_counters,
                cancel_moves_waiting_jobs_at_once_and_is_a_request_for_running_ones,
                discard_removes_every_job_that_does_not_run,
                an_action_on_a_job_whose_state_or_attempts_have_changed_has_no_effect,
                a_dead_letter_redriven_meanwhile_is_not_discarded_by_an_old_list,
                a_job_named_twice_in_one_call_is_moved_once,
                a_deleted_queue_leaves_nothing_and_one_with_unfinished_jobs_is_deleted_only_on_demand,
                stats_show_how_long_the_front_of_the_queue_has_waited,
                the_store_answers_a_health_check;
            trim: jobs_beyond_the_age_limit_are_trimmed,
                jobs_beyond_the_count_limit_are_trimmed_oldest_first_in_batches,
                all_completed_jobs_are_trimmed_when_retention_keeps_none,
                a_trimmed_id_can_be_used_by_a_new_job,
                jobs_beyond_the_byte_limit_are_trimmed_oldest_first,
                bytes_of_jobs_that_left_their_state_are_never_counted_on,
                jobs_that_a_dead_worker_leaves_poisoned_or_cancelled_count_their_bytes,
                no_job_is_trimmed_without_its_state_reason_and_age;
            tombstones: no_dead_job_is_removed_without_a_tombstone,
                a_discarded_job_never_hides_who_discarded_it,
                tombstones_never_outgrow_their_bound;
            replay: enqueue_sent_again_enqueues_once,
                claim_sent_again_grants_once,
                settle_sent_again_settles_once,
                settle_and_claim_sent_again_takes_effect_once,
                promote_sent_again_promotes_once,
                reclaim_sent_again_reclaims_once,
                reconcile_sent_again_releases_once,
                redrive_cancel_and_discard_sent_again_move_once,
                pause_and_resume_sent_again_report_the_same,
                trim_sent_again_trims_once,
                a_claim_sent_again_returns_only_what_is_still_held,
                a_claim_whose_first_sending_found_nothing_never_grants_twice,
                a_claim_that_was_given_up_grants_nothing_after_a_later_call,
                a_promotion_whose_first_sending_found_nothing_promotes_once,
                a_reply_is_replayed_only_to_its_own_slot_process_and_queue,
                a_call_refused_for_its_size_does_not_block_its_replay_slot,
                a_call_id_used_for_another_verb_is_refused,
                a_call_id_used_with_other_content_is_refused_and_stores_nothing,
                a_copy_of_a_process_never_gets_the_replies_of_the_other,
                a_forgotten_process_may_use_its_call_ids_again;
            ledger: events_are_listed_latest_first_page_by_page,
                the_ledger_keeps_the_latest_events_up_to_its_bound,
                the_ledger_keeps_no_more_bytes_than_its_bound,
                a_worker_is_listed_after_its_heartbeat_until_it_is_forgotten,
                announced_queues_are_listed_by_name;
            hints: an_idle_worker_gets_a_hint_when_a_job_becomes_pending,
                no_idle_worker_sleeps_on_when_its_queue_is_resumed,
                a_hint_is_sent_when_another_delayed_job_becomes_the_earliest,
                a_requested_cancellation_is_hinted_to_listeners_of_that_queue;
            outcome: a_waiter_gets_a_hint_for_every_final_state,
                no_outcome_hint_is_sent_without_a_waiter,
                a_wait_is_over_when_its_time_is_up,
                a_job_that_ended_or_is_not_kept_is_not_waited_for,
                a_waiter_is_shown_a_completion_that_is_not_kept,
                a_waiter_reads_only_the_state_of_a_job_that_has_not_ended,
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
