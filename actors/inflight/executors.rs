//! The executors of one queue: which ones there are, what each runs, and which wait to be woken.

use foldhash::HashMap;

use retraced_jobs::trace::ExecutorId;

use super::grant::GrantId;

/// Numbers the pools of one queue: each start of a pool begins a new epoch. An executor that registers under an earlier epoch is ignored.
pub(crate) type PoolEpoch = u64;

/// How the table reaches an executor.
pub(super) trait ExecutorPort {
    /// Asks the executor to take a job. Returns whether it is still alive.
    fn wake(&self) -> bool;
    /// Ends the executor at its next await.
    fn kill(&self);
}

/// What an executor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    Free,
    Job(GrantId),
    /// Takes no job for a while, because this process has run out of something.
    Paused,
    /// Runs a handler whose attempt was settled without it, or was killed and has not ended yet.
    Zombie,
}

struct ExecutorSlot<X> {
    port: X,
    activity: Activity,
}

/// All executors of the current pool.
pub(super) struct Executors<X> {
    slots: HashMap<ExecutorId, ExecutorSlot<X>>,
    /// Free executors that found no job and wait to be woken, the latest one last.
    idle: Vec<ExecutorId>,
    epoch: PoolEpoch,
}

impl<X> Default for Executors<X> {
    fn default() -> Self {
        Self { slots: HashMap::default(), idle: Vec::new(), epoch: 0 }
    }
}

impl<X: ExecutorPort> Executors<X> {
    pub(super) fn epoch(&self) -> PoolEpoch {
        self.epoch
    }

    /// Adds an executor, unless a newer pool has started.
    pub(super) fn add(&mut self, id: ExecutorId, epoch: PoolEpoch, port: X) {
        if self.epoch == epoch {
            self.slots.insert(id, ExecutorSlot { port, activity: Activity::Free });
        }
    }

    /// Removes an executor. Returns the job it had, if it had one.
    pub(super) fn remove(&mut self, id: ExecutorId) -> Option<GrantId> {
        self.idle.retain(|idle| *idle != id);
        match self.slots.remove(&id)?.activity {
            Activity::Job(grant) => Some(grant),
            Activity::Free | Activity::Paused | Activity::Zombie => None,
        }
    }

    /// Removes all executors and begins the next epoch. Returns the jobs they had, in the order of the grants.
    pub(super) fn remove_all(&mut self) -> Vec<GrantId> {
        self.epoch += 1;
        self.idle.clear();
        let mut jobs: Vec<GrantId> = self.slots.drain().filter_map(|(_, slot)| job_of(slot.activity)).collect();
        jobs.sort_unstable();
        jobs
    }

    /// Sets what an executor does. Returns whether it is an executor of the current pool.
    pub(super) fn set(&mut self, id: ExecutorId, activity: Activity) -> bool {
        self.slots.get_mut(&id).map(|slot| slot.activity = activity).is_some()
    }

    /// The executor found no job, and waits to be woken.
    pub(super) fn found_no_job(&mut self, id: ExecutorId) {
        if !self.idle.contains(&id) {
            self.idle.push(id);
        }
    }

    pub(super) fn any_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Wakes one idle executor, unless none is alive.
    pub(super) fn wake_one(&mut self) {
        while let Some(id) = self.idle.pop() {
            if self.slots.get(&id).is_some_and(|slot| slot.port.wake()) {
                return;
            }
        }
    }

    /// Executors without a job.
    pub(super) fn free(&self) -> usize {
        self.count(|activity| activity == Activity::Free)
    }

    /// Executors with a job.
    pub(super) fn busy(&self) -> usize {
        self.count(|activity| matches!(activity, Activity::Job(_)))
    }

    pub(super) fn zombies(&self) -> usize {
        self.count(|activity| activity == Activity::Zombie)
    }

    /// Kills every executor that has a job. Returns the jobs in the order of their grants.
    pub(super) fn kill_busy(&mut self) -> Vec<GrantId> {
        let mut killed = Vec::new();
        for slot in self.slots.values_mut() {
            if let Some(grant) = job_of(slot.activity) {
                slot.port.kill();
                slot.activity = Activity::Zombie;
                killed.push(grant);
            }
        }
        killed.sort_unstable();
        killed
    }

    fn count(&self, counts: impl Fn(Activity) -> bool) -> usize {
        self.slots.values().filter(|slot| counts(slot.activity)).count()
    }
}

fn job_of(activity: Activity) -> Option<GrantId> {
    match activity {
        Activity::Job(grant) => Some(grant),
        Activity::Free | Activity::Paused | Activity::Zombie => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// An executor that counts how often it was woken and killed.
    #[derive(Clone, Default)]
    pub(in crate::inflight) struct Fake {
        pub(in crate::inflight) woken: Rc<Cell<usize>>,
        pub(in crate::inflight) killed: Rc<Cell<usize>>,
        pub(in crate::inflight) gone: Rc<Cell<bool>>,
    }

    impl ExecutorPort for Fake {
        fn wake(&self) -> bool {
            self.woken.set(self.woken.get() + 1);
            !self.gone.get()
        }

        fn kill(&self) {
            self.killed.set(self.killed.get() + 1);
        }
    }

    pub(in crate::inflight) fn executor(slot: u32) -> ExecutorId {
        ExecutorId::new(slot, 0)
    }

    #[test]
    fn an_executor_of_an_earlier_pool_is_ignored() {
        let mut executors = Executors::default();
        executors.add(executor(0), 0, Fake::default());
        executors.set(executor(0), Activity::Job(7));
        assert_eq!(executors.remove_all(), [7]);
        executors.add(executor(0), 0, Fake::default());
        assert_eq!(executors.free(), 0);
        executors.add(executor(0), executors.epoch(), Fake::default());
        assert_eq!(executors.free(), 1);
    }

    #[test]
    fn an_idle_executor_that_is_gone_is_passed_over() {
        let (gone, alive) = (Fake::default(), Fake::default());
        gone.gone.set(true);
        let mut executors = Executors::default();
        executors.add(executor(0), 0, alive.clone());
        executors.add(executor(1), 0, gone.clone());
        executors.found_no_job(executor(0));
        executors.found_no_job(executor(1));
        executors.wake_one();
        assert_eq!((alive.woken.get(), gone.woken.get()), (1, 1));
        executors.wake_one();
        assert_eq!((alive.woken.get(), gone.woken.get()), (1, 1), "each is woken once");
    }

    #[test]
    fn only_executors_with_a_job_are_killed_and_their_jobs_keep_their_order() {
        let mut executors = Executors::default();
        let ports: Vec<Fake> = (0..4).map(|_| Fake::default()).collect();
        for (port, slot) in ports.iter().zip(0..) {
            executors.add(executor(slot), 0, port.clone());
        }
        executors.set(executor(0), Activity::Job(9));
        executors.set(executor(1), Activity::Zombie);
        executors.set(executor(2), Activity::Job(3));
        assert_eq!(executors.kill_busy(), [3, 9]);
        assert_eq!(ports.iter().map(|port| port.killed.get()).collect::<Vec<_>>(), [1, 0, 1, 0]);
        assert_eq!((executors.zombies(), executors.busy(), executors.free()), (3, 0, 1));
    }
}
