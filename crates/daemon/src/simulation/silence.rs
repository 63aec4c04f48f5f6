//! End of an episode: all disturbances stop, and everything must come to rest in the wanted state.

use ostler_core::lifecycle::InstanceState;
use ostler_testkit::Rng;

use super::clock_jumps::APART_MS;
use super::episode::Episode;
use super::probes::is_healthy;
use super::reach::Extra;
use super::verdict::Verdict;
use super::worker::path_of;
use crate::platform::threads::{self, simulated::Disk};
use crate::state::slots::Slot;

/// Most steps until all is at rest.
const SILENCE_STEPS: u32 = 1500;
/// Turns after which a client must have found its worker.
const SERVING_TURNS: u32 = 12;
/// Leaps of the clock without any further change.
const RESTS: u32 = 3;
/// Time for which the number of instances of self-scaling apps must stay the same. An app with too
/// many instances for its load removes one only after a minute, and settles before and after.
const SCALED_MS: u64 = 80_000;
/// Time at rest if apps are probed, files are polled or lines are incomplete. It is long enough to
/// notice when these have stopped.
const LOOKED_MS: u64 = 4000;
impl Episode {
    /// Stops all disturbances: no process is killed any more, no requests are made, and programs
    /// behave well. Everything must come to rest in the wanted state.
    pub(super) fn fall_silent(&mut self, rng: &mut Rng) -> Verdict {
        self.log(|| "silence".into());
        let mut state = self.machine.state.borrow_mut();
        state.dies_after = None;
        state.become_good();
        drop(state);
        threads::simulated::disk_is(Disk::Good);
        let (mut quiet, mut rests) = (0, 0);
        let looks = [Extra::Probes, Extra::Watch, Extra::Logs].into_iter().any(|extra| self.reach.has(extra));
        let scales = self.specs.iter().any(|spec| spec.autoscale.is_some());
        let (steps, same_for_ms) = match (scales, self.reach.has(Extra::Clock)) {
            (true, _) => (10 * SILENCE_STEPS, SCALED_MS),
            (false, true) => (10 * SILENCE_STEPS, APART_MS),
            (false, false) => (SILENCE_STEPS, if looks { LOOKED_MS } else { 0 }),
        };
        let (mut count, mut since) = (0, self.machine.now_ms());
        for _ in 0..steps {
            let anything = self.round(rng)?;
            quiet = if anything { 0 } else { quiet + 1 };
            if quiet < 2 {
                continue;
            }
            // The daemon searches for remains of a crash a moment later.
            rests = if self.is_at_rest() { rests + 1 } else { 0 };
            let now = self.machine.now_ms();
            let scaled = |slot: &&Slot| slot.spec().autoscale.is_some();
            // A reload of another app adds slots, too.
            let instances = self.daemon.as_ref().map_or(0, |control| control.ctx.state.slots.serving().filter(scaled).count());
            if instances != count {
                (count, since) = (instances, now);
            }
            if rests > RESTS && now - since >= same_for_ms {
                break;
            }
            self.leap();
            quiet = 0;
        }
        let shared = self.keeper.borrow();
        let (Some(control), Some(keeper)) = (&self.daemon, &*shared) else { return Err("a manager does not run".into()) };
        self.oracle.at_rest(control, keeper, &self.machine, &self.user)?;
        self.files.at_rest(control, &self.machine)?;
        self.machine.state.borrow().lines.at_rest(&self.home.join("logs"))?;
        self.machine.state.borrow().network.at_rest(control, self.machine.now_ms())?;
        drop(shared);
        if self.reach.has(Extra::Cluster) && !self.lost_both {
            self.clients_are_served(rng)?;
        }
        self.after_rest(rng)
    }

    /// Connects a client to each app with workers: one of them must serve it.
    fn clients_are_served(&mut self, rng: &mut Rng) -> Verdict {
        let folder = self.home.to_string_lossy().into_owned();
        let mut waiting = Vec::new();
        for app in self.specs.iter().map(|spec| spec.name.clone()) {
            let workers: Vec<(i32, bool)> = self.machine.state.borrow().workers_of(&app).collect();
            let idle = workers.iter().find(|(_, listens)| !listens);
            ensure!(idle.is_none(), "the worker {idle:?} of {app} has no server");
            match self.clients.connect(&path_of(&folder, &app)) {
                Some(number) => {
                    ensure!(!workers.is_empty(), "{app} has no workers, and its port is open");
                    waiting.push((app, number));
                }
                None => ensure!(workers.is_empty(), "{app} has workers, and its port is closed"),
            }
        }
        for _ in 0..SERVING_TURNS {
            self.managers_act(rng)?;
            self.keeper_acts(rng);
            let alive = self.machine.state.borrow().alive();
            alive.into_iter().for_each(|pid| drop(self.machine.state.borrow_mut().act(pid, rng)));
        }
        let state = self.machine.state.borrow();
        let forgotten = waiting.iter().find(|(_, number)| !state.workers.serves(*number));
        ensure!(forgotten.is_none(), "no worker serves the client {forgotten:?}");
        Ok(())
    }

    /// Returns true if no work is in progress.
    pub(super) fn is_at_rest(&self) -> bool {
        let Some(control) = &self.daemon else { return false };
        let rests =
            |state: &InstanceState| matches!(state, InstanceState::Running { .. } | InstanceState::Stopped | InstanceState::Errored);
        let state = self.machine.state.borrow();
        let nothing_beside = !state.has_zombies() && state.processes.values().all(|process| process.mark.is_some());
        let are_well = control
            .ctx
            .state
            .slots
            .iter()
            .all(|slot| !matches!(slot.durable.instance.state, InstanceState::Running { .. }) || is_healthy(slot));
        let has_changed = control
            .ctx
            .state
            .slots
            .iter()
            .any(|slot| slot.durable.watch.changed && slot.durable.role == crate::state::store::Role::Serving);
        !self.user.waits()
            && !has_changed
            && (!self.reach.has(Extra::Probes) || are_well)
            && self.files.all_known()
            && nothing_beside
            && self.keeper.borrow().as_ref().is_some_and(|keeper| !keeper.has_unacknowledged())
            && control
                .ctx
                .state
                .slots
                .iter()
                .all(|slot| rests(&slot.durable.instance.state) && slot.durable.role == crate::state::store::Role::Serving)
    }
}
