//! Tables of apps and instances, owned by the control loop.

pub(crate) mod commands;
pub(crate) mod complaints;
mod confined;
mod detail;
mod ending;
pub(crate) mod file_names;
pub(crate) mod groups;
mod hard_limits;
pub(crate) mod inherited;
mod last_lines;
pub(crate) mod listening;
pub(crate) mod log_files;
pub(crate) mod needs;
mod node_versions;
pub(crate) mod processes;
pub(crate) mod saved;
mod select;
mod slot;
pub(crate) mod trees;
mod worker;
mod working_trees;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::serving::shards::ShardRank;
use ostler_core::time::Now;
use ostler_sys::ProcRef;

pub(crate) use self::ending::{ending_of, exit_text};
pub(crate) use self::slot::{App, Axm, Base, Slot};
pub(crate) use self::worker::{Client, Connection, HandedConnection, SentDescriptor, Worker};
pub(crate) use crate::platform::keeper_connection::{is_of_instance, split_key};
use crate::platform::settings::Settings;
use crate::state::store::{Record, Role, SlotNumbers, SlotRecord, Snapshot};

/// Most former leaders of a tree that are remembered; the first one is always kept.
const FORMER_LEADERS: usize = 8;

/// Slots of this daemon.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Slots, each in its own allocation, because the map reserves room for more entries than it
    /// has.
    slots: BTreeMap<u32, Box<Slot>>,
    /// Slots whose present state is not in the journal.
    changed: BTreeSet<u32>,
    /// Deadlines of the slots in order, so that finding the next needs no search.
    deadlines: BTreeSet<(u64, u32)>,
    /// Apps with a running rollout.
    being_replaced: BTreeSet<String>,
    /// Next `pm_id`.
    next_pm_id: u32,
    /// Internal numbers of slots.
    numbers: SlotNumbers,
    next_number: u64,
}

impl Slots {
    /// Stores a description once. The caller must journal the record.
    pub(crate) fn app(&mut self, mut spec: AppSpec) -> (Rc<App>, Record<'static>) {
        self.next_number += 1;
        spec.given.pack();
        let app = Rc::new(App { id: self.next_number, spec: Rc::new(spec) });
        let record = Record::Spec { id: app.id, spec: Rc::clone(&app.spec) };
        (app, record)
    }

    /// Stores a caller's environment, or shares an equal environment in use. The caller must
    /// journal the record, if any.
    pub(crate) fn base(&mut self, vars: Cow<'_, EnvMap>) -> (Rc<Base>, Option<Record<'static>>) {
        if let Some(same) = self.slots.values().map(|slot| slot.base()).find(|base| base.vars.iter().eq(vars.iter())) {
            return (Rc::clone(same), None);
        }
        self.next_number += 1;
        let base = Rc::new(Base { id: self.next_number, vars: Rc::new(vars.into_owned()) });
        let record = Record::Env { id: base.id, vars: Rc::clone(&base.vars) };
        (base, Some(record))
    }

    /// Adds an instance of an app with the next id and the lowest free instance number. The
    /// instances of an app share the stem of their file names; `stem` is that of the first one.
    pub(crate) fn add(&mut self, app: &Rc<App>, base: &Rc<Base>, stem: Option<&str>, now: Now, settings: &Settings) -> u32 {
        // As in PM2, ids are never reused while the list is not empty, and begin at 0 when it is
        // empty.
        if self.slots.is_empty() {
            self.next_pm_id = 0;
        }
        let (id, pm_id) = (self.numbers.give(), self.next_pm_id);
        self.next_pm_id += 1;
        let index = self.free_index(app.spec.key());
        let sibling = self.slots.values().find(|slot| slot.spec().key() == app.spec.key());
        let file_stem = sibling.map_or_else(|| stem.map(Into::into), |sibling| sibling.durable.file_stem.clone());
        self.put(SlotRecord { pm_id, index, file_stem, ..SlotRecord::new(id, now) }, app, base, settings);
        id
    }

    /// Adds a candidate that may replace a present instance.
    pub(crate) fn add_candidate(&mut self, old: u32, app: &Rc<App>, base: &Rc<Base>, now: Now, settings: &Settings) -> Option<u32> {
        let old = self.slots.get(&old)?;
        let by_running_ms = old.by_running_ms_after(now);
        let (pm_id, index, inc) = (old.durable.pm_id, old.durable.index, old.durable.instance.inc);
        let file_stem = old.durable.file_stem.clone();
        let id = self.numbers.give_to_candidate();
        let mut durable = SlotRecord { pm_id, role: Role::Candidate, by_running_ms, index, file_stem, ..SlotRecord::new(id, now) };
        // The candidate continues the incarnation numbers of the instance.
        durable.instance.inc = inc;
        self.put(durable, app, base, settings);
        Some(id)
    }

    fn put(&mut self, record: SlotRecord, app: &Rc<App>, base: &Rc<Base>, settings: &Settings) {
        let durable = SlotRecord { shard: self.free_shard(app.spec.key()), unique_id: unique_id(), ..record };
        let id = durable.id;
        self.slots.insert(id, Box::new(Slot::new(durable, Rc::clone(app), Rc::clone(base), settings)));
        self.changed.insert(id);
    }

    fn free_index(&self, key: &str) -> u32 {
        let used: Vec<u32> = self.slots.values().filter(|slot| slot.spec().key() == key).map(|slot| slot.durable.index).collect();
        ostler_core::app::instances::lowest_free(&used)
    }

    fn free_shard(&self, key: &str) -> u32 {
        let used: Vec<u32> = self.slots.values().filter(|slot| slot.spec().key() == key).map(|slot| slot.durable.shard).collect();
        ostler_core::app::instances::lowest_free(&used)
    }

    /// Restores the slots from the journal's snapshot.
    pub(crate) fn restore(&mut self, snapshot: Snapshot, settings: &Settings) {
        let Snapshot { envs, specs, slots, numbers, .. } = snapshot;
        self.numbers = numbers;
        self.next_number = envs.keys().chain(specs.keys()).copied().max().unwrap_or(0);
        let bases: BTreeMap<u64, Rc<Base>> = envs.into_iter().map(|(id, vars)| (id, Rc::new(Base { id, vars }))).collect();
        let apps: BTreeMap<u64, Rc<App>> = specs.into_iter().map(|(id, spec)| (id, Rc::new(App { id, spec }))).collect();
        for record in slots.into_values() {
            let _at = crate::platform::incident::working_on(record.id);
            // Records are written in this order: environment, description, slot. A slot without the
            // other two is impossible.
            let (Some(app), Some(base)) = (apps.get(&record.app_number), bases.get(&record.env_number)) else { continue };
            self.next_pm_id = self.next_pm_id.max(record.pm_id + 1);
            let id = record.id;
            let slot = Slot::restored(record, Rc::clone(app), Rc::clone(base), settings);
            self.slots.insert(id, Box::new(slot));
            self.schedule(id);
        }
    }

    /// Returns an equal description that is in use, otherwise a new one. The caller must journal
    /// the record, if any.
    pub(crate) fn shared_app(&mut self, spec: AppSpec) -> (Rc<App>, Option<Record<'static>>) {
        if let Some(same) = self.slots.values().find(|slot| *slot.spec() == spec) {
            return (Rc::clone(same.app()), None);
        }
        let (app, record) = self.app(spec);
        (app, Some(record))
    }

    /// Returns every record that is needed to restore the slots, in reading order.
    pub(crate) fn records<'a>(&'a self, boot_id: &str) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let mut envs = BTreeMap::new();
        let mut specs = BTreeMap::new();
        for slot in self.slots.values() {
            envs.entry(slot.base().id).or_insert_with(|| Rc::clone(&slot.base().vars));
            specs.entry(slot.app().id).or_insert_with(|| Rc::clone(&slot.app().spec));
        }
        let boot = Record::Boot { boot_id: Cow::Owned(boot_id.to_owned()) };
        [boot, Record::Numbers(self.numbers)]
            .into_iter()
            .chain(envs.into_iter().map(|(id, vars)| Record::Env { id, vars }))
            .chain(specs.into_iter().map(|(id, spec)| Record::Spec { id, spec }))
            .chain(self.iter().map(Slot::record))
    }

    /// Returns a number for `cluster.worker.id` that no worker of this or an earlier daemon has.
    pub(crate) fn next_worker_id(&mut self) -> u32 {
        self.numbers.give_to_worker()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Slot> {
        self.slots.get(&id).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Slot> {
        self.slots.get_mut(&id).map(Box::as_mut)
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Box<Slot>> {
        let slot = self.slots.remove(&id)?;
        self.changed.remove(&id);
        if let Some(at) = slot.live.due_ms {
            self.deadlines.remove(&(at, id));
        }
        Some(slot)
    }

    /// Records a process that no longer leads the tree of a slot.
    pub(crate) fn note_former_leader(&mut self, id: u32, ProcRef { pid, start_ticks }: ProcRef) {
        let Some(slot) = self.get_mut(id) else { return };
        slot.durable.former_leaders.retain(|leader| leader.0 != pid);
        if slot.durable.former_leaders.len() >= FORMER_LEADERS {
            slot.durable.former_leaders.remove(1);
        }
        slot.durable.former_leaders.push((pid, start_ticks));
        self.changed(id);
    }

    /// Adds the exit of a replaced process to the history of the instance, which its successor
    /// continues.
    pub(crate) fn hand_down_exit(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.get(id).filter(|slot| slot.durable.role == Role::Retiring) else { return };
        let pm_id = slot.durable.pm_id;
        let Some(record) = slot.durable.instance.exits.last().filter(|record| record.inc == inc).cloned() else { return };
        let Some(successor) = self.serving().find(|slot| slot.durable.pm_id == pm_id).map(|slot| slot.durable.id) else { return };
        let Some(slot) = self.get_mut(successor) else { return };
        let exits = &mut slot.durable.instance.exits;
        // The successor may have exited first.
        let place = exits.iter().position(|later| later.inc > inc).unwrap_or(exits.len());
        exits.insert(place, record);
        let surplus = exits.len().saturating_sub(slot.live.policy.exits_kept);
        exits.drain(..surplus);
        self.changed(successor);
    }

    /// Queues the next run of a job until the present run has ended.
    pub(crate) fn queue_run(&mut self, id: u32) {
        if let Some(slot) = self.get_mut(id) {
            slot.durable.ticks.queued = true;
            self.changed(id);
        }
    }

    /// Returns true if other instances than these serve at the ports of this slot. Connections that
    /// wait in its shard would then be lost if it were stopped at once.
    pub(crate) fn others_serve(&self, id: u32, these: &[u32], now_ms: u64) -> bool {
        let Some(slot) = self.get(id).filter(|slot| slot.spec().has_shards()) else { return false };
        let mut others = self.iter().filter(|other| other.spec().key() == slot.spec().key() && !these.contains(&other.durable.id));
        others.any(|other| other.standing(now_ms).0 == ShardRank::Ready)
    }

    /// Marks a slot as changed since it was journaled. The next write of the journal has it once,
    /// however often it changes.
    pub(crate) fn changed(&mut self, id: u32) {
        self.changed.insert(id);
    }

    /// Returns the next slot to journal, which then counts as journaled.
    pub(crate) fn next_changed(&mut self) -> Option<&Slot> {
        let id = self.changed.pop_first()?;
        self.schedule(id);
        self.get(id)
    }

    /// Returns the earliest deadline of all slots, as of the last write of the journal.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Returns the slots whose deadline has come, by its time.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<u32> {
        self.deadlines.range(..=(now_ms, u32::MAX)).map(|(_, id)| *id).collect()
    }

    fn schedule(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let next = slot.durable.instance.deadline_ms();
        if slot.live.due_ms == next {
            return;
        }
        let former = std::mem::replace(&mut slot.live.due_ms, next);
        if let Some(at) = former {
            self.deadlines.remove(&(at, id));
        }
        if let Some(at) = next {
            self.deadlines.insert((at, id));
        }
    }

    /// Iterates over all slots, including those that users do not see.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values().map(Box::as_ref)
    }

    /// Returns the slots that users see, by `pm_id`.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Slot> {
        let mut serving: Vec<&Slot> = self.iter().filter(|slot| slot.durable.role == Role::Serving).collect();
        // The slots are sorted already, except for those that a reload added.
        serving.sort_by_key(|slot| slot.durable.pm_id);
        serving.into_iter()
    }

    /// Iterates over all slots, including those that users do not see.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.values_mut().map(Box::as_mut)
    }

    /// Returns the key of a new app if another namespace has an app with its name.
    pub(crate) fn qualified(&self, spec: &AppSpec) -> Option<String> {
        let same = self.iter().find(|slot| slot.spec().name == spec.name && slot.spec().namespace == spec.namespace);
        if let Some(slot) = same {
            return slot.spec().qualified.clone();
        }
        let is_free = |key: &str| self.iter().all(|slot| slot.spec().key() != key);
        if is_free(&spec.name) {
            return None;
        }
        let long = format!("{}/{}", spec.namespace, spec.name);
        let numbered = (2_u32..).map(|number| format!("{long}#{number}"));
        std::iter::once(long.clone()).chain(numbered).find(|key| is_free(key))
    }

    /// Returns the instances of the app with this key, by `pm_id`.
    pub(crate) fn of_app(&self, key: &str) -> Vec<u32> {
        self.serving().filter(|slot| slot.spec().key() == key).map(|slot| slot.durable.id).collect()
    }

    /// Returns true if the list to save is empty: modules are not saved.
    pub(crate) fn nothing_to_save(&self) -> bool {
        self.serving().all(|slot| slot.spec().is_module())
    }

    /// Records that a rollout of this app has begun.
    pub(crate) fn begin_replacing(&mut self, app: &str) {
        self.being_replaced.insert(app.to_owned());
    }

    /// Records that the rollout of this app is over.
    pub(crate) fn end_replacing(&mut self, app: &str) {
        self.being_replaced.remove(app);
    }

    /// Returns true if a rollout of this app is running.
    pub(crate) fn is_being_replaced(&self, app: &str) -> bool {
        self.being_replaced.contains(app)
    }

    /// Returns true if any rollout is running.
    pub(crate) fn is_any_being_replaced(&self) -> bool {
        !self.being_replaced.is_empty()
    }

    /// Returns the `pm_id`s of these slots.
    pub(crate) fn pm_ids(&self, ids: &[u32]) -> Vec<u32> {
        ids.iter().filter_map(|id| self.slots.get(id)).map(|slot| slot.durable.pm_id).collect()
    }
}

/// Returns a random UUID (version 4).
pub(crate) fn unique_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without random bytes, the time still makes the id unique on this machine, which is enough.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = now.as_nanos().to_le_bytes();
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    // The exact capacity, because each app keeps one.
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.extend([digit(byte >> 4), digit(byte & 0x0f)]);
    }
    text
}
