//! Order in which a request touches instances. It starts and restarts dependencies first, and stops
//! them last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::InstanceState;
use ostler_core::lifecycle::order::{Graph, shown};
use ostler_proto::control::{Action, Failure};

use super::job::{Job, JobStep};
use crate::state::slots::{Slot, Slots};

/// Apps of a request that are in progress or come later; others may have to wait for them.
#[derive(Debug, Default)]
pub(super) struct AppQueue {
    /// Action; `None`: there is no order.
    action: Option<Action>,
    /// Names of the apps in progress, and of their dependencies.
    in_progress: BTreeSet<String>,
    needed: BTreeSet<String>,
    /// Names of the apps that wait.
    held: BTreeSet<String>,
}

impl AppQueue {
    /// Returns true if the instance has to wait for others.
    pub(super) fn holds(&self, slot: &Slot) -> bool {
        let needs = |names: &BTreeSet<String>| slot.spec().order.depends_on.keys().any(|name| names.contains(name));
        match self.action {
            Some(Action::Stop | Action::Delete) => self.needed.contains(&slot.spec().name),
            // An instance that is down waits by itself, in a state that is in the journal.
            Some(Action::Restart) => needs(&self.held) || !is_down(slot) && needs(&self.in_progress),
            Some(Action::Reload | Action::Reset) | None => false,
        }
    }

    /// Notes that the instance is touched now.
    pub(super) fn begins(&mut self, slot: &Slot) {
        if self.action.is_some() {
            self.in_progress.insert(slot.spec().name.clone());
            self.needed.extend(slot.spec().order.depends_on.keys().cloned());
        }
    }

    /// Notes that the instance has to wait.
    pub(super) fn held(&mut self, slot: &Slot) {
        if self.action.is_some() {
            self.held.insert(slot.spec().name.clone());
            self.needed.extend(slot.spec().order.depends_on.keys().cloned());
        }
    }
}

fn is_down(slot: &Slot) -> bool {
    matches!(slot.durable.instance.state, InstanceState::Stopped | InstanceState::Errored)
}

/// Checks that the apps of a request can start: all their dependencies exist or are in the request,
/// and no app depends on itself.
///
/// # Errors
/// Returns an error, worded for the user, if that is not the case.
pub(super) fn check(slots: &Slots, apps: &[AppSpec]) -> Result<(), Failure> {
    if apps.iter().all(|spec| spec.order.depends_on.is_empty()) {
        return Ok(());
    }
    let comes = |name: &str| apps.iter().any(|spec| spec.name == name);
    let present: BTreeMap<&str, &AppSpec> = slots.serving().map(|slot| (slot.spec().name.as_str(), slot.spec())).collect();
    for spec in apps {
        for name in spec.order.depends_on.keys() {
            if !comes(name) && !present.contains_key(name.as_str()) {
                let app = &spec.name;
                return Err(Failure::Other(format!(
                    "{app} depends on {name}, which is not in the list and is not started with it; nothing was started"
                )));
            }
        }
    }
    let others = present.values().filter(|spec| !comes(&spec.name)).copied();
    let graph = Graph::new(apps.iter().chain(others).map(|spec| (spec.name.as_str(), &*spec.order)));
    match graph.cycle() {
        Some(cycle) => Err(Failure::Other(format!("apps depend on each other in a circle: {}; nothing was started", shown(&cycle)))),
        None => Ok(()),
    }
}

/// Sorts the instances of a request into the order in which they are touched. Returns false if
/// there is no order; they then stay as they are.
pub(super) fn put_in_order(slots: &Slots, step: &JobStep, pending: &mut VecDeque<u32>) -> bool {
    let all = || pending.iter().filter_map(|id| slots.get(*id));
    if all().all(|slot| slot.spec().order.depends_on.is_empty()) {
        return false;
    }
    let waves: BTreeMap<String, usize> = {
        let graph = Graph::new(all().map(|slot| (slot.spec().name.as_str(), &*slot.spec().order)));
        graph.waves().into_iter().map(|(name, wave)| (name.to_owned(), wave)).collect()
    };
    let wave = |id: &u32| slots.get(*id).and_then(|slot| waves.get(&slot.spec().name)).copied().unwrap_or(0);
    let pending = pending.make_contiguous();
    match step {
        JobStep::Act(Action::Stop | Action::Delete, _) => pending.sort_by_key(|id| Reverse(wave(id))),
        JobStep::Act(..) | JobStep::Start => pending.sort_by_key(wave),
    }
    true
}

impl Job {
    /// Returns the instances that the request will start later.
    pub(super) fn later_starts(&self) -> impl Iterator<Item = u32> {
        let starts = matches!(self.step, JobStep::Act(Action::Restart, _));
        self.pending.iter().copied().filter(move |_| starts)
    }

    /// Returns the turns with the instances in progress.
    pub(super) fn app_queue(&self, slots: &Slots) -> AppQueue {
        let mut turns = AppQueue::default();
        if let (true, JobStep::Act(action @ (Action::Stop | Action::Delete | Action::Restart), _)) = (self.ordered, &self.step) {
            turns.action = Some(*action);
            self.waiting.keys().filter_map(|id| slots.get(*id)).for_each(|slot| turns.begins(slot));
        }
        turns
    }

    /// Gives up apps that depend on a failed one and have not started yet. Returns their instances.
    pub(super) fn give_up_dependants(&mut self, slots: &Slots, failed: &str) -> Vec<u32> {
        if !matches!(self.step, JobStep::Act(Action::Restart | Action::Reload, _)) {
            return Vec::new();
        }
        let (mut names, mut given_up) = (vec![failed.to_owned()], Vec::new());
        while let Some(name) = names.pop() {
            let concerned = |id: &u32| slots.get(*id).is_some_and(|slot| slot.spec().order.depends_on.contains_key(&name));
            let (out, stay): (Vec<u32>, Vec<u32>) = self.pending.iter().copied().partition(concerned);
            self.pending = stay.into();
            names.extend(out.iter().filter_map(|id| slots.get(*id)).map(|slot| slot.spec().name.clone()));
            given_up.extend(out);
        }
        given_up
    }
}
