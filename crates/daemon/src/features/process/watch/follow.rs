//! Watched instances.

use std::rc::Rc;
use std::sync::Arc;

use ostler_core::lifecycle::{DesiredState, InstanceState};
use ostler_core::watch::{Guard, Pace, Surroundings};

use super::engine::WatchCommand;
use super::{Group, Key, Watches};
use crate::engine::Ctx;
use crate::state::slots::Slot;

impl Watches {
    /// Updates whether an instance is watched, after a step or with a new description.
    pub(super) fn follow(&mut self, ctx: &mut Ctx, id: u32) {
        let slot = ctx.state.slots.get(id).filter(|slot| is_watched(slot));
        let app = slot.map(|slot| Rc::clone(slot.app()));
        let known = self.members.get(&id).copied();
        if known.map(|(app, _)| app) == app.as_ref().map(|app| app.id) {
            return;
        }
        let joined = app.map(|app| {
            let around = Surroundings::of(&app.spec, "");
            let own = around.own.iter().map(|path| (*path).to_owned()).collect();
            let key = Key { watch: (*app.spec.watch).clone(), cwd: app.spec.cwd.clone(), script: app.spec.script.clone(), own };
            let home = ctx.io.settings.home.to_string_lossy();
            let group = self.group(app.spec.key(), key, &home);
            self.join(id, group);
            self.members.insert(id, (app.id, group));
            group
        });
        if let Some((_, group)) = known.filter(|(_, group)| Some(*group) != joined) {
            self.leave(id, group);
            self.set_timer(ctx, group);
        }
        if joined.is_none() {
            self.members.remove(&id);
        }
        self.settle(ctx);
    }
}

/// Returns true if the instance has `watch`, was started once, and its user has not stopped it.
fn is_watched(slot: &Slot) -> bool {
    let instance = &slot.durable.instance;
    slot.spec().watch.on
        && instance.inc > 0
        && !slot.durable.watch.stopped
        && instance.wanted != DesiredState::Gone
        && instance.state != InstanceState::Gone
}

impl Watches {
    /// Returns the number of the group with this name and these settings, perhaps of a new group.
    fn group(&mut self, name: &str, key: Key, home: &str) -> u32 {
        if let Some((id, _)) = self.groups.iter().find(|(_, group)| group.name == name && group.key == key) {
            return *id;
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        // Patterns were checked before anything was started. A corrupt journal leads to no watch.
        if let Some(plan) = Self::plan(&key, home) {
            self.order(WatchCommand::Watch(id, Arc::new(plan)));
        }
        let pace = Pace::of(&key.watch);
        let (name, members) = (name.to_owned(), std::collections::BTreeSet::new());
        self.groups.insert(id, Group { name, key, members, pace, guard: Guard::default(), burst: None, not_before_ms: 0 });
        id
    }

    fn join(&mut self, slot: u32, group: u32) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.members.insert(slot);
        }
    }

    fn leave(&mut self, slot: u32, id: u32) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.members.remove(&slot);
        if group.members.is_empty() {
            self.groups.remove(&id);
            self.order(WatchCommand::Forget(id));
        }
    }
}
