//! The in-flight table on its own: jobs go in and out, and the executors are fakes that only count how often they are woken and killed.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use retraced_jobs::context::States;
use retraced_jobs::execution::Rules;
use retraced_jobs::handler::Handlers;
use retraced_jobs::job::{Counters, InstanceId, Nonce, QueueName, Token};
use retraced_jobs::store::{ClaimedJob, Verdict};
use uuid::Uuid;

use super::super::executors::tests::{Fake, executor};
use super::*;
use crate::limits::{
    CLAIM_OVERLAP_MAX, EXECUTOR_BURST_MAX, SETTLE_BYTES_MAX, SETTLED_PAYLOADS_MAX, UNSETTLED_BYTES_MAX,
    UNSETTLED_JOBS_MAX,
};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(30);
/// The run time of a handler for which as much is prefetched as may be.
const FAST: Duration = Duration::from_micros(10);
const CRASHES_MAX: u32 = 3;
const THREADS: usize = 4;

struct World {
    table: Table<Fake>,
    executors: Vec<Fake>,
    now: Instant,
}

impl World {
    /// A table with idle executors.
    fn new(concurrency: u32) -> Self {
        let (handlers, states) = (Arc::new(Handlers::default()), Arc::new(States::default()));
        let instance = InstanceId::from(Uuid::from_u128(1));
        let queue = QueueName::new("email").unwrap();
        let runner = Arc::new(Runner::new(queue, handlers, states, Rules::default(), instance));
        let mut table = Table::new(runner, concurrency as usize, THREADS, CRASHES_MAX);
        let executors: Vec<Fake> = (0..concurrency).map(|_| Fake::default()).collect();
        for (fake, slot) in executors.iter().zip(0..) {
            table.executors.add(executor(slot), 0, fake.clone());
            table.executors.found_no_job(executor(slot));
        }
        Self { table, executors, now: Instant::now() }
    }

    fn grant(&mut self, jobs: Vec<ClaimedJob>) {
        self.answer(jobs, None, 0);
    }

    fn open_claim(&mut self) -> Option<ClaimBudget> {
        self.table.open_claim(self.now)
    }

    /// A claim that had requested so many jobs is answered.
    fn answer(&mut self, jobs: Vec<ClaimedJob>, number: Option<u64>, requested: usize) {
        let mut claims = Claims::default();
        (claims.jobs, claims.number) = (jobs, number);
        self.table.answered(claims, requested, self.now, self.now + LEASE);
    }

    fn next(&mut self, slot: u32) -> Option<NextJob> {
        self.table.next(executor(slot), AskReason::Woken, self.now, 0)
    }

    fn finish(&mut self, slot: u32, next: &NextJob) -> bool {
        let settlement = settlement(&next.job, Verdict::Complete { keep: false });
        self.table.finish(executor(slot), next.grant, settlement, Duration::from_millis(1))
    }

    /// Takes what waits to be settled, by job.
    fn take_outcomes(&mut self) -> Vec<(String, Verdict)> {
        let (_, settlements) = self.table.take_settlements(1);
        settlements.iter().map(|settlement| (settlement.id.to_string(), settlement.verdict)).collect()
    }

    fn woken(&self) -> usize {
        self.executors.iter().map(|executor| executor.woken.get()).sum()
    }
}

fn settlement(job: &ClaimedJob, verdict: Verdict) -> Settlement {
    Settlement { id: job.id.clone(), token: job.token, verdict, record: Bytes::new() }
}

fn job(id: &str, counters: Counters) -> ClaimedJob {
    let nonce: Nonce = *b"12345678";
    let token = Token { attempt: counters.attempts, nonce };
    ClaimedJob::new(JobId::parse(id).unwrap(), token, counters, 0, Bytes::from_static(b"sealed"))
}

fn fresh(id: &str) -> ClaimedJob {
    job(id, Counters { attempts: 1, ..Counters::default() })
}

fn crashed(id: &str, crashes: u32) -> ClaimedJob {
    job(id, Counters { attempts: crashes + 1, crashes, ..Counters::default() })
}

fn released(ids: &[&str]) -> Vec<(String, Verdict)> {
    ids.iter().map(|id| ((*id).to_owned(), Verdict::ReleaseNow)).collect()
}

#[test]
fn jobs_start_in_the_order_of_the_queue() {
    let mut world = World::new(3);
    world.grant(vec![fresh("a"), fresh("b"), fresh("c")]);
    assert_eq!(world.next(2).unwrap().job.id.to_string(), "a");
    assert_eq!(world.next(1).unwrap().job.id.to_string(), "b");
    assert_eq!(world.next(0).unwrap().job.id.to_string(), "c");
    assert_eq!((world.table.executors.busy(), world.table.running(world.now).len()), (3, 3));
}

#[test]
fn a_claim_wakes_an_executor_for_each_job_but_one_per_thread_if_handlers_are_fast() {
    let mut world = World::new(20);
    let many = |from: u32| (from..from + 6).map(|n| fresh(&n.to_string())).collect();
    world.grant(many(0));
    assert_eq!(world.woken(), 6, "how long handlers take is not known");
    world.table.credits.observe_run(EXECUTOR_BURST_MAX);
    world.grant(many(6));
    assert_eq!(world.woken(), 6 + THREADS);
    world.next(0).unwrap();
    assert_eq!(world.woken(), 7 + THREADS, "the woken executor wakes the next");
    world.table.credits.observe_run(EXECUTOR_BURST_MAX * 3);
    world.grant(many(12));
    assert_eq!(world.woken(), 13 + THREADS);
}

#[test]
fn a_finished_job_stays_in_the_table_until_the_store_confirms_it() {
    let mut world = World::new(1);
    world.grant(vec![fresh("a")]);
    let next = world.next(0).unwrap();
    assert!(world.finish(0, &next));
    assert!(!world.finish(0, &next), "an attempt ends once");
    let (grants, settlements) = world.table.take_settlements(1);
    assert_eq!((settlements.len(), world.table.any_to_settle()), (1, false));
    world.table.unconfirmed(grants, settlements);
    assert!(world.table.any_to_settle(), "it is sent again");
    let (grants, _) = world.table.take_settlements(1);
    assert_eq!(world.table.leases(InstanceId::from(Uuid::nil())).len(), 1, "its lease is renewed meanwhile");
    world.table.confirmed(&grants, world.now);
    assert!(world.table.is_empty());
}

#[test]
fn outcomes_wait_until_there_are_as_many_as_asked_for() {
    let mut world = World::new(2);
    world.grant(vec![fresh("a"), fresh("b")]);
    for slot in 0..2 {
        let next = world.next(slot).unwrap();
        world.finish(slot, &next);
    }
    assert!(world.table.take_settlements(3).0.is_empty());
    assert_eq!(world.table.take_settlements(2).0.len(), 2);
}

#[test]
fn outcomes_are_taken_by_bytes_and_a_large_one_goes_alone() {
    let sizes = [SETTLE_BYTES_MAX / 2, SETTLE_BYTES_MAX / 2, SETTLE_BYTES_MAX + 1, 10, 10];
    let mut world = World::new(5);
    world.grant(["a", "b", "c", "d", "e"].map(fresh).into());
    for (slot, size) in (0..).zip(sizes) {
        let next = world.next(slot).unwrap();
        let record = vec![0; size].into();
        let settlement = Settlement { record, ..settlement(&next.job, Verdict::Complete { keep: true }) };
        world.table.finish(executor(slot), next.grant, settlement, Duration::from_millis(1));
    }
    let taken: Vec<_> =
        std::iter::from_fn(|| Some(world.table.take_settlements(1).0.len()).filter(|n| *n > 0)).collect();
    assert_eq!((taken, world.table.any_to_settle()), (vec![2, 1, 2], false));
}

#[test]
fn outcomes_are_taken_by_the_bytes_of_the_payloads_that_the_store_may_delete() {
    let sizes = [SETTLED_PAYLOADS_MAX / 2, SETTLED_PAYLOADS_MAX / 2, 1, 10, SETTLED_PAYLOADS_MAX + 1];
    let mut world = World::new(5);
    let large = |(id, size): (&str, usize)| {
        let mut job = fresh(id);
        job.envelope = vec![0; size].into();
        job
    };
    world.grant(["a", "b", "c", "d", "e"].into_iter().zip(sizes).map(large).collect());
    for slot in 0..5 {
        let next = world.next(slot).unwrap();
        world.finish(slot, &next);
    }
    let (grants, settlements) = world.table.take_settlements(1);
    assert_eq!(grants.len(), 2);
    world.table.unconfirmed(grants, settlements);
    let taken: Vec<_> =
        std::iter::from_fn(|| Some(world.table.take_settlements(1).0.len()).filter(|n| *n > 0)).collect();
    assert_eq!(
        (taken, world.table.any_to_settle()),
        (vec![2, 1, 2], false),
        "an outcome that is sent again counts as before"
    );
}

#[test]
fn an_executor_that_ends_releases_its_job_unless_the_outcome_is_known() {
    let mut world = World::new(2);
    world.grant(vec![fresh("a"), fresh("b")]);
    let (first, _second) = (world.next(0).unwrap(), world.next(1).unwrap());
    world.finish(0, &first);
    world.table.executor_ended(executor(0), world.now);
    world.table.executor_ended(executor(1), world.now);
    let outcomes = world.take_outcomes();
    assert_eq!(outcomes[0], ("a".into(), Verdict::Complete { keep: false }));
    assert_eq!(outcomes[1..], released(&["b"]));
}

#[test]
fn a_new_pool_releases_the_jobs_of_the_previous_pool_in_the_order_of_the_queue() {
    let mut world = World::new(2);
    world.grant(vec![fresh("a"), fresh("b"), fresh("c")]);
    world.next(1).unwrap();
    world.next(0).unwrap();
    assert_eq!(world.table.new_pool(world.now), 1);
    assert_eq!(world.take_outcomes(), released(&["a", "b"]));
    world.table.executors.add(executor(0), 1, Fake::default());
    assert_eq!(world.next(0).unwrap().job.id.to_string(), "c", "waiting jobs still wait");
}

#[test]
fn closed_workers_hold_no_job_and_release_the_jobs_that_open_claims_bring() {
    let mut world = World::new(2);
    let limit = world.open_claim().unwrap().limit;
    world.grant(vec![fresh("a"), fresh("b")]);
    world.next(0).unwrap();
    world.table.close(world.now);
    assert_eq!(world.take_outcomes(), released(&["a", "b"]));
    world.grant(vec![fresh("c")]);
    assert_eq!(world.take_outcomes(), released(&["c"]));
    assert_eq!(world.open_claim(), None);
    world.table.claim_over(limit, world.now);
    let epoch = world.table.new_pool(world.now);
    world.table.executors.add(executor(0), epoch, Fake::default());
    assert!(world.open_claim().is_some(), "with a new pool, claims are made again");
}

#[test]
fn a_shutdown_stays_in_force_when_the_workers_are_closed_and_reopened() {
    let mut world = World::new(1);
    world.table.shut_down();
    world.table.close(world.now);
    let epoch = world.table.new_pool(world.now);
    world.table.executors.add(executor(0), epoch, Fake::default());
    assert_eq!((world.open_claim(), world.table.is_shutting_down()), (None, true));
}

#[test]
fn a_shutdown_releases_waiting_jobs_asks_running_ones_to_stop_and_kills_them() {
    let mut world = World::new(2);
    world.grant(vec![fresh("a"), fresh("b")]);
    let running = world.next(0).unwrap();
    world.table.shut_down();
    assert_eq!(world.take_outcomes(), released(&["b"]));
    world.table.stop_running();
    assert_eq!(running.control.stop_reason(), Some(Stop::Shutdown));
    assert_eq!(world.table.kill_running(world.now), 1);
    assert_eq!(world.take_outcomes(), released(&["a"]));
    assert_eq!(world.executors[0].killed.get(), 1);
    assert!(!world.finish(0, &running), "the outcome of the killed handler comes too late");
}

#[test]
fn a_job_that_was_returned_starts_only_after_its_start_is_recorded() {
    let mut world = World::new(1);
    world.grant(vec![crashed("a", 1)]);
    world.now += SECOND;
    let next = world.next(0).unwrap();
    assert!(next.records_start);
    assert!(world.table.running(world.now).is_empty());
    assert!(!world.table.started(executor(9), next.grant, world.now, 0), "another executor does not have it");
    assert!(world.table.started(executor(0), next.grant, world.now, 0));
    assert_eq!(world.table.running(world.now).len(), 1);
}

#[test]
fn a_job_that_was_lost_is_not_started() {
    let mut world = World::new(1);
    world.grant(vec![crashed("a", 1), fresh("lost")]);
    world.now += SECOND;
    let next = world.next(0).unwrap();
    world.table.lost_before_start(executor(0), next.grant);
    assert_eq!(world.table.held(), 1);
    for (_, control) in world.table.leases(InstanceId::from(Uuid::nil())) {
        control.lose();
    }
    assert!(world.next(0).is_none(), "a job whose lease is lost is not run");
    assert!(world.table.is_empty());
}

#[test]
fn a_job_whose_lease_has_expired_is_released_instead_of_started() {
    let mut world = World::new(1);
    world.grant(vec![fresh("late"), fresh("later")]);
    world.now += LEASE;
    assert!(world.next(0).is_none());
    assert_eq!(world.take_outcomes(), released(&["late", "later"]));
}

#[test]
fn no_returned_job_starts_beside_a_quarantined_one_until_the_store_has_confirmed_its_end() {
    let mut world = World::new(2);
    world.grant(vec![crashed("killer", 2)]);
    world.now += SECOND;
    let killer = world.next(0).unwrap();
    world.table.started(executor(0), killer.grant, world.now, 0);
    world.grant(vec![crashed("suspect", 1), fresh("healthy")]);
    world.now += SECOND / 2;
    let healthy = world.next(1).unwrap();
    assert_eq!(healthy.job.id.to_string(), "healthy");
    world.now += SECOND / 2;
    world.finish(1, &healthy);
    assert!(world.next(1).is_none());
    world.finish(0, &killer);
    assert!(world.next(1).is_none(), "its outcome is not confirmed yet");
    let (grants, _) = world.table.take_settlements(1);
    world.table.confirmed(&grants, world.now);
    assert_eq!(world.next(1).unwrap().job.id.to_string(), "suspect");
}

#[test]
fn jobs_that_wait_too_long_are_released_and_those_blocked_by_a_quarantined_job_are_postponed() {
    let mut world = World::new(1);
    world.grant(vec![crashed("killer", 2)]);
    world.now += SECOND;
    let killer = world.next(0).unwrap();
    world.table.started(executor(0), killer.grant, world.now, 0);
    world.grant(vec![fresh("waits"), crashed("blocked", 2)]);
    world.table.release_unstarted(world.now + SECOND - Duration::from_millis(1));
    assert!(world.take_outcomes().is_empty());
    let postponed = world.table.release_unstarted(world.now + 2 * SECOND);
    assert_eq!(postponed, [JobId::parse("blocked").unwrap()]);
    let expected =
        [("waits".into(), Verdict::ReleaseNow), ("blocked".into(), Verdict::Postpone { delay: QUARANTINE_DELAY })];
    assert_eq!(world.take_outcomes(), expected);
}

#[test]
fn a_job_is_held_until_its_outcome_is_confirmed_or_its_lease_is_lost() {
    let mut world = World::new(2);
    world.grant(vec![fresh("a"), fresh("b")]);
    let (a, b) = (world.next(0).unwrap(), world.next(1).unwrap());
    assert!(world.table.holds(&a.job.id) && world.table.holds(&b.job.id) && !world.table.holds(&fresh("c").id));
    a.control.lose();
    assert!(!world.table.holds(&a.job.id) && world.table.holds(&b.job.id));
}

#[test]
fn nothing_is_claimed_while_the_waiting_jobs_fill_the_byte_limit() {
    let mut world = World::new(1);
    let mut large = fresh("large");
    large.envelope = Bytes::from(vec![0; crate::limits::CLAIM_BYTES_MAX]);
    world.grant(vec![large]);
    // Handlers are fast, so that prefetch is on.
    world.table.credits.observe_run(Duration::from_millis(1));
    assert_eq!(world.open_claim(), None);
    world.next(0).unwrap();
    assert!(world.open_claim().is_some());
}

/// Runs this many jobs, one after the other, each with a record of this size.
fn run_many(world: &mut World, jobs: usize, record: usize) {
    for n in 0..jobs {
        world.grant(vec![fresh(&n.to_string())]);
        let next = world.next(0).unwrap();
        let record = vec![0; record].into();
        let settlement = Settlement { record, ..settlement(&next.job, Verdict::Complete { keep: true }) };
        assert!(world.table.finish(executor(0), next.grant, settlement, Duration::from_millis(1)));
    }
}

/// Claims with all credits, and gives them back.
fn claimable(world: &mut World) -> Option<usize> {
    let limit = world.open_claim()?.limit;
    world.table.claim_over(limit, world.now);
    Some(limit)
}

#[test]
fn unsettled_outcomes_use_up_the_credits_until_nothing_is_claimed() {
    let mut world = World::new(2);
    let most = UNSETTLED_JOBS_MAX + 2;
    run_many(&mut world, most - 1, 0);
    assert_eq!((claimable(&mut world), world.table.outcomes.held_back_by()), (Some(1), 0));
    assert!(!world.table.take_claims_resume(), "nothing was held back");
    run_many(&mut world, 1, 0);
    assert_eq!((claimable(&mut world), world.table.outcomes.held_back_by()), (None, most));
    let (grants, settlements) = world.table.take_settlements(1);
    assert_eq!(claimable(&mut world), None, "they are on their way, and not settled");
    world.table.unconfirmed(grants, settlements);
    assert_eq!((claimable(&mut world), world.table.take_claims_resume()), (None, false), "the store refused them");
    let (grants, _) = world.table.take_settlements(1);
    world.table.confirmed(&grants, world.now);
    assert!(world.table.take_claims_resume());
    assert!(!world.table.take_claims_resume(), "it is returned once");
    assert!(claimable(&mut world) > Some(1));
}

#[test]
fn large_unsettled_outcomes_stop_claims_by_their_bytes() {
    let mut world = World::new(1);
    let size = SETTLE_BYTES_MAX / 2;
    run_many(&mut world, UNSETTLED_BYTES_MAX / size, size);
    assert_eq!(claimable(&mut world), None);
    let (grants, _) = world.table.take_settlements(1);
    assert_eq!(grants.len(), 2);
    world.table.confirmed(&grants, world.now);
    assert!(world.table.take_claims_resume() && claimable(&mut world).is_some());
}

#[test]
fn a_job_whose_outcome_is_known_keeps_no_payload() {
    let mut world = World::new(2);
    world.grant(vec![fresh("a"), fresh("b"), fresh("c")]);
    let next = world.next(0).unwrap();
    world.finish(0, &next);
    world.next(1).unwrap();
    world.table.executor_ended(executor(1), world.now);
    world.table.shut_down();
    let payloads: Vec<usize> = world.table.held.values().map(|held| held.job.envelope.len()).collect();
    assert_eq!(payloads, [0, 0, 0]);
}

#[test]
fn a_queue_that_keeps_its_order_releases_all_that_waits_behind_a_late_job_and_claims_after_that() {
    let mut world = World::new(1);
    world.grant(vec![fresh("runs"), fresh("late")]);
    let runs = world.next(0).unwrap();
    world.now += SECOND / 2;
    world.grant(vec![fresh("later")]);
    world.table.credits.observe_run(Duration::from_millis(1));
    let limit = world.open_claim().unwrap().limit;
    world.now += SECOND / 2;
    world.table.release_unstarted(world.now);
    assert!(world.take_outcomes().is_empty(), "an open claim may bring jobs that belong behind them");
    world.table.claim_over(limit, world.now);
    world.table.release_unstarted(world.now);
    let (grants, settlements) = world.table.take_settlements(1);
    let ids: Vec<String> = settlements.iter().map(|settlement| settlement.id.to_string()).collect();
    assert_eq!(ids, ["late", "later"]);
    assert!(world.finish(0, &runs));
    assert_eq!(world.open_claim(), None, "a claim could overtake them");
    world.table.confirmed(&grants, world.now);
    assert!(world.table.take_claims_resume() && world.open_claim().is_some());
}

/// A table with a concurrency of 1, two open claims and one executor. The last reply that was taken in had the number 6.
fn two_claims_open() -> World {
    let mut world = World::new(1);
    world.table.credits.observe_run(FAST);
    world.answer(vec![fresh("before")], Some(6), 0);
    run_all(&mut world);
    let (grants, _) = world.table.take_settlements(1);
    world.table.confirmed(&grants, world.now);
    assert!(world.open_claim().unwrap().numbered && world.open_claim().is_some());
    world
}

/// The jobs in the order in which they start.
fn run_all(world: &mut World) -> Vec<String> {
    let mut started = Vec::new();
    while let Some(next) = world.next(0) {
        let settlement = settlement(&next.job, Verdict::Complete { keep: false });
        world.table.finish(executor(0), next.grant, settlement, FAST);
        started.push(next.job.id.to_string());
    }
    started
}

#[test]
fn replies_in_the_wrong_order_are_taken_in_by_their_numbers_at_a_concurrency_of_one() {
    let mut world = two_claims_open();
    world.answer(vec![fresh("c"), fresh("d")], Some(8), BATCH_MAX);
    assert_eq!(run_all(&mut world), [""; 0], "the other claim may have been applied before");
    assert_eq!((world.table.held(), world.table.is_empty()), (2, false));
    assert_eq!(world.table.leases(InstanceId::from(Uuid::nil())).len(), 2, "their leases are renewed");
    assert_eq!(world.open_claim(), None, "all open claims must end first");
    world.answer(vec![fresh("a"), fresh("b")], Some(7), BATCH_MAX);
    assert_eq!(run_all(&mut world), ["a", "b", "c", "d"]);
    assert!(world.open_claim().is_some() && world.open_claim().is_some());
}

#[test]
fn a_reply_that_follows_the_last_one_waits_for_no_other_claim() {
    let mut world = two_claims_open();
    world.answer(vec![fresh("a")], Some(7), BATCH_MAX);
    assert_eq!(run_all(&mut world), ["a"]);
    assert!(world.open_claim().is_some());
    world.answer(vec![], None, BATCH_MAX);
    assert!(world.open_claim().is_some(), "nor does one without jobs");
    world.answer(vec![fresh("b")], Some(8), BATCH_MAX);
    assert_eq!(run_all(&mut world), ["b"]);
}

#[test]
fn replies_that_are_held_back_are_taken_in_as_soon_as_they_follow() {
    let mut world = two_claims_open();
    assert!(world.open_claim().is_some());
    world.answer(vec![fresh("b")], Some(8), BATCH_MAX);
    assert_eq!(run_all(&mut world), [""; 0]);
    world.answer(vec![fresh("a")], Some(7), BATCH_MAX);
    assert_eq!(run_all(&mut world), ["a", "b"], "the third claim was not applied before them");
}

#[test]
fn several_replies_that_are_held_back_are_taken_in_by_their_numbers() {
    let mut world = two_claims_open();
    assert!(world.open_claim().is_some());
    world.answer(vec![fresh("b")], Some(9), BATCH_MAX);
    world.answer(vec![fresh("a")], Some(8), BATCH_MAX);
    world.table.claim_over(BATCH_MAX, world.now);
    assert_eq!(run_all(&mut world), ["a", "b"]);
}

#[test]
fn the_last_reply_never_overtakes_those_that_are_held_back() {
    let mut world = two_claims_open();
    assert!(world.open_claim().is_some());
    world.answer(vec![fresh("a")], Some(8), BATCH_MAX);
    world.table.claim_over(BATCH_MAX, world.now);
    assert_eq!(run_all(&mut world), [""; 0]);
    world.answer(vec![fresh("b")], Some(9), BATCH_MAX);
    assert_eq!(run_all(&mut world), ["a", "b"]);
}

#[test]
fn a_reply_without_jobs_closes_the_gap_before_the_next() {
    let mut world = two_claims_open();
    assert!(world.open_claim().is_some());
    world.answer(vec![], Some(7), BATCH_MAX);
    world.answer(vec![fresh("a")], Some(8), BATCH_MAX);
    assert_eq!(run_all(&mut world), ["a"]);
}

#[test]
fn a_store_that_numbers_nothing_has_one_claim_at_a_time_at_a_concurrency_of_one() {
    let mut world = two_claims_open();
    world.answer(vec![fresh("a")], None, BATCH_MAX);
    world.answer(vec![fresh("b")], None, BATCH_MAX);
    run_all(&mut world);
    assert!(world.open_claim().is_some());
    assert_eq!(world.open_claim(), None);
}

#[test]
fn no_claim_is_opened_beside_one_that_takes_long_at_a_concurrency_of_one() {
    let mut world = two_claims_open();
    world.now += CLAIM_OVERLAP_MAX;
    world.answer(vec![fresh("a")], Some(7), BATCH_MAX);
    world.now += CLAIM_OVERLAP_MAX;
    assert!(world.open_claim().is_some(), "one has ended meanwhile");
    world.now += Duration::from_millis(1);
    assert_eq!(world.open_claim(), None);
}

#[test]
fn a_reply_is_held_back_until_the_other_claim_has_failed() {
    let mut world = two_claims_open();
    world.answer(vec![fresh("a")], Some(8), BATCH_MAX);
    assert_eq!(run_all(&mut world), [""; 0]);
    world.table.claim_over(BATCH_MAX, world.now);
    assert_eq!(run_all(&mut world), ["a"]);
}

#[test]
fn the_jobs_of_a_reply_that_was_held_back_return_in_their_order_when_the_workers_close() {
    let mut world = two_claims_open();
    world.answer(vec![fresh("b")], Some(8), BATCH_MAX);
    world.table.close(world.now);
    assert!(!world.table.any_to_settle(), "the other claim may bring jobs that belong before");
    world.answer(vec![fresh("a")], Some(7), BATCH_MAX);
    assert_eq!(world.take_outcomes(), released(&["a", "b"]));
}

#[test]
fn a_queue_that_waits_for_its_releases_is_never_said_to_claim() {
    let mut world = World::new(1);
    world.grant(vec![fresh("runs"), fresh("late"), fresh("later")]);
    let runs = world.next(0).unwrap();
    world.table.release_unstarted(world.now + SECOND);
    world.finish(0, &runs);
    let (grants, settlements) = world.table.take_settlements(1);
    assert_eq!((claimable(&mut world), world.table.outcomes.held_back_by()), (None, 2), "without the one that ran");
    world.table.unconfirmed(grants, settlements);
    assert_eq!(world.table.outcomes.held_back_by(), 2, "the store refused them");
    let (grants, _) = world.table.take_settlements(1);
    world.table.confirmed(&grants, world.now);
    assert_eq!(world.table.outcomes.held_back_by(), 0);
    assert!(claimable(&mut world).is_some());
}

#[test]
fn jobs_of_a_queue_that_keeps_its_order_return_in_the_calls_that_keep_it() {
    let mut world = World::new(1);
    let names: Vec<String> = (0..BATCH_MAX + 3).map(|n| n.to_string()).collect();
    world.grant(vec![fresh("runs")]);
    let runs = world.next(0).unwrap();
    world.grant(names.iter().map(|name| fresh(name)).collect());
    world.finish(0, &runs);
    world.table.release_unstarted(world.now + SECOND);
    let (grants, settlements) = world.table.take_settlements(1);
    let ids: Vec<String> = settlements.iter().map(|settlement| settlement.id.to_string()).collect();
    assert_eq!(ids, names[3..], "the last ones go first, together");
    world.table.release_unstarted(world.now + SECOND);
    world.table.unconfirmed(grants, settlements);
    assert_eq!(world.table.take_settlements(1).1[0].id.to_string(), "3", "they are still together");
    assert_eq!(world.next(0).unwrap().job.id.to_string(), "0", "the first ones wait here");
}

/// Settles until nothing can be settled. Returns the jobs of each call.
fn settle_all(world: &mut World) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    loop {
        let (grants, settlements) = world.table.take_settlements(1);
        if grants.is_empty() {
            return calls;
        }
        assert!(world.table.take_settlements(1).0.is_empty(), "a second call could overtake the first");
        calls.push(settlements.iter().map(|settlement| settlement.id.to_string()).collect());
        world.table.confirmed(&grants, world.now);
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// A queue that keeps its order, with a job that runs, more than a batch that waits, and an open claim.
fn crowd() -> (World, NextJob, Vec<String>) {
    let mut world = World::new(1);
    world.grant(vec![fresh("runs")]);
    let runs = world.next(0).unwrap();
    let waits = names("waits-", BATCH_MAX + 3);
    world.grant(waits.iter().map(|name| fresh(name)).collect());
    world.table.credits.observe_run(Duration::from_micros(10));
    world.open_claim().unwrap();
    (world, runs, waits)
}

#[test]
fn a_shutdown_never_returns_jobs_before_those_that_an_open_claim_still_brings() {
    let (mut world, runs, waits) = crowd();
    world.table.shut_down();
    assert!(world.take_outcomes().is_empty() && !world.table.any_to_settle(), "the claim is open");
    world.table.claim_over(BATCH_MAX, world.now);
    world.grant(vec![fresh("claimed-0"), fresh("claimed-1")]);
    assert_eq!(world.table.kill_running(world.now), 1);
    let mut first = waits[5..].to_vec();
    first.extend(names("claimed-", 2));
    let mut last = vec![runs.job.id.to_string()];
    last.extend_from_slice(&waits[..5]);
    assert_eq!(settle_all(&mut world), [first, last], "each call is put before what was returned earlier");
    assert!(world.table.is_empty());
}

#[test]
fn a_job_that_is_interrupted_while_others_return_is_never_behind_them() {
    let (mut world, runs, waits) = crowd();
    world.table.claim_over(BATCH_MAX, world.now);
    world.table.close(world.now);
    let (grants, settlements) = world.table.take_settlements(1);
    assert_eq!((settlements.len(), settlements[0].id.to_string()), (BATCH_MAX, waits[3].clone()));
    world.table.unconfirmed(grants, settlements);
    let calls = settle_all(&mut world);
    assert_eq!(calls[1][0], runs.job.id.to_string(), "it was running, so it is the first of all");
    assert_eq!((calls.len(), calls[1].len(), calls[0][0].clone()), (2, 4, waits[3].clone()));
}

#[test]
fn the_jobs_behind_an_interrupted_one_never_start_before_it() {
    let (mut world, runs, waits) = crowd();
    let epoch = world.table.new_pool(world.now);
    world.table.executors.add(executor(0), epoch, Fake::default());
    assert!(world.next(0).is_none(), "they follow it to the front of the queue");
    world.answer(vec![fresh("claimed")], None, BATCH_MAX);
    assert!(world.next(0).is_none());
    let calls = settle_all(&mut world);
    assert_eq!((calls[0].last().unwrap().as_str(), calls[1][0].clone()), ("claimed", runs.job.id.to_string()));
    assert_eq!(calls[1][1..], waits[..4]);
    assert!(claimable(&mut world).is_some());
}

#[test]
fn the_jobs_behind_one_whose_lease_expired_before_its_start_never_start_before_it() {
    let mut world = World::new(1);
    world.grant(vec![fresh("late")]);
    world.now += LEASE;
    world.grant(vec![fresh("behind-0"), fresh("behind-1")]);
    assert!(world.next(0).is_none(), "they follow it to the front of the queue");
    assert_eq!(settle_all(&mut world), [["late", "behind-0", "behind-1"]]);
    assert!(claimable(&mut world).is_some());
}

/// A blocking handler got no thread.
#[test]
fn the_jobs_behind_one_whose_handler_could_not_run_never_start_before_it() {
    let mut world = World::new(1);
    world.grant(vec![fresh("first"), fresh("behind-0"), fresh("behind-1")]);
    let first = world.next(0).unwrap();
    let release = settlement(&first.job, Verdict::ReleaseNow);
    assert!(world.table.finish(executor(0), first.grant, release, Duration::ZERO));
    assert!(world.next(0).is_none(), "they follow it to the front of the queue");
    assert_eq!(settle_all(&mut world), [["first", "behind-0", "behind-1"]]);
    assert!(claimable(&mut world).is_some());
}

#[test]
fn in_a_queue_that_keeps_its_order_a_job_that_was_released_starts_after_those_that_are_still_here() {
    let mut world = World::new(1);
    world.grant(vec![fresh("first")]);
    world.grant(vec![job("released", Counters { attempts: 2, releases: 1, ..Counters::default() }), fresh("last")]);
    for expected in ["first", "released", "last"] {
        let next = world.next(0).unwrap();
        assert_eq!(next.job.id.to_string(), expected);
        world.table.started(executor(0), next.grant, world.now, 0);
        world.finish(0, &next);
    }
}
