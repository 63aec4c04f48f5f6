//! One rollout in progress, and its records.

use std::rc::Rc;

use ostler_core::lifecycle::Origin;
use ostler_core::rollout::Rollout;
use ostler_core::time::Now;

use crate::engine::Ctx;
use crate::state::slots::{App, Base};
use crate::state::store::rollouts::{ReplicaRecord, RolloutRecord};
use crate::state::store::{Record, Snapshot};

/// Rollout in progress.
#[derive(Debug)]
pub(super) struct Running {
    pub number: u32,
    pub app: String,
    /// Number of the release among those of the app.
    pub release: u32,
    /// State machine of the rollout.
    pub rollout: Rollout,
    /// Replicas, in the same order as in the rollout.
    pub replicas: Vec<Replica>,
    pub origin: Origin,
    pub started: Now,
    /// Number that matches progress with the caller. It is not in the journal, because the caller's
    /// connection is lost with the daemon.
    pub ticket: Option<u64>,
    /// Last lines of the candidate that failed.
    pub fault_lines: Vec<String>,
    /// Slot whose last lines are requested.
    pub lines_slot: Option<u32>,
    /// Whether a policy replaces instances by the same release.
    pub by_policy: bool,
    /// Whether each new process has to run for its `min_uptime` before it counts as ready.
    pub watches: bool,
    /// Deadline of a process that was restarted in place. It is not in the journal; a new daemon
    /// starts the wait again.
    pub check_ms: Option<u64>,
    /// Number of requests that old processes did not finish in time.
    pub cut: u32,
}

/// Instance of a rollout.
#[derive(Debug)]
pub(super) struct Replica {
    pub pm_id: u32,
    /// Slot that serves.
    pub serving: u32,
    /// Slot of the candidate.
    pub candidate: Option<u32>,
    /// Slot that is being stopped.
    pub going: Option<u32>,
    /// Process that has to stay: the promoted or restarted process. During a restart, the process
    /// before it.
    pub after: u32,
    pub old: ProcessDescription,
    pub new: ProcessDescription,
}

/// Description and environment of a process.
#[derive(Clone, Debug)]
pub(super) struct ProcessDescription {
    pub app: Rc<App>,
    pub base: Rc<Base>,
}

impl Running {
    pub(super) fn record(&self) -> Record<'static> {
        Record::Rollout(Box::new(RolloutRecord {
            number: self.number,
            app: self.app.clone(),
            release: self.release,
            rollout: self.rollout.clone(),
            replicas: self.replicas.iter().map(Replica::record).collect(),
            origin: self.origin.clone(),
            started: self.started,
            fault_lines: self.fault_lines.clone(),
            by_policy: self.by_policy,
            watches: self.watches,
            cut: self.cut,
        }))
    }

    pub(super) fn restore(record: RolloutRecord, snapshot: &Snapshot) -> Option<Self> {
        let replica = |record| Replica::restore(record, snapshot);
        Some(Self {
            number: record.number,
            app: record.app,
            release: record.release,
            rollout: record.rollout,
            replicas: record.replicas.into_iter().map(replica).collect::<Option<_>>()?,
            origin: record.origin,
            started: record.started,
            ticket: None,
            fault_lines: record.fault_lines,
            lines_slot: None,
            by_policy: record.by_policy,
            watches: record.watches,
            check_ms: None,
            cut: record.cut,
        })
    }

    /// Sets the timer of its next deadline.
    pub(super) fn set_timer(&self, ctx: &mut Ctx) {
        let next = [self.rollout.deadline_ms(), self.check_ms].into_iter().flatten().min();
        ctx.outbox.timers.set(super::key(self.number), next);
    }

    /// Returns true if this process is restarted, and none runs beside it.
    pub(super) fn is_in_place(&self, index: usize) -> bool {
        self.rollout.replicas.get(index).is_some_and(|progress| progress.in_place)
    }
}

impl Replica {
    fn record(&self) -> ReplicaRecord {
        ReplicaRecord {
            pm_id: self.pm_id,
            serving: self.serving,
            candidate: self.candidate,
            going: self.going,
            after: self.after,
            old: self.old.numbers(),
            new: self.new.numbers(),
        }
    }

    fn restore(record: ReplicaRecord, snapshot: &Snapshot) -> Option<Self> {
        let ReplicaRecord { pm_id, serving, candidate: beside, going, after, old, new } = record;
        let (old, new) = (ProcessDescription::restore(old, snapshot)?, ProcessDescription::restore(new, snapshot)?);
        Some(Self { pm_id, serving, candidate: beside, going, after, old, new })
    }
}

impl ProcessDescription {
    fn numbers(&self) -> (u64, u64) {
        (self.app.id, self.base.id)
    }

    pub(super) fn records(&self) -> [Record<'static>; 2] {
        [
            Record::Env { id: self.base.id, vars: Rc::clone(&self.base.vars) },
            Record::Spec { id: self.app.id, spec: Rc::clone(&self.app.spec) },
        ]
    }

    /// Restores a rollout, by the numbers of description and environment.
    pub(super) fn restore((app, base): (u64, u64), snapshot: &Snapshot) -> Option<Self> {
        Some(Self {
            app: Rc::new(App { id: app, spec: Rc::clone(snapshot.specs.get(&app)?) }),
            base: Rc::new(Base { id: base, vars: Rc::clone(snapshot.envs.get(&base)?) }),
        })
    }
}
