//! What happens at a tick.

use std::collections::BTreeMap;

use ostler_core::cron::{JOB_TIMEOUT, OnTick, RunOn, Tick};
use ostler_core::lifecycle::{Event, Origin, State};
use ostler_core::time::Now;

use crate::control::Control;
use crate::registry::Slot;
use crate::rollouts::Wish;
use crate::store::Role;

/// Who asks, in the records of the app.
fn origin() -> Origin {
    Origin::Policy("cron".into())
}

impl Control {
    /// These ticks are due.
    pub(super) fn run_ticks(&mut self, due: Vec<(u32, Tick)>, now: Now) {
        let mut restarts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        self.crons.ran |= !due.is_empty();
        for (id, tick) in due {
            let Some(slot) = self.registry.get(id).filter(|slot| slot.role == Role::Serving) else { continue };
            let Some(cron) = slot.spec().cron.clone() else { continue };
            let (name, pm_id) = (slot.spec().name.clone(), slot.pm_id);
            if cron.run_on == RunOn::One && !self.is_first(id) {
                continue;
            }
            let what = if cron.job.is_some() { "job" } else { "cron restart" };
            let pattern = &cron.pattern;
            if tick.missed {
                let late_s = now.wall_ms.saturating_sub(tick.due_ms) / 1000;
                self.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern}) was missed {late_s} s ago and is left out"));
                continue;
            }
            match cron.on_tick(&slot.instance) {
                OnTick::Start => {
                    self.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern})"));
                    self.feed(id, Event::Start(origin()));
                }
                OnTick::Restart => {
                    self.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern})"));
                    restarts.entry(name).or_default().push(id);
                }
                OnTick::Queue => {
                    self.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern}) begins when the present run has ended"));
                    self.queue_run(id);
                }
                OnTick::Skip => {
                    self.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern}) is left out, the last run is not over"));
                }
            }
        }
        for (name, ids) in restarts {
            self.restart_by_schedule(&name, ids);
        }
    }

    /// The instance with the lowest number of its app.
    fn is_first(&self, id: u32) -> bool {
        let Some(slot) = self.registry.get(id) else { return false };
        let name = &slot.spec().name;
        let lower = |other: &Slot| other.spec().name == *name && other.ticks.armed && other.pm_id < slot.pm_id;
        !self.registry.serving().any(lower)
    }

    /// Where two processes can have the ports of an app it is reloaded, so that nobody notices; everything else is restarted, as in PM2.
    fn restart_by_schedule(&mut self, name: &str, ids: Vec<u32>) {
        let gently =
            |id: &u32| self.registry.get(*id).is_some_and(|slot| !slot.spec().is_job() && crate::rollouts::shares_its_ports(slot.spec()));
        if !ids.iter().all(gently) {
            for id in ids {
                self.feed(id, Event::Restart(origin()));
            }
            return;
        }
        let number = self.rollouts.next_number();
        let wish = Wish {
            ids,
            describe: Box::new(|slot: &Slot| (slot.spec().clone(), None)),
            parallel: 0,
            canary_ms: None,
            origin: origin(),
            // The same release, and a reload of a user comes first.
            mends: true,
        };
        if let Err(reason) = self.begin_rollout(name, number, &wish) {
            self.log.line(format_args!("App [{name}] cron restart is left out: {reason}"));
        }
    }

    /// The next run begins when the present one has ended.
    pub(crate) fn queue_run(&mut self, id: u32) {
        if let Some(slot) = self.registry.get_mut(id) {
            slot.ticks.queued = true;
            self.registry.changed(id);
        }
    }

    /// The run of a job has ended, and another one waits for that.
    pub(super) fn begin_queued(&mut self, id: u32) {
        let Some(slot) = self.registry.get_mut(id) else { return };
        if slot.ticks.queued && matches!(slot.instance.state, State::Stopped | State::Errored) {
            slot.ticks.queued = false;
            self.feed(id, Event::Start(origin()));
        }
    }

    /// Whether an attempt of a job has a time limit, after each step of it.
    pub(super) fn follow_limit(&mut self, id: u32) {
        let limit = self.registry.get(id).and_then(|slot| {
            let timeout_ms = slot.spec().cron.as_ref()?.job.as_ref()?.timeout_ms?;
            match slot.instance.state {
                State::Starting { since, .. } | State::Completing { since, .. } | State::Running { since, .. } => {
                    Some(since.mono_ms.saturating_add(timeout_ms))
                }
                _ => None,
            }
        });
        match limit {
            Some(limit) => drop(self.crons.limits.insert(id, limit)),
            None => drop(self.crons.limits.remove(&id)),
        }
    }

    /// It has used up its time.
    pub(super) fn overrun(&mut self, id: u32) {
        if let Some(slot) = self.registry.get(id) {
            let (name, pm_id) = (slot.spec().name.clone(), slot.pm_id);
            self.log.error(format_args!("App [{name}:{pm_id}] job takes longer than its timeout, stopping it"));
        }
        self.crons.limits.remove(&id);
        self.feed(id, Event::Fail(Origin::Policy(JOB_TIMEOUT.into())));
    }
}
