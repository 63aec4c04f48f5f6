//! `instances: {min, max, cpu}`: reads the load of such apps, and scales them as the core decides.

use std::collections::BTreeMap;

use ostler_core::autoscale::{INTERVAL_MS, Scaler};
use ostler_core::instances::Leaving;
use ostler_core::lifecycle::{Origin, State};
use ostler_core::serving::Autoscale;
use ostler_core::time::Now;

use super::Control;

/// The load of each app that scales itself.
#[derive(Debug, Default)]
pub(crate) struct Scalers {
    all: BTreeMap<String, Scaler>,
    /// When the next reading is due; none = no app scales itself.
    due_ms: Option<u64>,
}

impl Scalers {
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.due_ms
    }
}

impl Control {
    /// An app was added or described anew: somebody may have to look at its load from now on.
    pub(crate) fn note_autoscale(&mut self, id: u32, now_ms: u64) {
        if self.scalers.due_ms.is_none() && self.ctx.slots.get(id).is_some_and(|slot| slot.spec().autoscale.is_some()) {
            self.scalers.due_ms = Some(now_ms + INTERVAL_MS);
        }
    }

    /// Takes a reading of every app that scales itself, when it is time.
    pub(crate) fn autoscale(&mut self, now: Now) {
        if self.scalers.due_ms.is_none_or(|due| due > now.mono_ms) {
            return;
        }
        let mut apps: BTreeMap<String, (Autoscale, Vec<u32>)> = BTreeMap::new();
        for slot in self.ctx.slots.serving() {
            let Some(rules) = &slot.spec().autoscale else { continue };
            // One on its way down is none of them any more.
            let leaves = |state: &State| {
                matches!(
                    state,
                    State::Leaving { .. } | State::Draining { .. } | State::Stopping { .. } | State::Clearing { .. } | State::Gone
                )
            };
            let counts = !leaves(&slot.instance.state);
            let entry = apps.entry(slot.spec().name.clone()).or_insert_with(|| (rules.clone(), Vec::new()));
            entry.1.extend(counts.then_some(slot.id));
        }
        self.scalers.all.retain(|name, _| apps.contains_key(name));
        self.scalers.due_ms = (!apps.is_empty()).then_some(now.mono_ms + INTERVAL_MS);
        let mut ids: Vec<u32> = apps.values().flat_map(|(_, ids)| ids).copied().collect();
        ids.sort_unstable();
        let complete = self.read_usage(Some(&ids), now);
        for (name, (rules, ids)) in apps {
            // An app that a user stopped, or that is being replaced, is left alone.
            let running =
                ids.iter().filter_map(|id| self.ctx.slots.get(*id)).all(|slot| matches!(slot.instance.state, State::Running { .. }));
            if !complete || !running || ids.is_empty() || self.rollouts.concerns(&name) {
                continue;
            }
            let load: f64 = ids.iter().filter_map(|id| self.ctx.slots.get(*id)).map(|slot| slot.cpu.monit().cpu_pct).sum();
            let have = ids.len() as u32;
            let want = self.scalers.all.entry(name.clone()).or_default().decide(&rules, have, load, now.mono_ms);
            if want != have {
                self.ctx.log.line(format_args!("App [{name}] uses {load:.0} % of a core with {have} instances: {want} from now on"));
                self.scale_to(0, 0, &ids, (want, Leaving::Newest), Origin::Policy("autoscale".into()));
            }
        }
    }
}
