//! In which order a request touches instances: starts and restarts what others depend on first, stops it last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::State;
use ostler_core::order::{Graph, shown};
use ostler_proto::control::{Action, Failure};

use crate::control::{Control, Step};
use crate::registry::Slot;

/// Which of two apps has to be touched first.
fn depends_on(slot: &Slot, other: &Slot) -> bool {
    slot.spec().order.depends_on.contains_key(&other.spec().name)
}

impl Control {
    /// What a request wants to start must be able to: everything that it depends on is there or comes with it, and nothing depends on itself.
    pub(crate) fn check_order(&self, apps: &[AppSpec]) -> Result<(), Failure> {
        if apps.iter().all(|spec| spec.order.depends_on.is_empty()) {
            return Ok(());
        }
        let comes = |name: &str| apps.iter().any(|spec| spec.name == name);
        let present: BTreeMap<&str, &AppSpec> = self.registry.serving().map(|slot| (slot.spec().name.as_str(), slot.spec())).collect();
        for spec in apps {
            for name in spec.order.depends_on.keys() {
                if !comes(name) && !present.contains_key(name.as_str()) {
                    let app = &spec.name;
                    return Err(Failure::Other(format!(
                        "{app} depends on {name}, which is neither started with it nor there already; nothing was started"
                    )));
                }
            }
        }
        let others = present.values().filter(|spec| !comes(&spec.name)).copied();
        let graph = Graph::new(apps.iter().chain(others).map(|spec| (spec.name.as_str(), &spec.order)));
        match graph.cycle() {
            Some(cycle) => Err(Failure::Other(format!("apps depend on each other in a circle: {}; nothing was started", shown(&cycle)))),
            None => Ok(()),
        }
    }

    /// Puts the instances of a request into the order in which they are touched; otherwise they stay as they are.
    pub(crate) fn put_in_order(&self, step: &Step, pending: &mut VecDeque<u32>) {
        let slots = || pending.iter().filter_map(|id| self.registry.get(*id));
        if slots().all(|slot| slot.spec().order.depends_on.is_empty()) {
            return;
        }
        let waves: BTreeMap<String, usize> = {
            let graph = Graph::new(slots().map(|slot| (slot.spec().name.as_str(), &slot.spec().order)));
            graph.waves().into_iter().map(|(name, wave)| (name.to_owned(), wave)).collect()
        };
        let wave = |id: &u32| self.registry.get(*id).and_then(|slot| waves.get(&slot.spec().name)).copied().unwrap_or(0);
        let pending = pending.make_contiguous();
        match step {
            Step::Act(Action::Stop | Action::Delete, _) => pending.sort_by_key(|id| Reverse(wave(id))),
            Step::Act(..) | Step::Start => pending.sort_by_key(wave),
        }
    }

    /// An instance has to let others of its request go first.
    pub(crate) fn has_to_wait(&self, index: usize, id: u32, earlier: &[u32]) -> bool {
        let job = &self.jobs[index];
        let Step::Act(action, _) = &job.step else { return false };
        let Some(slot) = self.registry.get(id) else { return false };
        let mut under_way = job.waiting.keys().filter_map(|id| self.registry.get(*id));
        let mut earlier = earlier.iter().filter_map(|id| self.registry.get(*id));
        match action {
            Action::Stop | Action::Delete => under_way.any(|other| depends_on(other, slot)) || earlier.any(|other| depends_on(other, slot)),
            Action::Restart => {
                // One that is down waits by itself, which the journal knows.
                let is_down = matches!(slot.instance.state, State::Stopped | State::Errored);
                (!is_down && under_way.any(|other| depends_on(slot, other))) || earlier.any(|other| depends_on(slot, other))
            }
            Action::Reload | Action::Reset => false,
        }
    }

    /// An app of a request did not come up: what depends on it and has not had its turn is left as it is. Gives their instances.
    pub(crate) fn give_up_dependants(&mut self, index: usize, failed: &str) -> Vec<u32> {
        if !matches!(self.jobs[index].step, Step::Act(Action::Restart | Action::Reload, _)) {
            return Vec::new();
        }
        let (mut names, mut given_up) = (vec![failed.to_owned()], Vec::new());
        while let Some(name) = names.pop() {
            let concerned = |id: &u32| self.registry.get(*id).is_some_and(|slot| slot.spec().order.depends_on.contains_key(&name));
            let (out, stay): (Vec<u32>, Vec<u32>) = self.jobs[index].pending.iter().copied().partition(concerned);
            self.jobs[index].pending = stay.into();
            names.extend(out.iter().filter_map(|id| self.registry.get(*id)).map(|slot| slot.spec().name.clone()));
            given_up.extend(out);
        }
        given_up
    }
}
