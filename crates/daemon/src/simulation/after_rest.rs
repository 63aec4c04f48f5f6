//! Single changes after everything is at rest: one thing happens, and only its consequences may
//! follow.

use std::collections::BTreeMap;

use ostler_core::health::{Action, CheckMethod, HealthSpec, HealthState};
use ostler_core::lifecycle::InstanceState;
use ostler_testkit::Rng;

use super::episode::Episode;
use super::probes::{ServerMood, is_asked_alone};
use super::reach::Extra;
use super::verdict::Verdict;
use super::watched::has_habit;
use crate::state::slots::Slot;

/// Rounds until the expected consequence: replacements may have to wait for a minute.
const ROUNDS: u32 = 600;
/// Most rounds before time passes.
const BUSY: u32 = 50;
/// Clients that connect while a worker is ill.
const CLIENTS: u32 = 12;
/// Leaps of the clock, of a second each at most, without any further change.
const CALM: u32 = 4;

impl Episode {
    pub(super) fn after_rest(&mut self, rng: &mut Rng) -> Verdict {
        self.machine.state.borrow_mut().is_prompt = true;
        if !self.files.apps().is_empty() {
            self.ignored_files_change(rng)?;
            self.one_file_changes(rng)?;
        }
        if self.reach.has(Extra::Probes) {
            self.make_one_unhealthy(rng)?;
        }
        Ok(())
    }

    /// Returns the main processes of apps that do not scale themselves.
    fn mains(&self) -> BTreeMap<i32, String> {
        let state = self.machine.state.borrow();
        let scales = |app: &str| self.specs.iter().any(|spec| spec.name == app && spec.autoscale.is_some());
        let mains = state.mains().map(|pid| (pid, state.processes[&pid].app.clone()));
        mains.filter(|(_, app)| !scales(app)).collect()
    }

    /// Lets time pass without any event.
    fn calm(&mut self, rng: &mut Rng) -> Verdict {
        for _ in 0..CALM {
            self.pass(rng)?;
        }
        Ok(())
    }

    /// Lets all participants do their pending work, then time passes.
    fn pass(&mut self, rng: &mut Rng) -> Verdict {
        let mut quiet = 0;
        for _ in 0..BUSY {
            quiet = if self.round(rng)? { 0 } else { quiet + 1 };
            if quiet > 1 {
                break;
            }
        }
        self.leap();
        Ok(())
    }

    /// Lets time pass until all is at rest and `holds` is true.
    fn until(&mut self, rng: &mut Rng, what: &str, holds: impl Fn(&Self) -> bool) -> Verdict {
        for _ in 0..ROUNDS {
            self.pass(rng)?;
            if self.is_at_rest() && holds(self) {
                return Ok(());
            }
        }
        Err(format!("{what} never comes: {:?}", self.mains()))
    }

    /// Makes one process ill. It must be replaced if its app requests that, and no other process
    /// may be.
    fn make_one_unhealthy(&mut self, rng: &mut Rng) -> Verdict {
        let Some(control) = &self.daemon else { return Ok(()) };
        let is_chosen = |slot: &&Slot| {
            let spec = slot.spec();
            self.machine.state.borrow().network.probes_app(&spec.name) && spec.autoscale.is_none() && is_asked_alone(spec)
        };
        let running = |slot: &Slot| match slot.durable.instance.state {
            InstanceState::Running { pid, .. } => Some((slot.durable.id, pid, slot.spec().health()?.clone())),
            _ => None,
        };
        let chosen: Vec<(u32, i32, HealthSpec)> = control.ctx.state.slots.iter().filter(is_chosen).filter_map(running).collect();
        let Some((id, pid, health)) = chosen.get(rng.below(chosen.len())).cloned() else { return Ok(()) };
        let is_http =
            health.liveness.as_ref().or(health.readiness.as_ref()).is_some_and(|check| matches!(check.method, CheckMethod::Http(_)));
        let mood = if is_http { rng.pick(&[ServerMood::Unhealthy, ServerMood::Silent]) } else { ServerMood::Unhealthy };
        self.set_mood(pid, mood);
        let mut before = self.mains();
        if rng.percent(50) {
            self.machine.state.borrow_mut().dies_after = Some(rng.below(60) as u32);
        }
        if health.liveness.is_some() && health.action != Action::None {
            self.until(rng, &format!("an end of {pid}, which is ill"), |episode| !episode.mains().contains_key(&pid))?;
            self.machine.state.borrow_mut().dies_after = None;
            before.remove(&pid);
            let after = self.mains();
            let lost = before.keys().find(|other| !after.contains_key(other));
            ensure!(lost.is_none(), "{pid} was ill, and {lost:?} is gone");
            return Ok(());
        }
        let mut left = ROUNDS;
        while !self.is_known_unhealthy(id) {
            ensure!(left > 0, "{pid} is ill, and nobody finds that out");
            left -= 1;
            self.pass(rng)?;
        }
        self.machine.state.borrow_mut().dies_after = None;
        if self.reach.has(Extra::Cluster) {
            // The ill worker must get no clients while other workers could have them.
            let app = before.get(&pid).cloned().unwrap_or_default();
            for _ in 0..CLIENTS {
                self.connect_to(&app);
                self.round(rng)?;
            }
        }
        self.calm(rng)?;
        ensure!(self.mains() == before, "{pid} is ill and to be left alone, and {:?} run instead of {before:?}", self.mains());
        self.set_mood(pid, ServerMood::Healthy);
        self.until(rng, "a recovery", |_| true)?;
        ensure!(self.mains() == before, "{pid} is well again, and {:?} run instead of {before:?}", self.mains());
        Ok(())
    }

    fn is_known_unhealthy(&self, id: u32) -> bool {
        let slot = self.daemon.as_ref().and_then(|control| control.ctx.state.slots.get(id));
        slot.and_then(|slot| slot.live.health.as_ref())
            .is_some_and(|report| matches!(report.state, HealthState::Unready | HealthState::Unhealthy))
    }

    fn set_mood(&mut self, pid: i32, mood: ServerMood) {
        self.trace_line(Some(format!("{pid} is {mood:?} from now on")));
        let mut state = self.machine.state.borrow_mut();
        if let Some(server) = state.processes.get_mut(&pid).and_then(|process| process.server.as_mut()) {
            server.set_mood(mood);
        }
    }

    fn ignored_files_change(&mut self, rng: &mut Rng) -> Verdict {
        let before = self.mains();
        for app in self.files.apps() {
            let done = self.files.change_of(&app, false, &self.machine, true, rng);
            self.trace_line(done);
        }
        self.calm(rng)?;
        ensure!(self.mains() == before, "after changes of ignored files {:?} run, and not {before:?}", self.mains());
        Ok(())
    }

    /// Changes a file of one app. All its instances must restart, even those that had given up,
    /// except those that a user stopped.
    fn one_file_changes(&mut self, rng: &mut Rng) -> Verdict {
        let apps = self.files.apps();
        let app = apps[rng.below(apps.len())].clone();
        let before = self.mains();
        let dies = rng.percent(50);
        let Some(control) = &self.daemon else { return Ok(()) };
        let of_app: Vec<_> = control.ctx.state.slots.iter().filter(|slot| slot.spec().name == app).collect();
        if of_app.iter().any(|slot| slot.spec().autoscale.is_some() || slot.spec().watch.polling == Some(true)) {
            return Ok(());
        }
        let watches = |stopped: bool, on: bool| on && !stopped;
        let expected = of_app.iter().filter(|slot| watches(slot.durable.watch.stopped, slot.spec().watch.on)).count();
        let rest = of_app.len() - expected;
        // The last change that a poll found must not be at the same instant.
        self.machine.advance(1000);
        let done = self.files.change_of(&app, true, &self.machine, true, rng);
        self.trace_line(done);
        let changed_ms = self.machine.now_ms();
        if dies {
            self.machine.state.borrow_mut().dies_after = Some(rng.below(12) as u32);
        }
        self.calm(rng)?;
        self.machine.state.borrow_mut().dies_after = None;
        if expected > 0 && self.files.known_ms(&app) < changed_ms {
            // The daemon died with the change that it had read, so the file changes again.
            let said = self.files.change_of(&app, true, &self.machine, true, rng);
            self.trace_line(said);
        }
        let is_done = |episode: &Self| {
            let control = episode.daemon.as_ref();
            let of_app = control.into_iter().flat_map(|control| control.ctx.state.slots.iter()).filter(|slot| slot.spec().name == app);
            let is_new = |pid: &i32| !before.contains_key(pid);
            let new =
                of_app.filter(|slot| matches!(&slot.durable.instance.state, InstanceState::Running { pid, .. } if is_new(pid))).count();
            new == expected || control.is_some_and(|control| has_habit(control, &app))
        };
        self.until(rng, &format!("a restart of {expected} of {app}"), is_done)?;
        let after = self.mains();
        let (others, now) = (
            before.iter().filter(|(_, of)| **of != app).collect::<Vec<_>>(),
            after.iter().filter(|(_, of)| **of != app).collect::<Vec<_>>(),
        );
        ensure!(others == now, "a file of {app} changed, and of others {now:?} run instead of {others:?} ({rest} of it are not watched)");
        Ok(())
    }
}
